package adjoint

import (
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// projectOut takes what the coefficients and amplitudes can make good out of JᵀC⁻¹J: with s = 1 and A their columns it
// becomes
//
//	JᵀC⁻¹J − JᵀC⁻¹A S⁻¹ AᵀC⁻¹J,
//
// and amplitudes that are positive at their best are left out of J likewise. The Jacobian has its columns.
func (v *inversion) projectOut(hess *mat.SymDense) {
	var active []int
	for k, a := range v.amp[:v.nFree] {
		if a > 0 {
			active = append(active, k)
		}
	}
	dim, n, g := v.p.params.dim, v.n, len(v.columns)-v.nFree
	rows := dim + len(active)
	x, xg := make([]float64, rows*n), make([]float64, rows*g)
	q := make([]float64, rows*rows)
	for a := range dim {
		for b := range dim {
			q[a*rows+b] = hess.At(a, b)
		}
		if v.p.jac.scale[a] == 0 || !v.blurredColumn(a) {
			continue
		}
		v.op.ApplyAdj(x[a*n:(a+1)*n], v.spread)
		for i := range g {
			xg[a*g+i] = floats.Dot(v.blurred[v.nFree+i], v.residual)
		}
		for b, k := range active {
			d := floats.Dot(v.blurred[k], v.residual)
			q[a*rows+dim+b], q[(dim+b)*rows+a] = d, d
		}
	}
	for a, k := range active {
		v.op.ApplyAdj(x[(dim+a)*n:(dim+a+1)*n], v.back[k])
		for i := range g {
			xg[(dim+a)*g+i] = v.gram.At(k, v.nFree+i)
		}
		for b, o := range active {
			q[(dim+a)*rows+dim+b] = v.gram.At(min(k, o), max(k, o))
		}
	}
	// S⁻¹ with s = 1 is the covariance over s²
	y, yg := make([]float64, rows*n), make([]float64, rows*g)
	v.dense.products(y, x, v.a, rows, n, n) // the covariance is symmetric
	for a := range rows {
		for i := range g {
			floats.AddScaled(y[a*n:(a+1)*n], xg[a*g+i], v.mixed[i])
			yg[a*g+i] = floats.Dot(x[a*n:(a+1)*n], v.mixed[i])
			for j := range g {
				yg[a*g+i] += xg[a*g+j] * v.gauss[j*g+i]
			}
		}
	}
	for a := range rows {
		for b := range rows {
			q[a*rows+b] -= (floats.Dot(y[a*n:(a+1)*n], x[b*n:(b+1)*n]) + floats.Dot(yg[a*g:(a+1)*g], xg[b*g:(b+1)*g])) / v.noise2
		}
	}
	for k := rows - 1; k >= dim; k-- {
		pivot := q[k*rows+k]
		if column := active[k-dim]; !(pivot > leastPivot*v.gram.At(column, column)) {
			continue // those left out before make it up
		}
		for a := range k {
			floats.AddScaled(q[a*rows:a*rows+k], -q[a*rows+k]/pivot, q[k*rows:k*rows+k])
		}
	}
	for a := range dim {
		for b := a; b < dim; b++ {
			hess.SetSym(a, b, 0.5*(q[a*rows+b]+q[b*rows+a]))
		}
	}
}

// blurredColumn writes C⁻¹ of a column of J to residual and Bᵀ of that to spread; false where the column is zero.
func (v *inversion) blurredColumn(free int) bool {
	j, c := v.p.jac, v.c
	col := j.cols[free*j.stride:][:j.size]
	any := false
	for i, w := range c.weight {
		v.residual[i] = col[i] * w * w * j.scale[free]
		any = any || v.residual[i] != 0
	}
	if any {
		c.psf.BlurAdj(v.spread, v.residual)
	}
	return any
}

// degrees is how many of the pixels the source leaves to tell the noise by.
func (v *inversion) degrees(pixels float64) float64 {
	fitted := float64(v.n+len(v.columns)-v.nFree) - v.trace
	return max(1, pixels-fitted)
}

// information adds the expected information about the parameters of the priors.
func (v *inversion) information(hess *mat.SymDense) {
	ps := v.p.params
	for i, l := range v.pixelised {
		all := make([][]float64, l.n)
		for k := range all {
			all[k] = make([]float64, l.n)
		}
		l.splines.Information(all, v.a[v.first[i]*(v.n+1):], v.n, v.c.pool)
		for a := range all {
			fa := ps.freeOf[l.first+a]
			for b := range all {
				if fb := ps.freeOf[l.first+b]; fa >= 0 && fb >= fa {
					f := 0.5 * (all[a][b] + all[b][a])
					hess.SetSym(fa, fb, hess.At(fa, fb)+f*v.p.slope[l.first+a]*v.p.slope[l.first+b])
				}
			}
		}
	}
}

package adjoint

import (
	"math"

	"gonum.org/v1/gonum/floats"
)

// solve finds the coefficients and amplitudes at θ, the model image without them being in the chain, and completes that
// and the fit's log likelihood at r = 0. With covariance, reverse and gradient may follow.
func (v *inversion) solve(theta []float64, covariance bool) error {
	c := v.c
	v.noise2 = c.fit.s * c.fit.s
	logPrior := 0.0
	for _, l := range v.pixelised {
		if err := l.splines.Prepare(); err != nil {
			return rejected("%s: %w", l.name, err)
		}
		logPrior += l.splines.LogDet()
	}
	for _, col := range v.columns[v.nFree:] {
		logPrior += math.Log(col.weight)
	}
	lenses := c.scene.lensPlanes()
	v.op.Locate(c.px[lenses:], c.py[lenses:])
	v.drawColumns()
	v.project()
	v.op.Gram(v.a, v.n)
	for i, l := range v.pixelised {
		l.splines.AddPrecision(v.a[v.first[i]*(v.n+1):], v.n, v.noise2)
	}
	logDet, ok := v.dense.factorise(v.a, v.n, v.work)
	if !ok {
		return rejected("%s: the system of %d splines is singular: expected a narrower or a shorter prior, or fewer splines", v.pixelised[0].name, v.n)
	}
	v.dense.whiten(v.z, v.a, 1+len(v.columns), v.n)
	amplitudes, err := v.amplitudes()
	if err != nil {
		return err
	}
	// each coefficient takes s² out of S
	v.logDet = logDet + amplitudes - float64(v.n+len(v.columns)-v.nFree)*math.Log(v.noise2)
	v.coefficients()
	if err := v.complete(theta); err != nil {
		return err
	}
	c.fit.base += 0.5 * (logPrior - v.logDet - v.reg)
	if covariance {
		v.covariance()
	}
	return nil
}

// drawColumns draws the unblurred columns of amplitudes and blurs them, those of a light whose shape is as before excepted.
func (v *inversion) drawColumns() {
	any := false
	for u, l := range v.units {
		v.drawing[u] = l.source || v.drawn[u] == nil || !equal(v.drawn[u], l.last)
		any = any || v.drawing[u]
	}
	if !any {
		return
	}
	c := v.c
	c.pool.Run(len(c.tiles), v.runColumn)
	for k, col := range v.columns {
		if !v.drawing[col.unit] {
			continue
		}
		c.psf.Blur(v.blurred[k], v.plane[k])
		for i, b := range v.blurred[k] {
			v.residual[i] = b * c.weight[i] * c.weight[i]
		}
		c.psf.BlurAdj(v.back[k], v.residual)
	}
	for u, l := range v.units {
		v.drawn[u] = append(v.drawn[u][:0], l.last...)
	}
	v.gram.Clear()
	v.gram.Add(v.stored, len(v.residual), v.used, v.weight)
}

// columnTile draws a stretch of the columns.
func (v *inversion) columnTile(k int) {
	c, t := v.c, &v.c.tiles[k]
	for from, to := t.from, 0; from < t.to; from = to {
		to = c.block(from, t.to)
		for u, l := range v.units {
			if !v.drawing[u] {
				continue
			}
			px, py := c.seen(l, from, to)
			jp := v.wanted[k][:l.n]
			clear(jp)
			for _, param := range l.linear {
				jp[param] = v.tiles[k][param][:len(px)]
			}
			l.light.BrightnessJac(jp, nil, nil, px, py)
			for i, col := range v.columns {
				if col.unit == u {
					c.grid.Bin(v.plane[i], jp[col.param], from, to, 0)
				}
			}
		}
	}
}

// project writes Lᵀ BᵀC⁻¹ of the data, less what other light gives and the amplitudes' prior means, and of the columns to z,
// and the products with the data to schur.
func (v *inversion) project() {
	c, m := v.c, len(v.columns)
	for i, d := range c.data {
		v.residual[i] = d - c.model[i]
	}
	for k, col := range v.columns {
		if col.mean != 0 {
			floats.AddScaled(v.residual, -col.mean, v.blurred[k])
		}
	}
	for i, w := range c.weight {
		v.residual[i] *= w * w
	}
	c.psf.BlurAdj(v.spread, v.residual)
	for k := range v.columns {
		v.schur[1+k] = floats.Dot(v.blurred[k], v.residual)
	}
	c.pool.Run(1+m, v.runRows)
}

// backRow is a row of z before the source is solved for.
func (v *inversion) backRow(row int) {
	plane := v.spread
	if row > 0 {
		plane = v.back[row-1]
	}
	v.op.ApplyAdj(v.z[row*v.n:(row+1)*v.n], plane)
}

// amplitudes solves for the amplitudes, and returns ln|S| of the Gaussian ones when the source is solved for.
func (v *inversion) amplitudes() (logDet float64, err error) {
	m, free := len(v.columns), v.nFree
	g, width := m-free, 1+m
	for k := range m {
		v.best[k] = v.schur[1+k]
	}
	v.dense.products(v.schur, v.z, v.z, width, width, v.n)
	for i, col := range v.columns {
		v.best[i] -= v.schur[1+i]
		for j := i; j < m; j++ {
			d := v.gram.At(i, j) - v.schur[(1+i)*width+1+j]
			if i == j {
				d += v.noise2 * col.weight
			}
			v.schur[(1+i)*width+1+j], v.schur[(1+j)*width+1+i] = d, d
		}
	}
	copy(v.rhs, v.best)
	if g > 0 {
		for i := range g {
			copy(v.gauss[i*g:(i+1)*g], v.schur[(1+free+i)*width+1+free:])
			v.cross[i] = v.best[free+i]
		}
		for i := range free {
			copy(v.cross[(1+i)*g:(2+i)*g], v.schur[(1+i)*width+1+free:])
		}
		var ok bool
		if logDet, ok = v.dense.factorise(v.gauss, g, v.amp); !ok {
			return 0, rejected("%s: the system of amplitudes is singular: expected narrower priors", v.units[v.columns[free].unit].name)
		}
		v.dense.whiten(v.cross, v.gauss, 1+free, g)
	}
	cross := func(i int) []float64 { return v.cross[i*g : (i+1)*g] }
	for i := range free {
		v.rhs[i] -= floats.Dot(cross(0), cross(1+i))
		for j := i; j < free; j++ {
			v.reduced[i*free+j] = v.schur[(1+i)*width+1+j] - floats.Dot(cross(1+i), cross(1+j))
		}
	}
	if free > 0 && !v.nnls.solve(v.best[:free], v.reduced, v.rhs) {
		return 0, rejected("%s: found no amplitudes that are not negative: expected widths that differ", v.units[v.columns[0].unit].name)
	}
	for i := range free {
		floats.AddScaled(cross(0), -v.best[i], cross(1+i))
	}
	v.dense.unwhiten(v.cross[:g], v.gauss, min(g, 1), g)
	copy(v.best[free:], v.cross[:g])
	for k, col := range v.columns {
		v.amp[k] = col.mean + v.best[k]
	}
	return logDet, nil
}

// coefficients writes the coefficients and what their priors cost.
func (v *inversion) coefficients() {
	n := v.n
	copy(v.s, v.z[:n])
	for k, b := range v.best {
		floats.AddScaled(v.s, -b, v.z[(1+k)*n:(2+k)*n])
	}
	v.dense.unwhiten(v.s, v.a, 1, n)
	v.reg = 0
	for i, l := range v.pixelised {
		s, hs := v.s[v.first[i]:v.first[i+1]], v.hs[v.first[i]:v.first[i+1]]
		l.splines.SetCoefficients(s)
		l.splines.Precision(hs, s)
		v.reg += floats.Dot(s, hs)
	}
	for k := v.nFree; k < len(v.columns); k++ {
		v.reg += v.columns[k].weight * v.best[k] * v.best[k]
	}
}

// complete adds the light solved for to the model image, and gives lights their amplitudes.
func (v *inversion) complete(theta []float64) error {
	c := v.c
	clear(v.spread)
	v.op.Apply(v.spread, v.s)
	c.psf.Blur(v.residual, v.spread)
	for k, a := range v.amp {
		floats.AddScaled(v.residual, a, v.blurred[k])
	}
	floats.Add(c.model, v.residual)
	for u, l := range v.units {
		p := v.params(u, theta)
		for k, col := range v.columns {
			if col.unit == u {
				p[col.param] = v.amp[k]
			}
		}
		if err := l.light.Set(p); err != nil {
			return rejected("%s: %w", l.name, err)
		}
	}
	for i, col := range v.columns[v.nFree:] {
		l := v.units[col.unit]
		p := v.params(col.unit, theta)
		for _, param := range l.linear {
			p[param] = 0
		}
		p[col.param] = 1
		if err := v.single[i].Set(p); err != nil {
			return rejected("%s: %w", l.name, err)
		}
	}
	return nil
}

// params is a copy of the parameters of a light with amplitudes, as θ has them.
func (v *inversion) params(u int, theta []float64) []float64 {
	l := v.units[u]
	return append(v.scratch[:0], theta[l.first:l.first+l.n]...)
}

// covariance makes the covariances of coefficients and amplitudes from the factors of S, and what reverse needs of them.
func (v *inversion) covariance() {
	n, g := v.n, len(v.columns)-v.nFree
	copy(v.x, v.z[(1+v.nFree)*n:])
	v.dense.unwhiten(v.x, v.a, g, n)
	v.dense.Inverse(n, v.a, n)
	if g > 0 {
		// S⁻¹ of the source beside amplitudes is (Sₛₛ)⁻¹ + X Σ⁻¹ Xᵀ, that of both −X Σ⁻¹, Σ being what is left of the
		// amplitudes' when the source is solved for
		for i := range g {
			for j := range n {
				v.temp[j*g+i] = v.x[i*n+j]
			}
		}
		v.dense.whiten(v.temp, v.gauss, n, g)
		for i := range g {
			for j := range n {
				v.x[i*n+j] = v.temp[j*g+i]
			}
		}
		v.dense.addGram(v.a, v.x, g, n)
		v.dense.unwhiten(v.temp, v.gauss, n, g)
		v.dense.Inverse(g, v.gauss, g)
		for i := range g {
			for j := range n {
				v.mixed[i][j] = -v.noise2 * v.temp[j*g+i]
			}
		}
	}
	if v.noise2 != 1 {
		floats.Scale(v.noise2, v.a)
		floats.Scale(v.noise2, v.gauss)
	}
	v.carryWeights()
	v.adjoint.S, v.adjoint.Covariance, v.adjoint.Blurred = v.s, v.a, v.c.gPlane
	v.adjoint.Columns, v.adjoint.Mixed = v.back[v.nFree:], v.mixed
}

// carryWeights computes BᵀC⁻¹A S⁻¹ at each Gaussian amplitude.
func (v *inversion) carryWeights() {
	c, g := v.c, len(v.columns)-v.nFree
	for i := range g {
		clear(v.spread)
		v.op.Apply(v.spread, v.mixed[i])
		c.psf.Blur(v.residual, v.spread)
		for k, w := range c.weight {
			v.residual[k] *= w * w
		}
		c.psf.BlurAdj(v.weights[i], v.residual)
		for j := range g {
			floats.AddScaled(v.weights[i], v.gauss[i*g+j], v.back[v.nFree+j])
		}
	}
}

// reverse adds the derivatives by the places and the shapes of the lights to those of a tile of the chain, for the pixels
// from ≤ k < to: tile.v holds BᵀC⁻¹r at their rays. lensing says whether those by the places are wanted.
func (v *inversion) reverse(k int, lensing bool, from, to int) {
	c, t := v.c, &v.c.tiles[k]
	n := c.grid.First[to] - c.grid.First[from]
	if lensing {
		for p := range t.gx {
			v.gx[k][p], v.gy[k][p] = t.gx[p][:n], t.gy[p][:n]
		}
		v.op.RayVJP(v.gx[k], v.gy[k], &v.adjoint, v.rayWorks[k], from, to)
	}
	for u, l := range v.units {
		if l.held && !c.all && !(l.source && lensing) {
			continue
		}
		px, py := c.seen(l, from, to)
		gp := t.gp[l.first : l.first+l.n]
		var hx, hy []float64
		if l.source {
			hx, hy = t.gx[l.plane][:n], t.gy[l.plane][:n]
		}
		if l.amplitudes[0].Family == "" {
			l.light.BrightnessVJP(gp, hx, hy, t.v[:n], px, py)
			continue
		}
		for i, col := range v.columns[v.nFree:] {
			if col.unit != u {
				continue
			}
			w := t.ax[:n]
			c.grid.Unbin(w, v.weights[i], from, to)
			for r, g := range t.v[:n] {
				w[r] = v.amp[v.nFree+i]*g - w[r]
			}
			v.single[i].BrightnessVJP(gp, hx, hy, w, px, py)
		}
	}
}

// gradient adds the derivatives by the parameters of the priors and by the factor of the noise to the chain's, those by the
// factor of the noise without determinants being there.
func (v *inversion) gradient() error {
	c, g := v.c, len(v.columns)-v.nFree
	v.trace = 0
	for i, l := range v.pixelised {
		var gimg []float64
		if c.wantsImage(l) {
			gimg = c.gimgs[v.index[i]]
			clear(gimg)
		}
		first, end := v.first[i], v.first[i+1]
		v.trace += l.splines.PrecisionVJP(c.gTheta[l.first:l.first+l.n], gimg, v.s[first:end], v.a[first*(v.n+1):], v.n, 1, v.work[first:end])
		if gimg != nil {
			if err := c.reverseImage(v.index[i]); err != nil {
				return err
			}
		}
	}
	for i := range g {
		v.trace += v.columns[v.nFree+i].weight * v.gauss[i*g+i]
	}
	for _, col := range v.columns {
		c.gTheta[col.at] = 0
	}
	if at := c.like.scaleAt; at >= 0 {
		c.gTheta[at] += (float64(v.n+g) - v.trace) / c.fit.s
	}
	return nil
}

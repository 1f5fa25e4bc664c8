package physics

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
)

// Information writes the expected information of data about the parameters to dst, of as many rows and columns as Params:
//
//	I_pq = ½ tr(∂_pH M ∂_qH M),   M = H⁻¹ − V,
//
// with V the covariance of the coefficients, symmetric and whole, stored with `pitch` elements from one row to the next. An
// envelope's image is held. It allocates, and takes time of n². The pool may be nil.
func (l *Pixelised) Information(dst [][]float64, v []float64, pitch int, pool *Pool) {
	n := l.n
	m := make([]float64, n*n)
	for k, f := range l.fields {
		f.covariance(m[l.first[k]*(n+1):], n)
	}
	for i := range n {
		for j := range n {
			m[i*n+j] = m[i*n+j]*l.w[i]*l.w[j] - v[i*pitch+j]
		}
	}
	t := information{l: l, n: n, m: m, mh: make([]float64, n*n), scales: l.scaleJac()}
	t.h.of(l)
	const rows = 32
	chunks := (n + rows - 1) / rows
	pool.Run(chunks, func(chunk int) {
		for a := chunk * rows; a < min((chunk+1)*rows, n); a++ {
			t.h.times(t.mh[a*n:(a+1)*n], t.h.val, m[a*n:(a+1)*n], 0, n)
		}
	})
	sums := make([][]float64, chunks)
	pool.Run(chunks, func(chunk int) {
		sum, work := make([]float64, len(l.params)*len(l.params)), make([]float64, n)
		for a := chunk * rows; a < min((chunk+1)*rows, n); a++ {
			t.ofScales(sum, work, a)
			t.ofLengths(sum, work, a)
		}
		sums[chunk] = sum
	})
	for p := range dst {
		for q := range dst[p] {
			dst[p][q] = 0
			row, col := p, q
			if t.scales[p] != nil && t.scales[q] == nil {
				row, col = q, p // the products of a length with others are in its row
			}
			for _, s := range sums {
				dst[p][q] += s[row*len(dst)+col]
			}
		}
	}
}

// information is what Information works with. All parameters but the lengths scale coefficients: with E = diag(∂_p ln w) they
// have ∂_pH = −(E H + H E), and those of p and q together
//
//	I_pq = Σ_ab E_a E'_b ((HM)_ab (HM)_ba + M_ab (HMH)_ab).
//
// A length has ∂H of its own, and with Y = M ∂H M beside E, or beside the ∂'H of another,
//
//	I = −Σ_ab E_a Y_ab H_ab   or   ½ Σ_ab Y_ab ∂'H_ab.
type information struct {
	l      *Pixelised
	n      int
	m, mh  []float64 // M and M H
	h      sparse
	scales [][]float64 // ∂ ln w of each parameter; nil for a length
}

// ofScales adds what row a gives the parameters that are no lengths.
func (t *information) ofScales(sum, work []float64, a int) {
	n, h := t.n, &t.h
	clear(work)
	for e := h.first[a]; e < h.first[a+1]; e++ {
		b := int(h.col[e])
		floats.AddScaled(work, h.val[e], t.mh[b*n:(b+1)*n])
	}
	for b, q := range work {
		work[b] = t.mh[b*n+a]*t.mh[a*n+b] + t.m[a*n+b]*q
	}
	for p, s := range t.scales {
		if s == nil {
			continue
		}
		of := floats.Dot(s, work)
		for q, r := range t.scales {
			if r != nil {
				sum[q*len(t.scales)+p] += r[a] * of
			}
		}
	}
}

// ofLengths adds what row a gives the lengths.
func (t *information) ofLengths(sum, work []float64, a int) {
	n, h, count := t.n, &t.h, len(t.scales)
	own := 1 // the length of the row's grid
	for k := range t.l.grids {
		if a >= t.l.first[k] {
			own = 2*k + 1
		}
	}
	for k := range t.l.grids {
		p, lo, hi := 2*k+1, t.l.first[k], t.l.first[k+1]
		h.times(work, h.slope, t.m[a*n:(a+1)*n], lo, hi)
		for e := h.first[a]; e < h.first[a+1]; e++ {
			b := int(h.col[e])
			y := floats.Dot(work[lo:hi], t.m[b*n+lo:b*n+hi]) / t.l.p[p]
			for q, s := range t.scales {
				if s != nil {
					sum[p*count+q] -= s[a] * y * h.val[e]
				}
			}
			sum[p*count+own] += 0.5 * y * h.slope[e] / t.l.p[own]
		}
	}
}

// scaleJac are the derivatives of ln w by the parameters, sigmas among them; nil for lengths.
func (l *Pixelised) scaleJac() [][]float64 {
	out := make([][]float64, 2*len(l.grids), len(l.params))
	for k := range l.grids {
		out[2*k] = make([]float64, l.n)
		for i := l.first[k]; i < l.first[k+1]; i++ {
			out[2*k][i] = 1 / l.p[2*k]
		}
	}
	return append(out, l.envelopeJac()...)
}

// sparse is H by rows, and its derivative by the logarithm of the length of each row's grid.
type sparse struct {
	first      []int32
	col        []int32
	val, slope []float64
}

// of takes H as the prior has it.
func (s *sparse) of(l *Pixelised) {
	count := make([]int32, l.n+1)
	l.eachPrecision(func(i, j int, _, _ float64) {
		count[i+1]++
		if i != j {
			count[j+1]++
		}
	})
	for i := range l.n {
		count[i+1] += count[i]
	}
	size := count[l.n]
	s.first, s.col, s.val, s.slope = count, make([]int32, size), make([]float64, size), make([]float64, size)
	next := slices.Clone(count)
	put := func(i, j int, h, slope float64) {
		e := next[i]
		next[i]++
		s.col[e], s.val[e], s.slope[e] = int32(j), h, slope
	}
	l.eachPrecision(func(i, j int, h, slope float64) {
		put(i, j, h, slope)
		if i != j {
			put(j, i, h, slope)
		}
	})
}

// times writes the rows from ≤ i < to of the product with x to y, with the elements val or slope.
func (s *sparse) times(y, val, x []float64, from, to int) {
	for i := from; i < to; i++ {
		sum := 0.0
		for e := s.first[i]; e < s.first[i+1]; e++ {
			sum += val[e] * x[s.col[e]]
		}
		y[i] = sum
	}
}

// envelopeJac are the derivatives of ln w by the parameters of the envelope.
func (l *Pixelised) envelopeJac() [][]float64 {
	at := 2 * len(l.grids)
	out := make([][]float64, len(l.params)-at)
	for k := range out {
		out[k] = make([]float64, l.n)
	}
	if l.image != nil {
		l.image.BrightnessJac([][]float64{nil, out[0], out[1], out[2]}, nil, nil, l.nodeX, l.nodeY)
		for _, d := range out {
			for i := range d {
				d[i] *= l.slope[i] / l.rms
			}
		}
		return out
	}
	if l.rounds == 0 {
		return out
	}
	one, g := make([]float64, l.n), make([]float64, len(l.params))
	for i := range l.n {
		clear(one)
		clear(g)
		one[i] = 1
		l.roundsVJP(g, one, i, i+1)
		for k := range out {
			out[k][i] = g[at+k]
		}
	}
	return out
}

// covariance writes R⁻¹ to dst, of `pitch` elements from one row to the next.
func (m *maternField) covariance(dst []float64, pitch int) {
	n, q := m.n, m.sines()
	c := make([]float64, n)
	for i := range n {
		for k := i; k < n; k++ {
			for b := range n {
				c[b] = 0
				for a := range n {
					c[b] += q[i*n+a] * q[k*n+a] / m.eigenvalue(a, b)
				}
			}
			for j := range n {
				for o := range n {
					s := 0.0
					for b, v := range c {
						s += q[j*n+b] * v * q[o*n+b]
					}
					dst[(j*n+i)*pitch+o*n+k] = s
					dst[(j*n+k)*pitch+o*n+i] = s
				}
			}
		}
	}
}

// sines are the eigenvectors of D in one direction: a row of elements for each coefficient.
func (m *maternField) sines() []float64 {
	n := m.n
	q := make([]float64, n*n)
	for i := range n {
		for j := range n {
			q[i*n+j] = math.Sqrt(2/float64(n+1)) * math.Sin(math.Pi*float64((i+1)*(j+1))/float64(n+1))
		}
	}
	return q
}

// eigenvalue is that of R of the sine i along x and j along y.
func (m *maternField) eigenvalue(i, j int) float64 {
	d, e := 0.0, 1.0
	for _, c := range m.row { // R = Σ c_k (D h²)^k
		d += c * e
		e *= m.eigen[i] + m.eigen[j]
	}
	return d
}

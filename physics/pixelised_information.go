package physics

import (
	"math"

	"gonum.org/v1/gonum/floats"
)

// Information writes the expected information of data about the parameters to dst, of as many rows and columns as Params:
//
//	½ tr(∂_pH M ∂_qH M),   M = H⁻¹ − V,
//
// with V the covariance of the coefficients, symmetric and whole, stored with `pitch` elements from one row to the next. An
// envelope's image is held. It allocates, and takes time of n² for each parameter. The pool may be nil.
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
	slopes := l.precisionSlopes()
	const rows = 32
	chunks := (n + rows - 1) / rows
	sums := make([][]float64, chunks)
	pool.Run(chunks, func(chunk int) {
		p := len(slopes)
		sum := make([]float64, p*p)
		x, y := make([]float64, p*n), make([]float64, p*n)
		for a := chunk * rows; a < min((chunk+1)*rows, n); a++ {
			// row a of ∂_pH M, and its column a, M being symmetric
			for q, s := range slopes {
				row, col := x[q*n:(q+1)*n], y[q*n:(q+1)*n]
				clear(row)
				for e := s.first[a]; e < s.first[a+1]; e++ {
					b := int(s.col[e])
					floats.AddScaled(row, s.val[e], m[b*n:(b+1)*n])
				}
				s.times(col, m[a*n:(a+1)*n])
			}
			for q := range p {
				for r := range p {
					sum[q*p+r] += 0.5 * floats.Dot(x[q*n:(q+1)*n], y[r*n:(r+1)*n])
				}
			}
		}
		sums[chunk] = sum
	})
	for q := range dst {
		for r := range dst[q] {
			dst[q][r] = 0
			for _, s := range sums {
				dst[q][r] += s[q*len(slopes)+r]
			}
		}
	}
}

// sparse is a matrix by rows.
type sparse struct {
	first []int32
	col   []int32
	val   []float64
}

// times writes the product with x to y.
func (s *sparse) times(y, x []float64) {
	for i := range y {
		sum := 0.0
		for e := s.first[i]; e < s.first[i+1]; e++ {
			sum += s.val[e] * x[s.col[e]]
		}
		y[i] = sum
	}
}

// precisionSlopes are the derivatives of H by the parameters.
func (l *Pixelised) precisionSlopes() []*sparse {
	shape := l.envelopeJac()
	rows := make([][][2]int32, l.n) // of the columns of each row: itself, and where to find the element among h
	var h, slope []float64
	l.eachPrecision(func(i, j int, a, b float64) {
		at := int32(len(h))
		rows[i] = append(rows[i], [2]int32{int32(j), at})
		if i != j {
			rows[j] = append(rows[j], [2]int32{int32(i), at})
		}
		h, slope = append(h, a), append(slope, b)
	})
	part := make([]int, l.n)
	for k := range l.grids {
		for i := l.first[k]; i < l.first[k+1]; i++ {
			part[i] = k
		}
	}
	out := make([]*sparse, len(l.params))
	for p := range out {
		s := &sparse{first: make([]int32, 1, l.n+1)}
		for i, row := range rows {
			for _, e := range row {
				v := 0.0
				switch at := e[1]; {
				case p >= 2*len(l.grids):
					d := shape[p-2*len(l.grids)]
					v = -(d[i] + d[e[0]]) * h[at]
				case p/2 != part[i]:
				case p%2 == 0:
					v = -2 * h[at] / l.p[p]
				default:
					v = slope[at] / l.p[p]
				}
				if v != 0 {
					s.col, s.val = append(s.col, e[0]), append(s.val, v)
				}
			}
			s.first = append(s.first, int32(len(s.col)))
		}
		out[p] = s
	}
	return out
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

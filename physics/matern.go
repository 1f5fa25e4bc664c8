package physics

import (
	"math"
	"math/rand/v2"
)

// maternField is the prior of the coefficients of a SplineGrid: a Gaussian field with zeros outside the grid, the
// discrete form of (κ² − ∇²)^(α/2) f = white noise (Whittle 1954; Lindgren, Rue & Lindström 2011). Its correlation is
// Matérn's with smoothness ν = α − 1 in two dimensions, κ² = 2ν/length², and its precision
//
//	R = τ (κ² + D)^α,   τ = h²/(4π ν σ² κ^(2ν)),
//
// with D the five-point −∇² of step h. σ is so the standard deviation of a coefficient far from the edges in the limit of
// steps that are short beside the length.
type maternField struct {
	n, alpha int // splines along a side; the power
	step     float64
	offset   [][2]int    // columns and rows between a coefficient and those that a row of R reaches
	power    [][]float64 // D^k h^(2k) for k = 0 … α: a number for each coefficient and offset
	eigen    []float64   // of D h² in one direction

	// what set leaves
	row, slope []float64 // c_k of R = Σ c_k power_k, and of dR/d ln length
	logDet     float64   // ln|R|
	logDetL    float64   // its derivative by ln length
}

func newMaternField(g SplineGrid, smoothness int) *maternField {
	m := &maternField{n: g.N, alpha: smoothness + 1, step: g.Step()}
	for dy := -m.alpha; dy <= m.alpha; dy++ {
		for dx := -m.alpha; dx <= m.alpha; dx++ {
			if absInt(dx)+absInt(dy) <= m.alpha {
				m.offset = append(m.offset, [2]int{dx, dy})
			}
		}
	}
	at := map[[2]int]int{}
	for o, d := range m.offset {
		at[d] = o
	}
	for k := range m.alpha + 1 {
		p := make([]float64, g.Len()*len(m.offset))
		for j := range g.Len() {
			row := p[j*len(m.offset):][:len(m.offset)]
			if k == 0 {
				row[at[[2]int{}]] = 1
				continue
			}
			// D^k = D^(k−1) D
			before := m.power[k-1][j*len(m.offset):][:len(m.offset)]
			for o, v := range before {
				if v == 0 {
					continue
				}
				d := m.offset[o]
				row[o] += 4 * v
				for _, e := range [...][2]int{{1, 0}, {-1, 0}, {0, 1}, {0, -1}} {
					to := [2]int{d[0] + e[0], d[1] + e[1]}
					if x, y := j%g.N+to[0], j/g.N+to[1]; x >= 0 && y >= 0 && x < g.N && y < g.N {
						row[at[to]] -= v
					}
				}
			}
		}
		m.power = append(m.power, p)
	}
	for i := range g.N {
		m.eigen = append(m.eigen, 2-2*math.Cos(math.Pi*float64(i+1)/float64(g.N+1)))
	}
	m.row, m.slope = make([]float64, m.alpha+1), make([]float64, m.alpha+1)
	return m
}

// set takes σ in the unit of brightness and the length in arcsec.
func (m *maternField) set(sigma, length float64) {
	nu := float64(m.alpha - 1)
	k2, h2 := 2*nu/(length*length), m.step*m.step
	tau := h2 / (4 * math.Pi * nu * sigma * sigma * math.Pow(k2, nu))
	binomial, power := 1.0, math.Pow(k2, float64(m.alpha))
	for k := range m.row {
		c := tau * binomial * power
		m.row[k] = c
		// d ln τ/d ln length = 2ν, d κ²/d ln length = −2κ²
		m.slope[k] = c * (2*nu - 2*float64(m.alpha-k))
		binomial *= float64(m.alpha-k) / float64(k+1)
		power /= k2 * h2
	}
	n, sum, inverse := float64(m.n*m.n), 0.0, 0.0
	for _, a := range m.eigen {
		for _, b := range m.eigen {
			v := k2 + (a+b)/h2
			sum += math.Log(v)
			inverse += 1 / v
		}
	}
	m.logDet = n*math.Log(tau) + float64(m.alpha)*sum
	m.logDetL = 2*nu*n - 2*k2*float64(m.alpha)*inverse
}

// each calls visit with every place i, j ≥ i of the upper triangle of R that is not zero by its pattern, the element there
// and its derivative by ln length.
func (m *maternField) each(visit func(i, j int, r, slope float64)) {
	n, width := m.n, len(m.offset)
	for i := range n * n {
		x, y := i%n, i/n
		for o, d := range m.offset {
			if d[1] < 0 || d[1] == 0 && d[0] < 0 {
				continue
			}
			if u, v := x+d[0], y+d[1]; u < 0 || u >= n || v >= n {
				continue
			}
			r, s := 0.0, 0.0
			for k, p := range m.power {
				e := p[i*width+o]
				r += m.row[k] * e
				s += m.slope[k] * e
			}
			visit(i, i+d[1]*n+d[0], r, s)
		}
	}
}

// draw writes a draw of the field to s: white noise in the basis of sines, in which R is diagonal.
func (m *maternField) draw(s []float64, rng *rand.Rand) {
	n, basis := m.n, m.sines()
	noise, half := make([]float64, n*n), make([]float64, n*n)
	for j := range n {
		for i := range n {
			noise[j*n+i] = rng.NormFloat64() / math.Sqrt(m.eigenvalue(i, j))
		}
	}
	multiply := func(dst, a []float64) { // dst = (a basis)ᵀ
		for j := range n {
			for i := range n {
				sum := 0.0
				for k := range n {
					sum += a[j*n+k] * basis[k*n+i]
				}
				dst[i*n+j] = sum
			}
		}
	}
	multiply(half, noise)
	multiply(s, half)
}

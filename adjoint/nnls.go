package adjoint

import "math"

// nnls finds the x ≥ 0 that minimises ½ xᵀA x − bᵀx for a positive semi-definite A, by the active-set method of Lawson &
// Hanson (1974, chapter 23) on the normal equations.
type nnls struct {
	n       int
	scale   []float64 // of each column, so that the diagonal of A is 1
	a, chol []float64
	b, x, z []float64
	passive []int
	in      []bool
	out     []bool // columns that were tried in vain since x last changed
}

func newNNLS(n int) *nnls {
	return &nnls{n: n, scale: make([]float64, n), a: make([]float64, n*n), chol: make([]float64, n*n), b: make([]float64, n),
		x: make([]float64, n), z: make([]float64, n), passive: make([]int, 0, n), in: make([]bool, n), out: make([]bool, n)}
}

// leastGain is the derivative from which a column is taken in, in parts of √(bᵀ b), the columns scaled; leastPivot is that
// from which it adds something to those that are in.
const (
	leastGain  = 1e-12
	leastPivot = 1e-11
)

// solve writes the solution to x; a is n x n, its upper triangle read. ok is false where the numbers are not finite or
// the steps do not end.
func (s *nnls) solve(x, a, b []float64) (ok bool) {
	n, size := s.n, 0.0
	for i := range n {
		s.scale[i] = 0
		if d := a[i*n+i]; d > 0 {
			s.scale[i] = 1 / math.Sqrt(d)
		}
	}
	for i := range n {
		s.b[i] = b[i] * s.scale[i]
		size += s.b[i] * s.b[i]
		for j := i; j < n; j++ {
			v := a[i*n+j] * s.scale[i] * s.scale[j]
			s.a[i*n+j], s.a[j*n+i] = v, v
		}
	}
	if !finite(size) || !allFinite(s.a) {
		return false
	}
	least := leastGain * math.Sqrt(size)
	clear(s.x)
	clear(s.in)
	clear(s.out)
	s.passive = s.passive[:0]
	for range 10*n + 10 {
		// the column whose entry gains most
		best, gain := -1, least
		for i := range n {
			if s.in[i] || s.out[i] || s.scale[i] == 0 {
				continue
			}
			g := s.b[i]
			for _, j := range s.passive {
				g -= s.a[i*n+j] * s.x[j]
			}
			if g > gain {
				best, gain = i, g
			}
		}
		if best < 0 {
			for i := range n {
				x[i] = s.x[i] * s.scale[i]
			}
			return true
		}
		s.in[best] = true
		s.passive = append(s.passive, best)
		for first := true; ; first = false {
			if !s.unconstrained() || first && s.z[best] <= 0 {
				// the column adds nothing to the others, or its sign is one of rounding
				s.leave(best)
				s.out[best] = true
				break
			}
			clear(s.out)
			if s.step() {
				break
			}
		}
	}
	return false
}

// leave takes column i out.
func (s *nnls) leave(i int) {
	s.in[i], s.x[i] = false, 0
	for k, j := range s.passive {
		if j == i {
			s.passive = append(s.passive[:k], s.passive[k+1:]...)
			return
		}
	}
}

// step goes from x towards z as far as no entry turns negative, and tells whether it got there; otherwise entries that
// became zero are out.
func (s *nnls) step() (there bool) {
	alpha, least := 1.0, -1
	for _, j := range s.passive {
		if s.z[j] <= 0 {
			if t := s.x[j] / (s.x[j] - s.z[j]); t < alpha || least < 0 {
				alpha, least = t, j
			}
		}
	}
	if least < 0 {
		for _, j := range s.passive {
			s.x[j] = s.z[j]
		}
		return true
	}
	for _, j := range s.passive {
		s.x[j] += alpha * (s.z[j] - s.x[j])
	}
	s.x[least] = 0
	for k := len(s.passive) - 1; k >= 0; k-- {
		if j := s.passive[k]; s.x[j] <= 0 {
			s.leave(j)
		}
	}
	return false
}

// unconstrained writes the minimum over the columns that are in to z; false where they depend on each other.
func (s *nnls) unconstrained() bool {
	n, m := s.n, len(s.passive)
	l := s.chol
	for r, i := range s.passive {
		v := s.b[i]
		for c, j := range s.passive[:r+1] {
			d := s.a[i*n+j]
			for k := range c {
				d -= l[r*n+k] * l[c*n+k]
			}
			if c < r {
				l[r*n+c] = d / l[c*n+c]
				v -= l[r*n+c] * s.z[s.passive[c]]
				continue
			}
			if !(d > leastPivot) {
				return false
			}
			l[r*n+r] = math.Sqrt(d)
		}
		s.z[i] = v / l[r*n+r]
	}
	for r := m - 1; r >= 0; r-- {
		i := s.passive[r]
		v := s.z[i]
		for k := r + 1; k < m; k++ {
			v -= l[k*n+r] * s.z[s.passive[k]]
		}
		s.z[i] = v / l[r*n+r]
	}
	return true
}

package samplers

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
)

// Metric is a linear change of coordinates x = A u that is meant to make a density round: A Aᵀ ≈ its covariance (in
// the words of Hamiltonian Monte Carlo, the inverse mass matrix). A is the identity, the diagonal SD, or the lower
// triangular matrix Lower. It is plain data and is kept to the bit by encoding/json.
type Metric struct {
	N     int
	SD    []float64 `json:",omitempty"` // diagonal of A, N long, or nil
	Lower []float64 `json:",omitempty"` // A, N×N row-major with zeros above the diagonal, or nil
}

// NewMetric is the identity for n parameters.
func NewMetric(n int) *Metric { return &Metric{N: n} }

// NewMetricDiag is the diagonal metric with the given standard deviations.
func NewMetricDiag(sd []float64) (*Metric, error) {
	for i, s := range sd {
		if !(s > 0) || math.IsInf(s, 0) {
			return nil, fmt.Errorf("samplers: metric: standard deviation %d: found %v, expected a positive number", i, s)
		}
	}
	return &Metric{N: len(sd), SD: append([]float64(nil), sd...)}, nil
}

// NewMetricCov is the dense metric of a covariance matrix.
func NewMetricCov(cov mat.Symmetric) (*Metric, error) {
	n := cov.SymmetricDim()
	scale, err := unitScale(cov, "covariance")
	if err != nil {
		return nil, err
	}
	s := mat.NewSymDense(n, nil)
	for i := range scale {
		for j := i; j < n; j++ {
			s.SetSym(i, j, cov.At(i, j)*scale[i]*scale[j])
		}
	}
	var c mat.Cholesky
	if !c.Factorize(s) {
		return nil, errors.New("samplers: metric: covariance is not positive definite")
	}
	u := c.RawU() // S = UᵀU
	m := &Metric{N: n, Lower: make([]float64, n*n)}
	for i := range scale {
		for j := 0; j <= i; j++ {
			m.Lower[i*n+j] = u.At(j, i) / scale[i]
		}
	}
	return m, nil
}

// NewMetricHess is the dense metric of a curvature matrix H = −∇² log p: A Aᵀ = H⁻¹. Of H scaled to a unit diagonal,
// eigenvalues below floor times the largest are raised to that (0: 1e-12); floored says how many were, 0 when H is
// well determined. A diagonal element that is not positive is an error that names it.
func NewMetricHess(h mat.Symmetric, floor float64) (m *Metric, floored int, err error) {
	n := h.SymmetricDim()
	if floor == 0 {
		floor = 1e-12
	}
	scale, err := unitScale(h, "curvature")
	if err != nil {
		return nil, 0, err
	}
	s := mat.NewSymDense(n, nil)
	for i := range scale {
		for j := i; j < n; j++ {
			s.SetSym(i, j, h.At(i, j)*scale[i]*scale[j])
		}
	}
	var e mat.EigenSym
	if !e.Factorize(s, true) {
		return nil, 0, errors.New("samplers: metric: curvature: the eigenvalue iteration did not converge")
	}
	values := e.Values(nil)
	var v mat.Dense
	e.VectorsTo(&v)
	least := floor * values[n-1]
	// H⁻¹ = B Bᵀ with B = D V Λ^-½, and Bᵀ = QR makes it RᵀR without squaring the condition number.
	bt := mat.NewDense(n, n, nil)
	for k := 0; k < n; k++ {
		if values[k] < least {
			values[k] = least
			floored++
		}
		f := 1 / math.Sqrt(values[k])
		for i := 0; i < n; i++ {
			bt.Set(k, i, v.At(i, k)*scale[i]*f)
		}
	}
	var qr mat.QR
	qr.Factorize(bt)
	var r mat.Dense
	qr.RTo(&r)
	m = &Metric{N: n, Lower: make([]float64, n*n)}
	for j := 0; j < n; j++ {
		sign := 1.0
		if r.At(j, j) < 0 {
			sign = -1
		}
		for i := j; i < n; i++ {
			m.Lower[i*n+j] = sign * r.At(j, i)
		}
	}
	if !allFinite(m.Lower) {
		return nil, 0, errors.New("samplers: metric: curvature: its inverse is not finite")
	}
	return m, floored, nil
}

// unitScale is the scaling D with (D S D)_ii = 1.
func unitScale(s mat.Symmetric, what string) ([]float64, error) {
	d := make([]float64, s.SymmetricDim())
	for i := range d {
		v := s.At(i, i)
		if !(v > 0) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("samplers: metric: %s: diagonal element %d: found %v, expected a positive number", what, i, v)
		}
		d[i] = 1 / math.Sqrt(v)
	}
	return d, nil
}

// Push writes A u into dx. The two may be the same slice.
func (m *Metric) Push(dx, u []float64) {
	copy(dx, u)
	switch {
	case m.Lower != nil:
		blas64.Trmv(blas.NoTrans, m.triangle(), vector(dx))
	case m.SD != nil:
		for i, s := range m.SD {
			dx[i] *= s
		}
	}
}

// Pull writes Aᵀ g into gu: the gradient by u, given the gradient by x. The two may be the same slice.
func (m *Metric) Pull(gu, g []float64) {
	copy(gu, g)
	switch {
	case m.Lower != nil:
		blas64.Trmv(blas.Trans, m.triangle(), vector(gu))
	case m.SD != nil:
		for i, s := range m.SD {
			gu[i] *= s
		}
	}
}

// Solve writes A⁻¹ dx into u. The two may be the same slice.
func (m *Metric) Solve(u, dx []float64) {
	copy(u, dx)
	switch {
	case m.Lower != nil:
		blas64.Trsv(blas.NoTrans, m.triangle(), vector(u))
	case m.SD != nil:
		for i, s := range m.SD {
			u[i] /= s
		}
	}
}

// solveTrans writes A⁻ᵀ u into g.
func (m *Metric) solveTrans(g, u []float64) {
	copy(g, u)
	switch {
	case m.Lower != nil:
		blas64.Trsv(blas.Trans, m.triangle(), vector(g))
	case m.SD != nil:
		for i, s := range m.SD {
			g[i] /= s
		}
	}
}

// LogDet is log |A|, half the log determinant of the covariance.
func (m *Metric) LogDet() float64 {
	s := 0.0
	for i := 0; i < m.N; i++ {
		switch {
		case m.Lower != nil:
			s += math.Log(m.Lower[i*m.N+i])
		case m.SD != nil:
			s += math.Log(m.SD[i])
		}
	}
	return s
}

// Variances writes the diagonal of A Aᵀ into dst.
func (m *Metric) Variances(dst []float64) {
	for i := range dst {
		switch {
		case m.Lower != nil:
			dst[i] = 0
			for _, v := range m.Lower[i*m.N : i*m.N+i+1] {
				dst[i] += v * v
			}
		case m.SD != nil:
			dst[i] = m.SD[i] * m.SD[i]
		default:
			dst[i] = 1
		}
	}
}

// Cov is A Aᵀ.
func (m *Metric) Cov() *mat.SymDense {
	c := mat.NewSymDense(m.N, nil)
	if m.Lower != nil {
		c.SymOuterK(1, mat.NewDense(m.N, m.N, m.Lower))
		return c
	}
	v := make([]float64, m.N)
	m.Variances(v)
	for i, x := range v {
		c.SetSym(i, i, x)
	}
	return c
}

// Clone is a deep copy.
func (m *Metric) Clone() *Metric {
	return &Metric{N: m.N, SD: cloneFloats(m.SD), Lower: cloneFloats(m.Lower)}
}

// Validate checks a metric that comes from a file.
func (m *Metric) Validate() error {
	switch {
	case m.SD != nil && m.Lower != nil:
		return errors.New("samplers: metric: found a diagonal and a matrix, expected one of them")
	case m.SD != nil && len(m.SD) != m.N:
		return fmt.Errorf("samplers: metric: found %d standard deviations, expected %d", len(m.SD), m.N)
	case m.Lower != nil && len(m.Lower) != m.N*m.N:
		return fmt.Errorf("samplers: metric: found %d matrix elements, expected %d", len(m.Lower), m.N*m.N)
	}
	for i := 0; i < m.N; i++ {
		d := 1.0
		if m.SD != nil {
			d = m.SD[i]
		} else if m.Lower != nil {
			d = m.Lower[i*m.N+i]
		}
		if !(d > 0) || math.IsInf(d, 0) {
			return fmt.Errorf("samplers: metric: diagonal element %d: found %v, expected a positive number", i, d)
		}
	}
	if !allFinite(m.Lower) {
		return errors.New("samplers: metric: found an element that is not finite")
	}
	return nil
}

func (m *Metric) triangle() blas64.Triangular {
	return blas64.Triangular{Uplo: blas.Lower, Diag: blas.NonUnit, N: m.N, Data: m.Lower, Stride: m.N}
}

func vector(x []float64) blas64.Vector { return blas64.Vector{N: len(x), Data: x, Inc: 1} }

func cloneFloats(x []float64) []float64 {
	if x == nil {
		return nil
	}
	return append([]float64{}, x...)
}

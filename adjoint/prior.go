package adjoint

import (
	"fmt"
	"math"
	"sort"
	"strings"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/mathext"

	"lenskit/physics"
)

// Prior is what is known of a parameter beforehand, as physics has it.
type Prior = physics.Prior

// scalarPrior maps a standard normal coordinate to a parameter.
type scalarPrior interface {
	// push returns θ(u) and dθ/du.
	push(u float64) (theta, slope float64)
	// pull returns the u with θ(u) = theta, in ±uMax; NaN outside the support.
	pull(theta float64) float64
	// logp returns log p(θ) and its derivative by θ; -Inf and 0 outside the support.
	logp(theta float64) (lp, dlp float64)
	// precision is the positive part c ≥ 0 of −d² log p/dθ² that goes into the Gauss-Newton matrix.
	precision(theta float64) float64
}

// uMax is the largest coordinate that pull returns for a value on a bound: 1 - Φ(8) is 6e-16.
const uMax = 8

// families is the table of scalar priors: each checks its parameters and compiles.
var families = map[physics.Family]func(p Prior) (scalarPrior, error){
	physics.FamilyNormal:    compileNormal,
	physics.FamilyUniform:   compileUniform,
	physics.FamilyLogNormal: compileLogNormal,
}

// compile makes the map of a scalar prior that is not fixed.
func compile(p Prior) (scalarPrior, error) {
	if lo, hi := p.Bounds(); !(lo < hi) {
		return nil, fmt.Errorf("found bounds [%g, %g], expected a lower and a higher one", lo, hi)
	}
	if family, ok := families[p.Family]; ok {
		return family(p)
	}
	names := []string{string(physics.FamilyFixed), string(physics.FamilyMultivariate)}
	for name := range families {
		names = append(names, string(name))
	}
	sort.Strings(names)
	return nil, fmt.Errorf("found prior %q, expected one of %s", p.Family, strings.Join(names, ", "))
}

func compileNormal(p Prior) (scalarPrior, error) {
	lo, hi := p.Bounds()
	if lo == math.Inf(-1) && hi == math.Inf(1) {
		if err := checkNormal(p.A, p.B); err != nil {
			return nil, err
		}
		return normal{p.A, p.B}, nil
	}
	return newTruncated(p.A, p.B, lo, hi)
}

func checkNormal(mean, sigma float64) error {
	if !finite(mean) || !(sigma > 0) || !finite(sigma) {
		return fmt.Errorf("found a normal prior with mean %g and width %g, expected finite numbers and a positive width", mean, sigma)
	}
	return nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

var logSqrt2Pi = 0.5 * math.Log(2*math.Pi)

// normal is a normal prior without bounds.
type normal struct{ mean, sigma float64 }

func (p normal) push(u float64) (theta, slope float64) { return p.mean + p.sigma*u, p.sigma }

func (p normal) pull(theta float64) float64 { return (theta - p.mean) / p.sigma }

func (p normal) logp(theta float64) (lp, dlp float64) {
	t := (theta - p.mean) / p.sigma
	return -0.5*t*t - math.Log(p.sigma) - logSqrt2Pi, -t / p.sigma
}

func (p normal) precision(float64) float64 { return 1 / (p.sigma * p.sigma) }

// truncated is a normal prior within bounds. In units of its width about its mean the bounds are a < b; with P = Φ and
// its complement Q each known to full relative accuracy in its tail, the coordinate u has
//
//	Φ(t) = P(a) Q(u) + P(b) P(u),   Q(t) = Q(a) Q(u) + Q(b) P(u),
//
// sums of positive terms, of which the smaller is inverted.
type truncated struct {
	mean, sigma, lo, hi float64
	a, b                float64
	pa, qa, pb, qb      float64
	mass, logMass       float64 // Φ(b) − Φ(a)
}

func newTruncated(mean, sigma, lo, hi float64) (truncated, error) {
	if err := checkNormal(mean, sigma); err != nil {
		return truncated{}, err
	}
	p := truncated{mean: mean, sigma: sigma, lo: lo, hi: hi, a: (lo - mean) / sigma, b: (hi - mean) / sigma}
	p.pa, p.qa = tails(p.a)
	p.pb, p.qb = tails(p.b)
	p.mass = normalMass(p.a, p.b)
	p.logMass = math.Log(p.mass)
	if !(p.mass > 1e-290) {
		return truncated{}, fmt.Errorf("found bounds [%g, %g] that a normal prior with mean %g and width %g does not reach, expected bounds within 36 widths of the mean",
			lo, hi, mean, sigma)
	}
	return p, nil
}

// tails are Φ(t) and 1 − Φ(t).
func tails(t float64) (p, q float64) {
	return 0.5 * math.Erfc(-t/math.Sqrt2), 0.5 * math.Erfc(t/math.Sqrt2)
}

// normalMass is Φ(b) − Φ(a) for a < b, to full relative accuracy.
func normalMass(a, b float64) float64 {
	if h := b - a; h*(1+math.Max(math.Abs(a), math.Abs(b))) < 0.1 {
		// five-point Gauss-Legendre rule: the difference would cancel
		m, s := 0.5*(a+b), 0.0
		for i, x := range [...]float64{-0.9061798459386640, -0.5384693101056831, 0, 0.5384693101056831, 0.9061798459386640} {
			w := [...]float64{0.2369268850561891, 0.4786286704993665, 0.5688888888888889, 0.4786286704993665, 0.2369268850561891}[i]
			t := m + 0.5*h*x
			s += w * math.Exp(-0.5*t*t)
		}
		return 0.5 * h * s / math.Sqrt(2*math.Pi)
	}
	pa, qa := tails(a)
	pb, qb := tails(b)
	switch {
	case a > 0:
		return qa - qb
	case b < 0:
		return pb - pa
	}
	return 1 - pa - qb
}

// quantile inverts (p, q) = (Φ(t), 1−Φ(t)) through the smaller of the two.
func quantile(p, q float64) float64 {
	if p < q {
		return mathext.NormalQuantile(p)
	}
	return -mathext.NormalQuantile(q)
}

func (p truncated) push(u float64) (theta, slope float64) {
	pu, qu := tails(u)
	t := quantile(p.pa*qu+p.pb*pu, p.qa*qu+p.qb*pu)
	t = math.Min(math.Max(t, p.a), p.b)
	// dt/du = φ(u) mass/φ(t)
	slope = p.sigma * math.Exp(0.5*(t-u)*(t+u)+p.logMass)
	if math.IsNaN(slope) { // |u| beyond all numbers
		slope = 0
	}
	return math.Min(math.Max(p.mean+p.sigma*t, p.lo), p.hi), slope
}

func (p truncated) pull(theta float64) float64 {
	if !(theta >= p.lo && theta <= p.hi) {
		return math.NaN()
	}
	t := (theta - p.mean) / p.sigma
	below, above := normalMass(p.a, t)/p.mass, normalMass(t, p.b)/p.mass
	switch {
	case t <= p.a || below <= 0:
		return -uMax
	case t >= p.b || above <= 0:
		return uMax
	}
	return quantile(below, above)
}

func (p truncated) logp(theta float64) (lp, dlp float64) {
	if !(theta >= p.lo && theta <= p.hi) {
		return math.Inf(-1), 0
	}
	t := (theta - p.mean) / p.sigma
	return -0.5*t*t - math.Log(p.sigma) - logSqrt2Pi - p.logMass, -t / p.sigma
}

func (p truncated) precision(float64) float64 { return 1 / (p.sigma * p.sigma) }

// uniform is constant between two finite numbers.
type uniform struct{ lo, hi float64 }

func compileUniform(p Prior) (scalarPrior, error) {
	lo, hi := p.Support()
	if !finite(p.A) || !finite(p.B) || !(lo < hi) || !finite(hi-lo) {
		return nil, fmt.Errorf("found a uniform prior on [%g, %g], expected a lower and a higher finite number", lo, hi)
	}
	return uniform{lo, hi}, nil
}

func (p uniform) push(u float64) (theta, slope float64) {
	pu, qu := tails(u)
	w := p.hi - p.lo
	slope = w * math.Exp(-0.5*u*u-logSqrt2Pi)
	if u < 0 {
		return math.Min(p.lo+w*pu, p.hi), slope
	}
	return math.Max(p.hi-w*qu, p.lo), slope
}

func (p uniform) pull(theta float64) float64 {
	switch {
	case !(theta >= p.lo && theta <= p.hi):
		return math.NaN()
	case theta == p.lo:
		return -uMax
	case theta == p.hi:
		return uMax
	}
	w := p.hi - p.lo
	return quantile((theta-p.lo)/w, (p.hi-theta)/w)
}

func (p uniform) logp(theta float64) (lp, dlp float64) {
	if !(theta >= p.lo && theta <= p.hi) {
		return math.Inf(-1), 0
	}
	return -math.Log(p.hi - p.lo), 0
}

func (p uniform) precision(float64) float64 { return 0 }

// logNormal is the exponential of a normal, truncated or not.
type logNormal struct {
	of    scalarPrior
	sigma float64
}

func compileLogNormal(p Prior) (scalarPrior, error) {
	lo, hi := p.Bounds()
	if !(hi > 0) {
		return nil, fmt.Errorf("found a lognormal prior with bounds [%g, %g], expected room above 0", lo, hi)
	}
	q := physics.Normal(p.A, p.B)
	if lo > 0 || !math.IsInf(hi, 1) {
		q = q.Bounded(math.Log(math.Max(lo, 0)), math.Log(hi))
		if q.Lo == 0 && q.Hi == 0 { // both bounds at 1
			return nil, fmt.Errorf("found bounds [%g, %g], expected a lower and a higher one", lo, hi)
		}
	}
	of, err := compileNormal(q)
	if err != nil {
		return nil, err
	}
	return logNormal{of, p.B}, nil
}

func (p logNormal) push(u float64) (theta, slope float64) {
	t, s := p.of.push(u)
	theta = math.Exp(t)
	return theta, theta * s
}

func (p logNormal) pull(theta float64) float64 {
	if !(theta > 0) {
		return math.NaN()
	}
	return p.of.pull(math.Log(theta))
}

func (p logNormal) logp(theta float64) (lp, dlp float64) {
	if !(theta > 0) {
		return math.Inf(-1), 0
	}
	lt := math.Log(theta)
	lp, dlp = p.of.logp(lt)
	if math.IsInf(lp, -1) {
		return lp, 0
	}
	return lp - lt, (dlp - 1) / theta
}

// precision is that of the logarithm: the curvature of −log θ is left out, as it is not positive.
func (p logNormal) precision(theta float64) float64 {
	return 1 / (p.sigma * p.sigma * theta * theta)
}

// multivariate is the normal prior of n latents: z = mean + L u with L the lower Cholesky factor of the covariance.
type multivariate struct {
	n      int
	mean   []float64
	l      []float64 // n x n, row by row, lower; nil when L is scale times the identity
	scale  float64   // the diagonal when l is nil
	logDet float64   // of L
}

func newMultivariate(p Prior, n int) (*multivariate, error) {
	scale := p.A
	if scale == 0 {
		scale = 1
	}
	if !(scale > 0) || !finite(scale) {
		return nil, fmt.Errorf("found a covariance scale of %g, expected a positive number", p.A)
	}
	if p.Mean != nil && len(p.Mean) != n {
		return nil, fmt.Errorf("found a prior of %d latents, expected %d", len(p.Mean), n)
	}
	m := &multivariate{n: n, mean: make([]float64, n), scale: math.Sqrt(scale)}
	copy(m.mean, p.Mean)
	for i, v := range m.mean {
		if !finite(v) {
			return nil, fmt.Errorf("found %g as mean of latent %d, expected a number", v, i+1)
		}
	}
	if p.Cov == nil {
		m.logDet = float64(n) * math.Log(m.scale)
		return m, nil
	}
	if p.Cov.SymmetricDim() != n {
		return nil, fmt.Errorf("found a covariance of %d latents, expected %d", p.Cov.SymmetricDim(), n)
	}
	var chol mat.Cholesky
	if !chol.Factorize(p.Cov) {
		return nil, fmt.Errorf("found a covariance of the latents that is not positive definite")
	}
	var l mat.TriDense
	chol.LTo(&l)
	m.l = make([]float64, n*n)
	for i := range n {
		for j := range i + 1 {
			m.l[i*n+j] = m.scale * l.At(i, j)
		}
		m.logDet += math.Log(m.l[i*n+i])
	}
	if !finite(m.logDet) {
		return nil, fmt.Errorf("found a covariance of the latents that is not positive definite")
	}
	return m, nil
}

// push writes mean + L u to z.
func (m *multivariate) push(z, u []float64) {
	for i := range z {
		if m.l == nil {
			z[i] = m.mean[i] + m.scale*u[i]
			continue
		}
		s := m.mean[i]
		for j, l := range m.l[i*m.n : i*m.n+i+1] {
			s += l * u[j]
		}
		z[i] = s
	}
}

// pushAdj adds Lᵀ gz to gu.
func (m *multivariate) pushAdj(gu, gz []float64) {
	for i, g := range gz {
		if m.l == nil {
			gu[i] += m.scale * g
			continue
		}
		for j, l := range m.l[i*m.n : i*m.n+i+1] {
			gu[j] += l * g
		}
	}
}

// pull writes L⁻¹(z − mean) to u.
func (m *multivariate) pull(u, z []float64) {
	for i := range u {
		s := z[i] - m.mean[i]
		if m.l == nil {
			u[i] = s / m.scale
			continue
		}
		row := m.l[i*m.n : i*m.n+i+1]
		for j, l := range row[:i] {
			s -= l * u[j]
		}
		u[i] = s / row[i]
	}
}

// pullAdj overwrites g, of u's kind, with L⁻ᵀ g, of z's kind.
func (m *multivariate) pullAdj(g []float64) {
	if m.l == nil {
		for i := range g {
			g[i] /= m.scale
		}
		return
	}
	for i := m.n - 1; i >= 0; i-- {
		row := m.l[i*m.n : i*m.n+i+1]
		g[i] /= row[i]
		for j, l := range row[:i] {
			g[j] -= l * g[i]
		}
	}
}

// column writes column k of L, ∂z/∂u_k.
func (m *multivariate) column(col []float64, k int) {
	clear(col)
	if m.l == nil {
		col[k] = m.scale
		return
	}
	for i := k; i < m.n; i++ {
		col[i] = m.l[i*m.n+k]
	}
}

// logp is log p(z) for the u of z.
func (m *multivariate) logp(u []float64) float64 {
	s := 0.0
	for _, v := range u {
		s += v * v
	}
	return -0.5*s - m.logDet - float64(m.n)*logSqrt2Pi
}

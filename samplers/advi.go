package samplers

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
)

// Family is the kind of Gaussian that Variational fits.
type Family string

// The families.
const (
	MeanField Family = "mean-field" // independent in the coordinates of the start's metric
	FullRank  Family = "full-rank"
)

// VariationalOptions set up Variational; a zero field takes the default in its comment.
type VariationalOptions struct {
	Family  Family  // full-rank
	Steps   int     // 1000
	Samples int     // evaluations per step, in pairs ±ε: 8
	Rate    float64 // Adam's, in units of the start's metric: 0.05, falling to a tenth by half a cosine
}

func (o VariationalOptions) defaults() VariationalOptions {
	if o.Family == "" {
		o.Family = FullRank
	}
	setInt(&o.Steps, 1000)
	setInt(&o.Samples, 8)
	setFloat(&o.Rate, 0.05)
	return o
}

// Validate names a field that makes no sense.
func (o VariationalOptions) Validate() error {
	d := o.defaults()
	switch {
	case d.Family != MeanField && d.Family != FullRank:
		return fmt.Errorf("samplers: variational: family: found %q, expected mean-field or full-rank", o.Family)
	case d.Steps < 2:
		return fmt.Errorf("samplers: variational: steps: found %d, expected 2 or more", o.Steps)
	case d.Samples < 1:
		return fmt.Errorf("samplers: variational: samples: found %d, expected a positive number", o.Samples)
	case !(d.Rate > 0):
		return fmt.Errorf("samplers: variational: rate: found %v, expected a positive number", o.Rate)
	}
	return nil
}

// Variation is the result of Variational.
type Variation struct {
	Gaussian *Gaussian
	ELBO     float64 // evidence lower bound, mean over the last quarter of the steps
	ELBOErr  float64 // its Monte Carlo error
	// Drift is by how much the ELBO rose from the third to the last quarter; well above ELBOErr the fit is not finished.
	Drift float64
	Tally
}

// Variational fits a Gaussian to the target by raising the evidence lower bound (ADVI; Kucukelbir et al. 2017), from
// start, usually the Laplace approximation or a unit Gaussian, in whose coordinates it works: x = mean + A (m + L ε),
// ε ~ N(0, I), L lower triangular or diagonal. Gradients are by reparametrisation without the score term (Roeder, Wu &
// Duvenaud 2017), so that they vanish when the fit is exact, on antithetic pairs; the result is the mean of the last
// quarter of the iterates. Rejected points are left out of a step and counted. Importance tells how good the fit is.
func Variational(ctx context.Context, t Target, start *Gaussian, opt VariationalOptions, rng *rand.Rand) (*Variation, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	opt = opt.defaults()
	n := t.Dim()
	if start.Dim() != n || start.Metric.N != n {
		return nil, fmt.Errorf("samplers: variational: start: found %d parameters, expected %d", start.Dim(), n)
	}
	v := newVarFit(t, start, opt, rng)
	last := opt.Steps - opt.Steps/4
	var tail, before runningMean
	for k := 0; k < opt.Steps; k++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		elbo, ok, err := v.gradient()
		if err != nil {
			return nil, fmt.Errorf("samplers: variational: step %d: %w", k, err)
		}
		if ok {
			v.climb(k)
		}
		switch {
		case k >= last:
			for i, p := range v.param {
				v.mean[i] += (p - v.mean[i]) / float64(k-last+1)
			}
			if ok {
				tail.add(elbo)
			}
		case k >= 2*last-opt.Steps && ok:
			before.add(elbo)
		}
	}
	if tail.n < 2 {
		return nil, fmt.Errorf("samplers: variational: nearly all points were rejected (%v)", v.tally.Rejections)
	}
	out := &Variation{Gaussian: v.result(), ELBO: tail.mean, ELBOErr: math.Sqrt(tail.variance() / float64(tail.n)), Tally: v.tally}
	if before.n > 1 {
		out.Drift = tail.mean - before.mean
	}
	return out, nil
}

// runningMean is Welford's recurrence for one number.
type runningMean struct {
	n        int
	mean, ss float64
}

func (m *runningMean) add(v float64) {
	m.n++
	d := v - m.mean
	m.mean += d / float64(m.n)
	m.ss += d * (v - m.mean)
}

func (m *runningMean) variance() float64 { return m.ss / float64(m.n-1) }

// varFit is a variational fit under way. The parameters are m, then log L_ii, then, full-rank, the rows of L below the
// diagonal.
type varFit struct {
	target   Target
	start    *Gaussian
	opt      VariationalOptions
	rng      *rand.Rand
	n        int
	param    []float64
	grad     []float64
	m1, m2   []float64
	mean     []float64 // of the last iterates
	lower    []float64 // L, n×n
	eps, u   []float64
	x, g, gu []float64
	tally    Tally
}

func newVarFit(t Target, start *Gaussian, opt VariationalOptions, rng *rand.Rand) *varFit {
	n := t.Dim()
	size := 2 * n
	if opt.Family == FullRank {
		size += n * (n - 1) / 2
	}
	f := func(k int) []float64 { return make([]float64, k) }
	return &varFit{target: t, start: start, opt: opt, rng: rng, n: n, param: f(size), grad: f(size), m1: f(size), m2: f(size),
		mean: f(size), lower: f(n * n), eps: f(n), u: f(n), x: f(n), g: f(n), gu: f(n)}
}

// unpack fills L from the parameters.
func (v *varFit) unpack(param []float64) {
	at := 2 * v.n
	for i := 0; i < v.n; i++ {
		v.lower[i*v.n+i] = math.Exp(param[v.n+i])
		if v.opt.Family == FullRank {
			copy(v.lower[i*v.n:i*v.n+i], param[at:at+i])
			at += i
		}
	}
}

func (v *varFit) triangle() blas64.Triangular {
	return blas64.Triangular{Uplo: blas.Lower, Diag: blas.NonUnit, N: v.n, Data: v.lower, Stride: v.n}
}

// gradient estimates the gradient of the bound and the bound itself. ok is false when all points were rejected.
func (v *varFit) gradient() (elbo float64, ok bool, err error) {
	v.unpack(v.param)
	zero(v.grad)
	n, used := v.n, 0
	for s := 0; s < v.opt.Samples; s++ {
		for i := range v.eps {
			if s%2 == 0 {
				v.eps[i] = v.rng.NormFloat64()
			} else {
				v.eps[i] = -v.eps[i]
			}
		}
		copy(v.u, v.eps)
		blas64.Trmv(blas.NoTrans, v.triangle(), vector(v.u))
		for i := range v.u {
			v.u[i] += v.param[i]
		}
		v.start.Metric.Push(v.x, v.u)
		for i, m := range v.start.Mean {
			v.x[i] += m
		}
		lp, good, err := v.tally.logProb(v.target, v.g, v.x)
		if err != nil {
			return 0, false, err
		}
		if !good {
			continue
		}
		used++
		// ∇_u (log p − log q) with q's parameters held: g_u + L⁻ᵀε.
		v.start.Metric.Pull(v.gu, v.g)
		copy(v.u, v.eps)
		blas64.Trsv(blas.Trans, v.triangle(), vector(v.u))
		q := 0.0
		for i := range v.gu {
			v.gu[i] += v.u[i]
			q += v.eps[i] * v.eps[i]
		}
		elbo += lp + 0.5*q
		at := 2 * n
		for i, g := range v.gu {
			v.grad[i] += g
			v.grad[n+i] += g * v.eps[i] * v.lower[i*n+i]
			if v.opt.Family == FullRank {
				for j := 0; j < i; j++ {
					v.grad[at+j] += g * v.eps[j]
				}
				at += i
			}
		}
	}
	if used == 0 {
		return 0, false, nil
	}
	for i := range v.grad {
		v.grad[i] /= float64(used)
	}
	elbo /= float64(used)
	elbo += v.start.Metric.LogDet() + 0.5*float64(n)*math.Log(2*math.Pi)
	for i := 0; i < n; i++ {
		elbo += v.param[n+i]
	}
	return elbo, true, nil
}

// climb takes Adam's step k.
func (v *varFit) climb(k int) {
	const b1, b2 = 0.9, 0.99
	rate := v.opt.Rate * (0.1 + 0.9*0.5*(1+math.Cos(math.Pi*float64(k)/float64(v.opt.Steps-1))))
	c1, c2 := 1/(1-math.Pow(b1, float64(k+1))), 1/(1-math.Pow(b2, float64(k+1)))
	for i, g := range v.grad {
		v.m1[i] = b1*v.m1[i] + (1-b1)*g
		v.m2[i] = b2*v.m2[i] + (1-b2)*g*g
		v.param[i] += rate * v.m1[i] * c1 / (math.Sqrt(v.m2[i]*c2) + 1e-8)
	}
}

// result is the Gaussian of the mean parameters, in x.
func (v *varFit) result() *Gaussian {
	n := v.n
	v.unpack(v.mean)
	g := &Gaussian{Mean: make([]float64, n), Metric: &Metric{N: n}}
	v.start.Metric.Push(g.Mean, v.mean[:n])
	for i, m := range v.start.Mean {
		g.Mean[i] += m
	}
	if v.opt.Family == MeanField && v.start.Metric.Lower == nil {
		g.Metric.SD = make([]float64, n)
		for i := range g.Metric.SD {
			g.Metric.SD[i] = v.lower[i*n+i]
		}
		v.start.Metric.Push(g.Metric.SD, g.Metric.SD)
		return g
	}
	// A L, column by column.
	g.Metric.Lower = make([]float64, n*n)
	col := make([]float64, n)
	for j := 0; j < n; j++ {
		for i := range col {
			col[i] = v.lower[i*n+j]
		}
		v.start.Metric.Push(col, col)
		for i := j; i < n; i++ {
			g.Metric.Lower[i*n+j] = col[i]
		}
	}
	return g
}

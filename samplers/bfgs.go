package samplers

import (
	"context"
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"
)

// BFGSOptions set up BFGS; a zero field takes the default in its comment.
type BFGSOptions struct {
	Steps   int     // accepted steps: 100
	TolStep float64 // converged when a full step is no longer than so many standard deviations: 0.1
	Reach   float64 // the most that a coordinate moves in the first trial of a step: 0.5
	Trials  int     // points tried along a direction: 12
}

func (o BFGSOptions) defaults() BFGSOptions {
	setInt(&o.Steps, 100)
	setFloat(&o.TolStep, 0.1)
	setFloat(&o.Reach, 0.5)
	setInt(&o.Trials, 12)
	return o
}

// Validate names a field that makes no sense.
func (o BFGSOptions) Validate() error {
	d := o.defaults()
	switch {
	case d.Steps < 0:
		return fmt.Errorf("samplers: bfgs: steps: found %d, expected a positive number", o.Steps)
	case !(d.TolStep > 0):
		return fmt.Errorf("samplers: bfgs: tol-step: found %v, expected a positive number", o.TolStep)
	case !(d.Reach > 0):
		return fmt.Errorf("samplers: bfgs: reach: found %v, expected a positive number", o.Reach)
	case d.Trials < 0:
		return fmt.Errorf("samplers: bfgs: trials: found %d, expected a positive number", o.Trials)
	}
	return nil
}

// BFGSState is all that a run of BFGS needs to go on, to the bit. Copy it with Clone.
type BFGSState struct {
	X, Grad   []float64
	LogProb   float64
	Cov       []float64 // what is known of −(∇² log p)⁻¹, n×n
	Iteration int       // accepted steps
	Age       int       // of these, since Cov was last that of the target's own curvature
	Tally
	Started bool
}

// NewBFGSState starts at x, which is copied.
func NewBFGSState(x []float64) *BFGSState {
	n := len(x)
	return &BFGSState{X: cloneFloats(x), Grad: make([]float64, n), Cov: make([]float64, n*n)}
}

// Clone is a deep copy.
func (s *BFGSState) Clone() *BFGSState {
	c := *s
	c.X, c.Grad, c.Cov = cloneFloats(s.X), cloneFloats(s.Grad), cloneFloats(s.Cov)
	c.Tally = s.Tally.clone()
	return &c
}

// Fits tells whether s is the state of a run over n parameters, as one from a file should be.
func (s *BFGSState) Fits(n int) bool {
	return s != nil && len(s.X) == n && len(s.Grad) == n && len(s.Cov) == n*n
}

// Gain is by how much a full step is expected to raise log p, ½ gᵀCg. Its length in standard deviations is √(2 Gain), which
// no parameter's distance from the maximum, in its own standard deviations, exceeds where log p is a parabola.
func (s *BFGSState) Gain() float64 {
	return 0.5 * blas64.Dot(vector(s.Grad), vector(s.direction()))
}

// direction is C g.
func (s *BFGSState) direction() []float64 {
	n := len(s.X)
	p := make([]float64, n)
	blas64.Gemv(blas.NoTrans, 1, blas64.General{Rows: n, Cols: n, Data: s.Cov, Stride: n}, vector(s.Grad), 0, vector(p))
	return p
}

// BFGS climbs log p along C ∇ log p, C beginning as the inverse of the target's own curvature and learning from the gradients
// of each step (Nocedal & Wright 2006, algorithm 6.1, weak Wolfe conditions): where that curvature lacks something, as the
// Gauss-Newton matrix of an evidence does, Levenberg-Marquardt stalls and BFGS goes on. A point that cannot be computed
// shortens the step. Where no point along a direction is higher C begins anew, and if that does not help the run has stalled.
//
// The run advances s and goes on from it when called again with the same target and options. watch, unless nil, is called after
// each accepted step and may save a Clone of s; an error from it ends the run and is returned. When ctx is cancelled the result
// has Status Interrupted, beside ctx's error; what a step begun has evaluated is then not counted.
func BFGS(ctx context.Context, t Curved, s *BFGSState, opt BFGSOptions, watch func(*BFGSState) error) (*Result, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	opt = opt.defaults()
	if n := t.Dim(); !s.Fits(n) {
		return nil, fmt.Errorf("samplers: bfgs: start: found %d parameters, expected %d", len(s.X), n)
	}
	if !s.Started {
		if ok, err := s.renew(t); !ok {
			return nil, startError("bfgs", t, s.X, err)
		}
		s.Started = true
	}
	for {
		if err := ctx.Err(); err != nil {
			return s.result(Interrupted, fmt.Sprintf("after %d of %d steps", s.Iteration, opt.Steps)), err
		}
		length := math.Sqrt(2 * s.Gain())
		switch {
		case length <= opt.TolStep:
			return s.result(Converged, fmt.Sprintf("a full step is %.2g standard deviations long", length)), nil
		case s.Iteration >= opt.Steps:
			return s.result(OutOfSteps, fmt.Sprintf("after %d steps a full one is %.2g standard deviations long", s.Iteration, length)), nil
		}
		before := s.Clone()
		climbed, err := s.step(ctx, t, opt)
		if err == nil && !climbed && s.Age > 0 {
			if _, err = s.renew(t); err == nil {
				continue
			}
		}
		if err != nil {
			*s = *before
			if ctx.Err() != nil {
				return s.result(Interrupted, fmt.Sprintf("after %d of %d steps", s.Iteration, opt.Steps)), err
			}
			return nil, fmt.Errorf("samplers: bfgs: step %d: %w", s.Iteration, err)
		}
		if !climbed {
			return s.result(Stalled, fmt.Sprintf("no step, however short, raises log p, but a full one is %.2g standard deviations long", length)), nil
		}
		if watch != nil {
			if err := watch(s); err != nil {
				return s.result(Interrupted, err.Error()), err
			}
		}
	}
}

// renew takes gradient and C from the target's own curvature at X. A parameter without any is taken to be as wide as the unit.
func (s *BFGSState) renew(t Curved) (ok bool, err error) {
	n := len(s.X)
	hess := mat.NewSymDense(n, nil)
	lp, ok, err := s.logProbHess(t, s.Grad, hess, s.X, nil)
	if !ok {
		return false, err
	}
	for i := range n {
		if hess.At(i, i) > 0 {
			continue
		}
		for j := range n {
			hess.SetSym(i, j, 0)
		}
		hess.SetSym(i, i, 1)
	}
	m, _, err := NewMetricHess(hess, 1e-10)
	if err != nil {
		return false, err
	}
	cov := m.Cov()
	for i := range n {
		for j := range n {
			s.Cov[i*n+j] = cov.At(i, j)
		}
	}
	s.LogProb, s.Age = lp, 0
	return true, nil
}

// linePoint is a point along a direction.
type linePoint struct {
	at, lp, slope float64
	grad          []float64
}

// step moves to a higher point along C g and lets C learn. It reports false where there is none.
func (s *BFGSState) step(ctx context.Context, t Curved, opt BFGSOptions) (bool, error) {
	p := s.direction()
	best, err := s.search(ctx, t, p, opt)
	if best == nil || err != nil {
		return false, err
	}
	n := len(s.X)
	y := make([]float64, n)
	for i := range p {
		p[i] *= best.at
		s.X[i] += p[i]
		y[i] = s.Grad[i] - best.grad[i]
	}
	s.LogProb = best.lp
	copy(s.Grad, best.grad)
	s.learn(p, y)
	s.Iteration++
	s.Age++
	return true, nil
}

// Wolfe's conditions: what a point has to gain of what the slope promises, and what of the slope may be left.
const (
	leastRise = 1e-4
	mostSlope = 0.9
)

// search finds a point along p that gains enough and where the slope has fallen enough for C to learn from, or the highest that
// was tried; nil where none is higher.
func (s *BFGSState) search(ctx context.Context, t Curved, p []float64, opt BFGSOptions) (*linePoint, error) {
	slope := blas64.Dot(vector(s.Grad), vector(p))
	a, far := 1.0, 0.0
	for _, v := range p {
		far = math.Max(far, math.Abs(v))
	}
	if far > opt.Reach {
		a = opt.Reach / far
	}
	if !(slope > 0) || math.IsInf(slope, 0) {
		return nil, nil
	}
	lo, hi := linePoint{lp: s.LogProb, slope: slope}, linePoint{at: math.Inf(1)}
	var best *linePoint
	x := make([]float64, len(p))
	for range opt.Trials {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for i, v := range p {
			x[i] = s.X[i] + a*v
		}
		q := linePoint{at: a, grad: make([]float64, len(p))}
		var ok bool
		var err error
		if q.lp, ok, err = s.logProb(t, q.grad, x); err != nil {
			return nil, err
		}
		if !ok {
			hi = linePoint{at: a, lp: math.NaN()}
			a = lo.at + 0.25*(a-lo.at)
			continue
		}
		q.slope = blas64.Dot(vector(q.grad), vector(p))
		if q.lp > s.LogProb && (best == nil || q.lp > best.lp) {
			best = &q
		}
		switch {
		case !(q.lp >= s.LogProb+leastRise*a*slope):
			hi = q
		case q.slope > mostSlope*slope:
			lo = q
		default:
			return &q, nil
		}
		a = between(lo, hi)
	}
	return best, nil
}

// between is where to look next: at the maximum of the parabola through lo with its slope and hi, not too near to either.
func between(lo, hi linePoint) float64 {
	if math.IsInf(hi.at, 1) {
		return 4 * lo.at
	}
	w := hi.at - lo.at
	f := 0.5 * lo.slope * w / (lo.slope*w - (hi.lp - lo.lp))
	if !(f > 0.1) { // or hi is no number
		f = 0.1
	}
	return lo.at + math.Min(f, 0.5)*w
}

// learn updates C by a step d along which the gradient fell by y, unless log p is no hill there.
func (s *BFGSState) learn(d, y []float64) {
	n := len(d)
	c := blas64.General{Rows: n, Cols: n, Data: s.Cov, Stride: n}
	cy := make([]float64, n)
	blas64.Gemv(blas.NoTrans, 1, c, vector(y), 0, vector(cy))
	dy, ycy := blas64.Dot(vector(d), vector(y)), blas64.Dot(vector(y), vector(cy))
	if !(dy > 1e-10*math.Sqrt(blas64.Dot(vector(d), vector(d))*blas64.Dot(vector(y), vector(y)))) {
		return
	}
	f := (1 + ycy/dy) / dy
	for i := range n {
		for j := range n {
			s.Cov[i*n+j] += f*d[i]*d[j] - (d[i]*cy[j]+cy[i]*d[j])/dy
		}
	}
}

func (s *BFGSState) result(status Status, why string) *Result {
	return &Result{X: cloneFloats(s.X), LogProb: s.LogProb, Grad: cloneFloats(s.Grad), Gain: s.Gain(), Iterations: s.Iteration,
		Tally: s.Tally.clone(), Status: status, Reason: why}
}

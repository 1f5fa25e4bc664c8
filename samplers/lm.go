package samplers

import (
	"context"
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"
)

// LMOptions set up LevenbergMarquardt; a zero field takes the default in its comment.
type LMOptions struct {
	Steps    int     // accepted steps, each with one evaluation of the curvature: 100
	Damping  float64 // first damping, relative to the diagonal of H: 1e-3
	TolGain  float64 // converged when a full Newton step is expected to raise log p by less: 1e-6
	TolStep  float64 // stalled when a step changes x by less than this fraction, in units of the diagonal of H: 1e-10
	Patience int     // stalled when so many steps in a row raise log p by less than TolGain each: 5
}

func (o LMOptions) defaults() LMOptions {
	setInt(&o.Steps, 100)
	setFloat(&o.Damping, 1e-3)
	setFloat(&o.TolGain, 1e-6)
	setFloat(&o.TolStep, 1e-10)
	setInt(&o.Patience, 5)
	return o
}

// Validate names a field that makes no sense.
func (o LMOptions) Validate() error {
	d := o.defaults()
	switch {
	case d.Steps < 0:
		return fmt.Errorf("samplers: lm: steps: found %d, expected a positive number", o.Steps)
	case !(d.Damping > 0):
		return fmt.Errorf("samplers: lm: damping: found %v, expected a positive number", o.Damping)
	case !(d.TolGain > 0):
		return fmt.Errorf("samplers: lm: tol-gain: found %v, expected a positive number", o.TolGain)
	case !(d.TolStep > 0):
		return fmt.Errorf("samplers: lm: tol-step: found %v, expected a positive number", o.TolStep)
	case d.Patience < 0:
		return fmt.Errorf("samplers: lm: patience: found %d, expected a positive number", o.Patience)
	}
	return nil
}

// LMState is all that a run of LevenbergMarquardt needs to go on, to the bit. Copy it with Clone.
type LMState struct {
	X         []float64
	LogProb   float64
	Damping   float64   // μ of the next trial
	Growth    float64   // factor on μ at the next rejection
	Scale     []float64 // the largest diagonal of H seen, per parameter
	Iteration int       // accepted steps
	Idle      int       // accepted steps in a row that raised log p by less than TolGain
	Origin    []float64 `json:",omitempty"` // where the slow parts of a Lagged target's curvature at X were computed; nil: at X
	Age       int       // accepted steps since then
	Trying    bool      `json:",omitempty"` // the trials of a step were stopped: they go on before anything else is asked
	Tally
	Started bool
}

// NewLMState starts at x, which is copied.
func NewLMState(x []float64) *LMState {
	return &LMState{X: cloneFloats(x), Scale: make([]float64, len(x))}
}

// Clone is a deep copy.
func (s *LMState) Clone() *LMState {
	c := *s
	c.X, c.Scale, c.Origin = cloneFloats(s.X), cloneFloats(s.Scale), cloneFloats(s.Origin)
	c.Tally = s.Tally.clone()
	return &c
}

// Fits tells whether s is the state of a run over n parameters, as one from a file should be.
func (s *LMState) Fits(n int) bool {
	return s != nil && len(s.X) == n && len(s.Scale) == n && (s.Origin == nil || len(s.Origin) == n)
}

// LevenbergMarquardt climbs log p by steps (H + μD) δ = ∇ log p, D the largest diagonal of H seen so far (Moré 1978), μ
// by the gain ratio (Nielsen 1999; Madsen, Nielsen & Tingleff 2004, algorithm 3.16). A trial costs one LogProb without
// gradient, an accepted step one LogProbHess; a rejected point raises μ. Of a Lagged target the slow parts of H are kept
// for up to lmLag steps as long as log p rises as foreseen (a chord method): the gradient is always that of the point,
// so only the way is another, not the end. They are computed anew before a step is given up and at the end.
//
// It has converged when a full Newton step is expected to gain less than TolGain in log p; with a rough density it may
// stall before, and Result.Gain then says how much the model still promised.
//
// The run advances s and goes on from it when called again with the same target and options. watch, unless nil, is
// called after each accepted step and may save a Clone of s; an error from it ends the run and is returned. When ctx is
// cancelled the result has Status Interrupted, beside ctx's error.
func LevenbergMarquardt(ctx context.Context, t Curved, s *LMState, opt LMOptions, watch func(*LMState) error) (*Result, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	opt = opt.defaults()
	n := t.Dim()
	if len(s.X) != n || len(s.Scale) != n {
		return nil, fmt.Errorf("samplers: lm: start: found %d parameters, expected %d", len(s.X), n)
	}
	w := newLMWork(n)
	before := s.Tally.clone()
	lp, ok, err := s.logProbHess(t, w.grad, w.hess, s.X, s.Origin)
	if !ok {
		return nil, startError("lm", t, s.X, err)
	}
	if !s.Started {
		s.LogProb, s.Damping, s.Growth, s.Started = lp, opt.Damping, 2, true
	} else {
		s.Tally = before // the curvature at X was counted when it was first computed
	}
	for {
		if err := ctx.Err(); err != nil {
			return w.result(s, Interrupted, fmt.Sprintf("after %d of %d steps", s.Iteration, opt.Steps)), err
		}
		w.rescale(s.Scale)
		gain := w.newtonGain()
		if !s.Trying && s.Origin != nil && (gain <= opt.TolGain || s.Idle >= opt.Patience || s.Iteration >= opt.Steps) {
			if err := w.renew(t, s); err != nil {
				return nil, fmt.Errorf("samplers: lm: step %d: %w", s.Iteration, err)
			}
			continue
		}
		switch {
		case s.Trying:
		case gain <= opt.TolGain:
			return w.result(s, Converged, fmt.Sprintf("a full step would raise log p by %.2g", gain)), nil
		case s.Idle >= opt.Patience:
			return w.result(s, Stalled, fmt.Sprintf("%d steps in a row raised log p by less than %g; a full step promises %.2g", s.Idle, opt.TolGain, gain)), nil
		case s.Iteration >= opt.Steps:
			return w.result(s, OutOfSteps, fmt.Sprintf("after %d steps a full step promises to raise log p by %.2g", s.Iteration, gain)), nil
		}
		climbed, err := w.climb(ctx, t, s, opt)
		s.Trying = err != nil
		if err != nil {
			if ctx.Err() != nil {
				return w.result(s, Interrupted, fmt.Sprintf("after %d of %d steps", s.Iteration, opt.Steps)), err
			}
			return nil, fmt.Errorf("samplers: lm: step %d: %w", s.Iteration, err)
		}
		if !climbed {
			return w.result(s, Stalled, fmt.Sprintf("no step, however short, raises log p, but a full step promises %.2g", gain)), nil
		}
		if watch != nil {
			if err := watch(s); err != nil {
				return w.result(s, Interrupted, err.Error()), err
			}
		}
	}
}

// lmWork holds gradient and curvature at the current point and at the trial, and the scaled system.
type lmWork struct {
	grad, grad1 []float64
	hess, hess1 *mat.SymDense
	inv         []float64 // D^-½
	scaled      []float64 // D^-½ H D^-½, upper triangle, row-major
	fact        []float64 // its damped Cholesky factor
	rhs, step   []float64 // D^-½ g and D^½ δ
	trial       []float64
}

func newLMWork(n int) *lmWork {
	f := func(k int) []float64 { return make([]float64, k) }
	return &lmWork{grad: f(n), grad1: f(n), hess: mat.NewSymDense(n, nil), hess1: mat.NewSymDense(n, nil),
		inv: f(n), scaled: f(n * n), fact: f(n * n), rhs: f(n), step: f(n), trial: f(n)}
}

// rescale raises scale to the diagonal of H and fills the scaled system.
func (w *lmWork) rescale(scale []float64) {
	h := w.hess.RawSymmetric()
	n, top := h.N, 0.0
	for i := range scale {
		scale[i] = math.Max(scale[i], h.Data[i*h.Stride+i])
		top = math.Max(top, scale[i])
	}
	for i := range scale {
		d := scale[i]
		if d <= 0 { // a parameter that log p has not felt so far
			d = math.Max(1e-16*top, math.SmallestNonzeroFloat64*1e20)
		}
		w.inv[i] = 1 / math.Sqrt(d)
	}
	for i := 0; i < n; i++ {
		w.rhs[i] = w.grad[i] * w.inv[i]
		for j := i; j < n; j++ {
			w.scaled[i*n+j] = h.Data[i*h.Stride+j] * w.inv[i] * w.inv[j]
		}
	}
}

// solve finds step = (scaled + μ)⁻¹ rhs, and reports whether the matrix was positive definite.
func (w *lmWork) solve(mu float64) bool {
	n := len(w.rhs)
	copy(w.fact, w.scaled)
	for i := 0; i < n; i++ {
		w.fact[i*n+i] += mu
	}
	u, ok := lapack64.Potrf(blas64.Symmetric{Uplo: blas.Upper, N: n, Data: w.fact, Stride: n})
	if !ok {
		return false
	}
	copy(w.step, w.rhs)
	blas64.Trsv(blas.Trans, u, vector(w.step))
	blas64.Trsv(blas.NoTrans, u, vector(w.step))
	return allFinite(w.step)
}

// newtonGain is ½ gᵀH⁻¹g, with the least damping that lets H be factorised.
func (w *lmWork) newtonGain() float64 {
	for mu := 1e-14; mu < 1e3; mu *= 100 {
		if w.solve(mu) {
			return 0.5 * blas64.Dot(vector(w.rhs), vector(w.step))
		}
	}
	return math.MaxFloat64
}

// climb tries steps of growing damping until one raises log p, and moves s there. It reports false when the step has
// become too short to matter.
func (w *lmWork) climb(ctx context.Context, t Curved, s *LMState, opt LMOptions) (bool, error) {
	size := 0.0
	for i, x := range s.X {
		size = math.Hypot(size, x/w.inv[i])
	}
	// reject raises the damping, or computes anew what was kept of an earlier point's curvature.
	reject := func() error {
		if s.Origin != nil {
			return w.renew(t, s)
		}
		s.Damping *= s.Growth
		s.Growth *= 2
		return nil
	}
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if s.Damping > 1e200 {
			return false, nil
		}
		if !w.solve(s.Damping) {
			if err := reject(); err != nil {
				return false, err
			}
			continue
		}
		// The model's gain: gᵀδ − ½δᵀHδ = ½ δᵀ(g + μDδ).
		gain, length := 0.0, 0.0
		for i, d := range w.step {
			gain += 0.5 * d * (w.rhs[i] + s.Damping*d)
			length = math.Hypot(length, d)
			w.trial[i] = s.X[i] + d*w.inv[i]
		}
		if length <= opt.TolStep*(size+opt.TolStep) && s.Origin == nil {
			return false, nil
		}
		lp, ok, err := s.logProb(t, nil, w.trial)
		if err != nil {
			return false, err
		}
		if !ok || !(lp > s.LogProb) {
			if err := reject(); err != nil {
				return false, err
			}
			continue
		}
		origin := s.keep(t, (lp-s.LogProb)/gain)
		lp, ok, err = s.logProbHess(t, w.grad1, w.hess1, w.trial, origin)
		if err != nil {
			return false, err
		}
		if !ok || !(lp > s.LogProb) {
			if err := reject(); err != nil {
				return false, err
			}
			continue
		}
		if s.Age++; origin == nil {
			s.Age = 0
		}
		s.Origin = origin
		if lp-s.LogProb < opt.TolGain {
			s.Idle++
		} else {
			s.Idle = 0
		}
		r := 2*(lp-s.LogProb)/gain - 1
		s.Damping = math.Max(s.Damping*math.Max(1./3, 1-r*r*r), 1e-15)
		s.Growth = 2
		s.LogProb = lp
		s.Iteration++
		copy(s.X, w.trial)
		w.grad, w.grad1 = w.grad1, w.grad
		w.hess, w.hess1 = w.hess1, w.hess
		return true, nil
	}
}

// How long the slow parts of the curvature are kept, and how far log p may be from what was foreseen.
const (
	lmLag      = 8
	lmForeseen = 0.6
)

// keep is where the slow parts of the curvature at the next point are taken from, after a step that raised log p by
// ratio times what was foreseen; nil: they are computed there.
func (s *LMState) keep(t Curved, ratio float64) []float64 {
	if _, can := t.(Lagged); !can || s.Age >= lmLag || math.Abs(ratio-1) > lmForeseen {
		return nil
	}
	if s.Origin != nil {
		return s.Origin
	}
	return cloneFloats(s.X)
}

// renew computes the whole curvature at s.X.
func (w *lmWork) renew(t Curved, s *LMState) error {
	_, ok, err := s.logProbHess(t, w.grad, w.hess, s.X, nil)
	if err == nil && !ok {
		err = fmt.Errorf("%w: the curvature at a point that was accepted", ErrRecoverable)
	}
	s.Origin, s.Age = nil, 0
	w.rescale(s.Scale)
	return err
}

func (w *lmWork) result(s *LMState, status Status, why string) *Result {
	w.rescale(s.Scale)
	h := mat.NewSymDense(len(s.X), nil)
	h.CopySym(w.hess)
	return &Result{X: cloneFloats(s.X), LogProb: s.LogProb, Grad: cloneFloats(w.grad), Hess: h, Gain: w.newtonGain(),
		Iterations: s.Iteration, Tally: s.Tally.clone(), Status: status, Reason: why}
}

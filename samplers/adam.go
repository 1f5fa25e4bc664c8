package samplers

import (
	"context"
	"fmt"
	"math"
)

// Decay is the course of Adam's rate from its start to its end.
type Decay string

// Courses of the rate.
const (
	CosineDecay      Decay = "cosine" // the default: half a cosine from Rate to Final·Rate
	ExponentialDecay Decay = "exponential"
	NoDecay          Decay = "none"
)

// AdamOptions set up Adam; a zero field takes the default in its comment.
type AdamOptions struct {
	Steps  int     // 1000
	Rate   float64 // step length per coordinate at the start: 0.05
	Decay  Decay   // cosine
	Final  float64 // rate at the last step as a fraction of Rate: 0.05
	Beta1  float64 // 0.9
	Beta2  float64 // 0.999
	Eps    float64 // 1e-8
	Tol    float64 // with Patience: the rise of log p that counts as one: 0.01
	Window int     // steps over which log p must rise by Tol, or the search has converged; 0: run all Steps
}

func (o AdamOptions) defaults() AdamOptions {
	setInt(&o.Steps, 1000)
	setFloat(&o.Rate, 0.05)
	setFloat(&o.Final, 0.05)
	setFloat(&o.Beta1, 0.9)
	setFloat(&o.Beta2, 0.999)
	setFloat(&o.Eps, 1e-8)
	setFloat(&o.Tol, 0.01)
	if o.Decay == "" {
		o.Decay = CosineDecay
	}
	return o
}

// Validate names a field that makes no sense.
func (o AdamOptions) Validate() error {
	d := o.defaults()
	switch {
	case d.Steps < 0:
		return fmt.Errorf("samplers: adam: steps: found %d, expected a positive number", o.Steps)
	case !(d.Rate > 0):
		return fmt.Errorf("samplers: adam: rate: found %v, expected a positive number", o.Rate)
	case !(d.Final > 0 && d.Final <= 1):
		return fmt.Errorf("samplers: adam: final: found %v, expected a fraction in (0, 1]", o.Final)
	case !(d.Beta1 > 0 && d.Beta1 < 1):
		return fmt.Errorf("samplers: adam: beta1: found %v, expected a number in (0, 1)", o.Beta1)
	case !(d.Beta2 > 0 && d.Beta2 < 1):
		return fmt.Errorf("samplers: adam: beta2: found %v, expected a number in (0, 1)", o.Beta2)
	case !(d.Eps > 0):
		return fmt.Errorf("samplers: adam: eps: found %v, expected a positive number", o.Eps)
	case !(d.Tol > 0):
		return fmt.Errorf("samplers: adam: tol: found %v, expected a positive number", o.Tol)
	case d.Window < 0:
		return fmt.Errorf("samplers: adam: window: found %d, expected 0 or more", o.Window)
	case d.Decay != CosineDecay && d.Decay != ExponentialDecay && d.Decay != NoDecay:
		return fmt.Errorf("samplers: adam: decay: found %q, expected cosine, exponential or none", o.Decay)
	}
	return nil
}

// rate is the step length of step k, counted from 0.
func (o *AdamOptions) rate(k int) float64 {
	f := 1.0
	if o.Steps > 1 {
		f = float64(k) / float64(o.Steps-1)
	}
	switch o.Decay {
	case CosineDecay:
		return o.Rate * (o.Final + (1-o.Final)*0.5*(1+math.Cos(math.Pi*f)))
	case ExponentialDecay:
		return o.Rate * math.Pow(o.Final, f)
	}
	return o.Rate
}

// AdamState is all that a run of Adam needs to go on, to the bit. Copy it with Clone.
type AdamState struct {
	Step        int
	X, Grad     []float64 // the current point and ∇ log p there
	LogProb     float64
	M, V        []float64 // first and second moments of the gradient, in the metric's coordinates
	Shrink      float64   // factor on the rate, below 1 after rejected points
	Best        []float64 // the highest point seen
	BestGrad    []float64
	BestLogProb float64
	Mark        int     // the step at which the best last rose by Tol
	MarkLogProb float64 // the best then
	Tally
	Started bool
}

// NewAdamState starts at x, which is copied.
func NewAdamState(x []float64) *AdamState {
	n := len(x)
	return &AdamState{X: cloneFloats(x), Grad: make([]float64, n), M: make([]float64, n), V: make([]float64, n),
		Best: cloneFloats(x), BestGrad: make([]float64, n), Shrink: 1}
}

// Clone is a deep copy.
func (s *AdamState) Clone() *AdamState {
	c := *s
	for _, p := range []*[]float64{&c.X, &c.Grad, &c.M, &c.V, &c.Best, &c.BestGrad} {
		*p = cloneFloats(*p)
	}
	c.Tally = s.Tally.clone()
	return &c
}

// Fits tells whether s is the state of a run over n parameters, as one from a file should be.
func (s *AdamState) Fits(n int) bool {
	if s == nil {
		return false
	}
	for _, v := range [][]float64{s.X, s.Grad, s.M, s.V, s.Best, s.BestGrad} {
		if len(v) != n {
			return false
		}
	}
	return true
}

// Adam climbs log p by Kingma & Ba (2015), algorithm 1, and returns the highest point it saw. The steps are taken in
// the coordinates of the metric (nil: those of x); with the metric of the Gauss-Newton matrix all directions have the
// same curvature, so that one rate serves all. A rejected trial halves the step until the point is accepted.
//
// The run advances s and goes on from it when called again with the same target, metric and options. watch, unless nil,
// is called after each step and may save a Clone of s; an error from it ends the run and is returned. When ctx is
// cancelled the result has Status Interrupted, beside ctx's error.
func Adam(ctx context.Context, t Target, s *AdamState, metric *Metric, opt AdamOptions, watch func(*AdamState) error) (*Result, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	opt = opt.defaults()
	n := t.Dim()
	if len(s.X) != n {
		return nil, fmt.Errorf("samplers: adam: start: found %d parameters, expected %d", len(s.X), n)
	}
	if metric == nil {
		metric = NewMetric(n)
	}
	if metric.N != n {
		return nil, fmt.Errorf("samplers: adam: metric: found %d parameters, expected %d", metric.N, n)
	}
	if !s.Started {
		lp, ok, err := s.logProb(t, s.Grad, s.X)
		if !ok {
			return nil, startError("adam", t, s.X, err)
		}
		s.LogProb, s.BestLogProb, s.MarkLogProb, s.Started = lp, lp, lp, true
		copy(s.Best, s.X)
		copy(s.BestGrad, s.Grad)
	}
	gu, dx := make([]float64, n), make([]float64, n)
	trial, grad := make([]float64, n), make([]float64, n)
	for s.Step < opt.Steps {
		if err := ctx.Err(); err != nil {
			return s.result(Interrupted, fmt.Sprintf("after %d of %d steps", s.Step, opt.Steps)), err
		}
		if opt.Window > 0 && s.Step-s.Mark >= opt.Window {
			return s.result(Converged, fmt.Sprintf("log p rose by less than %g in %d steps", opt.Tol, opt.Window)), nil
		}
		metric.Pull(gu, s.Grad)
		c1 := 1 / (1 - math.Pow(opt.Beta1, float64(s.Step+1)))
		c2 := 1 / (1 - math.Pow(opt.Beta2, float64(s.Step+1)))
		for i, g := range gu {
			s.M[i] = opt.Beta1*s.M[i] + (1-opt.Beta1)*g
			s.V[i] = opt.Beta2*s.V[i] + (1-opt.Beta2)*g*g
			gu[i] = s.M[i] * c1 / (math.Sqrt(s.V[i]*c2) + opt.Eps)
		}
		metric.Push(dx, gu)
		s.Shrink = math.Min(1, 1.1*s.Shrink)
		for {
			h := opt.rate(s.Step) * s.Shrink
			for i := range trial {
				trial[i] = s.X[i] + h*dx[i]
			}
			lp, ok, err := s.logProb(t, grad, trial)
			if err != nil {
				return nil, fmt.Errorf("samplers: adam: step %d: %w", s.Step, err)
			}
			if ok {
				s.LogProb = lp
				break
			}
			s.Shrink /= 2
			if s.Shrink < 1e-12 {
				return s.result(Stalled, "every step, however short, leads to a rejected point"), nil
			}
		}
		copy(s.X, trial)
		copy(s.Grad, grad)
		s.Step++
		if s.LogProb > s.BestLogProb {
			s.BestLogProb = s.LogProb
			copy(s.Best, s.X)
			copy(s.BestGrad, s.Grad)
			if s.BestLogProb > s.MarkLogProb+opt.Tol {
				s.Mark, s.MarkLogProb = s.Step, s.BestLogProb
			}
		}
		if watch != nil {
			if err := watch(s); err != nil {
				return s.result(Interrupted, err.Error()), err
			}
		}
	}
	return s.result(OutOfSteps, fmt.Sprintf("log p last rose by %g at step %d of %d", opt.Tol, s.Mark, opt.Steps)), nil
}

func (s *AdamState) result(status Status, why string) *Result {
	return &Result{X: cloneFloats(s.Best), LogProb: s.BestLogProb, Grad: cloneFloats(s.BestGrad), Iterations: s.Step,
		Tally: s.Tally.clone(), Status: status, Reason: why}
}

func setInt(p *int, v int) {
	if *p == 0 {
		*p = v
	}
}

func setFloat(p *float64, v float64) {
	if *p == 0 {
		*p = v
	}
}

package samplers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// Method names a sampler.
type Method string

// The samplers.
const (
	NUTS Method = "nuts"
	HMC  Method = "hmc"
)

// Adapt says which metric the warm-up estimates from the draws.
type Adapt string

// What the warm-up does with the metric.
const (
	AdaptNone     Adapt = "none"
	AdaptDiagonal Adapt = "diagonal"
	AdaptDense    Adapt = "dense"
)

// Options set up a chain; a zero field takes the default in its comment.
type Options struct {
	Method         Method     // nuts
	Integrator     Integrator // leapfrog for NUTS, two-stage for HMC
	Warmup         int        // draws that tune and are not kept: 1000; negative: none
	Draws          int        // draws kept: 1000
	Adapt          Adapt      // diagonal without a given metric, none with one
	Stages         []Stage    `json:",omitempty"` // the warm-up; by Warmup and Adapt: StanStages or StepStages
	TargetAccept   float64    // mean acceptance that the step size is tuned to: 0.8 for NUTS, 0.75 for HMC
	StepSize       float64    // first step size, in units of the metric; searched
	MaxDepth       int        // NUTS: doublings, at most 2^MaxDepth−1 steps a draw: 10. HMC: at most 2^MaxDepth
	MaxEnergyError float64    // energy error beyond which a trajectory counts as divergent: 1000
	Trajectory     float64    // HMC: mean length in units of the metric, in which a round posterior turns in 2π: π/2
	Steps          int        // HMC: mean number of steps, instead of Trajectory
	Jitter         float64    // HMC: lengths are spread evenly over the mean times 1 ± Jitter: 0.5; negative: none
}

func (o Options) defaults(metric bool) Options {
	if o.Method == "" {
		o.Method = NUTS
	}
	if o.Adapt == "" {
		o.Adapt = AdaptDiagonal
		if metric {
			o.Adapt = AdaptNone
		}
	}
	setInt(&o.Warmup, 1000)
	setInt(&o.Draws, 1000)
	accept, integrator := 0.8, Leapfrog
	if o.Method == HMC {
		accept, integrator = 0.75, TwoStage
	}
	setFloat(&o.TargetAccept, accept)
	if o.Integrator == "" {
		o.Integrator = integrator
	}
	setInt(&o.MaxDepth, 10)
	setFloat(&o.MaxEnergyError, 1000)
	setFloat(&o.Trajectory, math.Pi/2)
	setFloat(&o.Jitter, 0.5)
	if o.Stages == nil && o.Warmup > 0 {
		if o.Adapt == AdaptNone {
			o.Stages = StepStages(o.Warmup)
		} else {
			o.Stages = StanStages(o.Warmup)
		}
	}
	o.Warmup = 0
	for _, s := range o.Stages {
		o.Warmup += s.Draws
	}
	if o.Warmup == 0 {
		o.Warmup = -1
	}
	return o
}

// Validate names a field that makes no sense.
func (o Options) Validate() error {
	d := o.defaults(false)
	switch {
	case d.Method != NUTS && d.Method != HMC:
		return fmt.Errorf("samplers: options: method: found %q, expected nuts or hmc", o.Method)
	case d.Integrator != Leapfrog && d.Integrator != TwoStage:
		return fmt.Errorf("samplers: options: integrator: found %q, expected leapfrog or two-stage", o.Integrator)
	case d.Adapt != AdaptNone && d.Adapt != AdaptDiagonal && d.Adapt != AdaptDense:
		return fmt.Errorf("samplers: options: adapt: found %q, expected none, diagonal or dense", o.Adapt)
	case d.Draws < 0:
		return fmt.Errorf("samplers: options: draws: found %d, expected a positive number", o.Draws)
	case !(d.TargetAccept > 0 && d.TargetAccept < 1):
		return fmt.Errorf("samplers: options: target accept: found %v, expected a number in (0, 1)", o.TargetAccept)
	case !(o.StepSize >= 0) || math.IsInf(o.StepSize, 0):
		return fmt.Errorf("samplers: options: step size: found %v, expected a positive number", o.StepSize)
	case d.MaxDepth < 1 || d.MaxDepth > 30:
		return fmt.Errorf("samplers: options: max depth: found %d, expected 1 to 30", o.MaxDepth)
	case !(d.MaxEnergyError > 0):
		return fmt.Errorf("samplers: options: max energy error: found %v, expected a positive number", o.MaxEnergyError)
	case !(d.Trajectory > 0) || math.IsInf(d.Trajectory, 0):
		return fmt.Errorf("samplers: options: trajectory: found %v, expected a positive number", o.Trajectory)
	case o.Steps < 0:
		return fmt.Errorf("samplers: options: steps: found %d, expected a positive number", o.Steps)
	case !(d.Jitter <= 1):
		return fmt.Errorf("samplers: options: jitter: found %v, expected at most 1", o.Jitter)
	}
	for i, s := range o.Stages {
		if s.Draws < 0 {
			return fmt.Errorf("samplers: options: stage %d: found %d draws, expected a positive number", i, s.Draws)
		}
	}
	return nil
}

// Divergence is a place where the energy was not conserved.
type Divergence struct {
	Iteration int       // of the draw, warm-up included
	X         []float64 // where the step began that went wrong
	Error     float64   // in energy; math.MaxFloat64 where the step led to a rejected point
}

// maxPlaces bounds the places that a chain keeps.
const maxPlaces = 1000

// ChainState is all that a chain needs to go on, to the bit.
type ChainState struct {
	ID          int // counted from 0
	Seed        uint64
	Options     Options // all fields filled in
	Point       State   // the current draw
	Metric      *Metric
	Start       *Metric `json:",omitempty"` // the metric given, nil without; estimates are drawn toward it
	StepSize    float64
	Search      bool // search the step size before the next draw
	Averaging   DualAveraging
	Window      *Moments `json:",omitempty"`
	Stage       int      // of the warm-up
	StageDraw   int      // draws made in it
	Iteration   int      // draws made, warm-up included
	RNG         []byte
	WarmupTally Tally // evaluations and rejections during the warm-up
	Tally       Tally // and after it
	WarmupBad   int   // divergences during the warm-up
	Bad         int   // and after it
	Saturated   int   // draws after the warm-up whose tree reached MaxDepth
	Places      []Divergence
}

// Chain makes draws from a target, one by one.
type Chain struct {
	s       ChainState
	ham     *hamiltonian
	move    transition
	source  *rand.PCG
	pending Tally // of the draw under way
	scratch []float64
}

// NewChain starts a chain at x with the metric (nil: none known; it is estimated in the warm-up). The stream of random
// numbers is PCG(seed, id), so chains of one seed differ by their id. The target is the chain's own until it ends.
func NewChain(t Target, x []float64, metric *Metric, opt Options, seed uint64, id int) (*Chain, error) {
	return newChain(t, x, metric, opt, seed, id, rand.NewPCG(seed, uint64(id)))
}

func newChain(t Target, x []float64, metric *Metric, opt Options, seed uint64, id int, source *rand.PCG) (*Chain, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	n := t.Dim()
	if len(x) != n {
		return nil, fmt.Errorf("samplers: chain: start: found %d parameters, expected %d", len(x), n)
	}
	s := ChainState{ID: id, Seed: seed, Options: opt.defaults(metric != nil), Point: *NewState(n), Metric: metric}
	if metric == nil {
		s.Metric = NewMetric(n)
		s.Start = nil
	} else {
		if err := metric.Validate(); err != nil {
			return nil, err
		}
		if metric.N != n {
			return nil, fmt.Errorf("samplers: chain: metric: found %d parameters, expected %d", metric.N, n)
		}
		s.Start = metric
	}
	copy(s.Point.X, x)
	lp, ok, err := s.WarmupTally.logProb(t, s.Point.Grad, s.Point.X)
	if !ok {
		return nil, startError("chain", t, x, err)
	}
	s.Point.LogProb = lp
	s.StepSize, s.Search = opt.StepSize, opt.StepSize == 0
	if s.Search {
		s.StepSize = 1
	}
	s.Averaging.restart(s.StepSize)
	c := &Chain{s: s, source: source}
	c.build(t)
	c.openStage()
	return c, nil
}

// Validate says why s is not the state of a chain of n parameters, as one from a file should be.
func (s *ChainState) Validate(n int) error {
	if len(s.Point.X) != n || len(s.Point.Grad) != n || s.Metric == nil || s.Metric.N != n {
		return fmt.Errorf("samplers: chain: saved state: found %d parameters, expected %d", len(s.Point.X), n)
	}
	if err := errors.Join(s.Options.Validate(), s.Metric.Validate()); err != nil {
		return err
	}
	if s.Start != nil {
		if err := s.Start.Validate(); err != nil || s.Start.N != n {
			return fmt.Errorf("samplers: chain: saved state: start: found a metric of %d parameters (%v), expected %d", s.Start.N, err, n)
		}
	}
	if s.Iteration < 0 || s.StageDraw < 0 {
		return fmt.Errorf("samplers: chain: saved state: found %d draws, %d of a stage, expected none below 0", s.Iteration, s.StageDraw)
	}
	if s.Stage < 0 || s.Stage > len(s.Options.Stages) || !(s.StepSize > 0) {
		return fmt.Errorf("samplers: chain: saved state: found stage %d and step size %v, expected a stage up to %d and a positive step", s.Stage, s.StepSize, len(s.Options.Stages))
	}
	if err := rand.NewPCG(0, 0).UnmarshalBinary(s.RNG); err != nil {
		return fmt.Errorf("samplers: chain: saved state: random numbers: %w", err)
	}
	if s.Window != nil {
		want := n
		if s.Options.Adapt == AdaptDense {
			want = n * n
		}
		if len(s.Window.Mean) != n || len(s.Window.Sum) != want {
			return fmt.Errorf("samplers: chain: saved state: window: found %d sums, expected %d", len(s.Window.Sum), want)
		}
	}
	return nil
}

// ResumeChain goes on from a saved state with the same target.
func ResumeChain(t Target, s ChainState) (*Chain, error) {
	if err := s.Validate(t.Dim()); err != nil {
		return nil, err
	}
	source := rand.NewPCG(0, 0)
	if err := source.UnmarshalBinary(s.RNG); err != nil {
		return nil, fmt.Errorf("samplers: chain: saved state: random numbers: %w", err)
	}
	c := &Chain{s: s.clone(), source: source}
	if c.s.Window != nil {
		c.s.Window.dense = c.s.Options.Adapt == AdaptDense
	}
	c.build(t)
	return c, nil
}

// build lays out the transition.
func (c *Chain) build(t Target) {
	n := t.Dim()
	c.scratch = make([]float64, n)
	c.ham = &hamiltonian{flow: flow{target: t, metric: c.s.Metric, tally: &c.pending, twoStage: c.s.Options.Integrator == TwoStage, dx: make([]float64, n)},
		opt: &c.s.Options, rng: rand.New(c.source), start: newPhasePoint(n), z: newPhasePoint(n)}
	if c.s.Options.Method == HMC {
		c.move = hmc{c.ham}
	} else {
		c.move = newNUTS(c.ham)
	}
}

// Save is a deep copy of the state after the last whole draw.
func (c *Chain) Save() ChainState {
	s := c.s.clone()
	s.RNG, _ = c.source.MarshalBinary() // a PCG always can
	return s
}

func (s ChainState) clone() ChainState {
	s.Options.Stages = append([]Stage(nil), s.Options.Stages...)
	s.Point = State{X: cloneFloats(s.Point.X), Grad: cloneFloats(s.Point.Grad), LogProb: s.Point.LogProb}
	s.Metric = s.Metric.Clone()
	if s.Start != nil {
		s.Start = s.Start.Clone()
	}
	if s.Window != nil {
		w := *s.Window
		w.Mean, w.Sum = cloneFloats(w.Mean), cloneFloats(w.Sum)
		s.Window = &w
	}
	s.RNG = append([]byte(nil), s.RNG...)
	s.WarmupTally, s.Tally = s.WarmupTally.clone(), s.Tally.clone()
	s.Places = append([]Divergence(nil), s.Places...)
	return s
}

// ID is the chain's number.
func (c *Chain) ID() int { return c.s.ID }

// Options are the chain's options, all filled in.
func (c *Chain) Options() Options { return c.s.Options }

// Metric is the metric in use; it is not to be changed.
func (c *Chain) Metric() *Metric { return c.s.Metric }

// StepSize is the step size of the next draw.
func (c *Chain) StepSize() float64 { return c.s.StepSize }

// Point is the current draw; it is not to be changed and holds until the next Step.
func (c *Chain) Point() *State { return &c.s.Point }

// Iteration is the number of draws made, warm-up included.
func (c *Chain) Iteration() int { return c.s.Iteration }

// Warming reports whether the next draw belongs to the warm-up.
func (c *Chain) Warming() bool { return c.s.Stage < len(c.s.Options.Stages) }

// Done reports whether all draws are made.
func (c *Chain) Done() bool { return c.s.Iteration >= max(c.s.Options.Warmup, 0)+c.s.Options.Draws }

// Counts are the chain's running totals.
type Counts struct {
	Draws             int // after the warm-up
	Gradients         int // warm-up included
	Divergences       int // after the warm-up
	WarmupDivergences int
	Saturated         int            // draws after the warm-up whose tree reached MaxDepth
	Rejections        map[string]int // after the warm-up, by reason
}

// Counts are the chain's totals so far.
func (c *Chain) Counts() Counts {
	s := &c.s
	return Counts{Draws: max(0, s.Iteration-max(s.Options.Warmup, 0)), Gradients: s.Tally.Evaluations + s.WarmupTally.Evaluations,
		Divergences: s.Bad, WarmupDivergences: s.WarmupBad, Saturated: s.Saturated, Rejections: s.Tally.clone().Rejections}
}

// Divergences are the places where trajectories diverged, the first 1000.
func (c *Chain) Divergences() []Divergence { return c.s.Places }

// Step makes the next draw and tunes during the warm-up. When it fails, because ctx was cancelled in the middle of a
// trajectory or the target failed for good, the chain is as it was before.
func (c *Chain) Step(ctx context.Context) (Info, error) {
	s := &c.s
	rng := *c.source
	c.pending = Tally{}
	eps := s.StepSize
	if s.Search {
		var err error
		c.ham.begin(&s.Point)
		if eps, err = searchStep(ctx, &c.ham.flow, c.ham.start, c.ham.z, eps, c.ham.rng); err != nil {
			*c.source = rng
			return Info{}, fmt.Errorf("samplers: chain %d: step size: %w", s.ID, err)
		}
	}
	in, err := c.move.next(ctx, &s.Point, eps)
	if err != nil {
		*c.source = rng
		return Info{}, fmt.Errorf("samplers: chain %d: draw %d: %w", s.ID, s.Iteration, err)
	}
	if s.Search {
		s.Search, s.StepSize = false, eps
		s.Averaging.restart(eps)
	}
	c.count(&in)
	s.Iteration++
	if c.Warming() {
		c.tune(in.AcceptStat)
	}
	return in, nil
}

func (c *Chain) count(in *Info) {
	s := &c.s
	tally := &s.Tally
	if c.Warming() {
		tally = &s.WarmupTally
	}
	tally.Evaluations += c.pending.Evaluations
	for why, n := range c.pending.Rejections {
		if tally.Rejections == nil {
			tally.Rejections = map[string]int{}
		}
		if _, known := tally.Rejections[why]; !known && len(tally.Rejections) >= maxReasons {
			why = "other reasons"
		}
		tally.Rejections[why] += n
	}
	if !c.Warming() && s.Options.Method == NUTS && in.TreeDepth >= s.Options.MaxDepth {
		s.Saturated++
	}
	if !in.Divergent {
		return
	}
	if c.Warming() {
		s.WarmupBad++
	} else {
		s.Bad++
	}
	if len(s.Places) < maxPlaces {
		s.Places = append(s.Places, Divergence{Iteration: s.Iteration, X: in.place, Error: in.energyError})
	}
}

// tune learns from a draw of the warm-up, and closes its stage at its end.
func (c *Chain) tune(accept float64) {
	s := &c.s
	s.StepSize = s.Averaging.learn(accept, s.Options.TargetAccept)
	if s.Window != nil {
		s.Window.add(s.Point.X, c.scratch)
	}
	s.StageDraw++
	if s.StageDraw < s.Options.Stages[s.Stage].Draws {
		return
	}
	if s.Window != nil {
		c.estimate()
	}
	s.Stage++
	s.StageDraw = 0
	c.openStage()
}

// openStage skips empty stages, opens the window of a stage that estimates the metric, and fixes the step size when the
// warm-up is over.
func (c *Chain) openStage() {
	s := &c.s
	for c.Warming() && s.Options.Stages[s.Stage].Draws == 0 {
		s.Stage++
	}
	s.Window = nil
	switch {
	case !c.Warming():
		s.StepSize = s.Averaging.mean()
	case s.Options.Stages[s.Stage].Metric && s.Options.Adapt != AdaptNone:
		s.Window = newMoments(s.Metric.N, s.Options.Adapt == AdaptDense)
	}
}

// estimate replaces the metric by that of the window's draws.
func (c *Chain) estimate() {
	if m := c.s.Window.metric(c.s.Start); m != nil {
		c.s.Metric = m
		c.ham.metric = m
	}
	c.s.Search = true
}

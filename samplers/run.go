package samplers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"lenskit/internal/task"
)

// Draw is one draw as a Recorder sees it. Point holds until Record returns; Chain may be asked for Save or Counts then.
type Draw struct {
	Chain     *Chain
	Iteration int  // counted from 0, warm-up included
	Warmup    bool // made during the warm-up
	Point     *State
	Info      Info
}

// Recorder takes draws as they are made. Record is called from one goroutine per chain, so a recorder that serves several
// chains must lock. An error ends the run.
type Recorder interface {
	Record(d Draw) error
}

// RecorderFunc is a Recorder made of a function.
type RecorderFunc func(d Draw) error

// Record calls f.
func (f RecorderFunc) Record(d Draw) error { return f(d) }

// NewChains makes n chains with random streams PCG(seed, 0…n−1). target gives each chain its own target; start writes a
// starting point, and is asked again, up to 100 times, when the target rejects it. Fewer than one chain is an error.
func NewChains(n int, target func(chain int) (Target, error), start func(x []float64, rng *rand.Rand), metric *Metric, opt Options, seed uint64) ([]*Chain, error) {
	if n < 1 {
		return nil, fmt.Errorf("samplers: chains: found %d, expected at least 1", n)
	}
	chains := make([]*Chain, n)
	for id := range chains {
		t, err := target(id)
		if err != nil {
			return nil, fmt.Errorf("samplers: chain %d: %w", id, err)
		}
		source := rand.NewPCG(seed, uint64(id))
		x, rng := make([]float64, t.Dim()), rand.New(source)
		for try := 0; ; try++ {
			start(x, rng)
			if try == 99 {
				break
			}
			var tally Tally
			if _, ok, err := tally.logProb(t, make([]float64, len(x)), x); ok || err != nil {
				break
			}
		}
		if chains[id], err = newChain(t, x, metric, opt, seed, id, source); err != nil {
			return nil, err
		}
	}
	return chains, nil
}

// StartAt starts every chain at x. A target of another dimension gets NaN in place of x, which NewChains refuses.
func StartAt(x []float64) func(dst []float64, rng *rand.Rand) {
	return func(dst []float64, rng *rand.Rand) {
		if copy(dst, x); len(dst) != len(x) {
			for i := range dst {
				dst[i] = math.NaN()
			}
		}
	}
}

// StartNear starts each chain at a draw from g widened by the factor spread; above 1, R̂ can see chains that have not
// met.
func StartNear(g *Gaussian, spread float64) func(x []float64, rng *rand.Rand) {
	return func(x []float64, rng *rand.Rand) {
		g.Draw(x, rng)
		for i, m := range g.Mean {
			x[i] = m + spread*(x[i]-m)
		}
	}
}

// Sample runs the chains to their end, each in its own goroutine, as many at a time as there are processors, and hands
// every draw to rec (nil: none). When ctx is cancelled, a target fails for good or rec returns an error, all chains stop
// after their last whole draw and the causes are returned; Sample may be called again to go on.
func Sample(ctx context.Context, chains []*Chain, rec Recorder) error {
	return SampleInTurns(ctx, chains, runtime.GOMAXPROCS(0), rec)
}

// SampleInTurns is Sample with atOnce chains at a time. A turn is a few draws, so that what a target keeps in the
// processor's cache serves more than one evaluation. The draws are the same whatever atOnce is.
func SampleInTurns(ctx context.Context, chains []*Chain, atOnce int, rec Recorder) error {
	return inTurns(ctx, chains, atOnce, rec, (*Chain).Done)
}

// SampleInStep is SampleInTurns for chains that take about as long as each other, as those of Joint targets should: after
// the warm-up, which all of them end first, each steps by the median of the step sizes found.
func SampleInStep(ctx context.Context, chains []*Chain, atOnce int, rec Recorder) error {
	if err := inTurns(ctx, chains, atOnce, rec, func(c *Chain) bool { return !c.Warming() }); err != nil {
		return err
	}
	var found []float64
	for _, c := range chains {
		if !c.s.Search && c.s.Averaging.Count > 0 { // else there was no warm-up, or its end is to be searched from
			found = append(found, c.s.Averaging.mean()) // which stays when the chain goes on
		}
	}
	if len(found) == len(chains) && len(found) > 0 {
		slices.Sort(found)
		for _, c := range chains {
			c.s.StepSize = found[len(found)/2]
		}
	}
	return SampleInTurns(ctx, chains, atOnce, rec)
}

// inTurns runs each chain until it is at its end.
func inTurns(ctx context.Context, chains []*Chain, atOnce int, rec Recorder, atEnd func(*Chain) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var turns chan struct{} // nil: all chains at once
	if atOnce < len(chains) {
		turns = make(chan struct{}, max(1, atOnce))
	}
	errs := make([]error, len(chains))
	var g task.Group
	for i, c := range chains {
		g.Go(func() {
			ended := false
			defer func() {
				if !ended {
					cancel()
				}
			}()
			errs[i] = c.run(ctx, turns, rec, atEnd)
			ended = errs[i] == nil
		})
	}
	g.Wait()
	// The cancellation that one chain's failure brings to the others is not a cause.
	var causes []error
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			causes = append(causes, err)
		}
	}
	if len(causes) > 0 {
		return errors.Join(causes...)
	}
	return errors.Join(errs...)
}

// turnDraws is the length of a turn.
const turnDraws = 8

// run makes the chain's draws until it is at its end. With turns it makes them while it holds one of them.
func (c *Chain) run(ctx context.Context, turns chan struct{}, rec Recorder, atEnd func(*Chain) bool) error {
	joint, _ := c.ham.target.(Joint)
	begin := func() {
		if turns != nil {
			turns <- struct{}{}
		}
		if joint != nil {
			joint.Join()
		}
	}
	end := func() {
		if joint != nil {
			joint.Leave()
		}
		if turns != nil {
			<-turns
		}
	}
	begin()
	defer end()
	for draw := 1; !atEnd(c); draw++ {
		if turns != nil && draw%turnDraws == 0 {
			end()
			begin()
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		warmup := c.Warming()
		in, err := c.Step(ctx)
		if err != nil {
			return err
		}
		if rec == nil {
			continue
		}
		if err := rec.Record(Draw{Chain: c, Iteration: c.s.Iteration - 1, Warmup: warmup, Point: &c.s.Point, Info: in}); err != nil {
			return fmt.Errorf("samplers: chain %d: record: %w", c.s.ID, err)
		}
	}
	return nil
}

// Trace is a Recorder that keeps the draws after the warm-up in memory.
type Trace struct {
	mu     sync.Mutex
	chains []TraceChain
}

// TraceChain is one chain of a Trace.
type TraceChain struct {
	X       [][]float64 // one row per draw
	LogProb []float64
	Info    []Info
}

// Record keeps a draw.
func (t *Trace) Record(d Draw) error {
	if d.Warmup {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.chains) <= d.Chain.ID() {
		t.chains = append(t.chains, TraceChain{})
	}
	c := &t.chains[d.Chain.ID()]
	c.X = append(c.X, cloneFloats(d.Point.X))
	c.LogProb = append(c.LogProb, d.Point.LogProb)
	c.Info = append(c.Info, d.Info)
	return nil
}

// Chains are the draws kept so far, by chain. They are shared with the trace and only grow.
func (t *Trace) Chains() []TraceChain {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]TraceChain(nil), t.chains...)
}

// Draws gathers parameter k of each chain: draws[chain][draw].
func (t *Trace) Draws(k int) [][]float64 {
	out := make([][]float64, 0, len(t.chains))
	for _, c := range t.Chains() {
		v := make([]float64, len(c.X))
		for i, x := range c.X {
			v[i] = x[k]
		}
		out = append(out, v)
	}
	return out
}

package search

import (
	"context"
	"errors"
	"math"
	"runtime"
	"sync"

	"lenskit/adjoint"
	"lenskit/internal/task"
	"lenskit/samplers"
	"lenskit/tools/internal/term"
)

// Climber climbs log densities for a search: each climb has a key, by which the record finds its end again where it was made
// before, or its state where it was stopped.
type Climber struct {
	*Search

	label string // of the stage told, a group of climbs
	steps int    // how many steps the group has, or at most has
	most  bool   // the latter
	taken int    // by the climbs of the group that are done

	mu sync.Mutex // over the record and the above, where climbs run side by side

	half *middle // made when it is first asked for
	mge  *mge    // likewise
}

// newClimber readies a search.
func newClimber(s *Search) *Climber {
	s.Options = s.Options.Defaults()
	if s.Settings == (Settings{}) {
		s.Settings = DefaultSettings()
	}
	if s.Saved.Done == nil {
		s.Saved.Done = map[string]*StageEnd{}
	}
	return &Climber{Search: s}
}

func (c *Climber) close() {
	if c.half != nil && c.half.post != c.Problem.Post {
		c.half.post.Close()
	}
}

// StageEnd is the end of one climb.
type StageEnd struct {
	U       []float64
	LogProb float64
	Gain    float64 // what a full Newton step still promises
	Status  samplers.Status
	Reason  string
}

// bfgs climbs by BFGS, which goes on where the Gauss-Newton matrix is not the whole curvature, or returns the end of that climb
// when it was done before.
func (c *Climber) bfgs(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Curved, from []float64) (*StageEnd, error) {
	if end := c.done(key, t.Dim()); end != nil {
		return end, nil
	}
	state := samplers.NewBFGSState(from)
	if c.Saved.Task == key && c.Saved.BFGS.Fits(t.Dim()) {
		state = c.Saved.BFGS
	}
	c.begin(key, climbState{bfgs: state})
	res, err := samplers.BFGS(ctx, t, state, samplers.BFGSOptions{Steps: c.Settings.PixelSteps, TolStep: c.Settings.PixelTolerance}, func(st *samplers.BFGSState) error {
		c.report(State{Step: st.Iteration, LogPosterior: st.LogProb, ReducedChi2: reducedChi2(post)})
		c.count(st.Evaluations)
		return c.Save()
	})
	return c.ended(ctx, key, res, err)
}

// done is the end of a climb in so many coordinates that was made before, nil where it was not.
func (c *Climber) done(key string, dim int) *StageEnd {
	if end := c.Saved.Done[key]; end != nil && len(end.U) == dim {
		return end
	}
	return nil
}

// lm climbs by Levenberg-Marquardt, or returns the end of that climb when it was done before.
func (c *Climber) lm(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Curved, from []float64, steps int) (*StageEnd, error) {
	if end := c.done(key, t.Dim()); end != nil {
		return end, nil
	}
	state := samplers.NewLMState(from)
	if c.Saved.Task == key && c.Saved.LM.Fits(t.Dim()) {
		state = c.Saved.LM
	}
	c.begin(key, climbState{lm: state})
	res, err := samplers.LevenbergMarquardt(ctx, t, state, c.lmOptions(steps), func(st *samplers.LMState) error {
		c.report(State{Step: st.Iteration, LogPosterior: st.LogProb, ReducedChi2: reducedChi2(post)})
		c.count(st.Evaluations)
		return c.Save()
	})
	return c.ended(ctx, key, res, err)
}

// lmPart is lm with those parameters free that free names and the others held where from has them.
func (c *Climber) lmPart(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Lagged, free func(q *adjoint.Param) bool, from []float64, steps int) (*StageEnd, error) {
	only := &subset{full: t, which: coordinatesOf(post, free), base: from}
	end, err := c.lm(ctx, key, post, only, only.part(from), steps)
	if err != nil {
		return nil, err
	}
	whole := *end // the saved one is of the free coordinates
	whole.U = only.whole(end.U)
	return &whole, nil
}

// lmParallel is lm for climbs that run side by side: they are not resumed in their middle.
func (c *Climber) lmParallel(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Curved, from []float64, steps int) (*StageEnd, error) {
	c.mu.Lock()
	end := c.done(key, t.Dim())
	c.mu.Unlock()
	if end != nil {
		return end, nil
	}
	res, err := samplers.LevenbergMarquardt(ctx, t, samplers.NewLMState(from), c.lmOptions(steps), nil)
	if err != nil {
		if ctx.Err() == nil && res == nil {
			// a start from which nothing can be computed is no start
			res, err = &samplers.Result{X: from, LogProb: -math.MaxFloat64, Status: samplers.Stalled, Reason: term.Plain(err.Error())}, nil
		} else {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Saved.Evaluations += res.Evaluations
	c.Saved.Iterations += res.Iterations
	end = &StageEnd{U: res.X, LogProb: res.LogProb, Gain: res.Gain, Status: res.Status, Reason: res.Reason}
	c.Saved.Done[key] = end
	return end, nil
}

// lmOptions are those of a climb. Where the lens shines its profiles, not the noise, limit the fit.
func (c *Climber) lmOptions(steps int) samplers.LMOptions {
	o := samplers.LMOptions{Steps: steps, TolGain: c.Settings.LeastGain, Patience: c.Settings.Patience}
	if hasLensLight(c.Problem.Config) {
		o.TolGain = c.Settings.LeastGainLight
	}
	return o
}

// adam climbs by Adam, or returns the end of that climb when it was done before.
func (c *Climber) adam(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Target, from []float64, metric *samplers.Metric, opt samplers.AdamOptions) (*StageEnd, error) {
	if end := c.done(key, t.Dim()); end != nil {
		return end, nil
	}
	state := samplers.NewAdamState(from)
	if c.Saved.Task == key && c.Saved.Adam.Fits(t.Dim()) {
		state = c.Saved.Adam
	}
	c.begin(key, climbState{adam: state})
	chi2, best := 0.0, math.Inf(-1) // of the best point; after a resume not known until there is a better one
	if state.Started {
		best = state.BestLogProb
	}
	res, err := samplers.Adam(ctx, t, state, metric, opt, func(st *samplers.AdamState) error {
		if st.BestLogProb > best && st.LogProb == st.BestLogProb {
			chi2, best = reducedChi2(post), st.BestLogProb
		}
		c.report(State{Step: st.Step, LogPosterior: st.BestLogProb, ReducedChi2: chi2})
		c.count(st.Evaluations)
		return c.Save()
	})
	return c.ended(ctx, key, res, err)
}

// ended notes the end of a climb.
func (c *Climber) ended(ctx context.Context, key string, res *samplers.Result, err error) (*StageEnd, error) {
	if err != nil {
		return nil, err
	}
	end := &StageEnd{U: res.X, LogProb: res.LogProb, Gain: res.Gain, Status: res.Status, Reason: res.Reason}
	c.Saved.Done[key] = end
	c.begin("", climbState{})
	c.Saved.Iterations += res.Iterations
	c.taken += res.Iterations
	return end, nil
}

// begin notes the climb at work, which may have been at work when the search was stopped.
func (c *Climber) begin(key string, s climbState) {
	if c.Saved.Task != key || (climbState{c.Saved.LM, c.Saved.Adam, c.Saved.BFGS}) != s {
		c.Saved.Counted = 0
	}
	c.Saved.Task, c.Saved.LM, c.Saved.Adam, c.Saved.BFGS = key, s.lm, s.adam, s.bfgs
}

// climbState is the state of the climb at work, one of these, or none.
type climbState struct {
	lm   *samplers.LMState
	adam *samplers.AdamState
	bfgs *samplers.BFGSState
}

// count adds what the climb at work has evaluated since it was last called. What a step has cost counts once it is made, so
// that a stop in its middle leaves the counts as they were.
func (c *Climber) count(now int) {
	c.Saved.Evaluations += now - c.Saved.Counted
	c.Saved.Counted = now
}

// group begins a stage for those who watch, of so many steps.
func (c *Climber) group(label string, steps int) {
	c.label, c.steps, c.taken, c.most = label, steps, 0, false
}

// climbs begins a stage of climbs of at most so many steps in all; those that converge take fewer.
func (c *Climber) climbs(label string, steps int) {
	c.group(label, steps)
	c.most = true
}

func (c *Climber) report(st State) {
	if c.Tell != nil {
		st.Stage, st.Budget, st.Steps = c.label, c.most, max(c.steps, c.taken+st.Step)
		st.Step += c.taken
		st.Evaluations = c.Saved.Evaluations
		c.Tell(st)
	}
}

// reducedChi2 is that of the point that the posterior was last evaluated at.
func reducedChi2(p *adjoint.Posterior) float64 { return p.Chi2() / float64(p.Pixels()) }

// threads is how many climbs may run side by side.
func (c *Climber) threads() int {
	if c.Compute.Threads > 0 {
		return c.Compute.Threads
	}
	return runtime.GOMAXPROCS(0)
}

// sideBySide calls climb for each i below n, from so many workers at once.
func sideBySide(ctx context.Context, workers, n int, climb func(worker, i int) error) error {
	jobs := make(chan int, n)
	for i := range n {
		jobs <- i
	}
	close(jobs)
	errs := make([]error, workers)
	var g task.Group
	for w := range workers {
		g.Go(func() {
			for i := range jobs {
				if errs[w] != nil || ctx.Err() != nil {
					continue
				}
				errs[w] = climb(w, i)
			}
		})
	}
	g.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

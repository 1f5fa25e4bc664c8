package search

import (
	"context"
	"errors"
	"math"
	"runtime"

	"lenskit/adjoint"
	"lenskit/internal/task"
	"lenskit/samplers"
	"lenskit/tools/internal/term"
)

// StageEnd is the end of one climb.
type StageEnd struct {
	U       []float64
	LogProb float64
	Gain    float64 // what a full Newton step still promises
	Status  samplers.Status
	Reason  string
}

// done is the end of a climb in so many coordinates that was made before, nil where it was not.
func (s *Search) done(key string, dim int) *StageEnd {
	if end := s.Saved.Done[key]; end != nil && len(end.U) == dim {
		return end
	}
	return nil
}

// lm climbs by Levenberg-Marquardt, or returns the end of that climb when it was done before.
func (s *Search) lm(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Curved, from []float64, steps int) (*StageEnd, error) {
	if end := s.done(key, t.Dim()); end != nil {
		return end, nil
	}
	state := samplers.NewLMState(from)
	if s.Saved.Task == key && s.Saved.LM.Fits(t.Dim()) {
		state = s.Saved.LM
	}
	s.begin(key, state, nil)
	res, err := samplers.LevenbergMarquardt(ctx, t, state, s.lmOptions(steps), func(st *samplers.LMState) error {
		s.report(State{Step: st.Iteration, LogPosterior: st.LogProb, ReducedChi2: reducedChi2(post)})
		s.count(st.Evaluations)
		return s.Save()
	})
	return s.ended(ctx, key, res, err)
}

// lmPart is lm with those parameters free that free names and the others held where from has them.
func (s *Search) lmPart(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Lagged, free func(name string) bool, from []float64, steps int) (*StageEnd, error) {
	only := &subset{full: t, which: coordinatesOf(post, free), base: from}
	end, err := s.lm(ctx, key, post, only, only.part(from), steps)
	if err != nil {
		return nil, err
	}
	whole := *end // the saved one is of the free coordinates
	whole.U = only.whole(end.U)
	return &whole, nil
}

// lmAlone is lm for climbs that run side by side: they are not resumed in their middle.
func (s *Search) lmAlone(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Curved, from []float64, steps int) (*StageEnd, error) {
	s.mu.Lock()
	end := s.done(key, t.Dim())
	s.mu.Unlock()
	if end != nil {
		return end, nil
	}
	res, err := samplers.LevenbergMarquardt(ctx, t, samplers.NewLMState(from), s.lmOptions(steps), nil)
	if err != nil {
		if ctx.Err() == nil && res == nil {
			// a start from which nothing can be computed is no start
			res, err = &samplers.Result{X: from, LogProb: -math.MaxFloat64, Status: samplers.Stalled, Reason: term.Plain(err.Error())}, nil
		} else {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Saved.Evaluations += res.Evaluations
	s.Saved.Iterations += res.Iterations
	end = &StageEnd{U: res.X, LogProb: res.LogProb, Gain: res.Gain, Status: res.Status, Reason: res.Reason}
	s.Saved.Done[key] = end
	return end, nil
}

// lmOptions are those of a climb. Where the lens shines its profiles, not the noise, limit the fit.
func (s *Search) lmOptions(steps int) samplers.LMOptions {
	o := samplers.LMOptions{Steps: steps, TolGain: s.Settings.LeastGain, Patience: s.Settings.Patience}
	if hasLensLight(s.Problem.Config) {
		o.TolGain = s.Settings.LeastGainLight
	}
	return o
}

// adam climbs by Adam, or returns the end of that climb when it was done before.
func (s *Search) adam(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Target, from []float64, metric *samplers.Metric, opt samplers.AdamOptions) (*StageEnd, error) {
	if end := s.done(key, t.Dim()); end != nil {
		return end, nil
	}
	state := samplers.NewAdamState(from)
	if s.Saved.Task == key && s.Saved.Adam.Fits(t.Dim()) {
		state = s.Saved.Adam
	}
	s.begin(key, nil, state)
	chi2, best := 0.0, math.Inf(-1) // of the best point; after a resume not known until there is a better one
	if state.Started {
		best = state.BestLogProb
	}
	res, err := samplers.Adam(ctx, t, state, metric, opt, func(st *samplers.AdamState) error {
		if st.BestLogProb > best && st.LogProb == st.BestLogProb {
			chi2, best = reducedChi2(post), st.BestLogProb
		}
		s.report(State{Step: st.Step, LogPosterior: st.BestLogProb, ReducedChi2: chi2})
		s.count(st.Evaluations)
		return s.Save()
	})
	return s.ended(ctx, key, res, err)
}

// ended notes the end of a climb.
func (s *Search) ended(ctx context.Context, key string, res *samplers.Result, err error) (*StageEnd, error) {
	if err != nil {
		return nil, err
	}
	end := &StageEnd{U: res.X, LogProb: res.LogProb, Gain: res.Gain, Status: res.Status, Reason: res.Reason}
	s.Saved.Done[key] = end
	s.begin("", nil, nil)
	s.Saved.Iterations += res.Iterations
	s.taken += res.Iterations
	return end, nil
}

// begin notes the climb at work, which may have been at work when the search was stopped.
func (s *Search) begin(key string, lm *samplers.LMState, adam *samplers.AdamState) {
	if s.Saved.Task != key || s.Saved.LM != lm || s.Saved.Adam != adam {
		s.Saved.Counted = 0
	}
	s.Saved.Task, s.Saved.LM, s.Saved.Adam = key, lm, adam
}

// count adds what the climb at work has evaluated since it was last called. What a step has cost counts once it is made, so
// that a stop in its middle leaves the counts as they were.
func (s *Search) count(now int) {
	s.Saved.Evaluations += now - s.Saved.Counted
	s.Saved.Counted = now
}

// group begins a stage for those who watch, of so many steps.
func (s *Search) group(label string, steps int) {
	s.label, s.steps, s.taken, s.most = label, steps, 0, false
}

// climbs begins a stage of climbs of at most so many steps in all; those that converge take fewer.
func (s *Search) climbs(label string, steps int) {
	s.group(label, steps)
	s.most = true
}

func (s *Search) report(st State) {
	if s.Tell != nil {
		st.Stage, st.Budget, st.Steps = s.label, s.most, max(s.steps, s.taken+st.Step)
		st.Step += s.taken
		st.Evaluations = s.Saved.Evaluations
		s.Tell(st)
	}
}

// reducedChi2 is that of the point that the posterior was last evaluated at.
func reducedChi2(p *adjoint.Posterior) float64 { return p.Chi2() / float64(p.Pixels()) }

// threads is how many climbs may run side by side.
func (s *Search) threads() int {
	if s.Compute.Threads > 0 {
		return s.Compute.Threads
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

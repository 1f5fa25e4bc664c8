package search

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"lenskit/adjoint"
	"lenskit/samplers"

	"gonum.org/v1/gonum/mat"
)

// Settle takes ends at middle size to their maxima at full size, and judges the best. placed is the end of the first basin,
// that of a free source where there is one, whether it is among them or not.
func (s *Search) Settle(ctx context.Context, post, full *adjoint.Posterior, ends []*StageEnd, placed *StageEnd) (*Result, error) {
	var tried []*StageEnd
	for i, e := range ends {
		label := "full size"
		if len(ends) > 1 {
			label = fmt.Sprintf("full size, lens %d of %d", i+1, len(ends))
		}
		s.climbs(label, map[string]int{"lm": 2*s.Options.Iterations + 2*s.Settings.PolishSteps, "adam": s.Options.Iterations + s.Settings.PolishSteps}[s.Options.Optimizer])
		end, err := s.finish(ctx, post, full, fmt.Sprintf("basin %d", i+1), e)
		if err != nil {
			return nil, err
		}
		end, err = s.turned(ctx, end, func(ctx context.Context, u []float64) (*StageEnd, error) {
			return s.lm(ctx, fmt.Sprintf("basin %d: other copy", i+1), full, full.MAP(), u, s.Settings.JointSteps)
		})
		if err != nil {
			return nil, err
		}
		tried = append(tried, end)
	}
	sort.SliceStable(tried, func(a, b int) bool { return tried[a].LogProb > tried[b].LogProb })
	top := tried[0]
	res := &Result{}
	res.Lensed, res.Doubts = s.doubts(full, top, tried)
	hold := slices.ContainsFunc(full.Names(), isEinsteinRadius)
	if hold && s.Problem.Config.Data.Noise.Fraction > 0 && res.Lensed.disagrees() {
		held, err := s.between(ctx, full, top, placed, res.Lensed)
		if err == nil {
			held, err = s.turned(ctx, held, func(ctx context.Context, u []float64) (*StageEnd, error) {
				return s.heldRadius(ctx, "between: other copy", full, full.MAP(), u)
			})
		}
		if err != nil {
			return nil, err
		}
		top = held
		res.Doubts = append(res.Doubts, "the lens given is not that of the maximum: its Einstein radius is held at what both sources allow")
	}
	return res, s.curve(res, full, top)
}

// finish takes an end at middle size to the maximum at full size.
func (s *Search) finish(ctx context.Context, post, full *adjoint.Posterior, key string, e *StageEnd) (*StageEnd, error) {
	var err error
	if post != full {
		if e, err = s.polish(ctx, key+" at half size", post, e); err != nil {
			return nil, err
		}
	}
	if s.Options.Optimizer == "adam" {
		end, err := s.adam(ctx, key+": Adam", full, full.MAP(), e.U, nil, samplers.AdamOptions{Steps: s.Options.Iterations, Rate: s.Settings.AdamRate, Final: s.Settings.AdamFinal, Window: max(s.Settings.AdamWindow, s.Options.Iterations/10), Tol: s.Settings.AdamGain})
		if err != nil {
			return nil, err
		}
		whole := *end // Adam does not know the curvature
		whole.Gain = newtonGain(full.MAP(), end.U)
		return &whole, nil
	}
	end, err := s.lm(ctx, key+": full size", full, full.MAP(), e.U, s.Options.Iterations)
	if err != nil {
		return nil, err
	}
	if end, err = s.polish(ctx, key, full, end); err != nil {
		return nil, err
	}
	return s.lm(ctx, key+": last steps", full, full.MAP(), end.U, s.Options.Iterations)
}

// polish takes Adam steps in coordinates in which the Gauss-Newton matrix is the identity: the landscape is rough on a
// small scale (the decoder's ReLUs, the borders of source pixels), where Levenberg-Marquardt stalls and Adam does not.
func (s *Search) polish(ctx context.Context, key string, post *adjoint.Posterior, e *StageEnd) (*StageEnd, error) {
	grad, hess := make([]float64, post.Dim()), mat.NewSymDense(post.Dim(), nil)
	if _, err := post.MAP().LogProbHess(grad, hess, e.U); err != nil {
		return nil, err
	}
	metric, _, err := samplers.NewMetricHess(hess, 1e-10)
	if err != nil {
		return e, nil // a direction without curvature: nothing to whiten by
	}
	end, err := s.adam(ctx, key+": polish", post, post.MAP(), e.U, metric,
		samplers.AdamOptions{Steps: s.Settings.PolishSteps, Rate: s.Settings.PolishRate, Final: s.Settings.PolishFinal, Beta2: s.Settings.PolishMemory, Window: s.Settings.PolishWindow, Tol: s.Settings.PolishGain})
	if err != nil || end.LogProb > e.LogProb {
		return end, err
	}
	return e, nil
}

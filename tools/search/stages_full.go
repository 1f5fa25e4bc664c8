package search

import (
	"context"
	"fmt"
	"math"
	"sort"

	"gonum.org/v1/gonum/mat"
	"lenskit/adjoint"
	"lenskit/samplers"
)

// climbFullSize takes lenses to their maxima at full size, best first, unless they are so far below the best that another size
// does not matter. After them stands what it was given.
func climbFullSize(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	best := math.Inf(-1)
	for _, f := range found {
		best = math.Max(best, f.LogProb)
	}
	var near []Found
	for _, f := range found {
		if !(best-f.LogProb > c.Settings.FullSizeGap) { // closer ones are only told apart at full size
			near = append(near, f)
		}
	}
	full := c.Problem.Post
	var out []Found
	for i, f := range near {
		label := "full size"
		if len(near) > 1 {
			label = fmt.Sprintf("full size, lens %d of %d", i+1, len(near))
		}
		c.climbs(label, map[string]int{"lm": 2*c.Options.Iterations + 2*c.Settings.PolishSteps, "adam": c.Options.Iterations + c.Settings.PolishSteps}[c.Options.Optimizer])
		end, err := c.finish(ctx, fmt.Sprintf("basin %d", i+1), f)
		if err != nil {
			return nil, err
		}
		end, err = c.atLikeliestAngles(ctx, end, func(ctx context.Context, u []float64) (*StageEnd, error) {
			return c.lm(ctx, fmt.Sprintf("basin %d: other copy", i+1), full, full.MAP(), u, c.Settings.JointSteps)
		})
		if err != nil {
			return nil, err
		}
		out = append(out, Found{End: end, LogProb: end.LogProb, Radius: f.Radius})
	}
	sort.SliceStable(out, func(a, b int) bool { return out[a].LogProb > out[b].LogProb })
	return append(out, found...), nil
}

// finish takes an end, that of a decoder's stage from middle size, to the maximum at full size.
func (c *Climber) finish(ctx context.Context, key string, f Found) (*StageEnd, error) {
	full, e := c.Problem.Post, f.End
	if f.From == decoderStage {
		mid, err := c.middle()
		if err != nil {
			return nil, err
		}
		if mid.post != full {
			if e, err = c.polish(ctx, key+" at half size", mid.post, e); err != nil {
				return nil, err
			}
		}
	}
	if c.Options.Optimizer == "adam" {
		end, err := c.adam(ctx, key+": Adam", full, full.MAP(), e.U, nil, samplers.AdamOptions{Steps: c.Options.Iterations, Rate: c.Settings.AdamRate, Final: c.Settings.AdamFinal, Window: max(c.Settings.AdamWindow, c.Options.Iterations/10), Tol: c.Settings.AdamGain})
		if err != nil {
			return nil, err
		}
		whole := *end // Adam does not know the curvature
		whole.Gain = newtonGain(full.MAP(), end.U)
		return &whole, nil
	}
	end, err := c.lm(ctx, key+": full size", full, full.MAP(), e.U, c.Options.Iterations)
	if err != nil {
		return nil, err
	}
	if end, err = c.polish(ctx, key, full, end); err != nil {
		return nil, err
	}
	return c.lm(ctx, key+": last steps", full, full.MAP(), end.U, c.Options.Iterations)
}

// polish takes Adam steps in coordinates in which the Gauss-Newton matrix is the identity: the landscape is rough on a
// small scale (the decoder's ReLUs, the borders of source pixels), where Levenberg-Marquardt stalls and Adam does not.
func (c *Climber) polish(ctx context.Context, key string, post *adjoint.Posterior, e *StageEnd) (*StageEnd, error) {
	grad, hess := make([]float64, post.Dim()), mat.NewSymDense(post.Dim(), nil)
	if _, err := post.MAP().LogProbHess(grad, hess, e.U); err != nil {
		return nil, err
	}
	metric, _, err := samplers.NewMetricHess(hess, 1e-10)
	if err != nil {
		return e, nil // a direction without curvature: nothing to whiten by
	}
	end, err := c.adam(ctx, key+": polish", post, post.MAP(), e.U, metric,
		samplers.AdamOptions{Steps: c.Settings.PolishSteps, Rate: c.Settings.PolishRate, Final: c.Settings.PolishFinal, Beta2: c.Settings.PolishMemory, Window: c.Settings.PolishWindow, Tol: c.Settings.PolishGain})
	if err != nil || end.LogProb > e.LogProb {
		return end, err
	}
	return e, nil
}

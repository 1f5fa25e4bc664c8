package search

import (
	"context"
	"math"
	"slices"

	"lenskit/adjoint"
	"lenskit/samplers"
)

// holdRadius adds the lens with the Einstein radius held at what both sources allow, where that of the maximum is not that of the
// pixelised source and the light is followed to a fraction only. It comes first; what it was given follows.
func holdRadius(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	full, top, placed := c.Problem.Post, found[0], endsFrom(decoderStage, found)
	if len(placed) == 0 || !slices.ContainsFunc(full.Params(), func(q adjoint.Param) bool { return isEinsteinRadius(&q) }) || !(c.Problem.Config.Data.Noise.Fraction > 0) {
		return found, nil
	}
	theta := make([]float64, len(full.Names()))
	full.Theta(theta, top.End.U)
	img, err := full.Images(theta)
	if err != nil {
		return found, nil // which the verdict tells
	}
	seen, err := c.lensed(full, top.End, img, top.Radius)
	if err != nil || !seen.disagrees() {
		return found, nil
	}
	held, err := c.between(ctx, full, top.End, placed[0], seen)
	if err != nil {
		return nil, err
	}
	held, err = c.atLikeliestAngles(ctx, held, func(ctx context.Context, u []float64) (*StageEnd, error) {
		return c.lmHeldRadius(ctx, "between: other copy", full, full.MAP(), u)
	})
	if err != nil {
		return nil, err
	}
	return append([]Found{{End: held, LogProb: held.LogProb, Radius: top.Radius}}, found...), nil
}

// between is the best fit with the Einstein radius held halfway between those of the maximum and of the lens found with a
// pixelised source. Both err, and rarely alike: a decoder draws no more detail than it has learnt and leaves the rest to the lens
// and its light, a pixelised source is smooth everywhere. A maximum further away is another lens altogether: then placed, the
// decoder below the lens of the pixelised source, is gone on from with the radius as it is.
func (c *Climber) between(ctx context.Context, post *adjoint.Posterior, top, placed *StageEnd, seen *Lensed) (*StageEnd, error) {
	if math.Abs(math.Log(float64(seen.Radius/seen.Pixelised))) > c.Settings.OtherRadius {
		return c.lmHeldRadius(ctx, "between", post, post.MAP(), placed.U)
	}
	theta := make([]float64, len(post.Names()))
	post.Theta(theta, top.U)
	for k := range post.Params() {
		if post.Free()[k] >= 0 && isEinsteinRadius(&post.Params()[k]) {
			theta[k] *= math.Sqrt(float64(seen.Pixelised / seen.Radius))
		}
	}
	u, err := coordinates(post, theta)
	if err != nil {
		return nil, err
	}
	return c.lmHeldRadius(ctx, "between", post, post.MAP(), u)
}

// lmHeldRadius climbs with everything free but the Einstein radius.
func (c *Climber) lmHeldRadius(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Lagged, from []float64) (*StageEnd, error) {
	return c.lmPart(ctx, key, post, t, func(q *adjoint.Param) bool { return !isEinsteinRadius(q) }, from, c.Settings.JointSteps)
}

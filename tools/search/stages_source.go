package search

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/lensing"
	"lenskit/tools/observation"
)

// keepMultiple keeps the lenses that see their simple source more than once, as far as there are any: of one that does not the
// source may as well be light that is not lensed, and the evidence of a pixelised source prefers such a lens.
func keepMultiple(_ context.Context, c *Climber, found []Found) ([]Found, error) {
	var out []Found
	for _, f := range found {
		lens, err := c.Problem.Config.Deflection("", f.Theta, nil)
		if err != nil {
			return nil, err
		}
		x, y := c.simpleCentre()
		halfW, halfH := c.Problem.Obs.HalfSides()
		if f.Multiple = apart(lens.ImagesOf(f.Theta[x], f.Theta[y], halfW, halfH, c.Problem.Obs.Scale)); f.Multiple {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		out = found
	}
	return out[:min(c.Settings.PixelLenses, len(out))], nil
}

// apart tells whether some of the images of a point are further from the first than what counts as one.
func apart(images []lensing.Image) bool {
	return slices.ContainsFunc(images, func(i lensing.Image) bool {
		return math.Hypot(i.X-images[0].X, i.Y-images[0].Y) > imageApart
	})
}

// climbCoarseSource climbs from each lens with a pixelised source on coarse grids and a small image.
func climbCoarseSource(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	for i := range found {
		found[i] = c.withSource(found[i])
	}
	return c.climbSource(ctx, "coarse source", c.Settings.CoarseSide, found)
}

// climbMiddleSource is the same on an image of middle size.
func climbMiddleSource(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	return c.climbSource(ctx, "middle source", c.Settings.MiddleSide, found)
}

// climbSource climbs from each lens with a pixelised source on coarse grids and an image that is so many pixels wide. Those whose
// log posterior comes near the best stay, best first.
func (c *Climber) climbSource(ctx context.Context, label string, side int, found []Found) ([]Found, error) {
	obs, err := c.Problem.Obs.Coarsen(c.Problem.Obs.Binning(side))
	if err != nil {
		return nil, err
	}
	var out []Found
	for i, f := range found {
		c.climbs(fmt.Sprintf("%s, lens %d of %d", label, i+1, len(found)), c.Settings.PixelSteps)
		g := gridded{c: c, obs: obs, key: fmt.Sprintf("%s %d", label, i+1), coarser: c.Settings.CoarseKnots, boxes: 1}
		if f, err = g.settle(ctx, f); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b Found) int { return cmp.Compare(b.LogProb, a.LogProb) })
	if out, err = c.distinct(out); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(out, func(f Found) bool { return f.LogProb < out[0].LogProb-c.Settings.PixelGap }), nil
}

// climbNestedSource climbs from each lens on the whole image with the grids that are called for, laid out anew as the lens moves,
// and then, from the best, on finer ones as long as the evidence rises. The problem takes over the last grids.
func climbNestedSource(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	found = found[:min(c.Settings.PixelBest, len(found))]
	var out []Found
	for i, f := range found {
		c.climbs(fmt.Sprintf("pixelised source, lens %d of %d", i+1, len(found)), c.Settings.PixelBoxes*c.Settings.PixelSteps)
		g := gridded{c: c, obs: c.Problem.Obs, key: fmt.Sprintf("pixelised source %d", i+1), coarser: 1, boxes: c.Settings.PixelBoxes}
		var err error
		if f, err = g.settle(ctx, f); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b Found) int { return cmp.Compare(b.LogProb, a.LogProb) })
	best, coarser, err := c.finer(ctx, out[0])
	if err != nil {
		return nil, err
	}
	out[0] = best
	cfg, _, err := c.Problem.Regridded(best.At, coarser)
	if err != nil {
		return nil, err
	}
	if err := c.Problem.Adopt(cfg, c.Compute); err != nil {
		return nil, err
	}
	post := c.Problem.Post
	for i := range out {
		u, err := coordinates(post, LaidOut(post, out[i].Theta))
		if err != nil {
			return nil, err
		}
		out[i].End = &StageEnd{U: u, LogProb: out[i].LogProb}
	}
	return out, nil
}

// finer goes on from a lens with finer grids as long as the evidence rises, and tells the steps of the grids that it ends with.
func (c *Climber) finer(ctx context.Context, best Found) (Found, float64, error) {
	coarser := 1.0
	if _, stated, err := c.Problem.Regridded(best.At, coarser); stated || err != nil {
		return best, coarser, err
	}
	c.climbs("finer grids", c.Settings.FinerTrials*c.Settings.PixelSteps)
	for i := range c.Settings.FinerTrials {
		next := coarser * c.Settings.FinerKnots
		g := gridded{c: c, obs: c.Problem.Obs, key: fmt.Sprintf("finer grids %d", i+1), coarser: next, boxes: 1}
		f, err := g.settle(ctx, best)
		if err != nil {
			return best, 0, err
		}
		if f.LogProb < best.LogProb+c.Settings.FinerGain {
			break
		}
		best, coarser = f, next
	}
	return best, coarser, nil
}

// gridded is a climb with pixelised sources whose grids follow the lens.
type gridded struct {
	c       *Climber
	obs     *observation.Observation
	key     string
	coarser float64 // steps of the grids, of those that are called for
	boxes   int     // how often the grids are laid out, at most
}

// settle climbs from a lens on grids laid out there, and again on grids laid out at the end, until these do not change any more.
func (g *gridded) settle(ctx context.Context, f Found) (Found, error) {
	for i := range g.boxes {
		cfg, stated, err := g.c.Problem.Regridded(f.Theta, g.coarser)
		if err != nil {
			return f, err
		}
		next, err := g.climb(ctx, fmt.Sprintf("%s, grids %d", g.key, i+1), cfg, f)
		if err != nil {
			return f, err
		}
		moved, err := g.c.deflectionDistance(f.Theta, next.Theta)
		if err != nil {
			return f, err
		}
		next.At = f.Theta
		if f = next; stated || moved < g.c.Settings.PixelSame {
			break
		}
	}
	return f, nil
}

// climb climbs the posterior of a config from a lens.
func (g *gridded) climb(ctx context.Context, key string, cfg *config.Config, f Found) (Found, error) {
	post, err := g.c.posterior(cfg, g.obs, g.c.Compute.Threads)
	if err != nil {
		return f, err
	}
	defer post.Close()
	theta := LaidOut(post, f.Theta)
	clampToPriors(post, cfg, theta)
	u, err := coordinates(post, theta)
	if err != nil {
		return f, err
	}
	end, err := g.c.bfgs(ctx, key, post, post.MAP(), u)
	if err != nil {
		return f, err
	}
	return Found{Theta: namedTheta(post, end.U), LogProb: end.LogProb, Multiple: f.Multiple}, nil
}

// withSource gives a lens found with simple sources a first guess of its pixelised ones: an envelope where the simple source is.
func (c *Climber) withSource(f Found) Found {
	theta := maps.Clone(f.Theta)
	for i := range c.Problem.Config.Source {
		comp := &c.Problem.Config.Source[i]
		if comp.Type != config.TypePixels {
			continue
		}
		simple := config.Component{Group: comp.Group, Name: comp.Name, Type: simpleLight, Params: config.DefaultParams(comp.Group, simpleLight)}
		for _, role := range []physics.Role{physics.RoleCentreX, physics.RoleCentreY, physics.RoleSize} {
			from := role
			if role == physics.RoleSize {
				from = physics.RoleHalfLightRadius
			}
			if to := comp.ByRole(role); to != nil && comp.Pixels.Components > 0 {
				if v, ok := f.Theta[simple.KeyOf(from)]; ok && !to.Prior.IsFixed() {
					theta[comp.Key(to.Name)] = v
				}
			}
		}
	}
	f.Theta = theta
	return f
}

// climbPixelised takes lenses to their maxima at full size with the grids that the problem has, and the best first.
func climbPixelised(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	post := c.Problem.Post
	out := slices.Clone(found)
	c.climbs("full size", c.Settings.PixelSteps)
	end, err := c.bfgs(ctx, "full size", post, post.MAP(), found[0].End.U)
	if err != nil {
		return nil, err
	}
	out[0].End, out[0].LogProb = end, end.LogProb
	for i := range out {
		out[i].From = ""
	}
	return out, nil
}

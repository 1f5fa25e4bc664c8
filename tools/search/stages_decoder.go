package search

import (
	"context"
	"fmt"
	"math"
	"sort"

	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/observation"
)

// middle is the image at the size at which the decoder is put below a lens, and the model on it.
type middle struct {
	obs  *observation.Observation
	post *adjoint.Posterior // the problem's own where the image is no larger
}

func (c *Climber) middle() (*middle, error) {
	if c.half != nil {
		return c.half, nil
	}
	k := c.Problem.Obs.Binning(c.Settings.MiddleSide)
	obs, err := c.Problem.Obs.Coarsen(k)
	if err != nil {
		return nil, err
	}
	m := &middle{obs: obs, post: c.Problem.Post}
	if k > 1 {
		if m.post, err = c.posterior(c.Problem.Config, obs, c.Compute.Threads); err != nil {
			return nil, err
		}
	}
	c.half = m
	return m, nil
}

// placeDecoder puts the decoder below each lens at middle size, with the source traced back, climbs with everything free, and
// does so once more through the better lens.
func placeDecoder(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	set := &c.Settings
	steps := (set.FrameWidths+3)*set.SourceSteps + (set.FramesKept+1)*set.JointSteps
	return c.place(ctx, found, steps, func(post *adjoint.Posterior, src *sources, key string, f Found) (*StageEnd, error) {
		theta := LaidOut(post, f.Theta)
		best, err := c.bestFrame(ctx, post, src, key, theta, f.Theta, src.widths, func(key string, u []float64) (*StageEnd, error) {
			return c.lm(ctx, key, post, c.joint(post), u, set.JointSteps)
		})
		if err != nil {
			return nil, err
		}
		post.Theta(theta, best.U)
		named := namedTheta(post, best.U)
		var widths []float64
		if w := named[src.decoders[0].comp.KeyOf(physics.RoleSize)]; w > 0 {
			widths = []float64{set.FrameNarrower * w, w, set.FrameWider * w}
		}
		ends, err := c.below(ctx, post, src, key+" again", theta, named, widths)
		if err != nil {
			return nil, err
		}
		end, err := c.lm(ctx, key+" again: everything", post, c.joint(post), ends[0].U, set.JointSteps)
		if err != nil {
			return nil, err
		}
		if end.LogProb > best.LogProb {
			best = end
		}
		return best, nil
	})
}

// placeDecoderHeld puts the decoder below each lens at middle size and climbs with all but the Einstein radius free: while source
// and light settle, a radius that is free may leave what a pixelised source has found, which is as good as what a decoder finds.
func placeDecoderHeld(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	set := &c.Settings
	steps := (set.FrameWidths+1)/2*set.SourceSteps + set.FramesKept*set.JointSteps
	return c.place(ctx, found, steps, func(post *adjoint.Posterior, src *sources, key string, f Found) (*StageEnd, error) {
		var widths []float64
		for k, w := range src.widths { // every second: the middle of a large image is quick enough to be taken as it is
			if k%2 == 0 {
				widths = append(widths, w)
			}
		}
		return c.bestFrame(ctx, post, src, key, LaidOut(post, f.Theta), f.Theta, widths, func(key string, u []float64) (*StageEnd, error) {
			return c.lmHeldRadius(ctx, key, post, c.joint(post), u)
		})
	})
}

// place puts the sources of the model below each lens at middle size, decoders by way of a function.
func (c *Climber) place(ctx context.Context, found []Found, steps int, decoder func(post *adjoint.Posterior, src *sources, key string, f Found) (*StageEnd, error)) ([]Found, error) {
	mid, err := c.middle()
	if err != nil {
		return nil, err
	}
	src, err := c.newSources(mid.obs)
	if err != nil {
		return nil, err
	}
	defer src.close()
	var out []Found
	for i, f := range found {
		c.climbs(fmt.Sprintf("lens %d of %d", i+1, len(found)), steps)
		key := fmt.Sprintf("basin %d", i+1)
		var end *StageEnd
		if len(src.decoders) > 0 {
			end, err = decoder(mid.post, src, key, f)
		} else {
			var u []float64
			if u, err = coordinates(mid.post, LaidOut(mid.post, f.Theta)); err == nil {
				end, err = c.lm(ctx, key+": everything", mid.post, c.joint(mid.post), u, c.Settings.JointSteps)
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Found{End: end, LogProb: end.LogProb, Radius: f.Radius})
	}
	return out, nil
}

// bestFrame fits the source below the fixed lens at each width of its frame, climbs on from the best, and returns the best end.
func (c *Climber) bestFrame(ctx context.Context, post *adjoint.Posterior, src *sources, key string, theta []float64, named config.Named, widths []float64, climb func(key string, u []float64) (*StageEnd, error)) (*StageEnd, error) {
	ends, err := c.below(ctx, post, src, key, theta, named, widths)
	if err != nil {
		return nil, err
	}
	best := &StageEnd{LogProb: math.Inf(-1)}
	for i, e := range ends[:min(c.Settings.FramesKept, len(ends))] {
		end, err := climb(fmt.Sprintf("%s: everything %d", key, i+1), e.U)
		if err != nil {
			return nil, err
		}
		if end.LogProb > best.LogProb {
			best = end
		}
	}
	return best, nil
}

// joint is the density that is climbed with everything free. The relaxed one is flat in a factor of the noise; where the
// light of the lens was fitted first, the start is good enough to do without.
func (c *Climber) joint(post *adjoint.Posterior) samplers.Lagged {
	if c.Problem.Config.NoiseScale != nil && hasLensLight(c.Problem.Config) {
		return post.MAP()
	}
	return post.Relaxed()
}

// below fits the decoder sources under the fixed lens of theta, from the image traced back at each width, and returns
// the ends, best first.
func (c *Climber) below(ctx context.Context, post *adjoint.Posterior, src *sources, key string, theta []float64, named config.Named, widths []float64) ([]*StageEnd, error) {
	starts, err := src.trace(post, theta, named, widths)
	if err != nil {
		return nil, err
	}
	var ends []*StageEnd
	for i, u := range starts {
		end, err := c.lmPart(ctx, fmt.Sprintf("%s: source %d", key, i+1), post, post.Relaxed(), isSource, u, c.Settings.SourceSteps)
		if err != nil {
			return nil, err
		}
		ends = append(ends, end)
	}
	sort.SliceStable(ends, func(a, b int) bool { return ends[a].LogProb > ends[b].LogProb })
	return ends, nil
}

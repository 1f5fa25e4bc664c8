package search

import (
	"context"
	"fmt"
	"math"
	"sort"

	"lenskit/adjoint"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
)

// climbDraws climbs from draws of the priors on a small image with simple sources, and finds the best ends that differ.
func climbDraws(ctx context.Context, c *Climber, _ []Found) ([]Found, error) {
	full := c.Problem.Obs
	obs, err := full.Coarsen(full.Binning(c.Settings.CoarseSide))
	if err != nil {
		return nil, err
	}
	o := scanOptions{
		cfg: simplified(c.Problem.Config, full.Brightness, &c.Settings), obs: obs,
		starts: c.Options.Starts, kept: c.Settings.Lenses,
	}
	if c.Problem.Config.HasPixels() { // whose evidence tells lenses apart that simple sources do not
		o.starts, o.kept = max(o.starts, c.Settings.PixelStarts), 2*c.Settings.PixelLenses
	}
	return c.scan(ctx, o)
}

// scanOptions say what is climbed from draws of the priors.
type scanOptions struct {
	cfg    *config.Config
	obs    *observation.Observation
	starts int
	kept   int  // ends that are kept, at most
	even   bool // Einstein radii are not drawn, but spread evenly over their prior
}

// scan climbs from draws of the priors, and returns the best ends whose lenses differ.
func (c *Climber) scan(ctx context.Context, o scanOptions) ([]Found, error) {
	workers := min(c.threads(), o.starts)
	posts := make([]*adjoint.Posterior, workers)
	for i := range posts {
		p, err := c.posterior(o.cfg, o.obs, 1)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		posts[i] = p
	}
	first := posts[0]
	c.group("starts", o.starts)
	ends := make([]*StageEnd, o.starts)
	done := 0
	climb := func(p *adjoint.Posterior, i, steps int, key string, from []float64) error {
		end, err := c.lmParallel(ctx, key, p, p.Relaxed(), from, steps)
		if err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		ends[i] = end
		done++
		best := math.Inf(-1)
		for _, e := range ends {
			if e != nil {
				best = math.Max(best, e.LogProb)
			}
		}
		c.report(State{Step: done, LogPosterior: best})
		return c.Save()
	}
	all := make([]int, o.starts)
	for i := range all {
		all[i] = i
	}
	err := sideBySide(ctx, workers, len(all), func(w, i int) error {
		p := posts[w]
		u, err := c.draw(p, &o, i)
		if err != nil {
			return err
		}
		return climb(p, i, c.Settings.DrawSteps, fmt.Sprintf("start %d", i), u)
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(all, func(a, b int) bool { return ends[all[a]].LogProb > ends[all[b]].LogProb })
	if best := ends[all[0]]; best.LogProb == -math.MaxFloat64 {
		return nil, term.Numerical("none of %d starts can be computed: %s", o.starts, best.Reason)
	}
	c.noteStarts(ends)
	kept := all[:(len(all)+c.Settings.KeepOneIn-1)/c.Settings.KeepOneIn]
	done = o.starts - len(kept)
	err = sideBySide(ctx, workers, len(kept), func(w, k int) error {
		i := kept[k]
		return climb(posts[w], i, c.Settings.KeptSteps, fmt.Sprintf("start %d kept", i), ends[i].U)
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(all, func(a, b int) bool { return ends[all[a]].LogProb > ends[all[b]].LogProb })
	var near []Found
	half := 0.5 * float64(first.Pixels())
	for _, i := range all {
		// LogProb falls by half·log(χ²) as χ² rises
		if e := ends[i]; e.LogProb >= ends[all[0]].LogProb-c.Settings.KeptFall*half {
			near = append(near, Found{Theta: namedTheta(first, e.U), LogProb: e.LogProb})
		}
	}
	out, err := c.distinct(near)
	if err != nil {
		return nil, err
	}
	return out[:min(o.kept, len(out))], nil
}

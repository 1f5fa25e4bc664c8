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

// basin is a lens that explains the image with a simple source.
type basin struct {
	theta    config.Named // of the simple model
	logProb  float64
	multiple bool // the brightest point of its free source is seen more than once
}

// coarse climbs from draws of the priors on a small image with simple sources, and returns the best ends that differ.
func (s *Search) coarse(ctx context.Context) ([]basin, []float64, error) {
	obs := s.Problem.Obs
	if hasLensLight(s.Problem.Config) {
		return s.staged(ctx)
	}
	return s.scan(ctx, scanOptions{
		cfg: simplified(s.Problem.Config, obs.Brightness, &s.Settings), obs: obs.Coarsen(obs.Binning(s.Settings.CoarseSide)),
		starts: s.Options.Starts, basins: s.Settings.Lenses, fall: s.Settings.KeptFall,
	})
}

// scanOptions say what is climbed from draws of the priors.
type scanOptions struct {
	cfg    *config.Config
	obs    *observation.Observation
	starts int
	basins int     // ends that are kept, at most
	fall   float64 // of ½ log χ² from the best end, down to which others are kept
	even   bool    // Einstein radii are not drawn, but spread evenly over their prior
}

// scan climbs from draws of the priors, and returns the best ends whose lenses differ.
func (s *Search) scan(ctx context.Context, o scanOptions) ([]basin, []float64, error) {
	workers := min(s.threads(), o.starts)
	posts := make([]*adjoint.Posterior, workers)
	for i := range posts {
		p, err := s.posterior(o.cfg, o.obs, 1)
		if err != nil {
			return nil, nil, err
		}
		defer p.Close()
		posts[i] = p
	}
	first := posts[0]
	s.group("starts", o.starts)
	ends := make([]*StageEnd, o.starts)
	done := 0
	climb := func(p *adjoint.Posterior, i, steps int, key string, from []float64) error {
		end, err := s.lmAlone(ctx, key, p, p.Relaxed(), from, steps)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		ends[i] = end
		done++
		best := math.Inf(-1)
		for _, e := range ends {
			if e != nil {
				best = math.Max(best, e.LogProb)
			}
		}
		s.report(State{Step: done, LogPosterior: best})
		return s.Save()
	}
	all := make([]int, o.starts)
	for i := range all {
		all[i] = i
	}
	err := sideBySide(ctx, workers, len(all), func(w, i int) error {
		p := posts[w]
		u, err := s.draw(p, &o, i)
		if err != nil {
			return err
		}
		return climb(p, i, s.Settings.DrawSteps, fmt.Sprintf("start %d", i), u)
	})
	if err != nil {
		return nil, nil, err
	}
	sort.Slice(all, func(a, b int) bool { return ends[all[a]].LogProb > ends[all[b]].LogProb })
	if best := ends[all[0]]; best.LogProb == -math.MaxFloat64 {
		return nil, nil, term.Numerical("none of %d starts can be computed: %s", o.starts, best.Reason)
	}
	kept := all[:(len(all)+s.Settings.KeepOneIn-1)/s.Settings.KeepOneIn]
	done = o.starts - len(kept)
	err = sideBySide(ctx, workers, len(kept), func(w, k int) error {
		i := kept[k]
		return climb(posts[w], i, s.Settings.KeptSteps, fmt.Sprintf("start %d kept", i), ends[i].U)
	})
	if err != nil {
		return nil, nil, err
	}
	sort.Slice(all, func(a, b int) bool { return ends[all[a]].LogProb > ends[all[b]].LogProb })
	starts := make([]float64, len(ends))
	for i, e := range ends {
		starts[i] = e.LogProb
	}
	var near []basin
	half := 0.5 * float64(first.Pixels())
	for _, i := range all {
		// LogProb falls by half·log(χ²) as χ² rises
		if e := ends[i]; e.LogProb >= ends[all[0]].LogProb-o.fall*half {
			near = append(near, basin{theta: namedTheta(first, e.U), logProb: e.LogProb})
		}
	}
	out, err := s.distinct(near)
	if err != nil {
		return nil, nil, err
	}
	return out[:min(o.basins, len(out))], starts, nil
}

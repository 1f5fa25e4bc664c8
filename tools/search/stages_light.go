package search

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"lenskit/tools/config"
	"lenskit/tools/observation"
)

// staged finds lenses that explain a small image in which the lens itself shines: its light first, as far as it is
// smooth; then lens and simple sources below what that leaves; then all together.
func (s *Search) staged(ctx context.Context) ([]basin, []float64, error) {
	simple := restrained(simplified(s.Problem.Config, s.Problem.Obs.Brightness, &s.Settings), &s.Settings)
	small := s.Problem.Obs.Coarsen(s.Problem.Obs.Binning(s.Settings.LightSide))
	smooth, image, err := small.SmoothLight(s.Problem.Obs.BrightCentre())
	if err != nil {
		return nil, nil, err
	}
	if !showsMore(small, image) {
		return nil, nil, errNoArcs
	}
	light, err := s.lensLight(ctx, simple, showing(dimmed(small, image, &s.Settings), image), smooth)
	if err != nil {
		return nil, nil, err
	}
	only := *simple
	only.LensLight, only.Sky = nil, nil
	arcs := without(dimmed(small, image, &s.Settings), image)
	arcs = arcs.Coarsen(arcs.Binning(s.Settings.CoarseSide))
	arcs.PSF = observation.GaussianPSF(arcs.PSF)
	found, starts, err := s.scan(ctx, scanOptions{
		cfg: &only, obs: arcs, starts: max(s.Settings.ArcStarts, s.Options.Starts), basins: s.Settings.ArcLenses, fall: s.Settings.KeptFall, even: true,
	})
	if err != nil {
		return nil, nil, err
	}
	joined, err := s.join(ctx, "joined", simple, dimmed(small, image, &s.Settings), light, found, nil)
	if err != nil {
		return nil, nil, err
	}
	sort.SliceStable(joined, func(a, b int) bool { return joined[a].logProb > joined[b].logProb })
	if joined, err = s.distinct(joined); err != nil {
		return nil, nil, err
	}
	if found, err = s.freed(ctx, simple, small, found, joined); err != nil {
		return nil, nil, err
	}
	found = rivals(found, &s.Settings)
	s.free = found[0].theta
	found, err = s.join(ctx, "joined again", simple, dimmed(small, image, &s.Settings), light, found, func(name string) bool { return !strings.HasPrefix(name, "lens.") })
	return found, starts, err
}

// rivals are the best of the ends of join, and of the others that come close the next best: first those whose source is
// seen more than once.
func rivals(found []basin, set *Settings) []basin {
	sort.SliceStable(found, func(a, b int) bool { return found[a].multiple && !found[b].multiple })
	out := found[:1]
	for _, b := range found[1:] {
		if len(out) < set.Lenses && b.logProb > out[0].logProb-set.RivalGap {
			out = append(out, b)
		}
	}
	return out
}

// lensLight fits the light of the lens alone, from its ellipses where its profiles have such, and returns its parameters.
func (s *Search) lensLight(ctx context.Context, simple *config.Config, obs *observation.Observation, smooth *observation.SmoothFit) (config.Named, error) {
	only := *simple
	only.Lens, only.Source = nil, nil
	post, err := s.posterior(&only, obs, s.Compute.Threads)
	if err != nil {
		return nil, err
	}
	defer post.Close()
	s.climbs("light of the lens", s.Settings.LightStarts*s.Settings.LightSteps)
	var best *StageEnd
	var from []float64
	for i := range s.Settings.LightStarts {
		u, err := s.draw(post, &scanOptions{cfg: &only}, i)
		if err != nil {
			return nil, err
		}
		theta := make([]float64, len(post.Names()))
		post.Theta(theta, u)
		for c := range only.LensLight {
			smooth.Place(&only.LensLight[c], c, post.Names(), theta)
		}
		fitAmplitudes(post, theta, s.Settings.AmplitudeReach, nil)
		if u, err = coordinates(post, theta); err != nil {
			return nil, err
		}
		if slices.Equal(u, from) {
			break // nothing is left to chance
		}
		from = u
		end, err := s.lm(ctx, fmt.Sprintf("light %d", i), post, post.Relaxed(), u, s.Settings.LightSteps)
		if err != nil {
			return nil, err
		}
		if best == nil || end.LogProb > best.LogProb {
			best = end
		}
	}
	return namedTheta(post, best.U), nil
}

// join fits lenses, simple sources and the light of the lens together, from each basin; where free is given, only the
// parameters that it names.
func (s *Search) join(ctx context.Context, key string, simple *config.Config, obs *observation.Observation, light config.Named, found []basin, free func(name string) bool) ([]basin, error) {
	post, err := s.posterior(simple, obs, s.Compute.Threads)
	if err != nil {
		return nil, err
	}
	defer post.Close()
	if free == nil {
		free = func(string) bool { return true }
	}
	s.climbs("lens with its light", len(found)*s.Settings.LensLightSteps)
	var out []basin
	for i, b := range found {
		u, err := coordinates(post, LaidOut(post, b.theta, light))
		if err != nil {
			return nil, err
		}
		end, err := s.lmPart(ctx, fmt.Sprintf("%s %d", key, i), post, post.Relaxed(), free, u, s.Settings.LensLightSteps)
		if err != nil {
			return nil, err
		}
		out = append(out, basin{theta: namedTheta(post, end.U), logProb: end.LogProb})
	}
	return out, nil
}

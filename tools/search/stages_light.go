package search

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"lenskit/adjoint"
	"lenskit/tools/config"
	"lenskit/tools/observation"
)

// mge is the light of the lens as a multi-Gaussian expansion, on an image that is small enough for simple sources.
type mge struct {
	obs   *observation.Observation
	fit   *observation.MGE
	light []float64 // on all pixels, the sky with it
}

// lensMGE measures it.
func (c *Climber) lensMGE() (*mge, error) {
	if c.mge != nil {
		return c.mge, nil
	}
	full := c.Problem.Obs
	obs, err := full.Coarsen(full.Binning(c.Settings.LightSide))
	if err != nil {
		return nil, err
	}
	x0, y0 := full.BrightCentre()
	fit, light, err := obs.FitMGE(x0, y0, c.Settings.LightError)
	if err != nil {
		return nil, err
	}
	c.mge = &mge{obs: obs, fit: fit, light: light}
	return c.mge, nil
}

// simple is the config with simple sources.
func (c *Climber) simple() *config.Config {
	return restrained(simplified(c.Problem.Config, c.Problem.Obs.Brightness, &c.Settings), &c.Settings)
}

// fitLensLight fits the config's profiles to the MGE of the lens's light, and finds their parameters.
func fitLensLight(ctx context.Context, c *Climber, _ []Found) ([]Found, error) {
	m, err := c.lensMGE()
	if err != nil {
		return nil, err
	}
	if !showsMore(m.obs, m.light, &c.Settings) {
		return nil, errNoArcs
	}
	obs, err := withModelErrors(m.obs, m.light, &c.Settings)
	if err != nil {
		return nil, err
	}
	if obs, err = obs.With(m.light, obs.Sigma); err != nil {
		return nil, err
	}
	light, err := c.lensLight(ctx, c.simple(), obs, m.fit)
	if err != nil {
		return nil, err
	}
	return []Found{{Theta: light}}, nil
}

// climbArcs climbs from draws of lens and simple source on what the MGE of the lens's light leaves of the image, and finds the
// best ends that differ, each with that light.
func climbArcs(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	m, err := c.lensMGE()
	if err != nil {
		return nil, err
	}
	only := *c.simple()
	only.LensLight, only.Sky = nil, nil
	arcs, err := withModelErrors(m.obs, m.light, &c.Settings)
	if err != nil {
		return nil, err
	}
	if arcs, err = subtracted(arcs, m.light); err != nil {
		return nil, err
	}
	if arcs, err = arcs.Coarsen(arcs.Binning(c.Settings.CoarseSide)); err != nil {
		return nil, err
	}
	arcs.PSF = observation.GaussianPSF(arcs.PSF)
	out, err := c.scan(ctx, scanOptions{
		cfg: &only, obs: arcs, starts: max(c.Settings.ArcStarts, c.Options.Starts), kept: c.Settings.ArcLenses, even: true,
	})
	for _, f := range out {
		for name, v := range found[0].Theta {
			f.Theta[name] = v
		}
	}
	return out, err
}

// fitLightAndArcs fits lenses, simple sources and the light of the lens together, and finds those that differ, best first, and
// after them the lenses from before.
func fitLightAndArcs(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	joint, err := c.join(ctx, "joined", found, func(*adjoint.Param) bool { return true })
	if err != nil {
		return nil, err
	}
	sort.SliceStable(joint, func(a, b int) bool { return joint[a].LogProb > joint[b].LogProb })
	if joint, err = c.distinct(joint); err != nil {
		return nil, err
	}
	return append(joint, found...), nil
}

// refitLightAndArc fits simple sources and the light of the lens below the lenses as they stand.
func refitLightAndArc(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	return c.join(ctx, "joined again", found, func(q *adjoint.Param) bool { return !isLens(q) })
}

// keepRivals keeps the best of the lenses of a pixelised source, first those whose source is seen more than once, and of the
// others that come close the next best. The best tells the Einstein radius.
func keepRivals(_ context.Context, c *Climber, found []Found) ([]Found, error) {
	sort.SliceStable(found, func(a, b int) bool { return found[a].Multiple && !found[b].Multiple })
	out := found[:1]
	for _, f := range found[1:] {
		if len(out) < c.Settings.Lenses && f.LogProb > out[0].LogProb-c.Settings.RivalGap {
			out = append(out, f)
		}
	}
	radius := new(Lensed).radiusOf(c.Search, out[0].Theta)
	for i := range out {
		out[i].Radius = radius
	}
	return out, nil
}

// lensLight fits the light of the lens alone, from its ellipses where its profiles have such, and returns its parameters.
func (c *Climber) lensLight(ctx context.Context, simple *config.Config, obs *observation.Observation, mge *observation.MGE) (config.Named, error) {
	only := *simple
	only.Lens, only.Source = nil, nil
	post, err := c.posterior(&only, obs, c.Compute.Threads)
	if err != nil {
		return nil, err
	}
	defer post.Close()
	c.climbs("light of the lens", c.Settings.LightStarts*c.Settings.LightSteps)
	var best *StageEnd
	var from []float64
	for i := range c.Settings.LightStarts {
		u, err := c.draw(post, &scanOptions{cfg: &only}, i)
		if err != nil {
			return nil, err
		}
		theta := make([]float64, len(post.Names()))
		post.Theta(theta, u)
		for c := range only.LensLight {
			mge.Place(&only.LensLight[c], c, post.Names(), theta)
		}
		fitAmplitudes(post, theta, c.Settings.AmplitudeReach, nil)
		if u, err = coordinates(post, theta); err != nil {
			return nil, err
		}
		if slices.Equal(u, from) {
			break // nothing is left to chance
		}
		from = u
		end, err := c.lm(ctx, fmt.Sprintf("light %d", i), post, post.Relaxed(), u, c.Settings.LightSteps)
		if err != nil {
			return nil, err
		}
		if best == nil || end.LogProb > best.LogProb {
			best = end
		}
	}
	return namedTheta(post, best.U), nil
}

// join fits lenses, simple sources and the light of the lens together, from each lens found, with the parameters free that free
// names.
func (c *Climber) join(ctx context.Context, key string, found []Found, free func(q *adjoint.Param) bool) ([]Found, error) {
	m, err := c.lensMGE()
	if err != nil {
		return nil, err
	}
	obs, err := withModelErrors(m.obs, m.light, &c.Settings)
	if err != nil {
		return nil, err
	}
	post, err := c.posterior(c.simple(), obs, c.Compute.Threads)
	if err != nil {
		return nil, err
	}
	defer post.Close()
	c.climbs("lens with its light", len(found)*c.Settings.LensLightSteps)
	var out []Found
	for i, f := range found {
		u, err := coordinates(post, LaidOut(post, f.Theta))
		if err != nil {
			return nil, err
		}
		end, err := c.lmPart(ctx, fmt.Sprintf("%s %d", key, i), post, post.Relaxed(), free, u, c.Settings.LensLightSteps)
		if err != nil {
			return nil, err
		}
		out = append(out, Found{Theta: namedTheta(post, end.U), LogProb: end.LogProb, Radius: f.Radius})
	}
	return out, nil
}

package search

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"gonum.org/v1/gonum/optimize"
	"lenskit/adjoint"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
)

// invert takes lenses to those of the largest evidence with a pixelised source, and finds those that differ, best first. Around
// lenses found on the arcs alone the light of the lens is its MGE, which may have an arc in it; around those found with the light
// it is measured again without the arcs of their simple sources, which may be wrong. The lens may be wrong too, distorted until a
// simple source fits: the same radii are also gone on from with the lens as its priors have it.
func invert(ctx context.Context, c *Climber, found []Found) ([]Found, error) {
	m, err := c.lensMGE()
	if err != nil {
		return nil, err
	}
	return c.invert(ctx, c.simple(), m.obs, found)
}

func (c *Climber) invert(ctx context.Context, simple *config.Config, o *observation.Observation, found []Found) ([]Found, error) {
	post, err := c.posterior(simple, o, c.Compute.Threads)
	if err != nil {
		return nil, err
	}
	defer post.Close()
	whole, err := newInversion(o, nil, nil, &c.Settings)
	if err != nil {
		return nil, err
	}
	type start struct {
		Found
		source *inversion
		steps  int
	}
	var all []start
	for _, f := range found {
		source := whole
		if f.From == jointStage {
			img, err := post.Images(LaidOut(post, f.Theta))
			if err != nil {
				return nil, err
			}
			arcs, sky := img.Model.Pix, skyOf(post, f.Theta)
			for k, v := range img.LensLight.Pix {
				arcs[k] -= v + sky
			}
			if source, err = newInversion(o, arcs, whole.weight, &c.Settings); err != nil {
				return nil, err
			}
		}
		all = append(all, start{f, source, c.Settings.SimplexSteps})
	}
	var likely []Found
	for _, a := range all {
		f, err := c.priorLens(post, a.source, a.Found)
		if err != nil {
			return nil, err
		}
		if near, err := c.among(likely, f, c.Settings.SamePriorLens); err != nil {
			return nil, err
		} else if !near {
			likely = append(likely, f)
			all = append(all, start{f, a.source, c.Settings.PriorLensSteps})
		}
	}
	c.group("lens with a free source", len(all)+c.Settings.BestLenses)
	done := 0
	climb := func(i, steps int, key string) error {
		a := &all[i]
		c.mu.Lock()
		end := c.done(key, post.Dim())
		c.mu.Unlock()
		cost := 0
		if end == nil {
			var err error
			if end, cost, err = c.largestEvidence(ctx, a.source, post, a.Theta, steps); err != nil {
				return err
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.Saved.Done[key] = end
		c.Saved.Evaluations += cost
		a.Theta, a.LogProb = maps.Clone(a.Theta), end.LogProb
		found := namedTheta(post, end.U)
		for k, name := range post.Names() {
			if isLens(&post.Params()[k]) {
				a.Theta[name] = found[name]
			}
		}
		done++
		c.report(State{Step: done, LogPosterior: end.LogProb})
		return c.Save()
	}
	bestFirst := func(a, b start) int { return cmp.Compare(b.LogProb, a.LogProb) }
	err = sideBySide(ctx, c.threads(), len(all), func(_, i int) error { return climb(i, all[i].steps, fmt.Sprintf("free %d", i)) })
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, bestFirst)
	err = sideBySide(ctx, c.threads(), min(c.Settings.BestLenses, len(all)), func(_, i int) error { return climb(i, c.Settings.BestSteps, fmt.Sprintf("free, best %d", i)) })
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, bestFirst)
	ends := make([]Found, len(all))
	for i, a := range all {
		ends[i] = Found{Theta: a.Theta, LogProb: a.LogProb}
		if ends[i].Multiple, err = c.multiplies(a.source, a.Theta); err != nil {
			return nil, err
		}
	}
	return c.distinct(ends)
}

// priorLens is a lens found, as its priors have it but for the Einstein radii, and with the first source where the light
// above the lens's comes from then.
func (c *Climber) priorLens(post *adjoint.Posterior, source *inversion, f Found) (Found, error) {
	theta := LaidOut(post)
	out := Found{Theta: maps.Clone(f.Theta)}
	for k, name := range post.Names() {
		if q := &post.Params()[k]; isLens(q) && !isEinsteinRadius(q) {
			out.Theta[name] = theta[k]
		}
	}
	lens, err := c.Problem.Config.Deflection("", out.Theta, nil)
	if err != nil {
		return Found{}, err
	}
	x, y := c.simpleCentre()
	moved := maps.Clone(out.Theta)
	moved[x], moved[y] = source.origin(lens)
	if post.U(make([]float64, post.Dim()), LaidOut(post, moved)) == nil { // within the priors
		out.Theta = moved
	}
	return out, nil
}

// multiplies tells whether the brightest point of the pixelised source below a lens is seen more than once. Where it
// is not, the source may as well be light that is not lensed: a lens that asks little of its source has much evidence.
func (c *Climber) multiplies(f *inversion, theta config.Named) (bool, error) {
	lens, err := c.Problem.Config.Deflection("", theta, nil)
	if err != nil {
		return false, err
	}
	x, y := c.simpleCentre()
	evidence, p := f.evidence(lens, theta[x], theta[y], f.strength())
	if !term.Finite(evidence) {
		c.leftOut("how often a free source is seen", errNoEvidence)
	}
	halfW, halfH := c.Problem.Obs.HalfSides()
	images := lens.ImagesOf(p.X, p.Y, halfW, halfH, c.Problem.Obs.Scale)
	return apart(images), nil
}

// largestEvidence climbs from the lens of a simple model, whose names those of post are, to that of the largest evidence with a
// pixelised source around the simple one. cost are its evaluations, which count once it is done.
func (c *Climber) largestEvidence(ctx context.Context, f *inversion, post *adjoint.Posterior, named config.Named, steps int) (end *StageEnd, cost int, err error) {
	theta := LaidOut(post, named)
	u, err := coordinates(post, theta)
	if err != nil {
		return nil, 0, err
	}
	lens := coordinatesOf(post, isLens)
	radius := coordinatesOf(post, isEinsteinRadius)
	unit := make([]float64, len(lens))
	for i, k := range lens {
		if unit[i] = c.Settings.LensUnit; slices.Contains(radius, k) {
			unit[i] = c.Settings.RadiusUnit
		}
	}
	sx, sy := c.simpleCentre()
	cx, cy := named[sx], named[sy]
	at := func(x []float64) *StageEnd {
		end := &StageEnd{U: slices.Clone(u), LogProb: -math.MaxFloat64}
		sum := 0.0
		for i, k := range lens {
			end.U[k] = x[i] * unit[i]
			sum += end.U[k] * end.U[k]
		}
		cost++
		l, err := c.Problem.Config.Deflection("", namedTheta(post, end.U), nil)
		if err == nil && ctx.Err() == nil {
			end.LogProb, _ = f.evidence(l, cx, cy, x[len(lens)])
			end.LogProb -= 0.5 * sum
		}
		if !term.Finite(end.LogProb) {
			end.LogProb = -math.MaxFloat64 // which JSON can write
		}
		return end
	}
	start := make([]float64, len(lens)+1)
	for i, k := range lens {
		start[i] = u[k] / unit[i]
	}
	start[len(lens)] = f.strength()
	best := start
	end = at(start)
	for k := range c.Settings.RadiusTrials {
		// others with Einstein radii on both sides
		x, v := slices.Clone(start), slices.Clone(theta)
		for n := range post.Params() {
			if post.Free()[n] >= 0 && isEinsteinRadius(&post.Params()[n]) {
				v[n] *= 1 + c.Settings.RadiusReach*(2*float64(k)/float64(c.Settings.RadiusTrials-1)-1)
			}
		}
		w, err := coordinates(post, v)
		if err != nil {
			continue // beyond the prior
		}
		for i, r := range lens {
			if slices.Contains(radius, r) {
				x[i] = w[r] / unit[i]
			}
		}
		if e := at(x); e.LogProb > end.LogProb {
			best, end = x, e
		}
	}
	res, err := optimize.Minimize(optimize.Problem{Func: func(x []float64) float64 { return -at(x).LogProb }}, best,
		&optimize.Settings{FuncEvaluations: steps}, &optimize.NelderMead{SimplexSize: c.Settings.SimplexSize})
	if res == nil {
		return nil, 0, err
	}
	end = at(res.X)
	if err = broken(res, err); err == nil && end.LogProb == -math.MaxFloat64 {
		err = errNoEvidence
	}
	if err != nil && ctx.Err() == nil {
		c.leftOut("lens with a free source", err)
	}
	return end, cost, ctx.Err()
}

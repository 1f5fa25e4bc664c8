package search

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"lenskit/adjoint"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"
	"lenskit/tools/observation"

	"gonum.org/v1/gonum/optimize"
)

// freed takes lenses found with simple sources, and those found with the light of the lens as well, to those of the best
// evidence with a free source, and returns those that differ, best first. The former's light is what is smooth in the image,
// which may have an arc in it; the latter's is measured again without the arcs of their simple sources, which may be wrong.
// The lens may be wrong too, bent until a source that is not simple fits: the same radii are also gone on from with a plain
// lens.
func (s *Search) freed(ctx context.Context, simple *config.Config, o *observation.Observation, found, joined []basin) ([]basin, error) {
	post, err := s.posterior(simple, o, s.Compute.Threads)
	if err != nil {
		return nil, err
	}
	defer post.Close()
	smooth, err := newFreeSource(o, nil, nil, &s.Settings)
	if err != nil {
		return nil, err
	}
	type start struct {
		basin
		source *freeSource
		steps  int
	}
	var all []start
	for _, b := range joined {
		img, err := post.Images(LaidOut(post, b.theta))
		if err != nil {
			return nil, err
		}
		arcs := img.Model.Pix
		for k, v := range img.LensLight.Pix {
			arcs[k] -= v + b.theta["sky"]
		}
		below, err := newFreeSource(o, arcs, smooth.weight, &s.Settings)
		if err != nil {
			return nil, err
		}
		all = append(all, start{b, below, s.Settings.SimplexSteps})
	}
	for _, b := range found {
		all = append(all, start{b, smooth, s.Settings.SimplexSteps})
	}
	var plain []basin
	for _, a := range all {
		b, err := s.plain(post, a.source, a.basin)
		if err != nil {
			return nil, err
		}
		if near, err := s.among(plain, b, s.Settings.SamePriorLens); err != nil {
			return nil, err
		} else if !near {
			plain = append(plain, b)
			all = append(all, start{b, a.source, s.Settings.PriorLensSteps})
		}
	}
	s.group("lens with a free source", len(all)+s.Settings.BestLenses)
	done := 0
	climb := func(i, steps int, key string) error {
		b := &all[i]
		s.mu.Lock()
		end := s.done(key, post.Dim())
		s.mu.Unlock()
		cost := 0
		if end == nil {
			var err error
			if end, cost, err = s.freeLens(ctx, b.source, post, b.theta, steps); err != nil {
				return err
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.Saved.Done[key] = end
		s.Saved.Evaluations += cost
		b.theta, b.logProb = maps.Clone(b.theta), end.LogProb
		for name, v := range namedTheta(post, end.U) {
			if strings.HasPrefix(name, "lens.") {
				b.theta[name] = v
			}
		}
		done++
		s.report(State{Step: done, LogPosterior: end.LogProb})
		return s.Save()
	}
	bestFirst := func(a, b start) int { return cmp.Compare(b.logProb, a.logProb) }
	err = sideBySide(ctx, s.threads(), len(all), func(_, i int) error { return climb(i, all[i].steps, fmt.Sprintf("free %d", i)) })
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, bestFirst)
	err = sideBySide(ctx, s.threads(), min(s.Settings.BestLenses, len(all)), func(_, i int) error { return climb(i, s.Settings.BestSteps, fmt.Sprintf("free, best %d", i)) })
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, bestFirst)
	ends := make([]basin, len(all))
	for i, a := range all {
		ends[i] = a.basin
		if ends[i].multiple, err = s.multiplies(a.source, a.basin); err != nil {
			return nil, err
		}
	}
	return s.distinct(ends)
}

// plain is a basin with the lens as its priors have it but for the Einstein radii, and with the first source where the light
// above the lens's comes from then.
func (s *Search) plain(post *adjoint.Posterior, f *freeSource, b basin) (basin, error) {
	theta := LaidOut(post)
	out := basin{theta: maps.Clone(b.theta)}
	for k, name := range post.Names() {
		if strings.HasPrefix(name, "lens.") && !isEinsteinRadius(name) {
			out.theta[name] = theta[k]
		}
	}
	lens, err := s.Problem.Config.Deflection("", out.theta, nil)
	if err != nil {
		return basin{}, err
	}
	src := s.Problem.Config.Source[0]
	moved := maps.Clone(out.theta)
	moved[src.Key("center_x")], moved[src.Key("center_y")] = f.origin(lens)
	if post.U(make([]float64, post.Dim()), LaidOut(post, moved)) == nil { // within the priors
		out.theta = moved
	}
	return out, nil
}

// multiplies tells whether the brightest point of the free source below the lens of a basin is seen more than once. Where it
// is not, the source may as well be light that is not lensed: a lens that asks little of its source has much evidence.
func (s *Search) multiplies(f *freeSource, b basin) (bool, error) {
	lens, err := s.Problem.Config.Deflection("", b.theta, nil)
	if err != nil {
		return false, err
	}
	src := s.Problem.Config.Source[0]
	_, p := f.evidence(lens, b.theta[src.Key("center_x")], b.theta[src.Key("center_y")], f.strength())
	halfW, halfH := s.Problem.Obs.HalfSides()
	images := lens.ImagesOf(p.X, p.Y, halfW, halfH, s.Problem.Obs.Scale)
	return slices.ContainsFunc(images, func(i lensing.Image) bool {
		return math.Hypot(i.X-images[0].X, i.Y-images[0].Y) > imageApart
	}), nil
}

// freeLens climbs from the lens of a simple model, whose names those of post are, to that of the best evidence with a free
// source around the simple one. cost are its evaluations, which count once it is done.
func (s *Search) freeLens(ctx context.Context, f *freeSource, post *adjoint.Posterior, named config.Named, steps int) (end *StageEnd, cost int, err error) {
	theta := LaidOut(post, named)
	u, err := coordinates(post, theta)
	if err != nil {
		return nil, 0, err
	}
	lens := coordinatesOf(post, func(name string) bool { return strings.HasPrefix(name, "lens.") })
	radius := coordinatesOf(post, isEinsteinRadius)
	unit := make([]float64, len(lens))
	for i, k := range lens {
		if unit[i] = s.Settings.LensUnit; slices.Contains(radius, k) {
			unit[i] = s.Settings.RadiusUnit
		}
	}
	src := s.Problem.Config.Source[0]
	cx, cy := named[src.Key("center_x")], named[src.Key("center_y")]
	at := func(x []float64) *StageEnd {
		end := &StageEnd{U: slices.Clone(u), LogProb: -math.MaxFloat64}
		sum := 0.0
		for i, k := range lens {
			end.U[k] = x[i] * unit[i]
			sum += end.U[k] * end.U[k]
		}
		cost++
		l, err := s.Problem.Config.Deflection("", namedTheta(post, end.U), nil)
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
	for k := range s.Settings.RadiusTrials {
		// others with Einstein radii on both sides
		x, v := slices.Clone(start), slices.Clone(theta)
		for n, name := range post.Names() {
			if post.Free()[n] >= 0 && isEinsteinRadius(name) {
				v[n] *= 1 + s.Settings.RadiusReach*(2*float64(k)/float64(s.Settings.RadiusTrials-1)-1)
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
		&optimize.Settings{FuncEvaluations: steps}, &optimize.NelderMead{SimplexSize: s.Settings.SimplexSize})
	if res == nil {
		return nil, 0, err
	}
	end = at(res.X)
	return end, cost, ctx.Err()
}

// between is the best fit with the Einstein radius held halfway between those of the maximum and of the lens found with a
// free source. Both err, and rarely alike: a decoder draws no more detail than it has learnt and leaves the rest to the lens
// and its light, a free source is smooth everywhere. A maximum further away is another basin: then placed, the decoder below
// the lens of the free source, is gone on from with the radius as it is.
func (s *Search) between(ctx context.Context, post *adjoint.Posterior, top, placed *StageEnd, seen *Lensed) (*StageEnd, error) {
	if math.Abs(math.Log(float64(seen.Radius/seen.Free))) > s.Settings.OtherRadius {
		return s.heldRadius(ctx, "between", post, post.MAP(), placed.U)
	}
	theta := make([]float64, len(post.Names()))
	post.Theta(theta, top.U)
	for k, name := range post.Names() {
		if post.Free()[k] >= 0 && isEinsteinRadius(name) {
			theta[k] *= math.Sqrt(float64(seen.Free / seen.Radius))
		}
	}
	u, err := coordinates(post, theta)
	if err != nil {
		return nil, err
	}
	return s.heldRadius(ctx, "between", post, post.MAP(), u)
}

// heldRadius climbs with everything free but the Einstein radius.
func (s *Search) heldRadius(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Lagged, from []float64) (*StageEnd, error) {
	return s.lmPart(ctx, key, post, t, func(name string) bool { return !isEinsteinRadius(name) }, from, s.Settings.JointSteps)
}

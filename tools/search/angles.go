package search

import (
	"context"
	"math"
	"slices"

	"lenskit/tools/problem"
)

// likeliestAngles are coordinates of the point u with each angle as that of its copies, a number of periods away, which its
// prior holds likeliest; nil where u has these already. The copies are the same model, so that only the prior tells them apart.
func likeliestAngles(p *problem.Problem, u []float64) []float64 {
	theta := make([]float64, len(p.Post.Names()))
	p.Post.Theta(theta, u)
	out, there := slices.Clone(u), make([]float64, len(u))
	found := false
	for _, comp := range p.Config.Components() {
		for i := range comp.Params {
			q := &comp.Params[i]
			k := p.Index[comp.Key(q.Name)]
			if q.Period == 0 || p.Post.Free()[k] < 0 {
				continue
			}
			from, best := theta[k], theta[k]
			most, ok := p.Post.LogPrior(k, from)
			// priors have one peak: strides that halve end there
			for stride := math.Ldexp(q.Period, 40); ok && stride >= q.Period; {
				moved := false
				for _, turn := range []float64{best + stride, best - stride} {
					if lp, _ := p.Post.LogPrior(k, turn); lp > most {
						most, best, moved = lp, turn, true
						break
					}
				}
				if !moved {
					stride /= 2
				}
			}
			if best == from {
				continue
			}
			if theta[k] = best; p.Post.U(there, theta) != nil {
				theta[k] = from
				continue
			}
			f := p.Post.Free()[k]
			out[f], found = there[f], true
		}
	}
	if !found {
		return nil
	}
	return out
}

// atLikeliestAngles takes an end whose angles have likelier copies to these, and climbs on from there: the slope of the prior is
// another.
func (s *Search) atLikeliestAngles(ctx context.Context, end *StageEnd, climb func(ctx context.Context, u []float64) (*StageEnd, error)) (*StageEnd, error) {
	if u := likeliestAngles(s.Problem, end.U); u != nil {
		return climb(ctx, u)
	}
	return end, nil
}

package search

import (
	"context"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
)

// given are the coordinates of the start that the config itself states, nil unless every free parameter has an init. Amplitudes may
// lack it, they are fitted, and so may the priors of pixelised sources: they begin at their centres.
func (s *Search) given() ([]float64, error) {
	post, cfg := s.Problem.Post, s.Problem.Config
	theta := LaidOut(post)
	lacking := map[string]bool{}
	set := func(pr *config.Prior, role physics.Role, names ...string) bool {
		switch {
		case pr.IsFixed():
		case pr.Init == nil:
			lacking[names[0]] = true
			return role.IsAmplitude()
		default:
			for k, name := range names {
				theta[s.Problem.Index[name]] = pr.Init[min(k, len(pr.Init)-1)]
			}
		}
		return true
	}
	for _, c := range cfg.Components() {
		for i := range c.Params {
			q := &c.Params[i]
			if !set(&q.Prior, q.Role, s.Problem.NamesOf(c, q)...) && c.Type != config.TypePixels {
				return nil, nil
			}
		}
	}
	for _, l := range cfg.Scalars() {
		if l.Role == physics.RoleSky && !set(l.Prior, l.Role, l.Name) {
			return nil, nil
		}
	}
	if len(lacking) == post.Dim() {
		return nil, nil
	}
	if err := post.U(make([]float64, post.Dim()), theta); err != nil {
		return nil, term.BadInput("%s: init: %v", cfg.File, err)
	}
	fitAmplitudes(post, theta, s.Settings.AmplitudeReach, func(q *adjoint.Param) bool { return lacking[q.Name] })
	return coordinates(post, theta)
}

// giveUp ends a search that has nothing to find: a few steps from the given start, or the centre of the priors with its
// amplitudes fitted.
func (c *Climber) giveUp(ctx context.Context, given []float64, why Doubt) (*Result, error) {
	post := c.Problem.Post
	u := given
	if u == nil {
		theta := LaidOut(post)
		fitAmplitudes(post, theta, c.Settings.AmplitudeReach, nil)
		var err error
		if u, err = coordinates(post, theta); err != nil {
			return nil, err
		}
	}
	c.climbs("a few steps", c.Settings.DrawSteps)
	end, err := c.lm(ctx, "given up", post, post.MAP(), u, c.Settings.DrawSteps)
	switch {
	case err != nil && ctx.Err() == nil && term.ExitCode(Failure(err)) == term.ExitNumerical:
		return nil, term.Numerical("%s", why.Text)
	case err != nil:
		return nil, err
	}
	res := &Result{Doubts: Doubts{why}, GivenUp: true}
	return res, c.curve(res, post, end)
}

// draw makes start i: a draw from the priors, parameters with an init at it for the first, and amplitudes fitted.
func (s *Search) draw(p *adjoint.Posterior, o *scanOptions, i int) ([]float64, error) {
	cfg := o.cfg
	rng := rand.New(rand.NewPCG(s.Options.Seed, uint64(i)))
	u := make([]float64, p.Dim())
	for k := range u {
		u[k] = math.Max(-s.Settings.DrawReach, math.Min(s.Settings.DrawReach, rng.NormFloat64()))
	}
	if o.even {
		for k := range p.Params() {
			if f := p.Free()[k]; f >= 0 && isEinsteinRadius(&p.Params()[k]) {
				u[f] = distuv.UnitNormal.Quantile((float64(i) + 0.5) / float64(o.starts))
			}
		}
	}
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, u)
	if i == 0 {
		set := map[string]float64{}
		for _, c := range cfg.Components() {
			for k := range c.Params {
				if v := c.Params[k].Prior.Init; len(v) == 1 && !c.Params[k].Vector {
					set[c.Key(c.Params[k].Name)] = v[0]
				}
			}
		}
		for k, name := range p.Names() {
			if v, ok := set[name]; ok {
				theta[k] = v
			}
		}
		if err := p.U(u, theta); err != nil {
			return nil, term.BadInput("%s: init: %v", cfg.File, err)
		}
	}
	fitAmplitudes(p, theta, s.Settings.AmplitudeReach, nil)
	return coordinates(p, theta)
}

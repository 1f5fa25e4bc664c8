package adjoint

import (
	"fmt"
	"math"
	"strings"

	"lenskit/physics"
)

// params lays out the named parameters θ and the free coordinates u, and maps between them. It is not changed after
// newParams and is shared by clones.
type params struct {
	names   []string
	about   []Param
	freeOf  []int // the coordinate of each named parameter, -1 when it is fixed
	values  []float64
	scalars []scalarParam
	blocks  []latentBlock
	dim     int
}

// scalarParam is a free parameter with a prior of its own.
type scalarParam struct {
	at, free int
	prior    scalarPrior
}

// latentBlock is free latents with a common prior.
type latentBlock struct {
	at, free int
	prior    *multivariate
}

// newParams names the parameters of the components and gives each its prior.
func newParams(m *Model, parts []*built) (*params, error) {
	p := &params{}
	add := func(a Param) int {
		p.names = append(p.names, a.Name)
		p.about = append(p.about, a)
		p.freeOf = append(p.freeOf, -1)
		p.values = append(p.values, 0)
		return len(p.names) - 1
	}
	taken := map[string]bool{}
	for ci := range m.Components {
		c, b := &m.Components[ci], parts[ci]
		prefix := c.Group + "." + c.Name + "."
		if c.Name == "" || taken[prefix] {
			return nil, fmt.Errorf("adjoint: model: found two components of the group %s named %q, expected different names", c.Group, c.Name)
		}
		taken[prefix] = true
		of := func(q physics.Param, name string) Param {
			return Param{Param: q, Name: prefix + name, Group: c.Group, Component: c.Name, Kind: c.Kind}
		}
		known := map[string]bool{"z": b.nz > 0}
		if b.nz > 0 {
			prior, ok := c.Priors["z"]
			if !ok {
				return nil, fmt.Errorf("adjoint: model: %sz has no prior", prefix)
			}
			at := len(p.names)
			for _, name := range b.names[:b.nz] {
				add(of(physics.Latents(name), name))
			}
			if err := p.latents(prior, at, b.nz); err != nil {
				return nil, fmt.Errorf("adjoint: model: %sz: %w", prefix, err)
			}
		}
		for _, q := range b.params {
			name := q.Name
			known[name] = true
			prior, ok := c.Priors[name]
			if !ok {
				return nil, fmt.Errorf("adjoint: model: %s%s has no prior", prefix, name)
			}
			if err := p.scalar(prior, add(of(q, name))); err != nil {
				return nil, fmt.Errorf("adjoint: model: %s%s: %w", prefix, name, err)
			}
		}
		for name := range c.Priors {
			if !known[name] {
				return nil, fmt.Errorf("adjoint: model: found a prior of %s%s, expected one of %s", prefix, name, strings.Join(b.names, ", "))
			}
		}
	}
	if m.Sky != nil {
		if err := p.scalar(*m.Sky, add(Param{Param: physics.Sky, Name: physics.Sky.Name})); err != nil {
			return nil, fmt.Errorf("adjoint: model: sky: %w", err)
		}
	}
	if m.NoiseScale != nil {
		if err := p.scalar(*m.NoiseScale, add(Param{Param: physics.NoiseScale, Name: noiseScale})); err != nil {
			return nil, fmt.Errorf("adjoint: model: %s: %w", noiseScale, err)
		}
	}
	return p, nil
}

// scalar gives parameter `at` its prior.
func (p *params) scalar(prior Prior, at int) error {
	if prior.IsFixed() {
		if len(prior.Values) != 1 || !finite(prior.Values[0]) {
			return fmt.Errorf("found fixed values %v, expected one number", prior.Values)
		}
		p.values[at] = prior.Values[0]
		return nil
	}
	if prior.Family == physics.FamilyMultivariate {
		return fmt.Errorf("found a multivariate prior, expected that of a single parameter")
	}
	s, err := compile(prior)
	if err != nil {
		return err
	}
	p.scalars = append(p.scalars, scalarParam{at, p.dim, s})
	p.freeOf[at] = p.dim
	p.dim++
	return nil
}

// latents gives the n latents from `at` their prior.
func (p *params) latents(prior Prior, at, n int) error {
	switch {
	case prior.IsFixed():
		if len(prior.Values) != 1 && len(prior.Values) != n {
			return fmt.Errorf("found %d fixed values, expected 1 or %d", len(prior.Values), n)
		}
		for i := range n {
			one := physics.Fixed(prior.Values[min(i, len(prior.Values)-1)])
			if err := p.scalar(one, at+i); err != nil {
				return err
			}
		}
	case prior.Family == physics.FamilyMultivariate:
		m, err := newMultivariate(prior, n)
		if err != nil {
			return err
		}
		p.blocks = append(p.blocks, latentBlock{at, p.dim, m})
		for i := range n {
			p.freeOf[at+i] = p.dim + i
		}
		p.dim += n
	default:
		for i := range n {
			if err := p.scalar(prior, at+i); err != nil {
				return err
			}
		}
	}
	return nil
}

// push writes θ(u), and dθ/du of the scalars to slope, by named parameter; fixed parameters have slope 0, and so have
// latents of a block. slope may be nil.
func (p *params) push(theta, slope, u []float64) {
	copy(theta, p.values)
	clear(slope)
	for i := range p.scalars {
		s := &p.scalars[i]
		v, d := s.prior.push(u[s.free])
		if theta[s.at] = v; slope != nil {
			slope[s.at] = d
		}
	}
	for _, b := range p.blocks {
		b.prior.push(theta[b.at:b.at+b.prior.n], u[b.free:b.free+b.prior.n])
	}
}

// pull writes the coordinates of θ to u. It tells the first parameter that lies outside its prior's support.
func (p *params) pull(u, theta []float64) error {
	for i := range p.scalars {
		s := &p.scalars[i]
		v := s.prior.pull(theta[s.at])
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("adjoint: %s = %g lies outside its prior", p.names[s.at], theta[s.at])
		}
		u[s.free] = v
	}
	for _, b := range p.blocks {
		b.prior.pull(u[b.free:b.free+b.prior.n], theta[b.at:b.at+b.prior.n])
	}
	return nil
}

// pushAdj writes (∂θ/∂u)ᵀ gtheta to gu.
func (p *params) pushAdj(gu, gtheta, slope []float64) {
	clear(gu)
	for i := range p.scalars {
		s := &p.scalars[i]
		gu[s.free] = gtheta[s.at] * slope[s.at]
	}
	for _, b := range p.blocks {
		b.prior.pushAdj(gu[b.free:b.free+b.prior.n], gtheta[b.at:b.at+b.prior.n])
	}
}

// logPrior is the log density of the free named parameters at θ(u); it adds its gradient by u to gu unless that is nil.
func (p *params) logPrior(gu, theta, slope, u []float64) float64 {
	lp := 0.0
	for i := range p.scalars {
		s := &p.scalars[i]
		l, d := s.prior.logp(theta[s.at])
		lp += l
		if gu != nil {
			gu[s.free] += d * slope[s.at]
		}
	}
	for _, b := range p.blocks {
		ub := u[b.free : b.free+b.prior.n]
		lp += b.prior.logp(ub)
		if gu != nil {
			for i, v := range ub {
				gu[b.free+i] -= v
			}
		}
	}
	return lp
}

// logPriorNamed is the log density of the free named parameters at θ, with its gradient by name added to gtheta unless
// that is nil. It may allocate.
func (p *params) logPriorNamed(gtheta, theta []float64) float64 {
	lp := 0.0
	for i := range p.scalars {
		s := &p.scalars[i]
		l, d := s.prior.logp(theta[s.at])
		lp += l
		if gtheta != nil {
			gtheta[s.at] += d
		}
	}
	for _, b := range p.blocks {
		u := make([]float64, b.prior.n)
		b.prior.pull(u, theta[b.at:b.at+b.prior.n])
		lp += b.prior.logp(u)
		if gtheta != nil {
			b.prior.pullAdj(u)
			for i, v := range u {
				gtheta[b.at+i] -= v
			}
		}
	}
	return lp
}

package problem

import (
	"slices"

	"lenskit/adjoint"
	"lenskit/tools/config"
)

// Regridded is the config with the grids that it has left out laid out at the lens of named parameters, in place of the lens that
// the config starts from. Their steps are `coarser` times what is called for, and their
// largest numbers of nodes less by that. Grids that the config states stay; none says that all
// do.
func (p *Problem) Regridded(named config.Named, coarser float64) (c *config.Config, none bool, err error) {
	c = p.Config.Clone()
	for i := range c.Source {
		comp := &c.Source[i]
		if !slices.Contains(p.laidOut, comp.Name) {
			continue
		}
		lens, err := c.Deflection("", named, comp)
		if err != nil {
			return nil, false, err
		}
		comp.LayOut(GridsFor(p.arcs, lens, gridStep*p.Obs.Resolution(), coarser))
	}
	return c, len(p.laidOut) == 0, nil
}

// Adopt makes a config that differs from the problem's in the grids of its pixelised sources the problem's own, and builds its
// posterior; the one before is closed.
func (p *Problem) Adopt(c *config.Config, opt adjoint.Options) error {
	m, err := Model(c, p.Bundles)
	if err != nil {
		return err
	}
	post, err := adjoint.New(m, DataOf(p.Obs), opt)
	if err != nil {
		return err
	}
	if err := p.Post.Close(); err != nil {
		return err
	}
	*p.Config = *c // which others have
	p.Model, p.Post = m, post
	return nil
}

// WithGridsOf is the problem's config with the grids that it has left out as another config has them.
func (p *Problem) WithGridsOf(o *config.Config) *config.Config {
	c := p.Config.Clone()
	for i := range c.Source {
		comp := &c.Source[i]
		k := slices.IndexFunc(o.Source, func(s config.Component) bool { return s.Name == comp.Name && s.Pixels.Grids != nil })
		if k >= 0 && slices.Contains(p.laidOut, comp.Name) {
			comp.LayOut(o.Source[k].Pixels.Grids)
		}
	}
	return c
}

package config

import (
	"strings"

	"lenskit/physics"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"
)

// lenses sets up the mass profiles of a config. path is where named comes from, for messages.
func (c *Config) lenses(path string, named Named) ([]physics.Lens, error) {
	var out []physics.Lens
	for i := range c.Lens {
		comp := &c.Lens[i]
		l, err := physics.NewLens(comp.Type)
		if err != nil {
			return nil, term.AsBadInput(err)
		}
		var p []float64
		for k := range comp.Params {
			v, err := comp.Values(&comp.Params[k], 1, nil, named)
			if err != nil {
				return nil, err
			}
			p = append(p, v...)
		}
		if err := l.Set(p); err != nil {
			if path == "" {
				path = c.File
			}
			return nil, term.BadInput("%s: lens.%s: %w", path, comp.Name, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// defaultCosmology is the universe of a config that names none.
func defaultCosmology() physics.Cosmology { return physics.FlatCosmology(70, 0.3) }

// cosmologyFields are the keys of cosmology.
var cosmologyFields = mapping[physics.Cosmology]{
	field[physics.Cosmology]{key: "H0", value: "km/s/Mpc above 0", without: yamlNumber(defaultCosmology().H0), help: "Hubble constant"}.
		number(func(u *physics.Cosmology) *float64 { return &u.H0 }, nil),
	field[physics.Cosmology]{key: "Omega_m", value: "more than 0 and at most 1", without: yamlNumber(defaultCosmology().OmegaM), help: "density of matter"}.
		number(func(u *physics.Cosmology) *float64 { return &u.OmegaM }, nil),
	field[physics.Cosmology]{key: "Omega_lambda", value: "0 or more", without: "that of a flat universe", help: "density of dark energy"}.
		number(func(u *physics.Cosmology) *float64 { return &u.OmegaLambda }, nil),
}

// parseCosmology reads a universe; without Omega_lambda it is flat.
func parseCosmology(n node) (physics.Cosmology, error) {
	c := defaultCosmology()
	flat := true
	if err := cosmologyFields.read(&c, n, func(e entry) { flat = flat && e.name != "Omega_lambda" }); err != nil {
		return c, err
	}
	if flat {
		c = physics.FlatCosmology(c.H0, c.OmegaM)
	}
	if err := c.Validate(); err != nil {
		return c, n.fail("%s", strings.TrimPrefix(term.Plain(err.Error()), "cosmology: "))
	}
	return c, nil
}

// redshift reads that of a component of the group.
func (n node) redshift(group string) (float64, error) {
	if group == "lens_light" {
		return 0, n.fail("found a redshift, expected none: lens light is seen as it is; that of a galaxy behind another lens is a source")
	}
	z, err := n.number()
	if err == nil && z <= 0 {
		err = n.fail("found %g, expected a redshift above 0", z)
	}
	return z, err
}

// HasRedshifts tells whether lenses and sources state their redshifts.
func (c *Config) HasRedshifts() bool {
	for _, comp := range c.Components() {
		if comp.Redshift > 0 {
			return true
		}
	}
	return false
}

// Redshifts are those of the lenses and of the sources, 0 where not stated.
func (c *Config) Redshifts() (lenses, sources []float64) {
	for _, l := range c.Lens {
		lenses = append(lenses, l.Redshift)
	}
	for _, s := range c.Source {
		sources = append(sources, s.Redshift)
	}
	return lenses, sources
}

// SeveralPlanes tells whether rays go through several planes.
func (c *Config) SeveralPlanes() bool {
	return c.HasRedshifts() && physics.SeveralPlanes(c.Redshifts())
}

// checkRedshifts tells whether all lenses and sources state their redshift, or none does, and whether they stand in an
// order in which there is lensing.
func (c *Config) checkRedshifts() error {
	if !c.HasRedshifts() {
		return nil
	}
	var nearest, farthest *Component // lens, source
	for _, comp := range c.Components() {
		switch {
		case comp.Group == "lens_light":
		case comp.Redshift == 0:
			return c.Fail(comp.Key("redshift"), "is missing, expected one for each lens and source, or none at all")
		case comp.Group == "lens" && (nearest == nil || comp.Redshift < nearest.Redshift):
			nearest = comp
		case comp.Group == "source" && (farthest == nil || comp.Redshift > farthest.Redshift):
			farthest = comp
		}
	}
	if farthest == nil && c.SeveralPlanes() {
		return c.Fail("lens", "found several redshifts and no source, expected a source with a redshift, to which deflections are reduced")
	}
	if nearest == nil || farthest == nil {
		return nil
	}
	for _, comp := range c.Components() {
		switch {
		case comp.Group == "source" && comp.Redshift <= nearest.Redshift:
			return c.Fail(comp.Key("redshift"), "found %g, expected a source behind a lens, the nearest of which (%s) is at %g", comp.Redshift, nearest.Name, nearest.Redshift)
		case comp.Group == "lens" && comp.Redshift >= farthest.Redshift:
			return c.Fail(comp.Key("redshift"), "found %g, expected a lens in front of a source, the farthest of which (%s) is at %g", comp.Redshift, farthest.Name, farthest.Redshift)
		}
	}
	return nil
}

// Deflection sets up the lenses of a config, as light from a source (nil: from the farthest) meets them. path is where
// named comes from, for messages.
func (c *Config) Deflection(path string, named Named, from *Component) (lensing.Sum, error) {
	lenses, err := c.lenses(path, named)
	if err != nil {
		return nil, err
	}
	if c.SeveralPlanes() {
		at, sources := c.Redshifts()
		m, err := physics.NewMultiPlane(c.Cosmology, lenses, at, sources)
		if err != nil {
			return nil, term.BadInput("%s: %w", c.File, err)
		}
		p := lensing.ToPlane{Planes: m, Plane: m.SourcePlanes() - 1}
		for i := range c.Source {
			if from != nil && c.Source[i].Name == from.Name {
				p.Plane = m.SourcePlane(i)
			}
		}
		return lensing.Sum{p}, nil
	}
	out := make(lensing.Sum, len(lenses))
	for i, l := range lenses {
		out[i] = l
	}
	return out, nil
}

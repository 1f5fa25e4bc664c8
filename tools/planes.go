package tools

import (
	"strings"

	"lenskit/physics"
)

// defaultCosmology is the universe of a config that names none.
func defaultCosmology() physics.Cosmology { return physics.FlatCosmology(70, 0.3) }

// parseCosmology reads H0 (km/s/Mpc), Omega_m and Omega_lambda; without the last the universe is flat.
func parseCosmology(n node) (physics.Cosmology, error) {
	c := defaultCosmology()
	keys, err := n.entries([]string{"H0", "Omega_m", "Omega_lambda"})
	if err != nil {
		return c, err
	}
	flat := true
	for _, e := range keys {
		switch e.name {
		case "H0":
			c.H0, err = e.number()
		case "Omega_m":
			c.OmegaM, err = e.number()
		case "Omega_lambda":
			flat = false
			c.OmegaLambda, err = e.number()
		}
		if err != nil {
			return c, err
		}
	}
	if flat {
		c = physics.FlatCosmology(c.H0, c.OmegaM)
	}
	if err := c.Validate(); err != nil {
		return c, n.fail("%s", strings.TrimPrefix(plain(err.Error()), "cosmology: "))
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

// hasRedshifts tells whether lenses and sources state their redshifts.
func (c *config) hasRedshifts() bool {
	for _, comp := range c.components() {
		if comp.Redshift > 0 {
			return true
		}
	}
	return false
}

// redshifts are those of the lenses and of the sources, 0 where not stated.
func (c *config) redshifts() (lenses, sources []float64) {
	for _, l := range c.Lens {
		lenses = append(lenses, l.Redshift)
	}
	for _, s := range c.Source {
		sources = append(sources, s.Redshift)
	}
	return lenses, sources
}

// severalPlanes tells whether rays go through several planes.
func (c *config) severalPlanes() bool {
	return c.hasRedshifts() && physics.SeveralPlanes(c.redshifts())
}

// checkRedshifts tells whether all lenses and sources state their redshift, or none does, and whether they stand in an
// order in which there is lensing.
func (c *config) checkRedshifts() error {
	if !c.hasRedshifts() {
		return nil
	}
	var nearest, farthest *component // lens, source
	for _, comp := range c.components() {
		switch {
		case comp.Group == "lens_light":
		case comp.Redshift == 0:
			return c.fail(comp.key("redshift"), "is missing, expected one for each lens and source, or none at all")
		case comp.Group == "lens" && (nearest == nil || comp.Redshift < nearest.Redshift):
			nearest = comp
		case comp.Group == "source" && (farthest == nil || comp.Redshift > farthest.Redshift):
			farthest = comp
		}
	}
	if farthest == nil && c.severalPlanes() {
		return c.fail("lens", "found several redshifts and no source, expected a source with a redshift, to which deflections are reduced")
	}
	if nearest == nil || farthest == nil {
		return nil
	}
	for _, comp := range c.components() {
		switch {
		case comp.Group == "source" && comp.Redshift <= nearest.Redshift:
			return c.fail(comp.key("redshift"), "found %g, expected a source behind a lens, the nearest of which (%s) is at %g", comp.Redshift, nearest.Name, nearest.Redshift)
		case comp.Group == "lens" && comp.Redshift >= farthest.Redshift:
			return c.fail(comp.key("redshift"), "found %g, expected a lens in front of a source, the farthest of which (%s) is at %g", comp.Redshift, farthest.Name, farthest.Redshift)
		}
	}
	return nil
}

// deflector deflects rays.
type deflector interface {
	Deflect(ax, ay, x, y []float64)
	Convergence(kappa, x, y []float64)
}

// lensSum is the lenses of a config at fixed parameters, whose deflections add up.
type lensSum []deflector

// deflection sets up the lenses of a config, as light from a source (nil: from the farthest) meets them. path is where
// named comes from, for messages.
func (c *config) deflection(path string, named namedValues, from *component) (lensSum, error) {
	lenses, err := c.lenses(path, named)
	if err != nil {
		return nil, err
	}
	if c.severalPlanes() {
		at, sources := c.redshifts()
		m, err := physics.NewMultiPlane(c.Cosmology, lenses, at, sources)
		if err != nil {
			return nil, badInput("%s: %w", c.file, err)
		}
		p := planesTo{m, m.SourcePlanes() - 1}
		for i := range c.Source {
			if from != nil && c.Source[i].Name == from.Name {
				p.source = m.SourcePlane(i)
			}
		}
		return lensSum{p}, nil
	}
	out := make(lensSum, len(lenses))
	for i, l := range lenses {
		out[i] = l
	}
	return out, nil
}

// planesTo is the way through several lens planes to a source plane.
type planesTo struct {
	planes *physics.MultiPlane
	source int
}

func (p planesTo) Deflect(ax, ay, x, y []float64) { p.planes.Deflect(ax, ay, nil, x, y, p.source) }

func (p planesTo) Convergence(kappa, x, y []float64) {
	p.planes.Deflect(make([]float64, len(x)), make([]float64, len(x)), kappa, x, y, p.source)
}

package config

import (
	"fmt"
	"strings"

	"lenskit/physics"
)

// noiseConfig says what the noise of a pixel is: a standard deviation, or counting statistics over a background.
// At most one of Sigma, Exposure is set.
type noiseConfig struct {
	Sigma      Quantity
	Exposure   Quantity // seconds; the image is in counts per second
	Background Quantity // standard deviation of a pixel without light
	Gain       float64  // electrons per count
	Fraction   float64  // of the light of a pixel, an error of models that is added to the noise
}

// Quantity is one number for all pixels, or a FITS image of them; not set when both are zero.
type Quantity struct {
	Value float64
	File  string
}

func (q Quantity) IsSet() bool { return q.Value != 0 || q.File != "" }

// positive reads a quantity: a number above 0, or a path.
func (n node) positive(what string) (q Quantity, err error) {
	if s, terr := n.text(); terr == nil && !LooksNumeric(s) {
		if s == "" {
			return q, n.fail("found an empty path, expected %s above 0 or a FITS path", what)
		}
		return Quantity{File: s}, nil
	}
	if q.Value, err = n.number(); err == nil && q.Value <= 0 {
		err = n.fail("found %g, expected %s above 0 or a FITS path", q.Value, what)
	}
	return q, err
}

func (d *noiseConfig) parse(n node, place func(entry)) (err error) {
	if !n.isMapping() {
		d.Sigma, err = n.positive("a standard deviation")
		return err
	}
	keys, err := n.entries([]string{"sigma", "exposure", "background", "gain", "fraction"})
	if err != nil {
		return err
	}
	d.Gain = 1
	for _, e := range keys {
		place(e)
		switch e.name {
		case "sigma":
			d.Sigma, err = e.positive("a standard deviation")
		case "fraction":
			if d.Fraction, err = e.number(); err == nil && !(d.Fraction >= 0 && d.Fraction < 1) {
				err = e.fail("found %g, expected a fraction of the light, 0 to 1", d.Fraction)
			}
		case "exposure":
			d.Exposure, err = e.positive("seconds")
		case "background":
			d.Background, err = e.positive("a standard deviation")
		case "gain":
			if d.Gain, err = e.number(); err == nil && d.Gain <= 0 {
				err = e.fail("found %g, expected electrons per count above 0", d.Gain)
			}
		}
		if err != nil {
			return err
		}
	}
	if d.Sigma.IsSet() {
		if d.Exposure.IsSet() || d.Background.IsSet() {
			return n.fail("has sigma beside exposure or background, expected either")
		}
		return nil
	}
	for _, need := range []struct {
		name string
		q    Quantity
	}{{"exposure", d.Exposure}, {"background", d.Background}} {
		if !need.q.IsSet() {
			return n.fail("has no %s, expected {exposure: seconds, background: standard deviation of a pixel without light}, or {sigma: standard deviation of a pixel}", need.name)
		}
	}
	return nil
}

// text is the noise as YAML; moved rewrites paths.
func (d *noiseConfig) text(moved func(string) string) string {
	one := func(q Quantity) string {
		if q.File != "" {
			return moved(q.File)
		}
		return yamlNumber(q.Value)
	}
	if d.Sigma.IsSet() {
		if d.Fraction == 0 {
			return one(d.Sigma)
		}
		return fmt.Sprintf("{sigma: %s, fraction: %s}", one(d.Sigma), yamlNumber(d.Fraction))
	}
	s := fmt.Sprintf("{exposure: %s, background: %s", one(d.Exposure), one(d.Background))
	if d.Gain != 1 {
		s += ", gain: " + yamlNumber(d.Gain)
	}
	if d.Fraction != 0 {
		s += ", fraction: " + yamlNumber(d.Fraction)
	}
	return s + "}"
}

// defaultNu is the degrees of freedom of Student's t where a config states none.
const defaultNu = 4

// parseLikelihood reads how residuals are distributed: gaussian, or Student's t.
func (c *Config) parseLikelihood(n node) error {
	if s, err := n.text(); err == nil {
		switch s {
		case "gaussian":
			return nil
		case "student_t":
			c.StudentT = defaultNu
			return nil
		}
		return n.fail("found %q, expected gaussian or student_t", s)
	}
	keys, err := n.entries([]string{"student_t"})
	if err != nil {
		return err
	}
	for _, e := range keys {
		c.StudentT = defaultNu
		inner, err := e.entries([]string{"nu"})
		if err != nil {
			return err
		}
		for _, nu := range inner {
			if c.StudentT, err = nu.number(); err == nil && !(c.StudentT >= 1 && c.StudentT <= 1000) {
				err = nu.fail("found %g, expected 1 to 1000 degrees of freedom", c.StudentT)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Scalar is a parameter that belongs to no component.
type Scalar struct {
	Name  string // of the parameter
	Key   string // of the config
	Role  physics.Role
	Prior *Prior
}

// scalarParam is the parameter of a key of the config that belongs to no component, with its default prior.
func scalarParam(key string) Param {
	q := physics.NoiseScale
	if key == physics.Sky.Name {
		q = physics.Sky
	}
	return Param{Param: q, Prior: DefaultPrior(key, q)}
}

// Scalars lists the parameters that belong to no component, in the order of the model.
func (c *Config) Scalars() []Scalar {
	var out []Scalar
	if c.Sky != nil {
		out = append(out, Scalar{"sky", physics.Sky.Name, physics.RoleSky, c.Sky})
	}
	if c.NoiseScale != nil {
		out = append(out, Scalar{"noise.scale", physics.NoiseScale.Name, physics.RoleNoiseScale, c.NoiseScale})
	}
	return out
}

// likelihoodText is the likelihood as lines of YAML.
func (c *Config) likelihoodText() string {
	var b strings.Builder
	if c.NoiseScale != nil {
		fmt.Fprintf(&b, "noise_scale: %s\n", c.NoiseScale.text())
	}
	if c.StudentT > 0 {
		fmt.Fprintf(&b, "likelihood: {student_t: {nu: %s}}\n", yamlNumber(c.StudentT))
	}
	return b.String()
}

package config

import (
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

// positive reads a quantity: a number above 0, or a path, as value says.
func (n node) positive(value string) (q Quantity, err error) {
	if s, terr := n.text(); terr == nil && !LooksNumeric(s) {
		if s == "" {
			return q, n.fail("found an empty path, expected %s", value)
		}
		return Quantity{File: s}, nil
	}
	if q.Value, err = n.number(); err == nil && q.Value <= 0 {
		err = n.fail("found %g, expected %s", q.Value, value)
	}
	return q, err
}

func (q Quantity) text(moved func(string) string) string {
	if q.File != "" {
		return moved(q.File)
	}
	return yamlNumber(q.Value)
}

// quantity completes a field by where its quantity goes.
func (f field[T]) quantity(at func(*T) *Quantity) field[T] {
	return f.with(func(t *T, e entry) (err error) {
		*at(t), err = e.positive(f.value)
		return err
	}, func(t *T, moved func(string) string) string { return at(t).text(moved) })
}

// sigmaOrFile is what may stand for the noise of a pixel.
const sigmaOrFile = "a standard deviation above 0 or a FITS path"

// noiseFields are the keys of data.noise: sigma, or exposure and background, which counts have.
var noiseFields = mapping[noiseConfig]{
	field[noiseConfig]{key: "sigma", value: sigmaOrFile, help: "standard deviation of a pixel, in image units",
		omit: func(d *noiseConfig) bool { return !d.Sigma.IsSet() },
	}.quantity(func(d *noiseConfig) *Quantity { return &d.Sigma }),
	field[noiseConfig]{key: "exposure", value: "seconds above 0 or a FITS path", help: "exposure of an image in counts per second",
		omit: func(d *noiseConfig) bool { return d.Sigma.IsSet() },
	}.quantity(func(d *noiseConfig) *Quantity { return &d.Exposure }),
	field[noiseConfig]{key: "background", value: sigmaOrFile, help: "standard deviation of a pixel without light, in image units",
		omit: func(d *noiseConfig) bool { return d.Sigma.IsSet() },
	}.quantity(func(d *noiseConfig) *Quantity { return &d.Background }),
	field[noiseConfig]{key: "gain", value: "electrons per count above 0", without: "1", help: "gain of the detector",
		omit: func(d *noiseConfig) bool { return d.Sigma.IsSet() || d.Gain == 1 },
	}.number(func(d *noiseConfig) *float64 { return &d.Gain }, above0),
	field[noiseConfig]{key: "fraction", value: "a fraction of the light, 0 to 1", without: "0", help: "of a pixel's light: an error of models, added in quadrature",
		omit: func(d *noiseConfig) bool { return d.Fraction == 0 },
	}.number(func(d *noiseConfig) *float64 { return &d.Fraction }, func(v float64) bool { return v >= 0 && v < 1 }),
}

func (d *noiseConfig) parse(n node, place func(entry)) (err error) {
	if !n.isMapping() {
		d.Sigma, err = n.positive(sigmaOrFile)
		return err
	}
	d.Gain = 1
	if err := noiseFields.read(d, n, place); err != nil {
		return err
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
	if d.Sigma.IsSet() && d.Fraction == 0 {
		return d.Sigma.text(moved)
	}
	return noiseFields.flow(d, moved)
}

// defaultNu is the degrees of freedom of Student's t where a config states none.
const defaultNu = 4

// likelihoodFields are the keys of likelihood.
var likelihoodFields = mapping[Config]{
	field[Config]{key: "student_t", value: "a mapping", help: "Student's t, whose tails are heavier than a Gaussian's", sub: studentFields}.with(
		func(c *Config, e entry) error {
			c.StudentT = defaultNu
			return studentFields.read(c, e.node, nil)
		}, func(c *Config, moved func(string) string) string { return studentFields.flow(c, moved) }),
}

var studentFields = mapping[Config]{
	field[Config]{key: "nu", value: "1 to 1000 degrees of freedom", without: yamlNumber(defaultNu), help: "degrees of freedom"}.
		number(func(c *Config) *float64 { return &c.StudentT }, func(v float64) bool { return v >= 1 && v <= 1000 }),
}

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
	return likelihoodFields.read(c, n, nil)
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

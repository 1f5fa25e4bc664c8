package config

import (
	"math"
	"slices"
	"strconv"

	"lenskit/physics"
)

// TypePixels is the type of a source of free pixels, which is integrated over (physics.Pixelised).
const TypePixels = "pixels"

// Pixels is what a source of type pixels is made of. The decoder of its envelope is the component's Model and Interpolation.
type Pixels struct {
	Grids      []physics.SplineGrid // nil: they are laid out from the arcs once the image is read, gridsLeftOut of them
	Smoothness int                  // of the Matérn prior
	Components int                  // round ones of the envelope, where it has neither image nor decoder
	Decoder    bool                 // that makes the envelope
	Image      string               // FITS path of the envelope; "" for none
	Envelope   *physics.Image       // of Image, once it is read
}

// What holds where a source of type pixels leaves its keys out.
const (
	defaultSmoothness = 1
	defaultComponents = 1
	maxGrids          = 4
	gridsLeftOut      = 2
	stepLeftOut       = 0.05 // arcsec between knots: for default priors until the grids are laid out
)

// defaultPixels are those of a source that states nothing.
func defaultPixels() Pixels {
	return Pixels{Smoothness: defaultSmoothness, Components: defaultComponents}
}

// envelopeInterpolation is that of an envelope where it is left out: its place and size are free, and smooth gradients find them.
const envelopeInterpolation = "bicubic"

// params are the parameters of the component's type with their default priors.
func (c *Component) params() []Param {
	if c.Type != TypePixels {
		return DefaultParams(c.Group, c.Type)
	}
	var own []physics.Param
	spec := physics.PixelisedSpec{Smoothness: c.Pixels.Smoothness, Components: c.Pixels.Components}
	for _, g := range c.Pixels.Grids {
		spec.Grids = append(spec.Grids, physics.SplineGrid{X: g.X, Y: g.Y, Half: g.Step(), N: 2}) // a small one of the same step
	}
	if spec.Grids == nil {
		spec.Grids = slices.Repeat([]physics.SplineGrid{{Half: stepLeftOut, N: 2}}, gridsLeftOut)
	}
	if c.Pixels.Decoder {
		own = append(own, physics.Latents("z"))
	}
	if c.Pixels.Decoder || c.Pixels.Image != "" {
		spec.Components = 0
		spec.Image, _ = physics.NewPixels("", 1, 1) // no interpolation is unknown, and there is a pixel
	}
	light, err := physics.NewPixelised(spec)
	if err != nil {
		return nil // what is read is within the limits
	}
	return defaultPriors(c.Group, append(own, light.Params()...))
}

// LayOut gives a source of type pixels its grids, as many as it had, and the default priors that go with them where the config
// states none.
func (c *Component) LayOut(grids []physics.SplineGrid) {
	c.Pixels.Grids = grids
	for i, p := range c.params() {
		q := &c.Params[i]
		if d := q.Default; q.Prior.Family == d.Family && q.Prior.A == d.A && q.Prior.B == d.B {
			q.Prior.A, q.Prior.B = p.Prior.A, p.Prior.B
		}
		q.Param = p.Param
	}
}

// HasDecoder tells whether a network makes the component's light, or its envelope.
func (c *Component) HasDecoder() bool { return c.Type == "decoder" || c.Pixels.Decoder }

// HasPixels tells whether a source is of type pixels.
func (c *Config) HasPixels() bool {
	return slices.ContainsFunc(c.Source, func(s Component) bool { return s.Type == TypePixels })
}

// gridFields are the keys of a grid.
var gridFields = mapping[physics.SplineGrid]{
	field[physics.SplineGrid]{key: "x", value: "a number in arcsec", without: "0", help: "centre"}.
		number(func(g *physics.SplineGrid) *float64 { return &g.X }, nil),
	field[physics.SplineGrid]{key: "y", value: "a number in arcsec", without: "0", help: "centre"}.
		number(func(g *physics.SplineGrid) *float64 { return &g.Y }, nil),
	field[physics.SplineGrid]{key: "half_width", value: "arcsec above 0", help: "half of the square's side"}.
		number(func(g *physics.SplineGrid) *float64 { return &g.Half }, above0),
	field[physics.SplineGrid]{key: "nodes", help: "splines along a side"}.
		whole(func(g *physics.SplineGrid) *int { return &g.N }, 2, physics.MaxSplines),
}

// parseGrids reads the grids of a source.
func (p *Pixels) parseGrids(n node) error {
	items, err := n.list()
	if err != nil {
		return err
	}
	if len(items) == 0 || len(items) > maxGrids {
		return n.fail("found %d grids, expected 1 to %d", len(items), maxGrids)
	}
	p.Grids = make([]physics.SplineGrid, len(items))
	for i, item := range items {
		if err := gridFields.read(&p.Grids[i], item, nil); err != nil {
			return err
		}
		if g := p.Grids[i]; g.Half == 0 || g.N == 0 {
			return item.fail("found %s, expected x, y, half_width and nodes", item.describe())
		}
	}
	return nil
}

func (p *Pixels) gridsText(moved func(string) string) string {
	s := "\n"
	for i := range p.Grids {
		s += "      - " + gridFields.flow(&p.Grids[i], moved) + "\n"
	}
	return s
}

// envelopeFields are the keys of an envelope that is no number of round components.
var envelopeFields = mapping[Component]{
	field[Component]{key: "model", value: "a bundle's folder, an .onnx file, or shipped", help: "the decoder that makes it, with free latents",
		omit: func(c *Component) bool { return !c.Pixels.Decoder },
	}.with(func(c *Component, e entry) (err error) {
		if c.Model, err = e.text(); c.Model == shipped {
			c.Model = ""
		}
		c.Pixels.Decoder = true
		return err
	}, func(c *Component, moved func(string) string) string {
		if c.Model == "" {
			return shipped
		}
		return moved(c.Model)
	}),
	field[Component]{key: "image", value: "PATH or PATH[EXT]", help: "a FITS image in its place, of numbers from 0",
		omit: func(c *Component) bool { return c.Pixels.Image == "" },
	}.path(func(c *Component) *string { return &c.Pixels.Image }),
	interpolation(envelopeInterpolation, "between its pixels"),
}

// shipped is the word for the bundle that comes with lenskit.
const shipped = "shipped"

// parseEnvelope reads an envelope: a number of round components, or a mapping.
func (c *Component) parseEnvelope(n node) (err error) {
	if !n.isMapping() || n.isNull() {
		if c.Pixels.Components, err = n.whole(0, 3); err != nil {
			err = n.fail("found %s, expected 0 to 3, a number of round components, or a mapping of model or image", n.describe())
		}
		return err
	}
	c.Interpolation = envelopeInterpolation
	if err := envelopeFields.read(c, n, nil); err != nil {
		return err
	}
	if c.Pixels.Decoder == (c.Pixels.Image != "") {
		return n.fail("found %s, expected one of model and image", n.describe())
	}
	c.Pixels.Components = 0
	return nil
}

func (c *Component) envelopeText(moved func(string) string) string {
	if c.Pixels.Decoder || c.Pixels.Image != "" {
		return envelopeFields.flow(c, moved)
	}
	return strconv.Itoa(c.Pixels.Components)
}

// interpolation is the key for how an image is looked up between its pixels.
func interpolation(without, help string) field[Component] {
	return field[Component]{key: "interpolation", value: "bilinear or bicubic", without: without, help: help,
		omit: func(p *Component) bool { return p.Interpolation == "" },
	}.word(func(p *Component) *string { return &p.Interpolation }, func(s string) bool { return s == "bilinear" || s == "bicubic" })
}

// What is done with the amplitudes of a light beside a source of type pixels.
const (
	AmplitudesFree        = "free" // they are parameters like others
	AmplitudesNonNegative = "nonnegative"
	AmplitudesGaussian    = "gaussian"
)

// linear are the indices of the amplitudes that a component's type is linear in.
func (c *Component) linear() []int {
	if c.Group == "lens" {
		return nil
	}
	l, err := physics.NewLight(c.Type)
	if err != nil {
		return nil // a decoder, or pixels
	}
	if l, ok := l.(physics.Linear); ok {
		return l.LinearParams()
	}
	return nil
}

// setAmplitudes gives amplitudes the priors that go with what is done with them: none where they are solved for, a normal one around
// zero that reaches as far as the default one where they are integrated over.
func (c *Component) setAmplitudes() {
	for _, i := range c.linear() {
		switch p := &c.Params[i].Prior; c.Amplitudes {
		case AmplitudesNonNegative:
			*p = Prior{Prior: physics.Normal(1, 0)}
			p.Family = ""
		case AmplitudesGaussian:
			q := physics.Normal(0, p.A+p.B)
			if p.Family == physics.FamilyLogNormal {
				q.B = math.Exp(q.B)
			}
			q.Relative = p.Relative
			p.Prior = q
		}
	}
}

// checkAmplitudes holds the priors of amplitudes against what is done with them.
func (c *Config) checkAmplitudes(comp *Component) error {
	for _, i := range comp.linear() {
		p := &comp.Params[i]
		lo, hi := p.Prior.Bounds()
		bare := math.IsInf(lo, -1) && math.IsInf(hi, 1)
		switch comp.Amplitudes {
		case AmplitudesNonNegative:
			if p.Prior.Family != "" || !bare || slices.ContainsFunc(append(p.Prior.Truth, p.Prior.Init...), func(v float64) bool { return v < 0 }) {
				return c.Fail(comp.Key(p.Name), "found a prior or a negative value, expected a truth from 0 or nothing: the amplitude is solved for")
			}
		case AmplitudesGaussian:
			if p.Prior.Family != physics.FamilyNormal || !bare {
				return c.Fail(comp.Key(p.Name), "found another prior, expected {normal: [mean, standard deviation]} without bounds: the amplitude is integrated over")
			}
		}
	}
	return nil
}

// checkPixels tells whether the rest of the model goes with its sources.
func (c *Config) checkPixels() error {
	pixels := c.HasPixels()
	for _, comp := range c.Components() {
		if comp.Amplitudes == "" {
			continue
		}
		if !pixels {
			return c.Fail(comp.Key("amplitudes"), "found %s in a model without a source of type %s, expected %s", comp.Amplitudes, TypePixels, AmplitudesFree)
		}
		if err := c.checkAmplitudes(comp); err != nil {
			return err
		}
	}
	if pixels && c.StudentT > 0 {
		return c.Fail("likelihood", "found student_t beside a source of type %s, expected gaussian: no other can be integrated over a source", TypePixels)
	}
	return nil
}

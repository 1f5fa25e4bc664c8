package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Component is a lens, a source or a lens light.
type Component struct {
	Group, Name, Type string
	Model             string  // of a decoder: bundle or .onnx, "" for the shipped one
	Interpolation     string  // of a decoder or an envelope: bilinear or bicubic
	Redshift          float64 // of a lens or a source; 0: not stated
	Pixels            Pixels  // of type pixels
	Amplitudes        string  // of a light beside a source of type pixels: nonnegative or gaussian; "" for free
	Params            []Param
}

// Components are all parts of the model in the order of the parameters.
func (c *Config) Components() []*Component {
	var out []*Component
	for _, group := range [][]Component{c.Lens, c.Source, c.LensLight} {
		for i := range group {
			out = append(out, &group[i])
		}
	}
	return out
}

// Key is the dotted name of a parameter of the component.
func (c *Component) Key(param string) string { return c.Group + "." + c.Name + "." + param }

// parseComponents reads the list of lenses, sources or lens lights.
func (c *Config) parseComponents(n node, group string) ([]Component, error) {
	if n.isNull() {
		return nil, nil
	}
	items, err := n.list()
	if err != nil {
		return nil, err
	}
	var out []Component
	for i, item := range items {
		item.key = fmt.Sprintf("%s[%d]", group, i)
		comp, err := c.parseComponent(item, group)
		if err != nil {
			return nil, err
		}
		for _, o := range out {
			if o.Name == comp.Name {
				return nil, item.fail("a %s named %q stands already above, expected a name of its own (name: …)", group, comp.Name)
			}
		}
		out = append(out, comp)
	}
	return out, nil
}

// componentFields are the keys of a component; Component.keys are those that its type has.
var componentFields = mapping[Component]{
	field[Component]{key: "type", value: "of a lens " + strings.Join(KindNames("lens"), ", ") + "; of light " + strings.Join(KindNames("lens_light"), ", ") + "; of a source also " + TypePixels, help: "kind of profile, or decoder, or pixels"}.with(
		func(p *Component, e entry) (err error) {
			if p.Type, err = e.text(); err != nil {
				return err
			}
			if kinds := KindNames(p.Group); !Contains(kinds, p.Type) {
				return e.fail("unknown %s type %q%s", p.Group, p.Type, ExpectedKeys(p.Type, kinds))
			}
			return nil
		}, func(p *Component, _ func(string) string) string { return p.Type }),
	field[Component]{key: "name", value: "a letter, then letters, digits, - and _", without: "the type", help: "what its parameters are called by",
		omit: func(p *Component) bool { return p.Name == p.Type },
	}.word(func(p *Component) *string { return &p.Name }, nameRule.MatchString),
	field[Component]{key: "redshift", value: "a redshift above 0", without: "none is stated", help: "of a lens or a source: all of them or none",
		omit: func(p *Component) bool { return p.Redshift <= 0 },
	}.with(func(p *Component, e entry) (err error) {
		p.Redshift, err = e.redshift(p.Group)
		return err
	}, func(p *Component, _ func(string) string) string { return yamlNumber(p.Redshift) }),
	field[Component]{key: "model", value: "a bundle's folder or an .onnx file", without: "the shipped one", help: "of a decoder",
		omit: func(p *Component) bool { return p.Model == "" || p.Type != "decoder" },
	}.path(func(p *Component) *string { return &p.Model }),
	ofDecoder(interpolation("bilinear", "between a decoder's pixels")),
	field[Component]{key: "grids", value: "a list of mappings", without: "a coarse one over all that the arcs map to, and a fine one over the bright part", help: "of pixels: nested squares of splines, whose sum is the source",
		sub: gridFields, omit: func(p *Component) bool { return p.Pixels.Grids == nil },
	}.with(func(p *Component, e entry) error { return p.Pixels.parseGrids(e.node) },
		func(p *Component, moved func(string) string) string { return p.Pixels.gridsText(moved) }),
	ofPixels(field[Component]{key: "smoothness", without: strconv.Itoa(defaultSmoothness), help: "of pixels: ν of the Matérn prior"}.
		whole(func(p *Component) *int { return &p.Pixels.Smoothness }, 1, 2)),
	ofPixels(field[Component]{key: "envelope", value: "a number of round components from 0 to 3, or a mapping", without: strconv.Itoa(defaultComponents), help: "of pixels: where the source may be bright", sub: envelopeFields}.
		with(func(p *Component, e entry) error { return p.parseEnvelope(e.node) }, (*Component).envelopeText)),
	field[Component]{key: "amplitudes", value: AmplitudesFree + ", " + AmplitudesNonNegative + " or " + AmplitudesGaussian, without: AmplitudesFree,
		help: "of a light beside a source of type pixels: parameters like others, solved for, or integrated over as the source is",
		omit: func(p *Component) bool { return p.Amplitudes == "" },
	}.with(func(p *Component, e entry) (err error) {
		if p.Amplitudes, err = e.text(); err == nil && !slices.Contains([]string{AmplitudesFree, AmplitudesNonNegative, AmplitudesGaussian}, p.Amplitudes) {
			err = e.fail("found %q, expected %s, %s or %s", p.Amplitudes, AmplitudesFree, AmplitudesNonNegative, AmplitudesGaussian)
		}
		if p.Amplitudes == AmplitudesFree {
			p.Amplitudes = ""
		}
		return err
	}, func(p *Component, _ func(string) string) string { return p.Amplitudes }),
	field[Component]{key: "priors", value: "a mapping of parameters to priors", without: "default priors", help: "of the parameters of its type",
		sub: priorFields, omit: func(p *Component) bool { return len(p.Params) == 0 },
	}.with(func(p *Component, e entry) error { return p.parsePriors(e.node) },
		func(p *Component, _ func(string) string) string {
			s := "\n"
			for i := range p.Params {
				s += "      " + line(p.Params[i].Name, p.Params[i].Prior.text())
			}
			return s
		}),
}

var nameRule = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// ofPixels is a key that is written for sources of type pixels alone, ofDecoder one for decoders.
func ofPixels(f field[Component]) field[Component] {
	f.omit = func(p *Component) bool { return p.Type != TypePixels }
	return f
}

func ofDecoder(f field[Component]) field[Component] {
	f.omit = func(p *Component) bool { return p.Type != "decoder" }
	return f
}

// keys are those that a component of its type may have.
func (c *Component) keys() []string {
	return slices.DeleteFunc(componentFields.keys(), func(key string) bool {
		switch key {
		case "model", "interpolation":
			return c.Type != "decoder"
		case "grids", "smoothness", "envelope":
			return c.Type != TypePixels
		case "amplitudes":
			return len(c.linear()) == 0
		}
		return false
	})
}

func (c *Config) parseComponent(n node, group string) (Component, error) {
	comp := Component{Group: group}
	if !n.isMapping() {
		return comp, n.fail("found %s, expected a mapping with type", n.describe())
	}
	keys, err := n.entries(componentFields.keys())
	if err != nil {
		return comp, err
	}
	of := func(names ...string) error {
		return componentFields.fill(&comp, slices.DeleteFunc(slices.Clone(keys), func(e entry) bool { return !slices.Contains(names, e.name) }), nil)
	}
	if err := of("type"); err != nil { // first, since the others depend on it
		return comp, err
	}
	if comp.Type == "" {
		return comp, n.fail("has no type, expected one of %s", strings.Join(KindNames(group), ", "))
	}
	if keys, err = n.entries(comp.keys()); err != nil {
		return comp, err
	}
	comp.Name = comp.Type
	switch comp.Type {
	case "decoder":
		comp.Interpolation = "bilinear"
	case TypePixels:
		comp.Pixels = defaultPixels()
	}
	if err := of("grids", "smoothness", "envelope", "amplitudes"); err != nil { // on which the parameters depend
		return comp, err
	}
	comp.Params = comp.params()
	comp.setAmplitudes()
	if err := of("name", "redshift", "model", "interpolation", "priors"); err != nil {
		return comp, err
	}
	key := group + "." + comp.Name
	c.Where[key] = start(n.n)
	for _, e := range keys {
		c.Where[key+"."+e.name] = start(e.n)
		if e.name == "priors" {
			priors, err := e.entries(nil)
			if err != nil {
				return comp, err
			}
			for _, p := range priors {
				c.Where[key+"."+p.name] = p.at
			}
		}
	}
	return comp, nil
}

func (c *Component) parsePriors(n node) error {
	names := make([]string, len(c.Params))
	for i := range c.Params {
		names[i] = c.Params[i].Name
	}
	keys, err := n.entries(names)
	if err != nil {
		return err
	}
	for _, e := range keys {
		for i := range c.Params {
			if c.Params[i].Name == e.name {
				if err := c.Params[i].parse(e.node); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

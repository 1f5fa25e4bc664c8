package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Component is a lens, a source or a lens light.
type Component struct {
	Group, Name, Type string
	Model             string  // of a decoder: bundle or .onnx, "" for the shipped one
	Interpolation     string  // of a decoder: bilinear or bicubic
	Redshift          float64 // of a lens or a source; 0: not stated
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

// componentFields are the keys of a component, model and interpolation those of a decoder alone.
var componentFields = mapping[Component]{
	field[Component]{key: "type", value: "of a lens " + strings.Join(KindNames("lens"), ", ") + "; of light " + strings.Join(KindNames("source"), ", "), help: "kind of profile, or decoder"}.with(
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
		omit: func(p *Component) bool { return p.Model == "" },
	}.path(func(p *Component) *string { return &p.Model }),
	field[Component]{key: "interpolation", value: "bilinear or bicubic", without: "bilinear", help: "between a decoder's pixels",
		omit: func(p *Component) bool { return p.Interpolation == "" },
	}.word(func(p *Component) *string { return &p.Interpolation }, func(s string) bool { return s == "bilinear" || s == "bicubic" }),
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

// profileKeys are the keys of a component that is no decoder.
var profileKeys = slices.DeleteFunc(componentFields.keys(), func(k string) bool { return k == "model" || k == "interpolation" })

func (c *Config) parseComponent(n node, group string) (Component, error) {
	comp := Component{Group: group}
	if !n.isMapping() {
		return comp, n.fail("found %s, expected a mapping with type", n.describe())
	}
	keys, err := n.entries(componentFields.keys())
	if err != nil {
		return comp, err
	}
	for _, e := range keys { // the type first, on which the others depend
		if e.name == "type" {
			if err := componentFields.fill(&comp, []entry{e}, nil); err != nil {
				return comp, err
			}
		}
	}
	if comp.Type == "" {
		return comp, n.fail("has no type, expected one of %s", strings.Join(KindNames(group), ", "))
	}
	comp.Name = comp.Type
	if comp.Type == "decoder" {
		comp.Interpolation = "bilinear"
	} else if keys, err = n.entries(profileKeys); err != nil {
		return comp, err
	}
	comp.Params = DefaultParams(group, comp.Type)
	if err := componentFields.fill(&comp, keys, nil); err != nil {
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

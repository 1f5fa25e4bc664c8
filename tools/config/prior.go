package config

import (
	"fmt"
	"math"

	"lenskit/physics"
)

// Param is a named parameter, or the latents of a decoder (Vector), with its prior.
type Param struct {
	physics.Param
	Vector bool
	Prior  Prior
}

// Prior is the prior of a parameter with the values that a config states beside it. Its families are those of the config's
// keys, all but FamilyMultivariate: latents have FamilyDecoder until their bundle is read.
type Prior struct {
	physics.Prior
	Truth []float64 // for mocks; nil, one value, or one per latent
	Init  []float64 // where to start
}

// priorFields are the keys of a prior: its family, bundle being for the latents of a decoder alone, then what may stand beside it.
var priorFields = mapping[Param]{
	family(physics.FamilyDecoder, "a mapping", "of latents alone: the one that comes with their decoder", bundleFields, func(p *Param, e entry) error {
		p.Prior.A = p.Default.A
		return bundleFields.read(p, e.node, nil)
	}),
	family(physics.FamilyNormal, "[mean, standard deviation above 0]", "normally distributed", nil, (*Param).parseNumbers),
	family(physics.FamilyUniform, "[lower end, higher end]", "evenly distributed", nil, (*Param).parseNumbers),
	family(physics.FamilyLogNormal, "[mean, standard deviation above 0] of the logarithm", "the logarithm is normally distributed", nil, (*Param).parseNumbers),
	family(physics.FamilyFixed, "a number; of latents also a list", "held there, not fitted", nil, func(p *Param, e entry) (err error) {
		p.Prior.Values, err = p.values(e.node)
		return err
	}),
	field[Param]{key: "bounds", value: "[lower, upper], which may be ±.inf", without: "none; beside a default prior, its own", help: "where the prior is cut off",
		omit: func(p *Param) bool { return math.IsInf(p.Prior.Lo, -1) && math.IsInf(p.Prior.Hi, 1) },
	}.with((*Param).parseBounds, func(p *Param, _ func(string) string) string { return yamlNumbers([]float64{p.Prior.Lo, p.Prior.Hi}) }),
	stated("truth", "what `lenskit mock` simulates", func(p *Param) *[]float64 { return &p.Prior.Truth }),
	stated("init", "where a search starts", func(p *Param) *[]float64 { return &p.Prior.Init }),
}

// bundleFields are the keys of the prior that comes with a decoder.
var bundleFields = mapping[Param]{
	field[Param]{key: "scale", value: "a factor of the covariance above 0", without: yamlNumber(physics.Latents("z").Default.A), help: "how much wider the prior is, in variance"}.
		number(func(p *Param) *float64 { return &p.Prior.A }, above0),
}

// family is the key of a kind of prior.
func family(f physics.Family, value, help string, sub section, read func(*Param, entry) error) field[Param] {
	return field[Param]{key: string(f), value: value, help: help, sub: sub, omit: func(p *Param) bool { return p.Prior.Family != f }}.
		with(read, func(p *Param, moved func(string) string) string {
			switch f {
			case physics.FamilyFixed:
				return yamlValues(p.Prior.Values)
			case physics.FamilyDecoder:
				return bundleFields.flow(p, moved)
			}
			return yamlNumbers([]float64{p.Prior.A, p.Prior.B})
		})
}

// stated is the key of values beside a prior.
func stated(key, help string, at func(*Param) *[]float64) field[Param] {
	return field[Param]{key: key, value: "a number; of latents also a list", without: "none", help: help, omit: func(p *Param) bool { return *at(p) == nil }}.
		with(func(p *Param, e entry) (err error) {
			*at(p), err = p.values(e.node)
			return err
		}, func(p *Param, _ func(string) string) string { return yamlValues(*at(p)) })
}

// parse reads the mapping of one parameter over its default. A prior that is given takes the place of the default with
// its bounds; bounds, truth and init alone leave the default prior as it is.
func (p *Param) parse(n node) error {
	fields := priorFields
	if !p.Vector {
		fields = priorFields[1:] // no bundle
	}
	if !n.isMapping() {
		return n.fail("found %s, expected a prior such as {normal: [0, 1]} or {fixed: 0}", n.describe())
	}
	keys, err := n.entries(fields.keys())
	if err != nil {
		return err
	}
	given := ""
	var beside []entry
	for _, e := range keys {
		if e.name == "bounds" || e.name == "truth" || e.name == "init" {
			beside = append(beside, e)
			continue
		}
		if given != "" {
			return e.fail("stands beside %s, expected one prior", given)
		}
		given = e.name
		p.Prior = Prior{Prior: physics.Prior{Family: physics.Family(e.name), Lo: math.Inf(-1), Hi: math.Inf(1)}}
		if err := fields.fill(p, []entry{e}, nil); err != nil {
			return err
		}
	}
	if err := fields.fill(p, beside, nil); err != nil {
		return err
	}
	return p.check(n)
}

// parseNumbers reads the two numbers of a prior.
func (p *Param) parseNumbers(e entry) error {
	pr := &p.Prior
	v, err := e.numbers(2, false)
	if err != nil {
		return err
	}
	pr.A, pr.B = v[0], v[1]
	switch {
	case pr.Family == physics.FamilyUniform && !(pr.A < pr.B):
		return e.fail("found [%g, %g], expected the lower end first and a width above 0", pr.A, pr.B)
	case pr.Family != physics.FamilyUniform && !(pr.B > 0):
		return e.fail("found width %g, expected a standard deviation above 0 (or fixed: %g)", pr.B, pr.Centre())
	case pr.Family == physics.FamilyUniform && (pr.A < p.Lo || pr.B > p.Hi):
		return e.fail("found [%g, %g], outside the range %s of %s", pr.A, pr.B, p.RangeText(p.Lo, p.Hi), p.Name)
	}
	return nil
}

func (p *Param) parseBounds(e entry) error {
	b, err := e.numbers(2, true)
	if err != nil {
		return err
	}
	if !(b[0] < b[1]) {
		return e.fail("found [%g, %g], expected the lower bound first", b[0], b[1])
	}
	if p.Prior.IsFixed() {
		return e.fail("stands beside fixed, which needs no bounds")
	}
	if b[0] < p.Lo || b[1] > p.Hi {
		return e.fail("found [%g, %g], outside the range %s of %s", b[0], b[1], p.RangeText(p.Lo, p.Hi), p.Name)
	}
	p.Prior.Lo, p.Prior.Hi = b[0], b[1]
	return nil
}

// values reads a number, or for latents also a list of numbers.
func (p *Param) values(n node) ([]float64, error) {
	if p.Vector {
		if _, err := n.list(); err == nil {
			return n.numbers(-1, false)
		}
	}
	v, err := n.number()
	return []float64{v}, err
}

// check holds a parameter's prior against the range of the parameter.
func (p *Param) check(n node) error {
	pr := &p.Prior
	inside := func(v float64) bool { return v > p.Lo && v < p.Hi && v >= pr.Lo && v <= pr.Hi }
	for _, what := range []struct {
		name   string
		values []float64
	}{{"fixed", pr.Values}, {"truth", pr.Truth}, {"init", pr.Init}} {
		for _, v := range what.values {
			if !inside(v) {
				return n.fail("%s %g is outside the range %s", what.name, v, p.RangeText(pr.Lo, pr.Hi))
			}
		}
	}
	if pr.IsFixed() || pr.Family == physics.FamilyDecoder {
		return nil
	}
	lo, hi := max(p.Lo, pr.Lo), min(p.Hi, pr.Hi)
	if pr.Family == physics.FamilyUniform {
		if lo = max(lo, pr.A); lo >= min(hi, pr.B) {
			return n.fail("uniform [%g, %g] leaves nothing within the bounds %s", pr.A, pr.B, p.RangeText(pr.Lo, pr.Hi))
		}
		return nil
	}
	if m := pr.Centre(); !pr.Relative && (m < lo || m > hi) {
		return n.fail("the centre %g of the prior is outside the range %s", m, p.RangeText(lo, hi))
	}
	return nil
}

// RangeText writes the values that bounds within a parameter's open range (p.Lo, p.Hi) leave.
func (p *Param) RangeText(lo, hi float64) string {
	l, r := "[", "]"
	if lo <= p.Lo {
		l, lo = "(", p.Lo
	}
	if hi >= p.Hi {
		r, hi = ")", p.Hi
	}
	if hi == math.Nextafter(1, 2) { // an open end that contains 1 itself
		r, hi = "]", 1
	}
	return fmt.Sprintf("%s%g, %g%s", l, lo, hi, r)
}

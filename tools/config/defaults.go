package config

import (
	"math"

	"lenskit/physics"
)

// DefaultPrior is the default prior of a parameter in a group.
func DefaultPrior(group string, p physics.Param) Prior {
	d := p.Default
	if group == "source" && p.InSource.Family != "" {
		d = p.InSource
	}
	return Prior{Prior: d}
}

// DefaultParams are the parameters of a kind with their default priors, cut to the parameters' ranges.
func DefaultParams(group, kind string) []Param {
	if kind == TypePixels {
		return (&Component{Group: group, Type: kind, Pixels: defaultPixels()}).params()
	}
	return defaultPriors(group, kindParams(group, kind))
}

// defaultPriors gives parameters their default priors.
func defaultPriors(group string, params []physics.Param) []Param {
	var out []Param
	for _, p := range params {
		d := Param{Param: p, Vector: p.Role == physics.RoleLatent, Prior: DefaultPrior(group, p)}
		if !math.IsInf(d.Prior.Lo, 0) || !math.IsInf(d.Prior.Hi, 0) {
			d.Prior.Lo, d.Prior.Hi = max(d.Prior.Lo, p.Lo), min(d.Prior.Hi, p.Hi)
		}
		out = append(out, d)
	}
	return out
}

// Generic is a prior for a parameter of which nothing but its range is known: uniform over a finite range, of unit size otherwise.
func Generic(p physics.Param) physics.Prior {
	switch {
	case !math.IsInf(p.Lo, 0) && !math.IsInf(p.Hi, 0):
		return physics.Uniform(p.Lo, p.Hi)
	case p.Lo == 0:
		return physics.LogNormal(0, 1)
	}
	return physics.Normal(0, 1)
}

// decoderParams are the parameters of a decoder: its latents z, then those of an image (physics.Pixels).
func decoderParams() []physics.Param {
	return append([]physics.Param{physics.Latents("z")}, (&physics.Pixels{}).Params()...)
}

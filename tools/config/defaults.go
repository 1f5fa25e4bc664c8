package config

import (
	"math"

	"lenskit/physics"
)

func Normal(mean, sd float64) Prior {
	return Prior{Kind: PriorNormal, A: mean, B: sd, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

// Lognormal is the prior whose logarithm is normal around that of median, with standard deviation sd.
func Lognormal(median, sd float64) Prior {
	return Prior{Kind: PriorLognormal, A: math.Log(median), B: sd, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

func Fixed(v float64) Prior {
	return Prior{Kind: PriorFixed, Fixed: []float64{v}, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

func (p Prior) Within(lo, hi float64) Prior {
	p.Lo, p.Hi = lo, hi
	return p
}

// OfBrightness marks a prior in units of the image's brightness.
func (p Prior) OfBrightness() Prior {
	p.Scaled = true
	return p
}

// DefaultPrior is the default prior of a parameter in a group.
func DefaultPrior(group string, p physics.Param) Prior {
	d := p.Default
	if group == "source" && p.InSource.Family != "" {
		d = p.InSource
	}
	out := Prior{Kind: Kind(d.Family), A: d.A, B: d.B, Lo: d.Lo, Hi: d.Hi, Scaled: d.OfBrightness}
	if out.Kind == PriorFixed {
		out = Fixed(d.A)
	}
	return out
}

// DefaultParams are the parameters of a kind with their default priors, cut to the parameters' ranges.
func DefaultParams(group, kind string) []Param {
	var out []Param
	for _, p := range kindParams(group, kind) {
		d := Param{Param: p, Vector: p.Role == physics.RoleLatent, Prior: DefaultPrior(group, p)}
		if !math.IsInf(d.Prior.Lo, 0) || !math.IsInf(d.Prior.Hi, 0) {
			d.Prior.Lo, d.Prior.Hi = max(d.Prior.Lo, p.Lo), min(d.Prior.Hi, p.Hi)
		}
		out = append(out, d)
	}
	return out
}

// Generic is a prior for a parameter of which nothing but its range is known: uniform over a finite range, of unit size otherwise.
func Generic(p physics.Param) Prior {
	switch {
	case !math.IsInf(p.Lo, 0) && !math.IsInf(p.Hi, 0):
		return Prior{Kind: PriorUniform, A: p.Lo, B: p.Hi, Lo: math.Inf(-1), Hi: math.Inf(1)}
	case p.Lo == 0:
		return Lognormal(1, 1)
	}
	return Normal(0, 1)
}

// decoderParams are the parameters of a decoder: its latents z, then those of an image (physics.Pixels).
func decoderParams() []physics.Param {
	return append([]physics.Param{physics.Latents("z")}, (&physics.Pixels{}).Params()...)
}

package config

import (
	"math"

	"lenskit/physics"
)

// defaultLatentScale widens the covariance of a bundle's latents: Chianese et al. 2020, §2.3.
const defaultLatentScale = 9

// defaultRow is the default prior of a parameter. Group, kind and param select it; an empty group or kind matches all.
// The first row that matches counts.
type defaultRow struct {
	group, kind, param string
	prior              Prior
}

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

// defaultRows are the default priors: those of galaxy-scale lenses a few arcsec across.
var defaultRows = []defaultRow{
	{"source", "decoder", "z", Prior{Kind: PriorBundle, A: defaultLatentScale, Lo: math.Inf(-1), Hi: math.Inf(1)}},
	{"source", "decoder", "s", Normal(5, 1).Within(0.2, 20)},
	{"source", "decoder", "iota", Normal(1, 0.5).Within(0, math.Inf(1)).OfBrightness()},
	{"source", "decoder", "x", Normal(0, 0.1)},
	{"source", "decoder", "y", Normal(0, 0.1)},
	{"lens_light", "decoder", "z", Prior{Kind: PriorBundle, A: defaultLatentScale, Lo: math.Inf(-1), Hi: math.Inf(1)}},
	{"lens_light", "decoder", "s", Normal(5, 2).Within(0.5, 40)},
	{"lens_light", "decoder", "iota", Lognormal(1, 1).OfBrightness()},
	{"lens_light", "decoder", "x", Normal(0, 0.1)},
	{"lens_light", "decoder", "y", Normal(0, 0.1)},

	{"lens", "", "r_ein", Normal(1.5, 0.5).Within(0.1, 5)},
	{"lens", "", "theta_E", Normal(1.5, 0.5).Within(0.1, 5)},
	{"lens", "", "b", Normal(1.5, 0.5).Within(0.1, 5)},
	{"lens", "", "q", Normal(0.7, 0.2).Within(0.2, 0.999)},
	{"lens", "", "phi", Normal(0, 1)},
	{"lens", "", "gamma", Normal(2, 0.2).Within(1.2, 2.8)},
	{"lens", "", "gamma1", Normal(0, 0.05)},
	{"lens", "", "gamma2", Normal(0, 0.05)},
	{"lens", "", "kappa", Normal(0, 0.05)},
	{"lens", "", "kappa_ext", Normal(0, 0.05)},
	{"lens", "", "Rs", Lognormal(10, 0.5)},
	{"lens", "", "r_s", Lognormal(10, 0.5)},
	{"lens", "", "alpha_Rs", Lognormal(1, 0.7)},
	{"lens", "", "alpha_rs", Lognormal(1, 0.7)},
	{"lens", "", "r_trunc", Lognormal(10, 0.7)},
	{"lens", "", "r_core", Lognormal(0.05, 1)},
	{"lens", "", "s_scale", Lognormal(0.05, 1)},
	{"lens", "", "a_m", Normal(0, 0.01)},
	{"lens", "", "phi_m", Normal(0, 1)},

	{"source", "", "amp", Lognormal(0.5, 1.5).OfBrightness()},
	{"lens_light", "", "amp", Lognormal(0.5, 2).OfBrightness()},
	{"source", "", "r_sersic", Lognormal(0.3, 0.7)},
	{"lens_light", "", "r_sersic", Lognormal(1, 0.7)},
	{"source", "", "n", Normal(1.5, 1).Within(0.3, 6)},
	{"lens_light", "", "n", Normal(3, 1.5).Within(0.3, 8)},
	{"", "core_sersic", "r_break", Lognormal(0.05, 1)},
	{"", "core_sersic", "gamma", Normal(0.2, 0.2).Within(0, 1)},
	{"", "core_sersic", "alpha", Fixed(3)},
	{"source", "", "sigma", Lognormal(0.2, 0.7)},
	{"lens_light", "", "sigma", Lognormal(0.7, 0.7)},

	{"source", "", "center_x", Normal(0, 0.3)},
	{"source", "", "center_y", Normal(0, 0.3)},
	{"source", "", "x", Normal(0, 0.3)},
	{"source", "", "y", Normal(0, 0.3)},
	{"", "", "center_x", Normal(0, 0.1)},
	{"", "", "center_y", Normal(0, 0.1)},
	{"", "", "x", Normal(0, 0.1)},
	{"", "", "y", Normal(0, 0.1)},
	{"", "", "e1", Normal(0, 0.2).Within(-0.6, 0.6)},
	{"", "", "e2", Normal(0, 0.2).Within(-0.6, 0.6)},
	{"", "", "q", Normal(0.7, 0.2).Within(0.1, 1)},
	{"", "", "phi", Normal(0, 1)},
	{"sky", "sky", "sky", Normal(0, 0.1).OfBrightness()},
	{"noise_scale", "noise_scale", "noise_scale", Lognormal(1, 0.3)},
}

// DefaultPrior is the default of a parameter, the zero prior (Kind "") where there is none.
func DefaultPrior(group, kind, param string) Prior {
	for _, r := range defaultRows {
		if r.param == param && (r.kind == "" || r.kind == kind) && (r.group == "" || r.group == group) {
			return r.prior
		}
	}
	return Prior{Lo: math.Inf(-1), Hi: math.Inf(1)}
}

// DefaultParams are the parameters of a kind with their default priors, cut to the parameters' ranges.
func DefaultParams(group, kind string) []Param {
	var out []Param
	for _, p := range kindParams(group, kind) {
		d := Param{Param: p, Vector: p.Role == physics.RoleLatent, Prior: DefaultPrior(group, kind, p.Name)}
		if d.Prior.Kind == "" {
			d.Prior = Generic(p)
		}
		if !math.IsInf(d.Prior.Lo, 0) || !math.IsInf(d.Prior.Hi, 0) {
			d.Prior.Lo, d.Prior.Hi = max(d.Prior.Lo, p.Lo), min(d.Prior.Hi, p.Hi)
		}
		out = append(out, d)
	}
	return out
}

// Generic is the prior of a parameter that no row names: uniform over a finite range, of unit size otherwise.
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

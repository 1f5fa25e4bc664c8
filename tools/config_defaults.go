package tools

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
	prior              prior
}

func normal(mean, sd float64) prior {
	return prior{Kind: priorNormal, A: mean, B: sd, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

// lognormal is the prior whose logarithm is normal around that of median, with standard deviation sd.
func lognormal(median, sd float64) prior {
	return prior{Kind: priorLognormal, A: math.Log(median), B: sd, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

func fixed(v float64) prior {
	return prior{Kind: priorFixed, Fixed: []float64{v}, Lo: math.Inf(-1), Hi: math.Inf(1)}
}

func (p prior) within(lo, hi float64) prior {
	p.Lo, p.Hi = lo, hi
	return p
}

// scaled marks a prior in units of the image's brightness.
func (p prior) scaled() prior {
	p.Scaled = true
	return p
}

// defaultRows are the default priors: those of galaxy-scale lenses a few arcsec across.
var defaultRows = []defaultRow{
	{"source", "decoder", "z", prior{Kind: priorBundle, A: defaultLatentScale, Lo: math.Inf(-1), Hi: math.Inf(1)}},
	{"source", "decoder", "s", normal(5, 1).within(0.2, 20)},
	{"source", "decoder", "iota", normal(1, 0.5).within(0, math.Inf(1)).scaled()},
	{"source", "decoder", "x", normal(0, 0.1)},
	{"source", "decoder", "y", normal(0, 0.1)},
	{"lens_light", "decoder", "z", prior{Kind: priorBundle, A: defaultLatentScale, Lo: math.Inf(-1), Hi: math.Inf(1)}},
	{"lens_light", "decoder", "s", normal(5, 2).within(0.5, 40)},
	{"lens_light", "decoder", "iota", lognormal(1, 1).scaled()},
	{"lens_light", "decoder", "x", normal(0, 0.1)},
	{"lens_light", "decoder", "y", normal(0, 0.1)},

	{"lens", "", "r_ein", normal(1.5, 0.5).within(0.1, 5)},
	{"lens", "", "theta_E", normal(1.5, 0.5).within(0.1, 5)},
	{"lens", "", "b", normal(1.5, 0.5).within(0.1, 5)},
	{"lens", "", "q", normal(0.7, 0.2).within(0.2, 0.999)},
	{"lens", "", "phi", normal(0, 1)},
	{"lens", "", "gamma", normal(2, 0.2).within(1.2, 2.8)},
	{"lens", "", "gamma1", normal(0, 0.05)},
	{"lens", "", "gamma2", normal(0, 0.05)},
	{"lens", "", "kappa", normal(0, 0.05)},
	{"lens", "", "kappa_ext", normal(0, 0.05)},
	{"lens", "", "Rs", lognormal(10, 0.5)},
	{"lens", "", "r_s", lognormal(10, 0.5)},
	{"lens", "", "alpha_Rs", lognormal(1, 0.7)},
	{"lens", "", "alpha_rs", lognormal(1, 0.7)},
	{"lens", "", "r_trunc", lognormal(10, 0.7)},
	{"lens", "", "r_core", lognormal(0.05, 1)},
	{"lens", "", "s_scale", lognormal(0.05, 1)},
	{"lens", "", "a_m", normal(0, 0.01)},
	{"lens", "", "phi_m", normal(0, 1)},

	{"source", "", "amp", lognormal(0.5, 1.5).scaled()},
	{"lens_light", "", "amp", lognormal(0.5, 2).scaled()},
	{"source", "", "r_sersic", lognormal(0.3, 0.7)},
	{"lens_light", "", "r_sersic", lognormal(1, 0.7)},
	{"source", "", "n", normal(1.5, 1).within(0.3, 6)},
	{"lens_light", "", "n", normal(3, 1.5).within(0.3, 8)},
	{"", "core_sersic", "r_break", lognormal(0.05, 1)},
	{"", "core_sersic", "gamma", normal(0.2, 0.2).within(0, 1)},
	{"", "core_sersic", "alpha", fixed(3)},
	{"source", "", "sigma", lognormal(0.2, 0.7)},
	{"lens_light", "", "sigma", lognormal(0.7, 0.7)},

	{"source", "", "center_x", normal(0, 0.3)},
	{"source", "", "center_y", normal(0, 0.3)},
	{"source", "", "x", normal(0, 0.3)},
	{"source", "", "y", normal(0, 0.3)},
	{"", "", "center_x", normal(0, 0.1)},
	{"", "", "center_y", normal(0, 0.1)},
	{"", "", "x", normal(0, 0.1)},
	{"", "", "y", normal(0, 0.1)},
	{"", "", "e1", normal(0, 0.2).within(-0.6, 0.6)},
	{"", "", "e2", normal(0, 0.2).within(-0.6, 0.6)},
	{"", "", "q", normal(0.7, 0.2).within(0.1, 1)},
	{"", "", "phi", normal(0, 1)},
	{"sky", "sky", "sky", normal(0, 0.1).scaled()},
	{"noise_scale", "noise_scale", "noise_scale", lognormal(1, 0.3)},
}

// defaultPrior is the default of a parameter, the zero prior (Kind "") where there is none.
func defaultPrior(group, kind, param string) prior {
	for _, r := range defaultRows {
		if r.param == param && (r.kind == "" || r.kind == kind) && (r.group == "" || r.group == group) {
			return r.prior
		}
	}
	return prior{Lo: math.Inf(-1), Hi: math.Inf(1)}
}

// defaultParams are the parameters of a kind with their default priors, cut to the parameters' ranges.
func defaultParams(group, kind string) []param {
	var out []param
	for _, p := range kindParams(group, kind) {
		d := param{Param: p, Vector: kind == "decoder" && p.Name == "z", Prior: defaultPrior(group, kind, p.Name)}
		if d.Prior.Kind == "" {
			d.Prior = generic(p)
		}
		if !math.IsInf(d.Prior.Lo, 0) || !math.IsInf(d.Prior.Hi, 0) {
			d.Prior.Lo, d.Prior.Hi = max(d.Prior.Lo, p.Lo), min(d.Prior.Hi, p.Hi)
		}
		out = append(out, d)
	}
	return out
}

// generic is the prior of a parameter that no row names: uniform over a finite range, of unit size otherwise.
func generic(p physics.Param) prior {
	switch {
	case !math.IsInf(p.Lo, 0) && !math.IsInf(p.Hi, 0):
		return prior{Kind: priorUniform, A: p.Lo, B: p.Hi, Lo: math.Inf(-1), Hi: math.Inf(1)}
	case p.Lo == 0:
		return lognormal(1, 1)
	}
	return normal(0, 1)
}

// decoderParams are the parameters of a decoder: its latents z, then those of an image (physics.Pixels).
func decoderParams() []physics.Param {
	z := physics.Param{Name: "z", Unit: physics.One, Lo: math.Inf(-1), Hi: math.Inf(1)}
	return append([]physics.Param{z}, (&physics.Pixels{}).Params()...)
}

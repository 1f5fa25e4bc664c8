package config

import (
	"math"
	"reflect"
	"testing"

	"lenskit/physics"
)

func TestEveryParameterHasARoleAndADefaultPrior(t *testing.T) {
	for _, group := range []string{"lens", "source", "lens_light"} {
		for _, kind := range KindNames(group) {
			for _, p := range DefaultParams(group, kind) {
				if p.Role == "" || p.Prior.Family == "" || p.Prior.Lo >= p.Prior.Hi {
					t.Errorf("%s %s: %s: found role %q and prior %+v", group, kind, p.Name, p.Role, p.Prior)
				}
				if p.Vector != (p.Role == physics.RoleLatent) {
					t.Errorf("%s %s: %s: several values: %v", group, kind, p.Name, p.Vector)
				}
			}
		}
	}
}

func TestDefaultPriors(t *testing.T) {
	wide := func(k int, lo, hi float64) physics.Prior {
		return physics.LogNormal(math.Log(0.2*math.Pi*lo*math.Pow(hi/lo, float64(k-1)/9)), 2).OfBrightness()
	}
	for _, row := range []struct {
		group, kind, param string
		want               physics.Prior
	}{
		{"lens", "sple", "r_ein", physics.Normal(1.5, 0.5).Bounded(0.1, 5)},
		{"lens", "sple", "q", physics.Normal(0.7, 0.2).Bounded(0.2, 0.999)},
		{"lens", "multipole3", "a_cos", physics.Normal(0, 0.01)},
		{"lens", "multipole4", "a_sin", physics.Normal(0, 0.01)},
		{"source", "sersic", "center_x", physics.Normal(0, 0.3)},
		{"lens_light", "sersic", "center_x", physics.Normal(0, 0.1)},
		{"source", "sersic", "n", physics.Normal(1.5, 1).Bounded(0.3, 6)},
		{"lens_light", "core_sersic", "n", physics.Normal(3, 1.5).Bounded(0.3, 8)},
		{"lens_light", "core_sersic", "alpha", physics.Fixed(3)},
		{"source", "decoder", "z", physics.Prior{Family: physics.FamilyDecoder, A: 9, Lo: math.Inf(-1), Hi: math.Inf(1)}},
		{"source", "decoder", "x", physics.Normal(0, 0.1)},
		{"source", "decoder", "iota", physics.Normal(1, 0.5).Bounded(0, math.Inf(1)).OfBrightness()},
		{"lens_light", "decoder", "iota", physics.LogNormal(0, 1).OfBrightness()},
		{"lens_light", "mge", "amp_1", wide(1, 0.05, 4)},
		{"lens_light", "mge", "amp_10", wide(10, 0.05, 4)},
		{"lens_light", "mge", "sigma_min", physics.LogNormal(math.Log(0.05), 0.5)},
		{"lens_light", "mge", "sigma_max", physics.LogNormal(math.Log(4), 0.5)},
		{"source", "mge", "amp_10", wide(10, 0.02, 1)},
		{"source", "mge", "sigma_min", physics.LogNormal(math.Log(0.02), 0.5)},
		{"source", "mge", "sigma_max", physics.LogNormal(0, 0.5)},
	} {
		c := Component{Params: DefaultParams(row.group, row.kind)}
		for _, p := range c.Params {
			if p.Name != row.param {
				continue
			}
			got, want := p.Prior.Prior, row.want
			if math.Abs(got.A-want.A) > 1e-12 {
				t.Errorf("%s %s: %s: found %+v, expected %+v", row.group, row.kind, row.param, got, want)
			}
			if got.A = want.A; !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s: %s: found %+v, expected %+v", row.group, row.kind, row.param, got, want)
			}
			row.param = ""
		}
		if row.param != "" {
			t.Errorf("%s %s: found no parameter %s", row.group, row.kind, row.param)
		}
	}
	if got := scalarParam("sky").Prior.Prior; !reflect.DeepEqual(got, physics.Normal(0, 0.1).OfBrightness()) {
		t.Errorf("sky: found %+v", got)
	}
	if got := scalarParam("noise_scale").Prior.Prior; !reflect.DeepEqual(got, physics.LogNormal(0, 0.3)) {
		t.Errorf("noise_scale: found %+v", got)
	}
}

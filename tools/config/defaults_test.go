package config

import (
	"math"
	"reflect"
	"testing"

	"lenskit/physics"
)

// The words of the config are those of the profiles.
func TestKindsOfPriorsAreTheFamiliesOfProfiles(t *testing.T) {
	for f, k := range map[physics.Family]Kind{physics.FamilyNormal: PriorNormal, physics.FamilyLogNormal: PriorLognormal, physics.FamilyFixed: PriorFixed, physics.FamilyDecoder: PriorBundle} {
		if string(f) != string(k) {
			t.Errorf("found the family %q and the kind %q, expected one word", f, k)
		}
	}
}

func TestEveryParameterHasARoleAndADefaultPrior(t *testing.T) {
	for _, group := range []string{"lens", "source", "lens_light"} {
		for _, kind := range KindNames(group) {
			for _, p := range DefaultParams(group, kind) {
				if p.Role == "" || p.Prior.Kind == "" || p.Prior.Lo >= p.Prior.Hi {
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
	wide := func(k int, lo, hi float64) Prior {
		return Lognormal(0.2*math.Pi*lo*math.Pow(hi/lo, float64(k-1)/9), 2).OfBrightness()
	}
	for _, row := range []struct {
		group, kind, param string
		want               Prior
	}{
		{"lens", "sple", "r_ein", Normal(1.5, 0.5).Within(0.1, 5)},
		{"lens", "sple", "q", Normal(0.7, 0.2).Within(0.2, 0.999)},
		{"lens", "multipole3", "a_cos", Normal(0, 0.01)},
		{"lens", "multipole4", "a_sin", Normal(0, 0.01)},
		{"source", "sersic", "center_x", Normal(0, 0.3)},
		{"lens_light", "sersic", "center_x", Normal(0, 0.1)},
		{"source", "sersic", "n", Normal(1.5, 1).Within(0.3, 6)},
		{"lens_light", "core_sersic", "n", Normal(3, 1.5).Within(0.3, 8)},
		{"lens_light", "core_sersic", "alpha", Fixed(3)},
		{"source", "decoder", "z", Prior{Kind: PriorBundle, A: 9, Lo: math.Inf(-1), Hi: math.Inf(1)}},
		{"source", "decoder", "x", Normal(0, 0.1)},
		{"source", "decoder", "iota", Normal(1, 0.5).Within(0, math.Inf(1)).OfBrightness()},
		{"lens_light", "decoder", "iota", Lognormal(1, 1).OfBrightness()},
		{"lens_light", "mge", "amp_1", wide(1, 0.05, 4)},
		{"lens_light", "mge", "amp_10", wide(10, 0.05, 4)},
		{"lens_light", "mge", "sigma_min", Lognormal(0.05, 0.5)},
		{"lens_light", "mge", "sigma_max", Lognormal(4, 0.5)},
		{"source", "mge", "amp_10", wide(10, 0.02, 1)},
		{"source", "mge", "sigma_min", Lognormal(0.02, 0.5)},
		{"source", "mge", "sigma_max", Lognormal(1, 0.5)},
	} {
		c := Component{Params: DefaultParams(row.group, row.kind)}
		for _, p := range c.Params {
			if p.Name != row.param {
				continue
			}
			got, want := p.Prior, row.want
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
	if got := scalarParam("sky").Prior; !reflect.DeepEqual(got, Normal(0, 0.1).OfBrightness()) {
		t.Errorf("sky: found %+v", got)
	}
	if got := scalarParam("noise_scale").Prior; !reflect.DeepEqual(got, Lognormal(1, 0.3)) {
		t.Errorf("noise_scale: found %+v", got)
	}
}

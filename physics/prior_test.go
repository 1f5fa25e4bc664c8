package physics

import (
	"math"
	"reflect"
	"testing"
)

func TestEveryParameterHasADefaultPriorMeantForIt(t *testing.T) {
	everyParam(t, func(t *testing.T, kind string, light bool, p Param) {
		priors := map[string]Prior{"default": p.Default}
		if p.InSource.Family != "" {
			priors["in the source plane"] = p.InSource
			if !light || reflect.DeepEqual(p.InSource, p.Default) {
				t.Errorf("%s: %s: found the prior %+v of sources, which nothing asks for", kind, p.Name, p.InSource)
			}
		}
		for where, d := range priors {
			if d.Relative != p.Role.IsAmplitude() {
				t.Errorf("%s: %s, %s: in units of the brightness: found %v, expected %v", kind, p.Name, where, d.Relative, !d.Relative)
			}
			centre := d.A
			switch d.Family {
			case FamilyNormal, FamilyLogNormal:
				if !(d.B > 0) {
					t.Errorf("%s: %s, %s: found a standard deviation of %g, expected more than 0", kind, p.Name, where, d.B)
				}
				if d.Family == FamilyLogNormal {
					centre = math.Exp(d.A)
				}
			case FamilyFixed:
				centre = d.Values[0]
			default:
				t.Errorf("%s: %s, %s: found the family %q, expected one of the Family constants", kind, p.Name, where, d.Family)
			}
			if !(centre > p.Lo && centre < p.Hi && centre >= d.Lo && centre <= d.Hi) {
				t.Errorf("%s: %s, %s: found a centre of %g, expected one within (%g, %g) and [%g, %g]", kind, p.Name, where, centre, p.Lo, p.Hi, d.Lo, d.Hi)
			}
		}
	})
	if d := Latents("z").Default; d.Family != FamilyDecoder || d.A != 9 {
		t.Errorf("latents: found %+v, expected the decoder's prior, its covariance times 9", d)
	}
}

func TestCentreAndSupportOfPriors(t *testing.T) {
	inf := math.Inf(1)
	for _, row := range []struct {
		name           string
		prior          Prior
		centre, lo, hi float64
	}{
		{"normal", Normal(2, 1), 2, -inf, inf},
		{"normal without constructor", Prior{Family: FamilyNormal, A: 2, B: 1}, 2, -inf, inf},
		{"normal, bounded", Normal(2, 1).Bounded(0, 1.5), 2, 0, 1.5},
		{"uniform", Uniform(-1, 4), 1.5, -1, 4},
		{"uniform, bounded", Uniform(-1, 4).Bounded(0, inf), 1.5, 0, 4},
		{"lognormal", LogNormal(math.Log(3), 0.5), 3, -inf, inf},
	} {
		lo, hi := row.prior.Support()
		if c := row.prior.Centre(); math.Abs(c-row.centre) > 1e-14 || lo != row.lo || hi != row.hi {
			t.Errorf("%s: found centre %g, support [%g, %g], expected %g, [%g, %g]", row.name, c, lo, hi, row.centre, row.lo, row.hi)
		}
	}
	if p := Fixed(3); !p.IsFixed() || p.Centre() != 3 {
		t.Errorf("fixed: found %+v", p)
	}
}

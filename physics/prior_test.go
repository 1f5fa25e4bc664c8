package physics

import (
	"math"
	"testing"
)

func TestEveryParameterHasADefaultPriorMeantForIt(t *testing.T) {
	everyParam(t, func(t *testing.T, kind string, light bool, p Param) {
		priors := map[string]Prior{"default": p.Default}
		if p.InSource.Family != "" {
			priors["in the source plane"] = p.InSource
			if !light || p.InSource == p.Default {
				t.Errorf("%s: %s: found the prior %+v of sources, which nothing asks for", kind, p.Name, p.InSource)
			}
		}
		for where, d := range priors {
			if d.OfBrightness != p.Role.IsAmplitude() {
				t.Errorf("%s: %s, %s: in units of the brightness: found %v, expected %v", kind, p.Name, where, d.OfBrightness, !d.OfBrightness)
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

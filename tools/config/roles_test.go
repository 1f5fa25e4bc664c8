package config

import (
	"testing"

	"lenskit/physics"
)

// A name is that of a latent by its last number, not by a letter: components may be named z.
func TestElementsAreToldByTheirNumber(t *testing.T) {
	for name, want := range map[string]bool{
		"source.decoder.z.1": true, "source.z.z.64": true, "lens.z.theta_E": false, "source.decoder.iota": false, "sky": false, "noise.scale": false,
	} {
		if got := IsElement(name); got != want {
			t.Errorf("%s: found %v, expected %v", name, got, want)
		}
	}
}

func TestParametersByRole(t *testing.T) {
	for kind, want := range map[string]string{"sple": "lens.a.r_ein", "epl": "lens.a.theta_E", "shear": ""} {
		c := Component{Group: "lens", Name: "a", Params: DefaultParams("lens", kind)}
		if got := c.KeyOf(physics.RoleEinsteinRadius); got != want {
			t.Errorf("%s: found %q, expected %q", kind, got, want)
		}
	}
}

package config

import (
	"testing"

	"lenskit/physics"
)

// A name is that of a latent by the role of its parameter, not by a letter or a number: components may be named z.
func TestLatentsAreToldByTheirRole(t *testing.T) {
	c := &Config{Source: []Component{
		{Group: "source", Name: "z", Type: "decoder", Params: DefaultParams("source", "decoder")},
		{Group: "source", Name: "host", Type: "sersic", Params: DefaultParams("source", "sersic")},
	}, Lens: []Component{{Group: "lens", Name: "z", Type: "sie", Params: DefaultParams("lens", "sie")}}}
	for name, want := range map[string]bool{
		"source.z.z.1": true, "source.z.z.64": true, "source.z.iota": false, "lens.z.theta_E": false, "lens.z.z.1": false, "source.host.z.1": false,
		"sky": false, "noise.scale": false, "": false,
	} {
		if got := c.IsLatent(name); got != want {
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

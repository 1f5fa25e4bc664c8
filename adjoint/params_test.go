package adjoint

import (
	"slices"
	"testing"

	"lenskit/physics"
)

func TestParamsSayWhatNamesAre(t *testing.T) {
	// a component named z has no latents, whatever ".z." in a name may look like
	zero := map[string]Prior{"gamma1": physics.Normal(0, 0.1), "gamma2": physics.Fixed(0)}
	light := map[string]Prior{"amp": physics.Normal(1, 1), "sigma": physics.Fixed(1), "e1": physics.Fixed(0), "e2": physics.Fixed(0), "center_x": physics.Fixed(0), "center_y": physics.Fixed(0)}
	sky, scale := physics.Normal(0, 1), physics.LogNormal(0, 1)
	m := Model{
		Components: []Component{{Group: GroupLens, Name: "z", Kind: "shear", Priors: zero}, {Group: GroupSource, Name: "blob", Kind: "gaussian", Priors: light}},
		Sky:        &sky, NoiseScale: &scale,
	}
	p := open(t, m, Observation{W: 4, H: 4, PixelScale: 0.1, Data: make([]float64, 16), Sigma: []float64{1}}, Options{Threads: 1})
	type row struct {
		Name, Group, Component, Kind string
		Role                         physics.Role
	}
	var got []row
	for k, q := range p.Params() {
		if q.Name != p.Names()[k] {
			t.Errorf("parameter %d: found %q, expected %q", k, q.Name, p.Names()[k])
		}
		got = append(got, row{q.Name, q.Group, q.Component, q.Kind, q.Role})
	}
	want := []row{
		{"lens.z.gamma1", "lens", "z", "shear", physics.RoleShear1},
		{"lens.z.gamma2", "lens", "z", "shear", physics.RoleShear2},
		{"source.blob.amp", "source", "blob", "gaussian", physics.RoleAmplitude},
		{"source.blob.sigma", "source", "blob", "gaussian", physics.RoleSize},
		{"source.blob.e1", "source", "blob", "gaussian", physics.RoleEllipticity1},
		{"source.blob.e2", "source", "blob", "gaussian", physics.RoleEllipticity2},
		{"source.blob.center_x", "source", "blob", "gaussian", physics.RoleCentreX},
		{"source.blob.center_y", "source", "blob", "gaussian", physics.RoleCentreY},
		{"sky", "", "", "", physics.RoleSky},
		{"noise.scale", "", "", "", physics.RoleNoiseScale},
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%v\nexpected\n%v", got, want)
	}
}

func TestLatentsOfADecoderAreLatents(t *testing.T) {
	needRuntime(t)
	b := Component{Group: GroupSource, Name: "galaxy", Kind: KindDecoder, Decoder: &DecoderSpec{Graph: smallDecoder(t)},
		Priors: map[string]Prior{"z": physics.Multivariate(nil, nil, 1), "iota": physics.Normal(1, 1), "s": physics.Fixed(1), "x": physics.Fixed(0), "y": physics.Fixed(0)}}
	p := open(t, Model{Components: []Component{b}}, Observation{W: 4, H: 4, PixelScale: 0.1, Data: make([]float64, 16), Sigma: []float64{1}}, Options{Threads: 1})
	n := len(p.Names()) - 4
	for k, q := range p.Params() {
		want := physics.RoleLatent
		if k >= n {
			want = []physics.Role{physics.RoleAmplitude, physics.RoleSize, physics.RoleCentreX, physics.RoleCentreY}[k-n]
		}
		if q.Name != p.Names()[k] || q.Role != want || q.Kind != KindDecoder {
			t.Errorf("%s: found name %q, role %q of a %q, expected role %q of a decoder", p.Names()[k], q.Name, q.Role, q.Kind, want)
		}
	}
}

package config

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"lenskit/physics"
)

func names(c *Component) string {
	var out []string
	for _, p := range c.Params {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

// What a source of pixels states is read, decides its parameters, and reads back from what is written.
func TestPixelsAreReadAndWritten(t *testing.T) {
	const two = "sigma_1 length_1 sigma_2 length_2"
	const round = " envelope_x_1 envelope_y_1 envelope_radius_1 envelope_fall_1"
	for _, row := range []struct {
		keys, names string
		want        Pixels
		model, how  string
	}{
		{"", two + round, Pixels{Smoothness: 1, Components: 1}, "", ""},
		{", smoothness: 2, envelope: 0", two, Pixels{Smoothness: 2}, "", ""},
		{", envelope: 2, grids: [{x: 0.1, half_width: 1.2, nodes: 24}]", "sigma_1 length_1" + round + " envelope_x_2 envelope_y_2 envelope_radius_2 envelope_fall_2 envelope_weight_2",
			Pixels{Grids: []physics.SplineGrid{{X: 0.1, Half: 1.2, N: 24}}, Smoothness: 1, Components: 2}, "", ""},
		{", envelope: {image: e.fits}", two + " envelope_s envelope_x envelope_y", Pixels{Smoothness: 1, Image: "e.fits"}, "", "bicubic"},
		{", envelope: {model: shipped, interpolation: bilinear}", "z " + two + " envelope_s envelope_x envelope_y", Pixels{Smoothness: 1, Decoder: true}, "", "bilinear"},
		{", envelope: {model: m.onnx}", "z " + two + " envelope_s envelope_x envelope_y", Pixels{Smoothness: 1, Decoder: true}, "m.onnx", "bicubic"},
	} {
		c, err := Parse("c.yaml", []byte("source: [{type: pixels"+row.keys+"}]"))
		if err != nil {
			t.Errorf("%s: %v", row.keys, err)
			continue
		}
		s := &c.Source[0]
		if !reflect.DeepEqual(s.Pixels, row.want) || names(s) != row.names || s.Model != row.model || s.Interpolation != row.how {
			t.Errorf("%s: got %+v, model %q, %q, with %s", row.keys, s.Pixels, s.Model, s.Interpolation, names(s))
		}
		again, err := Parse("c.yaml", []byte(c.Text(".")))
		if err != nil {
			t.Fatalf("%s: %v\n%s", row.keys, err, c.Text("."))
		}
		if r := &again.Source[0]; again.Text(".") != c.Text(".") || !reflect.DeepEqual(r.Pixels, s.Pixels) || names(r) != names(s) {
			t.Errorf("%s: found\n%s\nin what was written, expected\n%s", row.keys, again.Text("."), c.Text("."))
		}
	}
}

func TestPixelsAreRefusedWithTheirPlace(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"source: [{type: pixels, grids: []}]", "c.yaml:1:32: source[0].grids: found 0 grids, expected 1 to 4"},
		{"source: [{type: pixels, grids: [{half_width: 1}]}]", "source[0].grids[0]: found a mapping, expected x, y, half_width and nodes"},
		{"source: [{type: pixels, grids: [{half_width: 1, nodes: 129}]}]", "nodes: found \"129\", expected a whole number from 2 to 128"},
		{"source: [{type: pixels, grids: [{half_width: -1, nodes: 20}]}]", "half_width: found -1, expected arcsec above 0"},
		{"source: [{type: pixels, smoothness: 3}]", "smoothness: found \"3\", expected a whole number from 1 to 2"},
		{"source: [{type: pixels, envelope: -1}]", "envelope: found \"-1\", expected 0 to 3, a number of round components, or a mapping of model or image"},
		{"source: [{type: pixels, envelope: {}}]", "envelope: found a mapping, expected one of model and image"},
		{"source: [{type: pixels, envelope: {model: shipped, image: a.fits}}]", "expected one of model and image"},
		{"source: [{type: pixels, model: a.onnx}]", `unknown key "model"`},
		{"source: [{type: pixels, priors: {length_3: {fixed: 1}}}]", `unknown key "length_3"`},
		{"lens_light: [{type: pixels}]", `unknown lens_light type "pixels"`},
		{"source: [{type: sersic, grids: []}]", `unknown key "grids"`},
		{"lens: [{type: sie, amplitudes: gaussian}]", `unknown key "amplitudes"`},
		{"source: [{type: pixels}, {type: decoder, amplitudes: gaussian}]", `unknown key "amplitudes"`},
		{"lens_light: [{type: sersic, amplitudes: gaussian}]", "lens_light.sersic.amplitudes: found gaussian in a model without a source of type pixels, expected free"},
		{"source: [{type: pixels}]\nlens_light: [{type: sersic, amplitudes: some}]", `amplitudes: found "some", expected free, nonnegative or gaussian`},
		{"source: [{type: pixels}]\nlens_light: [{type: sersic, amplitudes: nonnegative, priors: {amp: {normal: [1, 1]}}}]", "c.yaml:2:63: lens_light.sersic.amp: found a prior or a negative value, expected a truth from 0 or nothing"},
		{"source: [{type: pixels}]\nlens_light: [{type: sersic, amplitudes: nonnegative, priors: {amp: {truth: -1}}}]", "found a prior or a negative value"},
		{"source: [{type: pixels}]\nlens_light: [{type: sersic, amplitudes: gaussian, priors: {amp: {lognormal: [1, 1]}}}]", "found another prior, expected {normal: [mean, standard deviation]} without bounds"},
		{"source: [{type: pixels}]\nlikelihood: student_t", "likelihood: found student_t beside a source of type pixels, expected gaussian"},
	} {
		if _, err := Parse("c.yaml", []byte(row.text)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.text, err, row.want)
		}
	}
}

// Amplitudes that are solved for or integrated over have other default priors, that read back.
func TestPriorsOfAmplitudesGoWithWhatIsDoneWithThem(t *testing.T) {
	text := "source: [{type: pixels}]\nlens_light: [{type: gaussian, amplitudes: %, priors: {sigma: {fixed: 1}}}]"
	for how, want := range map[string]physics.Prior{"nonnegative": {A: 1, Lo: math.Inf(-1), Hi: math.Inf(1)}, "gaussian": {Family: physics.FamilyNormal, Lo: math.Inf(-1), Hi: math.Inf(1), Relative: true}} {
		c, err := Parse("c.yaml", []byte(strings.Replace(text, "%", how, 1)))
		if err != nil {
			t.Fatal(err)
		}
		amp, plain := c.LensLight[0].Params[0].Prior.Prior, DefaultParams("lens_light", "gaussian")[0].Prior.Prior
		if how == "gaussian" { // a standard deviation above the median
			if want.B = plain.A + plain.B; plain.Family == physics.FamilyLogNormal {
				want.B = math.Exp(want.B)
			}
		}
		if !reflect.DeepEqual(amp, want) {
			t.Errorf("%s: found %+v, expected %+v", how, amp, want)
		}
		c.LensLight[0].Params[0].Prior.Relative = false // as the image makes it
		again, err := Parse("c.yaml", []byte(c.Text(".")))
		if err != nil {
			t.Fatalf("%v\n%s", err, c.Text("."))
		}
		if !reflect.DeepEqual(again.LensLight, c.LensLight) {
			t.Errorf("%s: found %+v in what was written, expected %+v", how, again.LensLight, c.LensLight)
		}
	}
}

// Default priors of lengths go with the grids, stated ones and bounds stay.
func TestLayingOutGridsMovesDefaultPriors(t *testing.T) {
	c, err := Parse("c.yaml", []byte("source: [{type: pixels, priors: {length_1: {lognormal: [0, 1]}, length_2: {bounds: [0.01, 3], truth: 0.2}}}]"))
	if err != nil {
		t.Fatal(err)
	}
	s := &c.Source[0]
	s.LayOut([]physics.SplineGrid{{Half: 1, N: 20}, {Half: 0.4, N: 20}})
	for i, want := range []physics.Prior{physics.LogNormal(0, 1), physics.LogNormal(math.Log(0.16), 0.7).Bounded(0.01, 3)} {
		p := s.Params[2*i+1]
		got := p.Prior.Prior
		if math.Abs(got.A-want.A) > 1e-12 {
			t.Errorf("%s: found %+v, expected %+v", p.Name, got, want)
		}
		if got.A = want.A; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: found %+v, expected %+v", p.Name, got, want)
		}
	}
	if truth := s.Params[3].Prior.Truth; len(truth) != 1 || truth[0] != 0.2 {
		t.Errorf("truth: found %v", truth)
	}
}

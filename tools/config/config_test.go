package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
)

func TestConfigIsReadWithDefaultsFilledIn(t *testing.T) {
	c, err := Parse("dir/c.yaml", []byte(termtest.GoodConfig))
	if err != nil {
		t.Fatal(err)
	}
	if c.Data.Noise.Sigma.Value != 0.0333 || c.Data.PSFSigma != 0.05 || c.Data.Mask.Kind != "annulus" || c.Data.Mask.Center != [2]float64{0.1, -0.2} || c.Data.Supersampling != 1 {
		t.Errorf("got data %+v", c.Data)
	}
	if c.Path("mock.fits") != filepath.Join("dir", "mock.fits") {
		t.Errorf("got %s", c.Path("mock.fits"))
	}
	sple := c.Lens[0]
	if p := sple.Params[0].Prior; p.Family != physics.FamilyNormal || p.A != 1.5 || p.Lo != 0.1 || p.Hi != 5 {
		t.Errorf("r_ein: got %+v", p)
	}
	if p := sple.Params[1].Prior; p.Family != physics.FamilyNormal || p.A != 0.7 || p.Lo != 0.2 || p.Truth[0] != 0.8 {
		t.Errorf("q: got %+v", p)
	}
	if p := sple.Params[3].Prior; !p.IsFixed() || p.Values[0] != 2 {
		t.Errorf("gamma: got %+v", p)
	}
	z := c.Source[0].Params[0]
	if !z.Vector || z.Prior.Family != physics.FamilyDecoder || z.Prior.A != 4 || !reflect.DeepEqual(z.Prior.Truth, []float64{0.5, -1e-3}) {
		t.Errorf("z: got %+v", z)
	}
	if c.Source[1].Name != "disc" || c.Source[1].Key("n") != "source.disc.n" || c.Sky.Family != physics.FamilyUniform {
		t.Errorf("got %+v", c.Source[1])
	}
}

func TestConfigsOfOtherSystemsAreRead(t *testing.T) {
	want, err := Parse("c.yaml", []byte(termtest.GoodConfig))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("c.yaml", []byte("\ufeff"+strings.ReplaceAll(termtest.GoodConfig, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	got.Where, want.Where = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("with a byte order mark and CR LF: got\n%+v, want\n%+v", got, want)
	}
}

func TestBadConfigsAreRefusedWithTheirPlace(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"", "c.yaml: is empty"},
		{"# nothing\n", "c.yaml: is empty"},
		{"data: [1, 2", "c.yaml:1:7: "},
		{"lens:\n  - type: sple\n  type: x\n", "c.yaml:"},
		{"len: []", `c.yaml:1:1: unknown key "len": did you mean "lens"?`},
		{"data: {imag: a.fits}", `c.yaml:1:8: unknown key "imag": did you mean "image"?`},
		{"lens:\n  - type: spel\n", `c.yaml:2:11: lens[0].type: unknown lens type "spel": did you mean "sple"?`},
		{"lens:\n  - type: sple\n    priors:\n      gama: {normal: [2, 0.2]}\n", `c.yaml:4:7: unknown key "gama": did you mean "gamma"?`},
		{"lens:\n  - type: sple\n    model: x\n", `c.yaml:3:5: unknown key "model"`},
		{"lens:\n  - priors: {}\n", "c.yaml:2:5: lens[0]: has no type"},
		{"lens: {type: sple}", "c.yaml:1:7: lens: found a mapping, expected a list"},
		{"lens: [{type: sple}, {type: sple}]", `c.yaml:1:22: lens[1]: a lens named "sple" stands already above`},
		{"lens: [{type: sple, priors: {q: 0.7}}]", `found "0.7", expected a prior such as {normal: [0, 1]} or {fixed: 0}`},
		{"lens: [{type: sple, priors: {q: {normal: [0.7, 0]}}}]", "c.yaml:1:42: lens[0].priors.q.normal: found width 0, expected a standard deviation above 0"},
		{"lens: [{type: sple, priors: {q: {normal: [0.7]}}}]", "found 1 numbers, expected 2"},
		{"lens: [{type: sple, priors: {q: {normal: [0.7, x]}}}]", `found "x", expected a number`},
		{"lens: [{type: sple, priors: {q: {normal: [0.7, .nan]}}}]", `expected a number`},
		{"lens: [{type: sple, priors: {q: {normal: [0.7, .inf]}}}]", `expected a finite number`},
		{"lens: [{type: sple, priors: {q: {normal: [0.7, 0.1], bounds: [0.2, 1.3]}}}]", "lens[0].priors.q.bounds: found [0.2, 1.3], outside the range (0, 1] of q"},
		{"lens: [{type: sple, priors: {q: {normal: [0.7, 0.1], bounds: [-0.1, 1]}}}]", "outside the range (0, 1] of q"},
		{"lens: [{type: sple, priors: {q: {uniform: [0, 1.1]}}}]", "outside the range (0, 1] of q"},
		{"lens: [{type: sple, priors: {q: {normal: [0.7, 0.1], bounds: [0.9, 0.2]}}}]", "found [0.9, 0.2], expected the lower bound first"},
		{"lens: [{type: sple, priors: {q: {normal: [0.7, 0.1], bounds: [0.8, 0.9]}}}]", "the centre 0.7 of the prior is outside the range [0.8, 0.9]"},
		{"lens: [{type: sple, priors: {q: {normal: [0.7, 0.1], uniform: [0.1, 0.9]}}}]", "stands beside normal, expected one prior"},
		{"lens: [{type: sple, priors: {q: {fixed: 1.2}}}]", "fixed 1.2 is outside the range (0, 1]"},
		{"lens: [{type: sple, priors: {r_ein: {fixed: 0}}}]", "fixed 0 is outside the range (0, +Inf)"},
		{"lens: [{type: sple, priors: {q: {uniform: [0.5, 0.5]}}}]", "expected the lower end first and a width above 0"},
		{"lens: [{type: sple, priors: {q: {truth: 2}}}]", "truth 2 is outside the range"},
		{"lens: [{type: sple, priors: {q: {bundle: {}}}}]", `unknown key "bundle"`},
		{"lens: [{type: sple, name: a.b}]", `found "a.b", expected a letter`},
		{"lens: [{type: shear}]\ndata: {noise: 0}", "c.yaml:2:15: data.noise: found 0, expected a standard deviation above 0 or a FITS path"},
		{"lens: [{type: shear}]\ndata: {noise: -0.1}", "data.noise: found -0.1"},
		{"lens: [{type: shear}]\ndata: {pixel_scale: 0}", "data.pixel_scale: found 0, expected arcsec per pixel above 0"},
		{"lens: [{type: shear}]\ndata: {psf: {gauss: 1}}", `unknown key "gauss"`},
		{"lens: [{type: shear}]\ndata: {psf: {gaussian: -1}}", "data.psf.gaussian: found -1"},
		{"lens: [{type: shear}]\ndata: {mask: {annulus: [3, 1]}}", "expected an inner and a larger outer radius"},
		{"lens: [{type: shear}]\ndata: {mask: {circle: 1, file: m.fits}}", "data.mask.file: stands beside circle"},
		{"lens: [{type: shear}]\ndata: {supersampling: 1.5}", "expected a whole number from 1 to 32"},
		{"source: [{type: decoder, interpolation: cubic}]", `found "cubic", expected bilinear or bicubic`},
		{"source: [{type: decoder, priors: {z: {bundle: {scale: 0}}}}]", "expected a factor of the covariance above 0"},
		{"data: {pixel_scale: 1}", "found no lens, source or lens_light"},
		{"lens: [*a]", "c.yaml:"},
		{"lens: &a [{type: shear}]", "c.yaml:"},
		{"lens: [{type: shear}]\nlens: [{type: shear}]", "c.yaml:2:1: "},
		{"\x00", "is not a text file"},
		{"lens:\n" + strings.Repeat("[", 2e5), "c.yaml:2: found more than 100 lists and mappings in each other"},
		{"lens: " + strings.Repeat("{a: ", 5e4), "c.yaml:1: found more than 100 lists and mappings in each other"},
		{"a: &a [x, x]\nb: &b [*a, *a]\nlens: *b", `c.yaml:1:1: unknown key "a"`},
		{"lens: [{type: sis, priors: {theta_E: &p {fixed: 1}}}, {type: sis, name: b, priors: {theta_E: *p}}]", "found an anchor or alias, expected a prior"},
		{"interpolation: bicubic\nlens: [{type: shear}]", `c.yaml:1:1: unknown key "interpolation"`},
		{"lens: [{type: sple, priors: {gamma: {normal: [3.5, 0.2]}}}]", "the centre 3.5 of the prior is outside the range (1, 3)"},
		{"lens: [{type: sple, priors: {gamma: {uniform: [0.5, 2.5]}}}]", "found [0.5, 2.5], outside the range (1, 3) of gamma"},
		{"lens: [{type: sple, priors: {gamma: {fixed: 3}}}]", "fixed 3 is outside the range (1, 3)"},
		{"lens: [{type: sple, priors: {gamma: {normal: 2}}}]", `c.yaml:1:46: lens[0].priors.gamma.normal: found "2", expected a list`},
		{"lens: [{type: sple, priors: {gamma: {lognormal: [0.7, -1]}}}]", "found width -1, expected a standard deviation above 0"},
		{"lens: [{type: shear}]\n---\nlens: []", "found a second document"},
	} {
		_, err := Parse("c.yaml", []byte(row.text))
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") || term.ExitCode(err) != term.ExitBadInput {
			t.Errorf("config %.200q:\n  got  %v (exit %d)\n  want one line with %q, exit 2", row.text, err, term.ExitCode(err), row.want)
		}
	}
}

func TestExamplesAreRead(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(check.Root(), "examples", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d examples (%v)", len(files), err)
	}
	for _, f := range files {
		if _, err := Load(f); err != nil {
			t.Error(err)
		}
	}
}

package observation

import (
	"math"
	"path/filepath"
	"reflect"
	"testing"

	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
)

func TestConfigWrittenReadsBackTheSame(t *testing.T) {
	c, err := config.Parse("dir/c.yaml", []byte(termtest.GoodConfig))
	if err != nil {
		t.Fatal(err)
	}
	ScalePriors(c, 2)
	text := c.Text("dir")
	d, err := config.Parse("dir/c.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	c.Where, d.Where = nil, nil
	if !reflect.DeepEqual(c, d) {
		t.Errorf("got\n%+v, want\n%+v, from\n%s", d, c, text)
	}
	moved, err := config.Parse("out/config.yaml", []byte(c.Text("out")))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := filepath.Clean(moved.Path(moved.Data.Image)), filepath.Join("dir", "mock.fits"); got != want {
		t.Errorf("image: got %s, want %s", got, want)
	}
}

func TestEveryKindHasUsableDefaults(t *testing.T) {
	for _, group := range []string{"lens", "source", "lens_light"} {
		for _, kind := range config.KindNames(group) {
			c, err := config.Parse("c.yaml", []byte(group+": [{type: "+kind+"}]"))
			if err != nil {
				t.Fatal(err)
			}
			comp := c.Components()[0]
			if len(comp.Params) == 0 {
				t.Errorf("%s %s has no parameters", group, kind)
			}
			ScalePriors(c, 300)
			if _, err := config.Parse("c.yaml", []byte(c.Text("."))); err != nil {
				t.Errorf("%s %s: its own defaults are refused: %v", group, kind, err)
			}
		}
	}
}

func TestDefaultFluxesFollowTheImage(t *testing.T) {
	c, err := config.Parse("c.yaml", []byte("source: [{type: decoder}, {type: sersic}]"))
	if err != nil {
		t.Fatal(err)
	}
	ScalePriors(c, 100)
	ScalePriors(c, 100) // a second time changes nothing
	iota, amp := c.Source[0].Params[1].Prior, c.Source[1].Params[0].Prior
	if iota.A != 100 || iota.B != 50 || math.Abs(math.Exp(amp.A)-50) > 1e-12 || amp.B != 1.5 {
		t.Errorf("got iota %+v, amp %+v", iota, amp)
	}
	for v, want := range map[float64]float64{0.0123456: 0.012, 987: 990, 1: 1, 31.4: 31, 0.3: 0.3, 1e-7: 1e-7} {
		if got := twoDigits(v); got != want {
			t.Errorf("twoDigits(%g): got %g, want %g", v, got, want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("lens: [{type: sis, redshift: 0.5}, {type: nfw, redshift: 0.9}]\nsource: [{type: sersic, redshift: 2}]\ncosmology: {H0: 67, Omega_m: 0.3, Omega_lambda: 0.6}"))
	f.Add([]byte(termtest.GoodConfig))
	f.Add([]byte("data: {noise: {exposure: 500, background: b.fits, gain: 2}, mask: [{any: [{circle: 2}, {not: {box: [1, 2], center: [1, 1]}}]}, {neighbours: {beyond: 2}}],\n  psf: {gaussian: 0.1, supersampling: 2}}\nnoise_scale: {lognormal: [0, 0.3]}\nlikelihood: {student_t: {nu: 4}}\nlens: [{type: sis}]"))
	f.Add([]byte("lens: [{type: sple, priors: {q: {normal: [0.7, .inf]}}}]"))
	f.Add([]byte("source: [{type: pixels, grids: [{x: 1, half_width: 2, nodes: 128}], smoothness: 2, envelope: {model: shipped}}, {type: pixels, name: b, envelope: {image: e.fits}}]\nlens_light: [{type: mge, amplitudes: gaussian}, {type: sersic, amplitudes: nonnegative, priors: {amp: {truth: 1}}}]"))
	f.Add([]byte("? a\n: b\n"))
	f.Add([]byte("lens:\n  - type: !!str sple\n    <<: *x\n"))
	f.Add([]byte("lens: &a [{type: shear}, *a]"))
	f.Add([]byte("a: b, \"\n[ # ]\n[ # ]\n- - ? - x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		before := termtest.Allocated()
		c, err := config.Parse("c.yaml", text)
		if more := termtest.Allocated() - before; more > 400<<20 {
			t.Errorf("%d MB reserved for a config of %d bytes", more>>20, len(text))
		}
		if err != nil {
			if term.ExitCode(err) != term.ExitBadInput {
				t.Fatalf("exit %d: %v", term.ExitCode(err), err)
			}
			return
		}
		ScalePriors(c, 1)
		if _, err := config.Parse("c.yaml", []byte(c.Text("."))); err != nil {
			t.Fatalf("what was written is refused: %v\n%s", err, c.Text("."))
		}
	})
}

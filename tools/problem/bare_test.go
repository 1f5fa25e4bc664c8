package problem

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/tools/internal/fits"
	"lenskit/tools/observation"
)

// What is taken from the extensions of a bare image is said in a line each, and is in the config that is written.
func TestWhatABareImageBringsAlongIsSaid(t *testing.T) {
	plane := func(name string, side int) fits.Out {
		pix := make([]float64, side*side)
		for i := range pix {
			pix[i] = 1
		}
		return fits.Out{Name: name, Bitpix: -64, Axes: []int{side, side}, Pix: pix}
	}
	path := filepath.Join(t.TempDir(), "a.fits")
	if err := fits.Write(path, plane("", 40), plane("PSF", 5), plane("NOISE", 40)); err != nil {
		t.Fatal(err)
	}
	const noise, psf = "a.fits[NOISE] (HDU 2) is taken as the noise: --noise names another", "a.fits[PSF] (HDU 1) is taken as the PSF: --psf names another, or none"
	for _, c := range []struct {
		name string
		bare BareOptions
		want []string // notices
		text []string // in the config
	}{
		{"both", BareOptions{}, []string{psf, noise}, []string{"a.fits[NOISE]", "psf: {file: ", "a.fits[PSF]"}},
		{"noise given", BareOptions{Noise: "0.1"}, []string{psf}, []string{"a.fits[PSF]"}},
		{"PSF given", BareOptions{PSF: "0.1"}, []string{noise}, []string{"a.fits[NOISE]", "gaussian: 0.1"}},
		{"no PSF", BareOptions{PSF: "none"}, []string{noise}, []string{"a.fits[NOISE]"}},
		{"both given", BareOptions{Noise: "0.1", PSF: "none"}, nil, []string{"0.1"}},
	} {
		c.bare.Image, c.bare.PixelScale = path+"[0]", 0.1
		cfg, err := Bare(c.bare)
		if err != nil {
			t.Fatal(c.name, err)
		}
		o, err := observation.Read(cfg)
		if err != nil {
			t.Fatal(c.name, err)
		}
		var got []string
		for _, n := range o.Notices {
			if strings.Contains(n, "is taken") {
				got = append(got, strings.TrimPrefix(n, filepath.Dir(path)+"/"))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got notices %q, want %q", c.name, got, c.want)
		}
		text := cfg.Text(filepath.Dir(path))
		for _, want := range c.text {
			if !strings.Contains(text, want) {
				t.Errorf("%s: found no %s in\n%s", c.name, want, text)
			}
		}
	}
}

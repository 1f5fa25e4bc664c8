package problem

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
)

// observed is the observation of a config's data section beside some FITS files.
func observed(t *testing.T, data string, files map[string]fits.Out) (*observation.Observation, error) {
	t.Helper()
	dir := t.TempDir()
	for name, f := range files {
		if err := fits.Write(filepath.Join(dir, name), f); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte("data: {"+data+"}\nlens: [{type: sis}]\nsource: [{type: sersic}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return observation.Read(c)
}

func flatImage(w, h int, value float64, cards ...fits.Key) fits.Out {
	return fits.Out{Bitpix: -64, Axes: []int{w, h}, Pix: slices.Repeat([]float64{value}, w*h), Cards: cards}
}

func TestObservationsBeyondReasonAreNamed(t *testing.T) {
	scale := func(v float64) []fits.Key {
		return []fits.Key{{Name: "CDELT1", Value: v, Comment: ""}, {Name: "CDELT2", Value: v, Comment: ""}}
	}
	huge := flatImage(20, 20, 1)
	huge.Pix[3*20+7] = 1e300
	for _, c := range []struct {
		data  string
		image fits.Out
		want  string // of the error; "notice: " of a notice; "" for neither
	}{
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, scale(0.05)...), "the image's header says 180 arcsec per pixel (CDELT1 and CDELT2, in degrees where no CUNIT tells): expected 1e-05 to 60"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, scale(1)...), "says 3600 arcsec per pixel"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, scale(1e-12)...), "says 3.6e-09 arcsec per pixel"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1), "is missing, and the image's header tells none"},
		{"image: a.fits, noise: 1, pixel_scale: 1e-9", flatImage(20, 20, 1), "data.pixel_scale: found 1e-09 arcsec per pixel, expected 1e-05 to 60"},
		{"image: a.fits, noise: 1, pixel_scale: 180", flatImage(20, 20, 1), "data.pixel_scale: found 180 arcsec per pixel"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1", flatImage(20, 20, 1, scale(1)...), "notice: the config says 0.1 arcsec per pixel, the image's header 3600: 0.1 is used"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1", flatImage(20, 20, 1), ""},
		{"image: a.fits, noise: 1, pixel_scale: 0.1", flatImage(2049, 2048, 1), "a.fits is 2049 x 2048 pixels, expected at most 4194304 in all"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1", huge, "pixel (7, 3), counted from 0, is 1e+300"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1, mask: {box: [1, 1], center: [0, 0.5]}", huge, ""},
		{"image: a.fits, noise: 1e-200, pixel_scale: 0.1", flatImage(20, 20, 1), "pixel (0, 0), counted from 0, is 1 with a noise of 1e-200"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, fits.Key{Name: "CTYPE1", Value: "RA---TPV", Comment: ""}, fits.Key{Name: "CTYPE2", Value: "DEC--TPV", Comment: ""}, fits.Key{Name: "CD1_1", Value: -1e-4, Comment: ""}, fits.Key{Name: "CD2_2", Value: 1e-4, Comment: ""}, fits.Key{Name: "PV1_1", Value: 1.05, Comment: ""}),
			"its pixels are not square"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, fits.Key{Name: "CTYPE1", Value: "RA---TPV", Comment: ""}, fits.Key{Name: "CTYPE2", Value: "DEC--TPV", Comment: ""}, fits.Key{Name: "CD1_1", Value: -1e-4, Comment: ""}, fits.Key{Name: "CD2_2", Value: 1e-4, Comment: ""}, fits.Key{Name: "PV1_1", Value: 1.05, Comment: ""}, fits.Key{Name: "PV2_1", Value: 1.05, Comment: ""}),
			"notice: says 0.378 arcsec per pixel at the image's centre, and 0.36 by its linear terms"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1, psf: {file: a.fits}", flatImage(21, 21, 1, scale(0.05/3600)...), "notice: the PSF's header says 0.05 arcsec per pixel: 0.1 is used (supersampling: 2 would take the header's)"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1, psf: {file: a.fits, supersampling: 2}", flatImage(21, 21, 1, scale(0.05/3600)...), "notice: the image's header 0.05"},
	} {
		o, err := observed(t, c.data, map[string]fits.Out{"a.fits": c.image})
		notice, isNotice := strings.CutPrefix(c.want, "notice: ")
		switch {
		case !isNotice && c.want != "":
			if err == nil || term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %q", c.data, err, c.want)
			}
		case err != nil:
			t.Errorf("%s: %v", c.data, err)
		case !strings.Contains(strings.Join(o.Notices, "; "), notice) || !isNotice && len(o.Notices) > 0:
			t.Errorf("%s: got notices %q, want %q", c.data, o.Notices, notice)
		case strings.Contains(c.data, "supersampling") && strings.Contains(strings.Join(o.Notices, ";"), "PSF's header"):
			t.Errorf("%s: got notices %q", c.data, o.Notices)
		}
	}
	small, err := observed(t, "image: a.fits, noise: 1, pixel_scale: 0.1", map[string]fits.Out{"a.fits": flatImage(7, 20, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := small.Fittable(&config.Config{Data: config.DataConfig{Image: "a.fits"}}); err == nil || !strings.Contains(err.Error(), "a.fits is 7 x 20 pixels, expected sides of at least 8 for a fit") {
		t.Errorf("got %v", err)
	}
	// a mask is not spoken of where none was given
	_, err = bareObserved(t, flatImage(30, 30, 1), BareOptions{Noise: "1", PSF: "none", PixelScale: 59})
	if err == nil || strings.Contains(err.Error(), "mask") || !strings.Contains(err.Error(), "none of 30 x 30 pixels, which are 1770 x 1770 arcsec, lies between 0.2 and 3.5 arcsec from the centre") {
		t.Errorf("got %v", err)
	}
}

func bareObserved(t *testing.T, image fits.Out, b BareOptions) (*observation.Observation, error) {
	t.Helper()
	b.Image = filepath.Join(t.TempDir(), "a.fits")
	if err := fits.Write(b.Image, image); err != nil {
		t.Fatal(err)
	}
	c, err := Bare(b)
	if err != nil {
		return nil, err
	}
	return observation.Read(c)
}

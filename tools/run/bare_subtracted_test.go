package run

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/problem"
	"lenskit/tools/search"
)

// subtractedModel is a lens without light, 0.17 arcsec off the image's centre.
const subtractedModel = `
data: {size: 64, pixel_scale: 0.08, noise: 0.02, psf: {gaussian: 0.08}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2}, e1: {truth: 0.08}, e2: {truth: -0.05}, center_x: {truth: 0.15}, center_y: {truth: -0.08}}}
source:
  - {type: sersic, priors: {amp: {truth: 0.6}, r_sersic: {truth: 0.2}, n: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: 0.1}, center_x: {truth: 0.2}, center_y: {truth: -0.1}}}
`

// TestAnImageWithoutLensLightIsFittedAsSuch: with the lens's light subtracted and the lens off the image's centre, the radius
// and the centre are those of the mock.
func TestAnImageWithoutLensLightIsFittedAsSuch(t *testing.T) {
	if testing.Short() {
		t.Skip("fits with the shipped decoder")
	}
	dir := t.TempDir()
	testkit.TestMock(t, dir, subtractedModel)
	image := filepath.Join(dir, "mock.fits")
	fit := Options{Input: image, Output: filepath.Join(dir, "fit"), Search: search.Options{Seed: 1},
		Bare: problem.BareOptions{Image: image, Noise: "0.02", PSF: "0.08", PixelScale: 0.08, Subtracted: true}}
	cfg, err := fit.Config()
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.LensLight) != 0 {
		t.Errorf("found %d lens lights", len(cfg.LensLight))
	}
	err = Fit(context.Background(), fit, io.Discard, term.NewProgress(io.Discard, true))
	t.Log(err)
	rec, err := ReadRecord(fit.Output)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for i, n := range rec.Parameters.Names {
		got[n] = rec.Parameters.Values[i]
		if strings.HasPrefix(n, "lens_light.") {
			t.Errorf("found %s", n)
		}
	}
	check.Close(t, "Einstein radius", got["lens.epl.theta_E"], 1.2, 0.03, 0)
	check.Close(t, "centre x", got["lens.epl.center_x"], 0.15, 0.05, 1)
	check.Close(t, "centre y", got["lens.epl.center_y"], -0.08, 0.05, 1)
}

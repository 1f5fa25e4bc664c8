package run

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/search"
)

// fitGalaxy fits a power law, a simple source and the light of a galaxy to the image of a galaxy with what else shines.
func fitGalaxy(t *testing.T, shines func(x, y float64) float64) *Record {
	t.Helper()
	galaxy, o := testkit.GalaxyWithArc(t)
	rng := rand.New(rand.NewPCG(9, 10))
	for k, v := range galaxy {
		x, y := o.Place(k%o.W, k/o.W)
		o.Data[k] = v + shines(x, y) + 0.01*rng.NormFloat64()
	}
	dir := t.TempDir()
	if err := fits.Write(filepath.Join(dir, "a.fits"), fits.Out{Bitpix: -64, Axes: []int{o.W, o.H}, Pix: o.Data}); err != nil {
		t.Fatal(err)
	}
	config := `data: {image: a.fits, noise: {sigma: 0.01, fraction: 0.01}, pixel_scale: 0.08, mask: {annulus: [0.2, 3.2]}}
lens: [{type: sie}]
source: [{type: sersic, priors: {n: {fixed: 1}}}]
lens_light: [{type: sersic}]
`
	if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	opt := Options{Input: filepath.Join(dir, "c.yaml"), Output: filepath.Join(dir, "fit"), Search: search.Options{Seed: 1}}
	if err := Fit(context.Background(), opt, io.Discard, term.NewProgress(io.Discard, true)); err != nil && term.ExitCode(err) != term.ExitNotConverged {
		t.Fatal(err)
	}
	rec, err := ReadRecord(opt.Output)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// einsteinOf is the parameter lens.sie.theta_E of a fit.
func einsteinOf(rec *Record) float64 {
	return rec.Parameters.Values[slices.Index(rec.Parameters.Names, "lens.sie.theta_E")]
}

func TestLensThatShinesIsFound(t *testing.T) {
	lens := testkit.Isothermal(t)
	rec := fitGalaxy(t, func(x, y float64) float64 {
		u, v := lens.Source([]float64{x}, []float64{y})
		return 0.3 * math.Exp(-(math.Hypot(u[0]-0.25, v[0]+0.1)-0.1)/0.1)
	})
	if e := einsteinOf(rec); rec.Status != Converged || math.Abs(e/1.2-1) > 0.01 {
		t.Errorf("got θ_E %.4f, %s: %s, want 1.2, converged", e, rec.Status, rec.Reason)
	}
}

func TestGalaxyBesideAGalaxyIsNotCalledALens(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	rec := fitGalaxy(t, func(x, y float64) float64 { return 0.5 * math.Exp(-math.Hypot(x-1.5, y-0.8)/0.15) })
	if rec.Status != NotConverged {
		t.Errorf("got θ_E %.4f, %s, lensing %+v, want a fit that is not converged", einsteinOf(rec), rec.Status, rec.Lensing)
	}
}

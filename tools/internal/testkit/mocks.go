package testkit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"lenskit/physics"
	"lenskit/tools/lensing"
	"lenskit/tools/observation"
)

// Isothermal is a singular isothermal sphere with an Einstein radius of 1.2 arcsec.
func Isothermal(t *testing.T) lensing.Sum {
	t.Helper()
	l, err := physics.NewLens("sis")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Set([]float64{1.2, 0, 0}); err != nil {
		t.Fatal(err)
	}
	return lensing.Sum{l}
}

// GalaxyWithArc is an elliptical galaxy, and the same with an arc.
func GalaxyWithArc(t *testing.T) (galaxy []float64, o *observation.Observation) {
	t.Helper()
	const n = 81
	light, err := physics.NewLight("sersic")
	if err != nil {
		t.Fatal(err)
	}
	if err := light.Set([]float64{0.5, 1.2, 3, 0.15, -0.1, 0.03, -0.02}); err != nil {
		t.Fatal(err)
	}
	o = &observation.Observation{W: n, H: n, Scale: 0.08, Sigma: []float64{0.01}, Data: make([]float64, n*n), Mask: make([]bool, n*n)}
	x, y := make([]float64, n*n), make([]float64, n*n)
	rng := rand.New(rand.NewPCG(7, 8))
	for k := range x {
		x[k], y[k] = o.Place(k%n, k/n)
		r, phi := math.Hypot(x[k], y[k]), math.Atan2(y[k], x[k])
		o.Mask[k] = r > 0.2 && r < 3.2
		o.Data[k] = 0.3*math.Exp(-0.5*math.Pow((r-1.3)/0.12, 2)-0.5*phi*phi) + 0.01*rng.NormFloat64()
	}
	galaxy = make([]float64, n*n)
	light.Brightness(galaxy, x, y)
	for k, v := range galaxy {
		o.Data[k] += v
	}
	if err := o.Weigh(); err != nil {
		t.Fatal(err)
	}
	return galaxy, o
}

// FitTestModel is a small lens that a fit solves within a second.
const FitTestModel = `
data: {size: 48, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}}}
`

// FitTestMock simulates FitTestModel into dir and returns the config of the mock.
func FitTestMock(t testing.TB, dir string) string { return TestMock(t, dir, FitTestModel) }

// TestMock simulates a model into dir and returns the config of the mock.
func TestMock(t testing.TB, dir, text string, flags ...string) string {
	t.Helper()
	model := filepath.Join(dir, "model.yaml")
	if err := os.WriteFile(model, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	MustRun(t, append([]string{"mock", model, "-o", filepath.Join(dir, "mock.fits"), "--seed", "1", "--quiet"}, flags...)...)
	return filepath.Join(dir, "mock.yaml")
}

// SurveyMocks simulates n small lenses into dir: m1.fits, m1.yaml and so on.
func SurveyMocks(t testing.TB, dir string, n int) {
	t.Helper()
	model := filepath.Join(dir, "model.txt")
	text := `
data: {size: 24, pixel_scale: 0.2, noise: 0.05, psf: {gaussian: 0.2}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}}}
`
	if err := os.WriteFile(model, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		MustRun(t, "mock", model, "-o", filepath.Join(dir, fmt.Sprintf("m%d.fits", i)), "--seed", strconv.Itoa(i), "--quiet")
	}
}

package tools

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
)

const planesConfig = `
lens:
  - {type: sis, name: far, redshift: 0.9, priors: {theta_E: {truth: 0.5}, center_x: {truth: 1}}}
  - {type: sis, redshift: 0.5, priors: {theta_E: {truth: 1}}}
source:
  - {type: sersic, redshift: 2.25}
  - {type: sersic, name: between, redshift: 0.8}
cosmology: {H0: 67.5, Omega_m: 0.3, Omega_lambda: 0.65}
`

func TestRedshiftsSurviveInTheConfigWritten(t *testing.T) {
	c, err := parseConfig("c.yaml", []byte(planesConfig))
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseConfig("c.yaml", []byte(c.text(".")))
	if err != nil {
		t.Fatal(err)
	}
	if !again.severalPlanes() || again.Cosmology != (physics.Cosmology{H0: 67.5, OmegaM: 0.3, OmegaLambda: 0.65}) {
		t.Errorf("got %+v", again.Cosmology)
	}
	for i, z := range []float64{0.9, 0.5, 2.25, 0.8} {
		if got := again.components()[i].Redshift; got != z {
			t.Errorf("component %d: got redshift %g, want %g", i, got, z)
		}
	}
	// what the search puts in place of decoders stands where they stood
	dec := strings.Replace(planesConfig, "type: sersic, redshift", "type: decoder, redshift", 1)
	if c, err = parseConfig("c.yaml", []byte(dec)); err != nil {
		t.Fatal(err)
	}
	if s := c.simplified(1); s.Source[0].Type != "sersic" || s.Source[0].Redshift != 2.25 || s.Cosmology != c.Cosmology {
		t.Errorf("got %+v", s.Source[0])
	}
}

func TestCosmologyIsFlatUnlessOmegaLambdaIsGiven(t *testing.T) {
	for text, want := range map[string]physics.Cosmology{
		"":                                     {H0: 70, OmegaM: 0.3, OmegaLambda: 0.7},
		"cosmology:":                           {H0: 70, OmegaM: 0.3, OmegaLambda: 0.7},
		"cosmology: {Omega_m: 0.25}":           {H0: 70, OmegaM: 0.25, OmegaLambda: 0.75},
		"cosmology: {H0: 50, Omega_lambda: 0}": {H0: 50, OmegaM: 0.3, OmegaLambda: 0},
	} {
		c, err := parseConfig("c.yaml", []byte("lens: [{type: sis}]\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		if c.Cosmology != want {
			t.Errorf("%q: got %+v, want %+v", text, c.Cosmology, want)
		}
	}
}

// Light of a source between the lenses is deflected by the nearer one alone, by its share of the distances.
func TestDeflectionToEachSource(t *testing.T) {
	c, err := parseConfig("c.yaml", []byte(planesConfig))
	if err != nil {
		t.Fatal(err)
	}
	d := c.Cosmology.AngularDiameterDistance
	w := d(0.5, 0.8) * d(0, 2.25) / (d(0, 0.8) * d(0.5, 2.25))
	for _, s := range []struct {
		from         *component
		alpha, kappa float64
	}{{&c.Source[1], w, w / 4}, {&c.Source[0], 1.5, 1.5 / 4}, {nil, 1.5, 1.5 / 4}} {
		lens, err := c.deflection("", nil, s.from)
		if err != nil {
			t.Fatal(err)
		}
		ax, ay := lens.source([]float64{2}, []float64{0})
		check.Close(t, "α_x", 2-ax[0], s.alpha, 1e-13, 1)
		check.Close(t, "α_y", -ay[0], 0, 1e-13, 1)
		var kappa [1]float64
		for _, l := range lens {
			l.Convergence(kappa[:], []float64{2}, []float64{0})
		}
		// tangential derivative of the far one: where the ray crosses it, θ_E/r times that of the ray there
		want := s.kappa
		if s.alpha == 1.5 {
			b := d(0.5, 0.9) * d(0, 2.25) / (d(0, 0.9) * d(0.5, 2.25))
			want = 0.5 * (0.5 + 0.5/math.Abs(2-b-1)*(1-b/2))
		}
		check.Close(t, "κ", kappa[0], want, 1e-13, 1)
	}
}

func TestCOOLESTTakesRedshiftsFromTheConfig(t *testing.T) {
	dir := t.TempDir()
	coolestRun(t, dir, `
data: {size: 24, pixel_scale: 0.25, noise: 0.05}
lens: [{type: sis, redshift: 0.25, priors: {theta_E: {truth: 1.6}}}]
source: [{type: sersic, redshift: 1.5, priors: {amp: {truth: 1}}}]
`)
	out := filepath.Join(dir, "out")
	if _, _, err := ExportCOOLEST(CoolestOptions{Dir: filepath.Join(dir, "run"), Output: out, LensRedshift: math.NaN(), SourceRedshift: math.NaN()}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, fileCOOLEST))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"redshift": 0.25`, `"redshift": 1.5`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the template lacks %s", want)
		}
	}
}

// The example is simulated and found again.
func TestExampleOfTwoPlanesIsRecovered(t *testing.T) {
	if testing.Short() {
		t.Skip("fits an image of 120 x 120 pixels")
	}
	dir := t.TempDir()
	mock, run := filepath.Join(dir, "mock.fits"), filepath.Join(dir, "run")
	if code, _, msg := runCommand(t, "mock", filepath.Join("..", "examples", "two_planes.yaml"), "-o", mock); code != 0 {
		t.Fatalf("mock: got exit code %d: %s", code, msg)
	}
	if code, _, msg := runCommand(t, "fit", filepath.Join(dir, "mock.yaml"), "-o", run); code != 0 {
		t.Fatalf("fit: got exit code %d: %s", code, msg)
	}
	rec, err := readFitRecord(run)
	if err != nil {
		t.Fatal(err)
	}
	truth, err := readParams(filepath.Join(dir, "mock.truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range rec.Parameters.names {
		if got, sigma := rec.Parameters.values[i], rec.Uncertainties.values[i]; !(math.Abs(got-truth[name]) < 4*sigma) {
			t.Errorf("%s: got %g ± %g, want %g", name, got, sigma, truth[name])
		}
	}
}

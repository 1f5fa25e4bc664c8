package run

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/mock"
	"lenskit/tools/problem"
)

const pixelsModel = `
data: {size: [24, 20], pixel_scale: 0.15, noise: 0.05, psf: {gaussian: 0.1}}
lens: [{type: sie, priors: {theta_E: {normal: [1, 0.1], truth: 1}}}]
source:
  - {type: pixels, name: clump, grids: [{x: 0.1, half_width: 0.6, nodes: 9}, {x: 0.1, y: 0.05, half_width: 0.3, nodes: 8}], priors: {sigma_2: {truth: 0.7}}}
`

// pixelsProblem is a mock of pixelsModel, at its truth.
func pixelsProblem(t *testing.T) (dir string, p *problem.Problem, theta []float64) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, "model.yaml")
	if err := os.WriteFile(path, []byte(pixelsModel), 0o644); err != nil {
		t.Fatal(err)
	}
	made, err := mock.Simulate(context.Background(), mock.Options{Config: path, Output: filepath.Join(dir, "mock.fits"), Seed: 3, NoNoise: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(made.Config)
	if err != nil {
		t.Fatal(err)
	}
	if p, err = problem.New(cfg, adjoint.Options{Threads: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if theta, err = p.Start("", nil); err != nil {
		t.Fatal(err)
	}
	return dir, p, theta
}

// The splines of the coefficients beside a mock's image make its source.
func TestCoefficientsOfAMockMakeItsSource(t *testing.T) {
	dir, p, _ := pixelsProblem(t)
	path := filepath.Join(dir, "mock.fits")
	source, err := fits.Read(path + "[SOURCE]")
	if err != nil {
		t.Fatal(err)
	}
	w, _, want, err := source.Plane()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float64, len(want))
	frame := physics.SplineGrid{X: 0.1, Half: 0.6, N: w} // the first grid holds the second
	x, y := make([]float64, len(want)), make([]float64, len(want))
	frame.Nodes(x, y)
	for i, g := range p.Config.Source[0].Pixels.Grids {
		m, err := fits.Read(path + []string{"[COEFFICIENTS_CLUMP_1]", "[COEFFICIENTS_CLUMP_2]"}[i])
		if err != nil {
			t.Fatal(err)
		}
		for k := range got {
			g.Each(x[k], y[k], func(spline int, v float64) { got[k] += v * m.Pix[spline] })
		}
	}
	for k := range got {
		check.Close(t, "source", got[k], want[k], 1e-9, 1)
	}
	if slices.Max(want) < 0.02 {
		t.Errorf("the source is dark: its brightest pixel is %g", slices.Max(want))
	}
}

// A run tells of its pixelised sources: the errors of each pixel, the numbers of the prior, the grids.
func TestARunTellsOfItsPixelisedSources(t *testing.T) {
	dir, p, theta := pixelsProblem(t)
	rec := &Record{Status: Converged, Parameters: p.Named(theta), Uncertainties: p.Named(make([]float64, len(theta)))}
	if err := Write(p, dir, theta, rec); err != nil {
		t.Fatal(err)
	}
	planes, unit, err := ReadPlanes(filepath.Join(dir, rundir.FitFITS), ImagePlanes)
	if err != nil {
		t.Fatal(err)
	}
	source, sd, snr := planes["SOURCE"], planes["SOURCE_SD"], planes["SOURCE_SNR"]
	known, err := p.Marginal().Conditional(theta)
	if err != nil {
		t.Fatal(err)
	}
	s := &known.Sources[0]
	mean := s.Image(s.Mean, source.W, source.H, source.Scale, source.X, source.Y)
	for k := range sd.Pix {
		check.Close(t, "source", source.Pix[k], mean.Pix[k], 1e-12, 1)
		if sd.Pix[k] <= 0 || math.Abs(snr.Pix[k]*sd.Pix[k]-source.Pix[k]) > 1e-12 || source.X != sd.X || source.Scale != snr.Scale {
			t.Fatalf("pixel %d: source %g, deviation %g, signal to noise %g", k, source.Pix[k], sd.Pix[k], snr.Pix[k])
		}
	}
	if panels, columns := Panels(planes, unit, 1); len(panels) != 6 || columns != 3 || panels[4].Title != "standard deviation of the source" {
		t.Errorf("found %d panels in %d columns", len(panels), columns)
	}
	again, err := ReadRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	told := again.Pixelised["source.clump"]
	if told == nil || told.Splines != 145 || told.Smoothness != 1 || !slices.Equal(told.Grids, []Grid{{0.1, 0, 0.6, 9}, {0.1, 0.05, 0.3, 8}}) {
		t.Fatalf("found %+v", told)
	}
	if v, ok := told.Hyperparameters.Get("sigma_2"); !ok || v != 0.7 || len(told.Hyperparameters.Names) != 8 {
		t.Errorf("found hyperparameters %+v", told.Hyperparameters)
	}
	if err := DrawGrids(dir); err != nil {
		t.Fatal(err)
	}
	if lines := knots(physics.SplineGrid{X: 1, Half: 0.5, N: 4}); len(lines) != 10 || lines[9][1].X != 1.5 || lines[8][0].X != 1.5 || lines[0][0].Y != -0.5 {
		t.Errorf("found knots %v", lines)
	}
}

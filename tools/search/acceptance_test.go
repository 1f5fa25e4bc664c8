package search

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/diff/fd"
	"gonum.org/v1/gonum/mat"
	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/problem"
)

// TestAcceptancePixelisedSources finds the lenses of the mocks that lenstronomy made of real galaxies from their priors alone, with a
// pixelised source, and holds the errors of θ_E and γ against the uncertainties.
func TestAcceptancePixelisedSources(t *testing.T) {
	termtest.Acceptance(t)
	root := filepath.Dir(filepath.Dir(check.Shared(t, "data/mocks/lenstronomy/00/config.yaml")))
	systems, err := filepath.Glob(filepath.Join(root, "*", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("| system | noise | θ_E error % | pull | γ error | pull | χ²/N | evaluations | seconds | doubts |\n|---|---|---|---|---|---|---|---|---|---|")
	var radius, slope []float64
	for _, path := range systems {
		name := filepath.Base(filepath.Dir(path))
		raw, err := os.ReadFile(filepath.Join(filepath.Dir(path), "truth.json"))
		if err != nil {
			t.Fatal(err)
		}
		var truth struct {
			Lens  map[string]float64
			Noise float64
		}
		if err := json.Unmarshal(raw, &truth); err != nil {
			t.Fatal(err)
		}
		p := withPixels(t, path)
		begun := time.Now()
		s := Search{Problem: p, Options: Options{Seed: 1}.Defaults(), Settings: p.Config.Settings(), Saved: &Record{}, Save: func() error { return nil }}
		res, err := s.Find(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		want := termtest.Einstein(truth.Lens["q"], truth.Lens["r_ein"])
		e, es := derived(t, p, res, func(v config.Named) float64 { return termtest.Einstein(v["lens.sple.q"], v["lens.sple.r_ein"]) })
		g, gs := derived(t, p, res, func(v config.Named) float64 { return v["lens.sple.gamma"] })
		radius, slope = append(radius, (e-want)/es), append(slope, (g-truth.Lens["gamma"])/gs)
		var codes []string
		for _, d := range res.Doubts {
			codes = append(codes, d.Code)
		}
		fmt.Printf("| %s | %g | %+.2f | %+.1f | %+.3f | %+.1f | %.4f | %d | %.0f | %s |\n", name, truth.Noise, 100*(e/want-1), (e-want)/es,
			g-truth.Lens["gamma"], (g-truth.Lens["gamma"])/gs, reducedChi2(p.Post), res.Evaluations, time.Since(begun).Seconds(), strings.Join(codes, ", "))
		if name == "05" && math.Abs(g-truth.Lens["gamma"]) > 0.02 {
			t.Errorf("05: γ is off by %.3f", g-truth.Lens["gamma"])
		}
		p.Close()
	}
	for what, pulls := range map[string][]float64{"θ_E": radius, "γ": slope} {
		sum, square := 0.0, 0.0
		for _, v := range pulls {
			sum += v
			square += v * v
		}
		n := float64(len(pulls))
		mean, rms, most := sum/n, math.Sqrt(square/n), max(slices.Max(pulls), -slices.Min(pulls))
		fmt.Printf("%s: pulls of mean %+.2f, rms %.2f, at most %.1f\n", what, mean, rms, most)
		if !(math.Abs(mean) <= 0.4 && rms <= 1.25 && most <= 4) {
			t.Errorf("%s: pulls of mean %+.2f, rms %.2f, at most %.1f, expected at most 0.4, 1.25 and 4", what, mean, rms, most)
		}
	}
}

// withPixels is the problem of a config with a pixelised source in place of its own.
func withPixels(t *testing.T, path string) *problem.Problem {
	t.Helper()
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	pixels, err := config.Parse("pixels.yaml", []byte("data: {size: 16, pixel_scale: 0.1, noise: 1}\nlens: [{type: sis}]\nsource: [{type: pixels}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Source = pixels.Source
	p, err := problem.New(cfg, adjoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// derived is a number made of the named parameters at the maximum, and its standard deviation by the curvature there.
func derived(t *testing.T, p *problem.Problem, res *Result, f func(config.Named) float64) (value, sigma float64) {
	t.Helper()
	g, err := samplers.Laplace(res.U, OffBounds(res.Hess), 0)
	if err != nil {
		t.Fatal(err)
	}
	grad := mat.NewVecDense(len(res.U), fd.Gradient(nil, func(u []float64) float64 { return f(namedTheta(p.Post, u)) }, res.U, &fd.Settings{Formula: fd.Central}))
	return f(namedTheta(p.Post, res.U)), math.Sqrt(mat.Inner(grad, g.Metric.Cov(), grad))
}

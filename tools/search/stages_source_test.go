package search

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"lenskit/adjoint"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/problem"
)

const sourceMockModel = `
lens: [{type: sie, priors: {theta_E: {normal: [1.2, 0.2]}}}]
source: [{type: pixels`

// sourceMock is an image of 32 x 32 pixels whose source is drawn from its prior, as a problem that states neither grids nor a
// start, and the parameters that the image was made with.
func sourceMock(t *testing.T) (*problem.Problem, config.Named) {
	t.Helper()
	const n, sigma = 32, 0.03
	data := "data: {pixel_scale: 0.12, noise: 0.03, psf: {gaussian: 0.1}, "
	cfg, err := config.Parse("m.yaml", []byte(data+"size: 32}"+sourceMockModel+", grids: [{half_width: 0.9, nodes: 14}]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := problem.New(cfg, adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	truth := config.Named{"lens.sie.theta_E": 1.1, "lens.sie.e1": 0.12, "lens.sie.e2": -0.08, "lens.sie.center_x": 0.03, "lens.sie.center_y": -0.02,
		"source.pixels.sigma_1": 1.5, "source.pixels.length_1": 0.3, "source.pixels.envelope_x_1": 0.08, "source.pixels.envelope_y_1": 0.05,
		"source.pixels.envelope_radius_1": 0.2, "source.pixels.envelope_fall_1": 4}
	theta := make([]float64, len(made.Index))
	for name, i := range made.Index {
		theta[i] = truth[name]
	}
	rng := rand.New(rand.NewPCG(11, 2))
	img, _, _, err := made.Marginal().Mock(theta, nil, rng)
	if err != nil {
		t.Fatal(err)
	}
	for i := range img.Model.Pix {
		img.Model.Pix[i] += sigma * rng.NormFloat64()
	}
	dir := t.TempDir()
	if err := fits.Write(filepath.Join(dir, "a.fits"), fits.Out{Bitpix: -64, Axes: []int{n, n}, Pix: img.Model.Pix}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte(data+"image: a.fits}"+sourceMockModel+"}]\nsearch: {pixel_starts: 24, pixel_lenses: 2}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if cfg, err = config.Load(path); err != nil {
		t.Fatal(err)
	}
	p, err := problem.New(cfg, adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, truth
}

// A lens below a source that is drawn from its prior is found from the priors alone, within its errors; the errors are those of
// the whole curvature, and a search stopped again and again ends at the same place to the bit.
func TestLensBelowAPixelisedSourceIsFoundFromThePriors(t *testing.T) {
	p, truth := sourceMock(t)
	s := Search{Problem: p, Settings: p.Config.Settings(), Compute: adjoint.Options{Threads: 1}, Saved: &Record{}, Save: func() error { return nil }}
	res, err := s.Find(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	g, err := samplers.Laplace(res.U, OffBounds(res.Hess), 0)
	if err != nil {
		t.Fatal(err)
	}
	theta, sigma := make([]float64, len(p.Index)), make([]float64, len(p.Index))
	p.Post.Theta(theta, res.U)
	p.Post.NamedSigma(sigma, g.Metric.Cov(), res.U)
	for name, i := range p.Index {
		if pull := (theta[i] - truth[name]) / sigma[i]; isLens(&p.Post.Params()[i]) && !(math.Abs(pull) < 3.5) {
			t.Errorf("%s = %.4f ± %.4f, made with %.4f", name, theta[i], sigma[i], truth[name])
		}
	}
	if i := p.Index["lens.sie.theta_E"]; sigma[i] > 0.02 {
		t.Errorf("theta_E is known to ± %.4f only", sigma[i])
	}
	for _, d := range res.Doubts {
		if d.About == AboutOptimiser || d.Code == DoubtKinds[misfitImage].Code {
			t.Errorf("doubt: %s", d.Text)
		}
	}
	again, _ := sourceMock(t)
	record := &Record{}
	for stops := 0; ; stops++ {
		ctx, cancel := context.WithCancel(context.Background())
		saves := 0
		s := Search{Problem: again, Settings: again.Config.Settings(), Compute: adjoint.Options{Threads: 1}, Saved: viaJSON(t, record)}
		s.Save = func() error {
			if saves++; saves == 60 {
				cancel()
			}
			return nil
		}
		got, err := s.Find(ctx)
		stopped := ctx.Err() != nil
		cancel()
		record = s.Saved
		if err == nil {
			if got.LogProb != res.LogProb || !reflect.DeepEqual(got.U, res.U) || got.Evaluations != res.Evaluations {
				t.Errorf("stopped %d times: got %v after %d evaluations, want %v after %d", stops, got.LogProb, got.Evaluations, res.LogProb, res.Evaluations)
			}
			t.Logf("stopped %d times, %d evaluations", stops, got.Evaluations)
			return
		}
		if !stopped || stops > 50 {
			t.Fatal(err)
		}
	}
}

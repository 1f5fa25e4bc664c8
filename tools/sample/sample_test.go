package sample

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gonum.org/v1/gonum/mat"
	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/samplers"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/problem"
	"lenskit/tools/run"
	"lenskit/tools/search"
)

// sampleTestModel has a decoder, to be named, whose amplitude and latents can make up for each other. Differences need one
// without kinks.
const sampleTestModel = `
data: {size: 40, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2, normal: [1.2, 0.3]}, e1: {truth: 0.1}, e2: {truth: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: decoder, model: %q, interpolation: bicubic, priors: {z: {truth: 0.2}, s: {normal: [2, 0.5], truth: 2}, iota: {normal: [1, 0.3], bounds: [0.1, 4], truth: 1}, x: {normal: [0, 0.1], truth: 0.02}, y: {normal: [0, 0.1], truth: 0}}}
`

func sampleTestProblem(t *testing.T) (*problem.Problem, []float64) {
	t.Helper()
	config := testkit.TestMock(t, t.TempDir(), fmt.Sprintf(sampleTestModel, filepath.Join(check.Root(), "models", "linear")), "--device", "reference")
	p, err := openProblem(config, adjoint.Options{Device: "reference", Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	theta, err := p.Start("", nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, theta
}

// testReparametrisation is a change of coordinates with everything in it.
func testReparametrisation(p *problem.Problem, rng *rand.Rand) *reparametrisation {
	b, amps := newReparametrisation(p.Post)
	amps[0].Iota0 = 0.9
	b.Scale = amps
	m, n := len(b.Eta), len(b.Latent)
	q := &quadratic{Centre: make([]float64, m), W: make([]float64, m*m), B: make([]float64, m*(m+1)/2*n)}
	for _, v := range [][]float64{q.Centre, q.W, q.B} {
		for i := range v {
			v[i] = 0.2 * rng.NormFloat64()
		}
	}
	b.Quad = q
	return b
}

func TestBentCoordinatesAreInvertibleAndTheirDensityIsTransformed(t *testing.T) {
	p, theta := sampleTestProblem(t)
	rng := rand.New(rand.NewPCG(1, 2))
	b := testReparametrisation(p, rng).target(p.Post)
	n := b.Dim()
	u, v, w, back := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	if err := p.Post.U(u, theta); err != nil {
		t.Fatal(err)
	}
	b.pull(v, u)
	for i := range v {
		v[i] += 0.1 * rng.NormFloat64()
	}
	det := b.push(u, v)
	b.pull(back, u)
	for i := range v {
		if math.Abs(back[i]-v[i]) > 1e-10 {
			t.Fatalf("coordinate %d: Φ⁻¹(Φ(v)) is %v, want %v", i, back[i], v[i])
		}
	}
	// log |∂u/∂v| by central differences
	jac := mat.NewDense(n, n, nil)
	up, down := make([]float64, n), make([]float64, n)
	const h = 1e-5
	for k := range v {
		copy(w, v)
		w[k] = v[k] + h
		b.push(up, w)
		w[k] = v[k] - h
		b.push(down, w)
		for i := range up {
			jac.Set(i, k, (up[i]-down[i])/(2*h))
		}
	}
	var lu mat.LU
	lu.Factorize(jac)
	if got, sign := lu.LogDet(); math.Abs(got-det) > 1e-6 || sign < 0 {
		t.Errorf("log determinant: got %v, differences give %v", det, got)
	}
	// density and gradient
	grad := make([]float64, n)
	lp, err := b.LogProb(grad, v)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := p.Post.LogProb(nil, u); err != nil || math.Abs(plain+det-lp) > 1e-9*math.Abs(lp) {
		t.Errorf("log density: got %v, want %v (%v)", lp, plain+det, err)
	}
	for try := range 5 {
		dir, along := make([]float64, n), 0.0
		for i := range dir {
			dir[i] = rng.NormFloat64()
			along += dir[i] * grad[i]
		}
		at := func(h float64) float64 {
			for i := range w {
				w[i] = v[i] + h*dir[i]
			}
			lp, err := b.LogProb(nil, w)
			if err != nil {
				t.Fatal(err)
			}
			return lp
		}
		diff := (8*(at(1e-4)-at(-1e-4)) - (at(2e-4) - at(-2e-4))) / 12e-4
		if math.Abs(diff-along) > 1e-4*math.Max(math.Abs(along), 100) {
			t.Errorf("direction %d: gradient gives %v, differences %v", try, along, diff)
		}
	}
	// Jᵀ H J
	hv, hu := mat.NewSymDense(n, nil), mat.NewSymDense(n, nil)
	if _, err := b.LogProbHess(grad, hv, v); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Post.LogProbHess(grad, hu, u); err != nil {
		t.Fatal(err)
	}
	var want, tmp mat.Dense
	tmp.Mul(jac.T(), hu)
	want.Mul(&tmp, jac)
	scale := mat.Max(&want)
	for i := range n {
		for j := range n {
			if math.Abs(want.At(i, j)-hv.At(i, j)) > 1e-5*scale {
				t.Fatalf("curvature %d, %d: got %v, want %v", i, j, hv.At(i, j), want.At(i, j))
			}
		}
	}
}

// sampleTestFit leaves the fit of FitTestModel in a folder and returns that.
func sampleTestFit(t *testing.T) string { return testFit(t, testkit.FitTestModel) }

// testFit leaves the fit of a mock of a model in a folder and returns that.
func testFit(t *testing.T, model string) string {
	t.Helper()
	dir := t.TempDir()
	config := testkit.TestMock(t, dir, model)
	out := filepath.Join(dir, "fit")
	if err := run.Fit(context.Background(), run.Options{Input: config, Output: out, Search: search.Options{Starts: 8, Seed: 3}}, io.Discard, term.NewProgress(io.Discard, true)); err != nil {
		t.Fatal(err)
	}
	return out
}

func sampleTo(ctx context.Context, fit, out string, opt Settings) error {
	return Sample(ctx, Options{Input: fit, Output: out, Sampling: opt}, io.Discard, term.NewProgress(io.Discard, true))
}

func TestStoppedSamplingGoesOnToTheSameDrawsToTheBit(t *testing.T) {
	fit := sampleTestFit(t)
	for _, method := range []string{"hmc", "nuts"} {
		t.Run(method, func(t *testing.T) {
			stoppedSampling(t, fit, Settings{Sampler: method, Warmup: 60, Draws: 60, Chains: 2, Adapt: "dense", Seed: 5})
		})
	}
	t.Run("advi", func(t *testing.T) {
		stoppedSampling(t, fit, Settings{Sampler: samplerADVI, Draws: 200, Chains: 1, Seed: 5})
	})
	t.Run("networks as one", func(t *testing.T) {
		termtest.NeedRuntime(t)
		fit := testFit(t, fmt.Sprintf(sampleTestModel, filepath.Join(check.Root(), "models", "linear")))
		stoppedSampling(t, fit, Settings{Sampler: "hmc", Warmup: 10, Draws: 20, Chains: 8, Adapt: "dense", Seed: 5})
	})
}

// stoppedSampling samples a fit at one go, and with stops at ever later times.
func stoppedSampling(t *testing.T, fit string, opt Settings) {
	t.Helper()
	dir := t.TempDir()
	whole, parts := filepath.Join(dir, "whole"), filepath.Join(dir, "parts")
	if err := sampleTo(context.Background(), fit, whole, opt); err != nil {
		t.Fatal(err)
	}
	stops := 0
	for wait := 30 * time.Millisecond; ; wait += wait / 10 {
		ctx, cancel := context.WithTimeoutCause(context.Background(), wait, term.Stopped{Signal: syscall.SIGTERM})
		err := sampleTo(ctx, fit, parts, opt)
		cancel()
		if err == nil {
			break
		}
		if term.ExitCode(err) != term.ExitInterrupted {
			t.Fatalf("got exit code %d: %v", term.ExitCode(err), err)
		}
		if _, err := os.Stat(filepath.Join(parts, rundir.SummaryJSON)); err == nil {
			t.Fatal("a stopped run has written a summary")
		}
		if stops++; stops > 60 {
			t.Fatal("does not get on")
		}
	}
	for chain := range opt.Chains {
		if a, b := termtest.DrawLines(t, rundir.ChainFile(whole, chain, opt.Chains)), termtest.DrawLines(t, rundir.ChainFile(parts, chain, opt.Chains)); a != b {
			t.Errorf("chain %d differs after %d stops", chain, stops)
		}
	}
	if _, err := os.Stat(filepath.Join(parts, rundir.CheckpointName)); err == nil {
		t.Error("the checkpoint is still there")
	}
	t.Logf("stopped %d times", stops)
}

func TestDrawsWrittenAfterTheCheckpointAreMadeAnew(t *testing.T) {
	fit := sampleTestFit(t)
	opt := Settings{Warmup: 20, Draws: 40, Chains: 1, Seed: 2}
	dir := t.TempDir()
	whole, parts := filepath.Join(dir, "whole"), filepath.Join(dir, "parts")
	if err := sampleTo(context.Background(), fit, whole, opt); err != nil {
		t.Fatal(err)
	}
	// as when the power fails: the file has whole and broken lines more than the checkpoint knows of
	p, err := openProblem(filepath.Join(fit, rundir.ConfigYAML), adjoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	rec, err := run.ReadRecord(fit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(parts, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := newSampling(p, &maximum{dir: fit, fit: rec}, parts, opt.Defaults(), adjoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.begun, r.notes = time.Now(), forgetful(context.Background())
	if err := r.open(context.Background(), term.NewProgress(io.Discard, true)); err != nil {
		t.Fatal(err)
	}
	for i := range 45 {
		d := samplers.Draw{Chain: r.chains[0], Warmup: r.chains[0].Warming(), Point: r.chains[0].Point()}
		if d.Info, err = r.chains[0].Step(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := r.files[0].Record(d); err != nil {
			t.Fatal(err)
		}
		if i == 30 {
			if err := r.save(); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.close()
	path := rundir.ChainFile(parts, 0, 1)
	if err := os.WriteFile(path, append([]byte(termtest.DrawLines(t, path)), "0.5,1,1"...), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := sampleTo(context.Background(), fit, parts, opt); err != nil {
		t.Fatal(err)
	}
	if termtest.DrawLines(t, path) != termtest.DrawLines(t, rundir.ChainFile(whole, 0, 1)) {
		t.Error("the draws differ from those of a run that was not stopped")
	}
}

func TestSamplingAgreesWithTheGaussianOfAWellKnownLens(t *testing.T) {
	fit := sampleTestFit(t)
	rec, err := run.ReadRecord(fit)
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	var text bytes.Buffer
	opt := Options{Input: fit, Output: out, Sampling: Settings{Draws: 400, Warmup: 50, Chains: 2, Seed: 1}, JSON: true}
	if err := Sample(context.Background(), opt, &text, term.NewProgress(io.Discard, true)); err != nil {
		t.Fatal(err)
	}
	var sum struct {
		Parameters map[string]struct {
			Mean, SD, Q5, Q50, Q95, RHat float64
			ESS                          float64 `json:"ess_bulk"`
			Tail                         float64 `json:"ess_tail"`
		}
		Divergences, Draws, Chains, Gradients int
		WarmupGradients                       int `json:"warmup_gradients"`
		Seconds                               float64
	}
	if err := json.Unmarshal(text.Bytes(), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.Draws != 400 || sum.Chains != 2 || sum.Gradients < 800+sum.WarmupGradients || sum.WarmupGradients <= 0 || sum.Seconds <= 0 || sum.Divergences != 0 {
		t.Errorf("got %d draws of %d chains, %d gradients, %d of them in the warm-up, %v s, %d divergences", sum.Draws, sum.Chains, sum.Gradients, sum.WarmupGradients, sum.Seconds, sum.Divergences)
	}
	free := 0
	for i, n := range rec.Parameters.Names {
		s, ok := sum.Parameters[n]
		if rec.Uncertainties.Values[i] == 0 {
			if ok {
				t.Errorf("%s is fixed and has a summary", n)
			}
			continue
		}
		free++
		off := math.Abs(s.Mean-rec.Parameters.Values[i]) / rec.Uncertainties.Values[i]
		ratio := s.SD / rec.Uncertainties.Values[i]
		if off > 0.5 || ratio < 0.8 || ratio > 1.25 {
			t.Errorf("%s: mean %v, sd %v; the fit has %v ± %v", n, s.Mean, s.SD, rec.Parameters.Values[i], rec.Uncertainties.Values[i])
		}
		if s.ESS < 150 || s.RHat > 1.03 || !(s.Q5 < s.Q50 && s.Q50 < s.Q95) || s.Tail < 50 {
			t.Errorf("%s: %+v", n, s)
		}
	}
	if free != len(sum.Parameters) {
		t.Errorf("%d parameters are summarised, want %d", len(sum.Parameters), free)
	}
	for _, f := range []string{rundir.CornerPNG, rundir.TracePNG, rundir.SamplesFITS, rundir.SummaryJSON, rundir.ConfigYAML, "samples_1.csv", "samples_2.csv"} {
		if info, err := os.Stat(filepath.Join(out, f)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", f, err)
		}
	}
	hdus, data, err := fits.Open(filepath.Join(out, rundir.SamplesFITS))
	if err != nil {
		t.Fatal(err)
	}
	data.Close()
	var names []string
	for i := range hdus {
		names = append(names, hdus[i].Name())
	}
	if got := strings.Join(names, ","); got != ",SOURCE_MEAN,SOURCE_SD,MODEL_MEAN,MODEL_SD" {
		t.Errorf("samples.fits has %s", got)
	}
}

func TestQuickLooksTellWhatTheyAreWorth(t *testing.T) {
	fit := sampleTestFit(t)
	for _, sampler := range []string{samplerLaplace, samplerADVI, samplerFullRank} {
		out := t.TempDir()
		if err := sampleTo(context.Background(), fit, out, Settings{Sampler: sampler, Draws: 300, Chains: 1, Seed: 1}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(out, rundir.SummaryJSON))
		if err != nil {
			t.Fatal(err)
		}
		var sum struct {
			Approximation struct {
				K        *float64 `json:"pareto_k"`
				Weighted bool
			}
			Verdict    []string
			Parameters map[string]struct{ Mean float64 }
		}
		if err := json.Unmarshal(text, &sum); err != nil {
			t.Fatal(err)
		}
		if k := sum.Approximation.K; k == nil || sum.Approximation.Weighted != (*k < usableShape) || (len(sum.Verdict) == 0) != sum.Approximation.Weighted {
			t.Errorf("%s: %s", sampler, text)
		}
		if m := sum.Parameters["lens.sie.theta_E"].Mean; math.Abs(m-1.2) > 0.02 {
			t.Errorf("%s: θ_E is %v, want 1.2", sampler, m)
		}
	}
}

func TestStrictSamplingFailsWhereAVerdictSpeaksAgainstIt(t *testing.T) {
	fit := sampleTestFit(t)
	opt := Options{Input: fit, Output: t.TempDir(), Sampling: Settings{Draws: 10, Warmup: 10, Chains: 2, Seed: 1}, Strict: true}
	if err := Sample(context.Background(), opt, io.Discard, term.NewProgress(io.Discard, true)); term.ExitCode(err) != term.ExitNotConverged {
		t.Errorf("got %v", err)
	}
	opt.Strict = false
	if err := Sample(context.Background(), opt, io.Discard, term.NewProgress(io.Discard, true)); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestSmoothedDensitiesKeepTheMomentsAndHoldTheirShare(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	n := 4000
	x, y := make([]float64, n), make([]float64, n)
	for i := range x {
		a, b := rng.NormFloat64(), rng.NormFloat64()
		x[i], y[i] = 5+2*a, -1+0.01*(0.9*a+math.Sqrt(1-0.81)*b)
	}
	d := NewDensity1(x, float64(n))
	sum, mean, ss := 0.0, 0.0, 0.0
	for i, p := range d.p {
		v := d.lo + float64(i)*d.step
		sum += p * d.step
		mean += v * p * d.step
		ss += v * v * p * d.step
	}
	_, sd := meanAndSD(x)
	if got := math.Sqrt(ss - mean*mean); math.Abs(sum-1) > 1e-9 || math.Abs(got/sd-1) > 0.01 {
		t.Errorf("integral %v, sd %v, want 1 and %v", sum, got, sd)
	}
	d2 := NewDensity2(x, y, float64(n))
	for _, f := range []float64{0.68, 0.95} {
		level, in := d2.level(f), 0
		for i := range x {
			if d2.at(x[i], y[i]) >= level {
				in++
			}
		}
		if got := float64(in) / float64(n); math.Abs(got-f) > 0.025 {
			t.Errorf("the region of %v holds %v of the draws", f, got)
		}
	}
}

package vae

import (
	"context"
	"encoding/json"
	"errors"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/config"
	"lenskit/tools/galaxies"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
)

func TestBundleFigures(t *testing.T) {
	termtest.NeedRuntime(t)
	dir, bundle := t.TempDir(), filepath.Join(t.TempDir(), "bundle")
	testkit.MustRun(t, "export-vae", filepath.Join("testdata", "vae_small.pt"), "-o", bundle, "--quiet")
	data := filepath.Join(t.TempDir(), "data.fits")
	testkit.MustRun(t, "dataset", "synth", "-o", data, "--count", "20", "--seed", "3")
	var got struct {
		Figures []string
		Numbers Numbers
	}
	if err := json.Unmarshal([]byte(testkit.MustRun(t, "plot", bundle, "--data", data, "--refine", "-o", dir, "--json")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Figures) != 5 {
		t.Errorf("got figures %q", got.Figures)
	}
	for _, f := range []string{rundir.FileVAEReconstructions, rundir.FileVAERotations, rundir.FileVAEDraws, rundir.FileVAEWalk} {
		r, err := os.Open(filepath.Join(dir, f))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := png.Decode(r); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		r.Close()
	}
	n := got.Numbers
	if n.Images != 20 || !(n.ResidualMedian > 0) || !(n.Residual90 >= n.ResidualMedian) || len(n.KL) != 3 || n.Dead == nil {
		t.Errorf("got %+v", n)
	}
	if r := n.Refined; r == nil || !(r.ResidualMedian > 0) || !(r.ResidualMedian < n.ResidualMedian) || r.ResidualBelow < n.ResidualBelow {
		t.Errorf("got refined %+v of %+v", r, n)
	}
	// A decoder alone has draws and walks.
	out := testkit.MustRun(t, "plot", filepath.Join(bundle, "decoder.onnx"), "-o", t.TempDir())
	if strings.Contains(out, rundir.FileVAEReconstructions) || !strings.Contains(out, rundir.FileVAEDraws) {
		t.Errorf("got %q", out)
	}
	if code, _, stderr := testkit.RunCommand(t, "plot", dir, "--data", data); code != term.ExitBadInput || !strings.Contains(stderr, "--data") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestTurningIsUndone(t *testing.T) {
	const n = 64
	p := make([]float64, n*n)
	for j := range n {
		for i := range n {
			x, y := float64(i)-31.5-6, float64(j)-31.5+4
			p[j*n+i] = math.Exp(-(x*x + 2*y*y) / 60)
		}
	}
	for e := range 8 {
		back := turned(turned(p, n, e), n, -e)
		worst := 0.0
		for i := range p {
			worst = math.Max(worst, math.Abs(back[i]-p[i]))
		}
		tol := 0.0
		if e%2 == 1 {
			tol = 5e-3
		}
		if worst > tol {
			t.Errorf("%d eighths: off by %.2g", e, worst)
		}
	}
	// Counter-clockwise: what lay to the right lies above.
	check.Close(t, "quarter turn", turned(p, n, 2)[37*n+35], p[27*n+37], 0.05, 0)
	q, c := turned(p, n, 2), turned(turned(p, n, 1), n, 1)
	worst := 0.0
	for i := range q {
		worst = math.Max(worst, math.Abs(q[i]-c[i]))
	}
	if worst > 5e-3 {
		t.Errorf("two eighths differ from a quarter by %.2g", worst)
	}
}

func TestRingNoiseSeesThroughAGalaxyAndFadedEdges(t *testing.T) {
	const n, sigma = 64, 0.01
	rng := rand.New(rand.NewPCG(6, 6))
	p := make([]float64, n*n)
	for i := range p {
		x, y := float64(i%n)-31.5, float64(i/n)-31.5
		p[i] = math.Exp(-(x*x+y*y)/100) + sigma*rng.NormFloat64()
	}
	galaxies.Fade(p, n, 6)
	check.Close(t, "noise", ringNoise(p, n), sigma, 0.08, 0)
}

func TestRefinedLatentsRebuildWhatTheDecoderCanMake(t *testing.T) {
	termtest.NeedRuntime(t)
	dir := filepath.Join(t.TempDir(), "bundle")
	testkit.MustRun(t, "export-vae", filepath.Join("testdata", "vae_small.pt"), "-o", dir, "--quiet")
	b, err := config.LoadBundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newVAERunner(b, 64, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	rng := rand.New(rand.NewPCG(12, 3))
	var truth, zs [][]float64
	for range 4 {
		var a, z []float64
		for range b.Latents {
			v := rng.NormFloat64()
			a, z = append(a, v), append(z, v+0.2*rng.NormFloat64())
		}
		truth, zs = append(truth, a), append(zs, z)
	}
	images, err := r.decode(truth)
	if err != nil {
		t.Fatal(err)
	}
	// What lies at the edges does not count.
	for _, p := range images {
		p[0], p[64*64-1] = 9, -9
	}
	before, err := r.decode(zs)
	if err != nil {
		t.Fatal(err)
	}
	if err := refineAll(context.Background(), b, images, zs, 64); err != nil {
		t.Fatal(err)
	}
	after, err := r.decode(zs)
	if err != nil {
		t.Fatal(err)
	}
	old, now := residuals(images, before, 64), residuals(images, after, 64)
	for i := range images {
		if !(now[i] < 1e-2*old[i]) {
			t.Errorf("image %d: residual %.2g before, %.2g after, want a hundredth; latents %v, truth %v", i, old[i], now[i], zs[i], truth[i])
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := refineAll(ctx, b, images, zs, 64); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
}

package tools

import (
	"encoding/json"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/internal/check"
)

func TestBundleFigures(t *testing.T) {
	needRuntime(t)
	dir, bundle := t.TempDir(), filepath.Join(t.TempDir(), "bundle")
	mustRun(t, "export-vae", filepath.Join("testdata", "vae_small.pt"), "-o", bundle, "--quiet")
	data := filepath.Join(t.TempDir(), "data.fits")
	mustRun(t, "dataset", "synth", "-o", data, "--count", "20", "--seed", "3")
	var got struct {
		Figures []string
		Numbers vaeNumbers
	}
	if err := json.Unmarshal([]byte(mustRun(t, "plot", bundle, "--data", data, "-o", dir, "--json")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Figures) != 5 {
		t.Errorf("got figures %q", got.Figures)
	}
	for _, f := range []string{fileVAEReconstructions, fileVAERotations, fileVAEDraws, fileVAEWalk} {
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
	// A decoder alone has draws and walks.
	out := mustRun(t, "plot", filepath.Join(bundle, "decoder.onnx"), "-o", t.TempDir())
	if strings.Contains(out, fileVAEReconstructions) || !strings.Contains(out, fileVAEDraws) {
		t.Errorf("got %q", out)
	}
	if code, _, stderr := lenskit("plot", dir, "--data", data); code != exitBadInput || !strings.Contains(stderr, "--data") {
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
	fade(p, n, 6)
	check.Close(t, "noise", ringNoise(p, n), sigma, 0.08, 0)
}

package tools

import (
	"bytes"
	"context"
	"encoding/json"
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
	"lenskit/samplers"
)

// sampleTestModel has a decoder whose amplitude and latents can make up for each other.
const sampleTestModel = `
data: {size: 40, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2, normal: [1.2, 0.3]}, e1: {truth: 0.1}, e2: {truth: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: decoder, interpolation: bicubic, priors: {z: {truth: 0.2}, s: {normal: [2, 0.5], truth: 2}, iota: {normal: [1, 0.3], bounds: [0.1, 4], truth: 1}, x: {normal: [0, 0.1], truth: 0.02}, y: {normal: [0, 0.1], truth: 0}}}
`

func sampleTestProblem(t *testing.T) (*problem, []float64) {
	t.Helper()
	dir := t.TempDir()
	model := filepath.Join(dir, "model.yaml")
	if err := os.WriteFile(model, []byte(sampleTestModel), 0o644); err != nil {
		t.Fatal(err)
	}
	made, err := Mock(context.Background(), MockOptions{Config: model, Output: filepath.Join(dir, "mock.fits"), Seed: 1, Compute: adjoint.Options{Device: "reference"}}, newProgress(io.Discard, true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := openProblem(made.Config, adjoint.Options{Device: "reference", Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	theta, err := p.start("", nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, theta
}

// testBend is a change of coordinates with everything in it.
func testBend(p *problem, rng *rand.Rand) *bend {
	b, amps := newBend(p.Post)
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
	b := testBend(p, rng).target(p.Post)
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

var _ = []any{bytes.NewReader, json.Marshal, strings.Cut, syscall.SIGTERM, time.Now, samplers.NUTS}

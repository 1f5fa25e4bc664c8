package ort

import (
	"math"
	"math/rand/v2"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/rewrite"
)

// What onnxruntime computes by tiles agrees with what it computes directly to what float32 allows. The activation has no
// kink, at which a gradient would jump with the rounding.
func TestSessionsTakeTilesOverABatch(t *testing.T) {
	needLibrary(t)
	smooth := paperDecoder(rand.New(rand.NewPCG(7, 8)))
	for _, n := range smooth.Nodes {
		if n.Op == "Relu" {
			n.Op = "Softplus"
		}
	}
	g, err := smooth.Bind(map[string]int64{"N": 32})
	if err != nil {
		t.Fatal(err)
	}
	d, err := diff.VJP(g, diff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if w, err := rewrite.Winograd(d); err != nil || graphtest.CountOps(w, "Conv", "ConvTranspose") != 2 {
		t.Fatalf("error %v, or more convolutions left than the two of the last layer", err)
	}
	sameSessions(t, d, 1e-5)
}

// sameSessions holds what onnxruntime makes of d against what it makes of d as it is, which differs by rounding.
func sameSessions(t *testing.T, d *onnx.Graph, tol float64) {
	t.Helper()
	direct, tuned := open(t, d, Options{Direct: true}), open(t, d, Options{})
	rng := rand.New(rand.NewPCG(9, 10))
	for _, v := range d.Inputs {
		for i := range direct.Input(v.Name) {
			direct.Input(v.Name)[i] = float32(rng.NormFloat64())
		}
		copy(tuned.Input(v.Name), direct.Input(v.Name))
	}
	for _, s := range []*Session{direct, tuned} {
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range d.Outputs {
		scale, worst := 0.0, 0.0
		for i, want := range direct.Output(v.Name) {
			scale = max(scale, math.Abs(float64(want)))
			worst = max(worst, math.Abs(float64(want-tuned.Output(v.Name)[i])))
		}
		if worst == 0 || !(worst <= tol*scale) {
			t.Errorf("%s differs by %g of %g, expected rounding", v.Name, worst, scale)
		}
		t.Logf("%s differs by %.1e of its largest value", v.Name, worst/scale)
	}
}

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

// The mask of a Relu is 0 at and below zero and 1 above, as Greater has it.
func TestSignsAreMasks(t *testing.T) {
	needLibrary(t)
	build := func(f func(b *onnx.Builder, x string) string) *onnx.Graph {
		g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 7}}}}}
		b := onnx.NewBuilder(g, "")
		b.Output(f(b, "x"))
		if b.Err() != nil {
			t.Fatal(b.Err())
		}
		return g
	}
	cast := func(b *onnx.Builder, x string) string {
		return b.OpAttr("Cast", onnx.Attrs("to", int(onnx.Float32)), x)
	}
	mask := build(func(b *onnx.Builder, x string) string { return cast(b, b.Op("Greater", x, b.Scalar(0))) })
	h, err := rewrite.Tuned(mask)
	if err != nil || graphtest.CountOps(h, "HardSigmoid") != 1 || graphtest.CountOps(h, "Greater", "Cast") != 0 {
		t.Fatalf("error %v, or the mask takes more than one operator: %v", err, h)
	}
	s := open(t, mask, Options{})
	in := []float32{0, float32(math.Copysign(0, -1)), 1e-30, -1e-30, 3, -3, float32(math.Inf(1))}
	copy(s.Input("x"), in)
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	for i, x := range in {
		want := float32(0)
		if x > 0 {
			want = 1
		}
		if got := s.Output(mask.Outputs[0].Name)[i]; got != want {
			t.Errorf("mask of %g: got %g, expected %g", x, got, want)
		}
	}
	for name, g := range map[string]*onnx.Graph{
		"another bound": build(func(b *onnx.Builder, x string) string { return cast(b, b.Op("Greater", x, b.Scalar(1))) }),
		"a bound that broadcasts": build(func(b *onnx.Builder, x string) string {
			return cast(b, b.Op("Greater", x, b.Tensor(onnx.FloatTensor([]float32{0}, 1, 1))))
		}),
		"a mask that is used otherwise": build(func(b *onnx.Builder, x string) string {
			m := b.Op("Greater", x, b.Scalar(0))
			return b.Op("Where", m, x, cast(b, m))
		}),
	} {
		if h, err := rewrite.Tuned(g); err != nil || graphtest.CountOps(h, "HardSigmoid") != 0 {
			t.Errorf("%s: error %v, or a mask of another meaning", name, err)
		}
	}
}

// The paper's decoder, one image: the layers of 4 x 4 pixels become products, those above four convolutions each but for the
// last one, and the session gives what the convolutions do.
func TestSessionsTakeTunedGraphs(t *testing.T) {
	needLibrary(t)
	g, err := paperDecoder(rand.New(rand.NewPCG(7, 8))).Bind(map[string]int64{"N": 1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := diff.VJP(g, diff.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := rewrite.Tuned(d)
	if err != nil {
		t.Fatal(err)
	}
	if up, down := graphtest.CountOps(h, "ConvTranspose"), graphtest.CountOps(h, "Conv"); up != 1 || down != 3+2*4 {
		t.Fatalf("%d transposed and %d other convolutions, expected 1 and 11", up, down)
	}
	sameSessions(t, d, 2e-6)
}

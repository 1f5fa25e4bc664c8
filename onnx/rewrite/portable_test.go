package rewrite

import (
	"math"
	"slices"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxpb"
)

// small is a graph of one node over an input x of the given shape, and what it gives for x = sin(0), sin(1), ….
func small(t *testing.T, shape []int64, build func(b *onnx.Builder) string) (*onnx.Graph, *eval.Array) {
	t.Helper()
	g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: graphtest.DimsOf(shape...)}}}
	b := onnx.NewBuilder(g, "")
	b.OutputAs("y", build(b))
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	x := eval.FloatArray(make([]float64, n), shape...)
	for i := range x.F {
		x.F[i] = math.Sin(float64(i))
	}
	return g, x
}

func evaluated(t *testing.T, g *onnx.Graph, x *eval.Array) *eval.Array {
	t.Helper()
	e, err := eval.New(g)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Run(map[string]*eval.Array{"x": x})
	if err != nil {
		t.Fatal(err)
	}
	return out["y"]
}

func closeTo(a, b *eval.Array) bool {
	return slices.Equal(a.Shape, b.Shape) && slices.EqualFunc(a.F, b.F, func(x, y float64) bool { return math.Abs(x-y) < 1e-12 })
}

func TestFoldWritesScalesThatAreWholeInFloat32AsSizes(t *testing.T) {
	for _, mode := range []string{"linear", "cubic"} {
		g, x := small(t, []int64{1, 1, 10, 10}, func(b *onnx.Builder) string {
			return b.OpAttr("Resize", map[string]onnx.Attr{"mode": onnx.StringAttr(mode)}, "x", "", b.Tensor(onnx.FloatTensor([]float32{1, 1, 0.7, 0.5}, 4)))
		})
		if d, ok := onnx.Known(g.Outputs[0].Shape); !ok || !slices.Equal(d, []int64{1, 1, 7, 5}) {
			t.Errorf("%s: found shape %v, expected [1 1 7 5]", mode, g.Outputs[0].Shape)
		}
		f, err := Simplify(g)
		if err != nil {
			t.Fatal(err)
		}
		if n := f.Nodes[0]; n.InName(2) != "" || n.InName(3) == "" {
			t.Errorf("%s: operands %q, expected sizes in place of scales", mode, n.In)
		}
		// The scale 7/10 and the float32 next to it differ.
		a, b := evaluated(t, g, x), evaluated(t, f, x)
		for i := range a.F {
			if math.Abs(a.F[i]-b.F[i]) > 1e-6 {
				t.Fatalf("%s: element %d: %g by scales, %g by sizes", mode, i, a.F[i], b.F[i])
			}
		}
	}
}

func TestFoldKeepsOtherScales(t *testing.T) {
	g, _ := small(t, []int64{1, 1, 10, 10}, func(b *onnx.Builder) string {
		return b.OpAttr("Resize", map[string]onnx.Attr{"mode": onnx.StringAttr("linear")}, "x", "", b.Tensor(onnx.FloatTensor([]float32{1, 1, 0.75, 2}, 4)))
	})
	f, err := Simplify(g)
	if err != nil {
		t.Fatal(err)
	}
	if n := f.Nodes[0]; n.InName(2) == "" {
		t.Errorf("operands %q, expected scales", n.In)
	}
}

// PyTorch writes scales for align_corners and means (in-1)/(out-1).
func TestScalesOfAlignedCornersFromPyTorchAreSizes(t *testing.T) {
	build := func(b *onnx.Builder) string {
		return b.OpAttr("Resize", map[string]onnx.Attr{"mode": onnx.StringAttr("linear"), "coordinate_transformation_mode": onnx.StringAttr("align_corners")},
			"x", "", b.Tensor(onnx.FloatTensor([]float32{1, 1, 1.7}, 3)))
	}
	g, _ := small(t, []int64{1, 1, 5}, build)
	x := eval.FloatArray([]float64{0, 1, 2, 3, 4}, 1, 1, 5)
	pytorch, other := parsed(t, g, "pytorch"), parsed(t, g, "another")
	want := eval.FloatArray([]float64{0, 1, 2, 3, 4, 5, 6, 7}, 1, 1, 8) // 5·1.7 = 8.5
	for i := range want.F {
		want.F[i] = float64(i) * 4 / 7
	}
	if y := evaluated(t, pytorch, x); !closeTo(y, want) {
		t.Errorf("found %v, expected %v", y.F, want.F)
	}
	for i := range want.F {
		want.F[i] = math.Min(4, float64(i)*4/(float64(5*float64(float32(1.7)))-1))
	}
	if y := evaluated(t, other, x); !closeTo(y, want) {
		t.Errorf("found %v, expected the standard's %v", y.F, want.F)
	}
}

// parsed is g read from a file of the given producer.
func parsed(t *testing.T, g *onnx.Graph, producer string) *onnx.Graph {
	t.Helper()
	data, err := g.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnxpb.Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	m.Producer = producer
	h, err := onnx.Parse(slices.Concat(m.Encode().Pieces()...), "")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestDilatedConvolutionsOfTheSameExtentGetPads(t *testing.T) {
	for _, c := range []struct {
		auto             string
		stride, dilation int64
	}{
		{"SAME_UPPER", 1, 2}, {"SAME_LOWER", 1, 3}, {"SAME_UPPER", 2, 2}, {"SAME_LOWER", 3, 2},
	} {
		g, x := small(t, []int64{2, 1, 9, 8}, func(b *onnx.Builder) string {
			w := onnx.FloatTensor([]float32{1, 2, 3, 4, 5, 6}, 1, 1, 2, 3)
			return b.OpAttr("Conv", map[string]onnx.Attr{"auto_pad": onnx.StringAttr(c.auto), "strides": onnx.IntsAttr(c.stride, c.stride),
				"dilations": onnx.IntsAttr(c.dilation, c.dilation)}, "x", b.Tensor(w))
		})
		h := parsed(t, g, "any")
		if h.Nodes[0].Attr["auto_pad"].String != "" || h.Nodes[0].Attr["pads"].Ints == nil {
			t.Errorf("%v: found attributes %v, expected pads", c, h.Nodes[0].Attr)
		}
		if a, b := evaluated(t, g, x), evaluated(t, h, x); !closeTo(a, b) {
			t.Errorf("%v: found %v, expected %v", c, b, a)
		}
	}
}

package onnx

import (
	"math"
	"slices"
	"testing"

	"lenskit/onnx/internal/onnxpb"
)

// small is a graph of one node over an input x of the given shape, and what it gives for x = sin(0), sin(1), ….
func small(t *testing.T, shape []int64, build func(b *Builder) string) (*Graph, *Array) {
	t.Helper()
	g := &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{Name: "x", Type: Float32, Shape: dimsOf(shape...)}}}
	b := NewBuilder(g, "")
	b.OutputAs("y", build(b))
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	x := FloatArray(make([]float64, n), shape...)
	for i := range x.F {
		x.F[i] = math.Sin(float64(i))
	}
	return g, x
}

func evaluated(t *testing.T, g *Graph, x *Array) *Array {
	t.Helper()
	e, err := NewEvaluator(g)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Run(map[string]*Array{"x": x})
	if err != nil {
		t.Fatal(err)
	}
	return out["y"]
}

func closeTo(a, b *Array) bool {
	return slices.Equal(a.Shape, b.Shape) && slices.EqualFunc(a.F, b.F, func(x, y float64) bool { return math.Abs(x-y) < 1e-12 })
}

func TestFoldWritesScalesThatAreWholeInFloat32AsSizes(t *testing.T) {
	for _, mode := range []string{"linear", "cubic"} {
		g, x := small(t, []int64{1, 1, 10, 10}, func(b *Builder) string {
			return b.OpAttr("Resize", map[string]Attr{"mode": StringAttr(mode)}, "x", "", b.Tensor(FloatTensor([]float32{1, 1, 0.7, 0.5}, 4)))
		})
		if d, ok := known(g.Outputs[0].Shape); !ok || !slices.Equal(d, []int64{1, 1, 7, 5}) {
			t.Errorf("%s: found shape %v, expected [1 1 7 5]", mode, g.Outputs[0].Shape)
		}
		f, err := simplify(g)
		if err != nil {
			t.Fatal(err)
		}
		if n := f.Nodes[0]; n.inName(2) != "" || n.inName(3) == "" {
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
	g, _ := small(t, []int64{1, 1, 10, 10}, func(b *Builder) string {
		return b.OpAttr("Resize", map[string]Attr{"mode": StringAttr("linear")}, "x", "", b.Tensor(FloatTensor([]float32{1, 1, 0.75, 2}, 4)))
	})
	f, err := simplify(g)
	if err != nil {
		t.Fatal(err)
	}
	if n := f.Nodes[0]; n.inName(2) == "" {
		t.Errorf("operands %q, expected scales", n.In)
	}
}

// PyTorch writes scales for align_corners and means (in-1)/(out-1).
func TestScalesOfAlignedCornersFromPyTorchAreSizes(t *testing.T) {
	build := func(b *Builder) string {
		return b.OpAttr("Resize", map[string]Attr{"mode": StringAttr("linear"), "coordinate_transformation_mode": StringAttr("align_corners")},
			"x", "", b.Tensor(FloatTensor([]float32{1, 1, 1.7}, 3)))
	}
	g, _ := small(t, []int64{1, 1, 5}, build)
	x := FloatArray([]float64{0, 1, 2, 3, 4}, 1, 1, 5)
	pytorch, other := parsed(t, g, "pytorch"), parsed(t, g, "another")
	want := FloatArray([]float64{0, 1, 2, 3, 4, 5, 6, 7}, 1, 1, 8) // 5·1.7 = 8.5
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
func parsed(t *testing.T, g *Graph, producer string) *Graph {
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
	h, err := Parse(slices.Concat(m.Encode().Pieces()...), "")
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
		g, x := small(t, []int64{2, 1, 9, 8}, func(b *Builder) string {
			w := FloatTensor([]float32{1, 2, 3, 4, 5, 6}, 1, 1, 2, 3)
			return b.OpAttr("Conv", map[string]Attr{"auto_pad": StringAttr(c.auto), "strides": IntsAttr(c.stride, c.stride),
				"dilations": IntsAttr(c.dilation, c.dilation)}, "x", b.Tensor(w))
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

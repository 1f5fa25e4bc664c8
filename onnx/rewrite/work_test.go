package rewrite

import (
	"math"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/symbolic"
)

// TestExtentsOutsideTheLimitsAreUnknown is of shapes that are extents only where a symbol is 0.
func TestExtentsOutsideTheLimitsAreUnknown(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(b *onnx.Builder) string
	}{
		{"product", func(b *onnx.Builder) string {
			n := b.Op("Gather", b.Op("Shape", "x"), b.Ints(0))
			return b.Op("Expand", b.Scalar(1), b.Op("Mul", n, b.Ints(1<<47+3)))
		}},
		{"sum", func(b *onnx.Builder) string {
			n := b.Op("Gather", b.Op("Shape", "x"), b.Ints(0))
			m := b.Op("Mul", n, b.Ints(math.MaxInt32))
			return b.Op("Expand", b.Scalar(1), b.Op("Add", m, m))
		}},
		{"negative", func(b *onnx.Builder) string {
			n := b.Op("Gather", b.Op("Shape", "x"), b.Ints(0))
			return b.OpAttr("ConstantOfShape", nil, b.Op("Neg", n))
		}},
		{"copies", func(b *onnx.Builder) string {
			return b.Op("Tile", b.Op("Tile", "x", b.Ints(1<<20, 1)), b.Ints(1<<20, 1))
		}},
		{"parts", func(b *onnx.Builder) string {
			x := b.Op("Tile", "x", b.Ints(1<<30, 1))
			return b.OpAttr("Concat", onnx.Attrs("axis", 0), x, x, x)
		}},
		{"axes together", func(b *onnx.Builder) string { return b.Op("Reshape", b.Op("Tile", "x", b.Ints(1<<30, 1)), b.Ints(-1)) }},
	} {
		g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "N"}, {N: 4, Sym: ""}}}}}
		b := onnx.NewBuilder(g, "")
		b.Output(c.build(b))
		if err := b.Err(); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		h, err := Fold(g)
		if err == nil {
			err = checker.Graph(h)
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if d := h.Outputs[0].Shape[0]; d.Known() || d.N != 1 || d.Sym[0] != '?' {
			t.Errorf("%s: found extent %v, expected an unknown one", c.name, d)
		}
	}
}

// TestValuesThatWrapOrRoundAreNotFollowed is of whole numbers that their type does not hold.
func TestValuesThatWrapOrRoundAreNotFollowed(t *testing.T) {
	for _, c := range []struct {
		op   string
		typ  onnx.DType
		a, b int64
		want bool
	}{
		{"Add", onnx.Int64, 1 << 40, 1, true},
		{"Add", onnx.Int32, 1 << 30, 1, true},
		{"Add", onnx.Int32, math.MaxInt32, 1, false},
		{"Mul", onnx.Int32, 1 << 16, 1 << 16, false},
		{"Mul", onnx.Uint8, 16, 16, false},
		{"Sub", onnx.Uint8, 1, 2, false},
		{"Add", onnx.Float32, 1 << 24, 1, false},
		{"Add", onnx.Float32, 1 << 23, 1, true},
	} {
		scalar := func(v int64) *onnx.Tensor {
			if c.typ == onnx.Float32 {
				return onnx.FloatTensor([]float32{float32(v)}, 1)
			}
			return &onnx.Tensor{Type: c.typ, Shape: []int64{1}, Ints: []int64{v}}
		}
		g := &onnx.Graph{Opset: map[string]int{"": 18}, Init: map[string]*onnx.Tensor{"a": scalar(c.a), "b": scalar(c.b)},
			Nodes: []*onnx.Node{{Op: c.op, In: []string{"a", "b"}, Out: []string{"y"}}}, Outputs: []onnx.Value{{Name: "y"}}}
		f, err := g.Inferred()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := f.Ints("y"); ok != c.want {
			t.Errorf("%s of %s %d and %d: found %v, expected %v", c.op, c.typ, c.a, c.b, ok, c.want)
		}
	}
	if s, ok := symbolic.Compare(onnx.Fixed(math.MinInt64), onnx.Fixed(1)); !ok || s != -1 {
		t.Errorf("-2⁶³ and 1 compare as %d", s)
	}
}

package onnx_test

import (
	"testing"

	"lenskit/onnx"
)

// TestBuilderOptions is of how a builder names nodes, shares them, and takes shapes and nodes back.
func TestBuilderOptions(t *testing.T) {
	n, m := onnx.Dim{N: 1, Sym: "N"}, onnx.Dim{N: 1, Sym: "M"}
	start := func() *onnx.Builder {
		return onnx.NewBuilder(&onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{
			{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{n, {N: 3}}}, {Name: "y", Type: onnx.Float32, Shape: []onnx.Dim{m, {N: 1}}},
		}}, "b_")
	}
	zeros := onnx.Attrs("value", onnx.TensorAttr(onnx.FloatTensor([]float32{0}, 1)))

	b := start()
	if p, q := b.Op("Add", "x", "y"), b.Op("Add", "x", "y"); p == q || b.Maker(q) != b.G.Nodes[1] || b.G.Nodes[1].Name != q {
		t.Errorf("found %q and %q made by nodes %q and %q, expected two nodes with the names of their results", p, q, b.G.Nodes[0].Name, b.G.Nodes[1].Name)
	}
	if s := b.Shape("b_Add_1"); len(s) != 2 || s[0].Known() || s[0] == n || s[0] == m || s[1] != onnx.Fixed(3) {
		t.Errorf("found shape %v of a sum over extents N and M, expected a symbol of its own and 3", s)
	}
	b.NodeNames = true
	if b.Make("z", "Neg", nil, "x"); b.G.Nodes[2].Name != "b_Neg_3" || b.G.Nodes[2].Out[0] != "z" {
		t.Errorf("found node %q that makes %q, expected b_Neg_3 and z", b.G.Nodes[2].Name, b.G.Nodes[2].Out[0])
	}

	b = start()
	b.Shared, b.Plain = true, true
	sum := b.Op("Add", "x", "y")
	if b.Shape(sum) != nil || b.Type(sum) != onnx.Float32 {
		t.Errorf("found %s %v, expected float32 of unknown shape", b.Type(sum), b.Shape(sum))
	}
	if s := b.Shape(b.Op("Neg", "x")); len(s) != 2 || s[0] != n {
		t.Errorf("found shape %v, expected that of x", s)
	}
	again := b.Op("Add", "x", "y", "")
	other := b.Op("Add", "y", "x")
	shape := b.Op("Shape", "x")
	first, second := b.OpAttr("ConstantOfShape", zeros, shape), b.OpAttr("ConstantOfShape", zeros, shape)
	if again != sum || other == sum || first == second || len(b.G.Nodes) != 6 {
		t.Errorf("found %d nodes, results %q, %q, %q, %q and %q, expected the first two to be one", len(b.G.Nodes), sum, again, other, first, second)
	}
	b.Ints(7)
	b.Clear()
	if fresh := b.Op("Add", "x", "y"); fresh == sum || len(b.G.Nodes) != 1 || len(b.G.Init) != 0 || b.Maker(sum) != nil || b.Err() != nil {
		t.Errorf("found %q, %d nodes, %d constants and %v after Clear, expected one new node", fresh, len(b.G.Nodes), len(b.G.Init), b.Err())
	}
}

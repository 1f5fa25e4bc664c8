package eval

import (
	"strings"
	"testing"

	"lenskit/onnx"
)

func TestLoopsOfTheEvaluatorAreBounded(t *testing.T) {
	grow := func(op string, in ...string) *onnx.Graph {
		n := &onnx.Node{Op: op, In: in, Out: []string{"s1"}, Attr: map[string]onnx.Attr{}}
		if op == "Concat" {
			n.Attr = onnx.Attrs("axis", 0)
		}
		body := &onnx.Graph{
			Inputs:  []onnx.Value{{Name: "i", Type: onnx.Int64, Shape: []onnx.Dim{}}, {Name: "c", Type: onnx.Bool, Shape: []onnx.Dim{}}, {Name: "s", Type: onnx.Float32}},
			Nodes:   []*onnx.Node{n, {Op: "Identity", In: []string{"c"}, Out: []string{"c1"}}},
			Outputs: []onnx.Value{{Name: "c1"}, {Name: "s1"}, {Name: "s1"}},
		}
		return &onnx.Graph{
			Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32}}, Outputs: []onnx.Value{{Name: "y"}},
			Init:  map[string]*onnx.Tensor{"m": onnx.IntTensor([]int64{1 << 62}, []int64{}...)},
			Nodes: []*onnx.Node{{Op: "Loop", Name: "l", In: []string{"m", "", "x"}, Out: []string{"y", "rows"}, Attr: map[string]onnx.Attr{"body": {Kind: onnx.AttrGraph, Graph: body}}}},
		}
	}
	for want, c := range map[string]struct {
		g *onnx.Graph
		x *Array
	}{
		"found loops that evaluate more than": {grow("Neg", "s"), FloatArray([]float64{1})},
		"found values of":                     {grow("Neg", "s"), FloatArray(make([]float64, 1<<20), 1<<20)},
	} {
		e, err := New(c.g)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = e.Run(map[string]*Array{"x": c.x}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("found %v, expected %q", err, want)
		}
	}
}

package rewrite

import (
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
)

// Names of modes and places of operands that changed in set 20, and the form of Scan that no later set has.
func TestFormsOfSet20(t *testing.T) {
	of := func(n *onnx.Node, opset int) (*onnx.Node, error) {
		g := &onnx.Graph{Opset: map[string]int{"": opset}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}, {N: 2}, {N: 3}, {N: 3}}}, {Name: "p", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}, {N: 2}, {N: 2}, {N: 2}}}},
			Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32}}, Nodes: []*onnx.Node{n}}
		h, err := g.Upgrade(20)
		if err != nil {
			return nil, err
		}
		if err := checker.Graph(h); err != nil {
			return nil, err
		}
		return h.Nodes[0], nil
	}
	n, err := of(&onnx.Node{Op: "GridSample", In: []string{"x", "p"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{"mode": onnx.StringAttr("bicubic")}}, 16)
	if err != nil || n.Str("mode", "") != "cubic" {
		t.Errorf("found %v, %v, expected the mode cubic", n, err)
	}
	n, err = of(&onnx.Node{Op: "DFT", In: []string{"x"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{"axis": onnx.IntAttr(2)}}, 17)
	if err != nil || len(n.In) != 3 || n.In[1] != "" || n.Attr["axis"].Kind != 0 {
		t.Errorf("found %v, %v, expected the axis as an operand", n, err)
	}
	body := &onnx.Graph{Inputs: []onnx.Value{{Name: "v", Type: onnx.Float32}}, Nodes: []*onnx.Node{{Op: "Neg", In: []string{"v"}, Out: []string{"w"}}}, Outputs: []onnx.Value{{Name: "w", Type: onnx.Float32}}}
	if _, err = of(&onnx.Node{Op: "Scan", In: []string{"", "x"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{"num_scan_inputs": onnx.IntAttr(1), "body": {Kind: onnx.AttrGraph, Graph: body}}}, 8); err == nil {
		t.Error("Scan of operator set 8 was taken for that of set 9")
	}
}

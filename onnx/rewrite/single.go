package rewrite

import (
	"slices"

	"lenskit/onnx"
)

// InDouble tells whether values of the graph are float64.
func InDouble(g *onnx.Graph) bool {
	for _, v := range g.Info {
		if v.Type == onnx.Float64 {
			return true
		}
	}
	return slices.ContainsFunc(slices.Concat(g.Inputs, g.Outputs), func(v onnx.Value) bool { return v.Type == onnx.Float64 })
}

// InSingle returns the graph with float32 in the place of float64, of which onnxruntime has few operators. Graphs in
// attributes stay as they are.
func InSingle(g *onnx.Graph) (*onnx.Graph, error) {
	h := g.Shallow()
	single := func(t onnx.DType) onnx.DType {
		if t == onnx.Float64 {
			return onnx.Float32
		}
		return t
	}
	for _, list := range [][]onnx.Value{h.Inputs, h.Outputs} {
		for i := range list {
			list[i].Type = single(list[i].Type)
		}
	}
	for name, t := range h.Init {
		h.Init[name] = inSingle(t)
	}
	for _, n := range h.Nodes {
		attr := map[string]onnx.Attr{}
		for k, a := range n.Attr {
			switch {
			case a.Kind == onnx.AttrTensor && a.Tensor != nil:
				a.Tensor = inSingle(a.Tensor)
			case a.Kind == onnx.AttrInt && (k == "to" || k == "dtype" || k == "output_dtype" || k == "stash_type"):
				a.Int = int64(single(onnx.DType(a.Int)))
			}
			attr[k] = a
		}
		n.Attr = attr
	}
	h.Info = map[string]onnx.Value{}
	return h, h.Infer()
}

// inSingle is the tensor, rounded to float32 where it is float64.
func inSingle(t *onnx.Tensor) *onnx.Tensor {
	if t.Type != onnx.Float64 {
		return t
	}
	s := &onnx.Tensor{Type: onnx.Float32, Shape: t.Shape, Floats: make([]float32, len(t.Doubles))}
	for i, v := range t.Doubles {
		s.Floats[i] = float32(v)
	}
	return s
}

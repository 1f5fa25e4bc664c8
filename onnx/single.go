package onnx

import "slices"

// InDouble tells whether values of the graph are float64.
func (g *Graph) InDouble() bool {
	for _, v := range g.Info {
		if v.Type == Float64 {
			return true
		}
	}
	return slices.ContainsFunc(slices.Concat(g.Inputs, g.Outputs), func(v Value) bool { return v.Type == Float64 })
}

// InSingle returns the graph with float32 in the place of float64, of which onnxruntime has few operators. Graphs in
// attributes stay as they are.
func (g *Graph) InSingle() (*Graph, error) {
	h := g.shallow()
	single := func(t DType) DType {
		if t == Float64 {
			return Float32
		}
		return t
	}
	for _, list := range [][]Value{h.Inputs, h.Outputs} {
		for i := range list {
			list[i].Type = single(list[i].Type)
		}
	}
	for name, t := range h.Init {
		h.Init[name] = t.single()
	}
	for _, n := range h.Nodes {
		attr := map[string]Attr{}
		for k, a := range n.Attr {
			switch {
			case a.Kind == AttrTensor && a.Tensor != nil:
				a.Tensor = a.Tensor.single()
			case a.Kind == AttrInt && (k == "to" || k == "dtype" || k == "output_dtype" || k == "stash_type"):
				a.Int = int64(single(DType(a.Int)))
			}
			attr[k] = a
		}
		n.Attr = attr
	}
	h.Info = map[string]Value{}
	return h, h.Infer()
}

// single is the tensor, rounded to float32 where it is float64.
func (t *Tensor) single() *Tensor {
	if t.Type != Float64 {
		return t
	}
	s := &Tensor{Type: Float32, Shape: t.Shape, Floats: make([]float32, len(t.Doubles))}
	for i, v := range t.Doubles {
		s.Floats[i] = float32(v)
	}
	return s
}

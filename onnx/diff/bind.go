package diff

import (
	"fmt"
	"slices"

	"lenskit/onnx"
	"lenskit/onnx/rewrite"
)

// BindInput returns the graph with the input name of the given shape; symbols that the input's shape held become
// numbers throughout. A shape that the input cannot have is an error.
func BindInput(g *onnx.Graph, name string, shape []int64) (*onnx.Graph, error) {
	i := slices.IndexFunc(g.Inputs, func(v onnx.Value) bool { return v.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("onnx: bind: found no input %q, expected one of %q", name, rewrite.ValueNames(g.Inputs))
	}
	was := g.Inputs[i].Shape
	mismatch := func() error {
		return fmt.Errorf("onnx: bind: input %q: found shape %v, expected %v", name, shape, was)
	}
	if was != nil && len(was) != len(shape) {
		return nil, mismatch()
	}
	if _, err := onnx.SizeOf(shape); err != nil {
		return nil, fmt.Errorf("onnx: bind: input %q: %w", name, err)
	}
	sym := map[string]int64{}
	for k, d := range was {
		switch {
		case d.Known():
			if d.N != shape[k] {
				return nil, mismatch()
			}
		case d.N == 0 || shape[k]%d.N != 0:
			return nil, mismatch()
		default:
			n := shape[k] / d.N
			if v, ok := sym[d.Sym]; ok && v != n {
				return nil, mismatch()
			}
			sym[d.Sym] = n
		}
	}
	h := *g
	if was == nil {
		h.Inputs = slices.Clone(g.Inputs)
		for _, d := range shape {
			h.Inputs[i].Shape = append(h.Inputs[i].Shape, onnx.Fixed(d))
		}
		if h.Inputs[i].Shape == nil {
			h.Inputs[i].Shape = []onnx.Dim{}
		}
	}
	return h.Bind(sym)
}

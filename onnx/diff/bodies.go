package diff

import (
	"maps"
	"slices"

	"lenskit/onnx"
)

// renamed is a copy of g in which every value, in its bodies too, has the name that f gives it. f must not give two
// names the same one.
func renamed(g *onnx.Graph, f func(string) string) *onnx.Graph {
	name := func(s string) string {
		if s == "" {
			return ""
		}
		return f(s)
	}
	values := func(list []onnx.Value) []onnx.Value {
		out := slices.Clone(list)
		for i := range out {
			out[i].Name = name(out[i].Name)
		}
		return out
	}
	names := func(list []string) []string {
		out := slices.Clone(list)
		for i := range out {
			out[i] = name(out[i])
		}
		return out
	}
	h := *g
	h.Inputs, h.Outputs = values(g.Inputs), values(g.Outputs)
	h.Init, h.Info = map[string]*onnx.Tensor{}, map[string]onnx.Value{}
	for _, s := range onnx.SortedKeys(g.Init) {
		h.Init[name(s)] = g.Init[s]
	}
	h.Nodes = make([]*onnx.Node, len(g.Nodes))
	for i, n := range g.Nodes {
		m := *n
		if m.Name == "" && len(n.Out) > 0 {
			m.Name = n.Out[0] // what messages call it
		}
		m.In, m.Out = names(n.In), names(n.Out)
		if onnx.HasGraph(n) {
			m.Attr = maps.Clone(n.Attr)
			for _, k := range onnx.SortedKeys(n.Attr) {
				if a := n.Attr[k]; a.Graph != nil {
					a.Graph = renamed(a.Graph, f)
					m.Attr[k] = a
				}
			}
		}
		h.Nodes[i] = &m
	}
	return &h
}

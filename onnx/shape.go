package onnx

import "slices"

// knownInts is what is known of the values of a small integer tensor: one Dim per element.
type knownInts struct {
	shape []int64
	elems []Dim
}

// inferer infers types and shapes node by node.
type inferer struct {
	g     *Graph
	in    map[string]Value // graph inputs
	vals  map[string]knownInts
	outer *inferer // of the graph around a sub-graph
}

func newInferer(g *Graph) *inferer {
	if g.Info == nil {
		g.Info = map[string]Value{}
	}
	f := &inferer{g: g, in: map[string]Value{}, vals: map[string]knownInts{}}
	for _, v := range g.Inputs {
		f.in[v.Name] = v
	}
	return f
}

// value is what is known of a value.
func (f *inferer) value(name string) Value {
	if v, ok := f.in[name]; ok {
		return v
	}
	if t, ok := f.g.Init[name]; ok {
		v := Value{Name: name, Type: t.Type, Shape: make([]Dim, len(t.Shape))}
		for i, d := range t.Shape {
			v.Shape[i] = Dim{N: d}
		}
		return v
	}
	if v, ok := f.g.Info[name]; ok {
		return v
	}
	if f.outer != nil {
		return f.outer.value(name)
	}
	return Value{Name: name}
}

func (f *inferer) typ(name string) DType { return f.value(name).Type }

func (f *inferer) shape(name string) []Dim { return slices.Clone(f.value(name).Shape) }

// node infers the outputs of n.
func (f *inferer) node(n *Node) error { return nil }

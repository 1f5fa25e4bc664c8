package onnx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lenskit/onnx/symbolic"
)

// Inferer infers types and shapes, and the values of shape arithmetic, node by node.
type Inferer struct {
	*symbolic.Algebra
	G     *Graph
	Vals  map[string]symbolic.Ints
	Outer *Inferer         // of the graph around a sub-graph; set by Within
	in    map[string]Value // graph inputs
}

// Within says that the graph stands in that of outer, or reads its values: what it does not make is looked for there, and
// symbols are shared.
func (f *Inferer) Within(outer *Inferer) { f.Outer, f.Algebra.Outer = outer, outer.Algebra }

// Infer fills Info with the type and the shape of every value of the graph, as far as the inputs determine them, and
// brings the types and shapes of Outputs up to date. Shapes may depend on the values of small integer tensors: these
// are followed through the operators that exporters use for shape arithmetic.
//
// What Info held before is used only for values of which nothing could be inferred.
func (g *Graph) Infer() error {
	_, err := g.Inferred()
	return err
}

// Inferred is Infer; the inferer that it returns knows the values of shape arithmetic.
func (g *Graph) Inferred() (*Inferer, error) {
	old := g.Info
	g.Info = maps.Clone(old)
	f := NewInferer(g)
	for i, n := range g.Nodes {
		if err := f.Node(n); err != nil {
			g.Info = old
			return nil, fmt.Errorf("onnx: infer shapes: node %s (%s, opset %d): %w", NodeName(n.Name, i), OpName(n), g.Opset[n.Domain], err)
		}
	}
	for _, v := range g.Inputs {
		g.Info[v.Name] = v
	}
	for name := range g.Init {
		g.Info[name] = f.Value(name)
	}
	outs := slices.Clone(g.Outputs)
	for i, v := range outs {
		x := f.Value(v.Name)
		if x.Type == Undefined {
			x.Type = v.Type
		}
		if x.Shape == nil {
			x.Shape = v.Shape
		} else if len(v.Shape) == len(x.Shape) {
			x.Shape = slices.Clone(x.Shape)
			for k, d := range v.Shape {
				// A declared number tells more than a symbol that only stands for an unknown expression.
				if y := x.Shape[k]; d.Known() && !y.Known() && y.Sym[0] == '?' {
					x.Shape[k] = d
				}
			}
		}
		outs[i] = x
		g.Info[v.Name] = x
	}
	g.Outputs = outs
	return f, nil
}

// NewInferer prepares the inference of g, whose nodes, if it has any, are taken as they are described by g.Info.
func NewInferer(g *Graph) *Inferer {
	if g.Info == nil {
		g.Info = map[string]Value{}
	}
	f := &Inferer{Algebra: symbolic.NewAlgebra(), G: g, in: map[string]Value{}, Vals: map[string]symbolic.Ints{}}
	for _, v := range g.Inputs {
		f.in[v.Name] = v
		f.reserve(v.Shape)
	}
	for _, v := range g.Info {
		f.reserve(v.Shape)
	}
	for _, v := range g.Outputs {
		f.reserve(v.Shape)
	}
	return f
}

// reserve keeps the numbers of the symbols in s from being given out again.
func (f *Inferer) reserve(s []Dim) {
	for _, d := range s {
		if rest, ok := strings.CutPrefix(d.Sym, "?"); ok {
			if k, err := strconv.Atoi(rest); err == nil && k < 1<<40 {
				f.Next = max(f.Next, k)
			}
		}
	}
}

// Value is what is known of a value.
func (f *Inferer) Value(name string) Value {
	if v, ok := f.in[name]; ok {
		return v
	}
	if t, ok := f.G.Init[name]; ok {
		return t.Value(name)
	}
	if v, ok := f.G.Info[name]; ok {
		return v
	}
	if f.Outer != nil {
		return f.Outer.Value(name)
	}
	return Value{Name: name}
}

func (f *Inferer) Typ(name string) DType { return f.Value(name).Type }

func (f *Inferer) shape(name string) []Dim { return slices.Clone(f.Value(name).Shape) }

// Ints are the values of a small integer tensor.
func (f *Inferer) Ints(name string) (symbolic.Ints, bool) {
	if v, ok := f.Vals[name]; ok {
		return v, true
	}
	t := f.G.Init[name]
	if t == nil {
		if f.Outer != nil && name != "" {
			if _, own := f.G.Info[name]; !own {
				return f.Outer.Ints(name)
			}
		}
		return symbolic.Ints{}, false
	}
	n := t.Count()
	if n < 0 || n > symbolic.MaxInts || t.Type == String {
		return symbolic.Ints{}, false
	}
	k := symbolic.Ints{Shape: t.Shape, Elems: make([]Dim, n)}
	for i := range k.Elems {
		if t.Ints != nil {
			k.Elems[i] = Fixed(t.Ints[i])
			continue
		}
		v := t.Float(i)
		if v != float64(int64(v)) {
			return symbolic.Ints{}, false
		}
		k.Elems[i] = Fixed(int64(v))
	}
	f.Vals[name] = k
	return k, true
}

// shapeOf is the inference of an operator; those with bodies infer the nodes in them.
func shapeOf(op string) shapeFunc {
	switch op {
	case "If":
		return ifShape
	case "Loop":
		return loopShape
	case "Scan":
		return scanShape
	}
	return ShapeTable[op]
}

// Node infers the outputs of n.
func (f *Inferer) Node(n *Node) error {
	c := &ShapeCall{Inferer: f, N: n, Out: make([]Value, len(n.Out))}
	if fn := shapeOf(n.Op); fn != nil && n.Domain == "" {
		if len(n.Out) == 0 {
			return errors.New("found no outputs, expected at least one")
		}
		if err := fn(c); err != nil {
			return err
		}
	}
	for i, name := range n.Out {
		if name == "" {
			continue
		}
		v, hint := c.Out[i], f.G.Info[name]
		if v.Type == Undefined {
			v.Type = hint.Type
		}
		if v.Shape == nil {
			v.Shape = hint.Shape
		}
		if len(v.Shape) > MaxRank {
			return fmt.Errorf("output %q: found rank %d, expected at most %d", name, len(v.Shape), MaxRank)
		}
		for k, d := range v.Shape {
			switch {
			case d.Known() && (d.N < 0 || d.N > MaxExtent):
				return fmt.Errorf("output %q: found shape %v, expected extents 0 to %d", name, v.Shape, MaxExtent)
			case !d.Known() && (d.N < 1 || d.N > MaxExtent):
				// A multiple that is an extent only where it is 0: any extent may stand there.
				v.Shape = slices.Clone(v.Shape)
				v.Shape[k] = f.Fresh(fmt.Sprintf("extent(%v)", d))
			}
		}
		v.Name = name
		f.G.Info[name] = v
	}
	if k, ok := c.propagate(); ok && len(n.Out) > 0 && n.Out[0] != "" {
		f.Vals[n.Out[0]] = k
	}
	if n.Op == "Split" && n.Domain == "" {
		for i, name := range n.Out {
			if k, ok := c.splitValues(i); ok && name != "" {
				f.Vals[name] = k
			}
		}
	}
	return nil
}

// Bind returns the graph with symbols of its shapes replaced by numbers, and infers shapes again.
func (g *Graph) Bind(sym map[string]int64) (*Graph, error) {
	for _, s := range SortedKeys(sym) {
		if v := sym[s]; v < 0 || v > MaxExtent {
			return nil, fmt.Errorf("onnx: bind: symbol %q: found %d, expected 0 to %d", s, v, MaxExtent)
		}
	}
	subst := func(v Value) Value {
		v.Shape = slices.Clone(v.Shape)
		for i, d := range v.Shape {
			if x, ok := sym[d.Sym]; ok && d.Sym != "" {
				v.Shape[i] = Fixed(d.N * x)
			}
		}
		return v
	}
	h := *g
	h.Inputs, h.Outputs, h.Info = nil, nil, map[string]Value{}
	for _, v := range g.Inputs {
		h.Inputs = append(h.Inputs, subst(v))
	}
	for _, v := range g.Outputs {
		h.Outputs = append(h.Outputs, subst(v))
	}
	for k, v := range g.Info {
		h.Info[k] = subst(v)
	}
	if err := h.Infer(); err != nil {
		return nil, err
	}
	return &h, nil
}

package onnx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxKnown is the largest number of elements of an integer tensor whose values are followed.
const maxKnown = 1024

// knownInts is what is known of the values of a small integer tensor (or one of floats that are whole numbers): one
// Dim per element, in row-major order.
type knownInts struct {
	shape []int64
	elems []Dim
}

// inferer infers types and shapes, and the values of shape arithmetic, node by node.
type inferer struct {
	g     *Graph
	in    map[string]Value // graph inputs
	vals  map[string]knownInts
	exprs map[string]Dim // symbols made for expressions
	next  int            // number of the last symbol made
	outer *inferer       // of the graph around a sub-graph
}

// Infer fills Info with the type and the shape of every value of the graph, as far as the inputs determine them, and
// brings the types and shapes of Outputs up to date. Shapes may depend on the values of small integer tensors: these
// are followed through the operators that exporters use for shape arithmetic.
//
// What Info held before is used only for values of which nothing could be inferred.
func (g *Graph) Infer() error {
	_, err := g.infer()
	return err
}

// infer is Infer; the inferer that it returns knows the values of shape arithmetic.
func (g *Graph) infer() (*inferer, error) {
	old := g.Info
	g.Info = maps.Clone(old)
	f := newInferer(g)
	for i, n := range g.Nodes {
		if err := f.node(n); err != nil {
			g.Info = old
			return nil, fmt.Errorf("onnx: infer shapes: node %s (%s, opset %d): %w", nodeName(n.Name, i), opName(n), g.Opset[n.Domain], err)
		}
	}
	for _, v := range g.Inputs {
		g.Info[v.Name] = v
	}
	for name := range g.Init {
		g.Info[name] = f.value(name)
	}
	outs := slices.Clone(g.Outputs)
	for i, v := range outs {
		x := f.value(v.Name)
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

// newInferer prepares the inference of g, whose nodes, if it has any, are taken as they are described by g.Info.
func newInferer(g *Graph) *inferer {
	if g.Info == nil {
		g.Info = map[string]Value{}
	}
	f := &inferer{g: g, in: map[string]Value{}, vals: map[string]knownInts{}, exprs: map[string]Dim{}}
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
func (f *inferer) reserve(s []Dim) {
	for _, d := range s {
		if rest, ok := strings.CutPrefix(d.Sym, "?"); ok {
			if k, err := strconv.Atoi(rest); err == nil && k < 1<<40 {
				f.next = max(f.next, k)
			}
		}
	}
}

// value is what is known of a value.
func (f *inferer) value(name string) Value {
	if v, ok := f.in[name]; ok {
		return v
	}
	if t, ok := f.g.Init[name]; ok {
		v := Value{Name: name, Type: t.Type, Shape: make([]Dim, len(t.Shape))}
		for i, d := range t.Shape {
			v.Shape[i] = num(d)
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

// ints are the values of a small integer tensor.
func (f *inferer) ints(name string) (knownInts, bool) {
	if v, ok := f.vals[name]; ok {
		return v, true
	}
	t := f.g.Init[name]
	if t == nil {
		if f.outer != nil && name != "" {
			if _, own := f.g.Info[name]; !own {
				return f.outer.ints(name)
			}
		}
		return knownInts{}, false
	}
	n := t.count()
	if n < 0 || n > maxKnown || t.Type == String {
		return knownInts{}, false
	}
	k := knownInts{shape: t.Shape, elems: make([]Dim, n)}
	for i := range k.elems {
		if t.Ints != nil {
			k.elems[i] = num(t.Ints[i])
			continue
		}
		v := t.Float(i)
		if v != float64(int64(v)) {
			return knownInts{}, false
		}
		k.elems[i] = num(int64(v))
	}
	f.vals[name] = k
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
	return shapeTable[op]
}

// node infers the outputs of n.
func (f *inferer) node(n *Node) error {
	c := &shapeCall{inferer: f, n: n, out: make([]Value, len(n.Out))}
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
		v, hint := c.out[i], f.g.Info[name]
		if v.Type == Undefined {
			v.Type = hint.Type
		}
		if v.Shape == nil {
			v.Shape = hint.Shape
		}
		if len(v.Shape) > maxRank {
			return fmt.Errorf("output %q: found rank %d, expected at most %d", name, len(v.Shape), maxRank)
		}
		for k, d := range v.Shape {
			switch {
			case d.Known() && (d.N < 0 || d.N > maxExtent):
				return fmt.Errorf("output %q: found shape %v, expected extents 0 to %d", name, v.Shape, maxExtent)
			case !d.Known() && (d.N < 1 || d.N > maxExtent):
				// A multiple that is an extent only where it is 0: any extent may stand there.
				v.Shape = slices.Clone(v.Shape)
				v.Shape[k] = f.fresh(fmt.Sprintf("extent(%v)", d))
			}
		}
		v.Name = name
		f.g.Info[name] = v
	}
	if k, ok := c.propagate(); ok && len(n.Out) > 0 && n.Out[0] != "" {
		f.vals[n.Out[0]] = k
	}
	if n.Op == "Split" && n.Domain == "" {
		for i, name := range n.Out {
			if k, ok := c.splitValues(i); ok && name != "" {
				f.vals[name] = k
			}
		}
	}
	return nil
}

// Bind returns the graph with symbols of its shapes replaced by numbers, and infers shapes again.
func (g *Graph) Bind(sym map[string]int64) (*Graph, error) {
	for _, s := range sortedKeys(sym) {
		if v := sym[s]; v < 0 || v > maxExtent {
			return nil, fmt.Errorf("onnx: bind: symbol %q: found %d, expected 0 to %d", s, v, maxExtent)
		}
	}
	subst := func(v Value) Value {
		v.Shape = slices.Clone(v.Shape)
		for i, d := range v.Shape {
			if x, ok := sym[d.Sym]; ok && d.Sym != "" {
				v.Shape[i] = num(d.N * x)
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

// BindInput returns the graph with the input name of the given shape; symbols that the input's shape held become
// numbers throughout. A shape that the input cannot have is an error.
func (g *Graph) BindInput(name string, shape []int64) (*Graph, error) {
	i := slices.IndexFunc(g.Inputs, func(v Value) bool { return v.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("onnx: bind: found no input %q, expected one of %q", name, valueNameList(g.Inputs))
	}
	was := g.Inputs[i].Shape
	mismatch := func() error {
		return fmt.Errorf("onnx: bind: input %q: found shape %v, expected %v", name, shape, was)
	}
	if was != nil && len(was) != len(shape) {
		return nil, mismatch()
	}
	if _, err := sizeOf(shape); err != nil {
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
			h.Inputs[i].Shape = append(h.Inputs[i].Shape, num(d))
		}
		if h.Inputs[i].Shape == nil {
			h.Inputs[i].Shape = []Dim{}
		}
	}
	return h.Bind(sym)
}

func valueNameList(v []Value) []string {
	var s []string
	for _, x := range v {
		s = append(s, x.Name)
	}
	return s
}

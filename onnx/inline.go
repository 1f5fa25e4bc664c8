package onnx

import (
	"errors"
	"fmt"
	"maps"
)

// Limits on what inlining may make of a file.
const (
	MaxNodes       = 1 << 17 // nodes of a graph, its sub-graphs included
	MaxInlineDepth = 64      // calls within calls
)

// MaxOpset is the newest operator set whose operators are known.
const MaxOpset = 28

// loadOpset is the operator set to which the operators of older models are brought.
const loadOpset = 18

// FuncKey names a function of the model.
type FuncKey struct{ domain, name, overload string }

// Function is a function of the model: a graph without types whose attributes may refer to those of the call.
type Function struct {
	in, out  []string
	nodes    []*Node
	defaults map[string]Attr
	opset    map[string]int
}

// normaliser rebuilds a graph node by node: it inlines, turns Constant nodes into initialisers and upgrades operators.
type normaliser struct {
	b        *Builder
	fns      map[FuncKey]*Function
	overload map[*Node]string
	opset    map[string]int // of the graph that comes out
	used     map[string]bool
	budget   *int
	unroll   *Unroller // nil: loops stay
}

// irScope is where a node stands: how its names and attribute references are to be read.
type irScope struct {
	parent *irScope          // the graph around a branch; nil at the top and in functions
	names  map[string]string // new names of the values of this function or branch
	attrs  map[string]Attr   // attributes of the call
	opset  map[string]int    // of the nodes
	top    bool
	stays  bool // the body of a node that stays: its nodes keep their names
	depth  int
}

// Normalise brings a graph as read into the form that Parse describes.
// The graph comes out in operator set atLeast or a newer one.
func Normalise(g *Graph, fns map[FuncKey]*Function, overload map[*Node]string, atLeast int) (*Graph, error) {
	return NormaliseWith(g, fns, overload, atLeast, nil)
}

// NormaliseWith is normalise; it writes out the loops that u names.
func NormaliseWith(g *Graph, fns map[FuncKey]*Function, overload map[*Node]string, atLeast int, u *Unroller) (*Graph, error) {
	opset := maps.Clone(g.Opset)
	if opset == nil {
		opset = map[string]int{}
	}
	// With functions of other operator sets the newest of all holds for the graph.
	opset[""] = max(opset[""], loadOpset, atLeast)
	from := maps.Clone(g.Opset)
	if from[""] == 0 {
		from = map[string]int{"": opset[""]}
	}
	for _, f := range fns {
		opset[""] = max(opset[""], f.opset[""])
	}
	if err := TopoSort(g); err != nil {
		return nil, err
	}
	out := &Graph{Name: g.Name, Opset: opset, Inputs: g.Inputs, Outputs: g.Outputs, Init: g.Init, Info: g.Info, Meta: g.Meta}
	budget := MaxNodes
	z := &normaliser{b: NewBuilder(out, "ir_"), fns: fns, overload: overload, opset: opset, used: map[string]bool{"": true}, budget: &budget, unroll: u}
	for _, n := range g.Nodes {
		for _, s := range n.Out {
			z.b.Taken[s] = true
		}
	}
	top := &irScope{top: true, opset: from}
	for i, n := range g.Nodes {
		if err := z.node(n, top); err != nil {
			return nil, fmt.Errorf("node %s (%s, opset %d): %w", NodeName(n.Name, i), OpName(n), g.Opset[n.Domain], err)
		}
	}
	for d := range opset {
		if !z.used[d] {
			delete(opset, d)
		}
	}
	if err := out.CheckNames(nil); err != nil {
		return nil, err
	}
	return out, nil
}

// lookup is the new name of a value.
func (z *normaliser) lookup(s *irScope, name string) string {
	if name == "" {
		return ""
	}
	for ; s != nil; s = s.parent {
		if s.top {
			return name
		}
		if v, ok := s.names[name]; ok {
			return v
		}
		if s.parent == nil {
			// A name that a function's body does not make must not meet one of the caller's.
			s.names[name] = z.b.Reserve(name)
			return s.names[name]
		}
	}
	return name
}

// define gives a value of the scope its new name.
func (z *normaliser) define(s *irScope, name string) string {
	if name == "" || s.top {
		return name
	}
	if v, ok := s.names[name]; ok {
		return v
	}
	s.names[name] = z.b.Reserve(name)
	return s.names[name]
}

// node puts one node of scope s into the new graph.
func (z *normaliser) node(n *Node, s *irScope) error {
	if *z.budget--; *z.budget < 0 {
		return fmt.Errorf("found more than %d nodes after inlining", MaxNodes)
	}
	if f := z.fns[FuncKey{n.Domain, n.Op, z.overload[n]}]; f != nil {
		return z.call(f, n, s)
	}
	c := &Node{Op: n.Op, Domain: n.Domain, Name: n.Name}
	if !s.top && !s.stays {
		c.Name = z.b.Reserve(n.Name)
	}
	for _, v := range n.In {
		c.In = append(c.In, z.lookup(s, v))
	}
	attr, err := z.attrs(n, s)
	if err != nil {
		return err
	}
	if n.Op == "If" && n.Domain == "" {
		if t, ok := z.b.Inf.Ints(c.InName(0)); ok && len(t.Elems) == 1 && t.Elems[0].Known() {
			branch := attr["else_branch"].Graph
			if t.Elems[0].N != 0 {
				branch = attr["then_branch"].Graph
			}
			return z.branch(branch, n, s)
		}
	}
	if s.top && z.unroll != nil && z.unroll.Loops[n.FirstResult()] {
		why, err := z.unrolled(n, c.In, attr["body"].Graph, s)
		if why == "" || err != nil {
			return err
		}
		z.unroll.Why[n.FirstResult()] = why
	}
	for _, v := range n.Out {
		c.Out = append(c.Out, z.define(s, v))
	}
	for _, k := range SortedKeys(attr) {
		if a := attr[k]; a.Kind == AttrGraph {
			if a.Graph, err = z.subgraph(a.Graph, s); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			attr[k] = a
		}
	}
	c.Attr = attr
	if c.Domain != "" {
		z.used[c.Domain] = true
		z.b.Append(c)
		return nil
	}
	if k := typeAttrs[c.Op]; k != "" && attr[k].Kind == AttrInt {
		a := attr[k]
		if d := DType(a.Int); c.Op != "Cast" || !d.Narrow() {
			a.Int = int64(d.Widened())
		}
		attr[k] = a
	}
	if c.Op == "Constant" {
		if len(c.Out) != 1 || c.Out[0] == "" {
			return fmt.Errorf("found %d outputs, expected 1", len(c.Out))
		}
		if z.b.G.Init[c.Out[0]] != nil {
			return fmt.Errorf("value %q: defined twice", c.Out[0])
		}
		t, err := c.Constant()
		z.b.G.Init[c.Out[0]] = t
		return err
	}
	return z.upgrade(c, s.opset[""])
}

// typeAttrs are the attributes that hold an element type, by operator; half precision in them is widened.
var typeAttrs = map[string]string{
	"Cast": "to", "EyeLike": "dtype", "RandomNormal": "dtype", "RandomUniform": "dtype", "RandomNormalLike": "dtype",
	"RandomUniformLike": "dtype", "Bernoulli": "dtype", "Multinomial": "dtype", "SequenceEmpty": "dtype",
	"HannWindow": "output_datatype", "HammingWindow": "output_datatype", "BlackmanWindow": "output_datatype",
	"MelWeightMatrix": "output_datatype", "DequantizeLinear": "output_dtype",
}

// InName is the name of operand i, "" when it is left out.
func (n *Node) InName(i int) string {
	if i < len(n.In) {
		return n.In[i]
	}
	return ""
}

// attrs resolves the attributes of a node that refer to those of the function's call.
func (z *normaliser) attrs(n *Node, s *irScope) (map[string]Attr, error) {
	if len(n.Attr) == 0 {
		return nil, nil
	}
	m := make(map[string]Attr, len(n.Attr))
	for k, a := range n.Attr {
		if a.Ref == "" {
			m[k] = a
			continue
		}
		call := s
		for call.parent != nil {
			call = call.parent
		}
		if call.top {
			return nil, fmt.Errorf("attribute %q: found a reference to %q outside of a function", k, a.Ref)
		}
		if v, ok := call.attrs[a.Ref]; ok {
			if a.Kind != 0 && v.Kind != a.Kind {
				return nil, fmt.Errorf("attribute %q: found kind %d, expected %d", k, v.Kind, a.Kind)
			}
			m[k] = v
		}
	}
	return m, nil
}

// Constant is the value of a Constant node.
func (n *Node) Constant() (*Tensor, error) {
	if len(n.Attr) != 1 {
		return nil, fmt.Errorf("found %d attributes, expected one value", len(n.Attr))
	}
	for k, a := range n.Attr {
		switch {
		case k == "value" && a.Kind == AttrTensor:
			return a.Tensor, nil
		case k == "value_float" && a.Kind == AttrFloat:
			return FloatTensor([]float32{float32(a.Float)}, []int64{}...), nil
		case k == "value_int" && a.Kind == AttrInt:
			return IntTensor([]int64{a.Int}, []int64{}...), nil
		case k == "value_floats" && a.Kind == AttrFloats:
			v := make([]float32, len(a.Floats))
			for i, x := range a.Floats {
				v[i] = float32(x)
			}
			return FloatTensor(v, int64(len(v))), nil
		case k == "value_ints" && a.Kind == AttrInts:
			return IntTensor(a.Ints, int64(len(a.Ints))), nil
		case k == "value_string" && a.Kind == AttrString:
			return &Tensor{Type: String, Shape: []int64{}, Strings: []string{a.String}}, nil
		case k == "value_strings" && a.Kind == AttrStrings:
			return &Tensor{Type: String, Shape: []int64{int64(len(a.Strings))}, Strings: a.Strings}, nil
		}
		return nil, fmt.Errorf("attribute %q: found kind %d, expected a dense value", k, a.Kind)
	}
	return nil, nil
}

// call puts the body of function f in the place of node n.
func (z *normaliser) call(f *Function, n *Node, s *irScope) error {
	if s.depth >= MaxInlineDepth {
		return fmt.Errorf("found calls nested deeper than %d", MaxInlineDepth)
	}
	if len(n.In) > len(f.in) || len(n.Out) > len(f.out) {
		return fmt.Errorf("found %d inputs and %d outputs, expected at most %d and %d", len(n.In), len(n.Out), len(f.in), len(f.out))
	}
	in := &irScope{names: map[string]string{}, attrs: maps.Clone(f.defaults), opset: f.opset, depth: s.depth + 1}
	if in.opset[""] == 0 {
		in.opset = s.opset
	}
	attr, err := z.attrs(n, s)
	if err != nil {
		return err
	}
	maps.Copy(in.attrs, attr)
	for i, name := range f.in {
		in.names[name] = z.lookup(s, n.InName(i))
	}
	return z.splice(f.nodes, f.out, n, s, in)
}

// branch puts the chosen branch in the place of the If node n.
func (z *normaliser) branch(g *Graph, n *Node, s *irScope) error {
	if g == nil {
		return errors.New("found no graph for the branch")
	}
	if s.depth >= MaxInlineDepth {
		return fmt.Errorf("found branches nested deeper than %d", MaxInlineDepth)
	}
	if len(n.Out) > len(g.Outputs) || len(g.Inputs) > 0 {
		return fmt.Errorf("found a branch of %d inputs and %d outputs, expected 0 and %d", len(g.Inputs), len(g.Outputs), len(n.Out))
	}
	in := &irScope{parent: s, names: map[string]string{}, opset: s.opset, depth: s.depth + 1}
	var out []string
	for _, v := range g.Outputs {
		out = append(out, v.Name)
	}
	for _, k := range SortedKeys(g.Init) {
		z.b.G.Init[z.define(in, k)] = g.Init[k]
	}
	nodes, err := inOrder(g.Nodes)
	if err != nil {
		return err
	}
	return z.splice(nodes, out, n, s, in)
}

// splice puts nodes of scope in before the outputs of node n of scope s; out are their names in scope in.
func (z *normaliser) splice(nodes []*Node, out []string, n *Node, s, in *irScope) error {
	made := map[string]bool{}
	for _, x := range nodes {
		for _, v := range x.Out {
			made[v] = true
		}
	}
	// An output that the body makes takes the outer name at once; one that it only passes on is copied.
	copied := map[int]bool{}
	for i, v := range n.Out {
		if v == "" {
			continue
		}
		if _, ok := in.names[out[i]]; ok || !made[out[i]] {
			copied[i] = true
			z.define(s, v)
			continue
		}
		in.names[out[i]] = z.define(s, v)
	}
	for _, x := range nodes {
		for _, v := range x.Out {
			z.define(in, v)
		}
	}
	for i, x := range nodes {
		if err := z.node(x, in); err != nil {
			return fmt.Errorf("inner node %s (%s): %w", NodeName(x.Name, i), OpName(x), err)
		}
	}
	for i := range n.Out {
		if copied[i] {
			from := z.lookup(in, out[i])
			if from == "" {
				return fmt.Errorf("output %q: found an operand left out, expected a value", out[i])
			}
			z.b.Append(&Node{Op: "Identity", Name: z.b.Fresh("Identity"), In: []string{from}, Out: []string{z.define(s, n.Out[i])}})
		}
	}
	return nil
}

// subgraph normalises a graph that stays an attribute.
func (z *normaliser) subgraph(g *Graph, s *irScope) (*Graph, error) {
	if g == nil {
		return nil, errors.New("found no graph")
	}
	if s.depth >= MaxInlineDepth {
		return nil, fmt.Errorf("found graphs nested deeper than %d", MaxInlineDepth)
	}
	in := &irScope{parent: s, names: map[string]string{}, opset: s.opset, stays: true, depth: s.depth + 1}
	out := &Graph{Name: g.Name, Opset: z.opset, Init: map[string]*Tensor{}, Info: map[string]Value{}}
	for _, v := range g.Inputs {
		v.Name = z.define(in, v.Name)
		out.Inputs = append(out.Inputs, v)
	}
	for _, k := range SortedKeys(g.Init) {
		out.Init[z.define(in, k)] = g.Init[k]
	}
	nodes, err := inOrder(g.Nodes)
	if err != nil {
		return nil, err
	}
	b := NewBuilder(out, "ir_")
	b.Taken = z.b.Taken
	b.Inf.Within(z.b.Inf)
	y := &normaliser{b: b, fns: z.fns, overload: z.overload, opset: z.opset, used: z.used, budget: z.budget}
	for i, n := range nodes {
		for _, v := range n.Out {
			y.define(in, v)
		}
		if err := y.node(n, in); err != nil {
			return nil, fmt.Errorf("inner node %s (%s): %w", NodeName(n.Name, i), OpName(n), err)
		}
	}
	for _, v := range g.Outputs {
		v.Name = y.lookup(in, v.Name)
		out.Outputs = append(out.Outputs, v)
	}
	return out, nil
}

// TopoSort orders the nodes of g as inOrder does.
func TopoSort(g *Graph) error {
	nodes, err := inOrder(g.Nodes)
	if err == nil {
		g.Nodes = nodes
	}
	return err
}

// inOrder returns the nodes in an order in which names are made before they are used, keeping the given order where it
// can. The names that bodies capture count as uses.
func inOrder(nodes []*Node) ([]*Node, error) {
	maker := map[string]int{}
	for i, n := range nodes {
		for _, s := range n.Out {
			if s == "" {
				continue
			}
			if _, ok := maker[s]; ok {
				return nil, fmt.Errorf("value %q: made by two nodes", s)
			}
			maker[s] = i
		}
	}
	order := make([]*Node, 0, len(nodes))
	state := make([]byte, len(nodes)) // 1 on the stack, 2 done
	type frame struct {
		node int
		uses []string
	}
	var stack []frame
	for i := range nodes {
		if state[i] == 2 {
			continue
		}
		stack = append(stack[:0], frame{i, nodes[i].Uses()})
		state[i] = 1
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if len(f.uses) == 0 {
				state[f.node] = 2
				order = append(order, nodes[f.node])
				stack = stack[:len(stack)-1]
				continue
			}
			m, ok := maker[f.uses[0]]
			f.uses = f.uses[1:]
			if !ok || state[m] == 2 {
				continue
			}
			if state[m] == 1 {
				return nil, fmt.Errorf("node %s (%s): depends on its own output", NodeName(nodes[m].Name, m), OpName(nodes[m]))
			}
			state[m] = 1
			stack = append(stack, frame{m, nodes[m].Uses()})
		}
	}
	return order, nil
}

package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"lenskit/onnx/symbolic"
)

// Builder appends nodes to a graph that is being made. Types and shapes of the new values are inferred as they are
// appended and stand in G.Info. The first error is kept: build, then look at Err once.
type Builder struct {
	G     *Graph
	Inf   *Inferer
	Taken map[string]bool // names that Fresh and Reserve do not give
	Fault error           // the first error

	// Naming is the k-th name that Fresh makes; those that are taken are passed over.
	Naming func(hint string, k int) string
	// NodeNames gives the nodes that Op and its kin append names of their own, in place of that of their first output.
	NodeNames bool
	// Shared makes Op and its kin append nodes that compute the same once, where NodeKey tells.
	Shared bool
	// Plain takes the shape of a result as unknown when it has an extent that is neither a number nor one of the operands'.
	Plain bool

	next   int
	consts map[string]string   // initialisers, by their values
	made   map[string][]string // outputs of shared nodes, by their keys
	maker  map[string]*Node    // by output
}

// NewBuilder returns a Builder that appends to g and begins the names it makes with prefix. g must not be in use by
// anyone else.
func NewBuilder(g *Graph, prefix string) *Builder {
	if g.Init == nil {
		g.Init = map[string]*Tensor{}
	}
	b := &Builder{G: g, Taken: map[string]bool{}, consts: map[string]string{}, made: map[string][]string{}, maker: map[string]*Node{}}
	b.Naming = func(hint string, k int) string { return prefix + hint + "_" + strconv.Itoa(k) }
	g.EachName(func(s string) { b.Taken[s] = true })
	b.Inf = NewInferer(g)
	return b
}

// EachName calls f with every name that the graph and its sub-graphs use.
func (g *Graph) EachName(f func(string)) {
	for _, v := range g.Inputs {
		f(v.Name)
	}
	for _, v := range g.Outputs {
		f(v.Name)
	}
	for s := range g.Init {
		f(s)
	}
	for _, n := range g.Nodes {
		n.EachName(f)
	}
}

// EachName calls f with the node's name and those of its operands and outputs, in its bodies too.
func (n *Node) EachName(f func(string)) {
	f(n.Name)
	for _, s := range n.In {
		f(s)
	}
	for _, s := range n.Out {
		f(s)
	}
	for _, a := range n.Attr {
		if a.Graph != nil {
			a.Graph.EachName(f)
		}
	}
}

// Err returns the first error met while appending.
func (b *Builder) Err() error { return b.Fault }

// Fresh makes a name that nothing in the graph has, with the builder's prefix and hint in it.
func (b *Builder) Fresh(hint string) string {
	for {
		b.next++
		if s := b.Naming(hint, b.next); !b.Taken[s] {
			b.Taken[s] = true
			return s
		}
	}
}

// Reserve takes name itself when it is free and a fresh name otherwise.
func (b *Builder) Reserve(name string) string {
	if name != "" && !b.Taken[name] {
		b.Taken[name] = true
		return name
	}
	return b.Fresh(name)
}

// Op appends a node of the default domain with one output and returns the output's name.
func (b *Builder) Op(op string, in ...string) string {
	return b.OpN(op, 1, nil, in...)[0]
}

// OpAttr is Op with attributes.
func (b *Builder) OpAttr(op string, attr map[string]Attr, in ...string) string {
	return b.OpN(op, 1, attr, in...)[0]
}

// OpN appends a node with outputs fresh names.
func (b *Builder) OpN(op string, outputs int, attr map[string]Attr, in ...string) []string {
	for len(in) > 0 && in[len(in)-1] == "" {
		in = in[:len(in)-1]
	}
	key := ""
	if b.Shared {
		key = NodeKey(op, attr, in, outputs)
	}
	if out, ok := b.made[key]; ok {
		return out
	}
	out := make([]string, outputs)
	for i := range out {
		out[i] = b.Fresh(op)
	}
	if key != "" {
		b.made[key] = out
	}
	b.Append(&Node{Op: op, Name: b.nodeName(op, out[0]), In: slices.Clone(in), Out: out, Attr: attr})
	return out
}

// Make appends a node whose output the caller has named.
func (b *Builder) Make(out, op string, attr map[string]Attr, in ...string) {
	b.Append(&Node{Op: op, Name: b.nodeName(op, out), In: in, Out: []string{out}, Attr: attr})
}

func (b *Builder) nodeName(op, out string) string {
	if b.NodeNames {
		return b.Fresh(op)
	}
	return out
}

// Append appends a node as it is.
func (b *Builder) Append(n *Node) {
	for len(n.In) > 0 && n.In[len(n.In)-1] == "" {
		n.In = n.In[:len(n.In)-1]
	}
	for _, s := range n.Out {
		b.Taken[s] = true
		b.maker[s] = n
	}
	b.G.Nodes = append(b.G.Nodes, n)
	if err := b.Inf.Node(n); err != nil && b.Fault == nil {
		b.Fault = fmt.Errorf("node %s (%s, opset %d): %w", NodeName(n.Name, len(b.G.Nodes)-1), OpName(n), b.G.Opset[n.Domain], err)
	}
	if b.Plain {
		b.plain(n)
	}
}

// plain is Plain for the results of n.
func (b *Builder) plain(n *Node) {
	operands := make([][]Dim, len(n.In))
	for i, s := range n.In {
		operands[i] = b.Inf.Value(s).Shape
	}
	for _, s := range n.Out {
		if v := b.Inf.Value(s); !symbolic.Among(v.Shape, operands...) {
			v.Shape = nil
			b.G.Info[s] = v
		}
	}
}

// Type is the element type of a value, Undefined when it is not known.
func (b *Builder) Type(name string) DType { return b.Inf.Typ(name) }

// Shape is the shape of a value, nil when not even the rank is known.
func (b *Builder) Shape(name string) []Dim { return b.Inf.shape(name) }

// Ints makes a one-dimensional int64 initialiser. Equal lists share one.
func (b *Builder) Ints(v ...int64) string {
	if v == nil {
		v = []int64{}
	}
	return b.Tensor(IntTensor(v, int64(len(v))))
}

// Scalar makes a float32 initialiser of rank 0.
func (b *Builder) Scalar(v float64) string { return b.ScalarOf(Float32, v) }

// ScalarOf makes an initialiser of rank 0 and type t.
func (b *Builder) ScalarOf(t DType, v float64) string {
	x := &Tensor{Type: t, Shape: []int64{}}
	switch t {
	case Float32:
		x.Floats = []float32{float32(v)}
	case Float64:
		x.Doubles = []float64{v}
	default:
		x.Ints = []int64{int64(v)}
	}
	return b.Tensor(x)
}

// Tensor adds an initialiser. Small tensors with equal values share one.
func (b *Builder) Tensor(t *Tensor) string {
	key := t.key()
	if s, ok := b.consts[key]; ok && key != "" {
		return s
	}
	s := b.Fresh("const")
	b.G.Init[s] = t
	if key != "" {
		b.consts[key] = s
	}
	return s
}

// Declare makes a value known that no node makes, or replaces what is known of one.
func (b *Builder) Declare(v Value) {
	b.Taken[v.Name] = true
	b.G.Info[v.Name] = v
}

// Clear takes back every node, constant and value of the graph. Names are not given again.
func (b *Builder) Clear() {
	b.G.Nodes = nil
	clear(b.G.Init)
	clear(b.G.Info)
	clear(b.Inf.Vals)
	clear(b.consts)
	clear(b.made)
	clear(b.maker)
}

// Maker is the appended node that makes a value, nil when none does.
func (b *Builder) Maker(name string) *Node {
	if name == "" {
		return nil
	}
	return b.maker[name]
}

// Output makes a value an output of the graph, under its own name.
func (b *Builder) Output(name string) {
	b.G.Outputs = append(b.G.Outputs, Value{Name: name, Type: b.Type(name), Shape: b.Shape(name)})
}

// OutputAs makes a value an output of the graph under another name.
func (b *Builder) OutputAs(name, value string) {
	b.Make(name, "Identity", nil, value)
	b.Output(name)
}

// key identifies the values of a small tensor; it is empty for large ones.
func (t *Tensor) key() string {
	if t.Count() > 64 {
		return ""
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%d%v:", t.Type, t.Shape)
	var buf [8]byte
	for i := range t.Floats {
		binary.LittleEndian.PutUint32(buf[:4], math.Float32bits(t.Floats[i]))
		s.Write(buf[:4])
	}
	for i := range t.Doubles {
		binary.LittleEndian.PutUint64(buf[:], math.Float64bits(t.Doubles[i]))
		s.Write(buf[:])
	}
	for _, v := range t.Ints {
		binary.LittleEndian.PutUint64(buf[:], uint64(v))
		s.Write(buf[:])
	}
	for _, v := range t.Strings {
		fmt.Fprintf(&s, "%q", v)
	}
	return s.String()
}

// NodeKey is equal for nodes that compute the same; it is empty where attributes hold a tensor or a graph.
func NodeKey(op string, attr map[string]Attr, in []string, nOut int) string {
	var b strings.Builder
	b.WriteString(op)
	b.WriteByte('/')
	b.WriteString(strconv.Itoa(nOut))
	for _, k := range SortedKeys(attr) {
		a := attr[k]
		if a.Tensor != nil || a.Graph != nil {
			return ""
		}
		fmt.Fprintf(&b, "|%s=%d,%v,%d,%q,%v,%v,%q", k, a.Kind, a.Float, a.Int, a.String, a.Floats, a.Ints, a.Strings)
	}
	for _, name := range in {
		b.WriteByte('|')
		b.WriteString(strconv.Quote(name))
	}
	return b.String()
}

// IntAttr is an integer attribute.
func IntAttr(v int64) Attr { return Attr{Kind: AttrInt, Int: v} }

// IntsAttr is an attribute that holds a list of integers.
func IntsAttr(v ...int64) Attr {
	if v == nil {
		v = []int64{}
	}
	return Attr{Kind: AttrInts, Ints: v}
}

// FloatAttr is a float attribute; files hold it as float32.
func FloatAttr(v float64) Attr { return Attr{Kind: AttrFloat, Float: float64(float32(v))} }

// StringAttr is a string attribute.
func StringAttr(v string) Attr { return Attr{Kind: AttrString, String: v} }

// TensorAttr is an attribute that holds a tensor.
func TensorAttr(t *Tensor) Attr { return Attr{Kind: AttrTensor, Tensor: t} }

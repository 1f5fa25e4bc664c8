package onnx

import (
	"maps"
	"slices"

	"lenskit/onnx/symbolic"
)

// Shallow copies a graph's lists and nodes; tensors and attributes stay shared.
func (g *Graph) Shallow() *Graph {
	c := *g
	c.Opset = maps.Clone(g.Opset)
	c.Inputs, c.Outputs = slices.Clone(g.Inputs), slices.Clone(g.Outputs)
	c.Init, c.Info = maps.Clone(g.Init), maps.Clone(g.Info)
	if c.Init == nil {
		c.Init = map[string]*Tensor{}
	}
	if c.Info == nil {
		c.Info = map[string]Value{}
	}
	c.Nodes = make([]*Node, len(g.Nodes))
	for i, n := range g.Nodes {
		m := *n
		m.In, m.Out = slices.Clone(n.In), slices.Clone(n.Out)
		c.Nodes[i] = &m
	}
	return &c
}

var Random = map[string]bool{
	"RandomNormal": true, "RandomUniform": true, "RandomNormalLike": true, "RandomUniformLike": true, "Bernoulli": true,
	"Multinomial": true,
}

// Attrs is shorthand for attributes in calls: attrs("axis", 1, "perm", []int64{…}).
func Attrs(kv ...any) map[string]Attr {
	m := make(map[string]Attr, len(kv)/2)
	for i := 0; i+1 < len(kv); i += 2 {
		switch v := kv[i+1].(type) {
		case int:
			m[kv[i].(string)] = Attr{Kind: AttrInt, Int: int64(v)}
		case int64:
			m[kv[i].(string)] = Attr{Kind: AttrInt, Int: v}
		case float64:
			m[kv[i].(string)] = Attr{Kind: AttrFloat, Float: v}
		case string:
			m[kv[i].(string)] = Attr{Kind: AttrString, String: v}
		case []int64:
			m[kv[i].(string)] = Attr{Kind: AttrInts, Ints: v}
		case Attr:
			m[kv[i].(string)] = v
		default:
			panic("onnx: attrs: type not known")
		}
	}
	return m
}

func Known(s []Dim) ([]int64, bool) {
	if s == nil {
		return nil, false
	}
	d := make([]int64, len(s))
	for i := range s {
		if !s[i].Known() {
			return nil, false
		}
		d[i] = s[i].N
	}
	return d, true
}

// Wrap reduces v to the range of the integer type t as two's complement arithmetic does; Bool becomes 0 or 1.
func Wrap(t DType, v int64) int64 {
	switch t {
	case Uint8:
		return int64(uint8(v))
	case Int8:
		return int64(int8(v))
	case Uint16:
		return int64(uint16(v))
	case Int16:
		return int64(int16(v))
	case Int32:
		return int64(int32(v))
	case Uint32:
		return int64(uint32(v))
	case Bool:
		if v != 0 {
			return 1
		}
	}
	return v
}

// DType is an element type, numbered as TensorProto.DataType of the ONNX standard.
type DType int32

// The element types of ONNX tensors.
const (
	Undefined DType = 0
	Float32   DType = 1
	Uint8     DType = 2
	Int8      DType = 3
	Uint16    DType = 4
	Int16     DType = 5
	Int32     DType = 6
	Int64     DType = 7
	String    DType = 8
	Bool      DType = 9
	Float16   DType = 10
	Float64   DType = 11
	Uint32    DType = 12
	Uint64    DType = 13
	BFloat16  DType = 16
)

// IsFloat tells whether values of type d carry gradients.
func (d DType) IsFloat() bool {
	return d == Float32 || d == Float64 || d == Float16 || d == BFloat16
}

// Graph is an ONNX model as data: nodes in an order in which every name is made before it is used.
//
// A Graph is changed only while it is built. Passes such as Fold, VJP and JVP return new graphs; they share tensors
// with the old one and never write into them.
type Graph struct {
	Name    string
	Opset   map[string]int // operator-set version by domain; "" is ai.onnx
	Inputs  []Value        // without those that only repeat an initialiser
	Outputs []Value
	Nodes   []*Node
	Init    map[string]*Tensor // initialisers by name
	Info    map[string]Value   // what is known of intermediate values; filled by Infer
	Meta    map[string]string  // metadata_props of the model
}

// Value names a tensor of the graph with its type and shape. A nil Shape means that not even the rank is known.
type Value struct {
	Name  string
	Type  DType
	Shape []Dim
}

// Dim is one extent of a shape: a number, or a number times a symbol.
type Dim = symbolic.Dim

// Fixed is the extent n.
func Fixed(n int64) Dim { return symbolic.Fixed(n) }

// Node is one operator call. An empty string in In or Out is an optional operand left out.
type Node struct {
	Op, Domain, Name string
	In, Out          []string
	Attr             map[string]Attr
}

// AttrKind tells which field of an Attr holds its value, numbered as AttributeProto.AttributeType.
type AttrKind int

// The kinds of attribute that ONNX files hold.
const (
	AttrFloat   AttrKind = 1
	AttrInt     AttrKind = 2
	AttrString  AttrKind = 3
	AttrTensor  AttrKind = 4
	AttrGraph   AttrKind = 5
	AttrFloats  AttrKind = 6
	AttrInts    AttrKind = 7
	AttrStrings AttrKind = 8
)

// Attr is an attribute of a node.
type Attr struct {
	Kind    AttrKind
	Float   float64
	Int     int64
	String  string
	Tensor  *Tensor
	Graph   *Graph
	Floats  []float64
	Ints    []int64
	Strings []string
	Ref     string // inside a function body: the name of the caller's attribute to take
}

// Tensor is a constant with its values in row-major order. One of the slices holds them: Floats for Float32, Float16
// and BFloat16 (widened when read; Type then says Float32), Doubles for Float64, Ints for every integer type and Bool.
// A Float32 constant that was computed may have its unrounded values in Doubles beside Floats; the evaluator takes those.
type Tensor struct {
	Type    DType
	Shape   []int64
	Floats  []float32
	Doubles []float64
	Ints    []int64
	Strings []string
}

// Size is the number of elements.
func (t *Tensor) Size() int {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return int(n)
}

// Float returns element i as a float64 whatever the tensor's type.
func (t *Tensor) Float(i int) float64 {
	switch {
	case t.Floats != nil:
		return float64(t.Floats[i])
	case t.Doubles != nil:
		return t.Doubles[i]
	}
	return float64(t.Ints[i])
}

// FloatTensor makes a Float32 tensor of the given shape over v.
func FloatTensor(v []float32, shape ...int64) *Tensor {
	return &Tensor{Type: Float32, Shape: shape, Floats: v}
}

// IntTensor makes an Int64 tensor of the given shape over v.
func IntTensor(v []int64, shape ...int64) *Tensor {
	return &Tensor{Type: Int64, Shape: shape, Ints: v}
}

// Int returns the integer attribute name, or def when the node has none.
func (n *Node) Int(name string, def int64) int64 {
	if a, ok := n.Attr[name]; ok && a.Kind == AttrInt {
		return a.Int
	}
	return def
}

// Ints returns the integer-list attribute name, or nil.
func (n *Node) Ints(name string) []int64 { return n.Attr[name].Ints }

// Float returns the float attribute name, or def.
func (n *Node) Float(name string, def float64) float64 {
	if a, ok := n.Attr[name]; ok && a.Kind == AttrFloat {
		return a.Float
	}
	return def
}

// Str returns the string attribute name, or def.
func (n *Node) Str(name, def string) string {
	if a, ok := n.Attr[name]; ok && a.Kind == AttrString {
		return a.String
	}
	return def
}

// Package onnxpb reads and writes the protobuf messages of the ONNX standard (onnx.proto3) that lenskit uses.
//
// Byte slices of a decoded message (raw tensor data, strings of a tensor) are views of the decoded buffer. Fields the
// package does not know are skipped; fields that would change a model's meaning (sparse tensors, training
// information) are counted so that the caller can refuse them.
package onnxpb

// Model is ModelProto.
type Model struct {
	IRVersion    int64
	Producer     string
	ProducerVer  string
	Domain       string
	Opsets       []Opset
	Graph        *Graph
	Functions    []*Function
	Meta         []Entry
	TrainingInfo int // entries of training_info
}

// Opset is OperatorSetIdProto.
type Opset struct {
	Domain  string
	Version int64
}

// Entry is StringStringEntryProto.
type Entry struct{ Key, Value string }

// Graph is GraphProto.
type Graph struct {
	Name    string
	Nodes   []*Node
	Init    []*Tensor
	Inputs  []*ValueInfo
	Outputs []*ValueInfo
	Values  []*ValueInfo
	Sparse  int // sparse initialisers
}

// Node is NodeProto.
type Node struct {
	Name, Op, Domain, Overload string
	In, Out                    []string
	Attr                       []*Attribute
}

// Attribute is AttributeProto. Set tells which value fields were present: bit 1<<k for AttributeType k.
type Attribute struct {
	Name    string
	Type    int32
	Set     uint32
	Float   float32
	Int     int64
	String  []byte
	Tensor  *Tensor
	Graph   *Graph
	Floats  []float32
	Ints    []int64
	Strings [][]byte
	Ref     string
	Other   int // tensors, graphs, type protos, sparse tensors
}

// Tensor is TensorProto.
type Tensor struct {
	Name     string
	Dims     []int64
	Type     int32
	Segment  bool
	Floats   []float32
	Int32s   []int32
	Strings  [][]byte
	Int64s   []int64
	Raw      []byte
	HasRaw   bool
	Doubles  []float64
	Uint64s  []uint64
	External []Entry
	Location int32 // 1: the data is in an external file
}

// ValueInfo is ValueInfoProto of a tensor. Kind names what is not a tensor ("sequence", …).
type ValueInfo struct {
	Name     string
	Type     int32
	HasShape bool
	Dims     []Dim
	Kind     string
}

// Dim is TensorShapeProto.Dimension.
type Dim struct {
	Value    int64
	HasValue bool
	Param    string
}

// Function is FunctionProto.
type Function struct {
	Name, Domain, Overload string
	Inputs, Outputs        []string
	Attrs                  []string
	Defaults               []*Attribute
	Nodes                  []*Node
	Opsets                 []Opset
}

package onnx

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"

	"lenskit/internal/disk"
	"lenskit/onnx/internal/onnxpb"
)

// producer is the name that files carry in producer_name.
const producer = "lenskit"

// Save writes the graph as an ONNX file, which appears whole or not at all. An error of the disk is a disk.WriteError.
func (g *Graph) Save(path string) error {
	p, err := g.encode()
	if err != nil {
		return fmt.Errorf("onnx: save: %s: %w", path, err)
	}
	return disk.Write(path, func(w io.Writer) error {
		for _, b := range p.Pieces() {
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// Marshal returns the graph as the bytes of an ONNX file. Initialisers, attributes and metadata are written in the
// order of their names, so equal graphs give equal bytes.
func (g *Graph) Marshal() ([]byte, error) {
	p, err := g.encode()
	if err != nil {
		return nil, fmt.Errorf("onnx: marshal: %w", err)
	}
	b := make([]byte, 0, p.Len())
	for _, piece := range p.Pieces() {
		b = append(b, piece...)
	}
	return b, nil
}

// irVersion is the lowest version of the file format, from 10 on, that allows operator set v.
func irVersion(v int) int64 {
	switch {
	case v <= 22:
		return 10
	case v == 23:
		return 11
	case v == 24:
		return 12
	case v <= 27:
		return 13
	}
	return 14
}

// encode builds the model's message.
func (g *Graph) encode() (*onnxpb.Parts, error) {
	m := &onnxpb.Model{IRVersion: irVersion(g.Opset[""]), Producer: producer}
	for _, d := range SortedKeys(g.Opset) {
		m.Opsets = append(m.Opsets, onnxpb.Opset{Domain: d, Version: int64(g.Opset[d])})
	}
	for _, k := range SortedKeys(g.Meta) {
		m.Meta = append(m.Meta, onnxpb.Entry{Key: k, Value: g.Meta[k]})
	}
	var err error
	if m.Graph, err = g.proto(0); err != nil {
		return nil, err
	}
	p := m.Encode()
	if p.Len() >= maxFileBytes {
		return nil, fmt.Errorf("found a model of %d bytes, expected less than %d", p.Len(), maxFileBytes)
	}
	return p, nil
}

func SortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// proto is the graph as a message.
func (g *Graph) proto(depth int) (*onnxpb.Graph, error) {
	if depth >= onnxpb.MaxDepth {
		return nil, onnxpb.ErrDepth
	}
	p := &onnxpb.Graph{Name: cmp.Or(g.Name, "graph")} // the standard asks for a name, of bodies too
	for _, v := range g.Inputs {
		p.Inputs = append(p.Inputs, v.proto())
	}
	for _, v := range g.Outputs {
		p.Outputs = append(p.Outputs, v.proto())
	}
	for _, name := range SortedKeys(g.Init) {
		t, err := g.Init[name].proto(name)
		if err != nil {
			return nil, err
		}
		p.Init = append(p.Init, t)
	}
	for i, n := range g.Nodes {
		x := &onnxpb.Node{Name: n.Name, Op: n.Op, Domain: n.Domain, In: n.In, Out: n.Out}
		for _, name := range SortedKeys(n.Attr) {
			a, err := n.Attr[name].proto(name, depth)
			if err != nil {
				return nil, fmt.Errorf("node %s (%s): attribute %q: %w", NodeName(n.Name, i), OpName(n), name, err)
			}
			x.Attr = append(x.Attr, a)
		}
		p.Nodes = append(p.Nodes, x)
	}
	return p, nil
}

func (v Value) proto() *onnxpb.ValueInfo {
	p := &onnxpb.ValueInfo{Name: v.Name, Type: int32(v.Type), HasShape: v.Shape != nil}
	for _, d := range v.Shape {
		if d.Known() {
			p.Dims = append(p.Dims, onnxpb.Dim{Value: d.N, HasValue: true})
		} else {
			p.Dims = append(p.Dims, onnxpb.Dim{Param: formatDim(d)})
		}
	}
	return p
}

func (a Attr) proto(name string, depth int) (*onnxpb.Attribute, error) {
	p := &onnxpb.Attribute{Name: name, Type: int32(a.Kind), Ref: a.Ref}
	var err error
	switch a.Kind {
	case AttrFloat:
		p.Float = float32(a.Float)
	case AttrInt:
		p.Int = a.Int
	case AttrString:
		p.String = []byte(a.String)
	case AttrTensor:
		if a.Tensor == nil {
			return nil, fmt.Errorf("found no tensor")
		}
		p.Tensor, err = a.Tensor.proto("")
	case AttrGraph:
		if a.Graph == nil {
			return nil, fmt.Errorf("found no graph")
		}
		p.Graph, err = a.Graph.proto(depth + 1)
	case AttrFloats:
		for _, v := range a.Floats {
			p.Floats = append(p.Floats, float32(v))
		}
	case AttrInts:
		p.Ints = a.Ints
	case AttrStrings:
		for _, s := range a.Strings {
			p.Strings = append(p.Strings, []byte(s))
		}
	default:
		return nil, fmt.Errorf("found kind %d, expected %d to %d", a.Kind, AttrFloat, AttrStrings)
	}
	if a.Kind == AttrFloat && math.IsInf(float64(p.Float), 0) && !math.IsInf(a.Float, 0) {
		return nil, fmt.Errorf("found %g, expected a value that float32 holds", a.Float)
	}
	return p, err
}

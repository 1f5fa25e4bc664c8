package onnxpb

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxDepth limits how deep graphs may be nested in attributes.
const MaxDepth = 32

// ErrDepth is returned for graphs nested deeper than MaxDepth.
var ErrDepth = fmt.Errorf("graphs are nested deeper than %d", MaxDepth)

var errWire = errors.New("malformed protobuf")

// field is one field of a message as it stands on the wire.
type field struct {
	num protowire.Number
	typ protowire.Type
	v   uint64 // varint, fixed32, fixed64
	b   []byte // bytes
}

// each calls f for every field of the message b.
func each(b []byte, f func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		fd := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			fd.v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			fd.v = uint64(v)
		case protowire.Fixed64Type:
			fd.v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			fd.b, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if err := f(fd); err != nil {
			return err
		}
	}
	return nil
}

// bytes returns the field's payload, or an error when the field is of another wire type.
func (f field) bytes() ([]byte, error) {
	if f.typ != protowire.BytesType {
		return nil, fmt.Errorf("%w: field %d has wire type %d, expected bytes", errWire, f.num, f.typ)
	}
	return f.b, nil
}

func (f field) str(dst *string) error {
	b, err := f.bytes()
	*dst = string(b)
	return err
}

func (f field) strs(dst *[]string) error {
	b, err := f.bytes()
	*dst = append(*dst, string(b))
	return err
}

func (f field) varint() (uint64, error) {
	if f.typ != protowire.VarintType {
		return 0, fmt.Errorf("%w: field %d has wire type %d, expected a varint", errWire, f.num, f.typ)
	}
	return f.v, nil
}

// varints appends a repeated varint field, packed or not.
func varints[T int32 | int64 | uint64](f field, dst *[]T) error {
	if f.typ == protowire.BytesType {
		count := 0
		for _, c := range f.b {
			if c < 0x80 {
				count++
			}
		}
		if *dst == nil {
			*dst = make([]T, 0, count)
		}
		for b := f.b; len(b) > 0; {
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return errWire
			}
			*dst, b = append(*dst, T(v)), b[n:]
		}
		return nil
	}
	v, err := f.varint()
	*dst = append(*dst, T(v))
	return err
}

// floats appends a repeated float field, packed or not.
func (f field) floats(dst *[]float32) error {
	switch f.typ {
	case protowire.Fixed32Type:
		*dst = append(*dst, math.Float32frombits(uint32(f.v)))
		return nil
	case protowire.BytesType:
		if len(f.b)%4 != 0 {
			return errWire
		}
		if *dst == nil {
			*dst = make([]float32, 0, len(f.b)/4)
		}
		for b := f.b; len(b) > 0; b = b[4:] {
			v, _ := protowire.ConsumeFixed32(b)
			*dst = append(*dst, math.Float32frombits(v))
		}
		return nil
	}
	return fmt.Errorf("%w: field %d has wire type %d, expected floats", errWire, f.num, f.typ)
}

// doubles appends a repeated double field, packed or not.
func (f field) doubles(dst *[]float64) error {
	switch f.typ {
	case protowire.Fixed64Type:
		*dst = append(*dst, math.Float64frombits(f.v))
		return nil
	case protowire.BytesType:
		if len(f.b)%8 != 0 {
			return errWire
		}
		if *dst == nil {
			*dst = make([]float64, 0, len(f.b)/8)
		}
		for b := f.b; len(b) > 0; b = b[8:] {
			v, _ := protowire.ConsumeFixed64(b)
			*dst = append(*dst, math.Float64frombits(v))
		}
		return nil
	}
	return fmt.Errorf("%w: field %d has wire type %d, expected doubles", errWire, f.num, f.typ)
}

// sub appends the message of f, decoded by dec.
func sub[T any](f field, dst *[]*T, dec func(*T, []byte) error) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	m := new(T)
	*dst = append(*dst, m)
	return dec(m, b)
}

// Unmarshal decodes a ModelProto.
func Unmarshal(b []byte) (*Model, error) {
	m := new(Model)
	err := each(b, func(f field) error {
		switch f.num {
		case 1:
			v, err := f.varint()
			m.IRVersion = int64(v)
			return err
		case 2:
			return f.str(&m.Producer)
		case 3:
			return f.str(&m.ProducerVer)
		case 4:
			return f.str(&m.Domain)
		case 7:
			b, err := f.bytes()
			if err != nil {
				return err
			}
			if m.Graph == nil {
				m.Graph = new(Graph)
			}
			return m.Graph.decode(b, 1)
		case 8:
			return decodeOpset(f, &m.Opsets)
		case 14:
			return decodeEntry(f, &m.Meta)
		case 20:
			m.TrainingInfo++
		case 25:
			return sub(f, &m.Functions, (*Function).decode)
		}
		return nil
	})
	return m, err
}

// UnmarshalTensor decodes a TensorProto that is a file of its own.
func UnmarshalTensor(b []byte) (*Tensor, error) {
	t := new(Tensor)
	return t, t.decode(b)
}

func decodeOpset(f field, dst *[]Opset) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	var o Opset
	err = each(b, func(f field) error {
		switch f.num {
		case 1:
			return f.str(&o.Domain)
		case 2:
			v, err := f.varint()
			o.Version = int64(v)
			return err
		}
		return nil
	})
	*dst = append(*dst, o)
	return err
}

func decodeEntry(f field, dst *[]Entry) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	var e Entry
	err = each(b, func(f field) error {
		switch f.num {
		case 1:
			return f.str(&e.Key)
		case 2:
			return f.str(&e.Value)
		}
		return nil
	})
	*dst = append(*dst, e)
	return err
}

func (g *Graph) decode(b []byte, depth int) error {
	if depth > MaxDepth {
		return ErrDepth
	}
	return each(b, func(f field) error {
		switch f.num {
		case 1:
			return sub(f, &g.Nodes, func(n *Node, b []byte) error { return n.decode(b, depth) })
		case 2:
			return f.str(&g.Name)
		case 5:
			return sub(f, &g.Init, (*Tensor).decode)
		case 11:
			return sub(f, &g.Inputs, (*ValueInfo).decode)
		case 12:
			return sub(f, &g.Outputs, (*ValueInfo).decode)
		case 13:
			return sub(f, &g.Values, (*ValueInfo).decode)
		case 15:
			g.Sparse++
		}
		return nil
	})
}

func (n *Node) decode(b []byte, depth int) error {
	return each(b, func(f field) error {
		switch f.num {
		case 1:
			return f.strs(&n.In)
		case 2:
			return f.strs(&n.Out)
		case 3:
			return f.str(&n.Name)
		case 4:
			return f.str(&n.Op)
		case 5:
			return sub(f, &n.Attr, func(a *Attribute, b []byte) error { return a.decode(b, depth) })
		case 7:
			return f.str(&n.Domain)
		case 8:
			return f.str(&n.Overload)
		}
		return nil
	})
}

func (a *Attribute) decode(b []byte, depth int) error {
	return each(b, func(f field) error {
		switch f.num {
		case 1:
			return f.str(&a.Name)
		case 2:
			if f.typ != protowire.Fixed32Type {
				return errWire
			}
			a.Float, a.Set = math.Float32frombits(uint32(f.v)), a.Set|1<<1
		case 3:
			v, err := f.varint()
			a.Int, a.Set = int64(v), a.Set|1<<2
			return err
		case 4:
			b, err := f.bytes()
			a.String, a.Set = b, a.Set|1<<3
			return err
		case 5:
			b, err := f.bytes()
			if err != nil {
				return err
			}
			if a.Tensor == nil {
				a.Tensor = new(Tensor)
			}
			a.Set |= 1 << 4
			return a.Tensor.decode(b)
		case 6:
			b, err := f.bytes()
			if err != nil {
				return err
			}
			if a.Graph == nil {
				a.Graph = new(Graph)
			}
			a.Set |= 1 << 5
			return a.Graph.decode(b, depth+1)
		case 7:
			a.Set |= 1 << 6
			return f.floats(&a.Floats)
		case 8:
			a.Set |= 1 << 7
			return varints(f, &a.Ints)
		case 9:
			b, err := f.bytes()
			a.Strings, a.Set = append(a.Strings, b), a.Set|1<<8
			return err
		case 10, 11, 14, 15, 22, 23:
			a.Other++
		case 20:
			v, err := f.varint()
			a.Type = int32(v)
			return err
		case 21:
			return f.str(&a.Ref)
		}
		return nil
	})
}

func (t *Tensor) decode(b []byte) error {
	return each(b, func(f field) error {
		switch f.num {
		case 1:
			return varints(f, &t.Dims)
		case 2:
			v, err := f.varint()
			t.Type = int32(v)
			return err
		case 3:
			t.Segment = true
		case 4:
			return f.floats(&t.Floats)
		case 5:
			return varints(f, &t.Int32s)
		case 6:
			b, err := f.bytes()
			t.Strings = append(t.Strings, b)
			return err
		case 7:
			return varints(f, &t.Int64s)
		case 8:
			return f.str(&t.Name)
		case 9:
			b, err := f.bytes()
			t.Raw, t.HasRaw = b, true
			return err
		case 10:
			return f.doubles(&t.Doubles)
		case 11:
			return varints(f, &t.Uint64s)
		case 13:
			return decodeEntry(f, &t.External)
		case 14:
			v, err := f.varint()
			t.Location = int32(v)
			return err
		}
		return nil
	})
}

func (v *ValueInfo) decode(b []byte) error {
	return each(b, func(f field) error {
		switch f.num {
		case 1:
			return f.str(&v.Name)
		case 2:
			b, err := f.bytes()
			if err != nil {
				return err
			}
			return each(b, v.decodeType)
		}
		return nil
	})
}

// decodeType reads one field of a TypeProto.
func (v *ValueInfo) decodeType(f field) error {
	kinds := map[protowire.Number]string{4: "sequence", 5: "map", 7: "opaque", 8: "sparse tensor", 9: "optional"}
	if f.num != 1 {
		if k := kinds[f.num]; k != "" {
			v.Kind = k
		}
		return nil
	}
	b, err := f.bytes()
	if err != nil {
		return err
	}
	return each(b, func(f field) error {
		switch f.num {
		case 1:
			x, err := f.varint()
			v.Type = int32(x)
			return err
		case 2:
			b, err := f.bytes()
			if err != nil {
				return err
			}
			v.HasShape = true
			return each(b, v.decodeDim)
		}
		return nil
	})
}

// decodeDim reads one field of a TensorShapeProto.
func (v *ValueInfo) decodeDim(f field) error {
	if f.num != 1 {
		return nil
	}
	b, err := f.bytes()
	if err != nil {
		return err
	}
	var d Dim
	err = each(b, func(f field) error {
		switch f.num {
		case 1:
			x, err := f.varint()
			d.Value, d.HasValue = int64(x), true
			return err
		case 2:
			return f.str(&d.Param)
		}
		return nil
	})
	v.Dims = append(v.Dims, d)
	return err
}

func (fn *Function) decode(b []byte) error {
	return each(b, func(f field) error {
		switch f.num {
		case 1:
			return f.str(&fn.Name)
		case 4:
			return f.strs(&fn.Inputs)
		case 5:
			return f.strs(&fn.Outputs)
		case 6:
			return f.strs(&fn.Attrs)
		case 7:
			return sub(f, &fn.Nodes, func(n *Node, b []byte) error { return n.decode(b, 1) })
		case 9:
			return decodeOpset(f, &fn.Opsets)
		case 10:
			return f.str(&fn.Domain)
		case 11:
			return sub(f, &fn.Defaults, func(a *Attribute, b []byte) error { return a.decode(b, 1) })
		case 13:
			return f.str(&fn.Overload)
		}
		return nil
	})
}

package onnxpb

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Parts is an encoded message in pieces, so that the data of large tensors is never copied.
type Parts struct {
	done [][]byte
	cur  []byte
	n    int // bytes in done
}

// Len is the size of the message in bytes.
func (p *Parts) Len() int { return p.n + len(p.cur) }

// Pieces returns the message's pieces in order.
func (p *Parts) Pieces() [][]byte {
	p.flush()
	return p.done
}

func (p *Parts) flush() {
	if len(p.cur) > 0 {
		p.done, p.n, p.cur = append(p.done, p.cur), p.n+len(p.cur), nil
	}
}

func (p *Parts) varint(num protowire.Number, v int64) {
	p.cur = protowire.AppendTag(p.cur, num, protowire.VarintType)
	p.cur = protowire.AppendVarint(p.cur, uint64(v))
}

// opt writes v unless it is zero.
func (p *Parts) opt(num protowire.Number, v int64) {
	if v != 0 {
		p.varint(num, v)
	}
}

func (p *Parts) float(num protowire.Number, v float32) {
	p.cur = protowire.AppendTag(p.cur, num, protowire.Fixed32Type)
	p.cur = protowire.AppendFixed32(p.cur, math.Float32bits(v))
}

func (p *Parts) bytes(num protowire.Number, b []byte) {
	p.cur = protowire.AppendTag(p.cur, num, protowire.BytesType)
	p.cur = protowire.AppendVarint(p.cur, uint64(len(b)))
	if len(b) < 4096 {
		p.cur = append(p.cur, b...)
		return
	}
	p.flush()
	p.done, p.n = append(p.done, b), p.n+len(b)
}

func (p *Parts) str(num protowire.Number, s string) {
	if s != "" {
		p.always(num, s)
	}
}

// always writes s even when it is empty, as elements of a list must be.
func (p *Parts) always(num protowire.Number, s string) {
	p.cur = protowire.AppendTag(p.cur, num, protowire.BytesType)
	p.cur = protowire.AppendString(p.cur, s)
}

// msg writes a nested message.
func (p *Parts) msg(num protowire.Number, m *Parts) {
	p.cur = protowire.AppendTag(p.cur, num, protowire.BytesType)
	p.cur = protowire.AppendVarint(p.cur, uint64(m.Len()))
	if len(m.done) == 0 {
		p.cur = append(p.cur, m.cur...)
		return
	}
	p.flush()
	m.flush()
	p.done, p.n = append(p.done, m.done...), p.n+m.n
}

func (p *Parts) ints(num protowire.Number, v []int64) {
	if len(v) == 0 {
		return
	}
	var b []byte
	for _, x := range v {
		b = protowire.AppendVarint(b, uint64(x))
	}
	p.bytes(num, b)
}

// Encode encodes a ModelProto.
func (m *Model) Encode() *Parts {
	p := new(Parts)
	p.varint(1, m.IRVersion)
	p.str(2, m.Producer)
	p.str(3, m.ProducerVer)
	p.str(4, m.Domain)
	p.msg(7, m.Graph.encode())
	for _, o := range m.Opsets {
		q := new(Parts)
		q.str(1, o.Domain)
		q.varint(2, o.Version)
		p.msg(8, q)
	}
	for _, e := range m.Meta {
		q := new(Parts)
		q.str(1, e.Key)
		q.str(2, e.Value)
		p.msg(14, q)
	}
	return p
}

func (g *Graph) encode() *Parts {
	p := new(Parts)
	for _, n := range g.Nodes {
		p.msg(1, n.encode())
	}
	p.str(2, g.Name)
	for _, t := range g.Init {
		p.msg(5, t.encode())
	}
	for _, v := range g.Inputs {
		p.msg(11, v.encode())
	}
	for _, v := range g.Outputs {
		p.msg(12, v.encode())
	}
	for _, v := range g.Values {
		p.msg(13, v.encode())
	}
	return p
}

func (n *Node) encode() *Parts {
	p := new(Parts)
	for _, s := range n.In {
		p.always(1, s)
	}
	for _, s := range n.Out {
		p.always(2, s)
	}
	p.str(3, n.Name)
	p.str(4, n.Op)
	for _, a := range n.Attr {
		p.msg(5, a.encode())
	}
	p.str(7, n.Domain)
	return p
}

func (a *Attribute) encode() *Parts {
	p := new(Parts)
	p.str(1, a.Name)
	switch a.Type {
	case 1:
		p.float(2, a.Float)
	case 2:
		p.varint(3, a.Int)
	case 3:
		p.bytes(4, a.String)
	case 4:
		p.msg(5, a.Tensor.encode())
	case 5:
		p.msg(6, a.Graph.encode())
	case 6:
		var b []byte
		for _, v := range a.Floats {
			b = protowire.AppendFixed32(b, math.Float32bits(v))
		}
		p.bytes(7, b)
	case 7:
		// Ints of an attribute are not packed: some readers take only that form.
		for _, v := range a.Ints {
			p.varint(8, v)
		}
	case 8:
		for _, s := range a.Strings {
			p.bytes(9, s)
		}
	}
	p.varint(20, int64(a.Type))
	p.str(21, a.Ref)
	return p
}

func (t *Tensor) encode() *Parts {
	p := new(Parts)
	p.ints(1, t.Dims)
	p.varint(2, int64(t.Type))
	for _, s := range t.Strings {
		p.bytes(6, s)
	}
	p.str(8, t.Name)
	if t.HasRaw {
		p.bytes(9, t.Raw)
	}
	return p
}

func (v *ValueInfo) encode() *Parts {
	tensor := new(Parts)
	tensor.opt(1, int64(v.Type))
	if v.HasShape {
		shape := new(Parts)
		for _, d := range v.Dims {
			q := new(Parts)
			if d.HasValue {
				q.varint(1, d.Value)
			} else {
				q.str(2, d.Param)
			}
			shape.msg(1, q)
		}
		tensor.msg(2, shape)
	}
	typ := new(Parts)
	typ.msg(1, tensor)
	p := new(Parts)
	p.str(1, v.Name)
	p.msg(2, typ)
	return p
}

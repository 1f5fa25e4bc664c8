//go:build unix

package golden

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// ONNX files are read here by field numbers alone, so that what is to be held, package onnx, is not what holds it.
// ModelProto: graph 7. GraphProto: node 1, output 12. NodeProto: input 1, output 2, name 3, op_type 4, attribute 5, domain 7.

// field is one field of a protobuf message.
type field struct {
	number int
	body   []byte // of wire type 2
	whole  []byte // with its tag
}

// fields takes a protobuf message apart.
func fields(b []byte) ([]field, error) {
	var out []field
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("found a broken tag, expected an ONNX file")
		}
		f, size := field{number: int(tag >> 3)}, 0
		switch tag & 7 {
		case 0:
			_, m := binary.Uvarint(b[n:])
			size = n + max(m, 0)
		case 1:
			size = n + 8
		case 5:
			size = n + 4
		case 2:
			l, m := binary.Uvarint(b[n:])
			if m <= 0 || l > uint64(len(b)-n-m) {
				return nil, fmt.Errorf("found a field longer than the message, expected an ONNX file")
			}
			size = n + m + int(l)
			f.body = b[n+m : size]
		default:
			return nil, fmt.Errorf("found wire type %d, expected an ONNX file", tag&7)
		}
		if size > len(b) {
			return nil, fmt.Errorf("found a field longer than the message, expected an ONNX file")
		}
		f.whole = b[:size]
		out, b = append(out, f), b[size:]
	}
	return out, nil
}

// appendField adds a field of wire type 2.
func appendField(b []byte, number int, body []byte) []byte {
	b = binary.AppendUvarint(b, uint64(number)<<3|2)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

// nodesOf describes the nodes of a model, one text each.
func nodesOf(model []byte) ([]string, error) {
	top, err := fields(model)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, g := range top {
		if g.number != 7 {
			continue
		}
		inner, err := fields(g.body)
		if err != nil {
			return nil, err
		}
		for _, n := range inner {
			if n.number != 1 {
				continue
			}
			parts, err := fields(n.body)
			if err != nil {
				return nil, err
			}
			var in, res, attrs []string
			name, op := "", ""
			for _, p := range parts {
				switch p.number {
				case 1:
					in = append(in, string(p.body))
				case 2:
					res = append(res, string(p.body))
				case 3:
					name = string(p.body)
				case 4:
					op = string(p.body)
				case 5:
					attrs = append(attrs, fmt.Sprintf("%q", p.body))
				}
			}
			out = append(out, fmt.Sprintf("%q %s(%s) -> %s {%s}", name, op, strings.Join(in, ", "), strings.Join(res, ", "), strings.Join(attrs, " ")))
		}
	}
	return out, nil
}

// withLoss adds the sum of squares of a model's first output as a second output named loss, to train by.
func withLoss(model []byte) ([]byte, error) {
	top, err := fields(model)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, f := range top {
		if f.number != 7 {
			out = append(out, f.whole...)
			continue
		}
		inner, err := fields(f.body)
		if err != nil {
			return nil, err
		}
		output := ""
		for _, g := range inner {
			if g.number != 12 || output != "" {
				continue
			}
			value, err := fields(g.body)
			if err != nil {
				return nil, err
			}
			for _, v := range value {
				if v.number == 1 {
					output = string(v.body)
				}
			}
		}
		var node, attr []byte
		node = appendField(node, 1, []byte(output))
		node = appendField(node, 2, []byte("loss"))
		node = appendField(node, 4, []byte("ReduceSumSquare"))
		attr = appendField(attr, 1, []byte("keepdims"))
		attr = append(attr, 3<<3, 0, 0xa0, 1, 2) // i: 0, type: INT
		node = appendField(node, 5, attr)
		// a float32 without dimensions: type { tensor_type { elem_type: 1, shape {} } }
		value := appendField(nil, 1, []byte("loss"))
		value = appendField(value, 2, appendField(nil, 1, []byte{1 << 3, 1, 2<<3 | 2, 0}))
		graph := appendField(append([]byte(nil), f.body...), 1, node)
		out = appendField(out, 7, appendField(graph, 12, value))
	}
	return out, nil
}

package tools

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"unicode/utf8"

	"lenskit/onnx"
)

// maxSafetensorsHeader is the format's own limit on the JSON header.
const maxSafetensorsHeader = 100_000_000

// safetensorsTypes maps the format's names to ours.
var safetensorsTypes = map[string]string{
	"F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
	"I16": "int16", "U16": "uint16", "I32": "int32", "U32": "uint32", "I64": "int64", "U64": "uint64",
}

// parseSafetensors reads a safetensors file: eight bytes of header length, a JSON header, then the tensors without gap
// or overlap up to the end of the file. The tensors come in the order of their data.
func parseSafetensors(data []byte) ([]weight, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("safetensors: found %d bytes, expected at least 8", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxSafetensorsHeader || n > uint64(len(data)-8) {
		return nil, fmt.Errorf("safetensors: header of %d bytes in a file of %d", n, len(data))
	}
	header, body := data[8:8+n], data[8+n:]
	if !utf8.Valid(header) {
		return nil, fmt.Errorf("safetensors: the header is not UTF-8")
	}
	if len(header) == 0 {
		return nil, fmt.Errorf("safetensors: the header is empty, expected a JSON object")
	}
	if depth(header) > 127 {
		return nil, fmt.Errorf("safetensors: the header nests deeper than 127 levels")
	}
	var entries map[string]json.RawMessage
	if err := decodeOne(header, &entries); err != nil {
		return nil, fmt.Errorf("safetensors: header: %w", err)
	}
	type placed struct {
		weight
		begin, end int64
		elem       elementType
	}
	var all []placed
	for name, raw := range entries {
		if name == "__metadata__" {
			var meta map[string]string
			if err := json.Unmarshal(raw, &meta); err != nil {
				return nil, fmt.Errorf("safetensors: __metadata__: %w", err)
			}
			continue
		}
		var e struct {
			DType   *string  `json:"dtype"`
			Shape   *[]int64 `json:"shape"`
			Offsets []int64  `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("safetensors: tensor %q: %w", name, err)
		}
		if e.DType == nil || e.Shape == nil || len(e.Offsets) != 2 {
			return nil, fmt.Errorf("safetensors: tensor %q: expected dtype, shape and two data_offsets", name)
		}
		elem, ok := elementTypeNamed(safetensorsTypes[*e.DType])
		if !ok {
			return nil, fmt.Errorf("safetensors: tensor %q: found dtype %q, which is not supported", name, *e.DType)
		}
		count, err := elements(*e.Shape)
		if err != nil {
			return nil, fmt.Errorf("safetensors: tensor %q: %w", name, err)
		}
		begin, end := e.Offsets[0], e.Offsets[1]
		if begin < 0 || end < begin || end > int64(len(body)) || end-begin != count*int64(elem.size) {
			return nil, fmt.Errorf("safetensors: tensor %q: data_offsets [%d, %d] do not hold %s%v in %d bytes of data", name, begin, end, elem.name, *e.Shape, len(body))
		}
		all = append(all, placed{weight{Name: name, DType: elem.name, Tensor: &onnx.Tensor{Shape: *e.Shape}}, begin, end, elem})
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.begin != b.begin {
			return a.begin < b.begin
		}
		if a.end != b.end {
			return a.end < b.end
		}
		return a.Name < b.Name
	})
	at := int64(0)
	ws := make([]weight, len(all))
	for i, p := range all {
		if p.begin != at {
			return nil, fmt.Errorf("safetensors: tensor %q: data begins at %d, expected %d", p.Name, p.begin, at)
		}
		raw := body[p.begin:p.end]
		p.Tensor = p.elem.gather(raw, false, p.Tensor.Shape, len(raw)/p.elem.size, func(j int) int { return j })
		ws[i], at = p.weight, p.end
	}
	if at != int64(len(body)) {
		return nil, fmt.Errorf("safetensors: %d bytes of data behind the last tensor", int64(len(body))-at)
	}
	return ws, nil
}

// decodeOne decodes exactly one JSON value, spaces around it allowed.
func decodeOne(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("found more behind the JSON value")
	}
	return nil
}

// depth is the greatest nesting of brackets outside strings.
func depth(data []byte) int {
	level, most, inString, escaped := 0, 0, false, false
	for _, b := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = b == '\\', b != '"'
		case b == '"':
			inString = true
		case b == '{' || b == '[':
			level++
			most = max(most, level)
		case b == '}' || b == ']':
			level--
		}
	}
	return most
}

// writeSafetensors writes float32 tensors to a safetensors file that PyTorch's safetensors.torch.load_file reads.
func writeSafetensors(path string, ws []weight) error {
	return writeSafetensorsMeta(path, ws, nil)
}

// writeSafetensorsMeta is writeSafetensors with the format's free metadata.
func writeSafetensorsMeta(path string, ws []weight, meta map[string]string) error {
	type entry struct {
		DType   string  `json:"dtype"`
		Shape   []int64 `json:"shape"`
		Offsets [2]int  `json:"data_offsets"`
	}
	entries, at := map[string]any{}, 0
	if meta != nil {
		entries["__metadata__"] = meta
	}
	for _, w := range ws {
		if w.Tensor.Type != onnx.Float32 {
			return fmt.Errorf("tools: write safetensors: tensor %q has type %s, expected float32", w.Name, w.DType)
		}
		shape := w.Tensor.Shape
		if shape == nil {
			shape = []int64{}
		}
		entries[w.Name] = entry{"F32", shape, [2]int{at, at + 4*len(w.Tensor.Floats)}}
		at += 4 * len(w.Tensor.Floats)
	}
	header, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	for (8+len(header))%8 != 0 {
		header = append(header, ' ')
	}
	return writeAtomic(path, func(f io.Writer) error {
		out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
		if _, err := f.Write(append(out, header...)); err != nil {
			return err
		}
		buf := make([]byte, 1<<16)
		for _, w := range ws {
			for block := range slices.Chunk(w.Tensor.Floats, len(buf)/4) {
				for i, v := range block {
					binary.LittleEndian.PutUint32(buf[4*i:], math.Float32bits(v))
				}
				if _, err := f.Write(buf[:4*len(block)]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

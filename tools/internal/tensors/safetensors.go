package tensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"unicode/utf8"

	"lenskit/onnx"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// MaxSafetensorsHeader is the format's own limit on the JSON header.
const MaxSafetensorsHeader = 100_000_000

// safetensorsTypes maps the format's names to ours.
var safetensorsTypes = map[string]string{
	"F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
	"I16": "int16", "U16": "uint16", "I32": "int32", "U32": "uint32", "I64": "int64", "U64": "uint64",
}

// parseSafetensors finds the tensors of a safetensors file: eight bytes of header length, a JSON header, then the tensors
// without gap or overlap up to the end of the file. The tensors come in the order of their data.
func parseSafetensors(file io.ReaderAt, size int64) ([]Stored, error) {
	if size < 8 {
		return nil, fmt.Errorf("safetensors: found %d bytes, expected at least 8", size)
	}
	length, err := readAt(file, 0, 8)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length)
	if n > MaxSafetensorsHeader || n > uint64(size-8) {
		return nil, fmt.Errorf("safetensors: header of %d bytes in a file of %d", n, size)
	}
	header, err := readAt(file, 8, int64(n))
	if err != nil {
		return nil, err
	}
	begin := 8 + int64(n)
	body := size - begin
	if !utf8.Valid(header) {
		return nil, fmt.Errorf("safetensors: the header is not UTF-8")
	}
	if len(header) == 0 {
		return nil, fmt.Errorf("safetensors: the header is empty, expected a JSON object")
	}
	if depth(header) > 127 {
		return nil, fmt.Errorf("safetensors: the header nests deeper than 127 levels")
	}
	var all []Stored
	err = eachMember(header, func(name string, d *json.Decoder) error {
		if name == "__metadata__" {
			var meta map[string]string
			if err := d.Decode(&meta); err != nil {
				return fmt.Errorf("__metadata__: %s", term.JSONReason(err))
			}
			return nil
		}
		if len(name) > maxWeightName {
			return fmt.Errorf("found a name of %d bytes, expected at most %d: %s", len(name), maxWeightName, term.Shown(name))
		}
		if len(all) >= maxWeightTensors {
			return fmt.Errorf("more than %d tensors", maxWeightTensors)
		}
		t, err := safetensor(d, body)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", term.Shown(name), err)
		}
		t.Name, t.from.file = name, file
		all = append(all, *t)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.from.at != b.from.at {
			return a.from.at < b.from.at
		}
		if a.from.bytes != b.from.bytes {
			return a.from.bytes < b.from.bytes
		}
		return a.Name < b.Name
	})
	at := int64(0)
	for i := range all {
		t := &all[i]
		if t.from.at != at {
			return nil, fmt.Errorf("safetensors: tensor %q: data begins at %d, expected %d", term.Shown(t.Name), t.from.at, at)
		}
		at += t.from.bytes
		t.from.at += begin
	}
	if at != body {
		return nil, fmt.Errorf("safetensors: %d bytes of data behind the last tensor", body-at)
	}
	return all, nil
}

// safetensor reads what the header says of a tensor, which is to lie in body bytes of data.
func safetensor(d *json.Decoder, body int64) (*Stored, error) {
	var e struct {
		DType   *string  `json:"dtype"`
		Shape   *[]int64 `json:"shape"`
		Offsets []int64  `json:"data_offsets"`
	}
	if err := d.Decode(&e); err != nil {
		return nil, errors.New(term.JSONReason(err))
	}
	if e.DType == nil || e.Shape == nil || len(e.Offsets) != 2 {
		return nil, fmt.Errorf("expected dtype, shape and two data_offsets")
	}
	elem, ok := elementTypeNamed(safetensorsTypes[*e.DType])
	if !ok {
		return nil, fmt.Errorf("found dtype %q, which is not supported", term.Shown(*e.DType))
	}
	count, err := elements(*e.Shape)
	if err != nil {
		return nil, err
	}
	begin, end := e.Offsets[0], e.Offsets[1]
	if begin < 0 || end < begin || end > body || end-begin != count*int64(elem.size) {
		return nil, fmt.Errorf("data_offsets [%d, %d] do not hold %s%v in %d bytes of data", begin, end, elem.Name, *e.Shape, body)
	}
	t := &Stored{Elem: elem, Shape: *e.Shape, stride: make([]int64, len(*e.Shape)), count: count, from: &storage{elem: elem, at: begin, bytes: end - begin, filled: true}}
	step := int64(1)
	for i := len(t.stride) - 1; i >= 0; i-- {
		t.stride[i] = step
		step *= t.Shape[i]
	}
	return t, nil
}

// eachMember calls f with each key of a JSON object and a decoder that stands before its value, which f reads.
func eachMember(data []byte, f func(key string, d *json.Decoder) error) error {
	d := json.NewDecoder(bytes.NewReader(data))
	t, err := d.Token()
	if err == nil && t != json.Delim('{') {
		return fmt.Errorf("the header is %s, expected a JSON object", term.JSONText(t))
	}
	seen := map[string]bool{}
	for err == nil && d.More() {
		if t, err = d.Token(); err != nil {
			break
		}
		key, _ := t.(string)
		if seen[key] {
			return fmt.Errorf("%q stands there twice", term.Shown(key))
		}
		seen[key] = true
		if err := f(key, d); err != nil {
			return err
		}
	}
	if err == nil {
		_, err = d.Token()
	}
	if err != nil {
		return fmt.Errorf("the header %s", term.JSONReason(err))
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

// WriteSafetensors writes float32 tensors to a safetensors file that PyTorch's safetensors.torch.load_file reads.
func WriteSafetensors(path string, ws []Named) error {
	return WriteSafetensorsMeta(path, ws, nil)
}

// WriteSafetensorsMeta is WriteSafetensors with the format's free metadata.
func WriteSafetensorsMeta(path string, ws []Named, meta map[string]string) error {
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
	return rundir.WriteAtomic(path, func(f io.Writer) error {
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

package tensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/tools/internal/term"
)

// Limits of weight files: what a network of any sensible size stays under.
const (
	maxWeightElements = 1 << 31 // elements of all tensors together
	maxWeightTensors  = 100_000
	maxWeightRank     = 32
	maxWeightName     = 4096     // bytes
	maxWeightExpanded = 64 << 20 // bytes that views may have beyond four times their storages
)

// Named is one named tensor of a PyTorch or safetensors file. The half-precision types are widened to float32 in
// Tensor; DType keeps the name that the file gives.
type Named struct {
	Name   string
	DType  string // PyTorch's name: float32, bfloat16, int64, bool, …
	Tensor *onnx.Tensor
}

// Read reads the tensors of a .pt, .pth or .safetensors file in the order of the file. Nothing that the file holds
// is executed. Tensors of integers, which no network of ours has, come without their values. An error names the file and
// what was found.
func Read(path string) ([]Named, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var bytes int64
	for _, s := range f.List {
		if s.Elem.isFloat() {
			bytes += s.count * int64(max(4, s.Elem.size))
		}
	}
	if bytes > f.size+term.MaxDecodedMore {
		return nil, term.BadInput("%s: found tensors that take %s in memory, expected at most %s for a file of %s", path, disk.Size(bytes), disk.Size(f.size+term.MaxDecodedMore), disk.Size(f.size))
	}
	ws := make([]Named, len(f.List))
	for i, s := range f.List {
		t, err := s.tensor()
		if err != nil {
			return nil, term.BadInput("%s: tensor %q: cannot be read: %s", path, term.Shown(s.Name), disk.Reason(err))
		}
		ws[i] = Named{s.Name, s.Elem.Name, t}
	}
	return ws, nil
}

// File is an open file of weights, checked, of which no value has been decoded.
type File struct {
	*os.File
	size int64
	List []Stored
}

// Open opens a file of weights and finds its tensors.
func Open(path string) (*File, error) {
	f, size, err := disk.Open(path)
	if err != nil {
		return nil, term.BadInput("%w, expected a .pt, .pth or .safetensors file", err)
	}
	w := &File{File: f, size: size}
	if size > term.MaxWeightFile {
		err = fmt.Errorf("found %s, expected at most %s", disk.Size(size), disk.Size(term.MaxWeightFile))
	} else if strings.EqualFold(filepath.Ext(path), ".safetensors") {
		w.List, err = parseSafetensors(f, size)
	} else {
		w.List, err = parseTorch(f, size)
	}
	if err != nil {
		f.Close()
		return nil, term.BadInput("%s: %w", path, err)
	}
	return w, nil
}

// storage is a flat array in a file, of which tensors are views.
type storage struct {
	elem    elementType
	untyped bool // bytes, whose type the tensor tells
	file    io.ReaderAt
	at      int64 // where it begins
	bytes   int64
	filled  bool   // at is known
	raw     []byte // all of it, where a view needed that
	used    bool   // by a view
}

// Stored is a named tensor in a file: a view of a storage.
type Stored struct {
	Name          string
	Elem          elementType
	Shape, stride []int64
	offset, count int64 // in elements
	from          *storage
	bigEndian     bool
}

// inOrder tells whether the elements lie in the file as in row-major order, without gaps.
func (s *Stored) inOrder() bool {
	step := int64(1)
	for i := len(s.Shape) - 1; i >= 0; i-- {
		if s.Shape[i] != 1 && s.stride[i] != step {
			return false
		}
		step *= s.Shape[i]
	}
	return true
}

// Each calls f with the elements in row-major order, as the words that the file holds.
func (s *Stored) Each(f func(i int, w uint64)) error {
	size := int64(s.Elem.size)
	if s.count == 0 {
		return nil
	}
	if s.inOrder() {
		r := io.NewSectionReader(s.from.file, s.from.at+s.offset*size, s.count*size)
		buf := make([]byte, min(1<<16, s.count*size))
		for i := 0; i < int(s.count); {
			part := buf[:min(int64(len(buf)), (s.count-int64(i))*size)]
			if _, err := io.ReadFull(r, part); err != nil {
				return err
			}
			for ; len(part) > 0; part = part[size:] {
				f(i, word(part, int(size), s.bigEndian))
				i++
			}
		}
		return nil
	}
	if s.from.raw == nil {
		raw := make([]byte, s.from.bytes)
		if _, err := s.from.file.ReadAt(raw, s.from.at); err != nil && err != io.EOF {
			return err
		}
		s.from.raw = raw
	}
	index := make([]int64, len(s.Shape))
	at := s.offset
	for i := range int(s.count) {
		f(i, word(s.from.raw[at*size:], int(size), s.bigEndian))
		for k := len(index) - 1; k >= 0; k-- {
			index[k]++
			at += s.stride[k]
			if index[k] < s.Shape[k] {
				break
			}
			at -= index[k] * s.stride[k]
			index[k] = 0
		}
	}
	return nil
}

// tensor decodes the tensor; one of integers without its values.
func (s *Stored) tensor() (*onnx.Tensor, error) {
	t := &onnx.Tensor{Type: s.Elem.onnx, Shape: s.Shape}
	switch {
	case !s.Elem.isFloat():
		return t, nil
	case s.Elem.onnx == onnx.Float64:
		t.Doubles = make([]float64, s.count)
		return t, s.Each(func(i int, w uint64) { t.Doubles[i] = math.Float64frombits(w) })
	}
	t.Type, t.Floats = onnx.Float32, make([]float32, s.count)
	return t, s.Each(func(i int, w uint64) { t.Floats[i] = s.Elem.float32(w) })
}

// checkViews holds the views against the storages: expanded ones may not take much more room than the file.
func checkViews(list []Stored) error {
	var views, storages int64
	for i := range list {
		s := &list[i]
		if !s.from.used {
			s.from.used = true
			storages += s.from.bytes
		}
		views += s.count * int64(s.Elem.size)
	}
	if views > 4*storages+maxWeightExpanded {
		return fmt.Errorf("found tensors of %s expanded from %s of values, expected about as much as there is", disk.Size(views), disk.Size(storages))
	}
	return nil
}

// elements multiplies the extents of a shape, refusing negative ones and more than maxWeightElements in all.
func elements(shape []int64) (int64, error) {
	if len(shape) > maxWeightRank {
		return 0, fmt.Errorf("found %d dimensions, expected at most %d", len(shape), maxWeightRank)
	}
	n := int64(1)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("found a negative extent in shape %v", shape)
		}
		if d > 0 && n > maxWeightElements/d {
			return 0, fmt.Errorf("found shape %v, expected at most %d elements", shape, int64(maxWeightElements))
		}
		n *= d
	}
	return n, nil
}

// elementType tells how elements of one type are stored: little-endian words of size bytes.
type elementType struct {
	Name string
	size int
	onnx onnx.DType
}

var elementTypes = []elementType{
	{"float32", 4, onnx.Float32},
	{"float64", 8, onnx.Float64},
	{"float16", 2, onnx.Float16},
	{"bfloat16", 2, onnx.BFloat16},
	{"int8", 1, onnx.Int8},
	{"uint8", 1, onnx.Uint8},
	{"bool", 1, onnx.Bool},
	{"int16", 2, onnx.Int16},
	{"uint16", 2, onnx.Uint16},
	{"int32", 4, onnx.Int32},
	{"uint32", 4, onnx.Uint32},
	{"int64", 8, onnx.Int64},
	{"uint64", 8, onnx.Uint64},
}

func elementTypeNamed(name string) (elementType, bool) {
	i := slices.IndexFunc(elementTypes, func(e elementType) bool { return e.Name == name })
	if i < 0 {
		return elementType{}, false
	}
	return elementTypes[i], true
}

// isFloat tells whether elements are numbers with a fraction.
func (e elementType) isFloat() bool {
	return e.onnx == onnx.Float32 || e.onnx == onnx.Float64 || e.onnx == onnx.Float16 || e.onnx == onnx.BFloat16
}

// float32 is the value of a word of a float32, float16 or bfloat16.
func (e elementType) float32(w uint64) float32 {
	switch e.onnx {
	case onnx.Float16, onnx.BFloat16:
		return onnx.Widen(e.onnx, uint16(w))
	}
	return math.Float32frombits(uint32(w))
}

// Value is the value of a word of any type.
func (e elementType) Value(w uint64) float64 {
	switch e.onnx {
	case onnx.Float32, onnx.Float16, onnx.BFloat16:
		return float64(e.float32(w))
	case onnx.Float64:
		return math.Float64frombits(w)
	case onnx.Int8:
		return float64(int8(w))
	case onnx.Int16:
		return float64(int16(w))
	case onnx.Int32:
		return float64(int32(w))
	case onnx.Int64:
		return float64(int64(w))
	case onnx.Bool:
		return float64(min(w, 1))
	}
	return float64(w)
}

// word reads the first size bytes of raw, in the byte order asked for.
func word(raw []byte, size int, bigEndian bool) uint64 {
	var order binary.ByteOrder = binary.LittleEndian
	if bigEndian {
		order = binary.BigEndian
	}
	switch size {
	case 1:
		return uint64(raw[0])
	case 2:
		return uint64(order.Uint16(raw))
	case 4:
		return uint64(order.Uint32(raw))
	}
	return order.Uint64(raw)
}

package tools

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"lenskit/onnx"
)

// Limits of weight files: what a network of any sensible size stays under.
const (
	maxWeightFile     = 8 << 30 // bytes read from one file
	maxWeightElements = 1 << 31 // elements of all tensors together
	maxWeightTensors  = 1 << 20
	maxWeightRank     = 32
)

// weight is one named tensor of a PyTorch or safetensors file. The half-precision types are widened to float32 in
// Tensor; DType keeps the name that the file gives.
type weight struct {
	Name   string
	DType  string // PyTorch's name: float32, bfloat16, int64, bool, …
	Tensor *onnx.Tensor
}

// readWeights reads the tensors of a .pt, .pth or .safetensors file in the order of the file. Nothing that the file holds
// is executed. An error names the file and what was found.
func readWeights(path string) ([]weight, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, badInput("%s: cannot be read: %v", path, reason(err))
	}
	if info.IsDir() {
		return nil, badInput("%s: found a folder, expected a .pt, .pth or .safetensors file", path)
	}
	if info.Size() > maxWeightFile {
		return nil, badInput("%s: file of %d bytes, expected at most %d", path, info.Size(), int64(maxWeightFile))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, badInput("%s: cannot be read: %v", path, reason(err))
	}
	var ws []weight
	if strings.EqualFold(filepath.Ext(path), ".safetensors") {
		ws, err = parseSafetensors(data)
	} else {
		ws, err = parseTorch(data)
	}
	if err != nil {
		return nil, badInput("%s: %v", path, err)
	}
	return ws, nil
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
	name string
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
	for _, e := range elementTypes {
		if e.name == name {
			return e, true
		}
	}
	return elementType{}, false
}

// word reads the size-byte word i of raw, in the byte order asked for.
func word(raw []byte, i, size int, bigEndian bool) uint64 {
	var v uint64
	for k := range size {
		b := raw[i*size+k]
		if bigEndian {
			v = v<<8 | uint64(b)
		} else {
			v |= uint64(b) << (8 * k)
		}
	}
	return v
}

// gather makes the tensor of the given shape whose element j stands at word at(j) of raw.
func (e elementType) gather(raw []byte, bigEndian bool, shape []int64, n int, at func(j int) int) *onnx.Tensor {
	t := &onnx.Tensor{Type: e.onnx, Shape: shape}
	switch e.onnx {
	case onnx.Float32, onnx.Float16, onnx.BFloat16:
		t.Type, t.Floats = onnx.Float32, make([]float32, n)
		for j := range t.Floats {
			w := word(raw, at(j), e.size, bigEndian)
			switch e.onnx {
			case onnx.Float32:
				t.Floats[j] = math.Float32frombits(uint32(w))
			case onnx.BFloat16:
				t.Floats[j] = math.Float32frombits(uint32(w) << 16)
			default:
				t.Floats[j] = halfToFloat(uint16(w))
			}
		}
	case onnx.Float64:
		t.Doubles = make([]float64, n)
		for j := range t.Doubles {
			t.Doubles[j] = math.Float64frombits(word(raw, at(j), 8, bigEndian))
		}
	default:
		t.Ints = make([]int64, n)
		for j := range t.Ints {
			w := word(raw, at(j), e.size, bigEndian)
			switch e.onnx {
			case onnx.Int8:
				t.Ints[j] = int64(int8(w))
			case onnx.Int16:
				t.Ints[j] = int64(int16(w))
			case onnx.Int32:
				t.Ints[j] = int64(int32(w))
			case onnx.Bool:
				t.Ints[j] = min(int64(w), 1)
			default:
				t.Ints[j] = int64(w)
			}
		}
	}
	return t
}

// halfToFloat widens an IEEE 754 binary16.
func halfToFloat(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, int(h>>10&31), uint32(h&1023)
	switch exp {
	case 0: // zero and subnormals: frac·2⁻²⁴
		v := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | uint32(exp+112)<<23 | frac<<13)
}

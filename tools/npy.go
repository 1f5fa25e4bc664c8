package tools

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lenskit/onnx"
)

// Limits on .npy files: bytes of a header, and bytes of the values.
const (
	maxNPYHeader = 1 << 16
	maxNPYBytes  = 1 << 32
	maxNPYRank   = 32
)

// readNPY reads the array file path.
func readNPY(path string) (*onnx.Tensor, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, badInput("%s: cannot be read: %s", path, reason(err))
	}
	defer f.Close()
	t, err := decodeNPY(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return nil, badInput("%s: %w", path, err)
	}
	return t, nil
}

// decodeNPY reads an array in NumPy's .npy format, versions 1 to 3: float16 (widened to float32), float32, float64,
// the integers and bool, of either byte order, in C or Fortran order. Memory grows with what r holds, not with what the
// header claims.
func decodeNPY(r io.Reader) (*onnx.Tensor, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:6]) != "\x93NUMPY" {
		return nil, fmt.Errorf("is not a .npy file: found %q, expected it to begin with \"\\x93NUMPY\"", head[:6])
	}
	var length int
	switch head[6] {
	case 1:
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, fmt.Errorf("the header is cut off")
		}
		length = int(binary.LittleEndian.Uint16(b[:]))
	case 2, 3:
		var b [4]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, fmt.Errorf("the header is cut off")
		}
		length = int(binary.LittleEndian.Uint32(b[:]))
	default:
		return nil, fmt.Errorf("found .npy version %d.%d, expected 1 to 3", head[6], head[7])
	}
	if length > maxNPYHeader {
		return nil, fmt.Errorf("found a header of %d bytes, expected at most %d", length, maxNPYHeader)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("the header is cut off")
	}
	typ, fortran, shape, err := parseNPYHeader(string(text))
	if err != nil {
		return nil, err
	}
	size := 1
	for _, d := range shape {
		if d > 0 && int64(size) > maxNPYBytes/d {
			return nil, fmt.Errorf("found shape %v, expected at most %d bytes", shape, maxNPYBytes)
		}
		size *= int(d)
	}
	if int64(size)*int64(typ.width) > maxNPYBytes {
		return nil, fmt.Errorf("found shape %v, expected at most %d bytes", shape, maxNPYBytes)
	}
	var raw bytes.Buffer
	if n, err := io.Copy(&raw, io.LimitReader(r, int64(size*typ.width))); err != nil {
		return nil, fmt.Errorf("cannot be read: %s", reason(err))
	} else if n < int64(size*typ.width) {
		return nil, fmt.Errorf("found %d bytes of values, expected %d for shape %v of %s", n, size*typ.width, shape, typ.dtype)
	}
	if n, _ := io.CopyN(io.Discard, r, 1); n > 0 {
		return nil, fmt.Errorf("found more bytes than shape %v of %s has", shape, typ.dtype)
	}
	t := &onnx.Tensor{Type: typ.dtype, Shape: shape}
	typ.decode(t, raw.Bytes(), size)
	if fortran && len(shape) > 1 {
		t = fromFortran(t)
	}
	return t, nil
}

// npyType is an element type of a .npy file.
type npyType struct {
	dtype onnx.DType
	kind  byte // f, i, u or b
	width int
	order binary.ByteOrder
}

// The element types that .npy files and lenskit share.
var npyTypes = []npyType{
	{onnx.Float32, 'f', 2, nil}, {onnx.Float32, 'f', 4, nil}, {onnx.Float64, 'f', 8, nil},
	{onnx.Int8, 'i', 1, nil}, {onnx.Int16, 'i', 2, nil}, {onnx.Int32, 'i', 4, nil}, {onnx.Int64, 'i', 8, nil},
	{onnx.Uint8, 'u', 1, nil}, {onnx.Uint16, 'u', 2, nil}, {onnx.Uint32, 'u', 4, nil}, {onnx.Uint64, 'u', 8, nil},
	{onnx.Bool, 'b', 1, nil},
}

var npyHeader = regexp.MustCompile(`^\s*\{(.*)\}\s*$`)

// The header is a Python literal of a dictionary with exactly these three keys.
var (
	npyDescr   = regexp.MustCompile(`^\s*['"]descr['"]\s*:\s*['"]([^'"]*)['"]\s*(?:,|$)`)
	npyFortran = regexp.MustCompile(`^\s*['"]fortran_order['"]\s*:\s*(True|False)\s*(?:,|$)`)
	npyShape   = regexp.MustCompile(`^\s*['"]shape['"]\s*:\s*\(([0-9,\sL]*)\)\s*(?:,|$)`)
)

func parseNPYHeader(text string) (typ npyType, fortran bool, shape []int64, err error) {
	bad := func() (npyType, bool, []int64, error) {
		if len(text) > 120 {
			text = text[:120] + "…"
		}
		return typ, false, nil, fmt.Errorf("found header %q, expected descr, fortran_order and shape", strings.TrimSpace(text))
	}
	m := npyHeader.FindStringSubmatch(text)
	if m == nil {
		return bad()
	}
	var descr string
	var dims *string
	seen := 0
	for rest := m[1]; strings.TrimSpace(rest) != ""; seen++ {
		if m := npyDescr.FindStringSubmatch(rest); m != nil {
			descr, rest = m[1], rest[len(m[0]):]
		} else if m := npyFortran.FindStringSubmatch(rest); m != nil {
			fortran, rest = m[1] == "True", rest[len(m[0]):]
		} else if m := npyShape.FindStringSubmatch(rest); m != nil {
			dims, rest = &m[1], rest[len(m[0]):]
		} else {
			return bad()
		}
	}
	if descr == "" || dims == nil || seen != 3 {
		return bad()
	}
	if typ, err = parseNPYType(descr); err != nil {
		return typ, false, nil, err
	}
	shape = []int64{}
	for _, word := range strings.Split(*dims, ",") {
		word = strings.TrimSuffix(strings.TrimSpace(word), "L")
		if word == "" {
			continue
		}
		d, err := strconv.ParseInt(word, 10, 64)
		if err != nil || d > math.MaxInt32 {
			return bad()
		}
		shape = append(shape, d)
	}
	if len(shape) > maxNPYRank {
		return typ, false, nil, fmt.Errorf("found %d dimensions, expected at most %d", len(shape), maxNPYRank)
	}
	return typ, fortran, shape, nil
}

func parseNPYType(descr string) (npyType, error) {
	unknown := fmt.Errorf("found element type %q, expected float16, float32, float64, an integer type or bool", descr)
	s := descr
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case strings.HasPrefix(s, ">"):
		order, s = binary.BigEndian, s[1:]
	case strings.HasPrefix(s, "<"), strings.HasPrefix(s, "|"), strings.HasPrefix(s, "="):
		s = s[1:]
	}
	if len(s) != 2 {
		return npyType{}, unknown
	}
	for _, t := range npyTypes {
		if t.kind == s[0] && t.width == int(s[1]-'0') {
			t.order = order
			return t, nil
		}
	}
	return npyType{}, unknown
}

// decode fills t with n values of raw.
func (y npyType) decode(t *onnx.Tensor, raw []byte, n int) {
	switch t.Type {
	case onnx.Float32:
		t.Floats = make([]float32, n)
		for i := range t.Floats {
			if y.width == 2 {
				t.Floats[i] = halfToFloat(y.order.Uint16(raw[2*i:]))
			} else {
				t.Floats[i] = math.Float32frombits(y.order.Uint32(raw[4*i:]))
			}
		}
		return
	case onnx.Float64:
		t.Doubles = make([]float64, n)
		for i := range t.Doubles {
			t.Doubles[i] = math.Float64frombits(y.order.Uint64(raw[8*i:]))
		}
		return
	}
	t.Ints = make([]int64, n)
	for i := range t.Ints {
		b := raw[i*y.width:]
		switch t.Type {
		case onnx.Bool:
			if b[0] != 0 {
				t.Ints[i] = 1
			}
		case onnx.Int8:
			t.Ints[i] = int64(int8(b[0]))
		case onnx.Uint8:
			t.Ints[i] = int64(b[0])
		case onnx.Int16:
			t.Ints[i] = int64(int16(y.order.Uint16(b)))
		case onnx.Uint16:
			t.Ints[i] = int64(y.order.Uint16(b))
		case onnx.Int32:
			t.Ints[i] = int64(int32(y.order.Uint32(b)))
		case onnx.Uint32:
			t.Ints[i] = int64(y.order.Uint32(b))
		default:
			t.Ints[i] = int64(y.order.Uint64(b))
		}
	}
}

// fromFortran returns t, whose values lie with the first index running fastest, with the last index running fastest.
func fromFortran(t *onnx.Tensor) *onnx.Tensor {
	n := t.Size()
	at := make([]int, n) // place in t of element i of the result
	stride := make([]int, len(t.Shape))
	for k, s := 0, 1; k < len(t.Shape); k++ {
		stride[k] = s
		s *= int(t.Shape[k])
	}
	index := make([]int64, len(t.Shape))
	p := 0
	for i := range n {
		at[i] = p
		for k := len(index) - 1; k >= 0; k-- {
			index[k]++
			p += stride[k]
			if index[k] < t.Shape[k] {
				break
			}
			p -= stride[k] * int(t.Shape[k])
			index[k] = 0
		}
	}
	return &onnx.Tensor{Type: t.Type, Shape: t.Shape, Floats: permute(t.Floats, at), Doubles: permute(t.Doubles, at), Ints: permute(t.Ints, at)}
}

func permute[T any](src []T, at []int) []T {
	if src == nil {
		return nil
	}
	dst := make([]T, len(src))
	for i, p := range at {
		dst[i] = src[p]
	}
	return dst
}

// writeNPY writes t to path, atomically.
func writeNPY(path string, t *onnx.Tensor) error {
	return writeAtomic(path, func(w io.Writer) error { return encodeNPY(w, t) })
}

// encodeNPY writes t in .npy format, version 1, little-endian, in C order.
func encodeNPY(w io.Writer, t *onnx.Tensor) error {
	i := slices.IndexFunc(npyTypes, func(y npyType) bool { return y.dtype == t.Type && !(y.kind == 'f' && y.width == 2) })
	if i < 0 {
		return fmt.Errorf("a tensor of %s cannot be written as .npy", t.Type)
	}
	y := npyTypes[i]
	order := "<"
	if y.width == 1 {
		order = "|"
	}
	dims := make([]string, len(t.Shape))
	for i, d := range t.Shape {
		dims[i] = strconv.FormatInt(d, 10)
	}
	shape := strings.Join(dims, ", ")
	if len(dims) == 1 {
		shape += ","
	}
	head := fmt.Sprintf("{'descr': '%s%c%d', 'fortran_order': False, 'shape': (%s), }", order, y.kind, y.width, shape)
	// The values begin at a multiple of 64 bytes.
	head += strings.Repeat(" ", 63-(10+len(head))%64) + "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(b[8:], uint16(len(head)))
	if _, err := w.Write(append(b, head...)); err != nil {
		return err
	}
	var word [8]byte
	for i := range t.Size() {
		var bits uint64
		switch t.Type {
		case onnx.Float32:
			bits = uint64(math.Float32bits(t.Floats[i]))
		case onnx.Float64:
			bits = math.Float64bits(t.Doubles[i])
		default:
			bits = uint64(t.Ints[i])
		}
		binary.LittleEndian.PutUint64(word[:], bits)
		if _, err := w.Write(word[:y.width]); err != nil {
			return err
		}
	}
	return nil
}

package tensors

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// Limits on .npy files: bytes of a header, and dimensions.
const (
	maxNPYRank = 32
)

// ReadNPY reads the array file path. accept is asked about type and shape before a value is read.
func ReadNPY(path string, accept ...func(onnx.DType, []int64) error) (*onnx.Tensor, error) {
	f, size, err := disk.Open(path)
	if err != nil {
		return nil, term.BadInput("%w, expected a .npy file", err)
	}
	defer f.Close()
	if size > term.MaxNPYFile {
		return nil, term.BadInput("%s: found %s, expected at most %s", path, disk.Size(size), disk.Size(term.MaxNPYFile))
	}
	t, err := DecodeNPY(bufio.NewReaderSize(f, 1<<16), size, accept...)
	if err != nil {
		return nil, term.BadInput("%s: %w", path, err)
	}
	return t, nil
}

// DecodeNPY reads an array in NumPy's .npy format, versions 1 to 3: float16 (widened to float32), float32, float64,
// the integers and bool, of either byte order, in C or Fortran order. have is how many bytes r holds: what the header
// claims beyond that takes no memory.
func DecodeNPY(r io.Reader, have int64, accept ...func(onnx.DType, []int64) error) (*onnx.Tensor, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:6]) != "\x93NUMPY" {
		return nil, fmt.Errorf("is not a .npy file: found %q, expected it to begin with \"\\x93NUMPY\"", head[:6])
	}
	have -= 8
	var length, width int
	switch head[6] {
	case 1:
		width = 2
	case 2, 3:
		width = 4
	default:
		return nil, fmt.Errorf("found .npy version %d.%d, expected 1 to 3", head[6], head[7])
	}
	var count [4]byte
	if _, err := io.ReadFull(r, count[:width]); err != nil {
		return nil, fmt.Errorf("the header is cut off")
	}
	length = int(binary.LittleEndian.Uint32(count[:]))
	have -= int64(width + length)
	if length > term.MaxNPYHeader {
		return nil, fmt.Errorf("found a header of %d bytes, expected at most %d", length, term.MaxNPYHeader)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("the header is cut off")
	}
	typ, fortran, shape, err := parseNPYHeader(string(text))
	if err != nil {
		return nil, err
	}
	for _, f := range accept {
		if err := f(typ.dtype, shape); err != nil {
			return nil, err
		}
	}
	size := int64(1)
	for _, d := range shape {
		if d > 0 && size > term.MaxNPYFile/d {
			return nil, fmt.Errorf("found shape %v, expected at most %s", shape, disk.Size(term.MaxNPYFile))
		}
		size *= d
	}
	switch bytes := size * int64(typ.width); {
	case have < bytes:
		return nil, fmt.Errorf("found %d bytes of values, expected %d for shape %v of %s", have, bytes, shape, typ.dtype)
	case have > bytes:
		return nil, fmt.Errorf("found more bytes than shape %v of %s has: %d, expected %d", shape, typ.dtype, have, bytes)
	case size*typ.wide() > bytes+term.MaxDecodedMore:
		return nil, fmt.Errorf("found %d values of %s, which take %s in memory, expected at most %s", size, typ.dtype, disk.Size(size*typ.wide()), disk.Size(bytes+term.MaxDecodedMore))
	}
	t := &onnx.Tensor{Type: typ.dtype, Shape: shape}
	if err := typ.decode(t, r, int(size), fortran); err != nil {
		return nil, fmt.Errorf("cannot be read: %s", disk.Reason(err))
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

// wide is the number of bytes that a value takes in a tensor.
func (y npyType) wide() int64 {
	if y.dtype == onnx.Float32 {
		return 4
	}
	return 8
}

// decode fills t with n values of r, which with fortran set come with the first index running fastest.
func (y npyType) decode(t *onnx.Tensor, r io.Reader, n int, fortran bool) error {
	switch y.dtype {
	case onnx.Float32:
		t.Floats = make([]float32, n)
	case onnx.Float64:
		t.Doubles = make([]float64, n)
	default:
		t.Ints = make([]int64, n)
	}
	i := -1
	next := func() int { i++; return i }
	if fortran && len(t.Shape) > 1 {
		next = fortranOrder(t.Shape)
	}
	buf := make([]byte, min(1<<16, n*y.width))
	for left := n; left > 0; {
		part := buf[:min(len(buf), left*y.width)]
		if _, err := io.ReadFull(r, part); err != nil {
			return err
		}
		left -= len(part) / y.width
		for ; len(part) > 0; part = part[y.width:] {
			w := word(part, y.width, y.order == binary.BigEndian)
			i := next()
			switch t.Type {
			case onnx.Float32:
				if y.width == 2 {
					t.Floats[i] = onnx.Widen(onnx.Float16, uint16(w))
				} else {
					t.Floats[i] = math.Float32frombits(uint32(w))
				}
			case onnx.Float64:
				t.Doubles[i] = math.Float64frombits(w)
			case onnx.Bool:
				t.Ints[i] = int64(min(w, 1))
			case onnx.Int8:
				t.Ints[i] = int64(int8(w))
			case onnx.Int16:
				t.Ints[i] = int64(int16(w))
			case onnx.Int32:
				t.Ints[i] = int64(int32(w))
			default:
				t.Ints[i] = int64(w)
			}
		}
	}
	return nil
}

// fortranOrder gives, one call after the other, the places in row-major order of the elements of an array whose first
// index runs fastest.
func fortranOrder(shape []int64) func() int {
	stride, step := make([]int, len(shape)), 1
	for k := len(shape) - 1; k >= 0; k-- {
		stride[k] = step
		step *= int(shape[k])
	}
	index := make([]int64, len(shape))
	at := 0
	return func() int {
		here := at
		for k := range index {
			index[k]++
			at += stride[k]
			if index[k] < shape[k] {
				break
			}
			at -= stride[k] * int(shape[k])
			index[k] = 0
		}
		return here
	}
}

// WriteNPY writes t to path, atomically.
func WriteNPY(path string, t *onnx.Tensor) error {
	return rundir.WriteAtomic(path, func(w io.Writer) error { return encodeNPY(w, t) })
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

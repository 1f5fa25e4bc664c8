package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lenskit/internal/disk"
	"lenskit/onnx/internal/onnxpb"
)

// Limits on one tensor of a model file.
const (
	MaxRank        = 32
	MaxExtent      = 1<<31 - 1
	MaxTensorBytes = 1 << 32
	maxWeights     = 1 << 31 // of all tensors in files of their own: what a model file may have
	maxSpread      = 1 << 28 // by which these may be more than the files have
)

var dtypeNames = [...]string{
	"undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16",
	"float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz",
	"float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1", "float8e8m0",
}

// String is the type's name as NumPy writes it.
func (d DType) String() string {
	if d >= 0 && int(d) < len(dtypeNames) {
		return dtypeNames[d]
	}
	return "type " + strconv.Itoa(int(d))
}

// IsInt tells whether values of type d are whole numbers; Bool is not among them.
func (d DType) IsInt() bool {
	switch d {
	case Uint8, Int8, Uint16, Int16, Int32, Int64, Uint32, Uint64:
		return true
	}
	return false
}

// Width is the size of an element of type d in raw data, 0 for types that lenskit does not hold.
func (d DType) Width() int {
	switch d {
	case Uint8, Int8, Bool:
		return 1
	case Uint16, Int16, Float16, BFloat16:
		return 2
	case Float32, Int32, Uint32:
		return 4
	case Float64, Int64, Uint64:
		return 8
	}
	return 0
}

// Widened is the type in which lenskit holds values of type d: half precision and narrower floats are held as Float32,
// 4-bit integers in 8 bits.
func (d DType) Widened() DType {
	switch {
	case d == uint4:
		return Uint8
	case d == int4:
		return Int8
	case d == Float16, d == BFloat16, d.Narrow():
		return Float32
	}
	return d
}

// Value describes a value of the given name that is the tensor.
func (t *Tensor) Value(name string) Value {
	v := Value{Name: name, Type: t.Type, Shape: make([]Dim, len(t.Shape))}
	for i, d := range t.Shape {
		v.Shape[i] = Fixed(d)
	}
	return v
}

// SizeOf is the number of elements of a tensor of shape s, or an error when the shape is beyond the limits.
func SizeOf(s []int64) (int, error) {
	if len(s) > MaxRank {
		return 0, fmt.Errorf("found rank %d, expected at most %d", len(s), MaxRank)
	}
	n, empty := int64(1), false
	for _, d := range s {
		if d < 0 || d > MaxExtent {
			return 0, fmt.Errorf("found extent %d, expected 0 to %d", d, MaxExtent)
		}
		if d == 0 {
			empty = true
		} else if n *= d; n > MaxTensorBytes {
			return 0, fmt.Errorf("found shape %v, expected at most %d elements", s, MaxTensorBytes)
		}
	}
	if empty {
		return 0, nil
	}
	return int(n), nil
}

// ParseTensor reads a file that holds one tensor (TensorProto). Half precision is widened to Float32.
func ParseTensor(data []byte) (*Tensor, error) {
	p, err := onnxpb.UnmarshalTensor(data)
	if err != nil {
		return nil, fmt.Errorf("onnx: read: tensor: %w", err)
	}
	t, err := (&reader{}).tensor(p)
	if err != nil {
		return nil, fmt.Errorf("onnx: read: tensor: %w", err)
	}
	return t, nil
}

// tensor turns a TensorProto into a Tensor. The message's data must have the size that its shape asks for.
func (r *reader) tensor(p *onnxpb.Tensor) (*Tensor, error) {
	typ := DType(p.Type)
	if typ != String && typ.Width() == 0 && !typ.Narrow() {
		return nil, fmt.Errorf("tensor %q: found element type %s, expected a float, integer, bool or string type", p.Name, typ)
	}
	if p.Segment {
		return nil, fmt.Errorf("tensor %q: found a segment, expected a whole tensor", p.Name)
	}
	n, err := SizeOf(p.Dims)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", p.Name, err)
	}
	t := &Tensor{Type: typ.Widened(), Shape: p.Dims}
	if t.Shape == nil {
		t.Shape = []int64{}
	}
	if typ == String {
		if len(p.Strings) != n || p.HasRaw || p.Location != 0 {
			return nil, fmt.Errorf("tensor %q: found %d strings, expected %d for shape %v", p.Name, len(p.Strings), n, p.Dims)
		}
		t.Strings = make([]string, n)
		for i, s := range p.Strings {
			t.Strings[i] = string(s)
		}
		return t, nil
	}
	r.note(typ)
	if typ.Narrow() {
		return t, t.narrowTensor(p, typ, n)
	}
	if p.Location == 1 {
		f, err := r.external(p, n*typ.Width())
		if err == nil {
			err = t.fillFrom(f, typ, n)
			f.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", Quote(p.Name), err)
		}
		return t, nil
	}
	if raw := p.Raw; p.HasRaw {
		if len(raw) != n*typ.Width() {
			return nil, fmt.Errorf("tensor %q: found %d bytes of data, expected %d for shape %v of %s", p.Name, len(raw), n*typ.Width(), p.Dims, typ)
		}
		t.alloc(typ, n)
		t.fillRaw(typ, raw, 0)
		return t, nil
	}
	found := len(p.Floats)
	switch typ {
	case Float32:
		t.Floats = p.Floats
	case Float64:
		found, t.Doubles = len(p.Doubles), p.Doubles
	case Int64:
		found, t.Ints = len(p.Int64s), p.Int64s
	case Uint64, Uint32:
		found = len(p.Uint64s)
		t.Ints = make([]int64, found)
		for i, v := range p.Uint64s {
			t.Ints[i] = int64(v)
		}
	case Float16, BFloat16:
		found = len(p.Int32s)
		t.Floats = make([]float32, found)
		for i, v := range p.Int32s {
			t.Floats[i] = Widen(typ, uint16(v))
		}
	default:
		found = len(p.Int32s)
		t.Ints = make([]int64, found)
		for i, v := range p.Int32s {
			t.Ints[i] = Wrap(typ, int64(v))
		}
	}
	if found != n {
		return nil, fmt.Errorf("tensor %q: found %d values, expected %d for shape %v of %s", p.Name, found, n, p.Dims, typ)
	}
	t.notNil()
	return t, nil
}

// notNil gives an empty tensor the slice that its type asks for.
func (t *Tensor) notNil() {
	switch {
	case t.Type == Float32 && t.Floats == nil:
		t.Floats = []float32{}
	case t.Type == Float64 && t.Doubles == nil:
		t.Doubles = []float64{}
	case t.Type == String && t.Strings == nil:
		t.Strings = []string{}
	case (t.Type.IsInt() || t.Type == Bool) && t.Ints == nil:
		t.Ints = []int64{}
	}
}

// fillRaw decodes little-endian values of type typ into those from at on.
func (t *Tensor) fillRaw(typ DType, raw []byte, at int) {
	le := binary.LittleEndian
	n := len(raw) / typ.Width()
	switch typ {
	case Float32:
		for i := range t.Floats[at : at+n] {
			t.Floats[at+i] = math.Float32frombits(le.Uint32(raw[4*i:]))
		}
	case Float16, BFloat16:
		for i := range t.Floats[at : at+n] {
			t.Floats[at+i] = Widen(typ, le.Uint16(raw[2*i:]))
		}
	case Float64:
		for i := range t.Doubles[at : at+n] {
			t.Doubles[at+i] = math.Float64frombits(le.Uint64(raw[8*i:]))
		}
	default:
		for i := range t.Ints[at : at+n] {
			switch typ.Width() {
			case 1:
				t.Ints[at+i] = Wrap(typ, int64(raw[i]))
			case 2:
				t.Ints[at+i] = Wrap(typ, int64(le.Uint16(raw[2*i:])))
			case 4:
				t.Ints[at+i] = Wrap(typ, int64(le.Uint32(raw[4*i:])))
			case 8:
				t.Ints[at+i] = int64(le.Uint64(raw[8*i:]))
			}
		}
	}
}

// Widen turns the bits of a half-precision number into a float32.
func Widen(typ DType, h uint16) float32 {
	if typ == BFloat16 {
		return math.Float32frombits(uint32(h) << 16)
	}
	sign, exp, man := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch exp {
	case 0: // zero and subnormals: man · 2⁻²⁴
		v := math.Float32bits(float32(man) / (1 << 24))
		return math.Float32frombits(sign | v)
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | man<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}

// external reads the data of a tensor from the file that it names, which must lie inside the model's folder.
func (r *reader) external(p *onnxpb.Tensor, size int) (*externalData, error) {
	var location string
	offset, length := int64(0), int64(-1)
	for _, e := range p.External {
		var err error
		switch e.Key {
		case "location":
			location = e.Value
		case "offset":
			offset, err = strconv.ParseInt(e.Value, 10, 64)
		case "length":
			length, err = strconv.ParseInt(e.Value, 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("external data: %s: found %q, expected a number", e.Key, e.Value)
		}
	}
	if r.dir == "" {
		return nil, fmt.Errorf("external data %q: found a model without a folder, expected data inside the model", location)
	}
	if !filepath.IsLocal(filepath.FromSlash(location)) || strings.Contains(location, `\`) {
		return nil, fmt.Errorf("external data: found location %q, expected a path inside the model's folder", location)
	}
	if int64(size) > MaxTensorBytes {
		return nil, fmt.Errorf("external data %q: found %d bytes, expected at most %d", location, size, int64(MaxTensorBytes))
	}
	if length >= 0 && length != int64(size) || offset < 0 {
		return nil, fmt.Errorf("external data %q: found offset %d and length %d, expected %d bytes", location, offset, length, size)
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, fmt.Errorf("external data %q: %w", location, err)
	}
	defer root.Close()
	// A Root refuses symbolic links that lead out of its folder; opening a pipe would wait for ever.
	st, err := root.Stat(filepath.FromSlash(location))
	if err != nil {
		return nil, fmt.Errorf("external data: %w", pathError(err))
	}
	if err := disk.Regular(st); err != nil {
		return nil, fmt.Errorf("external data %s: %w", Quote(location), err)
	}
	// Tensors may share what a file holds, and narrow numbers take more memory than they take there: neither without end.
	if r.files == nil {
		r.files = map[string]bool{}
	}
	if !r.files[location] {
		r.files[location] = true
		r.room += st.Size()
	}
	wide := 8
	if t := DType(p.Type); t == Float32 || t == Float16 || t == BFloat16 {
		wide = 4
	}
	r.outside += int64(size / DType(p.Type).Width() * wide)
	if most := min(r.room+maxSpread, maxWeights); r.outside > most {
		return nil, fmt.Errorf("external data %s: found values that take %s, expected at most %s for what its files hold", Quote(location), disk.Size(r.outside), disk.Size(most))
	}
	if st.Size()-offset < int64(size) {
		return nil, fmt.Errorf("external data %q: found %d bytes after offset %d, expected %d", location, max(0, st.Size()-offset), offset, size)
	}
	f, err := root.Open(filepath.FromSlash(location))
	if err != nil {
		return nil, fmt.Errorf("external data: %w", pathError(err))
	}
	return &externalData{f, io.NewSectionReader(f, offset, int64(size)), location}, nil
}

// externalData is the part of a file that holds a tensor.
type externalData struct {
	io.Closer
	io.Reader
	location string
}

// fillFrom reads n values of type typ, some at a time.
func (t *Tensor) fillFrom(f *externalData, typ DType, n int) error {
	t.alloc(typ, n)
	const most = 1 << 16
	b := make([]byte, min(n, most)*typ.Width())
	for at := 0; at < n; at += most {
		part := b[:min(n-at, most)*typ.Width()]
		if _, err := io.ReadFull(f, part); err != nil {
			return fmt.Errorf("external data %s: %w", Quote(f.location), err)
		}
		t.fillRaw(typ, part, at)
	}
	return nil
}

// alloc makes room for n values that are stored as typ.
func (t *Tensor) alloc(typ DType, n int) {
	switch typ {
	case Float32, Float16, BFloat16:
		t.Floats = make([]float32, n)
	case Float64:
		t.Doubles = make([]float64, n)
	default:
		t.Ints = make([]int64, n)
	}
}

// pathError drops the system call's name from a file error.
func pathError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return err
}

// proto is the tensor as a message with raw data.
func (t *Tensor) proto(name string) (*onnxpb.Tensor, error) {
	p := &onnxpb.Tensor{Name: name, Dims: t.Shape, Type: int32(t.Type)}
	n, err := SizeOf(t.Shape)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", name, err)
	}
	if got := t.Count(); got != n {
		return nil, fmt.Errorf("tensor %q: found %d values of %s, expected %d for shape %v", name, got, t.Type, n, t.Shape)
	}
	if t.Type == String {
		for _, s := range t.Strings {
			p.Strings = append(p.Strings, []byte(s))
		}
		return p, nil
	}
	p.HasRaw, p.Raw = true, make([]byte, 0, n*t.Type.Width())
	le := binary.LittleEndian
	switch t.Type {
	case Float32:
		p.Raw = p.Raw[:4*n]
		for i, v := range t.Floats {
			le.PutUint32(p.Raw[4*i:], math.Float32bits(v))
		}
	case Float64:
		for _, v := range t.Doubles {
			p.Raw = le.AppendUint64(p.Raw, math.Float64bits(v))
		}
	default:
		for _, v := range t.Ints {
			switch t.Type.Width() {
			case 1:
				p.Raw = append(p.Raw, byte(v))
			case 2:
				p.Raw = le.AppendUint16(p.Raw, uint16(v))
			case 4:
				p.Raw = le.AppendUint32(p.Raw, uint32(v))
			case 8:
				p.Raw = le.AppendUint64(p.Raw, uint64(v))
			}
		}
	}
	return p, nil
}

// Count is the number of values that the tensor holds in the slice that its type asks for, -1 for other types.
func (t *Tensor) Count() int {
	switch {
	case t.Type == Float32:
		return len(t.Floats)
	case t.Type == Float64:
		return len(t.Doubles)
	case t.Type == String:
		return len(t.Strings)
	case t.Type.IsInt() || t.Type == Bool:
		return len(t.Ints)
	}
	return -1
}

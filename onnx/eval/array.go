package eval

import (
	"fmt"
	"math"
	"slices"

	"lenskit/onnx"
)

// maxElements bounds the elements of one array that the evaluator makes (1 GiB of float64).
const maxElements = 1 << 27

// Array is a value of the evaluator, in row-major order: F holds every float type, I every integer type and Bool (as
// 0 and 1; Uint64 as its two's complement bits), S strings.
type Array struct {
	Type  onnx.DType
	Shape []int64
	F     []float64
	I     []int64
	S     []string
}

// FloatArray makes a Float32 array of the given shape over v.
func FloatArray(v []float64, shape ...int64) *Array {
	return &Array{Type: onnx.Float32, Shape: shape, F: v}
}

// IntArray makes an Int64 array of the given shape over v.
func IntArray(v []int64, shape ...int64) *Array {
	return &Array{Type: onnx.Int64, Shape: shape, I: v}
}

// Len is the number of elements.
func (a *Array) Len() int {
	switch {
	case a.Type.IsFloat():
		return len(a.F)
	case a.Type == onnx.String:
		return len(a.S)
	}
	return len(a.I)
}

// ArrayOf widens t to the evaluator's types. The array shares no memory with t. A tensor whose values do not fill its
// shape is an error.
func ArrayOf(t *onnx.Tensor) (*Array, error) {
	a, err := newArray(t.Type, t.Shape)
	if err != nil {
		return nil, err
	}
	n, have := a.Len(), 0
	switch {
	case t.Type.IsFloat() && t.Doubles != nil:
		have = copy(a.F, t.Doubles) + max(0, len(t.Doubles)-n)
	case t.Type.IsFloat():
		have = len(t.Floats)
		for i := range min(n, have) {
			a.F[i] = float64(t.Floats[i])
		}
	case t.Type == onnx.String:
		have = copy(a.S, t.Strings) + max(0, len(t.Strings)-n)
	default:
		have = copy(a.I, t.Ints) + max(0, len(t.Ints)-n)
	}
	if have != n {
		return nil, fmt.Errorf("tensor of shape %v: found %d values, expected %d", t.Shape, have, n)
	}
	return a, nil
}

// Tensor makes a constant of a: Float32, Float16 and BFloat16 are rounded to float32 (and then of type Float32),
// Float64 stays. The tensor shares no memory with a.
func (a *Array) Tensor() *onnx.Tensor {
	t := &onnx.Tensor{Type: a.Type, Shape: slices.Clone(a.Shape)}
	switch {
	case a.Type == onnx.Float64:
		t.Doubles = append([]float64{}, a.F...)
	case a.Type.IsFloat():
		t.Type = onnx.Float32
		t.Floats = make([]float32, len(a.F))
		for i, v := range a.F {
			t.Floats[i] = float32(v)
		}
	case a.Type == onnx.String:
		t.Strings = append([]string{}, a.S...)
	default:
		t.Ints = append([]int64{}, a.I...)
	}
	return t
}

// clone copies a's values.
func (a *Array) clone() *Array {
	return &Array{Type: a.Type, Shape: slices.Clone(a.Shape), F: slices.Clone(a.F), I: slices.Clone(a.I), S: slices.Clone(a.S)}
}

// view is a with another shape of as many elements.
func (a *Array) view(shape []int64) *Array {
	return &Array{Type: a.Type, Shape: shape, F: a.F, I: a.I, S: a.S}
}

// check tells whether a's values fill its shape.
func (a *Array) check() error {
	n, err := Elements(a.Shape)
	if err != nil {
		return err
	}
	if !evaluable(a.Type) {
		return fmt.Errorf("found elements of type %v, which the evaluator does not hold", a.Type)
	}
	if a.Len() != n {
		return fmt.Errorf("found %d values of type %v, expected %d for shape %v", a.Len(), a.Type, n, a.Shape)
	}
	return nil
}

// float is element i as a float64.
func (a *Array) float(i int) float64 {
	switch {
	case a.Type.IsFloat():
		return a.F[i]
	case a.Type == onnx.Uint64:
		return float64(uint64(a.I[i]))
	}
	return float64(a.I[i])
}

// evaluable tells whether an Array can hold elements of type t.
func evaluable(t onnx.DType) bool {
	return t.IsFloat() || t.IsInt() || t == onnx.Bool || t == onnx.String
}

// Elements is the number of elements of a shape, or an error for a negative extent or more than maxElements.
func Elements(shape []int64) (int, error) {
	n, empty := int64(1), false
	for _, d := range shape {
		switch {
		case d < 0:
			return 0, fmt.Errorf("found shape %v, expected extents of zero or more", shape)
		case d == 0:
			empty = true
		case n > maxElements/d:
			n = maxElements + 1
		default:
			n *= d
		}
	}
	switch {
	case empty:
		return 0, nil
	case n > maxElements:
		return 0, fmt.Errorf("shape %v has more than %d elements", shape, maxElements)
	}
	return int(n), nil
}

// newArray makes an array of zeros.
func newArray(t onnx.DType, shape []int64) (*Array, error) {
	n, err := Elements(shape)
	if err != nil {
		return nil, err
	}
	a := &Array{Type: t, Shape: slices.Clone(shape)}
	switch {
	case t.IsFloat():
		a.F = make([]float64, n)
	case t == onnx.String:
		a.S = make([]string, n)
	case evaluable(t):
		a.I = make([]int64, n)
	default:
		return nil, fmt.Errorf("found elements of type %v, which the evaluator does not hold", t)
	}
	return a, nil
}

// take makes an array of the given shape whose element i is element idx[i] of a; -1 gives zero.
func (a *Array) take(shape []int64, idx []int) (*Array, error) {
	out, err := newArray(a.Type, shape)
	if err != nil {
		return nil, err
	}
	switch {
	case a.F != nil:
		takeInto(out.F, a.F, idx)
	case a.I != nil:
		takeInto(out.I, a.I, idx)
	case a.S != nil:
		takeInto(out.S, a.S, idx)
	}
	return out, nil
}

func takeInto[T any](dst, src []T, idx []int) {
	for i, j := range idx {
		if j >= 0 {
			dst[i] = src[j]
		}
	}
}

// strides are the row-major strides of a shape.
func strides(shape []int64) []int {
	s, n := make([]int, len(shape)), 1
	for i := len(shape) - 1; i >= 0; i-- {
		s[i] = n
		n *= int(shape[i])
	}
	return s
}

// offsets lists, for every index of shape in row-major order, the sum of index·stride.
func offsets(shape []int64, stride []int) []int {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	out := make([]int, n)
	if n == 0 {
		return out
	}
	// Grow from the last axis: the block of the axes behind is repeated with a shift.
	size := 1
	for ax := len(shape) - 1; ax >= 0; ax-- {
		d := int(shape[ax])
		for i := d - 1; i >= 0; i-- {
			// out[:size] is read for i = 0 last, so writing downwards is safe.
			for k := size - 1; k >= 0; k-- {
				out[i*size+k] = out[k] + i*stride[ax]
			}
		}
		size *= d
	}
	return out
}

// broadcastShapes is the shape that all of the given ones broadcast to.
func broadcastShapes(shapes ...[]int64) ([]int64, error) {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := make([]int64, rank)
	for i := range out {
		out[i] = 1
	}
	for _, s := range shapes {
		for i, d := range s {
			j := rank - len(s) + i
			switch {
			case d == out[j] || d == 1:
			case out[j] == 1:
				out[j] = d
			default:
				return nil, fmt.Errorf("shapes %v do not broadcast", shapes)
			}
		}
	}
	return out, nil
}

// broadcastStrides are the strides with which an array of the given shape is read as one of shape to.
func broadcastStrides(shape, to []int64) []int {
	own := strides(shape)
	out := make([]int, len(to))
	for i, d := range shape {
		if d != 1 {
			out[len(to)-len(shape)+i] = own[i]
		}
	}
	return out
}

// broadcastTo repeats a to the given shape, which a's shape must broadcast to.
func (a *Array) broadcastTo(shape []int64) (*Array, error) {
	if slices.Equal(a.Shape, shape) {
		return a, nil
	}
	to, err := broadcastShapes(a.Shape, shape)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(to, shape) {
		return nil, fmt.Errorf("shape %v does not broadcast to %v", a.Shape, shape)
	}
	if _, err := Elements(shape); err != nil {
		return nil, err
	}
	return a.take(shape, offsets(shape, broadcastStrides(a.Shape, shape)))
}

// axisIndex turns an axis that may be negative into one in [0, rank).
func axisIndex(axis int64, rank int) (int, error) {
	if axis < -int64(rank) || axis >= int64(rank) {
		return 0, fmt.Errorf("found axis %d, expected one of rank %d", axis, rank)
	}
	if axis < 0 {
		axis += int64(rank)
	}
	return int(axis), nil
}

// axisSet turns a list of axes into one flag per axis; an axis named twice is an error.
func axisSet(axes []int64, rank int) ([]bool, error) {
	set := make([]bool, rank)
	for _, a := range axes {
		i, err := axisIndex(a, rank)
		if err != nil {
			return nil, err
		}
		if set[i] {
			return nil, fmt.Errorf("axis %d is named twice in %v", i, axes)
		}
		set[i] = true
	}
	return set, nil
}

// lanes splits the axes of a shape: base lists the offsets over the axes not in set, off those over the axes in set,
// so that base[i]+off[j] runs over all elements.
func lanes(shape []int64, set []bool) (base, off []int) {
	str := strides(shape)
	var s0, s1 []int64
	var t0, t1 []int
	for i, d := range shape {
		if set[i] {
			s1, t1 = append(s1, d), append(t1, str[i])
		} else {
			s0, t0 = append(s0, d), append(t0, str[i])
		}
	}
	return offsets(s0, t0), offsets(s1, t1)
}

// truncated converts a float to an integer type: towards zero, then by wrap. NaN gives 0 and values beyond the range
// of 64 bits give its ends.
func truncated(t onnx.DType, v float64) int64 {
	switch {
	case t == onnx.Bool:
		return bit(v != 0)
	case v != v:
		return 0
	case t == onnx.Uint64 && v >= math.MaxInt64:
		if v >= math.MaxUint64 {
			return -1
		}
		return int64(uint64(v))
	case v >= math.MaxInt64:
		return onnx.Wrap(t, math.MaxInt64)
	case v <= math.MinInt64:
		return onnx.Wrap(t, math.MinInt64)
	}
	return onnx.Wrap(t, int64(v))
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

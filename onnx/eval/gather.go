package eval

import (
	"fmt"
	"math"
	"slices"

	"lenskit/onnx"
)

// gatherIndex turns an index that may be negative into one in [0, d).
func gatherIndex(i, d int64) (int64, error) {
	if i < -d || i >= d {
		return 0, fmt.Errorf("found index %d, expected one of %d", i, d)
	}
	if i < 0 {
		i += d
	}
	return i, nil
}

// evalGather replaces one axis by the shape of the indices.
func evalGather(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	x, which := c.in[0], c.in[1]
	axis, err := axisIndex(c.Int("axis", 0), len(x.Shape))
	if err != nil {
		return nil, err
	}
	idx, err := c.ints(1)
	if err != nil {
		return nil, err
	}
	shape := slices.Concat(x.Shape[:axis], which.Shape, x.Shape[axis+1:])
	n, err := Elements(shape)
	if err != nil {
		return nil, err
	}
	outer, d, inner := volume(x.Shape[:axis]), x.Shape[axis], volume(x.Shape[axis+1:])
	pos := make([]int, 0, n)
	for o := range outer {
		for _, i := range idx {
			if i, err = gatherIndex(i, d); err != nil {
				return nil, err
			}
			from := int((o*d + i) * inner)
			for k := range int(inner) {
				pos = append(pos, from+k)
			}
		}
	}
	return one(x.take(shape, pos))
}

// elementPositions lists, for every element of indices, the element of an array of the given shape at the same place
// but with the index along axis replaced.
func elementPositions(shape []int64, indices *Array, axis int) ([]int, error) {
	if len(indices.Shape) != len(shape) || !indices.Type.IsInt() {
		return nil, fmt.Errorf("indices: found shape %v of type %v, expected integers of rank %d", indices.Shape, indices.Type, len(shape))
	}
	for i, d := range indices.Shape {
		if i != axis && d > shape[i] {
			return nil, fmt.Errorf("indices: shape %v exceeds %v", indices.Shape, shape)
		}
	}
	str := strides(shape)
	step := str[axis]
	str[axis] = 0
	pos := offsets(indices.Shape, str)
	for k, i := range indices.I {
		i, err := gatherIndex(i, shape[axis])
		if err != nil {
			return nil, err
		}
		pos[k] += int(i) * step
	}
	return pos, nil
}

func evalGatherElements(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	x := c.in[0]
	axis, err := axisIndex(c.Int("axis", 0), len(x.Shape))
	if err != nil {
		return nil, err
	}
	pos, err := elementPositions(x.Shape, c.in[1], axis)
	if err != nil {
		return nil, err
	}
	return one(x.take(c.in[1].Shape, pos))
}

// tuplePositions reads the last axis of indices as index tuples into an array of the given shape; the first batch
// axes run along. It returns where each tuple's block begins and the block's shape.
func tuplePositions(shape []int64, indices *Array, batch int) (pos []int, block []int64, err error) {
	ri := len(indices.Shape)
	if !indices.Type.IsInt() || ri == 0 || batch < 0 || batch >= ri || batch > len(shape) {
		return nil, nil, fmt.Errorf("indices: found shape %v of type %v, expected integers with an axis of tuples", indices.Shape, indices.Type)
	}
	k := indices.Shape[ri-1]
	if k > int64(len(shape)-batch) || !slices.Equal(indices.Shape[:batch], shape[:batch]) {
		return nil, nil, fmt.Errorf("indices of shape %v do not point into shape %v", indices.Shape, shape)
	}
	str := strides(shape)
	count := int(volume(indices.Shape[:ri-1]))
	per := max(int(volume(indices.Shape[batch:ri-1])), 1)
	first := offsets(shape[:batch], str[:batch])
	pos = make([]int, count)
	for t := range pos {
		if batch > 0 {
			pos[t] = first[t/per]
		}
		for j := range int(k) {
			i, err := gatherIndex(indices.I[t*int(k)+j], shape[batch+j])
			if err != nil {
				return nil, nil, err
			}
			pos[t] += int(i) * str[batch+j]
		}
	}
	return pos, shape[batch+int(k):], nil
}

func evalGatherND(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	x, indices := c.in[0], c.in[1]
	start, block, err := tuplePositions(x.Shape, indices, int(min(max(c.Int("batch_dims", 0), -1), math.MaxInt32)))
	if err != nil {
		return nil, err
	}
	shape := slices.Concat(indices.Shape[:len(indices.Shape)-1], block)
	n, err := Elements(shape)
	if err != nil {
		return nil, err
	}
	pos, size := make([]int, 0, n), int(volume(block))
	for _, p := range start {
		for k := range size {
			pos = append(pos, p+k)
		}
	}
	return one(x.take(shape, pos))
}

// scatter writes the elements of updates to the given positions of a copy of x.
func scatter(x, updates *Array, pos []int, reduction string) (*Array, error) {
	if updates.Type != x.Type && !(updates.Type.IsFloat() && x.Type.IsFloat()) {
		return nil, fmt.Errorf("updates: found type %v, expected %v", updates.Type, x.Type)
	}
	var f func(a, b float64) float64
	var g func(t onnx.DType, a, b int64) int64
	switch reduction {
	case "none":
		f, g = func(_, b float64) float64 { return b }, func(_ onnx.DType, _, b int64) int64 { return b }
	case "add":
		f, g = func(a, b float64) float64 { return a + b }, intAdd
	case "mul":
		f, g = func(a, b float64) float64 { return a * b }, intMul
	case "max":
		f, g = maxNaN, intMax
	case "min":
		f, g = minNaN, intMin
	default:
		return nil, fmt.Errorf("reduction: found %q, expected none, add, mul, max or min", reduction)
	}
	out := x.clone()
	for k, p := range pos {
		switch {
		case out.F != nil:
			out.F[p] = f(out.F[p], updates.F[k])
		case out.I != nil:
			out.I[p] = g(x.Type, out.I[p], updates.I[k])
		case reduction == "none":
			out.S[p] = updates.S[k]
		default:
			return nil, fmt.Errorf("found strings, expected numbers")
		}
	}
	return out, nil
}

func evalScatterElements(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	x, updates := c.in[0], c.in[2]
	axis, err := axisIndex(c.Int("axis", 0), len(x.Shape))
	if err != nil {
		return nil, err
	}
	if !slices.Equal(updates.Shape, c.in[1].Shape) {
		return nil, fmt.Errorf("updates: found shape %v, expected %v", updates.Shape, c.in[1].Shape)
	}
	pos, err := elementPositions(x.Shape, c.in[1], axis)
	if err != nil {
		return nil, err
	}
	return one(scatter(x, updates, pos, c.Str("reduction", "none")))
}

func evalScatterND(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	x, indices, updates := c.in[0], c.in[1], c.in[2]
	start, block, err := tuplePositions(x.Shape, indices, 0)
	if err != nil {
		return nil, err
	}
	want := slices.Concat(indices.Shape[:len(indices.Shape)-1], block)
	if !slices.Equal(updates.Shape, want) {
		return nil, fmt.Errorf("updates: found shape %v, expected %v", updates.Shape, want)
	}
	pos, size := make([]int, 0, updates.Len()), int(volume(block))
	for _, p := range start {
		for k := range size {
			pos = append(pos, p+k)
		}
	}
	return one(scatter(x, updates, pos, c.Str("reduction", "none")))
}

// evalOneHot puts values[1] where the index along a new axis equals the entry, values[0] elsewhere.
func evalOneHot(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	indices, depth, values := c.in[0], c.in[1], c.in[2]
	if depth.Len() != 1 || values.Len() != 2 || indices.Type == onnx.String || depth.Type == onnx.String || values.Type == onnx.String {
		return nil, fmt.Errorf("found depth of shape %v and values of shape %v, expected one number and two", depth.Shape, values.Shape)
	}
	d := int64(min(max(depth.float(0), 0), maxElements+1))
	axis, err := axisIndex(c.Int("axis", -1), len(indices.Shape)+1)
	if err != nil {
		return nil, err
	}
	shape := slices.Insert(slices.Clone(indices.Shape), axis, d)
	n, err := Elements(shape)
	if err != nil {
		return nil, err
	}
	pos := make([]int, n)
	inner := volume(indices.Shape[axis:])
	for k := range indices.Len() {
		i := int64(indices.float(k))
		if i < 0 {
			i += d
		}
		if i >= 0 && i < d {
			pos[(int64(k)/inner*d+i)*inner+int64(k)%inner] = 1
		}
	}
	return one(values.take(shape, pos))
}

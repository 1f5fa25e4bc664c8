package eval

import (
	"fmt"
	"math"
	"slices"

	"lenskit/onnx"
)

// quantisation gives, for every element of x, the element of scale and zero point that applies to it: one for all,
// one per index of an axis, or one per block of an axis.
func (c *evalCall) quantisation(x, scale, zero *Array) ([]int, error) {
	if !scale.Type.IsFloat() && !scale.Type.IsInt() {
		return nil, fmt.Errorf("scale: found type %v, expected numbers", scale.Type)
	}
	if zero != nil && (zero.Len() != scale.Len() || !zero.Type.IsInt() && !zero.Type.IsFloat()) {
		return nil, fmt.Errorf("zero point: found shape %v of type %v, expected numbers of shape %v", zero.Shape, zero.Type, scale.Shape)
	}
	pos := make([]int, x.Len())
	if scale.Len() == 1 {
		return pos, nil
	}
	axis, err := axisIndex(c.Int("axis", 1), len(x.Shape))
	if err != nil {
		return nil, err
	}
	shape, block := scale.Shape, c.Int("block_size", 0)
	if len(shape) == 1 && block == 0 {
		shape = slices.Repeat([]int64{1}, len(x.Shape))
		shape[axis] = scale.Shape[0]
	}
	if len(shape) != len(x.Shape) || block < 0 {
		return nil, fmt.Errorf("scale of shape %v does not fit shape %v", scale.Shape, x.Shape)
	}
	for i, d := range shape {
		if i == axis && block > 0 && d == (x.Shape[i]+block-1)/block || i == axis && block == 0 && d == x.Shape[i] || i != axis && (d == 1 && block == 0 || d == x.Shape[i]) {
			continue
		}
		return nil, fmt.Errorf("scale of shape %v and block_size %d do not fit shape %v", scale.Shape, block, x.Shape)
	}
	where := &Array{Type: onnx.Int64, Shape: shape, I: make([]int64, scale.Len())}
	for i := range where.I {
		where.I[i] = int64(i)
	}
	full, err := where.gatherAxes(x.Shape, func(ax int, i int64) int64 {
		switch {
		case ax == axis && block > 0:
			return i / block
		case shape[ax] == 1:
			return 0
		}
		return i
	})
	if err != nil {
		return nil, err
	}
	for i, v := range full.I {
		pos[i] = int(v)
	}
	return pos, nil
}

// quantOperands are the elements of x and, for each, the place of its scale and zero point.
func (c *evalCall) quantOperands() (v []float64, pos []int, err error) {
	if err := c.need(2); err != nil {
		return nil, nil, err
	}
	if v, err = toFloat(c.in[0]); err != nil {
		return nil, nil, err
	}
	pos, err = c.quantisation(c.in[0], c.in[1], c.arg(2))
	return v, pos, err
}

// evalDequantizeLinear is (x - zero point)·scale.
func evalDequantizeLinear(c *evalCall) ([]*Array, error) {
	v, pos, err := c.quantOperands()
	if err != nil {
		return nil, err
	}
	x, scale, zero := c.in[0], c.in[1], c.arg(2)
	out, err := newArray(onnx.DType(c.Int("output_dtype", int64(scale.Type))), x.Shape)
	if err != nil || !out.Type.IsFloat() {
		return nil, fmt.Errorf("output_dtype: found %v, expected floats", onnx.DType(c.Int("output_dtype", int64(scale.Type))))
	}
	for i, p := range pos {
		z := 0.0
		if zero != nil {
			z = zero.float(p)
		}
		out.F[i] = (v[i] - z) * scale.float(p)
	}
	return []*Array{out}, nil
}

// evalQuantizeLinear is round(x/scale) + zero point, to the nearest even and cut to the range of the type.
func evalQuantizeLinear(c *evalCall) ([]*Array, error) {
	v, pos, err := c.quantOperands()
	if err != nil {
		return nil, err
	}
	x, scale, zero := c.in[0], c.in[1], c.arg(2)
	to := onnx.DType(c.Int("output_dtype", int64(onnx.Uint8)))
	if zero != nil {
		to = zero.Type
	}
	if !to.IsInt() || to == onnx.Int64 || to == onnx.Uint64 {
		return nil, fmt.Errorf("quantised type %v: %w", to, ErrNoEval)
	}
	out, err := newArray(to, x.Shape)
	if err != nil {
		return nil, err
	}
	lo, hi := intLimits(to)
	for i, p := range pos {
		z := 0.0
		if zero != nil {
			z = zero.float(p)
		}
		out.I[i] = int64(min(max(math.RoundToEven(v[i]/scale.float(p))+z, float64(lo)), float64(hi)))
	}
	return []*Array{out}, nil
}

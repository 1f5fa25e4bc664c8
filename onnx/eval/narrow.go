package eval

import (
	"math"
	"slices"

	"lenskit/onnx"
)

// roundNarrow rounds v to float type d: to the nearest value, to the even code between two. What is beyond the largest
// value becomes that value, or without saturate an infinity or NaN. float8e8m0 rounds by mode (up, down or nearest) and
// has no sign and no zero.
func roundNarrow(d onnx.DType, v float64, saturate bool, mode string) float64 {
	if d == onnx.Float8E8M0 {
		return roundPower(v, saturate, mode)
	}
	f := onnx.NarrowFloats[d]
	values := f.Values(d)
	last := len(values) - 1
	top := values[last]
	a := math.Abs(v)
	switch {
	case v != v && d == onnx.Float4E2M1:
		return 0
	case v != v:
		return v
	case d == onnx.Float4E2M1:
		saturate = true
	}
	half := top + (top-values[last-1])/2 // where rounding leaves the range
	if a > half || a == half && last%2 == 1 {
		switch {
		case saturate:
			return math.Copysign(top, v)
		case f.Infinite:
			return math.Inf(int(math.Copysign(1, v)))
		}
		return math.NaN()
	}
	i, exact := slices.BinarySearch(values, a)
	if !exact {
		switch {
		case i > last:
			i = last
		case a-values[i-1] < values[i]-a, a-values[i-1] == values[i]-a && i%2 == 1:
			i--
		}
	}
	return math.Copysign(values[i], v)
}

// roundPower rounds to a power of two from 2⁻¹²⁷ to 2¹²⁷.
func roundPower(v float64, saturate bool, mode string) float64 {
	if !(v >= 0) || !saturate && v > math.Ldexp(1, 127) {
		return math.NaN()
	}
	frac, exp := math.Frexp(v) // frac in [½, 1)
	switch {
	case v == 0:
		return math.Ldexp(1, -127)
	case math.IsInf(v, 1):
		return math.Ldexp(1, 127)
	case frac > 0.5 && mode == "up", frac >= 0.75 && mode == "nearest":
		exp++
	}
	return math.Ldexp(1, min(max(exp-1, -127), 127))
}

// castNarrow converts x to a narrow type, widened.
func (c *evalCall) castNarrow(x *Array, to onnx.DType) ([]*Array, error) {
	out, err := newArray(to.Widened(), x.Shape)
	if err != nil {
		return nil, err
	}
	saturate, mode := c.Int("saturate", 1) != 0, c.Str("round_mode", "up")
	for i := range x.Len() {
		v := x.float(i)
		switch {
		case out.F != nil:
			out.F[i] = roundNarrow(to, v, saturate, mode)
		default: // as for the wider integers: towards zero, then modulo 16
			out.I[i] = int64(onnx.DecodeNarrow(to, int(truncated(onnx.Int64, v)&15)))
		}
	}
	return []*Array{out}, nil
}

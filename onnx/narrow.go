package onnx

import (
	"fmt"
	"math"

	"lenskit/onnx/internal/onnxpb"
)

// The element types of 8 bits and fewer. A file's values of these types are widened when they are read: the floats to
// Float32, which holds all of them exactly, the integers to Int8 and Uint8. Only a Cast still names them, and only the
// evaluator runs one; Check refuses it, so that no session or written file depends on them.
const (
	float8E4M3FN   DType = 17
	float8E4M3FNUZ DType = 18
	float8E5M2     DType = 19
	float8E5M2FNUZ DType = 20
	uint4          DType = 21
	int4           DType = 22
	Float4E2M1     DType = 23
	Float8E8M0     DType = 24
)

// narrowFloat describes a float type of at most 8 bits.
type narrowFloat struct {
	exponent, mantissa int
	bias               int
	Infinite           bool // the largest exponent is for infinities and NaN, as in IEEE 754
	oneNaN             int  // the only code of a NaN, disregarding the sign unless unsignedZero; 0: none
	unsignedZero       bool // the code of -0 is that of NaN
}

// NarrowFloats are the formats of the standard's pages on float8 and float4; float8e8m0, which holds powers of two
// alone, is apart.
var NarrowFloats = map[DType]narrowFloat{
	float8E4M3FN:   {exponent: 4, mantissa: 3, bias: 7, oneNaN: 0x7f},
	float8E4M3FNUZ: {exponent: 4, mantissa: 3, bias: 8, unsignedZero: true},
	float8E5M2:     {exponent: 5, mantissa: 2, bias: 15, Infinite: true},
	float8E5M2FNUZ: {exponent: 5, mantissa: 2, bias: 16, unsignedZero: true},
	Float4E2M1:     {exponent: 2, mantissa: 1, bias: 1},
}

func (d DType) Narrow() bool { return d >= float8E4M3FN && d <= Float8E8M0 }

// note keeps in mind that the file uses type d.
func (r *reader) note(d DType) {
	if d.Narrow() {
		r.narrow = d
	}
}

// bits is the number of bits of an element of a narrow type.
func (d DType) bits() int {
	switch d {
	case uint4, int4, Float4E2M1:
		return 4
	}
	return 8
}

// DecodeNarrow is the value of a code of type d.
func DecodeNarrow(d DType, code int) float64 {
	switch d {
	case uint4:
		return float64(code & 15)
	case int4:
		return float64((code&15 ^ 8) - 8)
	case Float8E8M0:
		if code == 255 {
			return math.NaN()
		}
		return math.Ldexp(1, code-127)
	}
	f := NarrowFloats[d]
	sign := 1.0
	low := code & (1<<(f.exponent+f.mantissa) - 1)
	if code != low {
		if sign = -1; low == 0 && f.unsignedZero {
			return math.NaN()
		}
	}
	e, m := low>>f.mantissa, low&(1<<f.mantissa-1)
	switch {
	case f.Infinite && e == 1<<f.exponent-1 && m == 0:
		return math.Inf(int(sign))
	case f.Infinite && e == 1<<f.exponent-1, f.oneNaN != 0 && low == f.oneNaN:
		return math.NaN()
	case e == 0:
		return sign * math.Ldexp(float64(m), 1-f.bias-f.mantissa)
	}
	return sign * math.Ldexp(float64(m+1<<f.mantissa), e-f.bias-f.mantissa)
}

// Values are the finite values of zero and more in the order of their codes.
func (f narrowFloat) Values(d DType) []float64 {
	var v []float64
	for code := range 1 << (f.exponent + f.mantissa) {
		if x := DecodeNarrow(d, code); !math.IsNaN(x) && !math.IsInf(x, 0) {
			v = append(v, x)
		}
	}
	return v
}

// narrowTensor reads a tensor of a narrow type; two elements of 4 bits share a byte, the first in its low half.
func (t *Tensor) narrowTensor(p *onnxpb.Tensor, typ DType, n int) error {
	if p.Location != 0 {
		return fmt.Errorf("tensor %q: found %s in a file of its own", p.Name, typ)
	}
	size := n
	if typ.bits() == 4 {
		size = (n + 1) / 2
	}
	code := func(i int) int { return int(p.Raw[i]) }
	found := len(p.Raw)
	if !p.HasRaw {
		code, found = func(i int) int { return int(p.Int32s[i]) & 255 }, len(p.Int32s)
	}
	if found != size {
		return fmt.Errorf("tensor %q: found %d bytes of data, expected %d for shape %v of %s", p.Name, found, size, p.Dims, typ)
	}
	for i := range n {
		c := 0
		if typ.bits() == 8 {
			c = code(i)
		} else {
			c = code(i/2) >> (4 * (i % 2)) & 15
		}
		if v := DecodeNarrow(typ, c); t.Type == Float32 {
			t.Floats = append(t.Floats, float32(v))
		} else {
			t.Ints = append(t.Ints, int64(v))
		}
	}
	t.notNil()
	return nil
}

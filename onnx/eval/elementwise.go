package eval

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"lenskit/onnx"
)

// evalUnary applies f to floats or g to integers; g nil means that the operator takes floats only.
func evalUnary(f func(float64) float64, g func(onnx.DType, int64) int64) evalFunc {
	return func(c *evalCall) ([]*Array, error) {
		if err := c.need(1); err != nil {
			return nil, err
		}
		return one(mapArray(c.in[0], f, g))
	}
}

// evalActivation applies a function that depends on attributes.
func evalActivation(make func(c *evalCall) func(float64) float64) evalFunc {
	return func(c *evalCall) ([]*Array, error) {
		if err := c.need(1); err != nil {
			return nil, err
		}
		return one(mapArray(c.in[0], make(c), nil))
	}
}

func mapArray(x *Array, f func(float64) float64, g func(onnx.DType, int64) int64) (*Array, error) {
	if x.Type.IsFloat() {
		out := &Array{Type: x.Type, Shape: x.Shape, F: make([]float64, len(x.F))}
		for i, v := range x.F {
			out.F[i] = f(v)
		}
		return out, nil
	}
	if g == nil || !x.Type.IsInt() {
		return nil, fmt.Errorf("found type %v, expected floats", x.Type)
	}
	out := &Array{Type: x.Type, Shape: x.Shape, I: make([]int64, len(x.I))}
	for i, v := range x.I {
		out.I[i] = g(x.Type, v)
	}
	return out, nil
}

func relu(x float64) float64 {
	if x < 0 {
		return 0
	}
	return x
}

func sigmoid(x float64) float64 {
	if x < 0 {
		e := math.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-x))
}

// softplus is ln(1 + eˣ) without overflow.
func softplus(x float64) float64 {
	if x != x {
		return x
	}
	return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))
}

func leakyRelu(c *evalCall) func(float64) float64 {
	alpha := c.Float("alpha", 0.01)
	return func(x float64) float64 {
		if x < 0 {
			return alpha * x
		}
		return x
	}
}

func elu(c *evalCall) func(float64) float64 {
	alpha := c.Float("alpha", 1)
	return func(x float64) float64 {
		if x < 0 {
			return alpha * math.Expm1(x)
		}
		return x
	}
}

func selu(c *evalCall) func(float64) float64 {
	// Defaults of the standard: the float32 nearest to Klambauer et al. (2017); operator set 1 had rounder ones.
	alpha, gamma := float64(float32(1.67326319217681884765625)), float64(float32(1.05070102214813232421875))
	if c.opset < 6 {
		alpha, gamma = 1.6732, 1.0507
	}
	alpha, gamma = c.Float("alpha", alpha), c.Float("gamma", gamma)
	return func(x float64) float64 {
		if x <= 0 {
			return gamma * alpha * math.Expm1(x)
		}
		return gamma * x
	}
}

func celu(c *evalCall) func(float64) float64 {
	alpha := c.Float("alpha", 1)
	return func(x float64) float64 {
		if x < 0 {
			return alpha * math.Expm1(x/alpha)
		}
		return x
	}
}

func thresholdedRelu(c *evalCall) func(float64) float64 {
	alpha := c.Float("alpha", 1)
	return func(x float64) float64 {
		if x <= alpha {
			return 0
		}
		return x
	}
}

func shrink(c *evalCall) func(float64) float64 {
	lambd, bias := c.Float("lambd", 0.5), c.Float("bias", 0)
	return func(x float64) float64 {
		switch {
		case x < -lambd:
			return x + bias
		case x > lambd:
			return x - bias
		}
		return 0
	}
}

func hardSigmoid(c *evalCall) func(float64) float64 {
	alpha, beta := c.Float("alpha", 0.2), c.Float("beta", 0.5)
	return func(x float64) float64 { return min(max(alpha*x+beta, 0), 1) }
}

func swish(c *evalCall) func(float64) float64 {
	alpha := c.Float("alpha", 1)
	return func(x float64) float64 { return x * sigmoid(alpha*x) }
}

func gelu(c *evalCall) func(float64) float64 {
	if c.Str("approximate", "none") == "tanh" {
		k := math.Sqrt(2 / math.Pi)
		return func(x float64) float64 { return 0.5 * x * (1 + math.Tanh(k*(x+0.044715*x*x*x))) }
	}
	// ½x(1 + erf(x/√2)), written so that the left tail keeps its digits.
	return func(x float64) float64 { return 0.5 * x * math.Erfc(-x/math.Sqrt2) }
}

func evalSign(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	unsigned := c.in[0].Type == onnx.Uint64
	return one(mapArray(c.in[0], func(x float64) float64 {
		switch {
		case x > 0:
			return 1
		case x < 0:
			return -1
		}
		return x
	}, func(_ onnx.DType, v int64) int64 {
		if unsigned && v != 0 {
			return 1
		}
		return int64(cmp.Compare(v, 0))
	}))
}

// boolOf makes a Bool array from a test of each float of x.
func boolOf(x *Array, test func(float64) bool) (*Array, error) {
	if !x.Type.IsFloat() {
		return nil, fmt.Errorf("found type %v, expected floats", x.Type)
	}
	out := &Array{Type: onnx.Bool, Shape: x.Shape, I: make([]int64, len(x.F))}
	for i, v := range x.F {
		out.I[i] = bit(test(v))
	}
	return out, nil
}

func evalIsNaN(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	return one(boolOf(c.in[0], math.IsNaN))
}

func evalIsInf(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	neg, pos := c.Int("detect_negative", 1) != 0, c.Int("detect_positive", 1) != 0
	return one(boolOf(c.in[0], func(v float64) bool {
		return pos && math.IsInf(v, 1) || neg && math.IsInf(v, -1)
	}))
}

func evalNot(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	if x.Type != onnx.Bool {
		return nil, fmt.Errorf("found type %v, expected bool", x.Type)
	}
	out := &Array{Type: onnx.Bool, Shape: x.Shape, I: make([]int64, len(x.I))}
	for i, v := range x.I {
		out.I[i] = bit(v == 0)
	}
	return []*Array{out}, nil
}

func evalBitwiseNot(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	if c.in[0].Type.IsFloat() {
		return nil, fmt.Errorf("found type %v, expected integers", c.in[0].Type)
	}
	return one(mapArray(c.in[0], nil, func(t onnx.DType, v int64) int64 { return onnx.Wrap(t, ^v) }))
}

// zipWith computes f over a and b broadcast against each other.
func zipWith[T, U any](shape []int64, as []int64, a []T, bs []int64, b []T, f func(T, T) U) []U {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	out := make([]U, n)
	switch {
	case n == 0:
	case len(a) == n && len(b) == n:
		for i, v := range a {
			out[i] = f(v, b[i])
		}
	case len(a) == n && len(b) == 1:
		for i, v := range a {
			out[i] = f(v, b[0])
		}
	case len(a) == 1 && len(b) == n:
		for i, v := range b {
			out[i] = f(a[0], v)
		}
	default:
		last := len(shape) - 1
		sa, sb := broadcastStrides(as, shape), broadcastStrides(bs, shape)
		oa, ob := offsets(shape[:last], sa[:last]), offsets(shape[:last], sb[:last])
		w, da, db := int(shape[last]), sa[last], sb[last]
		for r := range oa {
			row := out[r*w : (r+1)*w]
			i, j := oa[r], ob[r]
			for k := range row {
				row[k] = f(a[i], b[j])
				i, j = i+da, j+db
			}
		}
	}
	return out
}

// alike checks that a and b are of one type and broadcast; it returns the common shape.
func alike(a, b *Array) ([]int64, error) {
	if a.Type != b.Type && !(a.Type.IsFloat() && b.Type.IsFloat()) {
		return nil, fmt.Errorf("found types %v and %v, expected one type", a.Type, b.Type)
	}
	shape, err := broadcastShapes(a.Shape, b.Shape)
	if err != nil {
		return nil, err
	}
	_, err = Elements(shape)
	return shape, err
}

// arith applies f to floats or g to integers with broadcasting.
func arith(a, b *Array, f func(a, b float64) float64, g func(t onnx.DType, a, b int64) int64) (*Array, error) {
	shape, err := alike(a, b)
	if err != nil {
		return nil, err
	}
	t := a.Type
	switch {
	case t.IsFloat():
		return &Array{Type: t, Shape: shape, F: zipWith(shape, a.Shape, a.F, b.Shape, b.F, f)}, nil
	case g == nil || !t.IsInt():
		return nil, fmt.Errorf("found type %v, expected numbers that the operator takes", t)
	}
	v := zipWith(shape, a.Shape, a.I, b.Shape, b.I, func(x, y int64) int64 { return g(t, x, y) })
	return &Array{Type: t, Shape: shape, I: v}, nil
}

func intAdd(t onnx.DType, a, b int64) int64 { return onnx.Wrap(t, a+b) }

func intSub(t onnx.DType, a, b int64) int64 { return onnx.Wrap(t, a-b) }

func intMul(t onnx.DType, a, b int64) int64 { return onnx.Wrap(t, a*b) }

// intDiv truncates towards zero; a zero divisor gives zero.
func intDiv(t onnx.DType, a, b int64) int64 {
	switch {
	case b == 0:
		return 0
	case t == onnx.Uint64:
		return int64(uint64(a) / uint64(b))
	}
	return onnx.Wrap(t, a/b)
}

// compareInt orders two integers of type t.
func compareInt(t onnx.DType, a, b int64) int {
	if t == onnx.Uint64 {
		return cmp.Compare(uint64(a), uint64(b))
	}
	return cmp.Compare(a, b)
}

func intMin(t onnx.DType, a, b int64) int64 {
	if compareInt(t, b, a) < 0 {
		return b
	}
	return a
}

func intMax(t onnx.DType, a, b int64) int64 {
	if compareInt(t, b, a) > 0 {
		return b
	}
	return a
}

func minNaN(a, b float64) float64 { return min(a, b) }

func maxNaN(a, b float64) float64 { return max(a, b) }

// operands returns the two inputs of a binary operator. Before operator set 7 the attributes broadcast and axis
// placed the second one; its shape then gets ones behind it.
func (c *evalCall) operands() (a, b *Array, err error) {
	if err := c.need(2); err != nil {
		return nil, nil, err
	}
	a, b = c.in[0], c.in[1]
	axis := c.Int("axis", -1)
	if c.opset >= 7 || c.Int("broadcast", 0) == 0 || axis < 0 {
		return a, b, nil
	}
	behind := len(a.Shape) - int(axis) - len(b.Shape)
	if axis > int64(len(a.Shape)) || behind < 0 {
		return nil, nil, fmt.Errorf("shape %v does not fit into %v at axis %d", b.Shape, a.Shape, axis)
	}
	shape := slices.Clone(b.Shape)
	for range behind {
		shape = append(shape, 1)
	}
	return a, b.view(shape), nil
}

func evalBinary(f func(a, b float64) float64, g func(t onnx.DType, a, b int64) int64) evalFunc {
	return func(c *evalCall) ([]*Array, error) {
		a, b, err := c.operands()
		if err != nil {
			return nil, err
		}
		return one(arith(a, b, f, g))
	}
}

func evalVariadic(f func(a, b float64) float64, g func(t onnx.DType, a, b int64) int64, mean bool) evalFunc {
	return func(c *evalCall) ([]*Array, error) {
		if len(c.in) == 0 {
			return nil, fmt.Errorf("found no inputs")
		}
		if err := c.need(len(c.in)); err != nil {
			return nil, err
		}
		acc := c.in[0]
		for _, x := range c.in[1:] {
			var err error
			if acc, err = arith(acc, x, f, g); err != nil {
				return nil, err
			}
		}
		if mean {
			k := float64(len(c.in))
			return one(mapArray(acc, func(v float64) float64 { return v / k }, nil))
		}
		return []*Array{acc}, nil
	}
}

func evalPow(c *evalCall) ([]*Array, error) {
	a, b, err := c.operands()
	if err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(a.Shape, b.Shape)
	if err != nil {
		return nil, err
	}
	if _, err := Elements(shape); err != nil {
		return nil, err
	}
	if a.Type.IsInt() && b.Type.IsInt() {
		v := zipWith(shape, a.Shape, a.I, b.Shape, b.I, func(x, y int64) int64 { return intPow(a.Type, b.Type, x, y) })
		return []*Array{{Type: a.Type, Shape: shape, I: v}}, nil
	}
	x, err := toFloat(a)
	if err != nil {
		return nil, err
	}
	y, err := toFloat(b)
	if err != nil {
		return nil, err
	}
	v := zipWith(shape, a.Shape, x, b.Shape, y, math.Pow)
	if a.Type.IsFloat() {
		return []*Array{{Type: a.Type, Shape: shape, F: v}}, nil
	}
	out := &Array{Type: a.Type, Shape: shape, I: make([]int64, len(v))}
	for i, p := range v {
		out.I[i] = truncated(a.Type, p)
	}
	return []*Array{out}, nil
}

// intPow is x to the power y, exact modulo the type's range. A negative power is the truncated reciprocal.
func intPow(t, ty onnx.DType, x, y int64) int64 {
	if y < 0 && ty != onnx.Uint64 {
		switch x {
		case 1:
			return 1
		case -1:
			return 1 - 2*(y&1)
		}
		return 0
	}
	r := int64(1)
	for e := uint64(y); e > 0; e >>= 1 {
		if e&1 != 0 {
			r *= x
		}
		x *= x
	}
	return onnx.Wrap(t, r)
}

// toFloat returns a's numbers as float64.
func toFloat(a *Array) ([]float64, error) {
	switch {
	case a.Type.IsFloat():
		return a.F, nil
	case a.Type == onnx.String:
		return nil, fmt.Errorf("found strings, expected numbers")
	}
	v := make([]float64, len(a.I))
	for i := range v {
		v[i] = a.float(i)
	}
	return v, nil
}

func evalMod(c *evalCall) ([]*Array, error) {
	a, b, err := c.operands()
	if err != nil {
		return nil, err
	}
	if c.Int("fmod", 0) != 0 {
		return one(arith(a, b, math.Mod, intRem))
	}
	// The sign of the result is the divisor's.
	return one(arith(a, b, func(x, y float64) float64 {
		r := math.Mod(x, y)
		if r != 0 && (r < 0) != (y < 0) {
			r += y
		}
		return r
	}, func(t onnx.DType, x, y int64) int64 {
		r := intRem(t, x, y)
		if t != onnx.Uint64 && r != 0 && (r < 0) != (y < 0) {
			r += y
		}
		return r
	}))
}

// intRem is the remainder with the sign of the dividend; a zero divisor gives zero.
func intRem(t onnx.DType, x, y int64) int64 {
	switch {
	case y == 0:
		return 0
	case t == onnx.Uint64:
		return int64(uint64(x) % uint64(y))
	}
	return x % y
}

func evalPRelu(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	x, slope := c.in[0], c.in[1]
	// Before operator set 7 a slope of more than one element has one per channel.
	if c.opset < 7 && slope.Len() > 1 && len(slope.Shape) == 1 && len(x.Shape) > 2 {
		shape := []int64{slope.Shape[0]}
		for range x.Shape[2:] {
			shape = append(shape, 1)
		}
		slope = slope.view(shape)
	}
	if shape, err := alike(x, slope); err != nil {
		return nil, err
	} else if !slices.Equal(shape, x.Shape) {
		return nil, fmt.Errorf("slope of shape %v does not broadcast to %v", slope.Shape, x.Shape)
	}
	return one(arith(x, slope, func(v, s float64) float64 {
		if v < 0 {
			return s * v
		}
		return v
	}, func(t onnx.DType, v, s int64) int64 {
		if v < 0 && t != onnx.Uint64 {
			return onnx.Wrap(t, s*v)
		}
		return v
	}))
}

func evalEqual(c *evalCall) ([]*Array, error) {
	a, b, err := c.operands()
	if err != nil {
		return nil, err
	}
	shape, err := alike(a, b)
	if err != nil {
		return nil, err
	}
	out := &Array{Type: onnx.Bool, Shape: shape}
	switch {
	case a.Type.IsFloat():
		out.I = zipWith(shape, a.Shape, a.F, b.Shape, b.F, func(x, y float64) int64 { return bit(x == y) })
	case a.Type == onnx.String:
		out.I = zipWith(shape, a.Shape, a.S, b.Shape, b.S, func(x, y string) int64 { return bit(x == y) })
	default:
		out.I = zipWith(shape, a.Shape, a.I, b.Shape, b.I, func(x, y int64) int64 { return bit(x == y) })
	}
	return []*Array{out}, nil
}

// evalCompare makes an order relation from the test of -1, 0 or 1; NaN compares as false.
func evalCompare(test func(int) bool) evalFunc {
	return func(c *evalCall) ([]*Array, error) {
		a, b, err := c.operands()
		if err != nil {
			return nil, err
		}
		shape, err := alike(a, b)
		if err != nil {
			return nil, err
		}
		out := &Array{Type: onnx.Bool, Shape: shape}
		switch {
		case a.Type.IsFloat():
			out.I = zipWith(shape, a.Shape, a.F, b.Shape, b.F, func(x, y float64) int64 {
				return bit(x == x && y == y && test(cmp.Compare(x, y)))
			})
		case a.Type.IsInt():
			t := a.Type
			out.I = zipWith(shape, a.Shape, a.I, b.Shape, b.I, func(x, y int64) int64 { return bit(test(compareInt(t, x, y))) })
		default:
			return nil, fmt.Errorf("found type %v, expected numbers", a.Type)
		}
		return []*Array{out}, nil
	}
}

// evalBits applies f to the bits of integers or truth values.
func evalBits(f func(a, b int64) int64) evalFunc {
	return func(c *evalCall) ([]*Array, error) {
		a, b, err := c.operands()
		if err != nil {
			return nil, err
		}
		shape, err := alike(a, b)
		if err != nil {
			return nil, err
		}
		if a.Type != onnx.Bool && !a.Type.IsInt() {
			return nil, fmt.Errorf("found type %v, expected integers or bool", a.Type)
		}
		return []*Array{{Type: a.Type, Shape: shape, I: zipWith(shape, a.Shape, a.I, b.Shape, b.I, f)}}, nil
	}
}

func evalBitShift(c *evalCall) ([]*Array, error) {
	a, b, err := c.operands()
	if err != nil {
		return nil, err
	}
	left := c.Str("direction", "") == "LEFT"
	if a.Type.IsFloat() {
		return nil, fmt.Errorf("found type %v, expected integers", a.Type)
	}
	return one(arith(a, b, nil, func(t onnx.DType, x, y int64) int64 {
		n := uint64(y) // a negative count is beyond every width
		switch {
		case left:
			return onnx.Wrap(t, x<<n)
		case t == onnx.Uint64:
			return int64(uint64(x) >> n)
		}
		return x >> n
	}))
}

func evalWhere(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	cond, x, y := c.in[0], c.in[1], c.in[2]
	if cond.Type != onnx.Bool {
		return nil, fmt.Errorf("condition: found type %v, expected bool", cond.Type)
	}
	if _, err := alike(x, y); err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(cond.Shape, x.Shape, y.Shape)
	if err != nil {
		return nil, err
	}
	if cond, err = cond.broadcastTo(shape); err != nil {
		return nil, err
	}
	if x, err = x.broadcastTo(shape); err != nil {
		return nil, err
	}
	if y, err = y.broadcastTo(shape); err != nil {
		return nil, err
	}
	out, err := newArray(x.Type, shape)
	if err != nil {
		return nil, err
	}
	pick(out.F, cond.I, x.F, y.F)
	pick(out.I, cond.I, x.I, y.I)
	pick(out.S, cond.I, x.S, y.S)
	return []*Array{out}, nil
}

func pick[T any](dst []T, cond []int64, x, y []T) {
	for i := range dst {
		if cond[i] != 0 {
			dst[i] = x[i]
		} else {
			dst[i] = y[i]
		}
	}
}

// evalClip clips to bounds that are attributes before operator set 11 and inputs after. Where min exceeds max the
// result is max.
func evalClip(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	if c.opset < 11 {
		lo, hi := c.Float("min", math.Inf(-1)), c.Float("max", math.Inf(1))
		return one(mapArray(x, func(v float64) float64 { return min(max(v, lo), hi) }, nil))
	}
	for i := 1; i <= 2; i++ {
		b := c.arg(i)
		if b == nil {
			continue
		}
		if b.Len() != 1 {
			return nil, fmt.Errorf("input %d: found shape %v, expected a scalar", i, b.Shape)
		}
		f, g := maxNaN, intMax
		if i == 2 {
			f, g = minNaN, intMin
		}
		var err error
		if x, err = arith(x, b.view(nil), f, g); err != nil {
			return nil, err
		}
	}
	return []*Array{x}, nil
}

// evalCast converts between types. Floats are not rounded to the precision of the new type. Cast has the type in an
// attribute, CastLike in its second input.
func evalCast(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x, to := c.in[0], onnx.DType(c.Int("to", 0))
	if c.Op == "CastLike" {
		if err := c.need(2); err != nil {
			return nil, err
		}
		to = c.in[1].Type
	}
	switch {
	case to.Narrow() && x.Type != onnx.String:
		return c.castNarrow(x, to)
	case to == onnx.String || x.Type == onnx.String && to != x.Type || !evaluable(to):
		return nil, fmt.Errorf("cast from %v to %v: %w", x.Type, to, ErrNoEval)
	case to.IsFloat():
		v, err := toFloat(x)
		if err != nil {
			return nil, err
		}
		return []*Array{{Type: to, Shape: x.Shape, F: v}}, nil
	}
	out, err := newArray(to, x.Shape)
	if err != nil {
		return nil, err
	}
	for i := range out.I {
		if x.Type.IsFloat() {
			out.I[i] = truncated(to, x.F[i])
		} else {
			out.I[i] = onnx.Wrap(to, x.I[i])
		}
	}
	return []*Array{out}, nil
}

package onnx

import "math"

// evalTable names the function of each operator that the evaluator covers. What differs between operator sets (an
// axis that was an attribute and is an input, a changed default) is handled inside the function.
var evalTable = map[string]evalFunc{
	// Elementwise, one operand.
	"Abs":             evalUnary(math.Abs, func(t DType, v int64) int64 { return wrap(t, max(v, -v)) }),
	"Neg":             evalUnary(func(x float64) float64 { return -x }, func(t DType, v int64) int64 { return wrap(t, -v) }),
	"Sign":            evalSign,
	"Reciprocal":      evalUnary(func(x float64) float64 { return 1 / x }, nil),
	"Sqrt":            evalUnary(math.Sqrt, nil),
	"Exp":             evalUnary(math.Exp, nil),
	"Log":             evalUnary(math.Log, nil),
	"Sin":             evalUnary(math.Sin, nil),
	"Cos":             evalUnary(math.Cos, nil),
	"Tan":             evalUnary(math.Tan, nil),
	"Asin":            evalUnary(math.Asin, nil),
	"Acos":            evalUnary(math.Acos, nil),
	"Atan":            evalUnary(math.Atan, nil),
	"Sinh":            evalUnary(math.Sinh, nil),
	"Cosh":            evalUnary(math.Cosh, nil),
	"Tanh":            evalUnary(math.Tanh, nil),
	"Asinh":           evalUnary(math.Asinh, nil),
	"Acosh":           evalUnary(math.Acosh, nil),
	"Atanh":           evalUnary(math.Atanh, nil),
	"Erf":             evalUnary(math.Erf, nil),
	"Ceil":            evalUnary(math.Ceil, nil),
	"Floor":           evalUnary(math.Floor, nil),
	"Round":           evalUnary(math.RoundToEven, nil),
	"Relu":            evalUnary(relu, func(_ DType, v int64) int64 { return max(v, 0) }),
	"Sigmoid":         evalUnary(sigmoid, nil),
	"Softplus":        evalUnary(softplus, nil),
	"Softsign":        evalUnary(func(x float64) float64 { return x / (1 + math.Abs(x)) }, nil),
	"Mish":            evalUnary(func(x float64) float64 { return x * math.Tanh(softplus(x)) }, nil),
	"LeakyRelu":       evalActivation(leakyRelu),
	"Elu":             evalActivation(elu),
	"Selu":            evalActivation(selu),
	"Celu":            evalActivation(celu),
	"ThresholdedRelu": evalActivation(thresholdedRelu),
	"Shrink":          evalActivation(shrink),
	"HardSigmoid":     evalActivation(hardSigmoid),
	"HardSwish":       evalUnary(func(x float64) float64 { return x * min(max(x/6+0.5, 0), 1) }, nil),
	"Swish":           evalActivation(swish),
	"Gelu":            evalActivation(gelu),
	"IsNaN":           evalIsNaN,
	"IsInf":           evalIsInf,
	"Not":             evalNot,
	"BitwiseNot":      evalBitwiseNot,
	"Clip":            evalClip,
	"Cast":            evalCast,
	"CastLike":        evalCast,

	// Elementwise with broadcasting.
	"Add":            evalBinary(func(a, b float64) float64 { return a + b }, intAdd),
	"Sub":            evalBinary(func(a, b float64) float64 { return a - b }, intSub),
	"Mul":            evalBinary(func(a, b float64) float64 { return a * b }, intMul),
	"Div":            evalBinary(func(a, b float64) float64 { return a / b }, intDiv),
	"Pow":            evalPow,
	"Mod":            evalMod,
	"PRelu":          evalPRelu,
	"Equal":          evalEqual,
	"Less":           evalCompare(func(c int) bool { return c < 0 }),
	"LessOrEqual":    evalCompare(func(c int) bool { return c <= 0 }),
	"Greater":        evalCompare(func(c int) bool { return c > 0 }),
	"GreaterOrEqual": evalCompare(func(c int) bool { return c >= 0 }),
	"And":            evalBits(func(a, b int64) int64 { return a & b }),
	"Or":             evalBits(func(a, b int64) int64 { return a | b }),
	"Xor":            evalBits(func(a, b int64) int64 { return a ^ b }),
	"BitwiseAnd":     evalBits(func(a, b int64) int64 { return a & b }),
	"BitwiseOr":      evalBits(func(a, b int64) int64 { return a | b }),
	"BitwiseXor":     evalBits(func(a, b int64) int64 { return a ^ b }),
	"BitShift":       evalBitShift,
	"Min":            evalVariadic(minNaN, intMin, false),
	"Max":            evalVariadic(maxNaN, intMax, false),
	"Sum":            evalVariadic(func(a, b float64) float64 { return a + b }, intAdd, false),
	"Mean":           evalVariadic(func(a, b float64) float64 { return a + b }, nil, true),
	"Where":          evalWhere,

	// Products.
	"MatMul": evalMatMul,
	"Gemm":   evalGemm,

	// Convolutions and pools.

	// Reductions and orders.

}

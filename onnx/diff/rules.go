package diff

import (
	"math"

	"lenskit/onnx"
)

// rule is a row of the table: how one operator is differentiated in both modes. Either none or refuse is set, or elem,
// or back with fwd or fwdAll.
type rule struct {
	// elem multiplies t by ∂out₀/∂inᵢ of an operator that works element by element (with broadcasting). Such a Jacobian
	// is diagonal, so that the same product serves both modes; the sweep sums a gradient over the broadcast axes. ""
	// stands for zero.
	elem func(c *call, i int, t string) string
	// back gives the gradient of each operand, in its shape or broadcasting to it; "" is no gradient.
	back func(b *back) []string
	// fwd gives the tangent of result 0, fwdAll those of all results; "" is zero.
	fwd    func(f *fwd) string
	fwdAll func(f *fwd) []string
	// results says that back and fwdAll know of every result; otherwise only result 0 may be differentiated.
	results bool
	// replicate says that in a Jacobian the rule cannot put columns in the place of a batch of 1.
	replicate bool
	none      bool   // the results are piecewise constant: no derivative goes through
	refuse    string // why the operator is not differentiated
}

type ruleKey struct {
	op    string
	since int // the operator-set version from which on the row holds
}

// findRule is the row of n at an operator-set version, or nil.
func findRule(n *onnx.Node, opset int) *rule {
	if n.Domain != "" {
		return nil
	}
	for v := min(opset, newestOpset); v > 0; v-- {
		if r, ok := ruleTable[ruleKey{n.Op, v}]; ok {
			return &r
		}
	}
	return nil
}

// newestOpset is above every since-version in the table.
const newestOpset = 64

// zero is the row of operators whose results are piecewise constant.
var zero = rule{none: true}

// ruleTable holds a rule per operator of ai.onnx and since-version. Graphs are brought to at least minOpset before they
// are differentiated, so that older forms need no rows.
var ruleTable = map[ruleKey]rule{
	{"Abs", 13}:                   unary(func(c *call) string { return c.Op("Sign", c.in(0)) }),
	{"Acos", 7}:                   unary(func(c *call) string { return c.neg(c.Op("Reciprocal", c.Op("Sqrt", c.oneMinusSquare(c.in(0))))) }),
	{"Acosh", 9}:                  unary(func(c *call) string { return c.Op("Reciprocal", c.Op("Sqrt", c.plus(c.square(c.in(0)), -1))) }),
	{"Add", 14}:                   {elem: pass},
	{"And", 7}:                    zero,
	{"ArgMax", 13}:                zero,
	{"ArgMin", 13}:                zero,
	{"Asin", 7}:                   unary(func(c *call) string { return c.Op("Reciprocal", c.Op("Sqrt", c.oneMinusSquare(c.in(0)))) }),
	{"Asinh", 9}:                  unary(func(c *call) string { return c.Op("Reciprocal", c.Op("Sqrt", c.plus(c.square(c.in(0)), 1))) }),
	{"Atan", 7}:                   unary(func(c *call) string { return c.Op("Reciprocal", c.plus(c.square(c.in(0)), 1)) }),
	{"Atanh", 9}:                  unary(func(c *call) string { return c.Op("Reciprocal", c.oneMinusSquare(c.in(0))) }),
	{"AveragePool", 11}:           {back: averagePoolBack, fwd: linear},
	{"BatchNormalization", 15}:    {back: batchNormBack, fwd: batchNormFwd},
	{"Bernoulli", 15}:             zero,
	{"Cast", 13}:                  {elem: castTo},
	{"CastLike", 15}:              {elem: castTo},
	{"Ceil", 13}:                  zero,
	{"Celu", 12}:                  unary(dCelu),
	{"Clip", 13}:                  {elem: dClip},
	{"Col2Im", 18}:                {back: col2ImBack, fwd: linear},
	{"Concat", 13}:                {back: concatBack, fwd: concatFwd},
	{"Constant", 13}:              zero,
	{"ConstantOfShape", 9}:        zero,
	{"Conv", 11}:                  {back: convBack, fwd: bilinear},
	{"ConvTranspose", 11}:         {back: convTransposeBack, fwd: bilinear},
	{"Cos", 7}:                    unary(func(c *call) string { return c.neg(c.Op("Sin", c.in(0))) }),
	{"Cosh", 9}:                   unary(func(c *call) string { return c.Op("Sinh", c.in(0)) }),
	{"CumSum", 14}:                {back: cumSumBack, fwd: linear},
	{"DepthToSpace", 13}:          {back: depthToSpaceBack, fwd: linear},
	{"DequantizeLinear", 10}:      {refuse: "quantised values carry no gradient; export the model in float"},
	{"Div", 14}:                   {elem: divide},
	{"Dropout", 13}:               {elem: dropout},
	{"DynamicQuantizeLinear", 11}: {refuse: "quantised values carry no gradient; export the model in float"},
	{"Einsum", 12}:                {back: einsumBack, fwd: einsumFwd},
	{"Elu", 6}:                    unary(dElu),
	{"Equal", 13}:                 zero,
	{"Erf", 13}:                   unary(func(c *call) string { return c.scale(c.Op("Exp", c.neg(c.square(c.in(0)))), 2/math.Sqrt(math.Pi)) }),
	{"Exp", 13}:                   unary(func(c *call) string { return c.out(0) }),
	{"Expand", 13}:                {back: expandBack, fwd: expandFwd},
	{"EyeLike", 9}:                zero,
	{"Flatten", 13}:               {back: reshapeBack, fwd: reshapeFwd},
	{"Floor", 13}:                 zero,
	{"Gather", 13}:                {back: gatherBack, fwd: linear},
	{"GatherElements", 13}:        {back: gatherElementsBack, fwd: linear, replicate: true},
	{"GatherND", 13}:              {back: gatherNDBack, fwd: linear, replicate: true},
	{"Gelu", 20}:                  unary(dGelu),
	{"Gemm", 13}:                  {back: gemmBack, fwd: gemmFwd},
	{"GlobalAveragePool", 1}:      {back: globalAverageBack, fwd: linear},
	{"GlobalMaxPool", 1}:          extremum(func(c *call) []int64 { return c.spatial() }),
	{"Greater", 13}:               zero,
	{"GreaterOrEqual", 16}:        zero,
	{"GridSample", 16}:            {back: gridSampleBack, fwd: gridSampleFwd, replicate: true},
	{"HardSigmoid", 6}:            unary(dHardSigmoid),
	{"HardSwish", 14}:             unary(dHardSwish),
	{"Hardmax", 13}:               zero,
	{"Identity", 16}:              {elem: pass},
	{"If", 16}:                    {back: ifBack, fwdAll: ifFwd, results: true},
	{"InstanceNormalization", 6}:  {back: normBack, fwdAll: normFwd, results: true},
	{"IsInf", 10}:                 zero,
	{"IsNaN", 13}:                 zero,
	{"LayerNormalization", 17}:    {back: normBack, fwdAll: normFwd, results: true},
	{"LeakyRelu", 16}:             {elem: dLeakyRelu},
	{"Less", 13}:                  zero,
	{"LessOrEqual", 16}:           zero,
	{"Loop", 16}:                  {refuse: "its body could not be written out turn by turn"},
	{"Log", 13}:                   {elem: func(c *call, i int, t string) string { return c.div(t, c.in(0)) }},
	{"LogSoftmax", 13}:            {back: logSoftmaxBack, fwd: logSoftmaxFwd},
	{"MatMul", 13}:                {back: matMulBack, fwd: matMulFwd},
	{"MatMulInteger", 10}:         {refuse: "integer products carry no gradient; export the model in float"},
	{"Max", 13}:                   {elem: func(c *call, i int, t string) string { return c.choice(i, t, "Greater", "GreaterOrEqual") }},
	{"MaxPool", 12}:               {back: maxPoolBack, fwd: maxPoolFwd, replicate: true},
	{"Mean", 13}:                  {elem: func(c *call, i int, t string) string { return c.scale(t, 1/float64(len(c.n.In))) }},
	{"Min", 13}:                   {elem: func(c *call, i int, t string) string { return c.choice(i, t, "Less", "LessOrEqual") }},
	{"Mish", 18}:                  unary(dMish),
	{"Mod", 13}:                   {elem: dMod},
	{"Mul", 14}:                   {elem: func(c *call, i int, t string) string { return c.mul(t, c.in(1-i)) }},
	{"Multinomial", 7}:            zero,
	{"Neg", 13}:                   {elem: func(c *call, i int, t string) string { return c.neg(t) }},
	{"NonZero", 13}:               zero,
	{"Not", 1}:                    zero,
	{"OneHot", 11}:                zero,
	{"Or", 7}:                     zero,
	{"PRelu", 16}:                 {elem: dPRelu},
	{"Pad", 18}:                   {back: padBack, fwd: padFwd},
	{"Pow", 15}:                   {elem: dPow},
	{"QLinearConv", 10}:           {refuse: "quantised values carry no gradient; export the model in float"},
	{"QLinearMatMul", 10}:         {refuse: "quantised values carry no gradient; export the model in float"},
	{"QuantizeLinear", 10}:        {refuse: "rounding to quantised values has no useful gradient; export the model in float"},
	{"RandomNormal", 1}:           zero,
	{"RandomNormalLike", 1}:       zero,
	{"RandomUniform", 1}:          zero,
	{"RandomUniformLike", 1}:      zero,
	{"Range", 11}:                 {refuse: "the length of a range follows its limits"},
	{"Reciprocal", 13}:            unary(func(c *call) string { return c.neg(c.square(c.out(0))) }),
	{"ReduceL1", 18}:              reductionRule(func(c *call, y string) string { return c.Op("Sign", c.in(0)) }),
	{"ReduceL2", 18}:              reductionRule(dReduceL2),
	{"ReduceLogSum", 18}:          reductionRule(func(c *call, y string) string { return c.Op("Exp", c.neg(y)) }),
	{"ReduceLogSumExp", 18}:       reductionRule(func(c *call, y string) string { return c.Op("Exp", c.sub(c.in(0), y)) }),
	{"ReduceMax", 18}:             extremum(reducedAxes),
	{"ReduceMean", 18}:            {back: reduceMeanBack, fwd: linear},
	{"ReduceMin", 18}:             extremum(reducedAxes),
	{"ReduceProd", 18}:            reductionRule(dReduceProd),
	{"ReduceSum", 13}:             {back: reduceSumBack, fwd: linear},
	{"ReduceSumSquare", 18}:       reductionRule(func(c *call, y string) string { return c.scale(c.in(0), 2) }),
	{"Relu", 14}:                  unary(func(c *call) string { return c.positive(c.out(0)) }),
	{"Reshape", 14}:               {back: reshapeBack, fwd: reshapeFwd},
	{"Resize", 18}:                {back: resizeBack, fwd: resizeFwd},
	{"Round", 11}:                 zero,
	{"ScatterElements", 18}:       {back: scatterElementsBack, fwd: scatterFwd, replicate: true},
	{"ScatterND", 18}:             {back: scatterNDBack, fwd: scatterFwd, replicate: true},
	{"Scan", 16}:                  {refuse: "its body could not be written out turn by turn"},
	{"Selu", 6}:                   unary(dSelu),
	{"Shape", 15}:                 zero,
	{"Shrink", 9}:                 unary(dShrink),
	{"Sigmoid", 13}:               unary(func(c *call) string { return c.mul(c.out(0), c.oneMinus(c.out(0))) }),
	{"Sign", 13}:                  zero,
	{"Sin", 7}:                    unary(func(c *call) string { return c.Op("Cos", c.in(0)) }),
	{"Sinh", 9}:                   unary(func(c *call) string { return c.Op("Cosh", c.in(0)) }),
	{"Size", 13}:                  zero,
	{"Slice", 13}:                 {back: sliceBack, fwd: linear},
	{"Softmax", 13}:               {back: softmaxBack, fwd: softmaxFwd},
	{"Softplus", 1}:               unary(func(c *call) string { return c.Op("Sigmoid", c.in(0)) }),
	{"Softsign", 1}:               unary(func(c *call) string { return c.Op("Reciprocal", c.square(c.plus(c.Op("Abs", c.in(0)), 1))) }),
	{"SpaceToDepth", 13}:          {back: spaceToDepthBack, fwd: linear},
	{"Split", 18}:                 {back: splitBack, fwdAll: splitFwd, results: true},
	{"Sqrt", 13}:                  {elem: func(c *call, i int, t string) string { return c.div(c.scale(t, 0.5), c.out(0)) }},
	{"Squeeze", 13}:               {back: reshapeBack, fwd: reshapeFwd},
	{"Sub", 14}:                   {elem: subtract},
	{"Sum", 13}:                   {elem: pass},
	{"Swish", 24}:                 unary(dSwish),
	{"Tan", 7}:                    unary(func(c *call) string { return c.plus(c.square(c.out(0)), 1) }),
	{"Tanh", 13}:                  unary(func(c *call) string { return c.oneMinusSquare(c.out(0)) }),
	{"ThresholdedRelu", 10}:       unary(func(c *call) string { return c.above(c.in(0), c.n.Float("alpha", 1)) }),
	{"Tile", 13}:                  {back: tileBack, fwd: linear},
	{"TopK", 11}:                  {back: topKBack, fwdAll: topKFwd, replicate: true},
	{"Transpose", 13}:             {back: transposeBack, fwd: linear},
	{"Trilu", 14}:                 {back: triluBack, fwd: linear},
	{"Unsqueeze", 13}:             {back: reshapeBack, fwd: reshapeFwd},
	{"Where", 16}:                 {elem: whereRule},
	{"Xor", 7}:                    zero,
}

// unary is the row of an operator of one operand with derivative d.
func unary(d func(c *call) string) rule {
	return rule{elem: func(c *call, i int, t string) string { return c.mul(t, d(c)) }}
}

// linear is the forward rule of an operator that is linear in its first operand, its only active one.
func linear(f *fwd) string {
	if f.tan(0) == "" {
		return ""
	}
	for i := 1; i < len(f.n.In); i++ {
		if f.tan(i) != "" {
			failf("operand %d is differentiated; only operand 0 can be", i)
		}
	}
	in := append([]string{f.tan(0)}, f.n.In[1:]...)
	return f.same(in...)
}

// The pieces that rules are made of.

func (t *tape) plus(a string, v float64) string {
	if v < 0 {
		return t.sub(a, t.num(-v, a))
	}
	return t.add(a, t.num(v, a))
}

func (t *tape) square(a string) string { return t.mul(a, a) }

func (t *tape) oneMinus(a string) string { return t.sub(t.num(1, a), a) }

func (t *tape) oneMinusSquare(a string) string { return t.oneMinus(t.square(a)) }

// above is 1 where a > v, 0 elsewhere. Masks are products with a cast comparison: Where is slow in onnxruntime.
func (t *tape) above(a string, v float64) string {
	return t.mask(t.Op("Greater", a, t.num(v, a)), a)
}

func (t *tape) positive(a string) string { return t.above(a, 0) }

// select2 is yes where m is 1 and no where m is 0.
func (t *tape) select2(m, yes, no string) string {
	return t.add(t.mul(m, yes), t.mul(t.oneMinus(m), no))
}

func pass(c *call, i int, t string) string { return t }

func subtract(c *call, i int, t string) string {
	if i == 0 {
		return t
	}
	return c.neg(t)
}

func divide(c *call, i int, t string) string {
	// ∂(a/b)/∂a = 1/b, ∂(a/b)/∂b = -(a/b)/b
	if x, ok := c.constNum(c.in(1)); ok && i == 0 && x != 0 {
		return c.scale(t, 1/x)
	}
	if i == 0 {
		return c.div(t, c.in(1))
	}
	return c.neg(c.div(c.mul(t, c.out(0)), c.in(1)))
}

func castTo(c *call, i int, t string) string {
	if i != 0 {
		return ""
	}
	// The tangent takes the type of the result, the gradient that of the operand.
	from, to := c.typ(c.in(0)), c.typ(c.out(0))
	if d := onnx.DType(c.n.Int("to", 0)); d.Narrow() {
		failf("rounding to %s has no useful gradient", d)
	}
	if from == to {
		return t
	}
	if c.typ(t) == from {
		return c.OpAttr("Cast", onnx.Attrs("to", int(to)), t)
	}
	return c.OpAttr("Cast", onnx.Attrs("to", int(from)), t)
}

func dropout(c *call, i int, t string) string {
	if i != 0 {
		return ""
	}
	if mode := c.in(2); mode != "" {
		if v, ok := c.constNum(mode); !ok || v != 0 {
			failf("training_mode is not the constant false")
		}
	}
	return t
}

func dLeakyRelu(c *call, i int, t string) string {
	alpha := c.n.Float("alpha", 0.01)
	m := c.positive(c.in(0))
	if alpha >= 0 && alpha <= 1 {
		return c.mul(t, c.Op("Max", m, c.num(alpha, m)))
	}
	return c.mul(t, c.plus(c.scale(m, 1-alpha), alpha))
}

func dPRelu(c *call, i int, t string) string {
	x := c.in(0)
	m := c.positive(x)
	if i == 0 {
		return c.mul(t, c.select2(m, c.num(1, m), c.in(1)))
	}
	return c.mul(t, c.Op("Min", x, c.num(0, x)))
}

func dElu(c *call) string {
	alpha := c.n.Float("alpha", 1)
	y := c.out(0)
	if alpha == 1 {
		return c.Op("Min", c.plus(y, 1), c.num(1, y))
	}
	m := c.positive(c.in(0))
	return c.add(m, c.mul(c.oneMinus(m), c.plus(y, alpha)))
}

func dCelu(c *call) string {
	// x ≤ 0: e^(x/α) = y/α + 1
	alpha := c.n.Float("alpha", 1)
	if alpha < 0 {
		failf("alpha is negative")
	}
	y := c.out(0)
	return c.Op("Min", c.plus(c.scale(y, 1/alpha), 1), c.num(1, y))
}

func dSelu(c *call) string {
	alpha := c.n.Float("alpha", 1.67326319217681884765625)
	gamma := c.n.Float("gamma", 1.05070102214813232421875)
	m := c.positive(c.in(0))
	return c.add(c.scale(m, gamma), c.mul(c.oneMinus(m), c.plus(c.out(0), alpha*gamma)))
}

func dGelu(c *call) string {
	x := c.in(0)
	if c.n.Str("approximate", "none") == "tanh" {
		// y = x (1+tanh u)/2, u = √(2/π) (x + 0.044715 x³)
		k := math.Sqrt(2 / math.Pi)
		x2 := c.square(x)
		u := c.mul(x, c.plus(c.scale(x2, 0.044715*k), k))
		th := c.Op("Tanh", u)
		du := c.plus(c.scale(x2, 3*0.044715*k), k)
		left := c.scale(c.plus(th, 1), 0.5)
		return c.add(left, c.scale(c.mul(c.mul(x, c.oneMinusSquare(th)), du), 0.5))
	}
	// Φ(x) + x φ(x)
	cdf := c.plus(c.scale(c.Op("Erf", c.scale(x, math.Sqrt2/2)), 0.5), 0.5)
	pdf := c.scale(c.Op("Exp", c.scale(c.square(x), -0.5)), 1/math.Sqrt(2*math.Pi))
	return c.add(cdf, c.mul(x, pdf))
}

func dSwish(c *call) string {
	// s + α x s (1-s), s = σ(α x)
	x, alpha := c.in(0), c.n.Float("alpha", 1)
	s := c.Op("Sigmoid", c.scale(x, alpha))
	return c.mul(s, c.plus(c.mul(c.scale(x, alpha), c.oneMinus(s)), 1))
}

func dMish(c *call) string {
	// y = x tanh(w), w = softplus(x): tanh w + x σ(x) (1 - tanh² w)
	x := c.in(0)
	th := c.Op("Tanh", c.Op("Softplus", x))
	return c.add(th, c.mul(c.mul(x, c.Op("Sigmoid", x)), c.oneMinusSquare(th)))
}

func dHardSigmoid(c *call) string {
	return c.scale(c.inside(c.out(0)), c.n.Float("alpha", 0.2))
}

// inside is 1 where 0 < a < 1, 0 elsewhere.
func (t *tape) inside(a string) string {
	return t.mask(t.Op("And", t.Op("Greater", a, t.num(0, a)), t.Op("Less", a, t.num(1, a))), a)
}

func dHardSwish(c *call) string {
	// y = x h, h = clip(x/6 + 1/2, 0, 1): h + x h'
	x := c.in(0)
	h := c.OpAttr("HardSigmoid", onnx.Attrs("alpha", 1.0/6, "beta", 0.5), x)
	return c.add(h, c.scale(c.mul(x, c.inside(h)), 1.0/6))
}

func dShrink(c *call) string {
	lambd := c.n.Float("lambd", 0.5)
	return c.above(c.Op("Abs", c.in(0)), lambd)
}

func dClip(c *call, i int, t string) string {
	x := c.in(0)
	switch i {
	case 0: // 1 where nothing was clipped, the bounds included
		return c.mul(t, c.mask(c.Op("Equal", x, c.out(0)), t))
	case 1: // max(x, lower) is lower, and upper leaves it
		below := c.Op("Less", x, c.in(1))
		if c.in(2) != "" {
			below = c.Op("And", below, c.Op("LessOrEqual", c.in(1), c.in(2)))
		}
		return c.mul(t, c.mask(below, t))
	}
	if c.in(1) != "" {
		x = c.Op("Max", x, c.in(1))
	}
	return c.mul(t, c.mask(c.Op("Greater", x, c.in(2)), t))
}

func dMod(c *call, i int, t string) string {
	if i == 0 {
		return t
	}
	// a mod b = a - b·n
	return c.mul(t, c.div(c.sub(c.out(0), c.in(0)), c.in(1)))
}

func dPow(c *call, i int, t string) string {
	a, b := c.in(0), c.in(1)
	if i == 1 {
		// aᵇ ln a; zero where a ≤ 0, where no derivative by b exists
		m := c.positive(a)
		safe := c.add(c.mul(a, m), c.oneMinus(m))
		return c.mul(t, c.mul(c.mul(c.out(0), m), c.Op("Log", safe)))
	}
	if v, ok := c.constNum(b); ok {
		switch v {
		case 0:
			return ""
		case 1:
			return t
		case 2:
			return c.mul(t, c.scale(a, 2))
		case 3:
			return c.mul(t, c.scale(c.square(a), 3))
		case 0.5:
			return c.div(c.scale(t, 0.5), c.out(0))
		case -1:
			return c.neg(c.mul(t, c.square(c.out(0))))
		}
		return c.mul(t, c.scale(c.Op("Pow", a, c.num(v-1, a)), v))
	}
	bf := b
	if c.typ(b) != c.typ(a) {
		bf = c.OpAttr("Cast", onnx.Attrs("to", int(c.typ(a))), b)
	}
	return c.mul(t, c.mul(bf, c.Op("Pow", a, c.plus(bf, -1))))
}

// choice is the rule of Min and Max: the derivative goes to the chosen operand, in equal parts to equal ones.
func (c *call) choice(i int, t, strict, weak string) string {
	switch len(c.n.In) {
	case 1:
		return t
	case 2:
		a, b := c.in(i), c.in(1-i)
		m := c.add(c.mask(c.Op(strict, a, b), t), c.mask(c.Op(weak, a, b), t))
		return c.mul(t, c.scale(m, 0.5))
	}
	var hits []string
	for _, x := range c.n.In {
		hits = append(hits, c.mask(c.Op("Equal", x, c.out(0)), t))
	}
	return c.mul(t, c.div(hits[i], c.total(hits...)))
}

func whereRule(c *call, i int, t string) string {
	if i == 0 {
		return ""
	}
	m := c.mask(c.in(0), t)
	if i == 2 {
		m = c.oneMinus(m)
	}
	return c.mul(t, m)
}

package onnx

import (
	"fmt"
	"slices"

	"lenskit/onnx/symbolic"
)

// ShapeTable holds the shape function of every operator whose outputs are inferred. Forms of older operator sets that
// take attributes where newer ones take operands are understood too.
var ShapeTable = map[string]shapeFunc{
	// Element by element, same type.
	"Abs": likeFirst, "Acos": likeFirst, "Acosh": likeFirst, "Asin": likeFirst, "Asinh": likeFirst, "Atan": likeFirst,
	"Atanh": likeFirst, "BitwiseNot": likeFirst, "Ceil": likeFirst, "Celu": likeFirst, "Clip": likeFirst,
	"Cos": likeFirst, "Cosh": likeFirst, "Elu": likeFirst, "Erf": likeFirst, "Exp": likeFirst, "Floor": likeFirst,
	"Gelu": likeFirst, "HardSigmoid": likeFirst, "HardSwish": likeFirst, "Identity": likeFirst, "LeakyRelu": likeFirst,
	"Log": likeFirst, "Mish": likeFirst, "Neg": likeFirst, "Reciprocal": likeFirst, "Relu": likeFirst,
	"Round": likeFirst, "Selu": likeFirst, "Shrink": likeFirst, "Sigmoid": likeFirst, "Sign": likeFirst,
	"Sin": likeFirst, "Sinh": likeFirst, "Softplus": likeFirst, "Softsign": likeFirst, "Sqrt": likeFirst,
	"Swish": likeFirst, "Tan": likeFirst, "Tanh": likeFirst, "ThresholdedRelu": likeFirst,
	// Along axes, same shape.
	"CumSum": likeFirst, "GroupNormalization": likeFirst, "Hardmax": axisLikeFirst, "InstanceNormalization": likeFirst,
	"LRN": likeFirst, "LogSoftmax": axisLikeFirst, "LpNormalization": axisLikeFirst,
	"MeanVarianceNormalization": likeFirst, "RMSNormalization": likeFirst, "Softmax": axisLikeFirst,
	"ReverseSequence": likeFirst, "Scatter": likeFirst, "ScatterElements": likeFirst, "ScatterND": likeFirst,
	"Trilu": likeFirst, "RotaryEmbedding": likeFirst,
	// Truth values.
	"IsInf": boolLikeFirst, "IsNaN": boolLikeFirst, "Not": boolLikeFirst,
	"And": boolBroadcast, "Equal": boolBroadcast, "Greater": boolBroadcast, "GreaterOrEqual": boolBroadcast,
	"Less": boolBroadcast, "LessOrEqual": boolBroadcast, "Or": boolBroadcast, "Xor": boolBroadcast,
	// Broadcasting.
	"Add": broadcastShape, "BitShift": broadcastShape, "BitwiseAnd": broadcastShape, "BitwiseOr": broadcastShape,
	"BitwiseXor": broadcastShape, "Div": broadcastShape, "Max": broadcastShape, "Mean": broadcastShape,
	"Min": broadcastShape, "Mod": broadcastShape, "Mul": broadcastShape, "PRelu": broadcastShape,
	"Pow": broadcastShape, "Sub": broadcastShape, "Sum": broadcastShape, "Where": whereShape,
	// Types.
	"Cast": castShape, "CastLike": castLikeShape, "QuantizeLinear": quantizeShape, "DequantizeLinear": dequantizeShape,
	// Products.
	"Gemm": gemmShape, "MatMul": matMulShape, "Einsum": einsumShape, "Attention": attentionShape,
	// Convolution and pooling.
	"AveragePool": poolShape, "Conv": convShape, "ConvTranspose": convTransposeShape, "GlobalAveragePool": globalPoolShape,
	"GlobalLpPool": globalPoolShape, "GlobalMaxPool": globalPoolShape, "LpPool": poolShape, "MaxPool": poolShape,
	"Col2Im": col2imShape, "AffineGrid": affineGridShape, "GridSample": gridSampleShape,
	// Normalisation with further outputs.
	"BatchNormalization": batchNormShape, "Dropout": dropoutShape, "LayerNormalization": layerNormShape,
	// Shapes.
	"Concat": concatShape, "DepthToSpace": depthToSpaceShape, "Expand": expandShape, "Flatten": flattenShape,
	"Pad": padShape, "Reshape": reshapeShape, "Resize": resizeShape, "Slice": sliceShape, "SpaceToDepth": spaceToDepthShape,
	"Split": splitShape, "Squeeze": squeezeShape, "Tile": tileShape, "Transpose": transposeShape,
	"Unsqueeze": unsqueezeShape, "Upsample": resizeShape,
	// Indices.
	"Gather": gatherShape, "GatherElements": gatherElementsShape, "GatherND": gatherNDShape, "OneHot": oneHotShape,
	"ArgMax": argShape, "ArgMin": argShape, "TopK": topKShape, "NonZero": nonZeroShape, "Compress": compressShape,
	// Made from nothing.
	"Constant": constantShape, "ConstantOfShape": constantOfShapeShape, "EyeLike": eyeLikeShape, "Range": rangeShape,
	"Shape": shapeShape, "Size": sizeShape, "Bernoulli": eyeLikeShape,
	"RandomNormal": randomShape, "RandomUniform": randomShape, "RandomNormalLike": eyeLikeShape, "RandomUniformLike": eyeLikeShape,
	// Reductions.
	"ReduceL1": reduceShape, "ReduceL2": reduceShape, "ReduceLogSum": reduceShape, "ReduceLogSumExp": reduceShape,
	"ReduceMax": reduceShape, "ReduceMean": reduceShape, "ReduceMin": reduceShape, "ReduceProd": reduceShape,
	"ReduceSum": reduceShape, "ReduceSumSquare": reduceShape,
}

func likeFirst(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	c.set(0, c.argType(0), c.arg(0))
	return nil
}

func axisLikeFirst(c *ShapeCall) error {
	if s := c.arg(0); len(s) > 0 {
		def := int64(-1)
		if c.G.Opset[""] < 13 && c.N.Op != "LpNormalization" {
			def = min(1, int64(len(s)-1))
		}
		// The flattened form before set 13 may name the axis after the last.
		if a := c.N.Int("axis", def); !(c.G.Opset[""] < 13 && a == int64(len(s))) {
			if _, err := NormAxis(a, len(s)); err != nil {
				return err
			}
		}
	}
	return likeFirst(c)
}

func boolLikeFirst(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	c.set(0, Bool, c.arg(0))
	return nil
}

// operands are the shapes of all operands.
func (c *ShapeCall) operands() [][]Dim {
	s := make([][]Dim, len(c.N.In))
	for i := range s {
		s[i] = c.arg(i)
	}
	return s
}

func broadcastShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	s, err := c.Broadcast(c.operands()...)
	c.set(0, c.argType(0), s)
	return err
}

func boolBroadcast(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	s, err := c.Broadcast(c.operands()...)
	c.set(0, Bool, s)
	return err
}

func whereShape(c *ShapeCall) error {
	if err := c.need(3); err != nil {
		return err
	}
	s, err := c.Broadcast(c.operands()...)
	c.set(0, c.argType(1), s)
	return err
}

func castShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	to := DType(c.N.Int("to", 0))
	if to != String && to.Width() == 0 && !to.Narrow() {
		return fmt.Errorf("to: found %s, expected a float, integer, bool or string type", to)
	}
	c.set(0, to.Widened(), c.arg(0))
	return nil
}

func castLikeShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	c.set(0, c.argType(1), c.arg(0))
	return nil
}

func quantizeShape(c *ShapeCall) error {
	t := Uint8
	if c.has(2) {
		t = c.argType(2)
	}
	if d := c.N.Int("output_dtype", 0); d != 0 {
		t = DType(d)
	}
	c.set(0, t, c.arg(0))
	return nil
}

func dequantizeShape(c *ShapeCall) error {
	t := c.argType(1)
	if d := c.N.Int("output_dtype", 0); d != 0 {
		t = DType(d)
	}
	c.set(0, t, c.arg(0))
	return nil
}

func gemmShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	a, b := c.arg(0), c.arg(1)
	c.set(0, c.argType(0), nil)
	if a == nil || b == nil {
		return nil
	}
	if len(a) != 2 || len(b) != 2 {
		return fmt.Errorf("found shapes %v and %v, expected matrices", a, b)
	}
	if c.N.Int("transA", 0) != 0 {
		a = []Dim{a[1], a[0]}
	}
	if c.N.Int("transB", 0) != 0 {
		b = []Dim{b[1], b[0]}
	}
	if _, err := symbolic.Same(a[1], b[0]); err != nil {
		return fmt.Errorf("shapes %v and %v: %w", a, b, err)
	}
	c.set(0, c.argType(0), []Dim{a[0], b[1]})
	return nil
}

func matMulShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	k, t := c.quantized()
	a, b := c.arg(0), c.arg(k)
	c.set(0, t, nil)
	if a == nil || b == nil {
		return nil
	}
	if len(a) == 0 || len(b) == 0 {
		return fmt.Errorf("found shapes %v and %v, expected at least rank 1", a, b)
	}
	row, col := len(a) == 1, len(b) == 1
	if row {
		a = []Dim{Fixed(1), a[0]}
	}
	if col {
		b = []Dim{b[0], Fixed(1)}
	}
	na, nb := len(a), len(b)
	if _, err := symbolic.Same(a[na-1], b[nb-2]); err != nil {
		return fmt.Errorf("shapes %v and %v: %w", a, b, err)
	}
	s, err := c.Broadcast(a[:na-2], b[:nb-2])
	if err != nil {
		return err
	}
	if !row {
		s = append(s, a[na-2])
	}
	if !col {
		s = append(s, b[nb-1])
	}
	c.set(0, t, s)
	return nil
}

// quantized is the operand that holds the second factor of a product or the weights of a convolution, and the type of the
// result.
func (c *ShapeCall) quantized() (second int, t DType) {
	switch c.N.Op {
	case "QLinearMatMul", "QLinearConv":
		return 3, c.argType(7)
	case "MatMulInteger", "ConvInteger":
		return 1, Int32
	}
	return 1, c.argType(0)
}

// einsumShape reads equations with one letter per axis and "..." for the axes before.
func einsumShape(c *ShapeCall) error {
	terms, result, explicit, err := ParseEinsum(c.N.Str("equation", ""), len(c.N.In))
	if err != nil {
		return err
	}
	c.set(0, c.argType(0), nil)
	sizes := map[rune]Dim{}
	var dots []Dim
	count := map[rune]int{}
	for i, term := range terms {
		s := c.arg(i)
		if s == nil {
			return nil
		}
		letters := len(term)
		if k := slices.Index(term, '.'); k >= 0 {
			letters--
			extra := len(s) - letters
			if extra < 0 {
				return fmt.Errorf("equation: operand %d: found rank %d, expected at least %d", i, len(s), letters)
			}
			if dots, err = c.Broadcast(dots0(dots), s[k:k+extra]); err != nil {
				return err
			}
			s = append(slices.Clone(s[:k]), s[k+extra:]...)
			term = append(slices.Clone(term[:k]), term[k+1:]...)
		}
		if len(s) != len(term) {
			return fmt.Errorf("equation: operand %d: found rank %d, expected %d", i, len(c.arg(i)), letters)
		}
		for k, r := range term {
			count[r]++
			d, ok := sizes[r]
			if !ok {
				sizes[r] = s[k]
			} else if sizes[r], err = c.BroadcastDim(d, s[k]); err != nil {
				return fmt.Errorf("equation: index %c: %w", r, err)
			}
		}
	}
	out := []Dim{}
	if !explicit {
		// Without an arrow the result has the indices that occur once, in alphabetical order, after the ellipsis.
		result = []rune{'.'}
		for r, k := range count {
			if k == 1 {
				result = append(result, r)
			}
		}
		slices.Sort(result[1:])
	}
	for _, r := range result {
		if r == '.' {
			out = append(out, dots...)
			continue
		}
		d, ok := sizes[r]
		if !ok {
			return fmt.Errorf("equation: result index %c is in no operand", r)
		}
		out = append(out, d)
	}
	c.set(0, c.argType(0), out)
	return nil
}

func dots0(s []Dim) []Dim {
	if s == nil {
		return []Dim{}
	}
	return s
}

// ParseEinsum splits an equation into indices; '.' stands for an ellipsis.
func ParseEinsum(eq string, operands int) (terms [][]rune, result []rune, explicit bool, err error) {
	bad := func(what string) error {
		return fmt.Errorf("equation: found %q (%s), expected a form such as \"bij,bjk->bik\"", eq, what)
	}
	cur := []rune{}
	arrow := false
	r := []rune(eq)
	for i := 0; i < len(r); i++ {
		switch x := r[i]; {
		case x == ' ':
		case x == ',' && !arrow:
			terms, cur = append(terms, cur), []rune{}
		case x == '-' && !arrow && i+1 < len(r) && r[i+1] == '>':
			terms, cur, arrow = append(terms, cur), []rune{}, true
			i++
		case x == '.' && i+2 < len(r) && r[i+1] == '.' && r[i+2] == '.':
			if slices.Contains(cur, '.') {
				return nil, nil, false, bad("two ellipses in a term")
			}
			cur = append(cur, '.')
			i += 2
		case x >= 'a' && x <= 'z' || x >= 'A' && x <= 'Z':
			if arrow && slices.Contains(cur, x) {
				return nil, nil, false, bad("an index twice in the result")
			}
			cur = append(cur, x)
		default:
			return nil, nil, false, bad(fmt.Sprintf("%q", x))
		}
	}
	if arrow {
		result = cur
	} else {
		terms = append(terms, cur)
	}
	if len(terms) != operands {
		return nil, nil, false, bad(fmt.Sprintf("%d terms for %d operands", len(terms), operands))
	}
	return terms, result, arrow, nil
}

// attentionShape is that of the operator of set 23: Y, present_key, present_value, qk.
func attentionShape(c *ShapeCall) error {
	if err := c.need(3); err != nil {
		return err
	}
	q, k, v, t := c.arg(0), c.arg(1), c.arg(2), c.argType(0)
	for i := range c.Out {
		c.set(i, t, nil)
	}
	if q == nil || k == nil || v == nil {
		return nil
	}
	if len(q) != len(k) || len(q) != len(v) || len(q) != 3 && len(q) != 4 {
		return fmt.Errorf("found shapes %v, %v and %v, expected three of rank 3 or three of rank 4", q, k, v)
	}
	if len(q) == 3 {
		qh, kh := c.N.Int("q_num_heads", 0), c.N.Int("kv_num_heads", 0)
		if qh < 1 || kh < 1 {
			return fmt.Errorf("found q_num_heads %d and kv_num_heads %d, expected at least 1 for rank 3", qh, kh)
		}
		heads := func(s []Dim, h int64) []Dim {
			return []Dim{s[0], Fixed(h), s[1], c.Affine(s[2], 1, 0, h, 0)}
		}
		y := []Dim{q[0], q[1], c.Mul(c.Affine(v[2], 1, 0, kh, 0), Fixed(qh))}
		q, k, v = heads(q, qh), heads(k, kh), heads(v, kh)
		c.set(0, t, y)
	} else {
		c.set(0, t, []Dim{q[0], q[1], q[2], v[3]})
	}
	total := k[2]
	if past := c.arg(4); c.has(4) {
		if len(past) != 4 {
			return nil
		}
		total = c.Add(past[2], k[2])
	}
	c.set(1, c.argType(1), []Dim{k[0], k[1], total, k[3]})
	c.set(2, c.argType(2), []Dim{v[0], v[1], total, v[3]})
	c.set(3, t, []Dim{q[0], q[1], q[2], total})
	return nil
}

// shapeWindow holds the geometry of a convolution or pooling window.
type shapeWindow struct {
	kernel, stride, dilation, begin, end []int64
	auto                                 string
}

// newShapeWindow reads the attributes of a window over spatial axes. kernel is nil where the weights give it.
func (c *ShapeCall) newShapeWindow(spatial int, kernel []int64) (w shapeWindow, err error) {
	if k := c.N.Ints("kernel_shape"); kernel == nil {
		kernel = k
	} else if k != nil && !slices.Equal(k, kernel) {
		return w, fmt.Errorf("kernel_shape: found %v, expected %v as the weights have", k, kernel)
	}
	w = shapeWindow{kernel: kernel, stride: c.N.Ints("strides"), dilation: c.N.Ints("dilations"), auto: c.N.Str("auto_pad", "NOTSET")}
	if w.stride == nil {
		w.stride = slices.Repeat([]int64{1}, spatial)
	}
	if w.dilation == nil {
		w.dilation = slices.Repeat([]int64{1}, spatial)
	}
	pads := c.N.Ints("pads")
	if pads == nil || w.auto != "NOTSET" {
		pads = make([]int64, 2*spatial)
	}
	if len(w.kernel) != spatial || len(w.stride) != spatial || len(w.dilation) != spatial || len(pads) != 2*spatial {
		return w, fmt.Errorf("found kernel %v, strides %v, dilations %v and pads %v, expected those of %d axes", w.kernel, w.stride, w.dilation, pads, spatial)
	}
	for i := range spatial {
		k, s, d := w.kernel[i], w.stride[i], w.dilation[i]
		if k < 1 || s < 1 || d < 1 || k > MaxExtent || s > MaxExtent || d > MaxExtent || symbolic.Abs(pads[i]) > MaxExtent || symbolic.Abs(pads[spatial+i]) > MaxExtent {
			return w, fmt.Errorf("found kernel %v, strides %v, dilations %v and pads %v, expected positive numbers within the limits", w.kernel, w.stride, w.dilation, pads)
		}
	}
	w.begin, w.end = pads[:spatial], pads[spatial:]
	switch w.auto {
	case "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER":
	default:
		return w, fmt.Errorf("auto_pad: found %q, expected NOTSET, VALID, SAME_UPPER or SAME_LOWER", w.auto)
	}
	return w, nil
}

// extent is the kernel's extent on axis i, dilation included.
func (w shapeWindow) extent(i int) int64 { return (w.kernel[i]-1)*w.dilation[i] + 1 }

// slide is the number of positions of the window on axis i of extent d.
func (c *ShapeCall) slide(w shapeWindow, i int, d Dim, ceil bool) (Dim, error) {
	s := w.stride[i]
	if w.auto == "SAME_UPPER" || w.auto == "SAME_LOWER" {
		return c.Affine(d, 1, s-1, s, 0), nil // ⌈d/s⌉
	}
	pad := w.begin[i] + w.end[i]
	if d.Known() && d.N+pad < w.extent(i) && !ceil {
		return d, fmt.Errorf("axis %d: found extent %v with pads %d, expected at least the kernel's %d", i+2, d, pad, w.extent(i))
	}
	if !ceil {
		return c.Affine(d, 1, pad-w.extent(i), s, 1), nil
	}
	out := c.Affine(d, 1, pad-w.extent(i)+s-1, s, 1)
	// A window that would begin in the padding after the end is left out.
	if d.Known() && (out.N-1)*s >= d.N+w.begin[i] {
		out.N--
	}
	if out.Known() && out.N < 0 {
		return out, fmt.Errorf("axis %d: found extent %v with pads %d, expected at least the kernel's %d", i+2, d, pad, w.extent(i))
	}
	return out, nil
}

// spatialKernel are the extents of the weights after the first two, when they are numbers.
func spatialKernel(w []Dim) ([]int64, bool) {
	k := []int64{}
	for _, d := range w[2:] {
		if !d.Known() {
			return nil, false
		}
		k = append(k, d.N)
	}
	return k, true
}

func convShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	second, t := c.quantized()
	x, w := c.arg(0), c.arg(second)
	c.set(0, t, nil)
	if x == nil || w == nil {
		return nil
	}
	if len(x) < 3 || len(w) != len(x) {
		return fmt.Errorf("found input %v and weights %v, expected the same rank of at least 3", x, w)
	}
	group := c.N.Int("group", 1)
	if group < 1 || group > MaxExtent {
		return fmt.Errorf("group: found %d, expected at least 1", group)
	}
	if x[1].Known() && w[1].Known() && x[1].N != w[1].N*group {
		return fmt.Errorf("found %v channels, expected %d for weights %v in %d groups", x[1], w[1].N*group, w, group)
	}
	if w[0].Known() && w[0].N%group != 0 {
		return fmt.Errorf("found %v output channels, expected a multiple of the %d groups", w[0], group)
	}
	out := []Dim{x[0], w[0]}
	kernel, ok := spatialKernel(w)
	if !ok {
		if kernel = c.N.Ints("kernel_shape"); kernel == nil {
			c.set(0, t, append(out, c.unknownDims(len(x)-2)...))
			return nil
		}
	}
	win, err := c.newShapeWindow(len(x)-2, kernel)
	if err != nil {
		return err
	}
	for i, d := range x[2:] {
		e, err := c.slide(win, i, d, false)
		if err != nil {
			return err
		}
		out = append(out, e)
	}
	c.set(0, t, out)
	return nil
}

func convTransposeShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x, w, t := c.arg(0), c.arg(1), c.argType(0)
	c.set(0, t, nil)
	if x == nil || w == nil {
		return nil
	}
	if len(x) < 3 || len(w) != len(x) {
		return fmt.Errorf("found input %v and weights %v, expected the same rank of at least 3", x, w)
	}
	spatial := len(x) - 2
	group := c.N.Int("group", 1)
	if group < 1 || group > MaxExtent {
		return fmt.Errorf("group: found %d, expected at least 1", group)
	}
	if _, err := symbolic.Same(x[1], w[0]); err != nil {
		return fmt.Errorf("channels of input %v and weights %v: %w", x, w, err)
	}
	if w[0].Known() && w[0].N%group != 0 {
		return fmt.Errorf("found %v channels, expected a multiple of the %d groups", w[0], group)
	}
	out := []Dim{x[0], c.Mul(w[1], Fixed(group))}
	kernel, ok := spatialKernel(w)
	if !ok {
		if kernel = c.N.Ints("kernel_shape"); kernel == nil {
			c.set(0, t, append(out, c.unknownDims(spatial)...))
			return nil
		}
	}
	win, err := c.newShapeWindow(spatial, kernel)
	if err != nil {
		return err
	}
	extra := c.N.Ints("output_padding")
	if extra == nil {
		extra = make([]int64, spatial)
	}
	given := c.N.Ints("output_shape")
	if len(given) == spatial+2 {
		given = given[2:]
	}
	if len(extra) != spatial || given != nil && len(given) != spatial {
		return fmt.Errorf("found output_padding %v and output_shape %v, expected those of %d axes", extra, given, spatial)
	}
	for i, d := range x[2:] {
		if extra[i] < 0 || extra[i] > MaxExtent {
			return fmt.Errorf("output_padding: found %v, expected numbers of at least 0", extra)
		}
		switch {
		case given != nil:
			out = append(out, Fixed(given[i]))
		case win.auto == "SAME_UPPER" || win.auto == "SAME_LOWER":
			out = append(out, c.Mul(d, Fixed(win.stride[i])))
		default:
			p := extra[i] + win.extent(i) - win.stride[i] - win.begin[i] - win.end[i]
			out = append(out, c.Affine(d, win.stride[i], p, 1, 0))
		}
	}
	c.set(0, t, out)
	return nil
}

func poolShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x, t := c.arg(0), c.argType(0)
	c.set(0, t, nil)
	c.set(1, Int64, nil)
	if x == nil {
		return nil
	}
	if len(x) < 3 {
		return fmt.Errorf("found input %v, expected at least rank 3", x)
	}
	win, err := c.newShapeWindow(len(x)-2, nil)
	if err != nil {
		return err
	}
	out := []Dim{x[0], x[1]}
	for i, d := range x[2:] {
		e, err := c.slide(win, i, d, c.N.Int("ceil_mode", 0) != 0)
		if err != nil {
			return err
		}
		out = append(out, e)
	}
	c.set(0, t, out)
	c.set(1, Int64, out)
	return nil
}

func globalPoolShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x := slices.Clone(c.arg(0))
	if x != nil && len(x) < 2 {
		return fmt.Errorf("found input %v, expected at least rank 2", x)
	}
	for i := 2; i < len(x); i++ {
		x[i] = Fixed(1)
	}
	c.set(0, c.argType(0), x)
	return nil
}

func col2imShape(c *ShapeCall) error {
	if err := c.need(3); err != nil {
		return err
	}
	x := c.arg(0)
	c.set(0, c.argType(0), nil)
	image, ok1 := c.elems(1)
	block, ok2 := c.numbers(2)
	if x == nil || !ok1 || !ok2 {
		return nil
	}
	if len(x) != 3 || len(image) != len(block) {
		return fmt.Errorf("found input %v for an image of %d and blocks of %d axes, expected rank 3 and equal numbers", x, len(image), len(block))
	}
	size := int64(1)
	for _, b := range block {
		if b < 1 || b > MaxExtent || size > MaxExtent {
			return fmt.Errorf("block_shape: found %v, expected positive numbers", block)
		}
		size *= b
	}
	c.set(0, c.argType(0), append([]Dim{x[0], c.Affine(x[1], 1, 0, size, 0)}, image...))
	return nil
}

// affineGridShape is that of a grid for each of the images [N, C, d1 …] whose shape is operand 1.
func affineGridShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	c.set(0, c.argType(0), nil)
	size, ok := c.elems(1)
	if !ok {
		return nil
	}
	rank := len(size) - 2
	if rank < 2 || rank > 3 {
		return fmt.Errorf("found size %v, expected 4 or 5 extents", size)
	}
	for _, d := range size {
		if d.Known() && (d.N < 0 || d.N > MaxExtent) {
			return fmt.Errorf("found size %v, expected extents of 0 to %d", size, MaxExtent)
		}
	}
	c.set(0, c.argType(0), slices.Concat(size[:1], size[2:], []Dim{Fixed(int64(rank))}))
	return nil
}

func gridSampleShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x, g := c.arg(0), c.arg(1)
	c.set(0, c.argType(0), nil)
	if x == nil || g == nil {
		return nil
	}
	if len(x) < 3 || len(g) != len(x) {
		return fmt.Errorf("found input %v and grid %v, expected the same rank of at least 3", x, g)
	}
	c.set(0, c.argType(0), append([]Dim{x[0], x[1]}, g[1:len(g)-1]...))
	return nil
}

func batchNormShape(c *ShapeCall) error {
	if err := c.need(5); err != nil {
		return err
	}
	c.set(0, c.argType(0), c.arg(0))
	for i := 1; i < len(c.Out); i++ {
		c.set(i, c.argType(3), c.arg(3))
	}
	if x, s := c.arg(0), c.arg(1); len(x) > 1 && len(s) == 1 {
		if _, err := symbolic.Same(x[1], s[0]); err != nil {
			return fmt.Errorf("channels of input %v and scale %v: %w", x, s, err)
		}
	}
	return nil
}

func dropoutShape(c *ShapeCall) error {
	c.set(1, Bool, c.arg(0))
	return likeFirst(c)
}

func layerNormShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x := c.arg(0)
	c.set(0, c.argType(0), x)
	c.set(1, Float32, nil)
	c.set(2, Float32, nil)
	if x == nil {
		return nil
	}
	a, err := NormAxis(c.N.Int("axis", -1), len(x))
	if err != nil {
		return err
	}
	s := slices.Clone(x)
	for i := a; i < len(s); i++ {
		s[i] = Fixed(1)
	}
	stash := Float32
	if c.argType(0) == Float64 {
		stash = Float64
	}
	c.set(1, stash, s)
	c.set(2, stash, s)
	return nil
}

func concatShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	c.set(0, c.argType(0), nil)
	first := slices.Clone(c.arg(0))
	if first == nil {
		return nil
	}
	a, err := NormAxis(c.N.Int("axis", 1), len(first))
	if err != nil {
		return err
	}
	for i := 1; i < len(c.N.In); i++ {
		s := c.arg(i)
		if s == nil {
			return nil
		}
		if len(s) != len(first) {
			return fmt.Errorf("found shapes %v and %v, expected equal ranks", first, s)
		}
		for k, d := range s {
			if k == a {
				first[k] = c.Add(first[k], d)
			} else if first[k], err = symbolic.Same(first[k], d); err != nil {
				return err
			}
		}
	}
	c.set(0, c.argType(0), first)
	return nil
}

func depthToSpaceShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	b := c.N.Int("blocksize", 0)
	x := c.arg(0)
	c.set(0, c.argType(0), nil)
	if x == nil {
		return nil
	}
	if len(x) != 4 || b < 1 || b > 1<<15 || x[1].N%(b*b) != 0 {
		return fmt.Errorf("found input %v and block size %d, expected [N C H W] with C a multiple of the block", x, b)
	}
	c.set(0, c.argType(0), []Dim{x[0], c.Affine(x[1], 1, 0, b*b, 0), c.Mul(x[2], Fixed(b)), c.Mul(x[3], Fixed(b))})
	return nil
}

func spaceToDepthShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	b := c.N.Int("blocksize", 0)
	x := c.arg(0)
	c.set(0, c.argType(0), nil)
	if x == nil {
		return nil
	}
	if len(x) != 4 || b < 1 || b > 1<<15 || x[2].Known() && x[2].N%b != 0 || x[3].Known() && x[3].N%b != 0 {
		return fmt.Errorf("found input %v and block size %d, expected [N C H W] with H and W multiples of the block", x, b)
	}
	c.set(0, c.argType(0), []Dim{x[0], c.Mul(x[1], Fixed(b*b)), c.Affine(x[2], 1, 0, b, 0), c.Affine(x[3], 1, 0, b, 0)})
	return nil
}

// target is the shape that operand i holds as values. Where only their number is known, the extents are unknown.
func (c *ShapeCall) target(i int) []Dim {
	if e, ok := c.elems(i); ok {
		return slices.Clone(e)
	}
	if s := c.arg(i); len(s) == 1 && s[0].Known() && s[0].N <= MaxRank {
		return c.unknownDims(int(s[0].N))
	}
	return nil
}

func expandShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	c.set(0, c.argType(0), nil)
	want := c.target(1)
	x := c.arg(0)
	if want == nil || x == nil {
		return nil
	}
	s, err := c.Broadcast(x, want)
	c.set(0, c.argType(0), s)
	return err
}

func flattenShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x := c.arg(0)
	c.set(0, c.argType(0), nil)
	if x == nil {
		return nil
	}
	a := c.N.Int("axis", 1)
	if a < -int64(len(x)) || a > int64(len(x)) {
		return fmt.Errorf("axis: found %d, expected -%d to %d", a, len(x), len(x))
	}
	if a < 0 {
		a += int64(len(x))
	}
	c.set(0, c.argType(0), []Dim{c.Size(x[:a]), c.Size(x[a:])})
	return nil
}

func reshapeShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x, t := c.arg(0), c.argType(0)
	c.set(0, t, nil)
	var want []Dim
	if a, ok := c.N.Attr["shape"]; ok {
		want = []Dim{}
		for _, v := range a.Ints {
			want = append(want, Fixed(v))
		}
	} else if want = c.target(1); want == nil {
		return nil
	}
	minus, guess := -1, -1
	for i, d := range want {
		switch {
		case d.Known() && d.N == 0 && c.N.Int("allowzero", 0) == 0:
			if x == nil {
				want[i] = c.Fresh("")
			} else if i >= len(x) {
				return fmt.Errorf("shape: found 0 at %d, expected an axis of input %v", i, x)
			} else {
				want[i] = x[i]
			}
		case d.Known() && d.N == -1:
			if minus >= 0 {
				return fmt.Errorf("shape: found -1 twice in %v, expected it once", want)
			}
			minus = i
		case d.Known() && d.N < 0:
			return fmt.Errorf("shape: found %v, expected extents", want)
		case !d.Known() && d.Sym[0] == '?':
			guess = i
		}
	}
	if x == nil {
		if minus >= 0 {
			want[minus] = c.Fresh("")
		}
		c.set(0, t, want)
		return nil
	}
	total := symbolic.Product(x)
	open := minus
	if open < 0 {
		open = guess
	}
	if open < 0 {
		if to := symbolic.Product(want); total.OK && to.OK && len(total.Syms) == 0 && len(to.Syms) == 0 && total.N != to.N {
			return fmt.Errorf("found %d elements of %v, expected %d for shape %v", total.N, x, to.N, want)
		}
		c.set(0, t, want)
		return nil
	}
	others := symbolic.Product(symbolic.Join(want[:open], want[open+1:]))
	switch q := total.Over(others); {
	case q.OK:
		want[open] = c.Dim(q)
	case minus >= 0 && total.OK && others.OK && len(total.Syms) == 0 && len(others.Syms) == 0 && total.N != 0:
		return fmt.Errorf("found %d elements of %v, expected a multiple of %d for shape %v", total.N, x, others.N, want)
	case minus >= 0:
		key := fmt.Sprintf("size%v/%v", x, symbolic.Join(want[:open], want[open+1:]))
		want[open] = c.Fresh(key)
	}
	c.set(0, t, want)
	return nil
}

func squeezeShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x, t := c.arg(0), c.argType(0)
	c.set(0, t, nil)
	axes, given, ok := c.List(1, "axes")
	if x == nil {
		return nil
	}
	if !ok {
		if a := c.arg(1); len(a) == 1 && a[0].Known() && a[0].N <= int64(len(x)) {
			c.set(0, t, c.unknownDims(len(x)-int(a[0].N)))
		}
		return nil
	}
	out := []Dim{}
	if !given {
		for _, d := range x {
			if !d.Known() {
				return nil
			}
			if d.N != 1 {
				out = append(out, d)
			}
		}
		c.set(0, t, out)
		return nil
	}
	list, err := NormAxes(axes, len(x))
	if err != nil {
		return err
	}
	for i, d := range x {
		if !slices.Contains(list, i) {
			out = append(out, d)
		} else if d.Known() && d.N != 1 {
			return fmt.Errorf("axes: found extent %v on axis %d, expected 1", d, i)
		}
	}
	c.set(0, t, out)
	return nil
}

func unsqueezeShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x, t := c.arg(0), c.argType(0)
	c.set(0, t, nil)
	axes, given, ok := c.List(1, "axes")
	if x == nil {
		return nil
	}
	if !ok {
		if a := c.arg(1); len(a) == 1 && a[0].Known() && a[0].N <= MaxRank-int64(len(x)) {
			c.set(0, t, c.unknownDims(len(x)+int(a[0].N)))
		}
		return nil
	}
	if !given {
		return fmt.Errorf("found no axes, expected some")
	}
	if len(x)+len(axes) > MaxRank {
		return fmt.Errorf("found rank %d, expected at most %d", len(x)+len(axes), MaxRank)
	}
	list, err := NormAxes(axes, len(x)+len(axes))
	if err != nil {
		return err
	}
	out := []Dim{}
	for i := range len(x) + len(axes) {
		if slices.Contains(list, i) {
			out = append(out, Fixed(1))
		} else {
			out, x = append(out, x[0]), x[1:]
		}
	}
	c.set(0, t, out)
	return nil
}

func padShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x, t := c.arg(0), c.argType(0)
	c.set(0, t, nil)
	if x == nil {
		return nil
	}
	var pads []Dim
	if a, ok := c.N.Attr["pads"]; ok {
		for _, v := range a.Ints {
			pads = append(pads, Fixed(v))
		}
	} else {
		var ok bool
		if pads, ok = c.elems(1); !ok {
			c.set(0, t, c.unknownDims(len(x)))
			return nil
		}
	}
	axes := make([]int, len(x))
	for i := range axes {
		axes[i] = i
	}
	if c.has(3) {
		list, ok := c.numbers(3)
		if !ok {
			c.set(0, t, c.unknownDims(len(x)))
			return nil
		}
		var err error
		if axes, err = NormAxes(list, len(x)); err != nil {
			return err
		}
	}
	if len(pads) != 2*len(axes) {
		return fmt.Errorf("pads: found %d numbers, expected %d", len(pads), 2*len(axes))
	}
	out := slices.Clone(x)
	for i, a := range axes {
		out[a] = c.Add(out[a], c.Add(pads[i], pads[i+len(axes)]))
	}
	c.set(0, t, out)
	return nil
}

// resizeShape serves Resize of all sets and Upsample.
func resizeShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x, t := c.arg(0), c.argType(0)
	c.set(0, t, nil)
	if x == nil {
		return nil
	}
	axes := make([]int, len(x))
	for i := range axes {
		axes[i] = i
	}
	if a, ok := c.N.Attr["axes"]; ok {
		var err error
		if axes, err = NormAxes(a.Ints, len(x)); err != nil {
			return err
		}
	}
	scaleArg := 2
	if c.N.Op == "Upsample" || c.G.Opset[""] < 11 {
		scaleArg = 1
	}
	out := slices.Clone(x)
	unknown := func() {
		for _, a := range axes {
			out[a] = c.Fresh("")
		}
		c.set(0, t, out)
	}
	if c.has(3) && scaleArg == 2 {
		sizes, ok := c.elems(3)
		policy := c.N.Str("keep_aspect_ratio_policy", "stretch")
		if !ok {
			unknown()
			return nil
		}
		if len(sizes) != len(axes) {
			return fmt.Errorf("sizes: found %d numbers, expected %d", len(sizes), len(axes))
		}
		if policy == "stretch" {
			for i, a := range axes {
				out[a] = sizes[i]
			}
			c.set(0, t, out)
			return nil
		}
		scale := 0.0
		for i, a := range axes {
			if !sizes[i].Known() || !x[a].Known() || x[a].N == 0 {
				unknown()
				return nil
			}
			s := float64(sizes[i].N) / float64(x[a].N)
			if i == 0 || policy == "not_larger" && s < scale || policy == "not_smaller" && s > scale {
				scale = s
			}
		}
		for _, a := range axes {
			out[a] = Fixed(int64(scale*float64(x[a].N) + 0.5))
		}
		c.set(0, t, out)
		return nil
	}
	scales, ok := c.N.Attr["scales"].Floats, c.N.Attr["scales"].Floats != nil
	if !ok {
		scales, ok = c.Floats(scaleArg)
	}
	if !ok {
		// Scales that were computed are followed when they are whole numbers.
		e, whole := c.numbers(scaleArg)
		if !whole {
			unknown()
			return nil
		}
		for _, v := range e {
			scales = append(scales, float64(v))
		}
	}
	if len(scales) != len(axes) {
		return fmt.Errorf("scales: found %d numbers, expected %d", len(scales), len(axes))
	}
	for i, a := range axes {
		s := scales[i]
		if !(s > 0) || s > MaxExtent {
			return fmt.Errorf("scales: found %v, expected positive numbers", scales)
		}
		n := float64(x[a].N) * s
		switch {
		case x[a].Known() && n <= MaxExtent:
			// The product is taken in float32, in which 10·0.7 is 7.
			out[a] = Fixed(int64(float32(x[a].N) * float32(s)))
		case !x[a].Known() && n == float64(int64(n)) && n >= 1 && symbolic.Bounded(int64(n)):
			out[a] = Dim{N: int64(n), Sym: x[a].Sym}
		case x[a].Known():
			return fmt.Errorf("scales: found %v for input %v, expected extents of at most %d", scales, x, MaxExtent)
		default:
			out[a] = c.Fresh(fmt.Sprintf("floor(%v*%g)", x[a], s))
		}
	}
	c.set(0, t, out)
	return nil
}

func sliceShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x, t := c.arg(0), c.argType(0)
	c.set(0, t, nil)
	if x == nil {
		return nil
	}
	var starts, ends []Dim
	var ok1, ok2 bool
	if a, ok := c.N.Attr["starts"]; ok {
		for _, v := range a.Ints {
			starts = append(starts, Fixed(v))
		}
		for _, v := range c.N.Ints("ends") {
			ends = append(ends, Fixed(v))
		}
		ok1, ok2 = true, true
	} else {
		starts, ok1 = c.elems(1)
		ends, ok2 = c.elems(2)
	}
	axes, given, okAxes := c.List(3, "axes")
	steps, stepped, okSteps := c.List(4, "steps")
	if !okAxes {
		c.set(0, t, c.unknownDims(len(x)))
		return nil
	}
	if !given {
		n := len(starts)
		if !ok1 {
			if n = len(ends); !ok2 {
				c.set(0, t, c.unknownDims(len(x)))
				return nil
			}
		}
		for i := range n {
			axes = append(axes, int64(i))
		}
	}
	list, err := NormAxes(axes, len(x))
	if err != nil {
		return err
	}
	if ok1 && len(starts) != len(list) || ok2 && len(ends) != len(list) || stepped && okSteps && len(steps) != len(list) {
		return fmt.Errorf("found %d starts, %d ends and %d steps, expected %d of each", len(starts), len(ends), len(steps), len(list))
	}
	out := slices.Clone(x)
	for i, a := range list {
		step := int64(1)
		if stepped && okSteps {
			step = steps[i]
		}
		if !ok1 || !ok2 || !okSteps {
			out[a] = c.Fresh("")
			continue
		}
		if out[a], err = c.sliceDim(x[a], starts[i], ends[i], step); err != nil {
			return err
		}
	}
	c.set(0, t, out)
	return nil
}

// sliceDim is the extent that a slice leaves of d.
func (c *ShapeCall) sliceDim(d, start, end Dim, step int64) (Dim, error) {
	if d.Known() && start.Known() && end.Known() {
		_, n, err := symbolic.Span(start.N, end.N, step, d.N)
		return Fixed(n), err
	}
	if step == 0 {
		return d, fmt.Errorf("step: found 0, expected another number")
	}
	// From the beginning, a bound that is the extent itself or beyond every extent takes all of it.
	whole := end == d || end.Known() && end.N >= MaxExtent
	switch {
	case step == 1 && start == Fixed(0) && whole, step == -1 && start == Fixed(-1) && end.Known() && end.N <= -MaxExtent:
		return d, nil
	case step == 1 && start == Fixed(0) && !end.Known() && d.Sym == end.Sym && end.N > 0 && end.N <= d.N:
		return end, nil
	case step == 1 && whole && start.Sym == d.Sym && start.N > 0 && start.N < d.N:
		return Dim{N: d.N - start.N, Sym: d.Sym}, nil
	case step == 1 && !start.Known() && start.Sym == d.Sym && end.Sym == d.Sym && 0 < start.N && start.N <= end.N && end.N <= d.N:
		return c.Add(end, start.Neg()), nil
	case step == 1 && d.Known() && start == Fixed(0) && !end.Known() && end.Sym[0] != '?':
		return c.Fresh(fmt.Sprintf("min(%v, %v)", d, end)), nil
	}
	return c.Fresh(fmt.Sprintf("slice(%v, %v, %v, %d)", d, start, end, step)), nil
}

func splitShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x, t, n := c.arg(0), c.argType(0), int64(len(c.Out))
	for i := range c.Out {
		c.set(i, t, nil)
	}
	if x == nil {
		return nil
	}
	a, err := NormAxis(c.N.Int("axis", 0), len(x))
	if err != nil {
		return err
	}
	parts := make([]Dim, n)
	if sizes, ok := c.N.Attr["split"]; ok {
		parts = nil
		for _, v := range sizes.Ints {
			parts = append(parts, Fixed(v))
		}
	} else if c.has(1) {
		if parts, ok = c.elems(1); !ok {
			parts = c.unknownDims(len(c.Out))
		}
	} else {
		if k := c.N.Int("num_outputs", n); k != n {
			return fmt.Errorf("num_outputs: found %d, expected the number of outputs %d", k, n)
		}
		// All parts have ⌈extent/n⌉ but the last, which may be smaller.
		part := c.Affine(x[a], 1, n-1, n, 0)
		for i := range parts {
			parts[i] = part
		}
		if x[a].Known() {
			last := x[a].N - part.N*(n-1)
			if last < 0 {
				return fmt.Errorf("found extent %v, expected at least one element for each of %d outputs", x[a], n)
			}
			parts[n-1] = Fixed(last)
		} else if part.Sym != x[a].Sym {
			parts[n-1] = c.Fresh(fmt.Sprintf("last(%v, %d)", x[a], n))
		}
	}
	if len(parts) != len(c.Out) {
		return fmt.Errorf("split: found %d parts, expected %d", len(parts), len(c.Out))
	}
	sum := Fixed(0)
	for i, d := range parts {
		s := slices.Clone(x)
		s[a] = d
		c.set(i, t, s)
		sum = c.Add(sum, d)
	}
	if sum.Known() && x[a].Known() && sum != x[a] {
		return fmt.Errorf("split: found parts %v, expected a sum of %v", parts, x[a])
	}
	return nil
}

func tileShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x := c.arg(0)
	c.set(0, c.argType(0), nil)
	if x == nil {
		return nil
	}
	rep, ok := c.elems(1)
	if !ok {
		c.set(0, c.argType(0), c.unknownDims(len(x)))
		return nil
	}
	if len(rep) != len(x) {
		return fmt.Errorf("repeats: found %d numbers, expected %d", len(rep), len(x))
	}
	out := make([]Dim, len(x))
	for i := range out {
		out[i] = c.Mul(x[i], rep[i])
	}
	c.set(0, c.argType(0), out)
	return nil
}

func transposeShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x := c.arg(0)
	c.set(0, c.argType(0), nil)
	if x == nil {
		return nil
	}
	perm := c.N.Ints("perm")
	if perm == nil {
		for i := range x {
			perm = append(perm, int64(len(x)-1-i))
		}
	}
	list, err := NormAxes(perm, len(x))
	if err != nil || len(list) != len(x) {
		return fmt.Errorf("perm: found %v, expected a permutation of %d axes", perm, len(x))
	}
	out := make([]Dim, len(x))
	for i, a := range list {
		out[i] = x[a]
	}
	c.set(0, c.argType(0), out)
	return nil
}

func gatherShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x, idx := c.arg(0), c.arg(1)
	c.set(0, c.argType(0), nil)
	if x == nil || idx == nil {
		return nil
	}
	a, err := NormAxis(c.N.Int("axis", 0), len(x))
	if err != nil {
		return err
	}
	c.set(0, c.argType(0), symbolic.Join(x[:a], idx, x[a+1:]))
	return nil
}

func gatherElementsShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	c.set(0, c.argType(0), c.arg(1))
	return nil
}

func gatherNDShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x, idx := c.arg(0), c.arg(1)
	c.set(0, c.argType(0), nil)
	b := c.N.Int("batch_dims", 0)
	if x == nil || idx == nil || len(idx) == 0 || !idx[len(idx)-1].Known() {
		return nil
	}
	k := idx[len(idx)-1].N
	if b < 0 || b+k > int64(len(x)) || b >= int64(len(idx)) {
		return fmt.Errorf("found data %v, indices %v and batch_dims %d, expected at most as many indices as axes", x, idx, b)
	}
	c.set(0, c.argType(0), symbolic.Join(idx[:len(idx)-1], x[b+k:]))
	return nil
}

func oneHotShape(c *ShapeCall) error {
	if err := c.need(3); err != nil {
		return err
	}
	idx := c.arg(0)
	c.set(0, c.argType(2), nil)
	if idx == nil {
		return nil
	}
	a, err := NormAxis(c.N.Int("axis", -1), len(idx)+1)
	if err != nil {
		return err
	}
	depth := c.Fresh("")
	if e, ok := c.elems(1); ok && len(e) == 1 {
		depth = e[0]
	}
	c.set(0, c.argType(2), symbolic.Join(idx[:a], []Dim{depth}, idx[a:]))
	return nil
}

func argShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x := c.arg(0)
	c.set(0, Int64, nil)
	if x == nil {
		return nil
	}
	a, err := NormAxis(c.N.Int("axis", 0), len(x))
	if err != nil {
		return err
	}
	if c.N.Int("keepdims", 1) != 0 {
		c.set(0, Int64, symbolic.Join(x[:a], []Dim{Fixed(1)}, x[a+1:]))
	} else {
		c.set(0, Int64, symbolic.Join(x[:a], []Dim{}, x[a+1:]))
	}
	return nil
}

func topKShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x := slices.Clone(c.arg(0))
	c.set(0, c.argType(0), nil)
	c.set(1, Int64, nil)
	if x == nil {
		return nil
	}
	a, err := NormAxis(c.N.Int("axis", -1), len(x))
	if err != nil {
		return err
	}
	x[a] = c.Fresh("")
	if e, ok := c.elems(1); ok && len(e) == 1 {
		x[a] = e[0]
	} else if k := c.N.Int("k", 0); k > 0 {
		x[a] = Fixed(k)
	}
	c.set(0, c.argType(0), x)
	c.set(1, Int64, x)
	return nil
}

func nonZeroShape(c *ShapeCall) error {
	if x := c.arg(0); x != nil {
		c.set(0, Int64, []Dim{Fixed(int64(len(x))), c.Fresh("")})
	} else {
		c.set(0, Int64, nil)
	}
	return nil
}

func compressShape(c *ShapeCall) error {
	x := slices.Clone(c.arg(0))
	c.set(0, c.argType(0), nil)
	a, ok := c.N.Attr["axis"]
	if !ok {
		c.set(0, c.argType(0), []Dim{c.Fresh("")})
		return nil
	}
	if x == nil {
		return nil
	}
	k, err := NormAxis(a.Int, len(x))
	if err != nil {
		return err
	}
	x[k] = c.Fresh("")
	c.set(0, c.argType(0), x)
	return nil
}

func constantShape(c *ShapeCall) error {
	t, err := c.N.Constant()
	if err != nil {
		return err
	}
	s := make([]Dim, len(t.Shape))
	for i, d := range t.Shape {
		s[i] = Fixed(d)
	}
	c.set(0, t.Type, s)
	return nil
}

func constantOfShapeShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	t := Float32
	if v := c.N.Attr["value"].Tensor; v != nil {
		t = v.Type
	}
	c.set(0, t, c.target(0))
	return nil
}

func eyeLikeShape(c *ShapeCall) error {
	t := c.argType(0)
	if d := c.N.Int("dtype", 0); d != 0 {
		t = DType(d)
	}
	c.set(0, t, c.arg(0))
	return nil
}

func randomShape(c *ShapeCall) error {
	s := []Dim{}
	for _, d := range c.N.Ints("shape") {
		s = append(s, Fixed(d))
	}
	c.set(0, DType(c.N.Int("dtype", int64(Float32))), s)
	return nil
}

func rangeShape(c *ShapeCall) error {
	if err := c.need(3); err != nil {
		return err
	}
	c.set(0, c.argType(0), []Dim{c.Fresh("")})
	start, ok1 := c.elems(0)
	limit, ok2 := c.elems(1)
	step, ok3 := c.elems(2)
	if !ok1 || !ok2 || !ok3 || len(start) != 1 || len(limit) != 1 || len(step) != 1 || !step[0].Known() {
		return nil
	}
	k := step[0].N
	if k == 0 || !symbolic.Bounded(k) {
		return fmt.Errorf("delta: found %d, expected another number", k)
	}
	span := c.Add(limit[0], start[0].Neg())
	if k < 0 {
		span, k = span.Neg(), -k
	}
	d := c.Affine(span, 1, k-1, k, 0)
	if d.Known() {
		d.N = max(d.N, 0)
	}
	if d.Sym != "" && d.N < 0 {
		d = c.Fresh("")
	}
	c.set(0, c.argType(0), []Dim{d})
	return nil
}

func shapeShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	c.set(0, Int64, []Dim{c.Fresh("")})
	if x := c.arg(0); x != nil {
		from, to := shapeRange(c.N.Int("start", 0), c.N.Int("end", 1<<62), int64(len(x)))
		c.set(0, Int64, []Dim{Fixed(to - from)})
	}
	return nil
}

func sizeShape(c *ShapeCall) error {
	c.set(0, Int64, []Dim{})
	return nil
}

func reduceShape(c *ShapeCall) error {
	if err := c.need(1); err != nil {
		return err
	}
	x, t := c.arg(0), c.argType(0)
	c.set(0, t, nil)
	if x == nil {
		return nil
	}
	keep := c.N.Int("keepdims", 1) != 0
	axes, given, ok := c.List(1, "axes")
	if !ok {
		if keep {
			c.set(0, t, c.unknownDims(len(x)))
		} else if s := c.arg(1); len(s) == 1 && s[0].Known() && s[0].N > 0 && s[0].N <= int64(len(x)) {
			c.set(0, t, c.unknownDims(len(x)-int(s[0].N)))
		}
		return nil
	}
	list, err := NormAxes(axes, len(x))
	if err != nil {
		return err
	}
	if !given || len(axes) == 0 {
		if c.N.Int("noop_with_empty_axes", 0) != 0 {
			c.set(0, t, x)
			return nil
		}
		for i := range x {
			list = append(list, i)
		}
	}
	out := []Dim{}
	for i, d := range x {
		switch {
		case !slices.Contains(list, i):
			out = append(out, d)
		case keep:
			out = append(out, Fixed(1))
		}
	}
	c.set(0, t, out)
	return nil
}

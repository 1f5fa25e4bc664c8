package rewrite

import (
	"math"
	"slices"

	"lenskit/onnx"
)

// foldRows are the rewrites, tried in this order.
var foldRows = []rewriteRow{
	{"identity", []string{"Identity"}, func(f *folder, n *onnx.Node) bool {
		return !f.output[n.Out[0]] && f.replace(n.Out[0], n.In[0])
	}},
	{"dropout at inference", []string{"Dropout"}, dropDropout},
	{"node without effect", []string{
		"Cast", "Concat", "Expand", "Flatten", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Sum", "Mean", "Max", "Min",
	}, dropNoOp},
	{"neutral number", []string{"Add", "Sub", "Mul", "Div", "Pow"}, dropNeutral},
	{"reshape of a reshape", []string{"Reshape", "Flatten", "Squeeze", "Unsqueeze"}, mergeReshapes},
	{"transpose of a transpose", []string{"Transpose"}, mergeTransposes},
	{"normalisation into product", []string{"BatchNormalization"}, foldBatchNorm},
	{"scale or bias into product", []string{"Mul", "Add", "Sub", "Div"}, foldChannelwise},
	{"product and bias", []string{"Add"}, matMulToGemm},
	{"padding into convolution", []string{"Conv"}, foldPad},
	{"guarded softplus", []string{"Where"}, dropGuard},
	{"resize by a factor", []string{"Resize"}, resizeByFactor},
}

// lateRows are rewrites that hide a pattern from foldRows.
var lateRows = []rewriteRow{
	{"convolution of one pixel", []string{"ConvTranspose"}, convTransposeToGemm},
}

// dropDropout drops a Dropout that does nothing at inference.
func dropDropout(f *folder, n *onnx.Node) bool {
	if !only(n) {
		return false
	}
	if n.InName(2) != "" {
		t := f.G.Init[n.In[2]]
		if t == nil || t.Count() != 1 || t.Type != onnx.Bool || t.Ints[0] != 0 {
			return false
		}
	}
	return f.replace(n.Out[0], n.In[0])
}

// dropNoOp drops a node whose result is its first operand.
func dropNoOp(f *folder, n *onnx.Node) bool {
	in := n.InName(0)
	if in == "" || !only(n) {
		return false
	}
	x := f.Shape(in)
	c := f.inferred(n)
	if c == nil {
		return false
	}
	y := c.Out[0]
	if x == nil || y.Shape == nil || !slices.Equal(x, y.Shape) || y.Type != f.Type(in) || y.Type == onnx.Undefined {
		return false
	}
	switch n.Op {
	case "Transpose":
		for i, a := range transposePerm(n, len(x)) {
			if a != i {
				return false
			}
		}
	case "Slice":
		steps, given, ok := c.List(4, "steps")
		if !ok || given && slices.ContainsFunc(steps, func(s int64) bool { return s != 1 }) {
			return false
		}
	case "Pad":
		// Equal extents may come from cropping one side and padding the other.
		pads, _, ok := c.List(1, "pads")
		if !ok || slices.ContainsFunc(pads, func(p int64) bool { return p != 0 }) {
			return false
		}
	case "Cast":
		if onnx.DType(n.Int("to", 0)).Narrow() {
			return false
		}
	case "Resize":
		// With equal extents every mode but cropping samples each point at itself.
		if n.Str("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize" || n.InName(2) != "" && !allOnes(f, n, 2) {
			return false
		}
	case "Sum", "Mean", "Max", "Min", "Concat":
		if len(n.In) != 1 {
			return false
		}
	case "Split":
		if len(n.Out) != 1 {
			return false
		}
	}
	return f.replace(n.Out[0], in)
}

// allOnes tells whether operand i is a constant of ones.
func allOnes(f *folder, n *onnx.Node, i int) bool {
	t := f.weights(n, i)
	return t != nil && !slices.ContainsFunc(numbersOf(t), func(v float64) bool { return v != 1 })
}

// transposePerm is the permutation of a Transpose, nil when it is not valid.
func transposePerm(n *onnx.Node, rank int) []int {
	perm := n.Ints("perm")
	if perm == nil {
		for i := range rank {
			perm = append(perm, int64(rank-1-i))
		}
	}
	list, err := onnx.NormAxes(perm, rank)
	if err != nil || len(list) != rank {
		return nil
	}
	return list
}

// dropNeutral drops x+0, x-0, x·1, x/1 and x¹.
func dropNeutral(f *folder, n *onnx.Node) bool {
	if len(n.In) != 2 {
		return false
	}
	neutral := 1.0
	if n.Op == "Add" || n.Op == "Sub" {
		neutral = 0
	}
	for i := range 2 {
		if i == 1 && n.Op != "Add" && n.Op != "Mul" {
			break
		}
		x, c := n.In[i], 1-i
		if v, ok := f.scalar(n, c); ok && v == neutral && len(f.G.Init[n.In[c]].Shape) <= len(f.Shape(x)) && f.Type(x).IsFloat() {
			return f.replace(n.Out[0], x)
		}
	}
	return false
}

// reshapeTarget writes shape y as a constant target for a Reshape of a value of shape x: numbers, 0 where an extent is
// copied and at most one -1.
func reshapeTarget(x, y []onnx.Dim) ([]int64, bool) {
	if x == nil || y == nil {
		return nil, false
	}
	target := make([]int64, len(y))
	open := -1
	for i, d := range y {
		switch {
		case d == onnx.Fixed(0):
			return nil, false
		case d.Known():
			target[i] = d.N
		case open < 0:
			target[i], open = -1, i
		case i < len(x) && x[i] == d:
			target[i] = 0
		case open < len(x) && x[open] == y[open] && target[open] == -1:
			target[open], target[i], open = 0, -1, i
		default:
			return nil, false
		}
	}
	return target, true
}

// mergeReshapes writes a chain of nodes that only change the shape as one Reshape.
func mergeReshapes(f *folder, n *onnx.Node) bool {
	if !only(n) {
		return false
	}
	from := n.InName(0)
	p := f.Maker(from)
	chain := p != nil && p.Domain == "" && only(p) && slices.Contains([]string{"Reshape", "Flatten", "Squeeze", "Unsqueeze"}, p.Op)
	if chain {
		from = p.In[0]
	}
	c := &onnx.ShapeCall{Inferer: f.Inf, N: n, Out: make([]onnx.Value, 1)}
	if onnx.ShapeTable[n.Op](c) != nil {
		return false
	}
	x, y := f.Shape(from), c.Out[0].Shape
	if x != nil && y != nil && slices.Equal(x, y) {
		return f.replace(n.Out[0], from)
	}
	constant := n.Op == "Reshape" && f.G.Init[n.InName(1)] != nil
	target, ok := reshapeTarget(x, y)
	if !ok || !chain && (n.Op != "Reshape" || constant) {
		return false
	}
	f.Make(n.Out[0], "Reshape", nil, from, f.Ints(target...))
	return true
}

// mergeTransposes writes two permutations as one.
func mergeTransposes(f *folder, n *onnx.Node) bool {
	p := f.Maker(n.InName(0))
	if p == nil || p.Op != "Transpose" || p.Domain != "" {
		return false
	}
	rank := len(f.Shape(p.In[0]))
	first, second := transposePerm(p, rank), transposePerm(n, rank)
	if rank == 0 || first == nil || second == nil {
		return false
	}
	perm := make([]int64, rank)
	for i, a := range second {
		perm[i] = int64(first[a])
	}
	f.Make(n.Out[0], "Transpose", map[string]onnx.Attr{"perm": onnx.IntsAttr(perm...)}, p.In[0])
	return true
}

// products are the operators with weights into which a scale and a bias per output channel can be folded.
var products = []string{"Conv", "ConvTranspose", "Gemm", "MatMul"}

// foldBatchNorm folds y = γ(x - μ)/√(σ² + ε) + β into the product that makes x.
func foldBatchNorm(f *folder, n *onnx.Node) bool {
	if n.Int("training_mode", 0) != 0 || !only(n) || len(n.In) < 5 {
		return false
	}
	p := f.before(n, 0, products...)
	gamma, beta, mean, variance := f.weights(n, 1), f.weights(n, 2), f.weights(n, 3), f.weights(n, 4)
	if p == nil || gamma == nil || beta == nil || mean == nil || variance == nil {
		return false
	}
	count := gamma.Size()
	if beta.Size() != count || mean.Size() != count || variance.Size() != count {
		return false
	}
	scale, bias := make([]float64, count), make([]float64, count)
	eps := n.Float("epsilon", 1e-5)
	for i := range scale {
		scale[i] = gamma.Float(i) / math.Sqrt(variance.Float(i)+eps)
		bias[i] = beta.Float(i) - mean.Float(i)*scale[i]
	}
	return f.foldInto(p, n.Out[0], scale, bias)
}

// foldChannelwise folds a product or a sum with a constant per channel into the product before it.
func foldChannelwise(f *folder, n *onnx.Node) bool {
	if len(n.In) != 2 {
		return false
	}
	for i := range 2 {
		if i == 1 && n.Op != "Add" && n.Op != "Mul" {
			break
		}
		p, c := f.before(n, i, products...), f.weights(n, 1-i)
		if p == nil || c == nil {
			continue
		}
		count, rank := f.channels(p)
		v, ok := perChannel(c, count, rank)
		if !ok {
			continue
		}
		scale, bias := slices.Repeat([]float64{1}, count), make([]float64, count)
		for k := range v {
			switch n.Op {
			case "Mul":
				scale[k] = v[k]
			case "Div":
				scale[k] = 1 / v[k]
			case "Add":
				bias[k] = v[k]
			case "Sub":
				bias[k] = -v[k]
			}
		}
		if f.foldInto(p, n.Out[0], scale, bias) {
			return true
		}
	}
	return false
}

// channels is the number of output channels of a product with constant weights, 0 when unknown, and its result's rank.
func (f *folder) channels(p *onnx.Node) (count, rank int) {
	s := f.Shape(p.Out[0])
	if len(s) < 2 || !s[1].Known() || s[1].N > 1<<24 {
		return 0, 0
	}
	return int(s[1].N), len(s)
}

// perChannel spreads a constant over count channels, which are axis 1 of rank; it must not vary along other axes.
func perChannel(t *onnx.Tensor, count, rank int) ([]float64, bool) {
	if count == 0 || len(t.Shape) > rank {
		return nil, false
	}
	for i, d := range t.Shape {
		if axis := i + rank - len(t.Shape); d != 1 && (axis != 1 || int(d) != count) {
			return nil, false
		}
	}
	v := numbersOf(t)
	if len(v) == 1 {
		v = slices.Repeat(v, count)
	}
	return v, len(v) == count
}

// foldInto appends product p with its result scaled and shifted per channel, as value out.
func (f *folder) foldInto(p *onnx.Node, out string, scale, bias []float64) bool {
	w := f.weights(p, 1)
	if w == nil {
		return false
	}
	count, _ := f.channels(p)
	if count == 0 || count != len(scale) {
		return false
	}
	old := make([]float64, count)
	if p.InName(2) != "" {
		c := f.weights(p, 2)
		if c == nil {
			return false
		}
		var ok bool
		if old, ok = perChannel(c, count, 2); !ok {
			// The bias of a convolution has rank 1, which perChannel takes for the last of two axes.
			return false
		}
	}
	alpha, beta, op := 1.0, 1.0, p.Op
	nw, size := like(w, nil, w.Shape...), w.Size()
	nw.Floats, nw.Doubles = slices.Clone(w.Floats), slices.Clone(w.Doubles)
	switch p.Op {
	case "MatMul":
		if len(w.Shape) != 2 || len(f.Shape(p.In[0])) != 2 {
			return false
		}
		op = "Gemm"
		for i := range size {
			multiply(nw, i, i+1, scale[i%count])
		}
	case "Conv":
		inner := size / count
		for i, c := range scale {
			multiply(nw, i*inner, (i+1)*inner, c)
		}
	case "ConvTranspose":
		group := int(p.Int("group", 1))
		if group < 1 || count%group != 0 || w.Shape[0]%int64(group) != 0 || w.Shape[0] == 0 {
			return false
		}
		perGroup, rows := count/group, int(w.Shape[0])
		inner := size / (rows * perGroup)
		for k := range rows * perGroup {
			channel := k / perGroup / (rows / group) * perGroup
			multiply(nw, k*inner, (k+1)*inner, scale[channel+k%perGroup])
		}
	case "Gemm":
		alpha, beta = p.Float("alpha", 1), p.Float("beta", 1)
		trans := p.Int("transB", 0) != 0
		for i := range size {
			k := i % count
			if trans {
				k = i / (size / count)
			}
			multiply(nw, i, i+1, scale[k]*alpha)
		}
	}
	b := make([]float64, count)
	for i := range b {
		b[i] = old[i]*beta*scale[i] + bias[i]
	}
	nb := like(w, b, int64(count))
	if !finite(nw) || !finite(nb) {
		return false
	}
	attr := map[string]onnx.Attr{}
	for k, a := range p.Attr {
		if k != "alpha" && k != "beta" {
			attr[k] = a
		}
	}
	f.Make(out, op, attr, p.In[0], f.Tensor(nw), f.Tensor(nb))
	return true
}

// matMulToGemm writes a matrix product and the addition of a constant row as one Gemm.
func matMulToGemm(f *folder, n *onnx.Node) bool {
	for i := range 2 {
		p, c := f.before(n, i, "MatMul"), f.weights(n, 1-i)
		if p == nil || c == nil {
			continue
		}
		count, rank := f.channels(p)
		if rank != 2 || len(f.Shape(p.In[0])) != 2 || len(f.Shape(p.In[1])) != 2 {
			continue
		}
		v, ok := perChannel(c, count, 2)
		if !ok {
			continue
		}
		f.Make(n.Out[0], "Gemm", nil, p.In[0], p.In[1], f.Tensor(like(c, v, int64(count))))
		return true
	}
	return false
}

// foldPad makes zeros that are padded around the image part of the convolution's own padding.
func foldPad(f *folder, n *onnx.Node) bool {
	p := f.before(n, 0, "Pad")
	if p == nil || p.Str("mode", "constant") != "constant" || n.Str("auto_pad", "NOTSET") != "NOTSET" || p.InName(3) != "" {
		return false
	}
	if p.InName(2) != "" {
		if v, ok := f.scalar(p, 2); !ok || v != 0 {
			return false
		}
	}
	t := f.G.Init[p.InName(1)]
	rank := len(f.Shape(p.In[0]))
	if t == nil || t.Ints == nil || rank < 3 || len(t.Ints) != 2*rank {
		return false
	}
	for i, v := range t.Ints {
		if v < 0 || i%rank < 2 && v != 0 {
			return false
		}
	}
	pads := slices.Clone(n.Ints("pads"))
	if pads == nil {
		pads = make([]int64, 2*(rank-2))
	}
	if len(pads) != 2*(rank-2) {
		return false
	}
	for i := range rank - 2 {
		pads[i] += t.Ints[2+i]
		pads[rank-2+i] += t.Ints[rank+2+i]
	}
	attr := map[string]onnx.Attr{}
	for k, a := range n.Attr {
		attr[k] = a
	}
	attr["pads"] = onnx.IntsAttr(pads...)
	f.Append(&onnx.Node{Op: "Conv", Name: n.Name, In: slices.Concat([]string{p.In[0]}, n.In[1:]), Out: n.Out, Attr: attr})
	return true
}

// dropGuard drops the linear branch that exporters put beside Softplus: for x above 15, log(1 + eˣ) is x to float32's
// precision, and engines compute it without overflow.
func dropGuard(f *folder, n *onnx.Node) bool {
	if len(n.In) != 3 {
		return false
	}
	cond, soft := f.Maker(n.In[0]), f.Maker(n.In[2])
	if cond == nil || soft == nil || cond.Op != "Greater" || soft.Op != "Softplus" || cond.Domain != "" || soft.Domain != "" || soft.In[0] != n.In[1] || cond.InName(0) != n.In[1] {
		return false
	}
	if v, ok := f.scalar(cond, 1); !ok || v < 15 || len(f.G.Init[cond.In[1]].Shape) > len(f.Shape(n.In[1])) {
		return false
	}
	return f.replace(n.Out[0], n.In[2])
}

// resizeByFactor writes a Resize to computed sizes as one by constant factors, where these are exact.
func resizeByFactor(f *folder, n *onnx.Node) bool {
	if len(n.In) != 4 || n.In[2] != "" || n.In[3] == "" || f.G.Init[n.In[3]] != nil || n.Str("keep_aspect_ratio_policy", "stretch") != "stretch" {
		return false
	}
	if _, ok := n.Attr["axes"]; ok {
		return false
	}
	x, y := f.Shape(n.In[0]), f.src.Info[n.Out[0]].Shape
	if x == nil || len(x) != len(y) {
		return false
	}
	scales := make([]float32, len(x))
	for i := range x {
		switch {
		case x[i] == y[i]:
			scales[i] = 1
		case x[i].Sym != y[i].Sym || x[i].N == 0:
			return false
		default:
			scales[i] = float32(float64(y[i].N) / float64(x[i].N))
			if scales[i]*float32(x[i].N) != float32(y[i].N) || float64(scales[i])*float64(x[i].N) != float64(y[i].N) {
				return false
			}
		}
	}
	m := *n
	m.In = []string{n.In[0], n.In[1], f.Tensor(onnx.FloatTensor(scales, int64(len(scales))))}
	f.Append(&m)
	return true
}

// convTransposeToGemm writes a transposed convolution of an image of one pixel as a matrix product: every output pixel
// is one weight times the input.
func convTransposeToGemm(f *folder, n *onnx.Node) bool {
	w := f.weights(n, 1)
	x := f.Shape(n.InName(0))
	if w == nil || len(x) < 3 || len(w.Shape) != len(x) || n.Int("group", 1) != 1 || n.Str("auto_pad", "NOTSET") != "NOTSET" || !x[1].Known() || w.Size() == 0 {
		return false
	}
	spatial := len(x) - 2
	if _, ok := n.Attr["output_shape"]; ok {
		return false
	}
	for _, d := range x[2:] {
		if d != onnx.Fixed(1) {
			return false
		}
	}
	for _, v := range slices.Concat(n.Ints("output_padding"), slices.Clone(n.Ints("dilations"))) {
		// With one input pixel a dilation leaves holes between the weights; 1 and no output padding leave none.
		if v > 1 {
			return false
		}
	}
	for _, v := range n.Ints("output_padding") {
		if v != 0 {
			return false
		}
	}
	pads := n.Ints("pads")
	if pads == nil {
		pads = make([]int64, 2*spatial)
	}
	if len(pads) != 2*spatial {
		return false
	}
	// Padding crops the kernel.
	kernel := w.Shape[2:]
	size := make([]int64, spatial)
	pixels := int64(1)
	for i, k := range kernel {
		size[i] = k - pads[i] - pads[spatial+i]
		if pads[i] < 0 || pads[spatial+i] < 0 || size[i] < 1 {
			return false
		}
		pixels *= size[i]
	}
	rows, count := w.Shape[0], w.Shape[1]
	inner := int64(1)
	for _, k := range kernel {
		inner *= k
	}
	var v []float64
	blocks := rows * count
	if pixels == inner {
		v, blocks = numbersOf(w), 0
	} else {
		v = make([]float64, 0, rows*count*pixels)
	}
	at := make([]int64, spatial)
	for block := range blocks {
		clear(at)
		for {
			k := int64(0)
			for i := range at {
				k = k*kernel[i] + at[i] + pads[i]
			}
			v = append(v, w.Float(int(block*inner+k)))
			i := spatial - 1
			for ; i >= 0; i-- {
				if at[i]++; at[i] < size[i] {
					break
				}
				at[i] = 0
			}
			if i < 0 {
				break
			}
		}
	}
	b := make([]float64, count*pixels)
	if n.InName(2) != "" {
		c := f.weights(n, 2)
		if c == nil || int64(c.Size()) != count {
			return false
		}
		for i := range b {
			b[i] = c.Float(int(int64(i) / pixels))
		}
	}
	flat := f.OpAttr("Reshape", nil, n.In[0], f.Ints(-1, x[1].N))
	dense := f.OpAttr("Gemm", nil, flat, f.Tensor(like(w, v, rows, count*pixels)), f.Tensor(like(w, b, count*pixels)))
	target := append([]int64{-1, count}, size...)
	f.Make(n.Out[0], "Reshape", nil, dense, f.Ints(target...))
	return true
}

package diff

import (
	"slices"

	"lenskit/onnx"
	"lenskit/onnx/footprint"
	"lenskit/onnx/rewrite"
)

// convWindow is the geometry of a convolution or pooling node over its spatial axes.
type convWindow struct {
	kernel, stride, dilation []int64
	before, after            []int64 // pads
	extra                    []int64 // output_padding
	group                    int64
}

// ext is the extent of the dilated kernel.
func (w convWindow) ext(i int) int64 { return w.dilation[i]*(w.kernel[i]-1) + 1 }

func orOnes(v []int64, n int) []int64 {
	if len(v) == n {
		return v
	}
	if len(v) != 0 {
		failf("an attribute has %d values for %d spatial axes", len(v), n)
	}
	return slices.Repeat([]int64{1}, n)
}

func orZeros(v []int64, n int) []int64 {
	if len(v) == 0 {
		return make([]int64, n)
	}
	if len(v) != n {
		failf("an attribute has %d values, expected %d", len(v), n)
	}
	return v
}

// window reads the node's geometry. kernel comes from the weights w, or from kernel_shape where w is empty. Pads that
// auto_pad or output_shape leave open follow the standard's formulas.
func (c *call) window(w string) convWindow {
	x := c.in(0)
	n := c.rank(x) - 2
	if n < 1 {
		failf("operand of rank %d, expected 3 or more", n+2)
	}
	g := convWindow{
		kernel: c.n.Ints("kernel_shape"), stride: orOnes(c.n.Ints("strides"), n), dilation: orOnes(c.n.Ints("dilations"), n),
		extra: orZeros(c.n.Ints("output_padding"), n), group: c.n.Int("group", 1),
	}
	if w != "" {
		if c.rank(w) != n+2 {
			failf("weights of rank %d for an operand of rank %d", c.rank(w), n+2)
		}
		k, ok := onnx.Known(c.shape(w)[2:])
		if !ok {
			failf("the kernel's extent is not known")
		}
		g.kernel = k
	}
	if len(g.kernel) != n {
		failf("a kernel of %d axes for %d spatial axes", len(g.kernel), n)
	}
	for i := range n {
		if g.kernel[i] < 1 || g.stride[i] < 1 || g.dilation[i] < 1 || g.extra[i] < 0 || g.group < 1 {
			failf("a kernel, stride, dilation or group below 1")
		}
		if max(g.kernel[i], g.stride[i], g.dilation[i], g.extra[i]) > 1<<30 {
			failf("a kernel, stride, dilation or output_padding above 2³⁰")
		}
	}
	pads := orZeros(c.n.Ints("pads"), 2*n)
	g.before, g.after = slices.Clone(pads[:n]), slices.Clone(pads[n:])
	auto := c.n.Str("auto_pad", "NOTSET")
	transposed := c.n.Op == "ConvTranspose"
	given := c.n.Ints("output_shape")
	if auto == "NOTSET" || auto == "" || auto == "VALID" {
		if auto == "VALID" {
			g.before, g.after = make([]int64, n), make([]int64, n)
		}
		if !transposed || len(given) == 0 {
			return g
		}
	}
	for i := range n {
		var total int64
		d := c.shape(x)[2+i]
		switch {
		case transposed:
			if !d.Known() {
				failf("the extent of axis %d is not known, and the padding follows it", 2+i)
			}
			out := d.N * g.stride[i]
			if len(given) >= n {
				out = given[len(given)-n+i]
			}
			total = g.stride[i]*(d.N-1) + g.extra[i] + g.ext(i) - out
			if total < 0 {
				g.extra[i] -= total
				total = 0
			}
		case d.Known():
			out := (d.N + g.stride[i] - 1) / g.stride[i]
			total = max(0, (out-1)*g.stride[i]+g.ext(i)-d.N)
		case g.stride[i] == 1:
			total = g.ext(i) - 1
		default:
			failf("the extent of axis %d is not known, and the padding follows it", 2+i)
		}
		small, large := total/2, total-total/2
		// SAME_UPPER puts the odd element at the end; so does an output_shape of a transposed convolution otherwise put it
		// at the begin.
		if auto == "SAME_UPPER" {
			g.before[i], g.after[i] = small, large
		} else {
			g.before[i], g.after[i] = large, small
		}
	}
	return g
}

// attr is the geometry as attributes of a Conv, or of a ConvTranspose when extra is not nil.
func (g convWindow) attr(extra []int64) map[string]onnx.Attr {
	m := onnx.Attrs("kernel_shape", g.kernel, "strides", g.stride, "dilations", g.dilation, "group", g.group,
		"pads", slices.Concat(g.before, g.after))
	if slices.ContainsFunc(extra, func(v int64) bool { return v != 0 }) {
		m["output_padding"] = onnx.IntsAttr(extra...)
	}
	return m
}

// transposeTo runs a ConvTranspose of g with the geometry w whose result has the spatial extents of the primal value x.
func (c *call) transposeTo(g, weight string, w convWindow, x string) string {
	s, gs := c.shape(x), c.shape(g)
	n := len(w.kernel)
	extra := make([]int64, n)
	cut := false
	for i := range n {
		if w.stride[i] == 1 {
			continue
		}
		in := s[2+i]
		switch {
		case in.Known() && gs != nil && gs[2+i].Known():
			// What the stride left over at the end of the operand.
			extra[i] = in.N + w.before[i] + w.after[i] - w.ext(i) - w.stride[i]*(gs[2+i].N-1)
			if extra[i] < 0 {
				failf("the shapes of operand and result do not fit")
			}
		case in.Known():
			extra[i] = mod64(in.N+w.before[i]+w.after[i]-w.ext(i), w.stride[i])
		default:
			extra[i] = w.stride[i] - 1
			cut = true
		}
	}
	out := c.OpAttr("ConvTranspose", w.attr(extra), g, weight)
	if !cut {
		return out
	}
	axes := make([]int64, n)
	for i := range axes {
		axes[i] = int64(2 + i)
	}
	ends := c.Op("Gather", c.shapeOf(x), c.Ints(axes...))
	return c.Op("Slice", out, c.Ints(make([]int64, n)...), ends, c.Ints(axes...))
}

func mod64(a, b int64) int64 { return (a%b + b) % b }

// weightGrad is the gradient of convolution weights: big is the operand the window moves over, small what it makes of
// it. It is a convolution of big with small, batch and channels exchanged, stride and dilation exchanged:
//
//	W[o, i, k] = Σ_{n,p} small[n, o, p] big[n, i, s·p + d·k - pad]
func (c *call) weightGrad(big, small string, w convWindow, weight string) string {
	n := len(w.kernel)
	bs, ss := c.shape(big), c.shape(small)
	if bs == nil || ss == nil || !bs[1].Known() || !ss[1].Known() {
		failf("the number of channels is not known")
	}
	spatialPerm := func(head ...int64) []int64 {
		for range n {
			head = append(head, int64(len(head)))
		}
		return head
	}
	// small: [N, G·O, …] -> [G·O, N, …]
	kernel := c.transpose(small, spatialPerm(1, 0)...)
	// big: [N, G·I, …] -> [I, G·N, …]
	var data string
	if w.group == 1 {
		data = c.transpose(big, spatialPerm(1, 0)...)
	} else {
		per := bs[1].N / w.group
		split := append([]onnx.Dim{bs[0], {N: w.group}, {N: per}}, bs[2:]...)
		data = c.Op("Reshape", big, c.groupShape(split, 0))
		c.as(data, split)
		data = c.transpose(data, spatialPerm(2, 1, 0)...)
		joined := append([]onnx.Dim{{N: per}, {N: extentOf(bs[0].N, w.group), Sym: bs[0].Sym}}, bs[2:]...)
		r := c.Op("Reshape", data, c.joinShape(joined))
		data = c.as(r, joined)
	}
	v := convWindow{stride: w.dilation, dilation: w.stride, before: w.before, after: slices.Clone(w.after), group: w.group}
	cut := false
	for i := range n {
		if bs[2+i].Known() && ss[2+i].Known() {
			over := bs[2+i].N + w.before[i] + w.after[i] - w.stride[i]*(ss[2+i].N-1) - w.ext(i)
			if over > 0 && v.after[i] >= over {
				v.after[i] -= over
			} else if over != 0 {
				cut = true
			}
			v.kernel = append(v.kernel, ss[2+i].N)
		} else if w.stride[i] != 1 {
			cut = true
		}
	}
	m := onnx.Attrs("strides", v.stride, "dilations", v.dilation, "group", v.group, "pads", slices.Concat(v.before, v.after))
	if len(v.kernel) == n {
		m["kernel_shape"] = onnx.IntsAttr(v.kernel...)
	}
	out := c.OpAttr("Conv", m, data, kernel)
	if cut {
		axes, starts := make([]int64, n), make([]int64, n)
		for i := range axes {
			axes[i] = int64(2 + i)
		}
		out = c.Op("Slice", out, c.Ints(starts...), c.Ints(w.kernel...), c.Ints(axes...))
	}
	// [I, G·O, k…] -> [G·O, I, k…]
	c.as(out, nil)
	out = c.OpAttr("Transpose", onnx.Attrs("perm", spatialPerm(1, 0)), out)
	return c.as(out, c.shape(weight))
}

// groupShape is the target of a reshape that splits axis 1; extents before it that are not known are copied.
func (c *call) groupShape(s []onnx.Dim, copied int) string {
	v := make([]int64, len(s))
	inferred := false
	for i, d := range s {
		switch {
		case d.Known():
			v[i] = d.N
		case i == copied:
			v[i] = 0
		case !inferred:
			v[i], inferred = -1, true
		default:
			failf("more than one spatial extent is not known")
		}
	}
	return c.Ints(v...)
}

// joinShape is the target of the reshape that joins batch and group.
func (c *call) joinShape(s []onnx.Dim) string {
	v := make([]int64, len(s))
	inferred := false
	for i, d := range s {
		switch {
		case d.Known():
			v[i] = d.N
		case !inferred:
			v[i], inferred = -1, true
		default:
			failf("batch and spatial extents are not known")
		}
	}
	return c.Ints(v...)
}

// channelSum is the gradient of a bias: Σ over everything but the channel.
func (b *back) channelSum(i int) string {
	axes := append([]int64{0}, b.spatial()...)
	return b.as(b.reduce("ReduceSum", b.grad(0), axes, 0), b.shape(b.in(i)))
}

func convBack(b *back) []string {
	x, weight := b.in(0), b.in(1)
	w := b.window(weight)
	g := b.grad(0)
	out := make([]string, 3)
	if b.want(0) {
		out[0] = b.transposeTo(g, weight, w, x)
	}
	if b.want(1) {
		out[1] = b.weightGrad(x, g, w, weight)
	}
	if b.want(2) {
		out[2] = b.channelSum(2)
	}
	return out
}

func convTransposeBack(b *back) []string {
	x, weight := b.in(0), b.in(1)
	w := b.window(weight)
	g := b.grad(0)
	out := make([]string, 3)
	if b.want(0) {
		// dX = Conv(dY, W): the same weights, strides and pads
		d := b.OpAttr("Conv", w.attr(nil), g, weight)
		cut := false
		for i := range w.kernel {
			cut = cut || w.extra[i] >= w.stride[i]
		}
		if cut { // output_padding beyond the stride: the convolution runs past the operand
			axes := b.spatial()
			d = b.Op("Slice", d, b.Ints(make([]int64, len(axes))...), b.Op("Gather", b.shapeOf(x), b.Ints(axes...)), b.Ints(axes...))
		}
		out[0] = d
	}
	if b.want(1) {
		out[1] = b.weightGrad(g, x, w, weight)
	}
	if b.want(2) {
		out[2] = b.channelSum(2)
	}
	return out
}

// averagePoolBack spreads each gradient over its window: a transposed convolution of one channel with ones, after
// division by the number of elements that the average counted.
func averagePoolBack(b *back) []string {
	x := b.in(0)
	w := b.window("")
	n := len(w.kernel)
	g := b.grad(0)
	s, gs := b.shape(x), b.shape(g)
	area := 1.0
	for _, k := range w.kernel {
		area *= float64(k)
	}
	if area > rewrite.MaxFolded {
		failf("a window of %g elements", area)
	}
	plain := b.n.Int("count_include_pad", 0) != 0
	if !plain {
		plain = true
		for i := range n {
			plain = plain && w.before[i] == 0 && w.after[i] == 0
		}
	}
	if b.n.Int("ceil_mode", 0) == 0 && plain {
		g = b.scale(g, 1/area)
	} else {
		// 1 / (elements in the convWindow), the product over the axes
		for i := range n {
			if !s[2+i].Known() || gs == nil || !gs[2+i].Known() {
				failf("the extent of axis %d is not known, and the average's count follows it", 2+i)
			}
			if gs[2+i].N > rewrite.MaxFolded/w.kernel[i] {
				failf("an extent of %d", gs[2+i].N)
			}
			shape := slices.Repeat([]int64{1}, n+1)
			shape[1+i] = gs[2+i].N
			inv := make([]float64, gs[2+i].N)
			for o := range inv {
				count := 0
				for k := range w.kernel[i] {
					at := int64(o)*w.stride[i] - w.before[i] + k*w.dilation[i]
					lo, hi := int64(0), s[2+i].N
					if b.n.Int("count_include_pad", 0) != 0 {
						lo, hi = -w.before[i], hi+w.after[i]
					}
					if at >= lo && at < hi {
						count++
					}
				}
				if count > 0 {
					inv[o] = 1 / float64(count)
				}
			}
			g = b.mul(g, b.floats(inv, g, shape...))
		}
	}
	// [N, C, …] -> [N·C, 1, …]
	one := b.reshape(g, append([]onnx.Dim{joint(gs), {N: 1}}, gs[2:]...), "")
	ones := make([]float64, int(area))
	for i := range ones {
		ones[i] = 1
	}
	kernel := b.floats(ones, g, slices.Concat([]int64{1, 1}, w.kernel)...)
	// With ceil_mode windows may start beyond the padded end: what they add there is cut off.
	over := false
	for i := range n {
		if s[2+i].Known() && gs[2+i].Known() {
			over = over || w.stride[i]*(gs[2+i].N-1)+w.ext(i) > s[2+i].N+w.before[i]+w.after[i]
		} else if b.n.Int("ceil_mode", 0) != 0 {
			failf("ceil_mode over an extent that is not known")
		}
	}
	w.group = 1
	var d string
	if over {
		wide := w
		wide.before, wide.after = make([]int64, n), make([]int64, n)
		starts, ends, axes := make([]int64, n), make([]int64, n), make([]int64, n)
		extra := make([]int64, n)
		for i := range n {
			starts[i], ends[i], axes[i] = w.before[i], w.before[i]+s[2+i].N, int64(2+i)
			extra[i] = max(0, ends[i]-(w.stride[i]*(gs[2+i].N-1)+w.ext(i)))
		}
		d = b.OpAttr("ConvTranspose", wide.attr(extra), one, kernel)
		d = b.Op("Slice", d, b.Ints(starts...), b.Ints(ends...), b.Ints(axes...))
	} else {
		d = b.transposeTo(one, kernel, w, x)
	}
	return []string{b.reshape(b.as(d, append([]onnx.Dim{joint(gs), {N: 1}}, s[2:]...)), s, x)}
}

// joint is the extent of the first two axes taken together.
func joint(s []onnx.Dim) onnx.Dim {
	a, c := s[0], s[1]
	switch {
	case a.Known() && c.Known():
		return onnx.Fixed(extentOf(a.N, c.N))
	case c.Known():
		return onnx.Dim{N: extentOf(a.N, c.N), Sym: a.Sym}
	case a.Known():
		return onnx.Dim{N: extentOf(a.N, c.N), Sym: c.Sym}
	}
	return onnx.Dim{N: 1, Sym: "?joint"}
}

// maxPoolIndex is the flat index of each maximum in the whole operand.
func maxPoolIndex(c *call) string {
	if c.n.Int("storage_order", 0) != 0 {
		failf("storage_order is set")
	}
	return c.Op("Reshape", c.extra(1, onnx.Int64, c.shape(c.out(0))), c.Ints(-1))
}

func maxPoolBack(b *back) []string {
	g := b.grad(0)
	if g == "" {
		return nil
	}
	x := b.in(0)
	size := b.OpAttr("ReduceProd", onnx.Attrs("keepdims", 1), b.shapeOf(x))
	if d, ok := b.dims(x); ok {
		n := int64(1)
		for _, v := range d {
			n = footprint.Product(n, v)
		}
		size = b.Ints(n)
	}
	flat := b.OpAttr("ScatterElements", onnx.Attrs("axis", 0, "reduction", "add"), b.zerosOf(size, nil, x), maxPoolIndex(&b.call), b.Op("Reshape", g, b.Ints(-1)))
	b.as(flat, nil)
	return []string{b.reshape(flat, b.shape(x), x)}
}

func maxPoolFwd(f *fwd) string {
	flat := f.Op("Gather", f.Op("Reshape", f.tan(0), f.Ints(-1)), maxPoolIndex(&f.call))
	return f.reshape(f.as(flat, nil), f.shape(f.out(0)), f.out(0))
}

// col2ImBack cuts the gradient of the image into blocks: a convolution with a kernel for each place in a block.
func col2ImBack(b *back) []string {
	s, xs := b.shape(b.out(0)), b.shape(b.in(0))
	block, ok := b.constInts(b.in(2))
	n := len(block)
	if !ok || n == 0 || len(s) != n+2 || len(xs) != 3 || !s[1].Known() {
		failf("the blocks or the shape of the image %v are not known", s)
	}
	count := int64(1)
	for _, k := range block {
		if k < 1 {
			failf("blocks of %v", block)
		}
		count = footprint.Product(count, k)
	}
	if footprint.Product(count, count) > rewrite.MaxFolded {
		failf("blocks of %v", block)
	}
	eye := make([]float64, count*count)
	for i := range count {
		eye[i*count+i] = 1
	}
	planes := b.reshape(b.grad(0), append([]onnx.Dim{joint(s[:2]), onnx.Fixed(1)}, s[2:]...), "")
	cut := b.OpAttr("Conv", onnx.Attrs("kernel_shape", block, "strides", orOnes(b.n.Ints("strides"), n),
		"dilations", orOnes(b.n.Ints("dilations"), n), "pads", orZeros(b.n.Ints("pads"), 2*n)),
		planes, b.floats(eye, planes, append([]int64{count, 1}, block...)...))
	return []string{b.reshape(cut, xs, b.in(0))}
}

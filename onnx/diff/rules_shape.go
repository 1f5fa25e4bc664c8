package diff

import (
	"slices"

	"lenskit/onnx"
)

func reshapeBack(b *back) []string {
	return []string{b.reshape(b.grad(0), b.shape(b.in(0)), b.in(0))}
}

func reshapeFwd(f *fwd) string {
	t := f.tan(0)
	if t == "" {
		return ""
	}
	if f.batch == "" {
		return f.as(f.same(append([]string{t}, f.n.In[1:]...)...), f.shape(f.out(0)))
	}
	s := f.tanShape(f.out(0))
	if s == nil {
		failf("the shape of the result is not known")
	}
	return f.reshape(t, s, "")
}

func transposeBack(b *back) []string {
	perm := b.n.Ints("perm")
	rank := b.rank(b.in(0))
	inv := make([]int64, rank)
	if len(perm) == 0 {
		for i := range inv {
			inv[i] = int64(rank - 1 - i)
		}
	} else {
		if len(perm) != rank {
			failf("perm has %d axes, the operand %d", len(perm), rank)
		}
		for i, p := range perm {
			inv[axisIn(p, rank)] = int64(i)
		}
	}
	return []string{b.transpose(b.grad(0), inv...)}
}

func concatBack(b *back) []string {
	axis := axisIn(b.n.Int("axis", 0), b.rank(b.out(0)))
	g := b.grad(0)
	out := make([]string, len(b.n.In))
	at := int64(0)
	for i, x := range b.n.In {
		s := b.shape(x)
		if s == nil || axis >= len(s) || !s[axis].Known() {
			return b.concatBackDynamic(axis, g)
		}
		if b.want(i) {
			out[i] = b.as(b.slice(g, axis, at, at+s[axis].N, 1), s)
		}
		at += s[axis].N
	}
	return out
}

// concatBackDynamic splits by extents that are read at run time.
func (b *back) concatBackDynamic(axis int, g string) []string {
	sizes := make([]string, len(b.n.In))
	for i, x := range b.n.In {
		sizes[i] = b.Op("Gather", b.shapeOf(x), b.Ints(int64(axis)))
	}
	split := sizes[0]
	if len(sizes) > 1 {
		split = b.OpAttr("Concat", onnx.Attrs("axis", 0), sizes...)
	}
	parts := b.OpN("Split", len(sizes), onnx.Attrs("axis", axis), g, split)
	out := make([]string, len(parts))
	for i, part := range parts {
		if b.want(i) {
			out[i] = b.as(part, b.shape(b.in(i)))
		}
	}
	return out
}

func concatFwd(f *fwd) string {
	in := make([]string, len(f.n.In))
	for i, x := range f.n.In {
		if in[i] = f.tan(i); in[i] == "" {
			in[i] = f.tanZeros(x)
		}
	}
	return f.same(in...)
}

func splitBack(b *back) []string {
	parts := make([]string, len(b.n.Out))
	for i := range parts {
		if parts[i] = b.grad(i); parts[i] != "" {
			continue
		}
		if b.out(i) == "" {
			failf("result %d is left out", i)
		}
		parts[i] = b.zeros(b.out(i))
	}
	return []string{b.OpAttr("Concat", onnx.Attrs("axis", b.n.Int("axis", 0)), parts...)}
}

func splitFwd(f *fwd) []string {
	return f.OpN("Split", len(f.n.Out), f.n.Attr, append([]string{f.tan(0)}, f.n.In[1:]...)...)
}

func expandBack(b *back) []string {
	return []string{b.sumTo(b.grad(0), b.shape(b.out(0)), b.in(0))}
}

func expandFwd(f *fwd) string {
	if f.batch != "" {
		return f.expand(f.tan(0), f.tanShape(f.out(0)), "")
	}
	return f.as(f.Op("Expand", f.tan(0), f.in(1)), f.shape(f.out(0)))
}

// sliceSpec is a Slice along one axis; start and end are already brought into the axis.
type sliceSpec struct {
	axis             int
	start, count, by int64
}

// sliceSpecs reads a Slice with constant limits on axes of known extent, or of limits that need no extent.
func (c *call) sliceSpecs() ([]sliceSpec, bool) {
	s := c.shape(c.in(0))
	starts, ok1 := c.constInts(c.in(1))
	ends, ok2 := c.constInts(c.in(2))
	if s == nil || !ok1 || !ok2 || len(starts) != len(ends) {
		return nil, false
	}
	axes := make([]int64, len(starts))
	for i := range axes {
		axes[i] = int64(i)
	}
	steps := orOnes(nil, len(starts))
	if name := c.in(3); name != "" {
		if v, ok := c.constInts(name); ok && len(v) == len(starts) {
			axes = v
		} else {
			return nil, false
		}
	}
	if name := c.in(4); name != "" {
		if v, ok := c.constInts(name); ok && len(v) == len(starts) {
			steps = v
		} else {
			return nil, false
		}
	}
	var specs []sliceSpec
	for i := range starts {
		k := axisIn(axes[i], len(s))
		start, end, by := starts[i], ends[i], steps[i]
		if by == 0 {
			failf("a step of 0")
		}
		if !s[k].Known() {
			if start == 0 && end >= 1<<31-1 && by == 1 {
				continue
			}
			return nil, false
		}
		n := s[k].N
		lo, hi := int64(0), n
		if by < 0 {
			lo, hi = -1, n-1
		}
		fix := func(v int64) int64 {
			if v < 0 {
				v += n
			}
			return min(max(v, lo), hi)
		}
		start, end = fix(start), fix(end)
		count := int64(0)
		if by > 0 && end > start {
			count = (end - start + by - 1) / by
		} else if by < 0 && end < start {
			count = (end - start + by + 1) / by
		}
		specs = append(specs, sliceSpec{k, start, count, by})
	}
	return specs, true
}

// sliceBack puts the gradient back between zeros.
func sliceBack(b *back) []string {
	g := b.grad(0)
	x := b.in(0)
	specs, ok := b.sliceSpecs()
	if !ok {
		return []string{b.sliceBackDynamic(g)}
	}
	s := b.shape(x)
	shape := slices.Clone(b.shape(b.out(0)))
	if shape == nil {
		shape = slices.Clone(s)
		for _, p := range specs {
			shape[p.axis] = onnx.Dim{N: p.count}
		}
	}
	// One Pad serves all axes taken with a step of 1.
	var before, after, axes []int64
	for _, p := range specs {
		n := s[p.axis].N
		if p.count == 0 {
			return []string{b.zeros(x)}
		}
		start := p.start
		if p.by < 0 { // backwards: turn round, then from the last element on
			g = b.slice(g, p.axis, -1, -1<<62, -1)
			start += (p.count - 1) * p.by
		}
		by := max(p.by, -p.by)
		used := p.count
		if by > 1 { // by - 1 zeros after each element
			g = b.pad(b.unsqueeze(g, p.axis+1), p.axis+1, 0, by-1)
			shape[p.axis] = onnx.Fixed(extentOf(p.count, by))
			g = b.reshape(b.as(g, nil), shape, "")
			used = p.count * by
		}
		if start+used > n { // zeros that stand beyond the operand
			g = b.slice(g, p.axis, 0, n-start, 1)
			used = n - start
		}
		shape[p.axis] = onnx.Dim{N: used}
		if start != 0 || n-start-used != 0 {
			axes, before, after = append(axes, int64(p.axis)), append(before, start), append(after, n-start-used)
		}
		b.as(g, nil)
	}
	if len(axes) > 0 {
		g = b.OpAttr("Pad", onnx.Attrs("mode", "constant"), g, b.Ints(slices.Concat(before, after)...), "", b.Ints(axes...))
	}
	return []string{b.as(g, s)}
}

// sliceBackDynamic scatters along each axis by the indices that the same slice takes from 0, 1, 2, ….
func (b *back) sliceBackDynamic(g string) string {
	x := b.in(0)
	rank := b.rank(x)
	axes := make([]int64, 0, rank)
	if name := b.in(3); name != "" {
		v, ok := b.constInts(name)
		if !ok {
			failf("the axes of the slice are not constant")
		}
		axes = append(axes, v...)
	} else if s := b.shape(b.in(1)); len(s) == 1 && s[0].Known() {
		for i := range s[0].N {
			axes = append(axes, i)
		}
	} else {
		failf("the number of axes of the slice is not known")
	}
	// From the last axis back: each scatter restores one extent.
	for i := len(axes) - 1; i >= 0; i-- {
		axis := axisIn(axes[i], rank)
		at := func(name string) string { return b.Op("Gather", name, b.Ints(int64(i))) }
		step := b.Ints(1)
		if b.in(4) != "" {
			step = at(b.in(4))
		}
		index := b.Op("Range", b.int0(0), b.extent(x, axis), b.int0(1))
		index = b.Op("Slice", index, at(b.in(1)), at(b.in(2)), b.Ints(0), step)
		// The extents so far are those of g, with that of x on this axis.
		gs := b.Op("Shape", g)
		shape := b.Op("ScatterElements", gs, b.Ints(int64(axis)), b.Op("Reshape", b.extent(x, axis), b.Ints(1)))
		b.as(shape, nil)
		g = b.scatterAlong(b.zerosOf(shape, nil, x), axis, rank, index, g)
	}
	return b.as(g, b.shape(x))
}

// scatterAlong adds the slices of g along an axis to those of zero that a vector of indices names.
func (b *back) scatterAlong(zero string, axis, rank int, index, g string) string {
	shape := orOnes(nil, rank)
	shape[axis] = -1
	index = b.Op("Expand", b.Op("Reshape", index, b.Ints(shape...)), b.Op("Shape", g))
	return b.OpAttr("ScatterElements", onnx.Attrs("axis", axis, "reduction", "add"), zero, index, g)
}

// tileBack sums over the repetitions: [r₀·d₀, …] is seen as [r₀, d₀, …].
func tileBack(b *back) []string {
	x := b.in(0)
	rank := b.rank(x)
	odd := make([]int64, rank)
	for i := range odd {
		odd[i] = int64(2 * i)
	}
	g := b.grad(0)
	reps, ok := b.constInts(b.in(1))
	s := b.shape(x)
	if ok && len(reps) == rank {
		var shape []onnx.Dim
		odd = odd[:0]
		for i, r := range reps {
			if r != 1 {
				odd = append(odd, int64(len(shape)))
				shape = append(shape, onnx.Dim{N: r})
			}
			shape = append(shape, s[i])
		}
		if unknowns(shape) <= 1 {
			if len(odd) == 0 {
				return []string{g}
			}
			return []string{b.as(b.reduce("ReduceSum", b.reshape(b.as(g, nil), shape, ""), odd, 0), s)}
		}
		odd = odd[:0]
		for i := range rank {
			odd = append(odd, int64(2*i))
		}
	}
	pairs := b.OpAttr("Concat", onnx.Attrs("axis", 1), b.Op("Unsqueeze", b.in(1), b.Ints(1)), b.Op("Unsqueeze", b.shapeOf(x), b.Ints(1)))
	wide := b.Op("Reshape", g, b.Op("Reshape", pairs, b.Ints(-1)))
	b.as(wide, nil)
	return []string{b.as(b.reduce("ReduceSum", wide, odd, 0), s)}
}

func triluBack(b *back) []string {
	return []string{b.OpAttr("Trilu", b.n.Attr, b.grad(0), b.in(1))}
}

// depthToSpaceBack: SpaceToDepth undoes the DCR order; the CRD order is undone by reshapes.
func depthToSpaceBack(b *back) []string {
	x, block := b.in(0), b.n.Int("blocksize", 1)
	if b.n.Str("mode", "DCR") == "DCR" {
		return []string{b.OpAttr("SpaceToDepth", onnx.Attrs("blocksize", block), b.grad(0))}
	}
	s := b.shape(x)
	if len(s) != 4 || !s[1].Known() || block < 1 {
		failf("the number of channels is not known")
	}
	h, w := s[2], s[3]
	k := onnx.Dim{N: block}
	g := b.reshape(b.grad(0), []onnx.Dim{s[0], {N: s[1].N / (block * block)}, h, k, w, k}, "")
	g = b.transpose(g, 0, 1, 3, 5, 2, 4)
	return []string{b.reshape(g, s, x)}
}

func spaceToDepthBack(b *back) []string {
	return []string{b.OpAttr("DepthToSpace", onnx.Attrs("blocksize", b.n.Int("blocksize", 1), "mode", b.n.Str("mode", "DCR")), b.grad(0))}
}

// padSpec is the pads of each axis; ok is false when they are not constant.
func (c *call) padSpec() (before, after []int64, ok bool) {
	rank := c.rank(c.in(0))
	pads, ok := c.constInts(c.in(1))
	if !ok {
		return nil, nil, false
	}
	axes := make([]int64, 0, rank)
	if name := c.in(3); name != "" {
		v, ok := c.constInts(name)
		if !ok {
			return nil, nil, false
		}
		axes = v
	} else {
		for i := range rank {
			axes = append(axes, int64(i))
		}
	}
	if len(pads) != 2*len(axes) {
		failf("%d pads for %d axes", len(pads), len(axes))
	}
	before, after = make([]int64, rank), make([]int64, rank)
	for i, a := range axes {
		k := axisIn(a, rank)
		before[k], after[k] = pads[i], pads[len(axes)+i]
	}
	return before, after, true
}

// padBack cuts the border off and, in the modes that repeat the operand there, adds it where it came from.
func padBack(b *back) []string {
	x, g := b.in(0), b.grad(0)
	mode := b.n.Str("mode", "constant")
	before, after, ok := b.padSpec()
	s := b.shape(x)
	out := make([]string, len(b.n.In))
	if b.want(2) && b.in(2) != "" {
		failf("the constant value is differentiated")
	}
	if !ok {
		if mode != "constant" {
			failf("the pads are not constant")
		}
		return []string{b.padBackDynamic(g)}
	}
	cur := slices.Clone(s)
	for i := range cur {
		if before[i] != 0 || after[i] != 0 {
			if cur[i].Known() {
				cur[i].N += before[i] + after[i]
			} else {
				cur[i] = onnx.Dim{N: 1, Sym: "?padded"}
			}
		}
	}
	if mode == "constant" {
		var starts, ends, axes, low, high, back []int64
		for i := range s {
			if before[i] > 0 || after[i] > 0 {
				axes, starts = append(axes, int64(i)), append(starts, max(before[i], 0))
				end := int64(1<<63 - 1)
				if after[i] > 0 {
					end = -after[i]
				}
				ends = append(ends, end)
			}
			if before[i] < 0 || after[i] < 0 { // negative pads cut; the gradient of what was cut is zero
				back, low, high = append(back, int64(i)), append(low, max(-before[i], 0)), append(high, max(-after[i], 0))
			}
		}
		if len(axes) > 0 {
			g = b.Op("Slice", g, b.Ints(starts...), b.Ints(ends...), b.Ints(axes...))
		}
		if len(back) > 0 {
			g = b.OpAttr("Pad", onnx.Attrs("mode", "constant"), g, b.Ints(slices.Concat(low, high)...), "", b.Ints(back...))
		}
		out[0] = b.as(g, s)
		return out
	}
	for i := range s {
		p, q := before[i], after[i]
		if p == 0 && q == 0 {
			continue
		}
		if !s[i].Known() {
			failf("the extent of axis %d is not known", i)
		}
		if p < 0 || q < 0 {
			failf("negative pads with mode %q", mode)
		}
		n := s[i].N
		if n == 0 || mode == "reflect" && (p >= n || q >= n) || mode == "wrap" && (p > n || q > n) {
			failf("pads %d and %d on an extent of %d with mode %q", p, q, n, mode)
		}
		cur[i] = onnx.Dim{N: n}
		sum := b.as(b.slice(g, i, p, p+n, 1), cur)
		// part adds what stands at [start, start ± count) of the padded axis, taken by step, to [at, at + count).
		part := func(start, count, step, at int64) {
			if count == 0 {
				return
			}
			end := start + count*step
			if end < 0 {
				end = -1 << 62
			}
			piece := b.Op("Slice", g, b.Ints(start), b.Ints(end), b.Ints(int64(i)), b.Ints(step))
			if mode == "edge" {
				piece = b.as(b.OpAttr("ReduceSum", onnx.Attrs("keepdims", 1), piece, b.Ints(int64(i))), nil)
				count = 1
			}
			sum = b.add(sum, b.as(b.pad(piece, i, at, n-count-at), cur))
		}
		switch mode {
		case "edge":
			part(0, p, 1, 0)
			part(p+n, q, 1, n-1)
		case "reflect": // out[p-k] = in[k], out[p+n-1+k] = in[n-1-k]
			part(p-1, p, -1, 1)
			part(p+n+q-1, q, -1, n-1-q)
		case "wrap":
			part(0, p, 1, n-p)
			part(p+n, q, 1, 0)
		default:
			failf("mode %q", mode)
		}
		g = sum
	}
	out[0] = b.as(g, s)
	return out
}

// padBackDynamic slices by pads known at run time.
func (b *back) padBackDynamic(g string) string {
	x := b.in(0)
	xs := b.shapeOf(x)
	axes := b.in(3)
	count := int64(b.rank(x))
	if axes != "" {
		s := b.shape(axes)
		if len(s) != 1 || !s[0].Known() {
			failf("the number of padded axes is not known")
		}
		count = s[0].N
		xs = b.Op("Gather", xs, axes)
	}
	start := b.slice(b.in(1), 0, 0, count, 1)
	return b.as(b.Op("Slice", g, start, b.add(start, xs), axes), b.shape(x))
}

func padFwd(f *fwd) string {
	if f.tan(0) == "" {
		failf("the constant value is differentiated")
	}
	in := []string{f.tan(0), f.in(1), "", f.in(3)}
	return f.same(in...)
}

// gatherBack adds each gradient where its slice was taken.
func gatherBack(b *back) []string {
	x, index := b.in(0), b.in(1)
	rank := b.rank(x)
	axis := axisIn(b.n.Int("axis", 0), rank)
	g := b.grad(0)
	s, is := b.shape(x), b.shape(index)
	if s == nil || is == nil {
		failf("the shape of the indices is not known")
	}
	// A constant index of one slice is put between zeros.
	if v, ok := b.constInts(index); ok && len(v) == 1 && s[axis].Known() {
		at := v[0]
		if at < 0 {
			at += s[axis].N
		}
		if at < 0 || at >= s[axis].N {
			failf("index %d on an extent of %d", v[0], s[axis].N)
		}
		one := slices.Clone(s)
		one[axis] = onnx.Dim{N: 1}
		if len(is) == 0 {
			g = b.as(b.Op("Unsqueeze", g, b.Ints(int64(axis))), one)
		} else {
			g = b.reshape(g, one, "")
		}
		return []string{b.as(b.pad(g, axis, at, s[axis].N-1-at), s)}
	}
	if len(is) != 1 {
		// [pre, indices…, post] -> [pre, number of indices, post]
		one := onnx.Dim{N: 1, Sym: "?count"}
		if d, ok := onnx.Known(is); ok {
			one = onnx.Dim{N: 1}
			for _, v := range d {
				one.N = extentOf(one.N, v)
			}
		}
		flat := slices.Clone(s)
		flat[axis] = one
		if unknowns(flat) <= 1 {
			g = b.reshape(g, flat, "")
		} else {
			shape := b.Op("ScatterElements", b.shapeOf(x), b.Ints(int64(axis)), b.Ints(-1))
			g = b.as(b.Op("Reshape", g, shape), flat)
		}
	}
	return []string{b.as(b.scatterAlong(b.zeros(x), axis, rank, index, g), s)}
}

func gatherElementsBack(b *back) []string {
	x := b.in(0)
	d := b.OpAttr("ScatterElements", onnx.Attrs("axis", b.n.Int("axis", 0), "reduction", "add"), b.zeros(x), b.in(1), b.grad(0))
	return []string{d}
}

func gatherNDBack(b *back) []string {
	x, index := b.in(0), b.in(1)
	batch := int(b.n.Int("batch_dims", 0))
	if batch > 0 {
		index = b.withBatch(index, batch)
	}
	d := b.OpAttr("ScatterND", onnx.Attrs("reduction", "add"), b.zeros(x), index, b.grad(0))
	return []string{d}
}

// withBatch writes the places along the batch axes before the indices of a GatherND.
func (b *back) withBatch(index string, batch int) string {
	s := b.shape(index)
	if s == nil || batch >= len(s) {
		failf("%d batch axes of %d", batch, len(s))
	}
	shape := b.shapeOf(index)
	one := b.OpAttr("Concat", onnx.Attrs("axis", 0), b.slice(shape, 0, 0, int64(len(s)-1), 1), b.Ints(1))
	parts := []string{}
	for a := range batch {
		r := b.Op("Range", b.int0(0), b.extent(index, a), b.int0(1))
		target := orOnes(nil, len(s))
		target[a] = -1
		r = b.Op("Expand", b.Op("Reshape", r, b.Ints(target...)), one)
		parts = append(parts, r)
	}
	out := b.OpAttr("Concat", onnx.Attrs("axis", -1), append(parts, index)...)
	return out
}

func (c *call) onlyAddOrSet() (add bool) {
	switch r := c.n.Str("reduction", "none"); r {
	case "none":
		return false
	case "add":
		return true
	default:
		failf("reduction %q", r)
	}
	return false
}

// scatterElementsBack: what was overwritten has no influence, what was written takes its place.
func scatterElementsBack(b *back) []string {
	add := b.onlyAddOrSet()
	g, index := b.grad(0), b.in(1)
	axis := onnx.Attrs("axis", b.n.Int("axis", 0))
	out := make([]string, 3)
	if b.want(0) {
		out[0] = g
		if !add {
			out[0] = b.OpAttr("ScatterElements", axis, g, index, b.zeros(b.in(2)))
		}
	}
	if b.want(2) {
		out[2] = b.OpAttr("GatherElements", axis, g, index)
	}
	return out
}

func scatterNDBack(b *back) []string {
	add := b.onlyAddOrSet()
	g, index := b.grad(0), b.in(1)
	out := make([]string, 3)
	if b.want(0) {
		out[0] = g
		if !add {
			out[0] = b.Op("ScatterND", g, index, b.zeros(b.in(2)))
		}
	}
	if b.want(2) {
		out[2] = b.Op("GatherND", g, index)
	}
	return out
}

func scatterFwd(f *fwd) string {
	f.onlyAddOrSet()
	data, updates := f.tan(0), f.tan(2)
	if data == "" {
		data = f.zeros(f.in(0))
	}
	if updates == "" {
		updates = f.zeros(f.in(2))
	}
	return f.same(data, f.in(1), updates)
}

func topKBack(b *back) []string {
	if b.grad(0) == "" {
		return nil
	}
	index := b.extra(1, onnx.Int64, b.shape(b.out(0)))
	d := b.OpAttr("ScatterElements", onnx.Attrs("axis", b.n.Int("axis", -1), "reduction", "add"), b.zeros(b.in(0)), index, b.grad(0))
	return []string{d}
}

func topKFwd(f *fwd) []string {
	index := f.extra(1, onnx.Int64, f.shape(f.out(0)))
	return []string{f.OpAttr("GatherElements", onnx.Attrs("axis", f.n.Int("axis", -1)), f.tan(0), index)}
}

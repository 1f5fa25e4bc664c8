package eval

import (
	"fmt"
	"math"
	"slices"

	"lenskit/onnx"
)

func evalIdentity(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	return []*Array{c.in[0]}, nil
}

func evalConstant(c *evalCall) ([]*Array, error) {
	for _, name := range []string{"value", "value_float", "value_floats", "value_int", "value_ints", "value_string", "value_strings"} {
		a, ok := c.Attr[name]
		switch {
		case !ok:
		case a.Tensor != nil:
			return one(ArrayOf(a.Tensor))
		case name == "value_float":
			return []*Array{FloatArray([]float64{a.Float})}, nil
		case name == "value_floats":
			return []*Array{FloatArray(a.Floats, int64(len(a.Floats)))}, nil
		case name == "value_int":
			return []*Array{IntArray([]int64{a.Int})}, nil
		case name == "value_ints":
			return []*Array{IntArray(a.Ints, int64(len(a.Ints)))}, nil
		case name == "value_string":
			return []*Array{{Type: onnx.String, S: []string{a.String}}}, nil
		case name == "value_strings":
			return []*Array{{Type: onnx.String, Shape: []int64{int64(len(a.Strings))}, S: a.Strings}}, nil
		}
	}
	return nil, fmt.Errorf("found no value, expected one of the attributes value, value_float, value_int, …")
}

func evalConstantOfShape(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	shape, err := c.ints(0)
	if err != nil {
		return nil, err
	}
	fill := FloatArray([]float64{0})
	if t := c.Attr["value"].Tensor; t != nil {
		if fill, err = ArrayOf(t); err != nil {
			return nil, err
		}
	}
	if fill.Len() != 1 {
		return nil, fmt.Errorf("value: found %d elements, expected 1", fill.Len())
	}
	out, err := newArray(fill.Type, shape)
	if err != nil {
		return nil, err
	}
	for i := range out.F {
		out.F[i] = fill.F[0]
	}
	for i := range out.I {
		out.I[i] = fill.I[0]
	}
	for i := range out.S {
		out.S[i] = fill.S[0]
	}
	return []*Array{out}, nil
}

func evalShape(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	shape := c.in[0].Shape
	rank := int64(len(shape))
	clamp := func(v int64) int64 {
		if v < 0 {
			v += rank
		}
		return min(max(v, 0), rank)
	}
	lo, hi := clamp(c.Int("start", 0)), clamp(c.Int("end", rank))
	part := []int64{}
	if lo < hi {
		part = slices.Clone(shape[lo:hi])
	}
	return []*Array{IntArray(part, int64(len(part)))}, nil
}

func evalSize(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	return []*Array{IntArray([]int64{int64(c.in[0].Len())})}, nil
}

func evalRange(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	for i, a := range c.in[:3] {
		if a.Len() != 1 || a.Type != c.in[0].Type {
			return nil, fmt.Errorf("input %d: found shape %v of type %v, expected a scalar of the type of input 0", i, a.Shape, a.Type)
		}
	}
	t := c.in[0].Type
	if t.IsFloat() {
		lo, hi, step := c.in[0].F[0], c.in[1].F[0], c.in[2].F[0]
		n := math.Max(math.Ceil((hi-lo)/step), 0)
		if step == 0 || math.IsNaN(n) || n > maxElements {
			return nil, fmt.Errorf("range from %g to %g by %g has no length or too great a one", lo, hi, step)
		}
		v := make([]float64, int(n))
		for i := range v {
			v[i] = lo + float64(i)*step
		}
		return []*Array{{Type: t, Shape: []int64{int64(len(v))}, F: v}}, nil
	}
	if !t.IsInt() {
		return nil, fmt.Errorf("found type %v, expected numbers", t)
	}
	lo, hi, step := c.in[0].I[0], c.in[1].I[0], c.in[2].I[0]
	n := math.Max(math.Ceil((float64(hi)-float64(lo))/float64(step)), 0)
	if step == 0 || n > maxElements {
		return nil, fmt.Errorf("range from %d to %d by %d has no length or too great a one", lo, hi, step)
	}
	v := make([]int64, int(n))
	for i := range v {
		v[i] = lo + int64(i)*step
	}
	return []*Array{{Type: t, Shape: []int64{int64(len(v))}, I: v}}, nil
}

func evalReshape(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	want, err := c.intsAttrOrInput("shape", 1)
	if err != nil {
		return nil, err
	}
	if want == nil {
		return nil, fmt.Errorf("input 1 is left out")
	}
	shape, rest, known := slices.Clone(want), -1, int64(1)
	for i, d := range shape {
		switch {
		case d == -1 && rest < 0:
			rest = i
			continue
		case d == 0 && c.Int("allowzero", 0) == 0:
			if i >= len(x.Shape) {
				return nil, fmt.Errorf("shape %v copies axis %d of shape %v", want, i, x.Shape)
			}
			shape[i] = x.Shape[i]
		case d < 0:
			return nil, fmt.Errorf("found shape %v, expected extents of -1 (once) or more", want)
		}
		if shape[i] > 0 && known > maxElements/shape[i] {
			return nil, fmt.Errorf("shape %v has more than %d elements", want, maxElements)
		}
		known *= shape[i]
	}
	n := int64(x.Len())
	if rest >= 0 {
		if known == 0 || n%known != 0 {
			return nil, fmt.Errorf("shape %v does not reshape to %v", x.Shape, want)
		}
		shape[rest] = n / known
		known *= shape[rest]
	}
	if known != n {
		return nil, fmt.Errorf("shape %v does not reshape to %v", x.Shape, want)
	}
	return []*Array{x.view(shape)}, nil
}

func evalFlatten(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	axis := c.Int("axis", 1)
	rank := int64(len(x.Shape))
	if axis < -rank || axis > rank {
		return nil, fmt.Errorf("found axis %d, expected one of rank %d", axis, rank)
	}
	if axis < 0 {
		axis += rank
	}
	return []*Array{x.view([]int64{volume(x.Shape[:axis]), volume(x.Shape[axis:])})}, nil
}

// volume is the number of elements of part of a checked shape.
func volume(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

func evalSqueeze(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	axes, err := c.intsAttrOrInput("axes", 1)
	if err != nil {
		return nil, err
	}
	drop, err := axisSet(axes, len(x.Shape))
	if err != nil {
		return nil, err
	}
	shape := []int64{}
	for i, d := range x.Shape {
		switch {
		case drop[i] && d != 1:
			return nil, fmt.Errorf("axis %d of shape %v is not 1", i, x.Shape)
		case drop[i] || axes == nil && d == 1:
		default:
			shape = append(shape, d)
		}
	}
	return []*Array{x.view(shape)}, nil
}

func evalUnsqueeze(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	axes, err := c.intsAttrOrInput("axes", 1)
	if err != nil {
		return nil, err
	}
	if axes == nil {
		return nil, fmt.Errorf("axes are missing")
	}
	added, err := axisSet(axes, len(x.Shape)+len(axes))
	if err != nil {
		return nil, err
	}
	shape, k := make([]int64, len(added)), 0
	for i := range shape {
		if added[i] {
			shape[i] = 1
			continue
		}
		shape[i] = x.Shape[k]
		k++
	}
	return []*Array{x.view(shape)}, nil
}

func evalTranspose(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	rank := len(x.Shape)
	perm := make([]int, rank)
	for i := range perm {
		perm[i] = rank - 1 - i
	}
	if p, ok := c.Attr["perm"]; ok {
		if len(p.Ints) != rank {
			return nil, fmt.Errorf("perm %v does not fit shape %v", p.Ints, x.Shape)
		}
		if _, err := axisSet(p.Ints, rank); err != nil {
			return nil, fmt.Errorf("perm: %w", err)
		}
		for i, ax := range p.Ints {
			perm[i], _ = axisIndex(ax, rank)
		}
	}
	return one(transpose(x, perm))
}

func transpose(x *Array, perm []int) (*Array, error) {
	own := strides(x.Shape)
	shape, str := make([]int64, len(perm)), make([]int, len(perm))
	for i, ax := range perm {
		shape[i], str[i] = x.Shape[ax], own[ax]
	}
	return x.take(shape, offsets(shape, str))
}

func evalExpand(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	want, err := c.ints(1)
	if err != nil {
		return nil, err
	}
	if _, err := Elements(want); err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(c.in[0].Shape, want)
	if err != nil {
		return nil, err
	}
	return one(c.in[0].broadcastTo(shape))
}

func evalTile(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	x := c.in[0]
	reps, err := c.ints(1)
	if err != nil {
		return nil, err
	}
	if c.opset < 6 && len(c.in) > 2 && c.in[2] != nil { // inputs tiles and axis
		axis, err := c.ints(2)
		if err != nil {
			return nil, err
		}
		if len(reps) != 1 || len(axis) != 1 || axis[0] < 0 || axis[0] >= int64(len(x.Shape)) {
			return nil, fmt.Errorf("found tiles %v along axis %v of shape %v", reps, axis, x.Shape)
		}
		all := make([]int64, len(x.Shape))
		for i := range all {
			all[i] = 1
		}
		all[axis[0]] = reps[0]
		reps = all
	}
	if len(reps) != len(x.Shape) {
		return nil, fmt.Errorf("repeats %v do not fit shape %v", reps, x.Shape)
	}
	shape := slices.Clone(x.Shape)
	for i, r := range reps {
		if r < 0 || r > maxElements {
			return nil, fmt.Errorf("found repeats %v, expected zero to %d", reps, maxElements)
		}
		if shape[i] > 0 && r > maxElements/shape[i] {
			return nil, fmt.Errorf("shape %v repeated %v has more than %d elements", x.Shape, reps, maxElements)
		}
		shape[i] *= r
	}
	return one(x.gatherAxes(shape, func(axis int, i int64) int64 { return i % x.Shape[axis] }))
}

// gatherAxes makes an array of the given shape (of a's rank) whose element at an index is a's at the index mapped
// axis by axis; an axis mapped to a negative index gives zero there.
func (a *Array) gatherAxes(shape []int64, at func(axis int, i int64) int64) (*Array, error) {
	n, err := Elements(shape)
	if err != nil {
		return nil, err
	}
	str := strides(a.Shape)
	idx := make([]int, n)
	if n == 0 {
		return a.take(shape, idx)
	}
	size := 1
	for ax := len(shape) - 1; ax >= 0; ax-- {
		d := int(shape[ax])
		for i := d - 1; i >= 0; i-- {
			j := at(ax, int64(i))
			for k := size - 1; k >= 0; k-- {
				if j < 0 || idx[k] < 0 {
					idx[i*size+k] = -1
				} else {
					idx[i*size+k] = idx[k] + int(j)*str[ax]
				}
			}
		}
		size *= d
	}
	return a.take(shape, idx)
}

func evalConcat(c *evalCall) ([]*Array, error) {
	if len(c.in) == 0 {
		return nil, fmt.Errorf("found no inputs")
	}
	if err := c.need(len(c.in)); err != nil {
		return nil, err
	}
	if _, ok := c.Attr["axis"]; !ok && c.opset >= 4 {
		return nil, fmt.Errorf("axis is missing")
	}
	x := c.in[0]
	axis, err := axisIndex(c.Int("axis", 1), len(x.Shape))
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(x.Shape)
	shape[axis] = 0
	for i, a := range c.in {
		if a.Type != x.Type && !(a.Type.IsFloat() && x.Type.IsFloat()) || len(a.Shape) != len(shape) {
			return nil, fmt.Errorf("input %d: found shape %v of type %v, expected rank %d of type %v", i, a.Shape, a.Type, len(shape), x.Type)
		}
		for k, d := range a.Shape {
			if k != axis && d != shape[k] {
				return nil, fmt.Errorf("input %d: shape %v does not join %v along axis %d", i, a.Shape, x.Shape, axis)
			}
		}
		shape[axis] += a.Shape[axis]
	}
	out, err := newArray(x.Type, shape)
	if err != nil {
		return nil, err
	}
	outer := int(volume(shape[:axis]))
	row, at := int(volume(shape[axis:])), 0
	for _, a := range c.in {
		w := int(volume(a.Shape[axis:]))
		for o := range outer {
			lo := o*row + at
			switch {
			case a.F != nil:
				copy(out.F[lo:lo+w], a.F[o*w:])
			case a.I != nil:
				copy(out.I[lo:lo+w], a.I[o*w:])
			case a.S != nil:
				copy(out.S[lo:lo+w], a.S[o*w:])
			}
		}
		at += w
	}
	return []*Array{out}, nil
}

func evalSplit(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	axis, err := axisIndex(c.Int("axis", 0), len(x.Shape))
	if err != nil {
		return nil, err
	}
	sizes, err := c.intsAttrOrInput("split", 1)
	if err != nil {
		return nil, err
	}
	d, k := x.Shape[axis], int64(len(c.Out))
	if sizes == nil {
		if n := c.Int("num_outputs", k); n != k || k == 0 {
			return nil, fmt.Errorf("found num_outputs %d, expected %d", n, k)
		}
		part := (d + k - 1) / k
		for range k {
			s := min(part, d)
			sizes = append(sizes, s)
			d -= s
		}
		d = x.Shape[axis]
	}
	total := int64(0)
	for _, s := range sizes {
		if s < 0 || s > d {
			return nil, fmt.Errorf("found sizes %v, expected parts of %d", sizes, d)
		}
		total += s
	}
	if total != d || int64(len(sizes)) != k {
		return nil, fmt.Errorf("found sizes %v for %d outputs, expected them to sum to %d", sizes, k, d)
	}
	var outs []*Array
	from := int64(0)
	for _, s := range sizes {
		shape := slices.Clone(x.Shape)
		shape[axis] = s
		out, err := x.gatherAxes(shape, func(ax int, i int64) int64 {
			if ax == axis {
				return i + from
			}
			return i
		})
		if err != nil {
			return nil, err
		}
		outs = append(outs, out)
		from += s
	}
	return outs, nil
}

func evalSlice(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	var starts, ends, axes, steps []int64
	for i, f := range []struct {
		name string
		dst  *[]int64
	}{{"starts", &starts}, {"ends", &ends}, {"axes", &axes}, {"steps", &steps}} {
		v, err := c.intsAttrOrInput(f.name, i+1)
		if err != nil {
			return nil, err
		}
		*f.dst = v
	}
	if axes == nil {
		for i := range starts {
			axes = append(axes, int64(i))
		}
	}
	if len(starts) != len(ends) || len(starts) != len(axes) || steps != nil && len(steps) != len(starts) {
		return nil, fmt.Errorf("found %d starts, %d ends, %d axes, %d steps, expected as many of each", len(starts), len(ends), len(axes), len(steps))
	}
	if _, err := axisSet(axes, len(x.Shape)); err != nil {
		return nil, err
	}
	shape := slices.Clone(x.Shape)
	from, by := make([]int64, len(shape)), make([]int64, len(shape))
	for i := range by {
		by[i] = 1
	}
	for i := range starts {
		ax, _ := axisIndex(axes[i], len(shape))
		step := int64(1)
		if steps != nil {
			step = steps[i]
		}
		if step == 0 {
			return nil, fmt.Errorf("found a step of 0")
		}
		from[ax], shape[ax] = evalSliceRange(starts[i], ends[i], step, shape[ax])
		by[ax] = step
	}
	return one(x.gatherAxes(shape, func(ax int, i int64) int64 { return from[ax] + i*by[ax] }))
}

// evalSliceRange clamps start and end to an axis of extent d as Python does; it returns the first index and the count.
func evalSliceRange(start, end, step, d int64) (from, count int64) {
	lo, hi := int64(0), d
	if step < 0 {
		lo, hi = -1, d-1
	}
	clamp := func(v int64) int64 {
		if v < 0 {
			v = max(v, math.MinInt64/2) + d
		}
		return min(max(v, lo), hi)
	}
	a, b := clamp(start), clamp(end)
	switch {
	case step > 0 && b > a:
		return a, (b-a-1)/step + 1
	case step < 0 && a > b:
		return a, (a-b-1)/absStep(step) + 1
	}
	return 0, 0
}

// absStep is |step| for a negative step, kept in range.
func absStep(step int64) int64 {
	if step == math.MinInt64 {
		return math.MaxInt64
	}
	return -step
}

func evalPad(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	rank := len(x.Shape)
	name := "pads"
	if c.opset < 2 {
		name = "paddings"
	}
	pads, err := c.intsAttrOrInput(name, 1)
	if err != nil {
		return nil, err
	}
	axes, err := c.ints(3)
	if err != nil {
		return nil, err
	}
	if axes == nil {
		for i := range rank {
			axes = append(axes, int64(i))
		}
	}
	if _, err := axisSet(axes, rank); err != nil {
		return nil, err
	}
	if len(pads) != 2*len(axes) {
		return nil, fmt.Errorf("found %d pads, expected %d", len(pads), 2*len(axes))
	}
	shape, before := slices.Clone(x.Shape), make([]int64, rank)
	for i := range axes {
		ax, _ := axisIndex(axes[i], rank)
		lo, hi := pads[i], pads[i+len(axes)]
		if max(lo, -lo, hi, -hi) > maxElements {
			return nil, fmt.Errorf("found pads %v, expected at most %d", pads, maxElements)
		}
		before[ax] = lo
		shape[ax] += lo + hi
	}
	mode := c.Str("mode", "constant")
	var at func(i, d int64) int64
	switch mode {
	case "constant":
		at = func(i, d int64) int64 {
			if i >= d {
				return -1
			}
			return i
		}
	case "edge":
		at = func(i, d int64) int64 { return min(max(i, 0), d-1) }
	case "wrap":
		at = func(i, d int64) int64 { return ((i % d) + d) % d }
	case "reflect":
		at = reflectIndex
	default:
		return nil, fmt.Errorf("mode: found %q, expected constant, reflect, edge or wrap", mode)
	}
	if _, err := Elements(shape); err != nil {
		return nil, err
	}
	for i, d := range x.Shape {
		if mode != "constant" && d == 0 && shape[i] > 0 {
			return nil, fmt.Errorf("axis %d of shape %v has nothing to pad with in mode %s", i, x.Shape, mode)
		}
	}
	idx := func(ax int, i int64) int64 { return at(i-before[ax], x.Shape[ax]) }
	out, err := x.gatherAxes(shape, idx)
	if err != nil || mode != "constant" {
		return one(out, err)
	}
	fill := c.arg(2)
	if fill == nil {
		v := c.Float("value", 0)
		if v == 0 || !x.Type.IsFloat() {
			return []*Array{out}, nil
		}
		fill = &Array{Type: x.Type, F: []float64{v}}
	}
	if fill.Len() != 1 || fill.Type != x.Type && !(fill.Type.IsFloat() && x.Type.IsFloat()) {
		return nil, fmt.Errorf("constant: found shape %v of type %v, expected a scalar of type %v", fill.Shape, fill.Type, x.Type)
	}
	// Where a mask of ones is padded with zeros too, the constant belongs.
	mask, err := (&Array{Type: onnx.Bool, Shape: x.Shape, I: ones(x.Len())}).gatherAxes(shape, idx)
	if err != nil {
		return nil, err
	}
	for i, m := range mask.I {
		switch {
		case m != 0:
		case out.F != nil:
			out.F[i] = fill.F[0]
		case out.I != nil:
			out.I[i] = fill.I[0]
		case out.S != nil:
			out.S[i] = fill.S[0]
		}
	}
	return []*Array{out}, nil
}

func ones(n int) []int64 {
	v := make([]int64, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// reflectIndex mirrors i into [0, d) about the first and last element, as often as it takes.
func reflectIndex(i, d int64) int64 {
	if d == 1 {
		return 0
	}
	p := 2 * (d - 1)
	i = ((i % p) + p) % p
	return min(i, p-i)
}

func evalDepthToSpace(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x, b := c.in[0], c.Int("blocksize", 0)
	if len(x.Shape) != 4 || b < 1 || b > 1<<16 || x.Shape[1]%(b*b) != 0 {
		return nil, fmt.Errorf("found shape %v and blocksize %d, expected 4 axes with a multiple of blocksize² channels", x.Shape, b)
	}
	n, ch, h, w := x.Shape[0], x.Shape[1]/(b*b), x.Shape[2], x.Shape[3]
	var y *Array
	var err error
	switch mode := c.Str("mode", "DCR"); mode {
	case "DCR":
		y, err = transpose(x.view([]int64{n, b, b, ch, h, w}), []int{0, 3, 4, 1, 5, 2})
	case "CRD":
		y, err = transpose(x.view([]int64{n, ch, b, b, h, w}), []int{0, 1, 4, 2, 5, 3})
	default:
		return nil, fmt.Errorf("mode: found %q, expected DCR or CRD", mode)
	}
	if err != nil {
		return nil, err
	}
	return []*Array{y.view([]int64{n, ch, h * b, w * b})}, nil
}

func evalSpaceToDepth(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x, b := c.in[0], c.Int("blocksize", 0)
	if len(x.Shape) != 4 || b < 1 || b > 1<<16 || x.Shape[2]%b != 0 || x.Shape[3]%b != 0 {
		return nil, fmt.Errorf("found shape %v and blocksize %d, expected 4 axes with multiples of blocksize behind", x.Shape, b)
	}
	n, ch, h, w := x.Shape[0], x.Shape[1], x.Shape[2]/b, x.Shape[3]/b
	perm := []int{0, 3, 5, 1, 2, 4}
	switch mode := c.Str("mode", "DCR"); mode {
	case "DCR":
	case "CRD":
		perm = []int{0, 1, 3, 5, 2, 4}
	default:
		return nil, fmt.Errorf("mode: found %q, expected DCR or CRD", mode)
	}
	y, err := transpose(x.view([]int64{n, ch, h, b, w, b}), perm)
	if err != nil {
		return nil, err
	}
	return []*Array{y.view([]int64{n, ch * b * b, h, w})}, nil
}

func evalEyeLike(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	if len(x.Shape) != 2 {
		return nil, fmt.Errorf("found shape %v, expected a matrix", x.Shape)
	}
	out, err := newArray(onnx.DType(c.Int("dtype", int64(x.Type))), x.Shape)
	if err != nil {
		return nil, err
	}
	k := c.Int("k", 0)
	for i := range x.Shape[0] {
		j := i + k
		if j < 0 || j >= x.Shape[1] {
			continue
		}
		if p := i*x.Shape[1] + j; out.F != nil {
			out.F[p] = 1
		} else if out.I != nil {
			out.I[p] = 1
		}
	}
	return []*Array{out}, nil
}

func evalTrilu(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	rank := len(x.Shape)
	if rank < 2 {
		return nil, fmt.Errorf("found shape %v, expected matrices", x.Shape)
	}
	kk, err := c.ints(1)
	if err != nil {
		return nil, err
	}
	k := int64(0)
	if len(kk) > 0 {
		k = min(max(kk[0], -maxElements), maxElements)
	}
	upper := c.Int("upper", 1) != 0
	out := x.clone()
	h, w := x.Shape[rank-2], x.Shape[rank-1]
	for p := range int64(x.Len()) {
		i, j := p/w%h, p%w
		if upper && j >= i+k || !upper && j <= i+k {
			continue
		}
		switch {
		case out.F != nil:
			out.F[p] = 0
		case out.I != nil:
			out.I[p] = 0
		}
	}
	return []*Array{out}, nil
}

func evalNonZero(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	if x.Type == onnx.String {
		return nil, fmt.Errorf("found strings, expected numbers")
	}
	var hits []int
	for i := range x.Len() {
		if x.float(i) != 0 {
			hits = append(hits, i)
		}
	}
	str, rank := strides(x.Shape), len(x.Shape)
	out, err := newArray(onnx.Int64, []int64{int64(rank), int64(len(hits))})
	if err != nil {
		return nil, err
	}
	for ax := range rank {
		for k, p := range hits {
			out.I[ax*len(hits)+k] = int64(p/str[ax]) % x.Shape[ax]
		}
	}
	return []*Array{out}, nil
}

func evalCompress(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	x, cond := c.in[0], c.in[1]
	if cond.Type != onnx.Bool || len(cond.Shape) != 1 {
		return nil, fmt.Errorf("condition: found shape %v of type %v, expected a list of bool", cond.Shape, cond.Type)
	}
	axis := 0
	if a, ok := c.Attr["axis"]; ok {
		var err error
		if axis, err = axisIndex(a.Int, len(x.Shape)); err != nil {
			return nil, err
		}
	} else {
		x = x.view([]int64{int64(x.Len())})
	}
	var keep []int64
	for i, v := range cond.I {
		if v != 0 && int64(i) < x.Shape[axis] {
			keep = append(keep, int64(i))
		}
	}
	shape := slices.Clone(x.Shape)
	shape[axis] = int64(len(keep))
	return one(x.gatherAxes(shape, func(ax int, i int64) int64 {
		if ax == axis {
			return keep[i]
		}
		return i
	}))
}

package diff

import (
	"slices"

	"lenskit/onnx"
	"lenskit/onnx/footprint"
)

// spatial is the axes after batch and channel.
func (c *call) spatial() []int64 {
	var axes []int64
	for i := 2; i < c.rank(c.in(0)); i++ {
		axes = append(axes, int64(i))
	}
	return axes
}

// perChannel gives a vector over the channels of x the rank of x.
func (c *call) perChannel(v, x string) string {
	shape := make([]onnx.Dim, c.rank(x)-1)
	for i := range shape {
		shape[i] = onnx.Dim{N: 1}
	}
	s := c.shape(v)
	if len(s) != 1 {
		failf("operand %q is not a vector", v)
	}
	shape[0] = s[0]
	return c.reshape(v, shape, "")
}

// batchNormTerm multiplies t by the derivative by operand i of BatchNormalization in inference form,
// y = (x-μ) s/√(v+ε) + b, with s, b, μ, v per channel. t broadcasts against x.
func batchNormTerm(c *call, i int, t string) string {
	if c.n.Int("training_mode", 0) != 0 {
		failf("training_mode is set")
	}
	x := c.in(0)
	if c.rank(x) < 2 {
		failf("operand of rank %d, expected 2 or more", c.rank(x))
	}
	scale := c.perChannel(c.in(1), x)
	v := c.plus(c.perChannel(c.in(4), x), c.n.Float("epsilon", 1e-5))
	r := c.Op("Reciprocal", c.Op("Sqrt", v))
	switch i {
	case 0:
		return c.mul(t, c.mul(scale, r))
	case 1: // (x-μ) r
		return c.mul(t, c.mul(c.sub(x, c.perChannel(c.in(3), x)), r))
	case 2:
		return t
	case 3:
		return c.neg(c.mul(t, c.mul(scale, r)))
	}
	// ∂r/∂v = -r³/2
	d := c.mul(c.mul(c.scale(scale, -0.5), c.mul(r, c.square(r))), c.sub(x, c.perChannel(c.in(3), x)))
	return c.mul(t, d)
}

func batchNormBack(b *back) []string {
	out := make([]string, 5)
	axes := append([]int64{0}, b.spatial()...)
	for i := range out {
		if !b.want(i) {
			continue
		}
		out[i] = batchNormTerm(&b.call, i, b.grad(0))
		if i > 0 {
			out[i] = b.as(b.reduce("ReduceSum", out[i], axes, 0), b.shape(b.in(i)))
		}
	}
	return out
}

func batchNormFwd(f *fwd) string {
	var terms []string
	for i := range 5 {
		if t := f.tan(i); t != "" {
			if i > 0 {
				t = f.perChannel(t, f.in(0))
			}
			terms = append(terms, batchNormTerm(&f.call, i, t))
		}
	}
	return f.expand(f.total(terms...), f.tanShape(f.out(0)), f.like(f.out(0)))
}

// normed is what the rules of the normalisations share: x̂ = (x-μ)·r over axes, y = x̂·scale + bias.
type normed struct {
	x, r, scale string // x̂, 1/√(σ²+ε), scale in the rank of x
	axes        []int64
}

func (c *call) normed() normed {
	x := c.in(0)
	rank := c.rank(x)
	var n normed
	if c.n.Op == "LayerNormalization" {
		first := axisIn(c.n.Int("axis", -1), rank)
		for a := first; a < rank; a++ {
			n.axes = append(n.axes, int64(a))
		}
		n.scale = c.in(1)
	} else {
		n.axes = c.spatial()
		n.scale = c.perChannel(c.in(1), x)
	}
	mean := c.reduce("ReduceMean", x, n.axes, 1)
	d := c.sub(x, mean)
	v := c.reduce("ReduceMean", c.square(d), n.axes, 1)
	n.r = c.Op("Reciprocal", c.Op("Sqrt", c.plus(v, c.n.Float("epsilon", 1e-5))))
	n.x = c.mul(d, n.r)
	return n
}

// project is the derivative of x̂ by x, which is symmetric: r (t - ⟨t⟩ - x̂ ⟨x̂ t⟩).
func (n normed) project(c *call, t string) string {
	a := c.sub(t, c.reduce("ReduceMean", t, n.axes, 1))
	b := c.mul(n.x, c.reduce("ReduceMean", c.mul(n.x, t), n.axes, 1))
	return c.mul(n.r, c.sub(a, b))
}

func normBack(b *back) []string {
	n := b.normed()
	out := make([]string, 3)
	full := b.shape(b.in(0))
	g := b.grad(0)
	if b.want(0) {
		var terms []string
		if g != "" {
			terms = append(terms, n.project(&b.call, b.mul(g, n.scale)))
		}
		// The mean and 1/√(σ²+ε) are results of LayerNormalization: ∂μ/∂x = 1/n, ∂r/∂x = -r² x̂/n.
		if m := b.grad(1); m != "" {
			terms = append(terms, b.perCount(m, n.axes))
		}
		if r := b.grad(2); r != "" {
			terms = append(terms, b.perCount(b.neg(b.mul(b.mul(r, b.square(n.r)), n.x)), n.axes))
		}
		out[0] = b.total(terms...)
	}
	if b.want(1) && g != "" {
		out[1] = b.toScale(b.mul(g, n.x), full, 1)
	}
	if b.want(2) && g != "" {
		out[2] = b.toScale(g, full, 2)
	}
	return out
}

// toScale sums a gradient to the shape of the scale or bias operand i.
func (b *back) toScale(g string, full []onnx.Dim, i int) string {
	if b.n.Op == "LayerNormalization" {
		return b.sumTo(g, full, b.in(i))
	}
	axes := append([]int64{0}, b.spatial()...)
	return b.as(b.reduce("ReduceSum", g, axes, 0), b.shape(b.in(i)))
}

func normFwd(f *fwd) []string {
	n := f.normed()
	var terms []string
	out := make([]string, max(1, len(f.n.Out)))
	if t := f.tan(0); t != "" {
		terms = append(terms, f.mul(n.project(&f.call, t), n.scale))
		if f.out(1) != "" {
			out[1] = f.reduce("ReduceMean", t, n.axes, 1)
		}
		if f.out(2) != "" {
			out[2] = f.neg(f.mul(f.square(n.r), f.reduce("ReduceMean", f.mul(n.x, t), n.axes, 1)))
		}
	}
	for i := 1; i < 3; i++ {
		t := f.tan(i)
		if t == "" {
			continue
		}
		if f.n.Op != "LayerNormalization" {
			t = f.perChannel(t, f.in(0))
		}
		if i == 1 {
			t = f.mul(t, n.x)
		}
		terms = append(terms, t)
	}
	out[0] = f.expand(f.total(terms...), f.tanShape(f.out(0)), f.like(f.out(0)))
	return out
}

// softmaxAxis is the axis of Softmax and LogSoftmax.
func (c *call) softmaxAxis() int64 { return c.n.Int("axis", -1) }

// softmaxJacobian is y (t - Σ y t), its own transpose.
func softmaxJacobian(c *call, t string) string {
	y := c.out(0)
	return c.mul(y, c.sub(t, c.sum(c.mul(y, t), c.softmaxAxis())))
}

func softmaxBack(b *back) []string { return []string{softmaxJacobian(&b.call, b.grad(0))} }

func softmaxFwd(f *fwd) string { return softmaxJacobian(&f.call, f.tan(0)) }

func logSoftmaxBack(b *back) []string {
	// t - eʸ Σ t
	g := b.grad(0)
	return []string{b.sub(g, b.mul(b.Op("Exp", b.out(0)), b.sum(g, b.softmaxAxis())))}
}

func logSoftmaxFwd(f *fwd) string {
	// t - Σ eʸ t
	t := f.tan(0)
	return f.sub(t, f.sum(f.mul(f.Op("Exp", f.out(0)), t), f.softmaxAxis()))
}

// reducedAxes is the axes of a reduction, in [0, rank); it ends the rule when they are not constants.
func reducedAxes(c *call) []int64 {
	rank := c.rank(c.in(0))
	var axes []int64
	if name := c.in(1); name != "" {
		v, ok := c.constInts(name)
		if !ok {
			failf("the axes are not constant")
		}
		axes = v
	}
	if len(axes) == 0 {
		if c.n.Int("noop_with_empty_axes", 0) != 0 {
			return []int64{}
		}
		for i := range rank {
			axes = append(axes, int64(i))
		}
		return axes
	}
	out := make([]int64, 0, len(axes))
	for _, a := range axes {
		if k := int64(axisIn(a, rank)); !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// kept gives a value in the shape of the reduction's result the reduced axes back as extents of 1.
func (c *call) kept(v string, axes []int64) string {
	if c.n.Int("keepdims", 1) != 0 || len(axes) == 0 {
		return v
	}
	shape := slices.Clone(c.shape(c.in(0)))
	for _, a := range axes {
		shape[a] = onnx.Fixed(1)
	}
	if unknowns(shape) > 1 {
		return c.Op("Unsqueeze", v, c.Ints(axes...))
	}
	return c.reshape(v, shape, "")
}

func reduceSumBack(b *back) []string {
	axes := reducedAxes(&b.call)
	return []string{b.kept(b.grad(0), axes)}
}

func reduceMeanBack(b *back) []string {
	axes := reducedAxes(&b.call)
	g := b.kept(b.grad(0), axes)
	return []string{b.perCount(g, axes)}
}

// perCount divides by the number of elements that axes of the operand span.
func (c *call) perCount(g string, axes []int64) string {
	n := int64(1)
	s := c.shape(c.in(0))
	for _, a := range axes {
		if !s[a].Known() {
			dims := c.Op("Gather", c.shapeOf(c.in(0)), c.Ints(axes...))
			count := c.OpAttr("ReduceProd", onnx.Attrs("keepdims", 0), dims)
			return c.div(g, c.OpAttr("Cast", onnx.Attrs("to", int(c.typ(g))), c.as(count, []onnx.Dim{})))
		}
		n = footprint.Product(n, s[a].N)
	}
	if n == 0 {
		return g
	}
	return c.scale(g, 1/float64(n))
}

func globalAverageBack(b *back) []string {
	return []string{b.perCount(b.grad(0), b.spatial())}
}

// reductionRule is the row of y = f(x) summed over axes, where d(y) is ∂y/∂x in the shape of x and y has the reduced axes
// as extents of 1.
func reductionRule(d func(c *call, y string) string) rule {
	return rule{
		back: func(b *back) []string {
			axes := reducedAxes(&b.call)
			if b.n.Op == "ReduceProd" || len(axes) > 0 {
				return []string{b.mul(b.kept(b.grad(0), axes), d(&b.call, b.kept(b.out(0), axes)))}
			}
			return []string{b.mul(b.grad(0), d(&b.call, b.out(0)))}
		},
		fwd: func(f *fwd) string {
			axes := reducedAxes(&f.call)
			v := f.mul(f.tan(0), d(&f.call, f.kept(f.out(0), axes)))
			if len(axes) == 0 {
				return v
			}
			return f.reduce("ReduceSum", v, axes, int(f.n.Int("keepdims", 1)))
		},
	}
}

func dReduceL2(c *call, y string) string {
	// x/y, and 0 at the origin
	none := c.mask(c.Op("Equal", y, c.num(0, y)), y)
	return c.div(c.in(0), c.add(y, none))
}

func dReduceProd(c *call, y string) string {
	// The product of the others. With exactly one zero it is that zero's; with more it vanishes.
	x := c.in(0)
	axes := reducedAxes(c)
	isZero := c.mask(c.Op("Equal", x, c.num(0, x)), x)
	safe := c.add(x, isZero)
	prod, zeros := safe, isZero
	if len(axes) > 0 {
		prod = c.reduce("ReduceProd", safe, axes, 1)
		zeros = c.reduce("ReduceSum", isZero, axes, 1)
	}
	none := c.mask(c.Op("Equal", zeros, c.num(0, zeros)), x)
	one := c.mask(c.Op("Equal", zeros, c.num(1, zeros)), x)
	return c.mul(c.div(prod, safe), c.add(c.mul(c.oneMinus(isZero), none), c.mul(isZero, one)))
}

// extremum is the row of a largest or smallest element over axes; equal ones share the derivative in equal parts.
func extremum(axesOf func(c *call) []int64) rule {
	weights := func(c *call, axes []int64, y string) string {
		hit := c.mask(c.Op("Equal", c.in(0), y), c.in(0))
		return c.div(hit, c.sum(hit, axes...))
	}
	return rule{
		back: func(b *back) []string {
			axes := axesOf(&b.call)
			return []string{b.mul(b.kept(b.grad(0), axes), weights(&b.call, axes, b.kept(b.out(0), axes)))}
		},
		fwd: func(f *fwd) string {
			axes := axesOf(&f.call)
			v := f.mul(f.tan(0), weights(&f.call, axes, f.kept(f.out(0), axes)))
			if len(axes) == 0 {
				return v
			}
			return f.reduce("ReduceSum", v, axes, int(f.n.Int("keepdims", 1)))
		},
	}
}

func cumSumBack(b *back) []string {
	rev := 1 - b.n.Int("reverse", 0)
	g := b.OpAttr("CumSum", onnx.Attrs("exclusive", b.n.Int("exclusive", 0), "reverse", rev), b.grad(0), b.in(1))
	return []string{g}
}

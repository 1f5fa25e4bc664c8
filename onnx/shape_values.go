package onnx

import (
	"math"
	"slices"

	"lenskit/onnx/symbolic"
)

// propagate follows the values of shape arithmetic through the node, for its first output.
func (c *ShapeCall) propagate() (symbolic.Ints, bool) {
	n := c.N
	fn := propagateTable[n.Op]
	if fn == nil || n.Domain != "" || len(n.Out) == 0 {
		return symbolic.Ints{}, false
	}
	k, ok := fn(c)
	if !ok || len(k.Elems) > symbolic.MaxInts {
		return symbolic.Ints{}, false
	}
	t := c.Typ(n.Out[0])
	for _, d := range k.Elems {
		if d.Known() && !t.exact(d.N) {
			return symbolic.Ints{}, false
		}
	}
	count, err := SizeOf(k.Shape)
	return k, err == nil && count == len(k.Elems)
}

// exact tells whether the type holds the whole number v; arithmetic that leaves it would wrap or round.
func (t DType) exact(v int64) bool {
	switch t {
	case Float64:
		return symbolic.Bounded(v)
	case Float32:
		return symbolic.Abs(v) <= 1<<24 && v != math.MinInt64
	}
	return !t.IsInt() || Wrap(t, v) == v
}

// propagateTable holds the operators through which integer values are followed.
var propagateTable = map[string]func(c *ShapeCall) (symbolic.Ints, bool){
	"Shape": func(c *ShapeCall) (symbolic.Ints, bool) {
		s := c.arg(0)
		if s == nil {
			return symbolic.Ints{}, false
		}
		from, to := shapeRange(c.N.Int("start", 0), c.N.Int("end", math.MaxInt64), int64(len(s)))
		return symbolic.Vector(s[from:to]), true
	},
	"Size": func(c *ShapeCall) (symbolic.Ints, bool) {
		s := c.arg(0)
		return symbolic.Ints{Shape: []int64{}, Elems: []Dim{c.Size(s)}}, s != nil
	},
	"Identity":  keepValues,
	"Cast":      castValues,
	"CastLike":  keepValues,
	"Floor":     keepValues,
	"Ceil":      keepValues,
	"Round":     keepValues,
	"Dropout":   keepValues,
	"Reshape":   reshapeValues,
	"Squeeze":   reshapeValues,
	"Unsqueeze": reshapeValues,
	"Flatten":   reshapeValues,
	"Transpose": transposeValues,
	"Neg":       eachValue(func(d Dim) (Dim, bool) { return d.Neg(), true }),
	"Not":       eachValue(func(d Dim) (Dim, bool) { return Fixed(1 - min(1, symbolic.Abs(d.N))), d.Known() }),
	"Concat": func(c *ShapeCall) (symbolic.Ints, bool) {
		var e []Dim
		for i := range c.N.In {
			k, ok := c.list(i)
			if !ok || len(k.Shape) != 1 {
				return k, false
			}
			e = append(e, k.Elems...)
		}
		return symbolic.Vector(e), true
	},
	"Gather": func(c *ShapeCall) (symbolic.Ints, bool) {
		return withTwo(c, func(data, index symbolic.Ints) (symbolic.Ints, bool) { return data.Gather(index) })
	},
	"Slice":           sliceValues,
	"Expand":          expandValues,
	"ConstantOfShape": constantOfShapeValues,
	"Range": func(c *ShapeCall) (symbolic.Ints, bool) {
		start, ok1 := c.scalarInt(0)
		limit, ok2 := c.scalarInt(1)
		step, ok3 := c.scalarInt(2)
		if !ok1 || !ok2 || !ok3 {
			return symbolic.Ints{}, false
		}
		return symbolic.Range(start, limit, step)
	},
	"ScatterElements": scatterValues,
	"ScatterND":       scatterValues,
	"Add":             binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) { return c.Add(a, b), true }),
	"Sub":             binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) { return c.Add(a, b.Neg()), true }),
	"Mul":             binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) { return c.Mul(a, b), true }),
	"Div":             binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) { return c.Div(a, b, c.argType(0).IsInt()) }),
	"Mod": binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) {
		if c.N.Int("fmod", 0) != 0 {
			return a, false
		}
		return c.Mod(a, b)
	}),
	"Min":            binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) { return symbolic.Extremum([]Dim{a, b}, -1) }),
	"Max":            binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) { return symbolic.Extremum([]Dim{a, b}, 1) }),
	"Equal":          truth(func(s int) bool { return s == 0 }),
	"Greater":        truth(func(s int) bool { return s > 0 }),
	"GreaterOrEqual": truth(func(s int) bool { return s >= 0 }),
	"Less":           truth(func(s int) bool { return s < 0 }),
	"LessOrEqual":    truth(func(s int) bool { return s <= 0 }),
	"And":            logic(func(a, b bool) bool { return a && b }),
	"Or":             logic(func(a, b bool) bool { return a || b }),
	"Where": func(c *ShapeCall) (symbolic.Ints, bool) {
		cond, ok := c.list(0)
		a, ok1 := c.list(1)
		b, ok2 := c.list(2)
		if !ok || !ok1 || !ok2 {
			return cond, false
		}
		return symbolic.Where(cond, a, b)
	},
	"ReduceProd": reduceValues(func(c *ShapeCall, e []Dim) (Dim, bool) { return c.Size(e), true }),
	"ReduceSum": reduceValues(func(c *ShapeCall, e []Dim) (Dim, bool) {
		s := Fixed(0)
		for _, d := range e {
			s = c.Add(s, d)
		}
		return s, true
	}),
	"ReduceMax": reduceValues(func(c *ShapeCall, e []Dim) (Dim, bool) { return symbolic.Extremum(e, 1) }),
	"ReduceMin": reduceValues(func(c *ShapeCall, e []Dim) (Dim, bool) { return symbolic.Extremum(e, -1) }),
}

func keepValues(c *ShapeCall) (symbolic.Ints, bool) { return c.list(0) }

// eachValue applies f to every element of the operand.
func eachValue(f func(d Dim) (Dim, bool)) func(c *ShapeCall) (symbolic.Ints, bool) {
	return func(c *ShapeCall) (symbolic.Ints, bool) {
		k, ok := c.list(0)
		if !ok {
			return k, false
		}
		return k.Map(f)
	}
}

// withTwo applies f to the first two operands.
func withTwo(c *ShapeCall, f func(a, b symbolic.Ints) (symbolic.Ints, bool)) (symbolic.Ints, bool) {
	a, ok := c.list(0)
	b, ok2 := c.list(1)
	if !ok || !ok2 {
		return a, false
	}
	return f(a, b)
}

// castValues follows whole numbers; a cast to Bool or to a type that may wrap is followed only for small numbers.
func castValues(c *ShapeCall) (symbolic.Ints, bool) {
	k, ok := c.list(0)
	if !ok {
		return k, false
	}
	switch to := DType(c.N.Int("to", 0)); to {
	case Int64, Float32, Float64, Int32:
		for _, d := range k.Elems {
			if d.Known() && symbolic.Abs(d.N) >= 1<<24 && to != Int64 && to != Float64 {
				return k, false
			}
		}
		return k, true
	case Bool:
		e := make([]Dim, len(k.Elems))
		for i, d := range k.Elems {
			if !d.Known() {
				return k, false
			}
			e[i] = Fixed(min(1, symbolic.Abs(d.N)))
		}
		return symbolic.Ints{Shape: k.Shape, Elems: e}, true
	}
	return k, false
}

// reshapeValues keeps the values under the output's shape.
func reshapeValues(c *ShapeCall) (symbolic.Ints, bool) {
	k, ok := c.list(0)
	if !ok || len(c.Out) == 0 || c.Out[0].Shape == nil {
		return k, false
	}
	shape := make([]int64, len(c.Out[0].Shape))
	for i, d := range c.Out[0].Shape {
		if !d.Known() {
			return k, false
		}
		shape[i] = d.N
	}
	return symbolic.Ints{Shape: shape, Elems: k.Elems}, true
}

// shapeRange is the range that start and end select of n elements with step 1.
func shapeRange(start, end, n int64) (from, to int64) {
	clamp := func(v int64) int64 {
		if v < 0 {
			v = max(v, -n) + n
		}
		return min(max(v, 0), n)
	}
	from, to = clamp(start), clamp(end)
	return from, max(from, to)
}

func sliceValues(c *ShapeCall) (symbolic.Ints, bool) {
	data, ok := c.list(0)
	starts, _, ok1 := c.List(1, "starts")
	ends, _, ok2 := c.List(2, "ends")
	axes, given, ok3 := c.List(3, "axes")
	steps, stepped, ok4 := c.List(4, "steps")
	if !ok || !ok1 || !ok2 || !ok3 || !ok4 || len(starts) != len(ends) || given && len(axes) != len(starts) || stepped && len(steps) != len(starts) || len(starts) > len(data.Shape) {
		return data, false
	}
	for i := range starts {
		a, step := i, int64(1)
		if given {
			var err error
			if a, err = NormAxis(axes[i], len(data.Shape)); err != nil {
				return data, false
			}
		}
		if stepped {
			step = steps[i]
		}
		first, count, err := symbolic.Span(starts[i], ends[i], step, data.Shape[a])
		if err != nil {
			return data, false
		}
		data = data.Take(a, first, count, step)
	}
	return data, true
}

// transposeValues permutes the axes of a list or a small matrix.
func transposeValues(c *ShapeCall) (symbolic.Ints, bool) {
	k, ok := c.list(0)
	if !ok || len(k.Shape) < 2 {
		return k, ok
	}
	if perm := c.N.Ints("perm"); len(k.Shape) != 2 || perm != nil && !slices.Equal(perm, []int64{1, 0}) {
		return k, false
	}
	return k.Transposed(), true
}

func expandValues(c *ShapeCall) (symbolic.Ints, bool) {
	data, ok := c.list(0)
	if !ok || len(data.Elems) != 1 || len(c.Out) == 0 {
		return data, false
	}
	return c.filled(data.Elems[0])
}

// filled is d in every element of the output's shape.
func (c *ShapeCall) filled(d Dim) (symbolic.Ints, bool) {
	if c.Out[0].Shape == nil {
		return symbolic.Ints{}, false
	}
	k := symbolic.Ints{Shape: make([]int64, len(c.Out[0].Shape))}
	for i, x := range c.Out[0].Shape {
		if !x.Known() {
			return k, false
		}
		k.Shape[i] = x.N
	}
	n, err := SizeOf(k.Shape)
	if err != nil || n > symbolic.MaxInts {
		return k, false
	}
	for range n {
		k.Elems = append(k.Elems, d)
	}
	return k, true
}

func constantOfShapeValues(c *ShapeCall) (symbolic.Ints, bool) {
	t := c.N.Attr["value"].Tensor
	if t == nil || t.Ints == nil || len(t.Ints) != 1 || len(c.Out) == 0 {
		return symbolic.Ints{}, false
	}
	return c.filled(Fixed(t.Ints[0]))
}

// scatterValues replaces elements of a list.
func scatterValues(c *ShapeCall) (symbolic.Ints, bool) {
	data, ok := c.list(0)
	index, ok1 := c.numbers(1)
	updates, ok2 := c.list(2)
	if !ok || !ok1 || !ok2 || c.N.Str("reduction", "none") != "none" {
		return data, false
	}
	return data.Scatter(index, updates)
}

// binaryValues applies op to two lists; one of them may have a single element.
func binaryValues(op func(c *ShapeCall, a, b Dim) (Dim, bool)) func(c *ShapeCall) (symbolic.Ints, bool) {
	return func(c *ShapeCall) (symbolic.Ints, bool) {
		if len(c.N.In) != 2 {
			return symbolic.Ints{}, false
		}
		return withTwo(c, func(a, b symbolic.Ints) (symbolic.Ints, bool) {
			return symbolic.Zip(a, b, func(a, b Dim) (Dim, bool) { return op(c, a, b) })
		})
	}
}

func truth(is func(sign int) bool) func(c *ShapeCall) (symbolic.Ints, bool) {
	return binaryValues(func(_ *ShapeCall, a, b Dim) (Dim, bool) {
		s, ok := symbolic.Compare(a, b)
		if ok && is(s) {
			return Fixed(1), true
		}
		return Fixed(0), ok
	})
}

func logic(op func(a, b bool) bool) func(c *ShapeCall) (symbolic.Ints, bool) {
	return binaryValues(func(_ *ShapeCall, a, b Dim) (Dim, bool) {
		if !a.Known() || !b.Known() {
			return a, false
		}
		if op(a.N != 0, b.N != 0) {
			return Fixed(1), true
		}
		return Fixed(0), true
	})
}

// reduceValues reduces a list to one number.
func reduceValues(op func(c *ShapeCall, e []Dim) (Dim, bool)) func(c *ShapeCall) (symbolic.Ints, bool) {
	return func(c *ShapeCall) (symbolic.Ints, bool) {
		k, ok := c.list(0)
		if !ok || len(k.Shape) > 1 || len(c.Out) == 0 || c.Out[0].Shape == nil || !slices.Equal(c.Out[0].Shape, []Dim{Fixed(1)}) && len(c.Out[0].Shape) > 0 {
			return k, false
		}
		axes, given, ok := c.List(1, "axes")
		if !ok || (!given || len(axes) == 0) && c.N.Int("noop_with_empty_axes", 0) != 0 {
			return k, false
		}
		d, ok := op(c, k.Elems)
		out := symbolic.Ints{Shape: []int64{}, Elems: []Dim{d}}
		if len(c.Out[0].Shape) == 1 {
			out.Shape = []int64{1}
		}
		return out, ok
	}
}

// splitValues is part i of a list.
func (c *ShapeCall) splitValues(i int) (symbolic.Ints, bool) {
	k, ok := c.list(0)
	if !ok || len(k.Shape) != 1 || i >= len(c.Out) {
		return k, false
	}
	from := int64(0)
	for j := range i + 1 {
		if len(c.Out[j].Shape) != 1 || !c.Out[j].Shape[0].Known() {
			return k, false
		}
		if n := c.Out[j].Shape[0].N; j < i {
			from += n
		} else if from+n <= int64(len(k.Elems)) {
			return symbolic.Vector(k.Elems[from : from+n]), true
		}
	}
	return k, false
}

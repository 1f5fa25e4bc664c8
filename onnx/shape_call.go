package onnx

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// ShapeCall is one node whose outputs are to be inferred.
type ShapeCall struct {
	*Inferer
	N   *Node
	Out []Value
}

// shapeFunc sets c.out. It returns an error only for nodes that no input can make valid; where it cannot tell, it
// leaves outputs unset.
type shapeFunc func(c *ShapeCall) error

func (c *ShapeCall) has(i int) bool { return c.N.InName(i) != "" }

func (c *ShapeCall) arg(i int) []Dim { return c.Value(c.N.InName(i)).Shape }

func (c *ShapeCall) argType(i int) DType { return c.Value(c.N.InName(i)).Type }

// set sets output i when the node has it.
func (c *ShapeCall) set(i int, t DType, s []Dim) {
	if i < len(c.Out) {
		c.Out[i] = Value{Type: t, Shape: s}
	}
}

// need returns an error unless the first k operands are there.
func (c *ShapeCall) need(k int) error {
	for i := range k {
		if !c.has(i) {
			return fmt.Errorf("found %d operands, expected at least %d", len(c.N.In), k)
		}
	}
	return nil
}

// elems are the values of operand i as far as they are followed.
func (c *ShapeCall) elems(i int) ([]Dim, bool) {
	k, ok := c.Ints(c.N.InName(i))
	return k.Elems, ok
}

// numbers are the values of operand i when all of them are numbers.
func (c *ShapeCall) numbers(i int) ([]int64, bool) {
	e, ok := c.elems(i)
	if !ok {
		return nil, false
	}
	v := make([]int64, len(e))
	for k, d := range e {
		if !d.Known() {
			return nil, false
		}
		v[k] = d.N
	}
	return v, true
}

// List are integers given by operand i or, in older operator sets, by an attribute. given is false where neither is
// there, ok where their values are not known.
func (c *ShapeCall) List(i int, attr string) (v []int64, given, ok bool) {
	if a, has := c.N.Attr[attr]; has {
		return a.Ints, true, true
	}
	if !c.has(i) {
		return nil, false, true
	}
	v, ok = c.numbers(i)
	return v, true, ok
}

// scalarInt is a single integer given by operand i.
func (c *ShapeCall) scalarInt(i int) (int64, bool) {
	v, ok := c.numbers(i)
	if !ok || len(v) != 1 {
		return 0, false
	}
	return v[0], true
}

// Floats are the values of operand i when it is an initialiser.
func (c *ShapeCall) Floats(i int) ([]float64, bool) {
	t := c.Tensor(c.N.InName(i))
	if t == nil || t.Type == String || t.Count() < 0 || t.Count() > MaxKnown {
		return nil, false
	}
	v := make([]float64, t.Count())
	for k := range v {
		v[k] = t.Float(k)
	}
	return v, true
}

// Tensor is the initialiser name, nil when name is none.
func (f *Inferer) Tensor(name string) *Tensor {
	for ; f != nil; f = f.Outer {
		if t := f.G.Init[name]; t != nil {
			return t
		}
		if _, own := f.G.Info[name]; own {
			return nil
		}
	}
	return nil
}

// axis turns an axis that may count from the end into one that does not.
func NormAxis(a int64, rank int) (int, error) {
	if a < -int64(rank) || a >= int64(rank) {
		return 0, fmt.Errorf("axis: found %d, expected -%d to %d", a, rank, rank-1)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a), nil
}

// NormAxes does so for a list and refuses axes that come twice.
func NormAxes(axes []int64, rank int) ([]int, error) {
	var out []int
	for _, a := range axes {
		x, err := NormAxis(a, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, x) {
			return nil, fmt.Errorf("axes: found %d twice", a)
		}
		out = append(out, x)
	}
	return out, nil
}

// unknownDims is a shape of the given rank of which nothing else is known.
func (c *ShapeCall) unknownDims(rank int) []Dim {
	s := make([]Dim, rank)
	for i := range s {
		s[i] = c.fresh("")
	}
	return s
}

// propagate follows the values of shape arithmetic through the node, for its first output.
func (c *ShapeCall) propagate() (KnownInts, bool) {
	n := c.N
	fn := propagateTable[n.Op]
	if fn == nil || n.Domain != "" || len(n.Out) == 0 {
		return KnownInts{}, false
	}
	k, ok := fn(c)
	if !ok || len(k.Elems) > MaxKnown {
		return KnownInts{}, false
	}
	t := c.Typ(n.Out[0])
	for _, d := range k.Elems {
		if d.Known() && !t.exact(d.N) {
			return KnownInts{}, false
		}
	}
	count, err := SizeOf(k.Shape)
	return k, err == nil && count == len(k.Elems)
}

// exact tells whether the type holds the whole number v; arithmetic that leaves it would wrap or round.
func (t DType) exact(v int64) bool {
	switch t {
	case Float64:
		return bounded(v)
	case Float32:
		return absInt(v) <= 1<<24 && v != math.MinInt64
	}
	return !t.IsInt() || Wrap(t, v) == v
}

// propagateTable holds the operators through which integer values are followed.
var propagateTable = map[string]func(c *ShapeCall) (KnownInts, bool){
	"Shape": func(c *ShapeCall) (KnownInts, bool) {
		s := c.arg(0)
		if s == nil {
			return KnownInts{}, false
		}
		from, to := shapeRange(c.N.Int("start", 0), c.N.Int("end", math.MaxInt64), int64(len(s)))
		return vector(s[from:to]), true
	},
	"Size": func(c *ShapeCall) (KnownInts, bool) {
		s := c.arg(0)
		return KnownInts{[]int64{}, []Dim{c.size(s)}}, s != nil
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
	"Neg": func(c *ShapeCall) (KnownInts, bool) {
		k, ok := c.Ints(c.N.InName(0))
		if !ok {
			return k, false
		}
		e := make([]Dim, len(k.Elems))
		for i, d := range k.Elems {
			e[i] = neg(d)
			if d == Fixed(0) {
				e[i] = d
			}
		}
		return KnownInts{k.Shape, e}, true
	},
	"Concat": func(c *ShapeCall) (KnownInts, bool) {
		out := KnownInts{Shape: []int64{0}}
		for i := range c.N.In {
			k, ok := c.Ints(c.N.InName(i))
			if !ok || len(k.Shape) != 1 {
				return out, false
			}
			out.Elems = append(out.Elems, k.Elems...)
		}
		out.Shape[0] = int64(len(out.Elems))
		return out, true
	},
	"Gather":          gatherValues,
	"Slice":           sliceValues,
	"Expand":          expandValues,
	"ConstantOfShape": constantOfShapeValues,
	"Range":           rangeValues,
	"ScatterElements": scatterValues,
	"ScatterND":       scatterValues,
	"Add":             binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) { return c.add(a, b), true }),
	"Sub":             binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) { return c.add(a, neg(b)), true }),
	"Mul":             binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) { return c.mul(a, b), true }),
	"Div":             binaryValues(divValue),
	"Mod":             binaryValues(modValue),
	"Min": binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) {
		less, ok := Compare(a, b)
		if less > 0 {
			a = b
		}
		return a, ok
	}),
	"Max": binaryValues(func(c *ShapeCall, a, b Dim) (Dim, bool) {
		less, ok := Compare(a, b)
		if less < 0 {
			a = b
		}
		return a, ok
	}),
	"Equal":          truth(func(s int) bool { return s == 0 }),
	"Greater":        truth(func(s int) bool { return s > 0 }),
	"GreaterOrEqual": truth(func(s int) bool { return s >= 0 }),
	"Less":           truth(func(s int) bool { return s < 0 }),
	"LessOrEqual":    truth(func(s int) bool { return s <= 0 }),
	"And":            logic(func(a, b bool) bool { return a && b }),
	"Or":             logic(func(a, b bool) bool { return a || b }),
	"Not": func(c *ShapeCall) (KnownInts, bool) {
		v, ok := c.numbers(0)
		k, _ := c.Ints(c.N.InName(0))
		if !ok {
			return k, false
		}
		e := make([]Dim, len(v))
		for i, x := range v {
			e[i] = Fixed(1 - min(1, absInt(x)))
		}
		return KnownInts{k.Shape, e}, true
	},
	"Where": whereValues,
	"ReduceProd": reduceValues(func(c *ShapeCall, e []Dim) (Dim, bool) {
		return c.size(e), true
	}),
	"ReduceSum": reduceValues(func(c *ShapeCall, e []Dim) (Dim, bool) {
		s := Fixed(0)
		for _, d := range e {
			s = c.add(s, d)
		}
		return s, true
	}),
	"ReduceMax": reduceValues(func(c *ShapeCall, e []Dim) (Dim, bool) { return extremumOf(e, 1) }),
	"ReduceMin": reduceValues(func(c *ShapeCall, e []Dim) (Dim, bool) { return extremumOf(e, -1) }),
}

func vector(e []Dim) KnownInts {
	return KnownInts{[]int64{int64(len(e))}, slices.Clone(e)}
}

func keepValues(c *ShapeCall) (KnownInts, bool) { return c.Ints(c.N.InName(0)) }

// castValues follows whole numbers; a cast to Bool or to a type that may wrap is followed only for small numbers.
func castValues(c *ShapeCall) (KnownInts, bool) {
	k, ok := c.Ints(c.N.InName(0))
	if !ok {
		return k, false
	}
	switch to := DType(c.N.Int("to", 0)); to {
	case Int64, Float32, Float64, Int32:
		for _, d := range k.Elems {
			if d.Known() && absInt(d.N) >= 1<<24 && to != Int64 && to != Float64 {
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
			e[i] = Fixed(min(1, absInt(d.N)))
		}
		return KnownInts{k.Shape, e}, true
	}
	return k, false
}

// reshapeValues keeps the values under the output's shape.
func reshapeValues(c *ShapeCall) (KnownInts, bool) {
	k, ok := c.Ints(c.N.InName(0))
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
	return KnownInts{shape, k.Elems}, true
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

func gatherValues(c *ShapeCall) (KnownInts, bool) {
	data, ok := c.Ints(c.N.InName(0))
	idx, ok2 := c.Ints(c.N.InName(1))
	if !ok || !ok2 || len(data.Shape) != 1 {
		return data, false
	}
	out := KnownInts{Shape: idx.Shape, Elems: make([]Dim, len(idx.Elems))}
	for i, d := range idx.Elems {
		k := d.N
		if k < 0 {
			k += int64(len(data.Elems))
		}
		if !d.Known() || k < 0 || k >= int64(len(data.Elems)) {
			return out, false
		}
		out.Elems[i] = data.Elems[k]
	}
	return out, true
}

func sliceValues(c *ShapeCall) (KnownInts, bool) {
	data, ok := c.Ints(c.N.InName(0))
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
		first, count, err := sliceOf(starts[i], ends[i], step, data.Shape[a])
		if err != nil {
			return data, false
		}
		data = data.take(a, first, count, step)
	}
	return data, true
}

// take keeps count positions of axis a: first, first+step, …
func (k KnownInts) take(a int, first, count, step int64) KnownInts {
	out := KnownInts{Shape: slices.Clone(k.Shape)}
	out.Shape[a] = count
	inner := int64(1)
	for _, d := range k.Shape[a+1:] {
		inner *= d
	}
	block := inner * k.Shape[a]
	for at := int64(0); at < int64(len(k.Elems)); at += block {
		for i := range count {
			from := at + (first+i*step)*inner
			out.Elems = append(out.Elems, k.Elems[from:from+inner]...)
		}
	}
	return out
}

// transposeValues permutes the axes of a list or a small matrix.
func transposeValues(c *ShapeCall) (KnownInts, bool) {
	k, ok := c.Ints(c.N.InName(0))
	if !ok || len(k.Shape) < 2 {
		return k, ok
	}
	perm := c.N.Ints("perm")
	if len(k.Shape) != 2 || perm != nil && !slices.Equal(perm, []int64{1, 0}) {
		return k, false
	}
	rows, cols := k.Shape[0], k.Shape[1]
	out := KnownInts{Shape: []int64{cols, rows}}
	for j := range cols {
		for i := range rows {
			out.Elems = append(out.Elems, k.Elems[i*cols+j])
		}
	}
	return out, true
}

// sliceOf is the first index and the number of elements that a slice takes of n.
func sliceOf(start, end, step, n int64) (first, count int64, err error) {
	if step == 0 || step == math.MinInt64 {
		return 0, 0, fmt.Errorf("step: found %d, expected another number", step)
	}
	at := func(v, lo, hi int64) int64 {
		if v < 0 {
			if v < -n {
				v = -1
				if lo == 0 {
					v = 0
				}
			} else {
				v += n
			}
		}
		return min(max(v, lo), hi)
	}
	if step > 0 {
		first, end = at(start, 0, n), at(end, 0, n)
		if end > first {
			count = (end - first - 1) / step
			count++
		}
		return first, count, nil
	}
	first, end = at(start, -1, n-1), at(end, -1, n-1)
	if start < -n {
		first = -1
	}
	if first > end {
		count = (first-end-1)/(-step) + 1
	}
	return first, count, nil
}

func expandValues(c *ShapeCall) (KnownInts, bool) {
	data, ok := c.Ints(c.N.InName(0))
	if !ok || len(data.Elems) != 1 || len(c.Out) == 0 {
		return data, false
	}
	return c.filled(data.Elems[0])
}

// filled is d in every element of the output's shape.
func (c *ShapeCall) filled(d Dim) (KnownInts, bool) {
	if c.Out[0].Shape == nil {
		return KnownInts{}, false
	}
	k := KnownInts{Shape: make([]int64, len(c.Out[0].Shape))}
	for i, x := range c.Out[0].Shape {
		if !x.Known() {
			return k, false
		}
		k.Shape[i] = x.N
	}
	n, err := SizeOf(k.Shape)
	if err != nil || n > MaxKnown {
		return k, false
	}
	for range n {
		k.Elems = append(k.Elems, d)
	}
	return k, true
}

func constantOfShapeValues(c *ShapeCall) (KnownInts, bool) {
	t := c.N.Attr["value"].Tensor
	if t == nil || t.Ints == nil || len(t.Ints) != 1 || len(c.Out) == 0 {
		return KnownInts{}, false
	}
	return c.filled(Fixed(t.Ints[0]))
}

func rangeValues(c *ShapeCall) (KnownInts, bool) {
	start, ok1 := c.scalarInt(0)
	limit, ok2 := c.scalarInt(1)
	step, ok3 := c.scalarInt(2)
	if !ok1 || !ok2 || !ok3 || step == 0 || !bounded(start) || !bounded(limit) || !bounded(step) {
		return KnownInts{}, false
	}
	count := max(0, -floorDiv(-(limit-start)*signInt(step), absInt(step)))
	if count > MaxKnown {
		return KnownInts{}, false
	}
	out := KnownInts{Shape: []int64{count}}
	for i := range count {
		out.Elems = append(out.Elems, Fixed(start+i*step))
	}
	return out, true
}

func signInt(a int64) int64 {
	if a < 0 {
		return -1
	}
	return 1
}

// scatterValues replaces elements of a list.
func scatterValues(c *ShapeCall) (KnownInts, bool) {
	data, ok := c.Ints(c.N.InName(0))
	idx, ok1 := c.numbers(1)
	upd, ok2 := c.Ints(c.N.InName(2))
	if !ok || !ok1 || !ok2 || len(data.Shape) != 1 || len(idx) != len(upd.Elems) || c.N.Str("reduction", "none") != "none" {
		return data, false
	}
	out := KnownInts{data.Shape, slices.Clone(data.Elems)}
	for i, k := range idx {
		if k < 0 {
			k += int64(len(out.Elems))
		}
		if k < 0 || k >= int64(len(out.Elems)) {
			return out, false
		}
		out.Elems[k] = upd.Elems[i]
	}
	return out, true
}

// binaryValues applies op to two lists; one of them may have a single element.
func binaryValues(op func(c *ShapeCall, a, b Dim) (Dim, bool)) func(c *ShapeCall) (KnownInts, bool) {
	return func(c *ShapeCall) (KnownInts, bool) {
		if len(c.N.In) != 2 {
			return KnownInts{}, false
		}
		a, ok := c.Ints(c.N.InName(0))
		b, ok2 := c.Ints(c.N.InName(1))
		if !ok || !ok2 {
			return a, false
		}
		out := KnownInts{Shape: a.Shape}
		na, nb := len(a.Elems), len(b.Elems)
		switch {
		case slices.Equal(a.Shape, b.Shape):
		case na == 1 && len(a.Shape) <= len(b.Shape):
			out.Shape = b.Shape
		case nb == 1 && len(b.Shape) <= len(a.Shape):
		default:
			return out, false
		}
		n := max(na, nb)
		if na == 0 || nb == 0 {
			n = 0
		}
		out.Elems = make([]Dim, n)
		for i := range out.Elems {
			out.Elems[i], ok = op(c, a.Elems[i%na], b.Elems[i%nb])
			if !ok {
				return out, false
			}
		}
		return out, true
	}
}

// divValue is a/b of whole numbers; for integers it is rounded towards zero as ONNX does.
func divValue(c *ShapeCall, a, b Dim) (Dim, bool) {
	isInt := c.argType(0).IsInt()
	switch {
	case b.Known() && b.N == 0:
		return a, false
	case a.Known() && b.Known():
		return Fixed(a.N / b.N), isInt || a.N%b.N == 0
	case b.Known() && a.N%b.N == 0:
		return Dim{a.N / b.N, a.Sym}, true
	case a.Sym == b.Sym && a.N%b.N == 0:
		return Fixed(a.N / b.N), true
	case !isInt:
		return a, false
	case b.Known() && b.N > 0:
		return c.affine(a, 1, 0, b.N, 0), true
	}
	return c.fresh(fmt.Sprintf("(%v)/(%v)", a, b)), true
}

func modValue(c *ShapeCall, a, b Dim) (Dim, bool) {
	switch {
	case !b.Known() || b.N == 0 || c.N.Int("fmod", 0) != 0:
		return a, false
	case a.Known():
		m := a.N % b.N
		if m != 0 && (m < 0) != (b.N < 0) {
			m += b.N
		}
		return Fixed(m), true
	case a.N%b.N == 0:
		return Fixed(0), true
	}
	return c.fresh(fmt.Sprintf("(%v)%%(%v)", a, b)), true
}

// Compare tells the sign of a - b where it is known. Symbols stand for extents of at least 0; a symbolic extent is
// taken to be different from -1.
func Compare(a, b Dim) (int, bool) {
	switch {
	case a.Sym == b.Sym:
		return cmp.Compare(a.N, b.N), a.Known() || a.N == b.N
	case a.Known() && a.N < 0 && b.N > 0 && b.Sym[0] != '?':
		return -1, true
	case b.Known() && b.N < 0 && a.N > 0 && a.Sym[0] != '?':
		return 1, true
	}
	return 0, false
}

func truth(is func(sign int) bool) func(c *ShapeCall) (KnownInts, bool) {
	return binaryValues(func(_ *ShapeCall, a, b Dim) (Dim, bool) {
		s, ok := Compare(a, b)
		if ok && is(s) {
			return Fixed(1), true
		}
		return Fixed(0), ok
	})
}

func logic(op func(a, b bool) bool) func(c *ShapeCall) (KnownInts, bool) {
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

func whereValues(c *ShapeCall) (KnownInts, bool) {
	cond, ok := c.numbers(0)
	a, ok1 := c.Ints(c.N.InName(1))
	b, ok2 := c.Ints(c.N.InName(2))
	k, _ := c.Ints(c.N.InName(0))
	if !ok || !ok1 || !ok2 {
		return k, false
	}
	out := KnownInts{Shape: []int64{}}
	n := 1
	for _, s := range []KnownInts{k, a, b} {
		if len(s.Shape) > 1 {
			return k, false
		}
		if len(s.Shape) == 1 {
			if n != 1 && len(s.Elems) != 1 && len(s.Elems) != n {
				return k, false
			}
			if len(s.Elems) != 1 {
				n = len(s.Elems)
			}
			out.Shape = []int64{int64(n)}
		}
	}
	for i := range n {
		pick := b
		if cond[i%len(cond)] != 0 {
			pick = a
		}
		out.Elems = append(out.Elems, pick.Elems[i%len(pick.Elems)])
	}
	return out, true
}

// reduceValues reduces a list to one number.
func reduceValues(op func(c *ShapeCall, e []Dim) (Dim, bool)) func(c *ShapeCall) (KnownInts, bool) {
	return func(c *ShapeCall) (KnownInts, bool) {
		k, ok := c.Ints(c.N.InName(0))
		if !ok || len(k.Shape) > 1 || len(c.Out) == 0 || c.Out[0].Shape == nil || !slices.Equal(c.Out[0].Shape, []Dim{Fixed(1)}) && len(c.Out[0].Shape) > 0 {
			return k, false
		}
		axes, given, ok := c.List(1, "axes")
		if !ok || (!given || len(axes) == 0) && c.N.Int("noop_with_empty_axes", 0) != 0 {
			return k, false
		}
		d, ok := op(c, k.Elems)
		out := KnownInts{Shape: []int64{}, Elems: []Dim{d}}
		if len(c.Out[0].Shape) == 1 {
			out.Shape = []int64{1}
		}
		return out, ok
	}
}

func extremumOf(e []Dim, sign int) (Dim, bool) {
	if len(e) == 0 {
		return Dim{}, false
	}
	best := e[0]
	for _, d := range e[1:] {
		s, ok := Compare(d, best)
		if !ok {
			return best, false
		}
		if s*sign > 0 {
			best = d
		}
	}
	return best, true
}

// splitValues is part i of a list.
func (c *ShapeCall) splitValues(i int) (KnownInts, bool) {
	k, ok := c.Ints(c.N.InName(0))
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
			return vector(k.Elems[from : from+n]), true
		}
	}
	return k, false
}

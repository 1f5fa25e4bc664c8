package onnx

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// shapeCall is one node whose outputs are to be inferred.
type shapeCall struct {
	*inferer
	n   *Node
	out []Value
}

// shapeFunc sets c.out. It returns an error only for nodes that no input can make valid; where it cannot tell, it
// leaves outputs unset.
type shapeFunc func(c *shapeCall) error

func (c *shapeCall) has(i int) bool      { return c.n.inName(i) != "" }
func (c *shapeCall) arg(i int) []Dim     { return c.value(c.n.inName(i)).Shape }
func (c *shapeCall) argType(i int) DType { return c.value(c.n.inName(i)).Type }

// set sets output i when the node has it.
func (c *shapeCall) set(i int, t DType, s []Dim) {
	if i < len(c.out) {
		c.out[i] = Value{Type: t, Shape: s}
	}
}

// need returns an error unless the first k operands are there.
func (c *shapeCall) need(k int) error {
	for i := range k {
		if !c.has(i) {
			return fmt.Errorf("found %d operands, expected at least %d", len(c.n.In), k)
		}
	}
	return nil
}

// elems are the values of operand i as far as they are followed.
func (c *shapeCall) elems(i int) ([]Dim, bool) {
	k, ok := c.ints(c.n.inName(i))
	return k.elems, ok
}

// numbers are the values of operand i when all of them are numbers.
func (c *shapeCall) numbers(i int) ([]int64, bool) {
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

// list are integers given by operand i or, in older operator sets, by an attribute. given is false where neither is
// there, ok where their values are not known.
func (c *shapeCall) list(i int, attr string) (v []int64, given, ok bool) {
	if a, has := c.n.Attr[attr]; has {
		return a.Ints, true, true
	}
	if !c.has(i) {
		return nil, false, true
	}
	v, ok = c.numbers(i)
	return v, true, ok
}

// scalarInt is a single integer given by operand i.
func (c *shapeCall) scalarInt(i int) (int64, bool) {
	v, ok := c.numbers(i)
	if !ok || len(v) != 1 {
		return 0, false
	}
	return v[0], true
}

// floats are the values of operand i when it is an initialiser.
func (c *shapeCall) floats(i int) ([]float64, bool) {
	t := c.init(c.n.inName(i))
	if t == nil || t.Type == String || t.count() < 0 || t.count() > maxKnown {
		return nil, false
	}
	v := make([]float64, t.count())
	for k := range v {
		v[k] = t.Float(k)
	}
	return v, true
}

// init is the initialiser name, nil when name is none.
func (f *inferer) init(name string) *Tensor {
	for ; f != nil; f = f.outer {
		if t := f.g.Init[name]; t != nil {
			return t
		}
		if _, own := f.g.Info[name]; own {
			return nil
		}
	}
	return nil
}

// axis turns an axis that may count from the end into one that does not.
func normAxis(a int64, rank int) (int, error) {
	if a < -int64(rank) || a >= int64(rank) {
		return 0, fmt.Errorf("axis: found %d, expected -%d to %d", a, rank, rank-1)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a), nil
}

// normAxes does so for a list and refuses axes that come twice.
func normAxes(axes []int64, rank int) ([]int, error) {
	var out []int
	for _, a := range axes {
		x, err := normAxis(a, rank)
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
func (c *shapeCall) unknownDims(rank int) []Dim {
	s := make([]Dim, rank)
	for i := range s {
		s[i] = c.fresh("")
	}
	return s
}

// propagate follows the values of shape arithmetic through the node, for its first output.
func (c *shapeCall) propagate() (knownInts, bool) {
	n := c.n
	fn := propagateTable[n.Op]
	if fn == nil || n.Domain != "" || len(n.Out) == 0 {
		return knownInts{}, false
	}
	k, ok := fn(c)
	if !ok || len(k.elems) > maxKnown {
		return knownInts{}, false
	}
	t := c.typ(n.Out[0])
	for _, d := range k.elems {
		if d.Known() && !t.exact(d.N) {
			return knownInts{}, false
		}
	}
	count, err := sizeOf(k.shape)
	return k, err == nil && count == len(k.elems)
}

// exact tells whether the type holds the whole number v; arithmetic that leaves it would wrap or round.
func (t DType) exact(v int64) bool {
	switch t {
	case Float64:
		return bounded(v)
	case Float32:
		return absInt(v) <= 1<<24 && v != math.MinInt64
	}
	return !t.IsInt() || wrap(t, v) == v
}

// propagateTable holds the operators through which integer values are followed.
var propagateTable = map[string]func(c *shapeCall) (knownInts, bool){
	"Shape": func(c *shapeCall) (knownInts, bool) {
		s := c.arg(0)
		if s == nil {
			return knownInts{}, false
		}
		from, to := shapeRange(c.n.Int("start", 0), c.n.Int("end", math.MaxInt64), int64(len(s)))
		return vector(s[from:to]), true
	},
	"Size": func(c *shapeCall) (knownInts, bool) {
		s := c.arg(0)
		return knownInts{[]int64{}, []Dim{c.size(s)}}, s != nil
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
	"Neg": func(c *shapeCall) (knownInts, bool) {
		k, ok := c.ints(c.n.inName(0))
		if !ok {
			return k, false
		}
		e := make([]Dim, len(k.elems))
		for i, d := range k.elems {
			e[i] = neg(d)
			if d == num(0) {
				e[i] = d
			}
		}
		return knownInts{k.shape, e}, true
	},
	"Concat": func(c *shapeCall) (knownInts, bool) {
		out := knownInts{shape: []int64{0}}
		for i := range c.n.In {
			k, ok := c.ints(c.n.inName(i))
			if !ok || len(k.shape) != 1 {
				return out, false
			}
			out.elems = append(out.elems, k.elems...)
		}
		out.shape[0] = int64(len(out.elems))
		return out, true
	},
	"Gather":          gatherValues,
	"Slice":           sliceValues,
	"Expand":          expandValues,
	"ConstantOfShape": constantOfShapeValues,
	"Range":           rangeValues,
	"ScatterElements": scatterValues,
	"ScatterND":       scatterValues,
	"Add":             binaryValues(func(c *shapeCall, a, b Dim) (Dim, bool) { return c.add(a, b), true }),
	"Sub":             binaryValues(func(c *shapeCall, a, b Dim) (Dim, bool) { return c.add(a, neg(b)), true }),
	"Mul":             binaryValues(func(c *shapeCall, a, b Dim) (Dim, bool) { return c.mul(a, b), true }),
	"Div":             binaryValues(divValue),
	"Mod":             binaryValues(modValue),
	"Min": binaryValues(func(c *shapeCall, a, b Dim) (Dim, bool) {
		less, ok := compare(a, b)
		if less > 0 {
			a = b
		}
		return a, ok
	}),
	"Max": binaryValues(func(c *shapeCall, a, b Dim) (Dim, bool) {
		less, ok := compare(a, b)
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
	"Not": func(c *shapeCall) (knownInts, bool) {
		v, ok := c.numbers(0)
		k, _ := c.ints(c.n.inName(0))
		if !ok {
			return k, false
		}
		e := make([]Dim, len(v))
		for i, x := range v {
			e[i] = num(1 - min(1, absInt(x)))
		}
		return knownInts{k.shape, e}, true
	},
	"Where": whereValues,
	"ReduceProd": reduceValues(func(c *shapeCall, e []Dim) (Dim, bool) {
		return c.size(e), true
	}),
	"ReduceSum": reduceValues(func(c *shapeCall, e []Dim) (Dim, bool) {
		s := num(0)
		for _, d := range e {
			s = c.add(s, d)
		}
		return s, true
	}),
	"ReduceMax": reduceValues(func(c *shapeCall, e []Dim) (Dim, bool) { return extremumOf(e, 1) }),
	"ReduceMin": reduceValues(func(c *shapeCall, e []Dim) (Dim, bool) { return extremumOf(e, -1) }),
}

func vector(e []Dim) knownInts {
	return knownInts{[]int64{int64(len(e))}, slices.Clone(e)}
}

func keepValues(c *shapeCall) (knownInts, bool) { return c.ints(c.n.inName(0)) }

// castValues follows whole numbers; a cast to Bool or to a type that may wrap is followed only for small numbers.
func castValues(c *shapeCall) (knownInts, bool) {
	k, ok := c.ints(c.n.inName(0))
	if !ok {
		return k, false
	}
	switch to := DType(c.n.Int("to", 0)); to {
	case Int64, Float32, Float64, Int32:
		for _, d := range k.elems {
			if d.Known() && absInt(d.N) >= 1<<24 && to != Int64 && to != Float64 {
				return k, false
			}
		}
		return k, true
	case Bool:
		e := make([]Dim, len(k.elems))
		for i, d := range k.elems {
			if !d.Known() {
				return k, false
			}
			e[i] = num(min(1, absInt(d.N)))
		}
		return knownInts{k.shape, e}, true
	}
	return k, false
}

// reshapeValues keeps the values under the output's shape.
func reshapeValues(c *shapeCall) (knownInts, bool) {
	k, ok := c.ints(c.n.inName(0))
	if !ok || len(c.out) == 0 || c.out[0].Shape == nil {
		return k, false
	}
	shape := make([]int64, len(c.out[0].Shape))
	for i, d := range c.out[0].Shape {
		if !d.Known() {
			return k, false
		}
		shape[i] = d.N
	}
	return knownInts{shape, k.elems}, true
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

func gatherValues(c *shapeCall) (knownInts, bool) {
	data, ok := c.ints(c.n.inName(0))
	idx, ok2 := c.ints(c.n.inName(1))
	if !ok || !ok2 || len(data.shape) != 1 {
		return data, false
	}
	out := knownInts{shape: idx.shape, elems: make([]Dim, len(idx.elems))}
	for i, d := range idx.elems {
		k := d.N
		if k < 0 {
			k += int64(len(data.elems))
		}
		if !d.Known() || k < 0 || k >= int64(len(data.elems)) {
			return out, false
		}
		out.elems[i] = data.elems[k]
	}
	return out, true
}

func sliceValues(c *shapeCall) (knownInts, bool) {
	data, ok := c.ints(c.n.inName(0))
	starts, _, ok1 := c.list(1, "starts")
	ends, _, ok2 := c.list(2, "ends")
	axes, given, ok3 := c.list(3, "axes")
	steps, stepped, ok4 := c.list(4, "steps")
	if !ok || !ok1 || !ok2 || !ok3 || !ok4 || len(starts) != len(ends) || given && len(axes) != len(starts) || stepped && len(steps) != len(starts) || len(starts) > len(data.shape) {
		return data, false
	}
	for i := range starts {
		a, step := i, int64(1)
		if given {
			var err error
			if a, err = normAxis(axes[i], len(data.shape)); err != nil {
				return data, false
			}
		}
		if stepped {
			step = steps[i]
		}
		first, count, err := sliceOf(starts[i], ends[i], step, data.shape[a])
		if err != nil {
			return data, false
		}
		data = data.take(a, first, count, step)
	}
	return data, true
}

// take keeps count positions of axis a: first, first+step, …
func (k knownInts) take(a int, first, count, step int64) knownInts {
	out := knownInts{shape: slices.Clone(k.shape)}
	out.shape[a] = count
	inner := int64(1)
	for _, d := range k.shape[a+1:] {
		inner *= d
	}
	block := inner * k.shape[a]
	for at := int64(0); at < int64(len(k.elems)); at += block {
		for i := range count {
			from := at + (first+i*step)*inner
			out.elems = append(out.elems, k.elems[from:from+inner]...)
		}
	}
	return out
}

// transposeValues permutes the axes of a list or a small matrix.
func transposeValues(c *shapeCall) (knownInts, bool) {
	k, ok := c.ints(c.n.inName(0))
	if !ok || len(k.shape) < 2 {
		return k, ok
	}
	perm := c.n.Ints("perm")
	if len(k.shape) != 2 || perm != nil && !slices.Equal(perm, []int64{1, 0}) {
		return k, false
	}
	rows, cols := k.shape[0], k.shape[1]
	out := knownInts{shape: []int64{cols, rows}}
	for j := range cols {
		for i := range rows {
			out.elems = append(out.elems, k.elems[i*cols+j])
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

func expandValues(c *shapeCall) (knownInts, bool) {
	data, ok := c.ints(c.n.inName(0))
	if !ok || len(data.elems) != 1 || len(c.out) == 0 {
		return data, false
	}
	return c.filled(data.elems[0])
}

// filled is d in every element of the output's shape.
func (c *shapeCall) filled(d Dim) (knownInts, bool) {
	if c.out[0].Shape == nil {
		return knownInts{}, false
	}
	k := knownInts{shape: make([]int64, len(c.out[0].Shape))}
	for i, x := range c.out[0].Shape {
		if !x.Known() {
			return k, false
		}
		k.shape[i] = x.N
	}
	n, err := sizeOf(k.shape)
	if err != nil || n > maxKnown {
		return k, false
	}
	for range n {
		k.elems = append(k.elems, d)
	}
	return k, true
}

func constantOfShapeValues(c *shapeCall) (knownInts, bool) {
	t := c.n.Attr["value"].Tensor
	if t == nil || t.Ints == nil || len(t.Ints) != 1 || len(c.out) == 0 {
		return knownInts{}, false
	}
	return c.filled(num(t.Ints[0]))
}

func rangeValues(c *shapeCall) (knownInts, bool) {
	start, ok1 := c.scalarInt(0)
	limit, ok2 := c.scalarInt(1)
	step, ok3 := c.scalarInt(2)
	if !ok1 || !ok2 || !ok3 || step == 0 || !bounded(start) || !bounded(limit) || !bounded(step) {
		return knownInts{}, false
	}
	count := max(0, -floorDiv(-(limit-start)*signInt(step), absInt(step)))
	if count > maxKnown {
		return knownInts{}, false
	}
	out := knownInts{shape: []int64{count}}
	for i := range count {
		out.elems = append(out.elems, num(start+i*step))
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
func scatterValues(c *shapeCall) (knownInts, bool) {
	data, ok := c.ints(c.n.inName(0))
	idx, ok1 := c.numbers(1)
	upd, ok2 := c.ints(c.n.inName(2))
	if !ok || !ok1 || !ok2 || len(data.shape) != 1 || len(idx) != len(upd.elems) || c.n.Str("reduction", "none") != "none" {
		return data, false
	}
	out := knownInts{data.shape, slices.Clone(data.elems)}
	for i, k := range idx {
		if k < 0 {
			k += int64(len(out.elems))
		}
		if k < 0 || k >= int64(len(out.elems)) {
			return out, false
		}
		out.elems[k] = upd.elems[i]
	}
	return out, true
}

// binaryValues applies op to two lists; one of them may have a single element.
func binaryValues(op func(c *shapeCall, a, b Dim) (Dim, bool)) func(c *shapeCall) (knownInts, bool) {
	return func(c *shapeCall) (knownInts, bool) {
		if len(c.n.In) != 2 {
			return knownInts{}, false
		}
		a, ok := c.ints(c.n.inName(0))
		b, ok2 := c.ints(c.n.inName(1))
		if !ok || !ok2 {
			return a, false
		}
		out := knownInts{shape: a.shape}
		na, nb := len(a.elems), len(b.elems)
		switch {
		case slices.Equal(a.shape, b.shape):
		case na == 1 && len(a.shape) <= len(b.shape):
			out.shape = b.shape
		case nb == 1 && len(b.shape) <= len(a.shape):
		default:
			return out, false
		}
		n := max(na, nb)
		if na == 0 || nb == 0 {
			n = 0
		}
		out.elems = make([]Dim, n)
		for i := range out.elems {
			out.elems[i], ok = op(c, a.elems[i%na], b.elems[i%nb])
			if !ok {
				return out, false
			}
		}
		return out, true
	}
}

// divValue is a/b of whole numbers; for integers it is rounded towards zero as ONNX does.
func divValue(c *shapeCall, a, b Dim) (Dim, bool) {
	isInt := c.argType(0).IsInt()
	switch {
	case b.Known() && b.N == 0:
		return a, false
	case a.Known() && b.Known():
		return num(a.N / b.N), isInt || a.N%b.N == 0
	case b.Known() && a.N%b.N == 0:
		return Dim{a.N / b.N, a.Sym}, true
	case a.Sym == b.Sym && a.N%b.N == 0:
		return num(a.N / b.N), true
	case !isInt:
		return a, false
	case b.Known() && b.N > 0:
		return c.affine(a, 1, 0, b.N, 0), true
	}
	return c.fresh(fmt.Sprintf("(%v)/(%v)", a, b)), true
}

func modValue(c *shapeCall, a, b Dim) (Dim, bool) {
	switch {
	case !b.Known() || b.N == 0 || c.n.Int("fmod", 0) != 0:
		return a, false
	case a.Known():
		m := a.N % b.N
		if m != 0 && (m < 0) != (b.N < 0) {
			m += b.N
		}
		return num(m), true
	case a.N%b.N == 0:
		return num(0), true
	}
	return c.fresh(fmt.Sprintf("(%v)%%(%v)", a, b)), true
}

// compare tells the sign of a - b where it is known. Symbols stand for extents of at least 0; a symbolic extent is
// taken to be different from -1.
func compare(a, b Dim) (int, bool) {
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

func truth(is func(sign int) bool) func(c *shapeCall) (knownInts, bool) {
	return binaryValues(func(_ *shapeCall, a, b Dim) (Dim, bool) {
		s, ok := compare(a, b)
		if ok && is(s) {
			return num(1), true
		}
		return num(0), ok
	})
}

func logic(op func(a, b bool) bool) func(c *shapeCall) (knownInts, bool) {
	return binaryValues(func(_ *shapeCall, a, b Dim) (Dim, bool) {
		if !a.Known() || !b.Known() {
			return a, false
		}
		if op(a.N != 0, b.N != 0) {
			return num(1), true
		}
		return num(0), true
	})
}

func whereValues(c *shapeCall) (knownInts, bool) {
	cond, ok := c.numbers(0)
	a, ok1 := c.ints(c.n.inName(1))
	b, ok2 := c.ints(c.n.inName(2))
	k, _ := c.ints(c.n.inName(0))
	if !ok || !ok1 || !ok2 {
		return k, false
	}
	out := knownInts{shape: []int64{}}
	n := 1
	for _, s := range []knownInts{k, a, b} {
		if len(s.shape) > 1 {
			return k, false
		}
		if len(s.shape) == 1 {
			if n != 1 && len(s.elems) != 1 && len(s.elems) != n {
				return k, false
			}
			if len(s.elems) != 1 {
				n = len(s.elems)
			}
			out.shape = []int64{int64(n)}
		}
	}
	for i := range n {
		pick := b
		if cond[i%len(cond)] != 0 {
			pick = a
		}
		out.elems = append(out.elems, pick.elems[i%len(pick.elems)])
	}
	return out, true
}

// reduceValues reduces a list to one number.
func reduceValues(op func(c *shapeCall, e []Dim) (Dim, bool)) func(c *shapeCall) (knownInts, bool) {
	return func(c *shapeCall) (knownInts, bool) {
		k, ok := c.ints(c.n.inName(0))
		if !ok || len(k.shape) > 1 || len(c.out) == 0 || c.out[0].Shape == nil || !slices.Equal(c.out[0].Shape, []Dim{num(1)}) && len(c.out[0].Shape) > 0 {
			return k, false
		}
		axes, given, ok := c.list(1, "axes")
		if !ok || (!given || len(axes) == 0) && c.n.Int("noop_with_empty_axes", 0) != 0 {
			return k, false
		}
		d, ok := op(c, k.elems)
		out := knownInts{shape: []int64{}, elems: []Dim{d}}
		if len(c.out[0].Shape) == 1 {
			out.shape = []int64{1}
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
		s, ok := compare(d, best)
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
func (c *shapeCall) splitValues(i int) (knownInts, bool) {
	k, ok := c.ints(c.n.inName(0))
	if !ok || len(k.shape) != 1 || i >= len(c.out) {
		return k, false
	}
	from := int64(0)
	for j := range i + 1 {
		if len(c.out[j].Shape) != 1 || !c.out[j].Shape[0].Known() {
			return k, false
		}
		if n := c.out[j].Shape[0].N; j < i {
			from += n
		} else if from+n <= int64(len(k.elems)) {
			return vector(k.elems[from : from+n]), true
		}
	}
	return k, false
}

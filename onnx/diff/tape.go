package diff

import (
	"fmt"
	"slices"
	"strconv"

	"lenskit/onnx"
)

// tape is a derived graph under construction: a builder of its nodes, which read the primal's values.
type tape struct {
	*onnx.Builder
	early  map[string]bool   // values of nodes that only look at shapes of primal values
	shared map[string]string // shapes and zeros of primal values, by what they are
	opset  int
	// In a Jacobian: the symbol of the batch axis, the primal's values with that symbol in their shapes (the tape has 1 in
	// its place), and what stands in its place in a tangent.
	batch string
	open  map[string]onnx.Value
	cols  onnx.Dim
	exact bool // as in Options
	// vjp and jvp differentiate the body of a node in this tape.
	vjp, jvp func(*onnx.Graph, Options) (*onnx.Graph, error)
	// names has the emitted values that become an output, with the output's name.
	names map[string]string
}

// ruleError carries a rule's complaint from the depth of a rule to the sweep, which recovers it.
type ruleError struct{ err error }

// failf ends the running rule; the sweep names the node.
func failf(format string, args ...any) { panic(ruleError{fmt.Errorf(format, args...)}) }

// newTape starts a graph that reads the values of g, whose shapes are inferred. What inference says against a node is not
// looked at here: finish infers the nodes that stay once more.
func newTape(g *onnx.Graph, prefix string) *tape {
	b := onnx.NewBuilder(&onnx.Graph{Opset: g.Opset}, "")
	b.Naming = func(hint string, k int) string { return prefix + "/" + strconv.Itoa(k) + "_" + hint }
	b.Shared, b.Plain = true, true
	b.Inf.Within(onnx.NewInferer(g))
	for name := range g.Init {
		b.Taken[name] = true
	}
	for _, v := range g.Inputs {
		b.Taken[v.Name] = true
	}
	for _, n := range g.Nodes {
		for _, name := range n.Out {
			b.Taken[name] = true
		}
		if onnx.HasGraph(n) {
			n.EachName(func(s string) { b.Taken[s] = true })
		}
	}
	return &tape{
		Builder: b, opset: g.Opset[""], early: map[string]bool{}, shared: map[string]string{}, names: map[string]string{},
	}
}

func (t *tape) add(a, b string) string { return t.Op("Add", a, b) }

func (t *tape) sub(a, b string) string { return t.Op("Sub", a, b) }

func (t *tape) mul(a, b string) string { return t.Op("Mul", a, b) }

func (t *tape) div(a, b string) string { return t.Op("Div", a, b) }

func (t *tape) neg(a string) string { return t.Op("Neg", a) }

// num is a scalar constant of the type of like.
func (t *tape) num(v float64, like string) string {
	typ := t.typ(like)
	if !typ.IsFloat() {
		typ = onnx.Float32
	}
	x := &onnx.Tensor{Type: typ, Doubles: []float64{v}} // unrounded for the evaluator
	if typ != onnx.Float64 {
		x.Floats = []float32{float32(v)}
	}
	return t.Tensor(x)
}

func (t *tape) int0(v int64) string { return t.Tensor(onnx.IntTensor([]int64{v})) }

// floats makes a float constant of the given shape in the type of like.
func (t *tape) floats(v []float64, like string, shape ...int64) string {
	if t.typ(like) == onnx.Float64 {
		return t.Tensor(&onnx.Tensor{Type: onnx.Float64, Shape: shape, Doubles: v})
	}
	f := make([]float32, len(v))
	for i := range v {
		f[i] = float32(v[i])
	}
	x := onnx.FloatTensor(f, shape...)
	x.Doubles = v
	return t.Tensor(x)
}

// scale multiplies by a number; 1 costs nothing.
func (t *tape) scale(a string, v float64) string {
	switch v {
	case 1:
		return a
	case -1:
		return t.neg(a)
	}
	return t.mul(a, t.num(v, a))
}

// mask casts a truth value to the type of like.
func (t *tape) mask(cond, like string) string {
	return t.OpAttr("Cast", onnx.Attrs("to", int(t.typ(like))), cond)
}

func (t *tape) typ(name string) onnx.DType {
	if typ := t.Type(name); typ != onnx.Undefined {
		return typ
	}
	return onnx.Float32
}

// shape is what is known of the shape of name; nil when nothing is.
func (t *tape) shape(name string) []onnx.Dim { return t.Inf.Value(name).Shape }

// as states the shape of an emitted name.
func (t *tape) as(name string, shape []onnx.Dim) string {
	v := t.Inf.Value(name)
	v.Shape = shape
	t.Declare(v)
	return name
}

// meets states that name broadcasts to the shape s: it has that shape where an extent of it is neither that of s nor 1.
func (t *tape) meets(name string, s []onnx.Dim) {
	have := t.shape(name)
	more := len(s) - len(have)
	fits := have != nil && more >= 0
	for i, d := range have {
		fits = fits && (d == s[more+i] || d == onnx.Fixed(1))
	}
	if !fits {
		t.as(name, s)
	}
}

// rank is the number of axes of name; it ends the rule when it is not known.
func (t *tape) rank(name string) int {
	s := t.shape(name)
	if s == nil {
		failf("the rank of %q is not known", name)
	}
	return len(s)
}

// dims is the shape of name as numbers, or ok = false.
func (t *tape) dims(name string) (d []int64, ok bool) { return onnx.Known(t.shape(name)) }

// axisIn brings a possibly negative axis into [0, rank).
func axisIn(a int64, rank int) int {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) && !(rank == 0 && a == 0) {
		failf("axis %d is outside a tensor of rank %d", a, rank)
	}
	return int(a)
}

// value is the constant behind name, or nil.
func (t *tape) value(name string) *onnx.Tensor { return t.Inf.Tensor(name) }

// constInts is the integers of a constant, or ok = false.
func (t *tape) constInts(name string) ([]int64, bool) {
	x := t.value(name)
	if x == nil || x.Floats != nil || x.Doubles != nil || x.Strings != nil {
		return nil, false
	}
	return x.Ints, true
}

// constNum is the number of a one-element constant, or ok = false.
func (t *tape) constNum(name string) (float64, bool) {
	x := t.value(name)
	if x == nil || x.Size() != 1 || x.Strings != nil {
		return 0, false
	}
	return x.Float(0), true
}

// shapeOf is a vector of integers that holds the shape of a primal value: a constant where the shape is known, a Shape
// node of the primal part otherwise.
func (t *tape) shapeOf(name string) string {
	if d, ok := t.dims(name); ok {
		return t.Ints(d...)
	}
	key := "Shape of " + name
	if out, ok := t.shared[key]; ok {
		return out
	}
	out := t.Fresh("Shape")
	t.Make(out, "Shape", nil, name)
	t.early[out], t.shared[key] = true, out
	return out
}

// nodes are the emitted nodes: those that only look at shapes of primal values, and all others.
func (t *tape) nodes() (early, rest []*onnx.Node) {
	for _, n := range t.G.Nodes {
		if t.early[n.Out[0]] {
			early = append(early, n)
		} else {
			rest = append(rest, n)
		}
	}
	return early, rest
}

// extent is a scalar integer that holds one extent of a primal value.
func (t *tape) extent(name string, axis int) string {
	if s := t.shape(name); s != nil && s[axis].Known() {
		return t.int0(s[axis].N)
	}
	return t.OpAttr("Gather", onnx.Attrs("axis", 0), t.shapeOf(name), t.int0(int64(axis)))
}

// reshape gives a the shape s. At most one unknown extent is left to the runtime; with more of them the shape is taken
// from the primal value like.
func (t *tape) reshape(a string, s []onnx.Dim, like string) string {
	cur := t.shape(a)
	if sameShape(cur, s) {
		return a
	}
	if s == nil {
		if like == "" {
			failf("the shape of an intermediate value is not known")
		}
		return t.Op("Reshape", a, t.shapeOf(like))
	}
	target := make([]int64, len(s))
	unknown, zero := 0, false
	for i, d := range s {
		target[i] = d.N
		if !d.Known() {
			target[i] = -1
			unknown++
		} else if d.N == 0 {
			zero = true
		}
	}
	for i := range s {
		if unknown > 1 && !s[i].Known() && i < len(cur) && cur[i] == s[i] {
			target[i] = 0 // copied from the operand
			unknown--
		}
	}
	switch {
	case unknown > 1 && like == "":
		failf("more than one extent of an intermediate value is not known")
	case unknown > 1, zero && unknown == 1 && like != "":
		return t.as(t.Op("Reshape", a, t.shapeOf(like)), s)
	case zero:
		return t.as(t.OpAttr("Reshape", onnx.Attrs("allowzero", 1), a, t.Ints(target...)), s)
	}
	return t.as(t.Op("Reshape", a, t.Ints(target...)), s)
}

// unknowns is the number of extents of s that are not known.
func unknowns(s []onnx.Dim) (n int) {
	for _, d := range s {
		n += boolInt(!d.Known())
	}
	return n
}

func sameShape(a, b []onnx.Dim) bool { return a != nil && b != nil && slices.Equal(a, b) }

// expand broadcasts a to the shape s, that of the primal value like.
func (t *tape) expand(a string, s []onnx.Dim, like string) string {
	cur := t.shape(a)
	if sameShape(cur, s) {
		return a
	}
	if cur == nil || s == nil {
		if like == "" {
			failf("the shape of an intermediate value is not known")
		}
		return t.as(t.Op("Expand", a, t.shapeOf(like)), s)
	}
	target := make([]int64, len(s))
	for i, d := range s {
		j := i - len(s) + len(cur)
		switch {
		case d.Known():
			target[i] = d.N
		case j >= 0 && cur[j] == d:
			target[i] = 1
		case like == "":
			failf("an extent of an intermediate value is not known")
		default:
			return t.as(t.Op("Expand", a, t.shapeOf(like)), s)
		}
	}
	return t.as(t.Op("Expand", a, t.Ints(target...)), s)
}

// zeros is a tensor of zeros in the type and shape of the primal value like.
func (t *tape) zeros(like string) string { return t.zerosOf(t.shapeOf(like), t.shape(like), like) }

func (t *tape) zerosOf(shape string, s []onnx.Dim, like string) string {
	x := onnx.FloatTensor([]float32{0}, 1)
	if t.typ(like) == onnx.Float64 {
		x = &onnx.Tensor{Type: onnx.Float64, Shape: []int64{1}, Doubles: []float64{0}}
	}
	key := fmt.Sprint("zeros ", x.Type, " ", shape)
	if out, ok := t.shared[key]; ok {
		return out
	}
	out := t.OpAttr("ConstantOfShape", onnx.Attrs("value", onnx.Attr{Kind: onnx.AttrTensor, Tensor: x}), shape)
	t.shared[key] = out
	return t.as(out, s)
}

// sum reduces over axes, keeping them as extents of 1.
func (t *tape) sum(a string, axes ...int64) string {
	if len(axes) == 0 {
		return a
	}
	return t.reduce("ReduceSum", a, axes, 1)
}

func (t *tape) reduce(op, a string, axes []int64, keep int) string {
	return t.OpAttr(op, onnx.Attrs("keepdims", keep), a, t.Ints(axes...))
}

// sumTo undoes a broadcast: g, which has (or stands for) the shape full, is summed to the shape of the primal value x.
func (t *tape) sumTo(g string, full []onnx.Dim, x string) string {
	want := t.shape(x)
	have := t.shape(g)
	if have == nil {
		have = full
	}
	if have == nil || want == nil {
		return t.sumToDynamic(g, x)
	}
	if sameShape(have, want) || sameShape(full, want) {
		return g
	}
	if full != nil && !sameShape(have, full) {
		g = t.expand(g, full, "")
		have = full
	}
	lead := len(have) - len(want)
	if lead < 0 {
		failf("a gradient of rank %d met an operand of rank %d", len(have), len(want))
	}
	var axes []int64
	for i, d := range have {
		switch {
		case i < lead:
			axes = append(axes, int64(i))
		case want[i-lead] == d:
		case want[i-lead] == onnx.Dim{N: 1}:
			axes = append(axes, int64(i))
		case want[i-lead].Known():
			// An extent that is not 1 was not broadcast.
		default:
			return t.sumToDynamic(g, x)
		}
	}
	if len(axes) == lead && lead > 0 {
		return t.as(t.reduce("ReduceSum", g, axes, 0), want)
	}
	g = t.sum(g, axes...)
	if lead > 0 {
		return t.reshape(g, want, x)
	}
	return t.as(g, want)
}

// sumToDynamic is sumTo by arithmetic on shapes at run time.
func (t *tape) sumToDynamic(g, x string) string {
	gs, xs := t.Op("Shape", g), t.shapeOf(x)
	// lead = rank(g) - rank(x) ones before the shape of x
	lead := t.Op("Sub", t.Op("Shape", gs), t.Op("Shape", xs))
	one := onnx.IntTensor([]int64{1}, 1)
	ones := t.OpAttr("ConstantOfShape", onnx.Attrs("value", onnx.Attr{Kind: onnx.AttrTensor, Tensor: one}), lead)
	padded := t.OpAttr("Concat", onnx.Attrs("axis", 0), ones, xs)
	where := t.Op("NonZero", t.Op("Equal", padded, t.Ints(1)))
	axes := t.Op("Reshape", where, t.Ints(-1))
	r := t.OpAttr("ReduceSum", onnx.Attrs("keepdims", 1, "noop_with_empty_axes", 1), g, axes)
	return t.as(t.Op("Reshape", r, xs), t.shape(x))
}

// transpose permutes the axes of a; the identity costs nothing.
func (t *tape) transpose(a string, perm ...int64) string {
	id := true
	for i, p := range perm {
		id = id && int64(i) == p
	}
	if id {
		return a
	}
	return t.OpAttr("Transpose", onnx.Attrs("perm", perm), a)
}

// swapLast exchanges the last two axes of a.
func (t *tape) swapLast(a string) string {
	r := t.rank(a)
	perm := make([]int64, r)
	for i := range perm {
		perm[i] = int64(i)
	}
	perm[r-1], perm[r-2] = perm[r-2], perm[r-1]
	return t.transpose(a, perm...)
}

// slice takes [start, end) of one axis by step.
func (t *tape) slice(a string, axis int, start, end, step int64) string {
	return t.Op("Slice", a, t.Ints(start), t.Ints(end), t.Ints(int64(axis)), t.Ints(step))
}

// pad puts before and after zeros around one axis of a tensor.
func (t *tape) pad(a string, axis int, before, after int64) string {
	if before == 0 && after == 0 {
		return a
	}
	return t.OpAttr("Pad", onnx.Attrs("mode", "constant"), a, t.Ints(before, after), "", t.Ints(int64(axis)))
}

// forget takes back everything that was emitted.
func (t *tape) forget() {
	t.Clear()
	clear(t.early)
	clear(t.shared)
}

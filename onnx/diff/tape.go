package diff

import (
	"fmt"
	"slices"
	"strconv"

	"lenskit/onnx"
	"lenskit/onnx/rewrite"
)

// tape collects the nodes of a derived graph and what is known of every name in it. Nodes that are emitted twice with
// the same operands and attributes are made once.
type tape struct {
	opset  int
	info   map[string]onnx.Value   // the primal's names and every emitted one; a nil Shape is an unknown one
	init   map[string]*onnx.Tensor // the primal's initialisers and every emitted constant
	primal []*onnx.Node            // emitted nodes that only look at shapes of primal values
	nodes  []*onnx.Node            // all other emitted nodes
	used   map[string]bool
	made   map[string][]string // outputs of an emitted node by its content
	consts map[string]string   // emitted constants by content
	prefix string
	seq    int
	given  []string // fresh names
	// In a Jacobian: the symbol of the batch axis, the primal's values with that symbol in their shapes (info has 1 in
	// its place), and what stands in its place in a tangent.
	batch string
	open  map[string]onnx.Value
	cols  onnx.Dim
	exact bool // as in DiffOptions
	// vjp and jvp differentiate the body of a node in this tape.
	vjp, jvp func(*onnx.Graph, Options) (*onnx.Graph, error)
	// emitted has what emit made, names what of it becomes an output, with the output's name.
	emitted map[string]bool
	names   map[string]string
}

// ruleError carries a rule's complaint from the depth of a rule to the sweep, which recovers it.
type ruleError struct{ err error }

// failf ends the running rule; the sweep names the node.
func failf(format string, args ...any) { panic(ruleError{fmt.Errorf(format, args...)}) }

func newTape(g *onnx.Graph, prefix string) *tape {
	t := &tape{
		opset: g.Opset[""], info: map[string]onnx.Value{}, init: map[string]*onnx.Tensor{}, used: map[string]bool{},
		made: map[string][]string{}, consts: map[string]string{}, prefix: prefix,
		emitted: map[string]bool{}, names: map[string]string{},
	}
	for _, v := range g.Info {
		t.info[v.Name] = v
	}
	for name, x := range g.Init {
		t.init[name], t.used[name] = x, true
		t.info[name] = tensorValue(name, x)
	}
	for _, v := range g.Inputs {
		t.info[v.Name], t.used[v.Name] = v, true
	}
	for _, n := range g.Nodes {
		for _, name := range n.Out {
			t.used[name] = true
		}
		if onnx.HasGraph(n) {
			n.EachName(func(s string) { t.used[s] = true })
		}
		if n.Op == "Constant" && n.Domain == "" && len(n.Out) == 1 {
			if x := constantOf(n); x != nil {
				t.info[n.Out[0]] = tensorValue(n.Out[0], x)
			}
		}
	}
	for _, v := range g.Outputs {
		if old, ok := t.info[v.Name]; !ok || old.Shape == nil {
			t.info[v.Name] = v
		}
	}
	return t
}

func tensorValue(name string, x *onnx.Tensor) onnx.Value {
	shape := make([]onnx.Dim, len(x.Shape))
	for i, d := range x.Shape {
		shape[i] = onnx.Dim{N: d}
	}
	return onnx.Value{Name: name, Type: x.Type, Shape: shape}
}

// constantOf is the tensor a Constant node stands for, or nil when it is none of the dense numeric forms.
func constantOf(n *onnx.Node) *onnx.Tensor {
	if a, ok := n.Attr["value"]; ok {
		return a.Tensor
	}
	if a, ok := n.Attr["value_int"]; ok {
		return onnx.IntTensor([]int64{a.Int})
	}
	if a, ok := n.Attr["value_ints"]; ok {
		return onnx.IntTensor(a.Ints, int64(len(a.Ints)))
	}
	if a, ok := n.Attr["value_float"]; ok {
		return onnx.FloatTensor([]float32{float32(a.Float)})
	}
	if a, ok := n.Attr["value_floats"]; ok {
		v := make([]float32, len(a.Floats))
		for i, f := range a.Floats {
			v[i] = float32(f)
		}
		return onnx.FloatTensor(v, int64(len(v)))
	}
	return nil
}

// fresh makes a name that the graph does not use.
func (t *tape) fresh(hint string) string {
	for {
		t.seq++
		name := t.prefix + "/" + strconv.Itoa(t.seq) + "_" + hint
		if !t.used[name] {
			t.used[name] = true
			t.given = append(t.given, name)
			return name
		}
	}
}

// forget takes back everything that was emitted.
func (t *tape) forget() {
	for _, s := range t.given {
		delete(t.used, s)
		delete(t.info, s)
		delete(t.init, s)
		delete(t.emitted, s)
	}
	clear(t.made)
	clear(t.consts)
	t.primal, t.nodes, t.given = t.primal[:0], t.nodes[:0], t.given[:0]
}

// emit appends a node with nOut outputs and returns their names.
func (t *tape) emit(op string, attr map[string]onnx.Attr, nOut int, in ...string) []string {
	for len(in) > 0 && in[len(in)-1] == "" {
		in = in[:len(in)-1]
	}
	key := rewrite.NodeKey(op, attr, in, nOut)
	if out, ok := t.made[key]; ok && key != "" {
		return out
	}
	n := &onnx.Node{Op: op, In: slices.Clone(in), Attr: attr}
	for range nOut {
		name := t.fresh(op)
		t.emitted[name] = true
		n.Out = append(n.Out, name)
	}
	n.Name = n.Out[0]
	if key != "" {
		t.made[key] = n.Out
	}
	t.nodes = append(t.nodes, n)
	shape, typ := t.infer(n)
	t.info[n.Out[0]] = onnx.Value{Name: n.Out[0], Type: typ, Shape: shape}
	for _, name := range n.Out[1:] {
		t.info[name] = onnx.Value{Name: name, Type: typ}
	}
	return n.Out
}

func (t *tape) op(op string, in ...string) string { return t.emit(op, nil, 1, in...)[0] }

func (t *tape) opA(op string, attr map[string]onnx.Attr, in ...string) string {
	return t.emit(op, attr, 1, in...)[0]
}

func (t *tape) add(a, b string) string { return t.op("Add", a, b) }

func (t *tape) sub(a, b string) string { return t.op("Sub", a, b) }

func (t *tape) mul(a, b string) string { return t.op("Mul", a, b) }

func (t *tape) div(a, b string) string { return t.op("Div", a, b) }

func (t *tape) neg(a string) string { return t.op("Neg", a) }

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
	return t.tensor(x)
}

// ints is a constant vector of integers.
func (t *tape) ints(v ...int64) string {
	if v == nil {
		v = []int64{}
	}
	return t.tensor(onnx.IntTensor(v, int64(len(v))))
}

func (t *tape) int0(v int64) string { return t.tensor(onnx.IntTensor([]int64{v})) }

// tensor makes a constant of x; small equal constants are shared.
func (t *tape) tensor(x *onnx.Tensor) string {
	key := ""
	if x.Size() <= 64 {
		key = fmt.Sprint(x.Type, x.Shape, x.Floats, x.Doubles, x.Ints)
		if name, ok := t.consts[key]; ok {
			return name
		}
	}
	name := t.fresh("const")
	if key != "" {
		t.consts[key] = name
	}
	t.init[name] = x
	t.info[name] = tensorValue(name, x)
	return name
}

// floats makes a float constant of the given shape in the type of like.
func (t *tape) floats(v []float64, like string, shape ...int64) string {
	if t.typ(like) == onnx.Float64 {
		return t.tensor(&onnx.Tensor{Type: onnx.Float64, Shape: shape, Doubles: v})
	}
	f := make([]float32, len(v))
	for i := range v {
		f[i] = float32(v[i])
	}
	x := onnx.FloatTensor(f, shape...)
	x.Doubles = v
	return t.tensor(x)
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
	return t.opA("Cast", onnx.Attrs("to", int(t.typ(like))), cond)
}

func (t *tape) typ(name string) onnx.DType {
	if typ := t.info[name].Type; typ != onnx.Undefined {
		return typ
	}
	return onnx.Float32
}

// shape is what is known of the shape of name; nil when nothing is.
func (t *tape) shape(name string) []onnx.Dim { return t.info[name].Shape }

// as states the shape of an emitted name.
func (t *tape) as(name string, shape []onnx.Dim) string {
	v := t.info[name]
	v.Shape = shape
	t.info[name] = v
	return name
}

// rank is the number of axes of name; it ends the rule when it is not known.
func (t *tape) rank(name string) int {
	s := t.info[name].Shape
	if s == nil {
		failf("the rank of %q is not known", name)
	}
	return len(s)
}

// dims is the shape of name as numbers, or ok = false.
func (t *tape) dims(name string) (d []int64, ok bool) { return onnx.Known(t.info[name].Shape) }

// axis brings a possibly negative axis into [0, rank).
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
func (t *tape) value(name string) *onnx.Tensor {
	return t.init[name]
}

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
		return t.ints(d...)
	}
	key := "Shape of " + name
	if out, ok := t.made[key]; ok {
		return out[0]
	}
	out := t.fresh("Shape")
	t.primal = append(t.primal, &onnx.Node{Op: "Shape", Name: out, In: []string{name}, Out: []string{out}})
	v := onnx.Value{Name: out, Type: onnx.Int64}
	if s := t.shape(name); s != nil {
		v.Shape = []onnx.Dim{{N: int64(len(s))}}
	}
	t.info[out] = v
	t.made[key] = []string{out}
	return out
}

// extent is a scalar integer that holds one extent of a primal value.
func (t *tape) extent(name string, axis int) string {
	if s := t.shape(name); s != nil && s[axis].Known() {
		return t.int0(s[axis].N)
	}
	return t.opA("Gather", onnx.Attrs("axis", 0), t.shapeOf(name), t.int0(int64(axis)))
}

// reshape gives a the shape s. At most one unknown extent is left to the runtime; with more of them the shape is taken
// from the primal value like.
func (t *tape) reshape(a string, s []onnx.Dim, like string) string {
	if cur := t.shape(a); cur != nil && sameShape(cur, s) {
		return a
	}
	if s == nil {
		if like == "" {
			failf("the shape of an intermediate value is not known")
		}
		return t.op("Reshape", a, t.shapeOf(like))
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
	if unknown > 1 {
		// Equal extents at the same place are copied from the operand.
		if cur := t.shape(a); cur != nil {
			for i := range s {
				if unknown > 1 && !s[i].Known() && i < len(cur) && cur[i] == s[i] {
					target[i] = 0
					unknown--
				}
			}
		}
	}
	switch {
	case unknown > 1 && like == "":
		failf("more than one extent of an intermediate value is not known")
	case unknown > 1, zero && unknown == 1 && like != "":
		return t.as(t.op("Reshape", a, t.shapeOf(like)), s)
	case zero:
		return t.as(t.opA("Reshape", onnx.Attrs("allowzero", 1), a, t.ints(target...)), s)
	}
	return t.as(t.op("Reshape", a, t.ints(target...)), s)
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
		return t.as(t.op("Expand", a, t.shapeOf(like)), s)
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
			return t.as(t.op("Expand", a, t.shapeOf(like)), s)
		}
	}
	return t.as(t.op("Expand", a, t.ints(target...)), s)
}

// zeros is a tensor of zeros in the type and shape of the primal value like.
func (t *tape) zeros(like string) string { return t.zerosOf(t.shapeOf(like), t.shape(like), like) }

func (t *tape) zerosOf(shape string, s []onnx.Dim, like string) string {
	x := onnx.FloatTensor([]float32{0}, 1)
	if t.typ(like) == onnx.Float64 {
		x = &onnx.Tensor{Type: onnx.Float64, Shape: []int64{1}, Doubles: []float64{0}}
	}
	key := fmt.Sprint("zeros ", x.Type, " ", shape)
	if out, ok := t.made[key]; ok {
		return out[0]
	}
	out := t.opA("ConstantOfShape", onnx.Attrs("value", onnx.Attr{Kind: onnx.AttrTensor, Tensor: x}), shape)
	t.info[out] = onnx.Value{Name: out, Type: x.Type, Shape: s}
	t.made[key] = []string{out}
	return out
}

// sum reduces over axes, keeping them as extents of 1.
func (t *tape) sum(a string, axes ...int64) string {
	if len(axes) == 0 {
		return a
	}
	return t.reduce("ReduceSum", a, axes, 1)
}

func (t *tape) reduce(op, a string, axes []int64, keep int) string {
	out := t.opA(op, onnx.Attrs("keepdims", keep), a, t.ints(axes...))
	if s := t.shape(a); s != nil {
		t.as(out, reducedShape(s, axes, keep == 1))
	}
	return out
}

func reducedShape(s []onnx.Dim, axes []int64, keep bool) []onnx.Dim {
	drop := make(map[int]bool, len(axes))
	for _, a := range axes {
		drop[axisIn(a, len(s))] = true
	}
	r := []onnx.Dim{}
	for i, d := range s {
		switch {
		case !drop[i]:
			r = append(r, d)
		case keep:
			r = append(r, onnx.Dim{N: 1})
		}
	}
	return r
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
	gs, xs := t.op("Shape", g), t.shapeOf(x)
	// lead = rank(g) - rank(x) ones before the shape of x
	lead := t.op("Sub", t.op("Shape", gs), t.op("Shape", xs))
	one := onnx.IntTensor([]int64{1}, 1)
	ones := t.opA("ConstantOfShape", onnx.Attrs("value", onnx.Attr{Kind: onnx.AttrTensor, Tensor: one}), lead)
	t.info[ones] = onnx.Value{Name: ones, Type: onnx.Int64}
	padded := t.opA("Concat", onnx.Attrs("axis", 0), ones, xs)
	where := t.op("NonZero", t.op("Equal", padded, t.ints(1)))
	axes := t.op("Reshape", where, t.ints(-1))
	r := t.opA("ReduceSum", onnx.Attrs("keepdims", 1, "noop_with_empty_axes", 1), g, axes)
	return t.as(t.op("Reshape", r, xs), t.shape(x))
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
	out := t.opA("Transpose", onnx.Attrs("perm", perm), a)
	if s := t.shape(a); len(s) == len(perm) {
		r := make([]onnx.Dim, len(perm))
		for i, p := range perm {
			r[i] = s[p]
		}
		t.as(out, r)
	}
	return out
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
	return t.op("Slice", a, t.ints(start), t.ints(end), t.ints(int64(axis)), t.ints(step))
}

// pad puts before and after zeros around one axis of a tensor.
func (t *tape) pad(a string, axis int, before, after int64) string {
	if before == 0 && after == 0 {
		return a
	}
	return t.opA("Pad", onnx.Attrs("mode", "constant"), a, t.ints(before, after), "", t.ints(int64(axis)))
}

// infer tells shape and type of the first output of an emitted node as far as the sweep needs them.
func (t *tape) infer(n *onnx.Node) ([]onnx.Dim, onnx.DType) {
	typ := onnx.Float32
	if len(n.In) > 0 {
		typ = t.typ(n.In[0])
	}
	switch n.Op {
	case "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not":
		typ = onnx.Bool
	case "Cast":
		typ = onnx.DType(n.Int("to", 1))
	case "Where":
		typ = t.typ(n.In[1])
	case "Shape", "NonZero", "Size", "ArgMax", "ArgMin":
		typ = onnx.Int64
	}
	if n.Op == "Clip" || n.Op == "Softmax" {
		return t.shape(n.In[0]), typ
	}
	if !rewrite.Broadcasting[n.Op] {
		return nil, typ
	}
	var shape []onnx.Dim
	for i, name := range n.In {
		if name == "" {
			continue
		}
		s := t.shape(name)
		if s == nil {
			return nil, typ
		}
		if i == 0 {
			shape = s
			continue
		}
		if shape = broadcastDims(shape, s); shape == nil {
			return nil, typ
		}
	}
	return shape, typ
}

// broadcastDims is the shape of an elementwise operator over a and b; nil when it depends on extents not known.
func broadcastDims(a, b []onnx.Dim) []onnx.Dim {
	if len(a) < len(b) {
		a, b = b, a
	}
	r := slices.Clone(a)
	if r == nil {
		r = []onnx.Dim{}
	}
	one := onnx.Dim{N: 1}
	for i, d := range b {
		j := i + len(a) - len(b)
		switch {
		case d == one || d == r[j]:
		case r[j] == one:
			r[j] = d
		case d.Known() && !r[j].Known():
			r[j] = d
		case r[j].Known():
		default:
			return nil
		}
	}
	return r
}

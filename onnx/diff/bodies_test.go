package diff

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/onnxtest"
)

// maker makes graphs with If, Loop and Scan nodes, one in the other, from bytes. Every float value has the shape [1 3];
// bodies read what stands around them at every depth.
type maker struct {
	data   []byte
	names  int
	init   map[string]*onnx.Tensor
	open   map[string]bool // loops, by name, whose number of turns depends on the inputs
	chosen map[string]int  // the branch that a condition takes, where it is known
}

func (m *maker) next(n int) int {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return int(b) % n
}

func (m *maker) name(hint string) string {
	m.names++
	return fmt.Sprintf("%s%d", hint, m.names)
}

func (m *maker) constant(t *onnx.Tensor) string {
	s := m.name("k")
	m.init[s] = t
	return s
}

// block is a list of nodes under construction and the float values that they may read.
type block struct {
	*maker
	nodes []*onnx.Node
	pool  []string
	turns []string                // numbers of the turns of the loops around
	own   map[string]*onnx.Tensor // the initialisers of a body
}

// constant is an initialiser of the block or of the whole graph.
func (b *block) constant(t *onnx.Tensor) string {
	if b.own == nil || b.next(2) == 0 {
		return b.maker.constant(t)
	}
	s := b.name("k")
	b.own[s] = t
	return s
}

// within is an empty body that reads the values of b, and extra ones.
func (b *block) within(extra ...string) *block {
	return &block{maker: b.maker, pool: slices.Concat(b.pool, extra), turns: slices.Clone(b.turns), own: map[string]*onnx.Tensor{}}
}

func (b *block) op(op string, attr map[string]onnx.Attr, in ...string) string {
	s := b.name(strings.ToLower(op))
	b.nodes = append(b.nodes, &onnx.Node{Op: op, Name: "the " + s, In: in, Out: []string{s}, Attr: attr})
	return s
}

func (b *block) pick() string { return b.pool[len(b.pool)-1-b.next(min(len(b.pool), 5))] }

// inner is a body whose nodes read the values of b, and extra ones.
func (b *block) inner(depth int, extra ...string) *block {
	c := b.within(extra...)
	c.fill(1+b.next(3), depth+1)
	return c
}

func (b *block) last() string { return b.pool[len(b.pool)-1] }

func (b *block) fill(steps, depth int) {
	kinds := 9
	if depth >= 3 {
		kinds = 6
	}
	for range steps {
		switch b.next(kinds) {
		case 0:
			b.pool = append(b.pool, b.op("Tanh", nil, b.pick()))
		case 1:
			b.pool = append(b.pool, b.op("Sin", nil, b.pick()))
		case 2:
			b.pool = append(b.pool, b.op("Mul", nil, b.pick(), b.pick()))
		case 3:
			b.pool = append(b.pool, b.op("Add", nil, b.pick(), b.pick()))
		case 4:
			b.pool = append(b.pool, b.op("Sub", nil, b.pick(), b.pick()))
		case 5:
			b.pool = append(b.pool, b.op("MatMul", nil, b.op("Tanh", nil, b.pick()), "w"))
		case 6:
			b.addIf(depth)
		case 7:
			b.addLoop(depth)
		case 8:
			b.addScan(depth)
		}
	}
}

func body(name string, b *block, in []onnx.Value, out ...string) onnx.Attr {
	g := &onnx.Graph{Name: name, Inputs: in, Nodes: b.nodes, Init: b.own}
	for _, s := range out {
		g.Outputs = append(g.Outputs, onnx.Value{Name: s})
	}
	return onnx.Attr{Kind: onnx.AttrGraph, Graph: g}
}

func (b *block) addIf(depth int) {
	var cond string
	kind := b.next(5)
	if kind == 4 && len(b.turns) == 0 {
		kind = 0
	}
	switch kind {
	case 0:
		yes := b.next(2)
		cond = b.constant(&onnx.Tensor{Type: onnx.Bool, Shape: []int64{}, Ints: []int64{int64(yes)}})
		b.chosen[cond] = 1 - yes
	case 1:
		shape := b.op("Shape", nil, b.pick())
		least := b.next(5)
		cond = b.op("Greater", nil, b.op("Gather", nil, shape, b.constant(onnx.IntTensor([]int64{1}))), b.constant(onnx.IntTensor([]int64{int64(least)})))
		b.chosen[cond] = boolInt(least >= 3) // 3 > least
	case 4: // known as soon as the loop is written out
		cond = b.op("Equal", nil, b.turns[b.next(len(b.turns))], b.constant(&onnx.Tensor{Type: onnx.Int64, Shape: []int64{}, Ints: []int64{int64(b.next(3))}}))
	default:
		sum := b.op("ReduceSum", onnx.Attrs("keepdims", 0), b.pick())
		cond = b.op("Greater", nil, sum, b.constant(onnx.FloatTensor([]float32{float32(b.next(5)-2) * 0.3})))
	}
	attr := map[string]onnx.Attr{}
	results := 1 + b.next(2)
	for _, key := range branches {
		c := b.inner(depth)
		if len(c.nodes) == 0 || b.next(4) == 0 {
			c.pool = append(c.pool, c.op("Identity", nil, c.pick()))
		}
		out := []string{c.made(0), c.made(1)}
		attr[key] = body(key, c, nil, out[:results]...)
	}
	n := &onnx.Node{Op: "If", Name: b.name("choice"), In: []string{cond}, Attr: attr}
	for range results {
		s := b.name("if")
		n.Out = append(n.Out, s)
		b.pool = append(b.pool, s)
	}
	b.nodes = append(b.nodes, n)
}

// made is a float value that the block itself makes, counted from the last; there is always one.
func (b *block) made(k int) string {
	var own []string
	for _, n := range b.nodes {
		for _, s := range n.Out {
			if slices.Contains(b.pool, s) {
				own = append(own, s)
			}
		}
	}
	if len(own) == 0 {
		s := b.op("Identity", nil, b.last())
		b.pool = append(b.pool, s)
		return s
	}
	return own[len(own)-1-min(k, len(own)-1)]
}

func (b *block) addLoop(depth int) {
	most := int64(1 + b.next(3))
	turn, cond := b.name("turn"), b.name("cond")
	in := []onnx.Value{{Name: turn, Type: onnx.Int64, Shape: []onnx.Dim{}}, {Name: cond, Type: onnx.Bool, Shape: []onnx.Dim{}}}
	operands := []string{b.constant(onnx.IntTensor([]int64{most})), b.constant(&onnx.Tensor{Type: onnx.Bool, Shape: []int64{}, Ints: []int64{1}})}
	var state []string
	for range 1 + b.next(2) {
		s := b.name("state")
		state = append(state, s)
		in = append(in, onnx.Value{Name: s, Type: onnx.Float32})
		operands = append(operands, b.pick())
	}
	kind := b.next(8)
	c := b.within(state...)
	c.turns = append(c.turns, turn)
	c.fill(1+b.next(3), depth+1)
	keep := c.op("Identity", nil, cond)
	switch kind {
	case 0: // ends earlier than the number of turns says
		operands[0] = b.constant(onnx.IntTensor([]int64{math.MaxInt64}))
		keep = c.op("Less", nil, turn, c.constant(onnx.IntTensor([]int64{most - 1})))
	case 1:
		keep = c.op("Less", nil, c.op("ReduceSum", onnx.Attrs("keepdims", 0), state[0]), c.constant(onnx.FloatTensor([]float32{0.5})))
	case 2: // the turn's number is part of the value
		f := c.op("Cast", onnx.Attrs("to", int(onnx.Float32)), turn)
		c.pool = append(c.pool, c.op("Add", nil, c.pick(), c.op("Mul", nil, f, c.constant(onnx.FloatTensor([]float32{0.25})))))
	}
	var next []string
	for _, s := range state {
		next = append(next, c.op("Tanh", nil, c.op("Add", nil, s, c.made(0))))
	}
	switch kind {
	case 3: // only the condition ends it
		operands[0] = ""
		keep = c.op("Less", nil, turn, c.constant(onnx.IntTensor([]int64{most - 1})))
	case 4: // only the number of turns ends it
		operands[1] = ""
	case 5: // what goes from turn to turn changes places, and one value is that of the graph around
		slices.Reverse(next)
		next[0] = c.pick()
		if len(next) > 1 {
			next[1] = state[0]
		}
	}
	row := c.op("Mul", nil, next[0], c.pick())
	name := b.name("turns")
	b.open[name] = kind == 1 && most > 1
	n := &onnx.Node{Op: "Loop", Name: name, In: operands, Attr: map[string]onnx.Attr{"body": body("body", c, in, slices.Concat([]string{keep}, next, []string{row})...)}}
	for range state {
		s := b.name("loop")
		n.Out = append(n.Out, s)
		b.pool = append(b.pool, s)
	}
	rows := b.name("rows")
	n.Out = append(n.Out, rows)
	b.nodes = append(b.nodes, n)
	b.pool = append(b.pool, b.op("ReduceSum", onnx.Attrs("keepdims", 0), rows, b.constant(onnx.IntTensor([]int64{0}, 1))))
}

func (b *block) addScan(depth int) {
	state := b.name("state")
	in := []onnx.Value{{Name: state, Type: onnx.Float32}}
	operands := []string{b.pick()}
	c := b.within(state)
	taken := 1 + b.next(3)/2
	var directions []int64
	for range taken {
		slice := b.name("slice")
		in = append(in, onnx.Value{Name: slice, Type: onnx.Float32})
		operands = append(operands, b.pick())
		directions = append(directions, int64(b.next(2)))
		column := c.op("Unsqueeze", nil, slice, c.constant(onnx.IntTensor([]int64{1}, 1)))
		c.pool = append(c.pool, c.op("Mul", nil, column, c.last()))
	}
	c.fill(1+b.next(2), depth+1)
	next := c.op("Sin", nil, c.op("Add", nil, c.pick(), c.made(0)))
	row := c.op("Mul", nil, next, c.pick())
	axis := int64(b.next(3))
	given := axis - 3*int64(b.next(2)) // from the front or from the end
	attr := map[string]onnx.Attr{
		"num_scan_inputs": onnx.IntAttr(int64(taken)), "scan_input_axes": onnx.IntsAttr([]int64{1, -1}[:taken]...), "scan_output_axes": onnx.IntsAttr(given),
		"scan_input_directions": onnx.IntsAttr(directions...), "scan_output_directions": onnx.IntsAttr(int64(b.next(2))),
		"body": body("body", c, in, next, row),
	}
	final, rows := b.name("scan"), b.name("rows")
	b.nodes = append(b.nodes, &onnx.Node{Op: "Scan", Name: b.name("slices"), In: operands, Out: []string{final, rows}, Attr: attr})
	weights := b.constant(onnx.FloatTensor([]float32{1, -0.5, 2}, slices.Insert([]int64{1, 1}, int(axis), 3)...))
	sum := b.op("ReduceSum", onnx.Attrs("keepdims", 0), b.op("Mul", nil, rows, weights), b.constant(onnx.IntTensor([]int64{axis}, 1)))
	b.pool = append(b.pool, final, sum)
}

// refused tells whether a loop whose turns depend on the inputs makes one of the needed float values of a list of nodes.
// Names are those of the whole graph; what only a condition reads is not needed.
func (m *maker) refused(nodes []*onnx.Node, needed map[string]bool) bool {
	for i := len(nodes) - 1; i >= 0; i-- {
		n := nodes[i]
		if !slices.ContainsFunc(n.Out, func(s string) bool { return needed[s] }) {
			continue
		}
		if m.open[n.Name] {
			return true
		}
		in, results := n.In, 0
		var bodies []onnx.Attr
		switch n.Op {
		case "If":
			in = nil
			for k, key := range branches {
				if c, known := m.chosen[n.In[0]]; !known || c == k {
					bodies = append(bodies, n.Attr[key])
				}
			}
		case "Loop":
			in, results, bodies = n.In[2:], 1, []onnx.Attr{n.Attr["body"]}
		case "Scan":
			bodies = []onnx.Attr{n.Attr["body"]}
		}
		for _, a := range bodies {
			for _, v := range a.Graph.Outputs[results:] {
				needed[v.Name] = true
			}
			if m.refused(a.Graph.Nodes, needed) {
				return true
			}
		}
		for _, s := range in {
			needed[s] = true
		}
	}
	return false
}

// graphFrom makes a graph of the inputs x and u from bytes, and tells whether it may be refused.
func graphFrom(data []byte) (g *onnx.Graph, refused bool) {
	m := &maker{data: data, open: map[string]bool{}, chosen: map[string]int{}, init: map[string]*onnx.Tensor{"w": onnx.FloatTensor([]float32{0.5, -1, 0.25, 1, 0.75, -0.5, 0, 0.5, 1}, 3, 3)}}
	b := &block{maker: m, pool: []string{"x", "u"}}
	b.fill(2+m.next(5), 0)
	b.pool = append(b.pool, b.op("Add", nil, b.pool[len(b.pool)-2], b.last()))
	y := b.op("Tanh", nil, b.last())
	shape := []onnx.Dim{{N: 1}, {N: 3}}
	g = &onnx.Graph{
		Name: "made", Opset: map[string]int{"": 18 + m.next(6)}, Init: m.init, Nodes: b.nodes,
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: shape}, {Name: "u", Type: onnx.Float32, Shape: shape}},
		Outputs: []onnx.Value{{Name: y, Type: onnx.Float32}},
	}
	if m.next(2) == 1 {
		leaveOut(g.Nodes, readIn(g, map[string]bool{}))
	}
	return g, m.refused(g.Nodes, map[string]bool{y: true})
}

// readIn adds the names that g and its bodies read to read.
func readIn(g *onnx.Graph, read map[string]bool) map[string]bool {
	for _, v := range g.Outputs {
		read[v.Name] = true
	}
	for _, n := range g.Nodes {
		for _, s := range n.In {
			read[s] = true
		}
		for _, a := range n.Attr {
			if a.Graph != nil {
				readIn(a.Graph, read)
			}
		}
	}
	return read
}

// leaveOut takes the names of results that nothing reads from the nodes with bodies; one result keeps its name.
func leaveOut(nodes []*onnx.Node, read map[string]bool) {
	for _, n := range nodes {
		for _, a := range n.Attr {
			if a.Graph != nil {
				leaveOut(a.Graph.Nodes, read)
			}
		}
		for i, s := range n.Out {
			if onnx.HasGraph(n) && !read[s] && (i+1 < len(n.Out) || n.FirstResult() != s) {
				n.Out[i] = ""
			}
		}
	}
}

// differentiated compares every mode of differentiation of g by x and u with central differences of the evaluator. It
// tells whether there was something to compare: not where it may be refused because a loop's turns depend on the inputs,
// and not where the differences at two steps disagree, because a condition changes between them. jacobian tells the same
// of that mode.
func differentiated(t *testing.T, g *onnx.Graph, refused, exact bool) (compared, jacobian bool) {
	t.Helper()
	if err := checker.Graph(g); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(11, 12))
	row := func() *eval.Array { return eval.FloatArray(check.Normals(rng, 3), 1, 3) }
	y := g.Outputs[0].Name
	in := map[string]*eval.Array{"x": row(), "u": row()}
	dir := map[string]*eval.Array{"x": row(), "u": row()}
	w := row()
	f := func(s float64) float64 { return check.Dot(evaltest.RunGraph(t, g, shiftedBy(in, dir, s))[y].F, w.F) }
	diff := func(h float64) float64 { return (8*(f(h)-f(-h)) - (f(2*h) - f(-2*h))) / (12 * h) }
	want := diff(1e-3)
	scale := 1 + math.Abs(want)
	if !(math.Abs(want-diff(4e-4)) < 1e-7*scale) {
		return false, false
	}
	feed := map[string]*eval.Array{"x": in["x"], "u": in["u"], "tangent_x": dir["x"], "tangent_u": dir["u"], "grad_" + y: w}
	opt := Options{Exact: exact}
	tol := 1e-6
	if !exact {
		tol = 1e-5
	}
	near := func(mode string, got float64) {
		t.Helper()
		if !(math.Abs(got-want) <= tol*scale) {
			t.Errorf("%s gives %.9g, differences %.9g", mode, got, want)
		}
	}
	pairing := func(out map[string]*eval.Array) float64 {
		return check.Dot(out["grad_x"].F, dir["x"].F) + check.Dot(out["grad_u"].F, dir["u"].F)
	}
	derive := func(d *onnx.Graph, err error) *onnx.Graph {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if err := checker.Graph(d); err != nil {
			t.Fatalf("the derivative is not valid: %v", err)
		}
		return d
	}
	vjp, err := VJP(g, opt)
	if errs := Unsupported(g, opt); (len(errs) == 0) != (err == nil) {
		t.Errorf("VJP says %v, Unsupported %v", err, errs)
	}
	if errors.Is(err, ErrNoRule) && refused {
		for _, mode := range []func() error{
			func() error { return err },
			func() error { _, err := JVP(g, opt); return err },
			func() error { _, err := Split(g, opt); return err },
			func() error { _, err := Jacobian(g, Options{Exact: exact, Columns: 2}); return err },
		} {
			err := mode()
			turns := err != nil && strings.Contains(err.Error(), "(Loop, ") && strings.Contains(err.Error(), "is the last depends on the inputs")
			if !errors.Is(err, ErrNoRule) || !turns && !strings.Contains(err.Error(), "batch") {
				t.Errorf("found %v, expected ErrNoRule for a Loop whose turns depend on the inputs", err)
			}
		}
		return false, false
	}
	near("VJP", pairing(evaltest.RunGraph(t, derive(vjp, err), feed)))
	near("JVP", check.Dot(evaltest.RunGraph(t, derive(JVP(g, opt)), feed)["tangent_"+y].F, w.F))
	pair, err := Split(g, opt)
	if err != nil {
		t.Fatal(err)
	}
	mid := evaltest.RunGraph(t, derive(pair.Forward, nil), feed)
	for _, s := range pair.Saved {
		if mid[s] != nil {
			feed[s] = mid[s]
		}
	}
	near("Split", pairing(evaltest.RunGraph(t, derive(pair.Backward, nil), feed)))

	opt.Columns = 2
	jac, err := Jacobian(g, opt)
	if errors.Is(err, ErrNoRule) && strings.Contains(err.Error(), "depends on the batch") {
		return true, false
	}
	two := func(a *eval.Array) *eval.Array {
		return eval.FloatArray(append([]float64{0.5, -0.25, 1}, a.F...), 2, 3)
	}
	feed["tangent_x"], feed["tangent_u"] = two(dir["x"]), two(dir["u"])
	rows := evaltest.RunGraph(t, derive(jac, err), feed)["tangent_"+y]
	near("Jacobian", check.Dot(rows.F[3:], w.F))
	return true, true
}

func TestBodiesAreDifferentiatedAsDifferencesSay(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	graphs := 300
	if testing.Short() {
		graphs = 60
	}
	compared, jacobians := 0, 0
	for k := range graphs {
		data := make([]byte, 120)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		g, refused := graphFrom(data)
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			c, j := differentiated(t, g, refused, k%2 == 0)
			compared, jacobians = compared+boolInt(c), jacobians+boolInt(j)
		})
	}
	t.Logf("compared %d of %d graphs, %d of them as Jacobians", compared, graphs, jacobians)
	if compared < graphs/2 || jacobians < graphs/3 {
		t.Errorf("compared %d of %d graphs, %d of them as Jacobians", compared, graphs, jacobians)
	}
}

// A loop that comes to the top only when a branch is chosen beforehand is written out too, and loops go by a result that
// has a name. With x > 0 the derivative is that of x² + x³ and, with the choice between x² and x, of 2x² + x³.
func TestLoopsAreWrittenOutWhereverTheyStand(t *testing.T) {
	scalar := func(typ onnx.DType, v int64) *onnx.Tensor {
		return &onnx.Tensor{Type: typ, Shape: []int64{}, Ints: []int64{v}}
	}
	loop := func() *onnx.Node {
		return &onnx.Node{Op: "Loop", Name: "turns", In: []string{"two", "", "x"}, Out: []string{"", "rows"}, Attr: map[string]onnx.Attr{"body": {Kind: onnx.AttrGraph, Graph: &onnx.Graph{
			Inputs: []onnx.Value{{Name: "turn", Type: onnx.Int64, Shape: []onnx.Dim{}}, {Name: "cond", Type: onnx.Bool, Shape: []onnx.Dim{}}, {Name: "s", Type: onnx.Float32}},
			Nodes: []*onnx.Node{
				{Op: "Identity", In: []string{"cond"}, Out: []string{"on"}}, {Op: "Mul", In: []string{"s", "x"}, Out: []string{"power"}},
			},
			Outputs: []onnx.Value{{Name: "on"}, {Name: "power"}, {Name: "power"}},
		}}}}
	}
	sum := func(out string) *onnx.Node {
		return &onnx.Node{Op: "ReduceSum", In: []string{"rows", "first"}, Out: []string{out}, Attr: onnx.Attrs("keepdims", 0)}
	}
	branch := func(nodes []*onnx.Node, out ...string) onnx.Attr {
		return body("branch", &block{nodes: nodes}, nil, out...)
	}
	for _, c := range []struct {
		name        string
		nodes       []*onnx.Node
		below, over float64 // the derivative at -2 and at 2
	}{
		{"in a chosen branch", []*onnx.Node{{Op: "If", In: []string{"yes"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{
			"then_branch": branch([]*onnx.Node{loop(), sum("t")}, "t"), "else_branch": branch([]*onnx.Node{{Op: "Neg", In: []string{"x"}, Out: []string{"e"}}}, "e")}}}, 8, 16},
		{"in a branch of a branch", []*onnx.Node{{Op: "If", In: []string{"yes"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{
			"then_branch": branch([]*onnx.Node{{Op: "If", In: []string{"yes"}, Out: []string{"b"}, Attr: map[string]onnx.Attr{
				"then_branch": branch([]*onnx.Node{loop(), sum("t")}, "t"), "else_branch": branch([]*onnx.Node{{Op: "Neg", In: []string{"x"}, Out: []string{"e"}}}, "e")}}}, "b"),
			"else_branch": branch([]*onnx.Node{{Op: "Neg", In: []string{"x"}, Out: []string{"f"}}}, "f")}}}, 8, 16},
		{"beside a choice whose first result is left out", []*onnx.Node{
			{Op: "Greater", In: []string{"x", "none"}, Out: []string{"over"}},
			{Op: "If", Name: "choice", In: []string{"over"}, Out: []string{"", "i"}, Attr: map[string]onnx.Attr{
				"then_branch": branch([]*onnx.Node{{Op: "Neg", In: []string{"x"}, Out: []string{"n"}}, {Op: "Mul", In: []string{"x", "x"}, Out: []string{"xx"}}}, "n", "xx"),
				"else_branch": branch([]*onnx.Node{{Op: "Neg", In: []string{"x"}, Out: []string{"m"}}, {Op: "Identity", In: []string{"x"}, Out: []string{"xi"}}}, "m", "xi")}},
			loop(), sum("l"), {Op: "Add", In: []string{"i", "l"}, Out: []string{"y"}},
		}, 9, 20},
	} {
		g := &onnx.Graph{
			Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}}}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}}}},
			Init:  map[string]*onnx.Tensor{"two": scalar(onnx.Int64, 2), "yes": scalar(onnx.Bool, 1), "first": onnx.IntTensor([]int64{0}, 1), "none": onnx.FloatTensor([]float32{0}, 1)},
			Nodes: c.nodes,
		}
		for _, exact := range []bool{true, false} {
			opt := Options{Exact: exact}
			if errs := Unsupported(g, opt); len(errs) > 0 {
				t.Errorf("%s: found %v", c.name, errs)
			}
			vjp, err := VJP(g, opt)
			if err != nil {
				t.Errorf("%s, exact %v: %v", c.name, exact, err)
				continue
			}
			for x, want := range map[float64]float64{-2: c.below, 2: c.over} {
				out := evaltest.RunGraph(t, vjp, map[string]*eval.Array{"x": eval.FloatArray([]float64{x}, 1), "grad_y": eval.FloatArray([]float64{1}, 1)})
				onnxtest.Near(t, out["grad_x"].F, []float64{want}, 1e-9)
			}
		}
	}
}

// The standard gives a branch, a body or a function no place to hide a value: an error names the node that cannot be
// differentiated, in all modes, however deep it lies.
func TestWhatABodyHidesIsRefusedByName(t *testing.T) {
	scalar := func(t *onnx.Tensor) *onnx.Tensor { t.Shape = []int64{}; return t }
	det := func(name string) *onnx.Node {
		return &onnx.Node{Op: "Det", Name: name, In: []string{"a"}, Out: []string{name}}
	}
	branch := func(n *onnx.Node) onnx.Attr {
		return onnx.Attr{Kind: onnx.AttrGraph, Graph: &onnx.Graph{Nodes: []*onnx.Node{n}, Outputs: []onnx.Value{{Name: n.Out[0]}}}}
	}
	while := &onnx.Graph{
		Inputs: []onnx.Value{{Name: "i", Type: onnx.Int64, Shape: []onnx.Dim{}}, {Name: "c", Type: onnx.Bool, Shape: []onnx.Dim{}}, {Name: "s", Type: onnx.Float32}},
		Nodes: []*onnx.Node{
			{Op: "Add", In: []string{"s", "a"}, Out: []string{"s1"}}, {Op: "ReduceSum", In: []string{"s1"}, Out: []string{"r"}, Attr: onnx.Attrs("keepdims", 0)},
			{Op: "Less", In: []string{"r", "ten"}, Out: []string{"c1"}},
		},
		Outputs: []onnx.Value{{Name: "c1"}, {Name: "s1"}},
	}
	many := &onnx.Graph{
		Inputs:  []onnx.Value{{Name: "i", Type: onnx.Int64, Shape: []onnx.Dim{}}, {Name: "c", Type: onnx.Bool, Shape: []onnx.Dim{}}, {Name: "s", Type: onnx.Float32}},
		Nodes:   []*onnx.Node{{Op: "Add", In: []string{"s", "a"}, Out: []string{"s1"}}, {Op: "Identity", In: []string{"c"}, Out: []string{"c1"}}},
		Outputs: []onnx.Value{{Name: "c1"}, {Name: "s1"}},
	}
	loop := func(most string, body *onnx.Graph) *onnx.Node {
		return &onnx.Node{Op: "Loop", Name: "turns", In: []string{most, "", "zero"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{"body": {Kind: onnx.AttrGraph, Graph: body}}}
	}
	inner := &onnx.Node{Op: "If", Name: "inner", In: []string{"positive"}, Out: []string{"v"}, Attr: map[string]onnx.Attr{"then_branch": branch(det("deep")), "else_branch": branch(det("other"))}}
	same := &onnx.Node{Op: "Neg", Name: "same", In: []string{"zero"}, Out: []string{"w"}}
	for _, c := range []struct {
		name string
		n    *onnx.Node
		want []string
	}{
		{"an operator without a rule, two branches deep", &onnx.Node{Op: "If", Name: "outer", In: []string{"positive"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{
			"then_branch": branch(inner), "else_branch": branch(same)}}, []string{`"outer" (If`, `"inner" (If`, `"deep" (Det`}},
		{"turns that depend on the input", loop("", while), []string{`"turns" (Loop`, "whether turn 1 is the last depends on the inputs"}},
		{"too many turns", loop("huge", many), []string{`"turns" (Loop`, "more than 16384 nodes"}},
		{"a number of turns that is an input", loop("m", many), []string{`"turns" (Loop`, "number of its turns is not a constant"}},
		{"a body of an operator that is not known", &onnx.Node{Op: "SequenceMap", Name: "map", In: []string{"zero"}, Out: []string{"y"},
			Attr: map[string]onnx.Attr{"body": branch(&onnx.Node{Op: "Exp", In: []string{"a"}, Out: []string{"e"}})}}, []string{`"map" (SequenceMap`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &onnx.Graph{
				Opset:   map[string]int{"": 18},
				Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}, {N: 1}}}, {Name: "m", Type: onnx.Int64, Shape: []onnx.Dim{}}},
				Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}, {N: 1}}}},
				Init: map[string]*onnx.Tensor{"ten": scalar(onnx.FloatTensor([]float32{10})), "huge": scalar(onnx.IntTensor([]int64{1 << 62})),
					"zero": onnx.FloatTensor([]float32{0}, 1, 1), "none": scalar(onnx.FloatTensor([]float32{0}))},
				Nodes: []*onnx.Node{
					{Op: "Exp", Name: "exp", In: []string{"x"}, Out: []string{"a"}},
					{Op: "ReduceSum", In: []string{"a"}, Out: []string{"sum"}, Attr: onnx.Attrs("keepdims", 0)},
					{Op: "Greater", In: []string{"sum", "none"}, Out: []string{"positive"}}, c.n,
				},
			}
			pair := func() error { _, err := Split(g, Options{}); return err }
			one := func(f func(*onnx.Graph, Options) (*onnx.Graph, error)) func() error {
				return func() error { _, err := f(g, Options{}); return err }
			}
			for mode, derive := range map[string]func() error{"vjp": one(VJP), "jvp": one(JVP), "jacobian": one(Jacobian), "split": pair} {
				err := derive()
				if err != nil && mode == "jacobian" {
					continue // what it misses first may be another thing
				}
				if !errors.Is(err, ErrNoRule) {
					t.Fatalf("%s: found %v, expected ErrNoRule", mode, err)
				}
				for _, s := range c.want {
					if !strings.Contains(err.Error(), s) {
						t.Errorf("%s: found %q, expected %q in it", mode, err, s)
					}
				}
			}
			if errs := Unsupported(g, Options{}); len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want[0]) {
				t.Errorf("found %v, expected one error about %s", errs, c.want[0])
			}
		})
	}
}

func TestParametersInBodiesAreTrained(t *testing.T) {
	// loss = Σ (x w)² where the sum is positive, Σ x w else, with w captured: ∂loss/∂w = 2 x² w and x.
	branch := func(op string) onnx.Attr {
		nodes := []*onnx.Node{{Op: "Mul", In: []string{"x", "w"}, Out: []string{op + "p"}}, {Op: op, In: []string{op + "p"}, Out: []string{op + "l"}, Attr: onnx.Attrs("keepdims", 0)}}
		return onnx.Attr{Kind: onnx.AttrGraph, Graph: &onnx.Graph{Nodes: nodes, Outputs: []onnx.Value{{Name: op + "l"}}}}
	}
	g := &onnx.Graph{
		Opset: map[string]int{"": 18}, Init: map[string]*onnx.Tensor{"w": onnx.FloatTensor([]float32{0.5, 2}, 2), "none": onnx.FloatTensor([]float32{0})},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 2}}}},
		Outputs: []onnx.Value{{Name: "loss", Type: onnx.Float32, Shape: []onnx.Dim{}}},
		Nodes: []*onnx.Node{
			{Op: "ReduceSum", In: []string{"x"}, Out: []string{"s"}, Attr: onnx.Attrs("keepdims", 0)}, {Op: "Greater", In: []string{"s", "none"}, Out: []string{"c"}},
			{Op: "If", In: []string{"c"}, Out: []string{"loss"}, Attr: map[string]onnx.Attr{"then_branch": branch("ReduceSumSquare"), "else_branch": branch("ReduceSum")}},
		},
	}
	for _, clip := range []float64{0, 1e6} {
		d, err := Train(g, TrainOptions{Params: []string{"w"}, GradientsOnly: true, Clip: clip})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ x, want []float64 }{{[]float64{3, 1}, []float64{9, 4}}, {[]float64{-3, 1}, []float64{-3, 1}}} {
			out := evaltest.RunGraph(t, d, map[string]*eval.Array{"x": eval.FloatArray(c.x, 2), "w": eval.FloatArray([]float64{0.5, 2}, 2)})
			onnxtest.Near(t, out["grad_w"].F, c.want, 1e-6)
		}
	}
}

// FuzzSubgraphs differentiates graphs of nested If, Loop and Scan nodes: a derivative is refused by name or is what
// differences say.
func FuzzSubgraphs(f *testing.F) {
	for _, s := range []string{
		"\x02\x06\x02\x00\x01\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09", "\x03\x07\x02\x01\x00\x01\x01\x02\x02\x06\x03\x01\x01\x00\x04\x08",
		"\x04\x08\x01\x00\x01\x07\x01\x01\x02\x02\x06\x02\x03\x01\x01\x01\x02\x00", "\x01\x07\x00\x00\x00\x01\x01\x01\x01",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 300 {
			return
		}
		g, refused := graphFrom(data)
		differentiated(t, g, refused, len(data)%2 == 0)
	})
}

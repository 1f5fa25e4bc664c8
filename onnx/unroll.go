package onnx

import (
	"fmt"
	"slices"
)

// Loops are differentiated turn by turn: their bodies are written out as often as they run, which must be known from the
// constants of the graph and the shapes of its inputs.

// MaxUnrolled is the largest number of nodes that the bodies of a graph's loops may come to when they are written out.
const MaxUnrolled = 1 << 14

// Unroller says which loops a normaliser writes out. A loop goes by its first result that has a name.
type Unroller struct {
	Loops map[string]bool
	Why   map[string]string // why a loop was not written out
	Left  *int              // nodes that may still be made
}

// turn is the scope of one turn of a body: its inputs and initialisers are named, its nodes are to be put into it.
func (z *normaliser) turn(body *Graph, inits, s *irScope, in []string) *irScope {
	t := &irScope{parent: inits, names: map[string]string{}, opset: s.opset, depth: s.depth + 1}
	for i, v := range body.Inputs {
		t.names[v.Name] = in[i]
	}
	return t
}

// unrolled puts the turns of a loop in the place of node n, or returns why this cannot be done; the graph is then as
// before.
func (z *normaliser) unrolled(n *Node, in []string, body *Graph, s *irScope) (why string, err error) {
	mark, budget := len(z.b.G.Nodes), *z.budget
	switch {
	case body == nil:
		why = "found no body"
	case s.depth >= MaxInlineDepth:
		why = fmt.Sprintf("found bodies nested deeper than %d", MaxInlineDepth)
	case n.Op == "Loop":
		why, err = z.loop(n, in, body, s)
	default:
		why, err = z.scan(n, in, body, s)
	}
	if why != "" {
		z.b.G.Nodes, *z.budget = z.b.G.Nodes[:mark], budget
	}
	return why, err
}

// writer puts turn after turn of a body into the graph.
type writer struct {
	z     *normaliser
	body  *Graph
	nodes []*Node
	s     *irScope // around the loop
	inits *irScope // the body's initialisers, which all turns share
	kept  int      // values that go from turn to turn
	rows  [][]string
}

func (z *normaliser) writer(body *Graph, s *irScope, kept, first int) (*writer, error) {
	nodes, err := inOrder(body.Nodes)
	if err != nil {
		return nil, err
	}
	w := &writer{z: z, body: body, nodes: nodes, s: s, kept: kept}
	w.inits = &irScope{parent: s, names: map[string]string{}, opset: s.opset, depth: s.depth + 1}
	for _, k := range SortedKeys(body.Init) {
		z.b.G.Init[z.define(w.inits, k)] = body.Init[k]
	}
	w.rows = make([][]string, len(body.Outputs)-first)
	return w, nil
}

// turn writes one turn and returns the names of the body's outputs.
func (w *writer) turn(in []string) (out []string, why string, err error) {
	z := w.z
	if *z.unroll.Left -= 1 + len(w.nodes); *z.unroll.Left < 0 {
		return nil, fmt.Sprintf("its turns come to more than %d nodes", MaxUnrolled), nil
	}
	t := z.turn(w.body, w.inits, w.s, in)
	for _, x := range w.nodes {
		for _, v := range x.Out {
			z.define(t, v)
		}
	}
	for i, x := range w.nodes {
		if err := z.node(x, t); err != nil {
			return nil, "", fmt.Errorf("inner node %s (%s): %w", NodeName(x.Name, i), OpName(x), err)
		}
	}
	for _, v := range w.body.Outputs {
		out = append(out, z.lookup(t, v.Name))
	}
	return out, "", nil
}

// results gives the loop's results their names: what went from turn to turn, then the collected rows, stacked along axes.
func (w *writer) results(n *Node, kept []string, axes []int64) string {
	b := w.z.b
	for i, s := range n.Out {
		if s == "" {
			continue
		}
		name := w.z.define(w.s, s)
		if i < w.kept {
			b.Append(&Node{Op: "Identity", Name: b.Fresh("Identity"), In: []string{kept[i]}, Out: []string{name}})
			continue
		}
		k := i - w.kept
		if len(w.rows[k]) == 0 {
			return fmt.Sprintf("it has no turns to make result %d", i)
		}
		rank := int64(len(b.Shape(w.rows[k][0])))
		if axes[k] != 0 && b.Shape(w.rows[k][0]) == nil {
			return fmt.Sprintf("the rank of result %d is not known", i)
		}
		axis := axes[k]
		if axis < 0 {
			axis += rank + 1
		}
		if axis < 0 || axis != 0 && axis > rank {
			return fmt.Sprintf("axis %d of result %d is outside a tensor of rank %d", axes[k], i, rank+1)
		}
		var rows []string
		for _, r := range w.rows[k] {
			rows = append(rows, b.Op("Unsqueeze", r, b.Ints(axis)))
		}
		b.Append(&Node{Op: "Concat", Name: b.Fresh("Concat"), In: rows, Out: []string{name}, Attr: Attrs("axis", axis)})
	}
	return ""
}

// loop writes out a Loop: operands are the largest number of turns, the condition, and what goes from turn to turn.
func (z *normaliser) loop(n *Node, in []string, body *Graph, s *irScope) (why string, err error) {
	for len(in) < 2 {
		in = append(in, "")
	}
	kept := len(in) - 2
	if len(body.Inputs) != kept+2 || len(body.Outputs) < kept+1 || len(n.Out) > len(body.Outputs)-1 {
		return fmt.Sprintf("found a body of %d inputs and %d outputs for %d operands", len(body.Inputs), len(body.Outputs), len(in)), nil
	}
	one := func(name string) (v int64, ok bool) {
		k, ok := z.b.Inf.Ints(name)
		if !ok || len(k.Elems) != 1 || !k.Elems[0].Known() {
			return 0, false
		}
		return k.Elems[0].N, true
	}
	most, limited := int64(0), in[0] != ""
	if limited {
		var ok bool
		if most, ok = one(in[0]); !ok {
			return "the number of its turns is not a constant", nil
		}
	}
	w, err := z.writer(body, s, kept, kept+1)
	if err != nil {
		return "", err
	}
	count := []int64{} // shape of the turn's number
	if len(body.Inputs[0].Shape) == 1 {
		count = []int64{1}
	}
	cond, state := in[1], slices.Clone(in[2:])
	for turn := int64(0); !limited || turn < most; turn++ {
		if cond == "" {
			cond = z.b.ScalarOf(Bool, 1)
		} else if v, ok := one(cond); !ok {
			return fmt.Sprintf("whether turn %d is the last depends on the inputs", turn), nil
		} else if v == 0 {
			break
		}
		number := z.b.Tensor(IntTensor([]int64{turn}, count...))
		var out []string
		if out, why, err = w.turn(append([]string{number, cond}, state...)); why != "" || err != nil {
			return why, err
		}
		state = out[1 : kept+1]
		cond = out[0]
		for k, r := range out[kept+1:] {
			w.rows[k] = append(w.rows[k], r)
		}
	}
	return w.results(n, state, make([]int64, len(w.rows))), nil
}

// scan writes out a Scan: operands are what goes from turn to turn, then what is taken apart along an axis.
func (z *normaliser) scan(n *Node, in []string, body *Graph, s *irScope) (why string, err error) {
	taken := int(n.Int("num_scan_inputs", 0))
	kept := len(in) - taken
	if taken < 1 || kept < 0 || len(body.Inputs) != len(in) || len(body.Outputs) < kept || len(n.Out) > len(body.Outputs) {
		return fmt.Sprintf("found a body of %d inputs and %d outputs for %d operands, %d of them scanned", len(body.Inputs), len(body.Outputs), len(in), taken), nil
	}
	pick := func(name string, i int) int64 {
		if v := n.Ints(name); i < len(v) {
			return v[i]
		}
		return 0
	}
	turns := int64(-1)
	axes := make([]int, taken)
	for i, x := range in[kept:] {
		shape := z.b.Shape(x)
		if shape == nil {
			return fmt.Sprintf("the rank of %q is not known", x), nil
		}
		if axes[i], err = NormAxis(pick("scan_input_axes", i), len(shape)); err != nil {
			return err.Error(), nil
		}
		d := shape[axes[i]]
		if !d.Known() || turns >= 0 && d.N != turns {
			return fmt.Sprintf("the extent %v of %q along axis %d does not tell the number of turns", d, x, axes[i]), nil
		}
		turns = d.N
	}
	if turns*int64(1+len(body.Nodes)) > int64(*z.unroll.Left) {
		return fmt.Sprintf("its %d turns come to more than %d nodes", turns, MaxUnrolled), nil
	}
	w, err := z.writer(body, s, kept, kept)
	if err != nil {
		return "", err
	}
	parts := make([][]string, taken)
	for i, x := range in[kept:] {
		if turns > 0 {
			parts[i] = z.b.OpN("Split", int(turns), Attrs("axis", axes[i], "num_outputs", turns), x)
		}
	}
	state := slices.Clone(in[:kept])
	for turn := range turns {
		args := slices.Clone(state)
		for i := range parts {
			at := turn
			if pick("scan_input_directions", i) != 0 {
				at = turns - 1 - turn
			}
			args = append(args, z.b.Op("Squeeze", parts[i][at], z.b.Ints(int64(axes[i]))))
		}
		var out []string
		if out, why, err = w.turn(args); why != "" || err != nil {
			return why, err
		}
		state = out[:kept]
		for k, r := range out[kept:] {
			w.rows[k] = append(w.rows[k], r)
		}
	}
	out := make([]int64, len(w.rows))
	for k := range out {
		out[k] = pick("scan_output_axes", k)
		if pick("scan_output_directions", k) != 0 {
			slices.Reverse(w.rows[k])
		}
	}
	return w.results(n, state, out), nil
}

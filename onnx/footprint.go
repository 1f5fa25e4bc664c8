package onnx

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"lenskit/internal/disk"
)

// Limits on what a graph may take beside its weights, so that a small file cannot ask for all memory there is.
const (
	// DefaultRoom is the bytes that the values of a graph alive at one time may take, with the working space of operators.
	DefaultRoom = 384 << 20
	// BatchRoom is the same for graphs that lenskit makes for many images at a time.
	BatchRoom = 1 << 30
	// AllRoom is no limit, for graphs that are lenskit's own.
	AllRoom = -1
	// mostTurns is the number of turns that a Loop or Scan may take, mostWork the number of elements and products that
	// all turns of a graph's loops may compute.
	mostTurns = 1 << 16
	mostWork  = 1 << 32
)

// ErrTooLarge is wrapped by the errors of graphs that would take more memory than they may.
var ErrTooLarge = errors.New("takes too much memory")

// unsizedError is the error of what depends on the values of the inputs: how large a result is, or how often a loop turns.
type unsizedError struct{ what string }

func (e *unsizedError) Error() string { return e.what }

func unsized(name string) error {
	return &unsizedError{fmt.Sprintf("how large result %s is cannot be told before it is computed", Quote(name))}
}

func (e *unsizedError) Unwrap() error { return ErrTooLarge }

// sizes tells what the values of a graph take.
type sizes struct {
	f      *inferer
	inGo   bool             // the evaluator's arrays, not onnxruntime's
	most   map[string]int64 // the largest value of symbols for numbers that depend on the inputs
	lists  map[string]int64 // bytes of sequences
	budget int              // nested graphs that may still be looked into
	left   *int             // nodes of turns that may still be followed one by one
}

// held is what runs of a node or a graph take: bytes of results, bytes of working space, and elements and products.
type held struct {
	results       []int64
	scratch, work int64
}

const endless = math.MaxInt64 / 4

func newSizes(g *Graph, inGo bool) *sizes {
	left := maxUnrolled
	return &sizes{f: newInferer(g), inGo: inGo, most: map[string]int64{}, lists: map[string]int64{}, budget: maxNodes, left: &left}
}

// width is the bytes of an element.
func (z *sizes) width(t DType) int64 {
	switch {
	case z.inGo:
		return 8
	case t == String:
		return 32
	}
	return int64(max(t.width(), 1))
}

// product and plus stop at endless.
func product(a, b int64) int64 {
	if a != 0 && b > endless/a {
		return endless
	}
	return a * b
}

func plus(a, b int64) int64 { return min(a+b, endless) }

// elements is the number of elements of a shape at most; ok is false where it is not known.
func (z *sizes) elements(s []Dim) (n int64, ok bool) {
	if s == nil {
		return 0, false
	}
	n = 1
	for _, d := range s {
		e := d.N
		if !d.Known() {
			m, ok := z.most[d.Sym]
			if !ok {
				return 0, false
			}
			e = product(max(e, 0), m)
		}
		n = product(n, max(e, 0))
	}
	return n, true
}

// positions is elements without the axes of extent 0, along which there may be nothing to do but others are gone through.
func (z *sizes) positions(s []Dim) (n int64, ok bool) {
	return z.elements(slices.DeleteFunc(slices.Clone(s), func(d Dim) bool { return d == num(0) }))
}

// bytes is what the value name takes.
func (z *sizes) bytes(name string) (int64, bool) {
	if b, ok := z.lists[name]; ok {
		return b, true
	}
	v := z.f.value(name)
	n, ok := z.elements(v.Shape)
	return product(n, z.width(v.Type)), ok
}

// bound notes how large the numbers in n's results can be that its operands' values decide.
func (z *sizes) bound(n *Node) {
	if n.Op == "Range" && len(n.In) == 3 {
		c := shapeCall{inferer: z.f, n: n}
		var v [3]float64
		for i := range v {
			x, ok := c.floats(i)
			if !ok || len(x) != 1 {
				return
			}
			v[i] = x[0]
		}
		steps := math.Ceil((v[1] - v[0]) / v[2])
		if d := z.f.value(n.Out[0]).Shape; len(d) == 1 && !d[0].Known() && steps < 1<<53 {
			z.most[d[0].Sym] = int64(max(steps, 0))
		}
		return
	}
	x := z.f.value(n.inName(0)).Shape
	all, ok := z.elements(x)
	if !ok {
		return
	}
	noMore := strings.HasPrefix(n.Op, "Reduce") // than the operand, whatever the values say
	switch n.Op {
	case "Reshape", "Squeeze", "Unsqueeze", "Split", "Slice":
		noMore = true
	}
	for _, name := range n.Out {
		if _, ok := z.elements(z.f.value(name).Shape); !ok && noMore && name != "" {
			z.lists[name] = product(all, z.width(z.f.value(name).Type))
		}
		for i, d := range z.f.value(name).Shape {
			if _, seen := z.most[d.Sym]; d.Known() || seen || d.N != 1 {
				continue
			}
			switch n.Op {
			case "NonZero", "Compress", "Unique", "StringNormalizer":
				z.most[d.Sym] = all
			case "NonMaxSuppression": // no more than there are scores
				if e, ok := z.elements(z.f.value(n.inName(1)).Shape); ok {
					z.most[d.Sym] = e
				}
			case "Slice", "TopK":
				if i < len(x) {
					if e, ok := z.elements(x[i : i+1]); ok {
						z.most[d.Sym] = e
					}
				}
			}
		}
	}
}

// node is what n takes once its results' shapes are inferred.
func (z *sizes) node(n *Node) (h held, err error) {
	for _, s := range n.Out {
		delete(z.lists, s) // of a body that has the same name
	}
	z.bound(n)
	total := func(from int) (b int64) {
		for i := range n.In[min(from, len(n.In)):] {
			if s := n.In[from+i]; s != "" {
				e, _ := z.bytes(s)
				b = plus(b, e)
			}
		}
		return b
	}
	list := func(b int64) {
		if len(n.Out) > 0 {
			z.lists[n.Out[0]] = b
		}
	}
	switch n.Op {
	case "SequenceEmpty":
		list(0)
	case "SequenceConstruct", "SequenceInsert", "SequenceErase", "Optional", "OptionalGetElement", "SplitToSequence", "ConcatFromSequence", "SequenceAt":
		list(total(0)) // no more than all that goes in
	case "LSTM", "GRU", "RNN":
		x := z.f.value(n.inName(0)).Shape
		rows, ok := z.elements(x[:min(2, len(x))])
		if !ok || len(x) != 3 {
			break
		}
		h.scratch = product(product(rows, product(2*8, max(n.Int("hidden_size", 1), 1))), 4)
	}
	if hasGraph(n) {
		if h, err = z.nested(n); err != nil {
			return h, err
		}
	}
	for _, name := range n.Out {
		if name == "" {
			h.results = append(h.results, 0)
			continue
		}
		b, ok := z.bytes(name)
		if !ok {
			return h, unsized(name)
		}
		h.results = append(h.results, b)
		h.work = plus(h.work, b)
	}
	out := int64(0)
	if len(n.Out) > 0 {
		out, _ = z.elements(z.f.value(n.Out[0]).Shape)
	}
	per := int64(1) // products for each element of the result
	wide := z.width(Float32)
	x := z.f.value(n.inName(0)).Shape
	of, _ := z.elements(x)
	more := int64(0) // work that does not go with the size of the result
	switch n.Op {
	case "MatMul", "Gemm":
		if len(x) > 0 {
			at := len(x) - 1
			if n.Op == "Gemm" && n.Int("transA", 0) != 0 {
				at = 0
			}
			per, _ = z.elements(x[at : at+1])
		}
	case "Conv":
		if s := z.f.value(n.inName(1)).Shape; len(s) > 1 {
			per, _ = z.elements(s[1:])
		}
	case "ConvTranspose":
		if w := z.f.value(n.inName(1)).Shape; len(x) > 2 && len(w) > 1 {
			// onnxruntime spmore one image's products before it adds them up.
			taps, _ := z.elements(w[1:])
			image, _ := z.elements(x[2:])
			h.scratch = product(wide, product(product(taps, image), max(n.Int("group", 1), 1)))
			more = product(of, taps)
		}
	case "Einsum":
		h.scratch, more = z.einsum(n)
	case "Attention":
		k := z.f.value(n.inName(1)).Shape
		if len(x) >= 3 && len(x) == len(k) {
			a, _ := z.elements(x[:len(x)-1])
			b, _ := z.elements(k[len(k)-2 : len(k)-1])
			if past := z.f.value(n.inName(4)).Shape; len(past) > 1 {
				kept, _ := z.elements(past[len(past)-2 : len(past)-1])
				b = plus(b, kept)
			}
			h.scratch = product(2*wide, product(product(a, b), max(n.Int("q_num_heads", 1), 1)))
			more, per = plus(product(of, b), h.scratch), b
		}
	case "AveragePool", "MaxPool", "LpPool":
		per = map[string]int64{"AveragePool": 2, "MaxPool": 8, "LpPool": 64}[n.Op]
		for _, k := range n.Ints("kernel_shape") {
			per = product(per, max(k, 1))
		}
	case "GridSample":
		for range x[min(2, len(x)):] {
			per = product(per, 4)
		}
		if z.inGo {
			h.scratch = product(32, per) // the terms of one point
		}
	case "Resize", "Upsample":
		more = product(int64(5*max(len(x), 1)), plus(of, out))
	case "Max", "Mean", "Min", "Sum":
		per = product(int64(len(n.In)), wide)
	case "Pow", "Erf", "Gelu":
		per = 4 * wide // of functions that take longer than sums
	case "TopK":
		if len(x) > 0 {
			h.scratch, _ = z.bytes(n.In[0])
			axis, _ := normAxis(n.Int("axis", -1), len(x))
			along, _ := z.elements(x[axis : axis+1])
			more = product(h.scratch, int64(4*bits.Len64(uint64(along))))
		}
	case "Softmax", "LogSoftmax", "Hardmax", "CumSum", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
		"ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "ArgMax", "ArgMin":
		more, _ = z.bytes(n.inName(0))
		if len(x) > 2 {
			h.scratch = more // laid out anew where the axis is not the last
		}
		more = product(more, 2)
	case "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "Col2Im", "NonZero", "Compress", "Unique":
		more, _ = z.bytes(n.inName(0))
	case "ScatterElements", "Scatter", "ScatterND":
		more, _ = z.bytes(n.inName(2))
	}
	h.work = plus(h.work, more)
	h.work = plus(h.work, product(out, per))
	if z.inGo && !tableFree[n.Op] && !hasGraph(n) {
		for _, list := range [2][]string{n.In, n.Out} {
			for _, s := range list {
				if e, ok := z.positions(z.f.value(s).Shape); ok && s != "" {
					h.scratch = max(h.scratch, product(8, e)) // a table of positions
				}
			}
		}
	}
	return h, nil
}

// einsum is the bytes of the products between the operands of an Einsum, from left to right, and how many products of
// numbers they take.
func (z *sizes) einsum(n *Node) (scratch, work int64) {
	terms, result, _, err := parseEinsum(n.Str("equation", ""), len(n.In))
	if err != nil {
		return 0, 0
	}
	extent := map[rune]int64{}
	for i, t := range terms {
		s := z.f.value(n.In[i]).Shape
		k := 0
		for _, l := range t {
			m := 1
			if l == '.' {
				m = len(s) - len(t) + 1
			}
			e, ok := z.elements(s[min(k, len(s)):min(k+max(m, 0), len(s))])
			if !ok {
				e = 1
			}
			extent[l] = max(extent[l], e)
			k += max(m, 0)
		}
	}
	most := int64(0)
	var acc []rune
	for i, t := range terms {
		for _, l := range t {
			if !slices.Contains(acc, l) {
				acc = append(acc, l)
			}
		}
		all := int64(1)
		for _, l := range acc {
			all = product(all, extent[l])
		}
		work = plus(work, all)
		acc = slices.DeleteFunc(acc, func(l rune) bool {
			return i > 0 && !slices.Contains(result, l) && !slices.ContainsFunc(terms[i+1:], func(t []rune) bool { return slices.Contains(t, l) })
		})
		size := z.width(z.f.typ(n.In[0]))
		for _, l := range acc {
			size = product(size, extent[l])
		}
		work = plus(work, product(4, size))
		most = max(most, size)
	}
	return product(2, most), work
}

// inner is what one run of a graph in an attribute takes, with args for its inputs. s knows its values.
func (z *sizes) inner(g *Graph, args []Value, vals []knownInts) (s *sizes, peak, work int64, err error) {
	if z.budget--; z.budget < 0 {
		return nil, 0, 0, fmt.Errorf("%w: found graphs within graphs", ErrTooLarge)
	}
	sub := g.shallow()
	sub.Opset, sub.Info = z.f.g.Opset, map[string]Value{}
	for i := range sub.Inputs {
		if i < len(args) {
			sub.Inputs[i] = Value{Name: sub.Inputs[i].Name, Type: args[i].Type, Shape: args[i].Shape}
		}
	}
	s = &sizes{f: newInferer(sub), inGo: z.inGo, most: z.most, lists: z.lists, budget: z.budget, left: z.left}
	s.f.outer, s.f.next = z.f, max(s.f.next, z.f.next) // symbols are told apart
	for i, v := range sub.Inputs {
		if i < len(vals) && vals[i].elems != nil {
			s.f.vals[v.Name] = vals[i]
		}
	}
	peak, work, _, err = s.walk(sub)
	z.budget, z.f.next = s.budget, max(z.f.next, s.f.next)
	return s, peak, work, err
}

// result notes what is known of n's result i.
func (z *sizes) result(n *Node, i int, v Value) {
	if i < len(n.Out) && n.Out[i] != "" {
		v.Name = n.Out[i]
		z.f.g.Info[v.Name] = v
	}
}

// nested is what the graphs in n's attributes take.
func (z *sizes) nested(n *Node) (held, error) {
	switch n.Op {
	case "If":
		return z.choice(n)
	case "Loop":
		return z.loop(n)
	case "Scan":
		return z.scan(n)
	}
	return held{}, fmt.Errorf("%w: how much its graph takes cannot be told", ErrTooLarge)
}

// choice is what the larger branch of an If takes.
func (z *sizes) choice(n *Node) (h held, err error) {
	most := make([]map[int]int64, len(n.Out)) // extents of the results, by axis
	for _, key := range sortedKeys(n.Attr) {
		g := n.Attr[key].Graph
		if g == nil {
			continue
		}
		s, peak, work, err := z.inner(g, nil, nil)
		if err != nil {
			return h, err
		}
		h.scratch, h.work = max(h.scratch, peak), max(h.work, work)
		for i, o := range g.Outputs {
			if i >= len(n.Out) {
				break
			}
			if b, ok := s.bytes(o.Name); ok {
				z.lists[n.Out[i]] = max(z.lists[n.Out[i]], b)
			}
			if most[i] == nil {
				most[i] = map[int]int64{}
			}
			shape := s.f.value(o.Name).Shape
			for a := range shape {
				if e, ok := s.elements(shape[a : a+1]); ok {
					most[i][a] = max(most[i][a], e)
				}
			}
		}
	}
	for i, name := range n.Out {
		for a, d := range z.f.value(name).Shape {
			if _, seen := z.most[d.Sym]; !seen && d.N == 1 && !d.Known() {
				z.most[d.Sym] = most[i][a]
			}
		}
	}
	return h, nil
}

// loop is what a Loop takes: as often as its first operand says, or as its condition says where it can be told from turn
// to turn. Where that cannot be told either, the evaluator counts while it runs.
func (z *sizes) loop(n *Node) (h held, err error) {
	body := n.Attr["body"].Graph
	if body == nil {
		return h, errors.New("attribute \"body\": found no graph")
	}
	carried := max(len(n.In)-2, 0)
	if len(body.Inputs) != carried+2 || len(body.Outputs) < carried+1 {
		return h, fmt.Errorf("body: found %d inputs and %d outputs for %d operands", len(body.Inputs), len(body.Outputs), len(n.In))
	}
	turns := int64(-1)
	if k, ok := z.f.ints(n.inName(0)); ok && len(k.elems) == 1 && k.elems[0].Known() {
		turns = max(k.elems[0].N, 0)
	}
	args := []Value{{Type: Int64, Shape: []Dim{}}, {Type: Bool, Shape: []Dim{}}}
	for i := range 2 {
		if len(body.Inputs[i].Shape) == 1 {
			args[i].Shape = []Dim{num(1)}
		}
	}
	for i := range carried {
		args = append(args, z.f.value(n.In[2+i]))
	}
	if turns >= 0 && turns <= mostTurns {
		if h, err = z.turns(n, body, args, turns, 1); err == nil || !errors.Is(err, ErrTooLarge) {
			return h, err
		}
	}
	if h, ok := z.turnByTurn(n, body, args, turns); ok {
		return h, nil
	}
	switch {
	case err != nil:
		return h, err
	case turns >= 0 && body.goesOn():
		return h, fmt.Errorf("%w: found %d turns, expected a constant of at most %d", ErrTooLarge, turns, mostTurns)
	case z.inGo:
		return h, &unsizedError{"how many turns it takes cannot be told before it runs"}
	}
	return h, &unsizedError{"found an unknown number of turns, which may have no end; --device reference bounds it while it runs"}
}

// goesOn tells whether the condition that a Loop's body gives is the one that it is given.
func (g *Graph) goesOn() bool {
	from := map[string]string{}
	for _, n := range g.Nodes {
		if n.Op == "Identity" && len(n.In) == 1 && len(n.Out) == 1 {
			from[n.Out[0]] = n.In[0]
		}
	}
	name := g.Outputs[0].Name
	for range g.Nodes {
		if next, ok := from[name]; ok {
			name = next
		}
	}
	if t := g.Init[name]; t != nil {
		return len(t.Ints) == 1 && t.Ints[0] != 0
	}
	return name == g.Inputs[1].Name
}

// turnByTurn follows a Loop's turns while its condition and the values that go from turn to turn can be told; ok is false
// where they cannot, and where there are too many.
func (z *sizes) turnByTurn(n *Node, body *Graph, args []Value, most int64) (h held, ok bool) {
	given := []knownInts{{}, {}}
	for i := range n.In {
		if i >= 2 {
			k, _ := z.f.ints(n.In[i])
			given = append(given, k)
		}
	}
	on := true
	if name := n.inName(1); name != "" {
		k, ok := z.f.ints(name)
		if !ok || len(k.elems) != 1 || !k.elems[0].Known() {
			return h, false
		}
		on = k.elems[0].N != 0
	}
	if n.inName(0) != "" && most < 0 {
		return h, false
	}
	one := func(i int, v int64) knownInts {
		return knownInts{make([]int64, len(args[i].Shape)), []Dim{num(v)}}
	}
	for i := range 2 {
		given[i] = one(i, 1)
		for k := range given[i].shape {
			given[i].shape[k] = 1
		}
	}
	kept := len(args) - 2
	args = slices.Clone(args)
	rows := make([][]Dim, len(body.Outputs)-1-kept)
	stacked := int64(0) // bytes of the rows
	turn := int64(0)
	for ; on && (most < 0 || turn < most); turn++ {
		if *z.left -= 1 + len(body.Nodes); *z.left < 0 {
			return h, false
		}
		given[0].elems = []Dim{num(turn)}
		s, peak, work, err := z.inner(body, args, given)
		if err != nil {
			return h, false
		}
		h.scratch, h.work = max(h.scratch, plus(peak, stacked)), plus(h.work, plus(work, int64(len(body.Nodes))))
		k, ok := s.f.ints(body.Outputs[0].Name)
		if !ok || len(k.elems) != 1 || !k.elems[0].Known() {
			return h, false
		}
		on = k.elems[0].N != 0
		for i, o := range body.Outputs[1:] {
			v := s.f.value(o.Name)
			if v.Shape == nil {
				return h, false
			}
			if i < kept {
				args[2+i] = v
				given[2+i], _ = s.f.ints(o.Name)
				continue
			}
			b, ok := s.bytes(o.Name)
			if r := rows[i-kept]; !ok || r != nil && !slices.Equal(r, v.Shape) {
				return h, false
			}
			rows[i-kept], stacked = v.Shape, plus(stacked, b)
			z.result(n, i, Value{Type: v.Type, Shape: append([]Dim{num(turn + 1)}, v.Shape...)})
		}
	}
	h.scratch = max(h.scratch, stacked)
	for i := range kept {
		z.result(n, i, args[2+i])
	}
	if turn == 0 {
		for i, o := range body.Outputs[1+kept:] {
			if _, ok := known(o.Shape); !ok && kept+i < len(n.Out) {
				return h, false
			}
			z.result(n, kept+i, Value{Type: o.Type, Shape: append([]Dim{num(0)}, o.Shape...)})
		}
	}
	return h, h.work <= mostWork
}

// scan is what a Scan takes: its turns are as many as the scanned axis is long.
func (z *sizes) scan(n *Node) (h held, err error) {
	body := n.Attr["body"].Graph
	taken := int(n.Int("num_scan_inputs", 0))
	kept := len(n.In) - taken
	if body == nil || taken < 1 || kept < 0 || len(body.Inputs) != len(n.In) || len(body.Outputs) < kept {
		return h, errors.New("found a body of other inputs and outputs than the operands")
	}
	turns := int64(-1)
	var args []Value
	for i, name := range n.In {
		v := z.f.value(name)
		if i >= kept {
			axis, d, ok := scanAxis(n, i-kept, v.Shape)
			if !ok {
				return h, unsized(name)
			}
			e, ok := z.elements([]Dim{d})
			if !ok {
				return h, unsized(name)
			}
			turns = max(turns, e)
			v.Shape = slices.Delete(slices.Clone(v.Shape), axis, axis+1)
		}
		args = append(args, v)
	}
	if turns > mostTurns {
		return h, fmt.Errorf("%w: found %d turns, expected at most %d", ErrTooLarge, turns, mostTurns)
	}
	return z.turns(n, body, args, turns, 0)
}

// scanAxis is the axis along which scanned operand i is taken apart, and its extent.
func scanAxis(n *Node, i int, shape []Dim) (axis int, d Dim, ok bool) {
	a := int64(0)
	if v := n.Ints("scan_input_axes"); i < len(v) {
		a = v[i]
	}
	axis, err := normAxis(a, len(shape))
	if err != nil {
		return 0, d, false
	}
	return axis, shape[axis], true
}

// turns is what a number of equal turns of a body take. The values that go from turn to turn, which are the body's outputs
// from first on, must keep their shapes.
func (z *sizes) turns(n *Node, body *Graph, args []Value, turns int64, first int) (h held, err error) {
	kept := len(args) - 2
	if n.Op == "Scan" {
		kept = len(args) - int(n.Int("num_scan_inputs", 0))
	}
	s, peak, work, err := z.inner(body, args, nil)
	if err != nil {
		return h, err
	}
	h.scratch, h.work = peak, product(turns, plus(work, int64(len(body.Nodes))))
	for i, o := range body.Outputs[first:] {
		v := s.f.value(o.Name)
		if i < kept {
			if was := args[2*first+i]; was.Shape == nil || !slices.Equal(v.Shape, was.Shape) {
				return h, fmt.Errorf("%w: the carried value %s changes its shape from %v to %v", ErrTooLarge, Quote(o.Name), was.Shape, v.Shape)
			}
			z.result(n, i, v)
			continue
		}
		b, ok := s.bytes(o.Name)
		if v.Shape == nil || !ok {
			return h, unsized(o.Name)
		}
		h.scratch = plus(h.scratch, product(turns, b)) // the turns' results, before they are put together
		axis := 0
		if a := n.Ints("scan_output_axes"); n.Op == "Scan" && i-kept < len(a) {
			if axis, err = normAxis(a[i-kept], len(v.Shape)+1); err != nil {
				return h, err
			}
		}
		v.Shape = slices.Insert(slices.Clone(v.Shape), axis, num(turns))
		z.result(n, i, v)
	}
	if h.work > mostWork {
		return h, fmt.Errorf("%w: found %d turns of %d operations, expected at most %d in all", ErrTooLarge, turns, work, int64(mostWork))
	}
	return h, nil
}

// walk infers the nodes of g in order and adds up what is alive: the most at a time, and the node where that is.
func (z *sizes) walk(g *Graph) (peak, work int64, at int, err error) {
	last := map[string]int{}
	for i, n := range g.Nodes {
		for _, s := range n.uses() {
			last[s] = i
		}
	}
	for _, v := range g.Outputs {
		last[v.Name] = len(g.Nodes)
	}
	ends := make([][]string, len(g.Nodes)+1)
	constant := map[string]bool{}
	alive := int64(0)
	for _, v := range g.Inputs {
		if b, ok := z.bytes(v.Name); ok {
			alive = plus(alive, b)
		}
	}
	peak, at = alive, -1
	took := map[string]int64{}
	for i, n := range g.Nodes {
		if err := z.f.node(n); err != nil {
			return 0, 0, i, fmt.Errorf("node %s (%s, opset %d): %w", nodeName(n.Name, i), opName(n), z.f.g.Opset[n.Domain], err)
		}
		h, err := z.node(n)
		if err != nil {
			return 0, 0, i, fmt.Errorf("node %s (%s, opset %d): %w", nodeName(n.Name, i), opName(n), z.f.g.Opset[n.Domain], err)
		}
		work = plus(work, h.work)
		fixed := !random[n.Op] && z.f.outer == nil
		for _, s := range n.uses() {
			fixed = fixed && (constant[s] || g.Init[s] != nil)
		}
		for k, s := range n.Out {
			if s == "" {
				continue
			}
			b := h.results[k]
			if fixed {
				// onnxruntime computes it when it opens the graph, and keeps it and a copy.
				constant[s] = true
				if !z.inGo {
					alive = plus(alive, product(2, b))
					continue
				}
			}
			took[s] = b
			alive = plus(alive, b)
			ends[max(last[s], i)] = append(ends[max(last[s], i)], s)
		}
		if now := plus(alive, h.scratch); now > peak {
			peak, at = now, i
		}
		for _, s := range ends[i] {
			alive -= took[s]
		}
	}
	if z.inGo && z.f.outer == nil {
		for _, v := range g.Outputs { // which the evaluator copies
			b, _ := z.bytes(v.Name)
			alive = plus(alive, b)
		}
		if alive > peak {
			peak, at = alive, len(g.Nodes)-1
		}
	}
	return peak, work, at, nil
}

// tableFree are operators of which the evaluator makes no table of positions.
var tableFree = map[string]bool{
	"Identity": true, "Reshape": true, "Flatten": true, "Squeeze": true, "Unsqueeze": true, "Cast": true, "Relu": true, "LeakyRelu": true,
	"Sigmoid": true, "Tanh": true, "Softplus": true, "Exp": true, "Erf": true, "Neg": true, "Sqrt": true, "Gelu": true, "Swish": true,
	"Elu": true, "Selu": true, "Conv": true, "ConvTranspose": true, "Constant": true, "ConstantOfShape": true, "Shape": true, "Size": true,
	"Gemm": true, "MatMul": true, "Dropout": true, "": true,
}

// simplifier brings a graph into a form in which more of its sizes are known. That takes the evaluator, which asks for
// footprints itself: whoever has one sets it.
var simplifier = func(g *Graph) (*Graph, error) { return g, nil }

// footprint is the bytes that a run of g takes at most beside its weights, on onnxruntime or in the evaluator, and the
// node where that is.
func (g *Graph) footprint(inGo bool) (peak int64, where string, err error) {
	measure := func(g *Graph) (int64, string, error) {
		h := *g
		h.Info = map[string]Value{} // what a file says of its values is not to be relied on
		z := newSizes(&h, inGo)
		peak, _, at, err := z.walk(&h)
		where := "its inputs"
		if at >= 0 {
			where = fmt.Sprintf("node %s (%s, opset %d)", nodeName(g.Nodes[at].Name, at), opName(g.Nodes[at]), g.Opset[g.Nodes[at].Domain])
		}
		return peak, where, err
	}
	peak, where, err = measure(g)
	if err != nil && errors.Is(err, ErrTooLarge) {
		// Shape arithmetic that inference does not follow may be constant.
		if h, e := simplifier(g); e == nil {
			if p, w, e := measure(h); e == nil {
				return p, w, nil
			}
		}
	}
	return peak, where, err
}

// fits is the footprint of g, an error where that is more than room with what others take.
func (g *Graph) fits(inGo bool, room, others int64) (peak int64, err error) {
	peak, where, err := g.footprint(inGo)
	if err != nil {
		return peak, err
	}
	if peak+others > room {
		return peak, fmt.Errorf("%s: %w: found values of %s at a time, expected at most %s", where, ErrTooLarge, disk.Size(peak+others), disk.Size(room))
	}
	return peak, nil
}

// Fits tells whether the values of a graph that are alive at one time take at most room bytes.
func Fits(g *Graph, room int64) bool {
	_, err := g.fits(false, room, 0)
	return err == nil
}

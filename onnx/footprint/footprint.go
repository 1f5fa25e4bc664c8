package footprint

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/onnx/symbolic"
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

// UnsizedError is the error of what depends on the values of the inputs: how large a result is, or how often a loop turns.
type UnsizedError struct{ what string }

func (e *UnsizedError) Error() string { return e.what }

func unsized(name string) error {
	return &UnsizedError{fmt.Sprintf("how large result %s is cannot be told before it is computed", onnx.Quote(name))}
}

func (e *UnsizedError) Unwrap() error { return ErrTooLarge }

// Sizes tells what the values of a graph take.
type Sizes struct {
	F      *onnx.Inferer
	InGo   bool             // the evaluator's arrays, not onnxruntime's
	Most   map[string]int64 // the largest value of symbols for numbers that depend on the inputs
	Lists  map[string]int64 // bytes of sequences
	budget int              // nested graphs that may still be looked into
	left   *int             // nodes of turns that may still be followed one by one
}

// Held is what runs of a node or a graph take: bytes of results, bytes of working space, and elements and products.
type Held struct {
	Results       []int64
	Scratch, Work int64
}

const Endless = math.MaxInt64 / 4

func NewSizes(g *onnx.Graph, inGo bool) *Sizes {
	left := onnx.MaxUnrolled
	return &Sizes{F: onnx.NewInferer(g), InGo: inGo, Most: map[string]int64{}, Lists: map[string]int64{}, budget: onnx.MaxNodes, left: &left}
}

// width is the bytes of an element.
func (z *Sizes) width(t onnx.DType) int64 {
	switch {
	case z.InGo:
		return 8
	case t == onnx.String:
		return 32
	}
	return int64(max(t.Width(), 1))
}

// Product and plus stop at endless.
func Product(a, b int64) int64 {
	if a != 0 && b > Endless/a {
		return Endless
	}
	return a * b
}

func Plus(a, b int64) int64 { return min(a+b, Endless) }

// Elements is the number of elements of a shape at most; ok is false where it is not known.
func (z *Sizes) Elements(s []onnx.Dim) (n int64, ok bool) {
	if s == nil {
		return 0, false
	}
	n = 1
	for _, d := range s {
		e := d.N
		if !d.Known() {
			m, ok := z.Most[d.Sym]
			if !ok {
				return 0, false
			}
			e = Product(max(e, 0), m)
		}
		n = Product(n, max(e, 0))
	}
	return n, true
}

// positions is elements without the axes of extent 0, along which there may be nothing to do but others are gone through.
func (z *Sizes) positions(s []onnx.Dim) (n int64, ok bool) {
	return z.Elements(slices.DeleteFunc(slices.Clone(s), func(d onnx.Dim) bool { return d == onnx.Fixed(0) }))
}

// bytes is what the value name takes.
func (z *Sizes) bytes(name string) (int64, bool) {
	if b, ok := z.Lists[name]; ok {
		return b, true
	}
	v := z.F.Value(name)
	n, ok := z.Elements(v.Shape)
	return Product(n, z.width(v.Type)), ok
}

// bound notes how large the numbers in n's results can be that its operands' values decide.
func (z *Sizes) bound(n *onnx.Node) {
	if n.Op == "Range" && len(n.In) == 3 {
		c := onnx.ShapeCall{Inferer: z.F, N: n}
		var v [3]float64
		for i := range v {
			x, ok := c.Floats(i)
			if !ok || len(x) != 1 {
				return
			}
			v[i] = x[0]
		}
		steps := math.Ceil((v[1] - v[0]) / v[2])
		if d := z.F.Value(n.Out[0]).Shape; len(d) == 1 && !d[0].Known() && steps < 1<<53 {
			z.Most[d[0].Sym] = int64(max(steps, 0))
		}
		return
	}
	x := z.F.Value(n.InName(0)).Shape
	all, ok := z.Elements(x)
	if !ok {
		return
	}
	noMore := strings.HasPrefix(n.Op, "Reduce") // than the operand, whatever the values say
	switch n.Op {
	case "Reshape", "Squeeze", "Unsqueeze", "Split", "Slice":
		noMore = true
	}
	for _, name := range n.Out {
		if _, ok := z.Elements(z.F.Value(name).Shape); !ok && noMore && name != "" {
			z.Lists[name] = Product(all, z.width(z.F.Value(name).Type))
		}
		for i, d := range z.F.Value(name).Shape {
			if _, seen := z.Most[d.Sym]; d.Known() || seen || d.N != 1 {
				continue
			}
			switch n.Op {
			case "NonZero", "Compress", "Unique", "StringNormalizer":
				z.Most[d.Sym] = all
			case "NonMaxSuppression": // no more than there are scores
				if e, ok := z.Elements(z.F.Value(n.InName(1)).Shape); ok {
					z.Most[d.Sym] = e
				}
			case "Slice", "TopK":
				if i < len(x) {
					if e, ok := z.Elements(x[i : i+1]); ok {
						z.Most[d.Sym] = e
					}
				}
			}
		}
	}
}

// Node is what n takes once its results' shapes are inferred.
func (z *Sizes) Node(n *onnx.Node) (h Held, err error) {
	for _, s := range n.Out {
		delete(z.Lists, s) // of a body that has the same name
	}
	z.bound(n)
	total := func(from int) (b int64) {
		for i := range n.In[min(from, len(n.In)):] {
			if s := n.In[from+i]; s != "" {
				e, _ := z.bytes(s)
				b = Plus(b, e)
			}
		}
		return b
	}
	list := func(b int64) {
		if len(n.Out) > 0 {
			z.Lists[n.Out[0]] = b
		}
	}
	switch n.Op {
	case "SequenceEmpty":
		list(0)
	case "SequenceConstruct", "SequenceInsert", "SequenceErase", "Optional", "OptionalGetElement", "SplitToSequence", "ConcatFromSequence", "SequenceAt":
		list(total(0)) // no more than all that goes in
	case "LSTM", "GRU", "RNN":
		x := z.F.Value(n.InName(0)).Shape
		rows, ok := z.Elements(x[:min(2, len(x))])
		if !ok || len(x) != 3 {
			break
		}
		h.Scratch = Product(Product(rows, Product(2*8, max(n.Int("hidden_size", 1), 1))), 4)
	}
	if onnx.HasGraph(n) {
		if h, err = z.nested(n); err != nil {
			return h, err
		}
	}
	for _, name := range n.Out {
		if name == "" {
			h.Results = append(h.Results, 0)
			continue
		}
		b, ok := z.bytes(name)
		if !ok {
			return h, unsized(name)
		}
		h.Results = append(h.Results, b)
		h.Work = Plus(h.Work, b)
	}
	out := int64(0)
	if len(n.Out) > 0 {
		out, _ = z.Elements(z.F.Value(n.Out[0]).Shape)
	}
	per := int64(1) // products for each element of the result
	wide := z.width(onnx.Float32)
	x := z.F.Value(n.InName(0)).Shape
	of, _ := z.Elements(x)
	more := int64(0) // work that does not go with the size of the result
	switch n.Op {
	case "MatMul", "Gemm":
		if len(x) > 0 {
			at := len(x) - 1
			if n.Op == "Gemm" && n.Int("transA", 0) != 0 {
				at = 0
			}
			per, _ = z.Elements(x[at : at+1])
		}
	case "Conv":
		if s := z.F.Value(n.InName(1)).Shape; len(s) > 1 {
			per, _ = z.Elements(s[1:])
		}
	case "ConvTranspose":
		if w := z.F.Value(n.InName(1)).Shape; len(x) > 2 && len(w) > 1 {
			// onnxruntime spmore one image's products before it adds them up.
			taps, _ := z.Elements(w[1:])
			image, _ := z.Elements(x[2:])
			h.Scratch = Product(wide, Product(Product(taps, image), max(n.Int("group", 1), 1)))
			more = Product(of, taps)
		}
	case "Einsum":
		h.Scratch, more = z.einsum(n)
	case "Attention":
		k := z.F.Value(n.InName(1)).Shape
		if len(x) >= 3 && len(x) == len(k) {
			a, _ := z.Elements(x[:len(x)-1])
			b, _ := z.Elements(k[len(k)-2 : len(k)-1])
			if past := z.F.Value(n.InName(4)).Shape; len(past) > 1 {
				kept, _ := z.Elements(past[len(past)-2 : len(past)-1])
				b = Plus(b, kept)
			}
			h.Scratch = Product(2*wide, Product(Product(a, b), max(n.Int("q_num_heads", 1), 1)))
			more, per = Plus(Product(of, b), h.Scratch), b
		}
	case "AveragePool", "MaxPool", "LpPool":
		per = map[string]int64{"AveragePool": 2, "MaxPool": 8, "LpPool": 64}[n.Op]
		for _, k := range n.Ints("kernel_shape") {
			per = Product(per, max(k, 1))
		}
	case "GridSample":
		for range x[min(2, len(x)):] {
			per = Product(per, 4)
		}
		if z.InGo {
			h.Scratch = Product(32, per) // the terms of one point
		}
	case "Resize", "Upsample":
		more = Product(int64(5*max(len(x), 1)), Plus(of, out))
	case "Max", "Mean", "Min", "Sum":
		per = Product(int64(len(n.In)), wide)
	case "Pow", "Erf", "Gelu":
		per = 4 * wide // of functions that take longer than sums
	case "TopK":
		if len(x) > 0 {
			h.Scratch, _ = z.bytes(n.In[0])
			axis, _ := onnx.NormAxis(n.Int("axis", -1), len(x))
			along, _ := z.Elements(x[axis : axis+1])
			more = Product(h.Scratch, int64(4*bits.Len64(uint64(along))))
		}
	case "Softmax", "LogSoftmax", "Hardmax", "CumSum", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
		"ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "ArgMax", "ArgMin":
		more, _ = z.bytes(n.InName(0))
		if len(x) > 2 {
			h.Scratch = more // laid out anew where the axis is not the last
		}
		more = Product(more, 2)
	case "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "Col2Im", "NonZero", "Compress", "Unique":
		more, _ = z.bytes(n.InName(0))
	case "ScatterElements", "Scatter", "ScatterND":
		more, _ = z.bytes(n.InName(2))
	}
	h.Work = Plus(h.Work, more)
	h.Work = Plus(h.Work, Product(out, per))
	if z.InGo && !tableFree[n.Op] && !onnx.HasGraph(n) {
		for _, list := range [2][]string{n.In, n.Out} {
			for _, s := range list {
				if e, ok := z.positions(z.F.Value(s).Shape); ok && s != "" {
					h.Scratch = max(h.Scratch, Product(8, e)) // a table of positions
				}
			}
		}
	}
	return h, nil
}

// einsum is the bytes of the products between the operands of an Einsum, from left to right, and how many products of
// numbers they take.
func (z *Sizes) einsum(n *onnx.Node) (scratch, work int64) {
	terms, result, _, err := onnx.ParseEinsum(n.Str("equation", ""), len(n.In))
	if err != nil {
		return 0, 0
	}
	extent := map[rune]int64{}
	for i, t := range terms {
		s := z.F.Value(n.In[i]).Shape
		k := 0
		for _, l := range t {
			m := 1
			if l == '.' {
				m = len(s) - len(t) + 1
			}
			e, ok := z.Elements(s[min(k, len(s)):min(k+max(m, 0), len(s))])
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
			all = Product(all, extent[l])
		}
		work = Plus(work, all)
		acc = slices.DeleteFunc(acc, func(l rune) bool {
			return i > 0 && !slices.Contains(result, l) && !slices.ContainsFunc(terms[i+1:], func(t []rune) bool { return slices.Contains(t, l) })
		})
		size := z.width(z.F.Typ(n.In[0]))
		for _, l := range acc {
			size = Product(size, extent[l])
		}
		work = Plus(work, Product(4, size))
		most = max(most, size)
	}
	return Product(2, most), work
}

// inner is what one run of a graph in an attribute takes, with args for its inputs. s knows its values.
func (z *Sizes) inner(g *onnx.Graph, args []onnx.Value, vals []symbolic.Ints) (s *Sizes, peak, work int64, err error) {
	if z.budget--; z.budget < 0 {
		return nil, 0, 0, fmt.Errorf("%w: found graphs within graphs", ErrTooLarge)
	}
	sub := g.Shallow()
	sub.Opset, sub.Info = z.F.G.Opset, map[string]onnx.Value{}
	for i := range sub.Inputs {
		if i < len(args) {
			sub.Inputs[i] = onnx.Value{Name: sub.Inputs[i].Name, Type: args[i].Type, Shape: args[i].Shape}
		}
	}
	s = &Sizes{F: onnx.NewInferer(sub), InGo: z.InGo, Most: z.Most, Lists: z.Lists, budget: z.budget, left: z.left}
	s.F.Within(z.F)
	s.F.Next = max(s.F.Next, z.F.Next) // symbols are told apart
	for i, v := range sub.Inputs {
		if i < len(vals) && vals[i].Elems != nil {
			s.F.Vals[v.Name] = vals[i]
		}
	}
	peak, work, _, err = s.walk(sub)
	z.budget, z.F.Next = s.budget, max(z.F.Next, s.F.Next)
	return s, peak, work, err
}

// result notes what is known of n's result i.
func (z *Sizes) result(n *onnx.Node, i int, v onnx.Value) {
	if i < len(n.Out) && n.Out[i] != "" {
		v.Name = n.Out[i]
		z.F.G.Info[v.Name] = v
	}
}

// nested is what the graphs in n's attributes take.
func (z *Sizes) nested(n *onnx.Node) (Held, error) {
	switch n.Op {
	case "If":
		return z.choice(n)
	case "Loop":
		return z.loop(n)
	case "Scan":
		return z.scan(n)
	}
	return Held{}, fmt.Errorf("%w: how much its graph takes cannot be told", ErrTooLarge)
}

// choice is what the larger branch of an If takes.
func (z *Sizes) choice(n *onnx.Node) (h Held, err error) {
	most := make([]map[int]int64, len(n.Out)) // extents of the results, by axis
	for _, key := range onnx.SortedKeys(n.Attr) {
		g := n.Attr[key].Graph
		if g == nil {
			continue
		}
		s, peak, work, err := z.inner(g, nil, nil)
		if err != nil {
			return h, err
		}
		h.Scratch, h.Work = max(h.Scratch, peak), max(h.Work, work)
		for i, o := range g.Outputs {
			if i >= len(n.Out) {
				break
			}
			if b, ok := s.bytes(o.Name); ok {
				z.Lists[n.Out[i]] = max(z.Lists[n.Out[i]], b)
			}
			if most[i] == nil {
				most[i] = map[int]int64{}
			}
			shape := s.F.Value(o.Name).Shape
			for a := range shape {
				if e, ok := s.Elements(shape[a : a+1]); ok {
					most[i][a] = max(most[i][a], e)
				}
			}
		}
	}
	for i, name := range n.Out {
		for a, d := range z.F.Value(name).Shape {
			if _, seen := z.Most[d.Sym]; !seen && d.N == 1 && !d.Known() {
				z.Most[d.Sym] = most[i][a]
			}
		}
	}
	return h, nil
}

// loop is what a Loop takes: as often as its first operand says, or as its condition says where it can be told from turn
// to turn. Where that cannot be told either, the evaluator counts while it runs.
func (z *Sizes) loop(n *onnx.Node) (h Held, err error) {
	body := n.Attr["body"].Graph
	if body == nil {
		return h, errors.New("attribute \"body\": found no graph")
	}
	carried := max(len(n.In)-2, 0)
	if len(body.Inputs) != carried+2 || len(body.Outputs) < carried+1 {
		return h, fmt.Errorf("body: found %d inputs and %d outputs for %d operands", len(body.Inputs), len(body.Outputs), len(n.In))
	}
	turns := int64(-1)
	if k, ok := z.F.Ints(n.InName(0)); ok && len(k.Elems) == 1 && k.Elems[0].Known() {
		turns = max(k.Elems[0].N, 0)
	}
	args := []onnx.Value{{Type: onnx.Int64, Shape: []onnx.Dim{}}, {Type: onnx.Bool, Shape: []onnx.Dim{}}}
	for i := range 2 {
		if len(body.Inputs[i].Shape) == 1 {
			args[i].Shape = []onnx.Dim{onnx.Fixed(1)}
		}
	}
	for i := range carried {
		args = append(args, z.F.Value(n.In[2+i]))
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
	case turns >= 0 && goesOn(body):
		return h, fmt.Errorf("%w: found %d turns, expected a constant of at most %d", ErrTooLarge, turns, mostTurns)
	case z.InGo:
		return h, &UnsizedError{"how many turns it takes cannot be told before it runs"}
	}
	return h, &UnsizedError{"found an unknown number of turns, which may have no end; --device reference bounds it while it runs"}
}

// goesOn tells whether the condition that a Loop's body gives is the one that it is given.
func goesOn(g *onnx.Graph) bool {
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
func (z *Sizes) turnByTurn(n *onnx.Node, body *onnx.Graph, args []onnx.Value, most int64) (h Held, ok bool) {
	given := []symbolic.Ints{{}, {}}
	for i := range n.In {
		if i >= 2 {
			k, _ := z.F.Ints(n.In[i])
			given = append(given, k)
		}
	}
	on := true
	if name := n.InName(1); name != "" {
		k, ok := z.F.Ints(name)
		if !ok || len(k.Elems) != 1 || !k.Elems[0].Known() {
			return h, false
		}
		on = k.Elems[0].N != 0
	}
	if n.InName(0) != "" && most < 0 {
		return h, false
	}
	one := func(i int, v int64) symbolic.Ints {
		return symbolic.Ints{Shape: make([]int64, len(args[i].Shape)), Elems: []onnx.Dim{onnx.Fixed(v)}}
	}
	for i := range 2 {
		given[i] = one(i, 1)
		for k := range given[i].Shape {
			given[i].Shape[k] = 1
		}
	}
	kept := len(args) - 2
	args = slices.Clone(args)
	rows := make([][]onnx.Dim, len(body.Outputs)-1-kept)
	stacked := int64(0) // bytes of the rows
	turn := int64(0)
	for ; on && (most < 0 || turn < most); turn++ {
		if *z.left -= 1 + len(body.Nodes); *z.left < 0 {
			return h, false
		}
		given[0].Elems = []onnx.Dim{onnx.Fixed(turn)}
		s, peak, work, err := z.inner(body, args, given)
		if err != nil {
			return h, false
		}
		h.Scratch, h.Work = max(h.Scratch, Plus(peak, stacked)), Plus(h.Work, Plus(work, int64(len(body.Nodes))))
		k, ok := s.F.Ints(body.Outputs[0].Name)
		if !ok || len(k.Elems) != 1 || !k.Elems[0].Known() {
			return h, false
		}
		on = k.Elems[0].N != 0
		for i, o := range body.Outputs[1:] {
			v := s.F.Value(o.Name)
			if v.Shape == nil {
				return h, false
			}
			if i < kept {
				args[2+i] = v
				given[2+i], _ = s.F.Ints(o.Name)
				continue
			}
			b, ok := s.bytes(o.Name)
			if r := rows[i-kept]; !ok || r != nil && !slices.Equal(r, v.Shape) {
				return h, false
			}
			rows[i-kept], stacked = v.Shape, Plus(stacked, b)
			z.result(n, i, onnx.Value{Type: v.Type, Shape: append([]onnx.Dim{onnx.Fixed(turn + 1)}, v.Shape...)})
		}
	}
	h.Scratch = max(h.Scratch, stacked)
	for i := range kept {
		z.result(n, i, args[2+i])
	}
	if turn == 0 {
		for i, o := range body.Outputs[1+kept:] {
			if _, ok := onnx.Known(o.Shape); !ok && kept+i < len(n.Out) {
				return h, false
			}
			z.result(n, kept+i, onnx.Value{Type: o.Type, Shape: append([]onnx.Dim{onnx.Fixed(0)}, o.Shape...)})
		}
	}
	return h, h.Work <= mostWork
}

// scan is what a Scan takes: its turns are as many as the scanned axis is long.
func (z *Sizes) scan(n *onnx.Node) (h Held, err error) {
	body := n.Attr["body"].Graph
	taken := int(n.Int("num_scan_inputs", 0))
	kept := len(n.In) - taken
	if body == nil || taken < 1 || kept < 0 || len(body.Inputs) != len(n.In) || len(body.Outputs) < kept {
		return h, errors.New("found a body of other inputs and outputs than the operands")
	}
	turns := int64(-1)
	var args []onnx.Value
	for i, name := range n.In {
		v := z.F.Value(name)
		if i >= kept {
			axis, d, ok := scanAxis(n, i-kept, v.Shape)
			if !ok {
				return h, unsized(name)
			}
			e, ok := z.Elements([]onnx.Dim{d})
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
func scanAxis(n *onnx.Node, i int, shape []onnx.Dim) (axis int, d onnx.Dim, ok bool) {
	a := int64(0)
	if v := n.Ints("scan_input_axes"); i < len(v) {
		a = v[i]
	}
	axis, err := onnx.NormAxis(a, len(shape))
	if err != nil {
		return 0, d, false
	}
	return axis, shape[axis], true
}

// turns is what a number of equal turns of a body take. The values that go from turn to turn, which are the body's outputs
// from first on, must keep their shapes.
func (z *Sizes) turns(n *onnx.Node, body *onnx.Graph, args []onnx.Value, turns int64, first int) (h Held, err error) {
	kept := len(args) - 2
	if n.Op == "Scan" {
		kept = len(args) - int(n.Int("num_scan_inputs", 0))
	}
	s, peak, work, err := z.inner(body, args, nil)
	if err != nil {
		return h, err
	}
	h.Scratch, h.Work = peak, Product(turns, Plus(work, int64(len(body.Nodes))))
	for i, o := range body.Outputs[first:] {
		v := s.F.Value(o.Name)
		if i < kept {
			if was := args[2*first+i]; was.Shape == nil || !slices.Equal(v.Shape, was.Shape) {
				return h, fmt.Errorf("%w: the carried value %s changes its shape from %v to %v", ErrTooLarge, onnx.Quote(o.Name), was.Shape, v.Shape)
			}
			z.result(n, i, v)
			continue
		}
		b, ok := s.bytes(o.Name)
		if v.Shape == nil || !ok {
			return h, unsized(o.Name)
		}
		h.Scratch = Plus(h.Scratch, Product(turns, b)) // the turns' results, before they are put together
		axis := 0
		if a := n.Ints("scan_output_axes"); n.Op == "Scan" && i-kept < len(a) {
			if axis, err = onnx.NormAxis(a[i-kept], len(v.Shape)+1); err != nil {
				return h, err
			}
		}
		v.Shape = slices.Insert(slices.Clone(v.Shape), axis, onnx.Fixed(turns))
		z.result(n, i, v)
	}
	if h.Work > mostWork {
		return h, fmt.Errorf("%w: found %d turns of %d operations, expected at most %d in all", ErrTooLarge, turns, work, int64(mostWork))
	}
	return h, nil
}

// walk infers the nodes of g in order and adds up what is alive: the most at a time, and the node where that is.
func (z *Sizes) walk(g *onnx.Graph) (peak, work int64, at int, err error) {
	last := map[string]int{}
	for i, n := range g.Nodes {
		for _, s := range n.Uses() {
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
			alive = Plus(alive, b)
		}
	}
	peak, at = alive, -1
	took := map[string]int64{}
	for i, n := range g.Nodes {
		if err := z.F.Node(n); err != nil {
			return 0, 0, i, fmt.Errorf("node %s (%s, opset %d): %w", onnx.NodeName(n.Name, i), onnx.OpName(n), z.F.G.Opset[n.Domain], err)
		}
		h, err := z.Node(n)
		if err != nil {
			return 0, 0, i, fmt.Errorf("node %s (%s, opset %d): %w", onnx.NodeName(n.Name, i), onnx.OpName(n), z.F.G.Opset[n.Domain], err)
		}
		work = Plus(work, h.Work)
		fixed := !onnx.Random[n.Op] && z.F.Outer == nil
		for _, s := range n.Uses() {
			fixed = fixed && (constant[s] || g.Init[s] != nil)
		}
		for k, s := range n.Out {
			if s == "" {
				continue
			}
			b := h.Results[k]
			if fixed {
				// onnxruntime computes it when it opens the graph, and keeps it and a copy.
				constant[s] = true
				if !z.InGo {
					alive = Plus(alive, Product(2, b))
					continue
				}
			}
			took[s] = b
			alive = Plus(alive, b)
			ends[max(last[s], i)] = append(ends[max(last[s], i)], s)
		}
		if now := Plus(alive, h.Scratch); now > peak {
			peak, at = now, i
		}
		for _, s := range ends[i] {
			alive -= took[s]
		}
	}
	if z.InGo && z.F.Outer == nil {
		for _, v := range g.Outputs { // which the evaluator copies
			b, _ := z.bytes(v.Name)
			alive = Plus(alive, b)
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

// Simplifier brings a graph into a form in which more of its sizes are known. That takes the evaluator, which asks for
// footprints itself: whoever has one sets it.
var Simplifier = func(g *onnx.Graph) (*onnx.Graph, error) { return g, nil }

// Footprint is the bytes that a run of g takes at most beside its weights, on onnxruntime or in the evaluator, and the
// node where that is.
func Footprint(g *onnx.Graph, inGo bool) (peak int64, where string, err error) {
	measure := func(g *onnx.Graph) (int64, string, error) {
		h := *g
		h.Info = map[string]onnx.Value{} // what a file says of its values is not to be relied on
		z := NewSizes(&h, inGo)
		peak, _, at, err := z.walk(&h)
		where := "its inputs"
		if at >= 0 {
			where = fmt.Sprintf("node %s (%s, opset %d)", onnx.NodeName(g.Nodes[at].Name, at), onnx.OpName(g.Nodes[at]), g.Opset[g.Nodes[at].Domain])
		}
		return peak, where, err
	}
	peak, where, err = measure(g)
	if err != nil && errors.Is(err, ErrTooLarge) {
		// Shape arithmetic that inference does not follow may be constant.
		if h, e := Simplifier(g); e == nil {
			if p, w, e := measure(h); e == nil {
				return p, w, nil
			}
		}
	}
	return peak, where, err
}

// FITS is the footprint of g, an error where that is more than room with what others take.
func FITS(g *onnx.Graph, inGo bool, room, others int64) (peak int64, err error) {
	peak, where, err := Footprint(g, inGo)
	if err != nil {
		return peak, err
	}
	if peak+others > room {
		return peak, fmt.Errorf("%s: %w: found values of %s at a time, expected at most %s", where, ErrTooLarge, disk.Size(peak+others), disk.Size(room))
	}
	return peak, nil
}

// Fits tells whether the values of a graph that are alive at one time take at most room bytes.
func Fits(g *onnx.Graph, room int64) bool {
	_, err := FITS(g, false, room, 0)
	return err == nil
}

package diff

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/footprint"
	"lenskit/onnx/rewrite"
)

// ErrRows is wrapped by the errors of a network that cannot be run on several rows at once.
var ErrRows = errors.New("rows are not computed together")

// Runner computes the outputs of a graph whose inputs all have extents that are numbers.
type Runner func(g *onnx.Graph, in map[string]*eval.Array) (map[string]*eval.Array, error)

// rowTolerance is how far an image may be from the same image computed alone, of its largest value: rounding of float32
// that a batch adds up in another order.
const rowTolerance = 2e-4

// Apart tells whether the network's inputs and outputs are rows of a batch of any number that stand apart: each row of
// an output is what that row of the inputs gives alone. The error wraps ErrRows and says why not.
//
// Operators are known to keep rows apart or to mix them. Where one is not, the network is run on a batch of small and
// large draws and on each alone by run, or by the evaluator where run is nil.
func Apart(g *onnx.Graph, opt Options, run Runner) error {
	not := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrRows}, args...)...)
	}
	h, err := openBatch(g, opt)
	if err == nil {
		h, err = rewrite.Simplify(h)
	}
	if err != nil {
		return not("%w", err)
	}
	of, err := choose("batch", "output", opt.Of, h.Outputs)
	if err != nil {
		return not("%w", err)
	}
	for _, v := range of {
		if v.Shape == nil {
			continue // the runs tell
		}
		if batchAxis(v.Shape) != 0 {
			return not("output %s has shape %v whatever the batch", onnx.Quote(v.Name), v.Shape)
		}
	}
	unsure, err := rows(h, rewrite.ValueNames(of))
	unsure = unsure || slices.ContainsFunc(of, func(v onnx.Value) bool { return v.Shape == nil })
	if err != nil {
		return not("%w", err)
	}
	if !unsure {
		return nil
	}
	if run == nil {
		run = evaluatorRunner(g)
	}
	return compareRows(h, rewrite.ValueNames(of), run, not)
}

// mostCompared is the work, as held counts it, that a comparison of rows in the evaluator may take for a graph without
// weights. Each weight allows mostForWeight more.
const (
	mostCompared  = 1 << 28
	mostForWeight = 1 << 12
	// mostDrawn is how many numbers the inputs of a comparison may have.
	mostDrawn = 1 << 24
)

// evaluatorRunner is the Runner of the evaluator, for runs that together take no more work than g allows.
func evaluatorRunner(g *onnx.Graph) Runner {
	left := int64(mostCompared)
	for _, t := range g.Init {
		left = footprint.Plus(left, footprint.Product(mostForWeight, int64(max(t.Count(), 0))))
	}
	return func(g *onnx.Graph, in map[string]*eval.Array) (map[string]*eval.Array, error) {
		e, err := eval.New(g)
		if err != nil {
			return nil, err
		}
		return e.RunWithin(in, &left)
	}
}

// compareRows runs g, whose batch is open, on several rows and on each alone.
func compareRows(g *onnx.Graph, outputs []string, run Runner, not func(string, ...any) error) error {
	scales := []float64{1, 0.1, 3, 1, 30}
	rng := rand.New(rand.NewPCG(1, 2))
	all := map[string]*eval.Array{}
	drawn := int64(0)
	for _, v := range g.Inputs {
		shape := slices.Clone(v.Shape)
		rows := batchAxis(shape)
		if rows >= 0 {
			shape[rows] = onnx.Fixed(int64(len(scales)))
		}
		d, ok := onnx.Known(shape)
		n, err := eval.Elements(d)
		if !ok || rows > 0 || err != nil || !v.Type.IsFloat() {
			return not("input %s is %s %v", onnx.Quote(v.Name), v.Type, v.Shape)
		}
		if drawn += int64(n); drawn > mostDrawn {
			return not("%d rows of the inputs are more than %d numbers", len(scales), mostDrawn)
		}
		a := &eval.Array{Type: v.Type, Shape: d, F: make([]float64, n)}
		for i := range a.F {
			scale := 1.0
			if rows == 0 {
				scale = scales[i*len(scales)/n]
			}
			a.F[i] = float64(float32(scale * rng.NormFloat64()))
		}
		all[v.Name] = a
	}
	of := func(from, to int) (map[string]*eval.Array, error) {
		h, in := g, map[string]*eval.Array{}
		for _, v := range g.Inputs {
			a := all[v.Name]
			if batchAxis(v.Shape) == 0 {
				size := len(a.F) / len(scales)
				a = eval.FloatArray(a.F[from*size:to*size], append([]int64{int64(to - from)}, a.Shape[1:]...)...)
				a.Type = v.Type
			}
			var err error
			if h, err = BindInput(h, v.Name, a.Shape); err != nil {
				return nil, err
			}
			in[v.Name] = a
		}
		return run(h, in)
	}
	together, err := of(0, len(scales))
	if err != nil {
		return not("%w", err)
	}
	for k, scale := range scales {
		alone, err := of(k, k+1)
		if err != nil {
			return not("%w", err)
		}
		for _, name := range outputs {
			one, rows := alone[name], together[name]
			if one == nil || rows == nil || !one.Type.IsFloat() || len(one.F)*len(scales) != len(rows.F) {
				return not("the shape of output %s does not follow the batch", onnx.Quote(name))
			}
			largest, far := 0.0, 0.0
			for i, v := range one.F {
				w := rows.F[k*len(one.F)+i]
				if math.IsNaN(v) && math.IsNaN(w) || v == w {
					continue
				}
				largest = max(largest, math.Abs(v))
				if d := math.Abs(v - w); !(d <= far) {
					far = d
				}
			}
			if !(far <= rowTolerance*largest) {
				return not("a row drawn with a width of %g changes by %.2g of its largest value with the other rows of the batch", scale, far/largest)
			}
		}
	}
	return nil
}

// A verdict on a node: it keeps rows apart, it mixes them, or that is not known.
type verdict int

const (
	apart verdict = iota
	unknownRows
	mixes
)

// rows follows the rows of a batch from the inputs through g, whose batch is open. It returns an error that names a node that
// mixes rows, and whether there are nodes of which that is not known.
func rows(g *onnx.Graph, outputs []string) (unsure bool, err error) {
	p := &plan{g: g, active: map[string]bool{}, needed: map[string]bool{}}
	for _, v := range g.Inputs {
		p.active[v.Name] = batchAxis(v.Shape) >= 0
	}
	for _, name := range outputs {
		p.needed[name] = true
	}
	counts := map[string]bool{} // values that hold the number of rows
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if slices.ContainsFunc(n.Out, func(s string) bool { return p.needed[s] }) {
			for _, s := range n.Uses() {
				p.needed[s] = true
			}
		}
	}
	for i, n := range g.Nodes {
		if !slices.ContainsFunc(n.Out, func(s string) bool { return p.needed[s] }) {
			continue
		}
		v := apart
		uses := n.Uses()
		switch {
		case n.Domain == "" && (n.Op == "Shape" || n.Op == "Size"):
			if counts[n.Out[0]] = slices.ContainsFunc(g.Info[n.In[0]].Shape, func(d onnx.Dim) bool { return d.Sym == batchSym }); !counts[n.Out[0]] {
				counts[n.Out[0]] = slices.ContainsFunc(uses, func(s string) bool { return counts[s] })
			}
			continue
		case slices.ContainsFunc(uses, func(s string) bool { return p.active[s] }):
			for _, s := range n.Out {
				p.active[s] = s != ""
			}
			v = p.verdict(n, counts)
		case slices.ContainsFunc(uses, func(s string) bool { return counts[s] }):
			v = unknownRows
			switch n.Op {
			case "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Identity", "Reshape", "ReduceProd", "Mul", "Div", "Add", "Sub", "Cast":
				if g.Info[n.Out[0]].Type.IsInt() {
					counts[n.Out[0]], v = true, apart
				}
			case "ConstantOfShape":
				v = apart
			case "Expand":
				if !counts[n.In[0]] {
					v = apart
				}
			}
		}
		switch v {
		case mixes:
			return false, fmt.Errorf("node %s (%s, opset %d) works across them", onnx.NodeName(n.Name, i), onnx.OpName(n), g.Opset[n.Domain])
		case unknownRows:
			unsure = true
		}
	}
	return unsure, nil
}

// shapeOperands are the operands that give shapes: the number of rows may stand there.
var shapeOperands = map[string]int{"Reshape": 1, "Expand": 1, "Tile": 1, "Resize": 3}

// verdict judges a node on the way from the input.
func (p *plan) verdict(n *onnx.Node, counts map[string]bool) verdict {
	if n.Domain != "" {
		return unknownRows
	}
	if onnx.HasGraph(n) {
		if turnsOn(n, p.active) {
			return mixes
		}
		return unknownRows
	}
	for i, s := range n.In {
		if k, ok := shapeOperands[n.Op]; counts[s] && !(ok && i == k) {
			return unknownRows
		}
	}
	if n.Op == "BatchNormalization" && (n.Int("training_mode", 0) != 0 || len(n.Out) > 1 && p.g.Opset[""] < 14) {
		return mixes
	}
	for _, s := range n.Out {
		if s == "" {
			continue
		}
		shape := p.g.Info[s].Shape
		switch {
		case shape == nil:
			return unknownRows
		case batchAxis(shape) >= 0:
		case unknowns(shape) > 0:
			return unknownRows
		default:
			return mixes // of all rows something is made that has no rows
		}
	}
	to := p.g.Info[n.Out[0]].Shape
	x := p.g.Info[n.InName(0)].Shape
	at := batchAxis(x)
	along := func(a int64) bool { return a == int64(at) || a+int64(len(x)) == int64(at) }
	aligned := func() verdict {
		for _, s := range n.In {
			in := p.g.Info[s].Shape
			k := batchAxis(in)
			switch {
			case s == "" || !p.active[s] && k < 0 && unknowns(in) == 0:
			case k < 0 || len(in)-k != len(to)-batchAxis(to):
				return unknownRows
			}
		}
		return apart
	}
	alone := func() bool {
		return at >= 0 && !slices.ContainsFunc(n.In[1:], func(s string) bool { return p.active[s] })
	}
	switch n.Op {
	case "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu", "Erf",
		"Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu",
		"Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh",
		"ThresholdedRelu", "IsInf", "IsNaN", "Not", "And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor",
		"Add", "Div", "Max", "Mean", "Min", "Mod", "Mul", "PRelu", "Pow", "Sub", "Sum", "Where", "Cast", "MatMul":
		return aligned()
	case "Dropout":
		if n.InName(2) != "" {
			return unknownRows
		}
		return aligned()
	case "Expand", "Unsqueeze", "Squeeze", "Transpose":
		if alone() && (n.Op != "Expand" || len(x)-at == len(to)-batchAxis(to)) {
			return apart
		}
	case "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare":
		if alone() {
			return apart
		}
	case "Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "ArgMax", "ArgMin":
		def := int64(-1)
		if n.Op == "ArgMax" || n.Op == "ArgMin" {
			def = 0
		}
		if at >= 0 && along(n.Int("axis", def)) {
			return mixes
		}
		if alone() && p.g.Opset[""] >= 13 {
			return apart
		}
	case "LayerNormalization", "RMSNormalization":
		a := n.Int("axis", -1)
		if a < 0 {
			a += int64(len(x))
		}
		if at >= 0 && int64(at) >= a {
			return mixes
		}
		if alone() {
			return apart
		}
	case "MeanVarianceNormalization":
		axes := n.Ints("axes")
		if axes == nil {
			axes = []int64{0, 2, 3}
		}
		if at >= 0 && slices.ContainsFunc(axes, along) {
			return mixes
		}
		if alone() {
			return apart
		}
	case "CumSum":
		if c := p.g.Init[n.InName(1)]; c != nil && len(c.Ints) == 1 && at >= 0 {
			if along(c.Ints[0]) {
				return mixes
			}
			return apart
		}
	case "Conv", "ConvTranspose", "InstanceNormalization", "GroupNormalization", "BatchNormalization", "AveragePool", "MaxPool", "LpPool",
		"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "LRN", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample":
		if at == 0 && alone() && (n.Op != "MaxPool" || len(n.Out) < 2) {
			return apart // a maximum's place counts from the first row
		}
	case "GridSample":
		if at == 0 && batchAxis(p.g.Info[n.InName(1)].Shape) == 0 {
			return apart
		}
	case "Gemm":
		if at == 0 && n.Int("transA", 0) == 0 && alone() {
			return apart
		}
	case "Reshape", "Flatten":
		if alone() && leading(x, at) == leading(to, batchAxis(to)) && leading(x, at) >= 0 {
			return apart
		}
	case "Pad":
		pads := p.g.Init[n.InName(1)]
		if alone() && n.InName(3) == "" && pads != nil && len(pads.Ints) == 2*len(x) && pads.Ints[at] == 0 && pads.Ints[at+len(x)] == 0 {
			return apart
		}
	case "Slice":
		axes := p.g.Init[n.InName(3)]
		if alone() && axes != nil && !slices.ContainsFunc(axes.Ints, along) {
			return apart
		}
	case "Split", "Concat":
		if n.Op == "Concat" {
			x, at = to, batchAxis(to)
		}
		if at >= 0 && !along(n.Int("axis", 0)) {
			return aligned()
		}
	case "Gather":
		if at >= 0 && alone() && !along(n.Int("axis", 0)) {
			if unknowns(p.g.Info[n.In[1]].Shape) == 0 {
				return apart
			}
		}
	}
	return unknownRows
}

// leading is the number of elements of the axes before k, -1 where it is not known.
func leading(s []onnx.Dim, k int) int64 {
	m := int64(1)
	for _, d := range s[:k] {
		if !d.Known() {
			return -1
		}
		m = footprint.Product(m, d.N)
	}
	return m
}

// oneByOne is the Jacobian of a network of one row: as many sweeps as there are tangents, over one primal.
func oneByOne(verb string, g *onnx.Graph, opt Options, why error) (*onnx.Graph, error) {
	g = g.Shallow()
	wrt, err := choose(verb, "input", opt.Wrt, g.Inputs)
	if err != nil {
		return nil, err
	}
	for _, v := range wrt {
		if len(v.Shape) == 0 {
			return nil, fmt.Errorf("onnx: %s: input %q has no batch axis", verb, v.Name)
		}
		if d := v.Shape[0]; !d.Known() {
			if g, err = g.Bind(map[string]int64{d.Sym: 1}); err != nil {
				return nil, err
			}
		}
	}
	p, err := newRuledPlan(verb, g, opt)
	if err != nil {
		return nil, err
	}
	if opt.Columns == 0 {
		return nil, fmt.Errorf("onnx: %s: %w; expected a number of columns, which are then computed one at a time", verb, why)
	}
	if k := int64(opt.Columns); int64(len(p.g.Nodes))*k > onnx.MaxNodes {
		return nil, fmt.Errorf("onnx: %s: %w; found %d columns of %d nodes, expected at most %d nodes in all", verb, why, k, len(p.g.Nodes), onnx.MaxNodes)
	}
	for _, v := range slices.Concat(p.wrt, p.of) {
		if s := p.g.Info[v.Name].Shape; len(s) == 0 || s[0] != onnx.Fixed(1) {
			return nil, fmt.Errorf("onnx: %s: %s has shape %v, expected a first axis of 1", verb, onnx.Quote(v.Name), s)
		}
	}
	t := p.tape(verb)
	var ins, outs []onnx.Value
	wide := func(v onnx.Value) onnx.Value {
		s := slices.Clone(p.g.Info[v.Name].Shape)
		s[0] = onnx.Fixed(int64(opt.Columns))
		return onnx.Value{Name: "tangent_" + v.Name, Type: v.Type, Shape: s}
	}
	for _, v := range slices.Concat(p.wrt, p.of) {
		if t.Taken["tangent_"+v.Name] {
			return nil, fmt.Errorf("onnx: %s: the name %q is taken in the graph", verb, "tangent_"+v.Name)
		}
	}
	for _, v := range p.wrt {
		w := wide(v)
		t.Declare(w)
		ins = append(ins, w)
	}
	columns := make([][]string, len(p.of))
	for k := range opt.Columns {
		tan := map[string]string{}
		for _, v := range p.wrt { // rows of unknown shape, which rules bring to that of the value
			tan[v.Name] = t.as(t.Op("Slice", "tangent_"+v.Name, t.Ints(int64(k)), t.Ints(int64(k+1)), t.Ints(0)), nil)
		}
		if err := p.sweepForward(t, tan); err != nil {
			return nil, fmt.Errorf("onnx: %s: %w", verb, err)
		}
		for i, v := range p.of {
			src := tan[v.Name]
			err := guarded(&onnx.Node{Op: "Expand", Name: v.Name}, t.opset, func() {
				if src == "" {
					src = t.tanZeros(v.Name)
				}
				src = t.full(src, v.Name)
			})
			if err != nil {
				return nil, fmt.Errorf("onnx: %s: %w", verb, err)
			}
			columns[i] = append(columns[i], src)
		}
	}
	for i, v := range p.of {
		w := wide(v)
		outs = append(outs, t.result(t.OpAttr("Concat", onnx.Attrs("axis", 0), columns[i]...), w.Name, w))
	}
	t.settleNames()
	shapes, rest := t.nodes()
	d := p.assemble(t, slices.Concat(p.g.Nodes, shapes, rest))
	d.Inputs = append(d.Inputs, ins...)
	d.Outputs = append(d.Outputs, outs...)
	return p.finish(verb, d)
}

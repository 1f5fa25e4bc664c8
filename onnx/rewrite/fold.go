package rewrite

import (
	"fmt"
	"math"
	"slices"

	"lenskit/onnx"
)

// foldRounds bounds how often the rewrites are tried again on what they made.
const foldRounds = 8

// Fold returns a graph that computes the same outputs with less work: what does not depend on the inputs' values is
// computed, BatchNormalization is folded into the product before it, nodes without effect, repeated nodes and those
// that no output needs are dropped. Names of inputs and outputs stay; initialisers may be new ones.
//
// Constants are computed in float64 and rounded once. A constant that would be larger than 2²² elements stays a node.
func Fold(g *onnx.Graph) (*onnx.Graph, error) {
	if hasIf(g) {
		// Conditions may have become constant since the file was read.
		h, err := onnx.Normalise(g.Shallow(), nil, nil, 0)
		if err != nil {
			return nil, fmt.Errorf("onnx: fold: %w", err)
		}
		g = h
	}
	for _, table := range [][]rewriteRow{foldRows, lateRows, foldRows} {
		for range foldRounds {
			h, err := Simplify(g)
			if err != nil {
				return nil, fmt.Errorf("onnx: fold: %w", err)
			}
			fired := false
			if g, fired, err = rewritten(h, table); err != nil {
				return nil, fmt.Errorf("onnx: fold: %w", err)
			}
			if !fired {
				break
			}
		}
	}
	outputNames(g)
	if err := g.Infer(); err != nil {
		return nil, fmt.Errorf("onnx: fold: %w", err)
	}
	return g, nil
}

// rewritten tries the rows on each node, and tells whether one did something.
func rewritten(g *onnx.Graph, rows []rewriteRow) (h *onnx.Graph, fired bool, err error) {
	f := newFolder(g, rows)
	h, err = f.run()
	return h, f.fired > 0, err
}

func hasIf(g *onnx.Graph) bool {
	return slices.ContainsFunc(g.Nodes, func(n *onnx.Node) bool { return n.Op == "If" && n.Domain == "" })
}

// rewrite looks at a node and either leaves it (false) or puts something else in its place (true).
type rewrite func(f *folder, n *onnx.Node) bool

// rewriteRow is one rewrite and the operators that it is tried on.
type rewriteRow struct {
	name string
	ops  []string
	try  rewrite
}

// folder rebuilds a graph node by node and applies rewrites.
type folder struct {
	*onnx.Builder
	src    *onnx.Graph
	rows   map[string][]rewriteRow
	uses   map[string]int  // how many operands name a value
	output map[string]bool // the graph's outputs
	// transposed has the nodes of the old graph that transpose a value.
	transposed map[string][]*onnx.Node
	alias      map[string]string     // values that are another value
	seen       map[string]*onnx.Node // nodes by what they compute
	fired      int
}

func newFolder(g *onnx.Graph, rows []rewriteRow) *folder {
	out := g.Shallow()
	out.Nodes, out.Info = nil, map[string]onnx.Value{}
	f := &folder{
		Builder: onnx.NewBuilder(out, "fold_"), src: g, rows: map[string][]rewriteRow{}, uses: map[string]int{}, output: map[string]bool{},
		transposed: map[string][]*onnx.Node{}, alias: map[string]string{}, seen: map[string]*onnx.Node{},
	}
	f.NodeNames = true
	g.EachName(func(s string) { f.Taken[s] = true })
	for _, r := range rows {
		for _, op := range r.ops {
			f.rows[op] = append(f.rows[op], r)
		}
	}
	for _, n := range g.Nodes {
		for _, s := range n.Uses() {
			f.uses[s]++
		}
		if n.Op == "Transpose" && n.Domain == "" {
			f.transposed[n.InName(0)] = append(f.transposed[n.InName(0)], n)
		}
	}
	for _, v := range g.Outputs {
		f.output[v.Name] = true
		f.uses[v.Name]++
	}
	return f
}

// run rebuilds the graph.
func (f *folder) run() (*onnx.Graph, error) {
	for _, n := range f.src.Nodes {
		m := *n
		m.In = slices.Clone(n.In)
		for i, s := range m.In {
			m.In[i] = f.resolve(s)
		}
		f.node(&m)
		if f.Fault != nil {
			return nil, f.Fault
		}
	}
	g := f.G
	f.captures(g)
	g.Nodes = Prune(g.Nodes, ValueNames(g.Outputs))
	DropInit(g)
	return g, nil
}

// captures keeps the values that sub-graphs read by name.
func (f *folder) captures(g *onnx.Graph) {
	for _, n := range g.Nodes {
		for _, a := range n.Attr {
			if a.Graph == nil {
				continue
			}
			for _, s := range a.Graph.Captured() {
				if to := f.resolve(s); to != s {
					f.Make(s, "Identity", nil, to)
					delete(f.alias, s)
				}
			}
		}
	}
	if f.Fault == nil {
		f.Fault = onnx.TopoSort(g)
	}
}

// resolve is the value that s stands for.
func (f *folder) resolve(s string) string {
	for {
		t, ok := f.alias[s]
		if !ok {
			return s
		}
		s = t
	}
}

func (f *folder) node(n *onnx.Node) {
	if n.Domain == "" {
		for _, r := range f.rows[n.Op] {
			if r.try(f, n) {
				f.fired++
				return
			}
		}
	}
	if key := onnx.NodeKey(n.Domain+"."+n.Op, n.Attr, n.In, len(n.Out)); key != "" && !onnx.Random[n.Op] && n.Op != "Dropout" {
		if old := f.seen[key]; old != nil && f.same(n, old) {
			return
		}
		f.seen[key] = n
	}
	f.Append(n)
}

// same makes the outputs of n those of the equal node old.
func (f *folder) same(n, old *onnx.Node) bool {
	for i, s := range n.Out {
		if f.output[s] || s != "" && old.Out[i] == "" {
			return false
		}
	}
	for i, s := range n.Out {
		if s != "" {
			f.alias[s] = old.Out[i]
			f.uses[old.Out[i]] += f.uses[s]
		}
	}
	f.fired++
	return true
}

// inferred is what shape inference makes of n's results, nil where it fails.
func (f *folder) inferred(n *onnx.Node) *onnx.ShapeCall {
	c := &onnx.ShapeCall{Inferer: f.Inf, N: n, Out: make([]onnx.Value, len(n.Out))}
	if onnx.ShapeTable[n.Op](c) != nil {
		return nil
	}
	return c
}

// replace makes value out stand for value by; an output of the graph stays as a copy.
func (f *folder) replace(out, by string) bool {
	if f.output[out] {
		if n := f.Maker(by); n != nil && n.Op == "Identity" {
			by = n.In[0]
		}
		f.Make(out, "Identity", nil, by)
		return true
	}
	f.alias[out] = by
	f.uses[by] += f.uses[out]
	return true
}

// only tells whether n's first output is its only one in use.
func only(n *onnx.Node) bool {
	for i, s := range n.Out {
		if i > 0 && s != "" {
			return false
		}
	}
	return len(n.Out) > 0
}

// before is the node that makes operand i of n when nothing else uses it.
func (f *folder) before(n *onnx.Node, i int, ops ...string) *onnx.Node {
	s := n.InName(i)
	p := f.Maker(s)
	if p == nil || p.Domain != "" || !slices.Contains(ops, p.Op) || f.uses[s] != 1 || f.output[s] || !only(p) {
		return nil
	}
	return p
}

// weights is the Float32 or Float64 initialiser that is operand i.
func (f *folder) weights(n *onnx.Node, i int) *onnx.Tensor {
	t := f.G.Init[n.InName(i)]
	if t == nil || t.Type != onnx.Float32 && t.Type != onnx.Float64 {
		return nil
	}
	return t
}

// scalar is the value of operand i when it is a constant with one element.
func (f *folder) scalar(n *onnx.Node, i int) (float64, bool) {
	t := f.weights(n, i)
	if t == nil || t.Size() != 1 {
		return 0, false
	}
	return t.Float(0), true
}

// like makes a tensor of t's type from values in float64.
func like(t *onnx.Tensor, v []float64, shape ...int64) *onnx.Tensor {
	out := &onnx.Tensor{Type: t.Type, Shape: shape}
	if t.Type == onnx.Float64 {
		out.Doubles = v
		return out
	}
	out.Floats = make([]float32, len(v))
	for i, x := range v {
		out.Floats[i] = float32(x)
	}
	return out
}

// multiply scales the values from ≤ i < to, in float64.
func multiply(t *onnx.Tensor, from, to int, c float64) {
	if t.Type == onnx.Float64 {
		for i := range t.Doubles[from:to] {
			t.Doubles[from+i] *= c
		}
		return
	}
	v := t.Floats[from:to]
	for i, x := range v {
		v[i] = float32(float64(x) * c)
	}
}

// numbersOf are the tensor's values in float64.
func numbersOf(t *onnx.Tensor) []float64 {
	v := make([]float64, t.Size())
	if t.Type == onnx.Float32 {
		for i, x := range t.Floats {
			v[i] = float64(x)
		}
		return v
	}
	for i := range v {
		v[i] = t.Float(i)
	}
	return v
}

// finite tells whether every value is a finite number as the tensor's type holds it.
func finite(t *onnx.Tensor) bool {
	if t.Type == onnx.Float32 {
		s := float32(0)
		for _, v := range t.Floats {
			s += v * 0 // NaN as soon as one is not finite
		}
		return s == 0
	}
	for i := range t.Size() {
		if v := t.Float(i); math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

// outputNames gives a value that is only copied to an output the output's name.
func outputNames(g *onnx.Graph) {
	fixed := map[string]bool{}
	for _, v := range g.Outputs {
		fixed[v.Name] = true
	}
	maker := map[string]*onnx.Node{}
	captured := map[string]bool{}
	for _, n := range g.Nodes {
		for _, s := range n.Out {
			maker[s] = n
		}
		for _, a := range n.Attr {
			if a.Graph != nil {
				for _, s := range a.Graph.Captured() {
					captured[s] = true
				}
			}
		}
	}
	rename := map[string]string{}
	var keep []*onnx.Node
	for _, n := range g.Nodes {
		if n.Op == "Identity" && n.Domain == "" && fixed[n.Out[0]] {
			if s := n.In[0]; maker[s] != nil && !fixed[s] && !captured[s] && rename[s] == "" {
				rename[s] = n.Out[0]
				continue
			}
		}
		keep = append(keep, n)
	}
	if len(rename) == 0 {
		return
	}
	for i, n := range keep {
		m := *n
		m.In, m.Out = slices.Clone(n.In), slices.Clone(n.Out)
		for _, list := range [][]string{m.In, m.Out} {
			for k, s := range list {
				if to, ok := rename[s]; ok {
					list[k] = to
				}
			}
		}
		keep[i] = &m
	}
	g.Nodes = keep
}

package diff

import (
	"fmt"
	"maps"
	"slices"

	"lenskit/onnx"
)

// batchSym stands for the batch extent while a Jacobian is made.
const batchSym = "batch axis"

// Jacobian makes the forward-mode derivative of g for many tangents at one point: its inputs are those of g at batch 1
// and tangent_<input> with opt.Columns rows in place of the batch, its outputs those of g at batch 1 and
// tangent_<output> with as many rows: row k is J·(row k of the tangents). The activations of the primal are computed
// once and broadcast over the rows. With opt.Columns = 0 the number of rows is that of the tangents at run time.
//
// The first axis of every input in opt.Wrt must be a batch of 1 or of open size. Of a graph that has one row only, or mixes
// the rows of a batch (see Apart), the columns are computed one after the other. Where a node's rule needs as many activations as tangents (a maximum's place in a pooling, say),
// the whole primal is computed for as many equal rows.
func Jacobian(g *onnx.Graph, opt Options) (*onnx.Graph, error) {
	const verb = "jacobian"
	if opt.Columns < 0 || opt.Columns > 1<<24 {
		return nil, fmt.Errorf("onnx: %s: found %d columns", verb, opt.Columns)
	}
	if !opt.Apart {
		if err := Apart(g, opt, nil); err != nil {
			return oneByOne(verb, g, opt, err)
		}
	}
	h, err := openBatch(g, opt)
	if err != nil {
		return nil, err
	}
	p, err := newRuledPlan(verb, h, opt)
	if err != nil {
		return nil, err
	}
	for _, v := range p.of {
		if s := p.g.Info[v.Name].Shape; len(s) == 0 || s[0] != (onnx.Dim{N: 1, Sym: batchSym}) {
			return nil, fmt.Errorf("onnx: %s: output %q has shape %v, expected the batch as its first axis", verb, v.Name, s)
		}
	}
	cols := onnx.Dim{N: 1, Sym: "columns"}
	if opt.Columns > 0 {
		cols = onnx.Dim{N: int64(opt.Columns)}
	}
	if p.replicates() {
		return p.replicated(verb, cols)
	}
	return p.tangents(verb, p.jacobianTape(cols))
}

// jacobianTape starts a graph with the primal at batch 1 and cols tangents.
func (p *plan) jacobianTape(cols onnx.Dim) *tape {
	open := p.g.Info
	one := *p.g
	one.Info = map[string]onnx.Value{}
	for name, v := range open {
		v.Shape = atBatchOne(v.Shape)
		one.Info[name] = v
	}
	for _, list := range [][]onnx.Value{one.Inputs, one.Outputs} {
		for i := range list {
			list[i].Shape = atBatchOne(list[i].Shape)
		}
	}
	p.g = &one
	t := p.tape("jacobian")
	t.batch, t.open, t.cols = batchSym, open, cols
	return t
}

// atBatch puts d in the place of the batch in a shape.
func atBatch(s []onnx.Dim, d onnx.Dim) []onnx.Dim {
	s = slices.Clone(s)
	for i, e := range s {
		if e.Sym == batchSym {
			s[i] = onnx.Dim{N: e.N * d.N, Sym: d.Sym}
		}
	}
	return s
}

func atBatchOne(s []onnx.Dim) []onnx.Dim { return atBatch(s, onnx.Fixed(1)) }

// openBatch returns g with the batch extent of its inputs as batchSym. A batch that is fixed at 1 is opened, also in
// the constant targets of Reshape and Resize.
func openBatch(g *onnx.Graph, opt Options) (*onnx.Graph, error) {
	const verb = "jacobian"
	h := g.Shallow()
	wrt, err := choose(verb, "input", opt.Wrt, h.Inputs)
	if err != nil {
		return nil, err
	}
	symbols := map[string]bool{}
	fixed := false
	for _, v := range wrt {
		if len(v.Shape) == 0 {
			return nil, fmt.Errorf("onnx: %s: input %q has no batch axis", verb, v.Name)
		}
		switch d := v.Shape[0]; {
		case d == onnx.Dim{N: 1}:
			fixed = true
		case d.Known() || d.N != 1:
			return nil, fmt.Errorf("onnx: %s: input %q has a batch of %v, expected 1", verb, v.Name, d)
		default:
			symbols[d.Sym] = true
		}
	}
	rename := func(s []onnx.Dim) []onnx.Dim {
		s = slices.Clone(s)
		for i, d := range s {
			if symbols[d.Sym] {
				s[i].Sym = batchSym
			}
		}
		return s
	}
	for i, v := range h.Inputs {
		h.Inputs[i].Shape = rename(v.Shape)
		if slices.ContainsFunc(wrt, func(w onnx.Value) bool { return w.Name == v.Name }) {
			h.Inputs[i].Shape[0] = onnx.Dim{N: 1, Sym: batchSym}
		}
	}
	for i, v := range h.Outputs {
		if fixed {
			v.Shape = nil
		} else if v.Shape != nil {
			v.Shape = rename(v.Shape)
		}
		h.Outputs[i] = v
	}
	h.Info = map[string]onnx.Value{}
	if fixed {
		openTargets(h)
	}
	return h, nil
}

// opener lets the leading 1 of constant Reshape targets and Resize sizes follow the operand, in a graph and in its bodies.
type opener struct {
	outer *opener
	g     *onnx.Graph
	made  map[string]*onnx.Tensor // by Constant nodes
	taken map[string]bool         // names, of all graphs
}

// openTargets opens the targets of g, which must be a copy.
func openTargets(g *onnx.Graph) {
	newOpener(g).nodes()
}

func newOpener(g *onnx.Graph) *opener {
	o := &opener{g: g, taken: map[string]bool{}}
	g.EachName(func(s string) { o.taken[s] = true })
	return o
}

func (o *opener) nodes() {
	o.made = map[string]*onnx.Tensor{}
	for _, n := range o.g.Nodes {
		if n.Op == "Constant" && n.Domain == "" && len(n.Out) == 1 {
			if x, err := n.Constant(); err == nil {
				o.made[n.Out[0]] = x
			}
		}
	}
	for _, n := range o.g.Nodes {
		if n.Domain == "" {
			o.node(n)
		}
		if !onnx.HasGraph(n) {
			continue
		}
		n.Attr = maps.Clone(n.Attr)
		for k, a := range n.Attr {
			if a.Graph == nil {
				continue
			}
			a.Graph = a.Graph.Shallow()
			for i := range a.Graph.Outputs {
				a.Graph.Outputs[i].Shape = nil
			}
			(&opener{outer: o, g: a.Graph, taken: o.taken}).nodes()
			n.Attr[k] = a
		}
	}
}

func (o *opener) node(n *onnx.Node) {
	switch {
	case n.Op == "Reshape" && len(n.In) == 2:
		x := o.constant(n.In[1])
		if x == nil || len(x.Ints) < 2 || x.Ints[0] != 1 || n.Int("allowzero", 0) != 0 {
			return
		}
		v := slices.Clone(x.Ints)
		v[0] = -1
		if slices.Contains(v[1:], -1) {
			v[0] = 0
		}
		n.In[1] = o.add(n.Out[0]+"/open", onnx.IntTensor(v, int64(len(v))))
	case n.Op == "Resize" && len(n.In) == 4 && n.In[3] != "" && len(n.Attr["axes"].Ints) == 0:
		x := o.constant(n.In[3])
		if x == nil || len(x.Ints) < 3 || x.Ints[0] != 1 || n.In[1] != "" && o.constant(n.In[1]) == nil {
			return
		}
		if r := o.constant(n.In[1]); r != nil && r.Size() != 0 {
			return
		}
		axes := make([]int64, len(x.Ints)-1)
		for i := range axes {
			axes[i] = int64(i + 1)
		}
		n.Attr = maps.Clone(n.Attr)
		if n.Attr == nil {
			n.Attr = map[string]onnx.Attr{}
		}
		n.Attr["axes"] = onnx.IntsAttr(axes...)
		n.In[3] = o.add(n.Out[0]+"/open", onnx.IntTensor(slices.Clone(x.Ints[1:]), int64(len(axes))))
	}
}

// constant is the constant behind a name: an initialiser or the value of a Constant node.
func (o *opener) constant(name string) *onnx.Tensor {
	for ; o != nil && name != ""; o = o.outer {
		if x := o.g.Init[name]; x != nil {
			return x
		}
		if x := o.made[name]; x != nil {
			return x
		}
	}
	return nil
}

// add adds an initialiser under a name like the one given.
func (o *opener) add(name string, x *onnx.Tensor) string {
	for o.taken[name] {
		name += "_"
	}
	o.taken[name] = true
	o.g.Init[name] = x
	return name
}

// batchAxis is the axis of s that is the batch, or -1 unless there is exactly one.
func batchAxis(s []onnx.Dim) int {
	at := -1
	for i, d := range s {
		if d.Sym != batchSym {
			continue
		}
		if d.N != 1 || at >= 0 {
			return -1
		}
		at = i
	}
	return at
}

// replicates tells whether some node on a path needs as many activations as tangents.
func (p *plan) replicates() bool {
	for _, n := range p.g.Nodes {
		if !p.onPath(n) {
			continue
		}
		for _, s := range slices.Concat(n.Uses(), n.Out) {
			if p.active[s] && batchAxis(p.g.Info[s].Shape) < 0 {
				return true
			}
		}
		if r := findRule(n, p.g.Opset[""]); r != nil && r.replicate {
			return true
		}
		if n.Op == "If" && p.branchReplicates(n) || p.crossesBatch(n) {
			return true
		}
	}
	return false
}

// branchReplicates is replicates for the branches of an If.
func (p *plan) branchReplicates(n *onnx.Node) (yes bool) {
	var by []string
	for _, s := range n.Uses() {
		if p.active[s] && !slices.Contains(by, s) {
			by = append(by, s)
		}
	}
	var of []int
	for k, s := range n.Out {
		if p.active[s] && p.needed[s] {
			of = append(of, k)
		}
	}
	c := &call{p.tape("jacobian"), n}
	for _, key := range branches {
		// Where this fails the sweep tells why.
		guarded(n, c.opset, func() {
			h, opt, _ := c.standalone(key, by, of)
			q, err := newPlan("jacobian", h, opt)
			yes = yes || err == nil && q.replicates()
		})
	}
	return yes
}

// crossesBatch tells whether n works along the batch axis of its operand although that axis stays.
func (p *plan) crossesBatch(n *onnx.Node) bool {
	if onnx.HasGraph(n) {
		return false
	}
	s := p.g.Info[n.In[0]].Shape
	at := batchAxis(s)
	along := func(a int64) bool { return a == int64(at) || a+int64(len(s)) == int64(at) }
	switch n.Op {
	case "Softmax", "LogSoftmax":
		return along(n.Int("axis", -1))
	case "LayerNormalization":
		a := n.Int("axis", -1)
		if a < 0 {
			a += int64(len(s))
		}
		return int64(at) >= a
	case "CumSum":
		x := p.g.Init[n.InName(1)]
		return x == nil || len(x.Ints) != 1 || along(x.Ints[0])
	case "Gather":
		x := p.g.Init[n.InName(1)]
		return x == nil || along(n.Int("axis", 0))
	case "Conv", "ConvTranspose", "InstanceNormalization", "BatchNormalization", "AveragePool", "GlobalAveragePool",
		"GlobalMaxPool", "DepthToSpace", "SpaceToDepth", "Resize", "Gemm":
		return p.active[n.In[0]] && at != 0
	case "Reshape", "Flatten":
		// The batch must keep its place: as many elements before it as ahead.
		to := p.g.Info[n.Out[0]].Shape
		a, b := leading(s, at), leading(to, batchAxis(to))
		return a < 0 || a != b
	}
	return false
}

// turnsOn tells whether n, or a node in its bodies, runs one body or another, or the same one more or fewer times, as
// values say that are in depends or follow from them.
func turnsOn(n *onnx.Node, depends map[string]bool) bool {
	if n.Op == "If" && depends[n.InName(0)] || n.Op == "Loop" && (depends[n.InName(0)] || depends[n.InName(1)]) {
		return true
	}
	for _, a := range n.Attr {
		g := a.Graph
		if g == nil {
			continue
		}
		inner := maps.Clone(depends)
		given := len(n.In) - len(g.Inputs) // a condition left out is not among the operands
		for i, v := range g.Inputs {
			inner[v.Name] = depends[n.InName(i+max(given, 0))]
		}
		last := ""
		if n.Op == "Loop" && len(g.Outputs) > 0 {
			last = g.Outputs[0].Name
		}
		for more := true; more; { // what goes from turn to turn
			for _, m := range g.Nodes {
				if onnx.HasGraph(m) && turnsOn(m, inner) {
					return true
				}
				if slices.ContainsFunc(m.Uses(), func(s string) bool { return inner[s] }) {
					for _, s := range m.Out {
						inner[s] = s != ""
					}
				}
			}
			if last != "" && inner[last] {
				return true
			}
			more = false
			for i, v := range g.Outputs {
				k := i
				if n.Op == "Loop" {
					k++
				}
				if n.Op != "If" && inner[v.Name] && k < len(g.Inputs) && !inner[g.Inputs[k].Name] {
					inner[g.Inputs[k].Name], more = true, true
				}
			}
		}
	}
	return false
}

// turnsOnBatch is a node that turns on inputs with a batch.
func (p *plan) turnsOnBatch() *onnx.Node {
	depends := map[string]bool{}
	for _, v := range p.g.Inputs {
		if batchAxis(v.Shape) >= 0 {
			depends[v.Name] = true
		}
	}
	for _, n := range p.g.Nodes {
		if turnsOn(n, depends) {
			return n
		}
		if slices.ContainsFunc(n.Uses(), func(s string) bool { return depends[s] }) {
			for _, s := range n.Out {
				depends[s] = true
			}
		}
	}
	return nil
}

// replicated is the Jacobian by a primal of as many equal rows as there are tangents.
func (p *plan) replicated(verb string, cols onnx.Dim) (*onnx.Graph, error) {
	if n := p.turnsOnBatch(); n != nil {
		return nil, fmt.Errorf("onnx: %s: %s: %w: its condition depends on the batch, and the rows are computed together", verb, where(n, p.g.Opset[""]), ErrNoRule)
	}
	d, err := p.tangents(verb, p.tape("jacobian"))
	if err != nil {
		return nil, err
	}
	d = d.Shallow()
	tangent := map[string]bool{}
	for _, v := range slices.Concat(p.wrt, p.of) {
		tangent["tangent_"+v.Name] = true
	}
	names := newOpener(d)
	to := map[string]string{}
	var head []*onnx.Node
	rows := ""
	for i, v := range d.Inputs {
		if tangent[v.Name] {
			d.Inputs[i].Shape = atBatch(v.Shape, cols)
			continue
		}
		at := batchAxis(v.Shape)
		if at < 0 {
			continue
		}
		if rows == "" {
			if cols.Known() {
				rows = names.add("jacobian/rows", onnx.IntTensor([]int64{cols.N}, 1))
			} else {
				rows = "jacobian/rows"
				name := "tangent_" + p.wrt[0].Name
				head = append(head, &onnx.Node{Op: "Shape", Name: rows, In: []string{name}, Out: []string{rows}, Attr: onnx.Attrs("start", 0, "end", 1)})
			}
		}
		wide := v.Name + "/rows"
		to[v.Name] = wide
		shape := rows
		if ones := len(v.Shape) - 1 - at; ones > 0 {
			shape = v.Name + "/shape"
			one := names.add(v.Name+"/ones", onnx.IntTensor(orOnes(nil, ones), int64(ones)))
			head = append(head, &onnx.Node{Op: "Concat", Name: shape, In: []string{rows, one}, Out: []string{shape}, Attr: onnx.Attrs("axis", 0)})
		}
		head = append(head, &onnx.Node{Op: "Expand", Name: wide, In: []string{v.Name, shape}, Out: []string{wide}})
		d.Inputs[i].Shape = atBatchOne(v.Shape)
	}
	for i, n := range d.Nodes {
		d.Nodes[i] = n.Reread(to)
	}
	var tail []*onnx.Node
	wider := map[string]string{}
	zero := names.add("jacobian/zero", onnx.IntTensor([]int64{0}, 1))
	for i, v := range d.Outputs {
		if tangent[v.Name] {
			d.Outputs[i].Shape = atBatch(v.Shape, cols)
			continue
		}
		at := batchAxis(v.Shape)
		if at < 0 {
			continue
		}
		wide := v.Name + "/rows"
		if _, isInput := to[v.Name]; isInput {
			continue
		}
		wider[v.Name] = wide
		axis := names.add(v.Name+"/axis", onnx.IntTensor([]int64{int64(at)}, 1))
		one := names.add(v.Name+"/one", onnx.IntTensor([]int64{1}, 1))
		tail = append(tail, &onnx.Node{Op: "Slice", Name: v.Name, In: []string{wide, zero, one, axis}, Out: []string{v.Name}})
		d.Outputs[i].Shape = atBatchOne(v.Shape)
	}
	for i, n := range d.Nodes {
		n = n.Reread(wider)
		n.Out = onnx.RenamedIn(n.Out, wider)
		d.Nodes[i] = n
	}
	d.Nodes = slices.Concat(head, d.Nodes, tail)
	d.Info = map[string]onnx.Value{}
	return p.finish(verb, d)
}

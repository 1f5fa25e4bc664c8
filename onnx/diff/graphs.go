package diff

import (
	"fmt"
	"maps"
	"slices"

	"lenskit/onnx"
	"lenskit/onnx/rewrite"
)

// minOpset is the lowest operator-set version of a derived graph.
const minOpset = 18

// Pair is a graph split for a reverse pass that happens later: Forward has the values named in Saved among its inputs
// and outputs, and Backward takes them under the same names, with grad_<output> beside them, and gives grad_<input>.
type Pair struct {
	Forward, Backward *onnx.Graph
	Saved             []string
}

// VJP makes the reverse-mode derivative of g as one graph: to g's inputs it adds grad_<output> for each output in
// opt.Of, to g's outputs grad_<input> for each value in opt.Wrt, the sum over outputs of Jᵀ·grad_<output>. The shapes
// are those of the values. An input that no output depends on gets zeros.
func VJP(g *onnx.Graph, opt Options) (*onnx.Graph, error) {
	p, err := newPlan("vjp", g, opt)
	if err != nil {
		return nil, err
	}
	t, seeds, results, err := p.backward("vjp")
	if err != nil {
		return nil, err
	}
	shapes, rest := t.nodes()
	d := p.assemble(t, slices.Concat(p.g.Nodes, shapes, rest))
	d.Inputs = append(d.Inputs, seeds...)
	d.Outputs = append(d.Outputs, results...)
	return p.finish("vjp", d)
}

// Split makes the reverse-mode derivative of g as a forward and a backward graph that share the activations the
// backward pass reads, so that nothing is computed twice.
func Split(g *onnx.Graph, opt Options) (*Pair, error) {
	p, err := newPlan("split", g, opt)
	if err != nil {
		return nil, err
	}
	t, seeds, results, err := p.backward("split")
	if err != nil {
		return nil, err
	}
	shapes, rest := t.nodes()
	primal := slices.Concat(p.g.Nodes, shapes)
	// What stems from initialisers alone is computed again instead of saved.
	varying := map[string]bool{}
	for _, v := range p.g.Inputs {
		if p.params[v.Name] == nil {
			varying[v.Name] = true
		}
	}
	made := map[string]*onnx.Node{}
	for _, n := range primal {
		uses := n.Uses()
		vary := len(uses) == 0 && n.Op != "Constant"
		for _, s := range uses {
			vary = vary || varying[s]
		}
		for _, s := range n.Out {
			made[s] = n
			varying[s] = vary
		}
	}
	again := map[*onnx.Node]bool{}
	var saved []string
	seen := map[string]bool{}
	var use func(name string)
	use = func(name string) {
		if name == "" || seen[name] {
			return
		}
		seen[name] = true
		n := made[name]
		switch {
		case varying[name]:
			saved = append(saved, name)
		case n != nil:
			again[n] = true
			for _, s := range n.Uses() {
				use(s)
			}
		}
	}
	// Masks are made forward where the comparison is, so that floats are saved.
	early, live := p.early(t, rewrite.Prune(rest, rewrite.ValueNames(results)), varying, made)
	primal = append(primal, early...)
	for _, n := range live {
		for _, s := range n.Uses() {
			use(s)
		}
	}
	for _, v := range results {
		if made[v.Name] != nil {
			use(v.Name)
		}
	}
	// Shape arithmetic of the rules may hang on saved values only; everything else of the primal stays forward.
	var backNodes []*onnx.Node
	for _, n := range primal {
		if again[n] {
			backNodes = append(backNodes, n)
		}
	}
	backNodes = append(backNodes, live...)

	f := p.assemble(t, primal)
	have := map[string]bool{}
	for _, v := range slices.Concat(f.Inputs, f.Outputs) {
		have[v.Name] = true
	}
	for _, name := range saved {
		if !have[name] {
			f.Outputs = append(f.Outputs, t.Inf.Value(name))
		}
	}
	pair := &Pair{Saved: saved}
	if pair.Forward, err = p.finish("split", f); err != nil {
		return nil, err
	}
	b := p.assemble(t, backNodes)
	b.Inputs, b.Outputs = nil, results
	named := map[string]onnx.Value{}
	for _, v := range slices.Concat(pair.Forward.Outputs, pair.Forward.Inputs) {
		named[v.Name] = v
	}
	for _, name := range saved {
		if v, ok := named[name]; ok {
			b.Inputs = append(b.Inputs, v)
		}
	}
	b.Inputs = append(b.Inputs, seeds...)
	if pair.Backward, err = p.finish("split", b); err != nil {
		return nil, err
	}
	return pair, nil
}

// early takes those of nodes apart that read no gradient but a saved value that is not a float, and lists what they make
// in varying and made.
func (p *plan) early(t *tape, nodes []*onnx.Node, varying map[string]bool, made map[string]*onnx.Node) (early, rest []*onnx.Node) {
	for _, n := range nodes {
		reads, ready := false, true
		for _, s := range n.Uses() {
			switch {
			case s == "" || t.value(s) != nil:
			case varying[s]:
				reads = reads || !t.typ(s).IsFloat()
			default:
				ready = ready && made[s] != nil
			}
		}
		if !reads || !ready {
			rest = append(rest, n)
			continue
		}
		early = append(early, n)
		for _, s := range n.Out {
			varying[s], made[s] = true, n
		}
	}
	return early, rest
}

// JVP makes the forward-mode derivative of g: to g's inputs it adds tangent_<input> for each value in opt.Wrt, to g's
// outputs tangent_<output> for each output in opt.Of, J·tangent. The linear part reads the primal's activations.
func JVP(g *onnx.Graph, opt Options) (*onnx.Graph, error) {
	p, err := newPlan("jvp", g, opt)
	if err != nil {
		return nil, err
	}
	return p.tangents("jvp", p.tape("jvp"))
}

// tangents sweeps forward and puts the graph together.
func (p *plan) tangents(verb string, t *tape) (*onnx.Graph, error) {
	tan := map[string]string{}
	var ins, outs []onnx.Value
	for _, v := range p.wrt {
		name := "tangent_" + v.Name
		if t.Taken[name] {
			return nil, fmt.Errorf("onnx: %s: the name %q is taken in the graph", verb, name)
		}
		w := onnx.Value{Name: name, Type: v.Type, Shape: t.columns(v.Shape)}
		t.Declare(w)
		tan[v.Name] = name
		ins = append(ins, w)
	}
	if err := p.sweepForward(t, tan); err != nil {
		return nil, fmt.Errorf("onnx: %s: %w", verb, err)
	}
	for _, v := range p.of {
		name := "tangent_" + v.Name
		if t.Taken[name] {
			return nil, fmt.Errorf("onnx: %s: the name %q is taken in the graph", verb, name)
		}
		src := tan[v.Name]
		if src == "" {
			if err := guarded(&onnx.Node{Op: "ConstantOfShape", Name: name}, t.opset, func() { src = t.tanZeros(v.Name) }); err != nil {
				return nil, fmt.Errorf("onnx: %s: %w", verb, err)
			}
		}
		outs = append(outs, t.result(src, name, onnx.Value{Name: name, Type: v.Type, Shape: t.columns(v.Shape)}))
	}
	t.settleNames()
	shapes, rest := t.nodes()
	d := p.assemble(t, slices.Concat(p.g.Nodes, shapes, rest))
	d.Inputs = append(d.Inputs, ins...)
	d.Outputs = append(d.Outputs, outs...)
	return p.finish(verb, d)
}

// backward sweeps in reverse from inputs grad_<output>; results are the values grad_<input>.
func (p *plan) backward(verb string) (t *tape, seeds, results []onnx.Value, err error) {
	t = p.tape(verb)
	seed := map[string]string{}
	for _, v := range p.of {
		name := "grad_" + v.Name
		if t.Taken[name] {
			return nil, nil, nil, fmt.Errorf("onnx: %s: the name %q is taken in the graph", verb, name)
		}
		w := onnx.Value{Name: name, Type: v.Type, Shape: t.shape(v.Name)}
		if w.Shape == nil {
			w.Shape = v.Shape
		}
		t.Declare(w)
		seed[v.Name] = name
		seeds = append(seeds, w)
	}
	grad, err := p.sweepBack(t, seed)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("onnx: %s: %w", verb, err)
	}
	for _, v := range p.wrt {
		name := "grad_" + v.Name
		if t.Taken[name] {
			return nil, nil, nil, fmt.Errorf("onnx: %s: the name %q is taken in the graph", verb, name)
		}
		g := grad[v.Name]
		if g == "" {
			g = t.zeros(v.Name)
		}
		if err := guarded(&onnx.Node{Op: "Expand", Name: name}, t.opset, func() { g = t.full(g, v.Name) }); err != nil {
			return nil, nil, nil, fmt.Errorf("onnx: %s: %w", verb, err)
		}
		results = append(results, t.result(g, name, onnx.Value{Name: name, Type: v.Type, Shape: v.Shape}))
	}
	t.settleNames()
	return t, seeds, results, nil
}

// result gives the emitted value src the name of an output. A value that is an input, or has got a name already, is
// passed on by Identity.
func (t *tape) result(src, name string, v onnx.Value) onnx.Value {
	if t.Maker(src) != nil && t.names[src] == "" {
		t.names[src] = name
	} else {
		t.Make(name, "Identity", nil, src)
	}
	t.Declare(v)
	return v
}

// settleNames puts the names that result gave into the nodes.
func (t *tape) settleNames() {
	for i, n := range t.G.Nodes {
		n = n.Reread(t.names)
		n.Out = onnx.RenamedIn(n.Out, t.names)
		t.G.Nodes[i] = n
	}
	clear(t.names)
}

// assemble makes a graph of nodes with the primal's inputs and outputs and every constant.
func (p *plan) assemble(t *tape, nodes []*onnx.Node) *onnx.Graph {
	d := p.g.Shallow()
	d.Nodes = nodes
	maps.Copy(d.Init, t.G.Init)
	maps.Copy(d.Init, p.params)
	d.Inputs = slices.DeleteFunc(d.Inputs, func(v onnx.Value) bool { return p.params[v.Name] != nil })
	d.Info = map[string]onnx.Value{}
	return d
}

// finish drops what no output needs, folds, and infers shapes.
func (p *plan) finish(verb string, d *onnx.Graph) (*onnx.Graph, error) {
	d.Nodes = rewrite.Prune(d.Nodes, rewrite.ValueNames(d.Outputs))
	rewrite.DropInit(d)
	d, err := p.fold(d)
	if err != nil {
		return nil, fmt.Errorf("onnx: %s: %w", verb, err)
	}
	if err := d.Infer(); err != nil {
		return nil, fmt.Errorf("onnx: %s: %w", verb, err)
	}
	return d, nil
}

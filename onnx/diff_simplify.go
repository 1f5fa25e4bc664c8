package onnx

import "slices"

// maxFolded is the largest number of elements of a constant that simplify computes.
const maxFolded = 1 << 22

func init() { simplifier = simplify }

// simplify returns g with what does not depend on its inputs computed: shape arithmetic whose result follows from the
// inputs' shapes, and small nodes over constants. Identity nodes inside are dropped, and so is what no output needs.
func simplify(g *Graph) (*Graph, error) {
	g = g.shallow()
	nodes := prune(g.Nodes, valueNames(g.Outputs))
	g.Nodes = nodes
	f, err := g.infer()
	if err != nil {
		return nil, err
	}
	output := map[string]bool{}
	for _, v := range g.Outputs {
		output[v.Name] = true
	}
	alias := map[string]string{}
	captured := map[string]bool{} // names that sub-graphs read
	for _, n := range nodes {
		if hasGraph(n) {
			for _, s := range n.uses() {
				captured[s] = true
			}
		}
	}
	left := newFoldBudget(g)
	g.Nodes = nil
	for _, n := range nodes {
		for i, s := range n.In {
			if a, ok := alias[s]; ok {
				n.In[i] = a
			}
		}
		if n.Domain != "" || len(n.Out) != 1 || hasGraph(n) {
			g.Nodes = append(g.Nodes, n)
			continue
		}
		out := n.Out[0]
		if n.Op == "Identity" && len(n.In) == 1 && !output[out] && !captured[out] {
			alias[out] = n.In[0]
			continue
		}
		if x := foldNode(g, f, n, left); x != nil && !output[out] {
			g.Init[out] = x
			continue
		}
		portable(g, f, n)
		if n.Op == "Reshape" && len(n.In) == 2 && g.Init[n.In[1]] == nil {
			constantTarget(g, f, n)
		}
		g.Nodes = append(g.Nodes, n)
	}
	g.Nodes = prune(g.Nodes, valueNames(g.Outputs))
	g.dropInit()
	return g, nil
}

// foldBudget is what folding may still spend on a graph: elements of new constants, and work as held counts it.
type foldBudget struct{ elements, work int64 }

// newFoldBudget allows constants of four times the size of those that the graph has, and some more, and work likewise.
func newFoldBudget(g *Graph) *foldBudget {
	b := &foldBudget{maxFolded, 1 << 27}
	for _, t := range g.Init {
		b.elements += 4 * int64(t.Size())
		b.work += 64 * int64(t.Size())
	}
	return b
}

// spend takes the cost of n, whose result is inferred to have size elements, or returns false.
func (b *foldBudget) spend(f *inferer, n *Node, size int64) bool {
	if size > maxFolded || size > b.elements {
		return false
	}
	z := &sizes{f: f, inGo: true, most: map[string]int64{}, lists: map[string]int64{}}
	h, err := z.node(n)
	for _, s := range n.In {
		e, _ := z.elements(f.value(s).Shape)
		h.work = plus(h.work, product(2, e)) // constants are copied
	}
	if err != nil || h.work > b.work {
		return false
	}
	b.elements -= size
	b.work -= h.work
	return true
}

// foldNode is the constant that n computes, or nil.
func foldNode(g *Graph, f *inferer, n *Node, left *foldBudget) *Tensor {
	v := f.value(n.Out[0])
	if k, ok := f.ints(n.Out[0]); ok && v.Type.IsInt() {
		vals := make([]int64, len(k.elems))
		all := true
		for i, d := range k.elems {
			vals[i] = d.N
			all = all && d.Known()
		}
		if all && (v.Type == Int64 || v.Type == Int32) {
			return &Tensor{Type: v.Type, Shape: slices.Clone(k.shape), Ints: vals}
		}
	}
	if n.Op == "ConstantOfShape" || n.Op == "Expand" || n.Op == "Tile" || random[n.Op] {
		return nil // larger than what makes it
	}
	for _, s := range n.In {
		if x := g.Init[s]; s != "" && (x == nil || x.Size() > maxFolded) {
			return nil
		}
	}
	if len(n.In) == 0 && n.Op != "Constant" {
		return nil
	}
	d, ok := known(v.Shape)
	if !ok {
		return nil
	}
	if size, err := sizeOf(d); err != nil || !left.spend(f, n, int64(size)) {
		return nil
	}
	in := make([]*Array, len(n.In))
	for i, s := range n.In {
		if s == "" {
			continue
		}
		var err error
		if in[i], err = g.Init[s].Array(); err != nil {
			return nil
		}
	}
	out, err := EvalNode(n, g.Opset, in)
	if err != nil || len(out) != 1 || out[0] == nil {
		return nil
	}
	t := out[0].Tensor()
	if t.Type == Float32 {
		t.Doubles = out[0].F // unrounded, for the evaluator
	}
	return t
}

var random = map[string]bool{
	"RandomNormal": true, "RandomUniform": true, "RandomNormalLike": true, "RandomUniformLike": true, "Bernoulli": true,
	"Multinomial": true,
}

// constantTarget replaces a Reshape's computed target by a constant with one extent left to the runtime.
func constantTarget(g *Graph, f *inferer, n *Node) {
	k, ok := f.ints(n.In[1])
	if !ok || n.Int("allowzero", 0) != 0 || len(k.shape) != 1 {
		return
	}
	v := make([]int64, len(k.elems))
	unknown := 0
	for i, d := range k.elems {
		v[i] = d.N
		if !d.Known() {
			v[i] = -1
			unknown++
		} else if d.N <= 0 {
			return
		}
	}
	if unknown != 1 {
		return
	}
	name := n.Out[0] + "/target"
	for g.Init[name] != nil {
		name += "_"
	}
	g.Init[name] = IntTensor(v, int64(len(v)))
	n.In[1] = name
}

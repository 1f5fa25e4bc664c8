package rewrite

import (
	"slices"

	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/footprint"
)

// MaxFolded is the largest number of elements of a constant that simplify computes.
const MaxFolded = 1 << 22

func init() { footprint.Simplifier = Simplify }

// Simplify returns g with what does not depend on its inputs computed: shape arithmetic whose result follows from the
// inputs' shapes, and small nodes over constants. Identity nodes inside are dropped, and so is what no output needs.
func Simplify(g *onnx.Graph) (*onnx.Graph, error) {
	g = g.Shallow()
	nodes := Prune(g.Nodes, ValueNames(g.Outputs))
	g.Nodes = nodes
	f, err := g.Inferred()
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
		if onnx.HasGraph(n) {
			for _, s := range n.Uses() {
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
		if n.Domain != "" || len(n.Out) != 1 || onnx.HasGraph(n) {
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
		onnx.Portable(g, f, n)
		if n.Op == "Reshape" && len(n.In) == 2 && g.Init[n.In[1]] == nil {
			constantTarget(g, f, n)
		}
		g.Nodes = append(g.Nodes, n)
	}
	g.Nodes = Prune(g.Nodes, ValueNames(g.Outputs))
	DropInit(g)
	return g, nil
}

// foldBudget is what folding may still spend on a graph: elements of new constants, and work as held counts it.
type foldBudget struct{ elements, work int64 }

// newFoldBudget allows constants of four times the size of those that the graph has, and some more, and work likewise.
func newFoldBudget(g *onnx.Graph) *foldBudget {
	b := &foldBudget{MaxFolded, 1 << 27}
	for _, t := range g.Init {
		b.elements += 4 * int64(t.Size())
		b.work += 64 * int64(t.Size())
	}
	return b
}

// spend takes the cost of n, whose result is inferred to have size elements, or returns false.
func (b *foldBudget) spend(f *onnx.Inferer, n *onnx.Node, size int64) bool {
	if size > MaxFolded || size > b.elements {
		return false
	}
	z := &footprint.Sizes{F: f, InGo: true, Most: map[string]int64{}, Lists: map[string]int64{}}
	h, err := z.Node(n)
	for _, s := range n.In {
		e, _ := z.Elements(f.Value(s).Shape)
		h.Work = footprint.Plus(h.Work, footprint.Product(2, e)) // constants are copied
	}
	if err != nil || h.Work > b.work {
		return false
	}
	b.elements -= size
	b.work -= h.Work
	return true
}

// foldNode is the constant that n computes, or nil.
func foldNode(g *onnx.Graph, f *onnx.Inferer, n *onnx.Node, left *foldBudget) *onnx.Tensor {
	v := f.Value(n.Out[0])
	if k, ok := f.Ints(n.Out[0]); ok && v.Type.IsInt() {
		vals := make([]int64, len(k.Elems))
		all := true
		for i, d := range k.Elems {
			vals[i] = d.N
			all = all && d.Known()
		}
		if all && (v.Type == onnx.Int64 || v.Type == onnx.Int32) {
			return &onnx.Tensor{Type: v.Type, Shape: slices.Clone(k.Shape), Ints: vals}
		}
	}
	if n.Op == "ConstantOfShape" || n.Op == "Expand" || n.Op == "Tile" || onnx.Random[n.Op] {
		return nil // larger than what makes it
	}
	for _, s := range n.In {
		if x := g.Init[s]; s != "" && (x == nil || x.Size() > MaxFolded) {
			return nil
		}
	}
	if len(n.In) == 0 && n.Op != "Constant" {
		return nil
	}
	d, ok := onnx.Known(v.Shape)
	if !ok {
		return nil
	}
	if size, err := onnx.SizeOf(d); err != nil || !left.spend(f, n, int64(size)) {
		return nil
	}
	in := make([]*eval.Array, len(n.In))
	for i, s := range n.In {
		if s == "" {
			continue
		}
		var err error
		if in[i], err = eval.ArrayOf(g.Init[s]); err != nil {
			return nil
		}
	}
	out, err := eval.Node(n, g.Opset, in)
	if err != nil || len(out) != 1 || out[0] == nil {
		return nil
	}
	t := out[0].Tensor()
	if t.Type == onnx.Float32 {
		t.Doubles = out[0].F // unrounded, for the evaluator
	}
	return t
}

// constantTarget replaces a Reshape's computed target by a constant with one extent left to the runtime.
func constantTarget(g *onnx.Graph, f *onnx.Inferer, n *onnx.Node) {
	k, ok := f.Ints(n.In[1])
	if !ok || n.Int("allowzero", 0) != 0 || len(k.Shape) != 1 {
		return
	}
	v := make([]int64, len(k.Elems))
	unknown := 0
	for i, d := range k.Elems {
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
	g.Init[name] = onnx.IntTensor(v, int64(len(v)))
	n.In[1] = name
}

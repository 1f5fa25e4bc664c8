package rewrite

import (
	"slices"

	"lenskit/onnx"
)

// toPixels takes [N, C, H, W] to [H, W, N, C], and back.
var toPixels = []int64{2, 3, 0, 1}

// layoutRows move transpositions towards the outputs until they meet their inverse.
var layoutRows = []rewriteRow{
	{"transpose past a pointwise operator", pointwise, sinkTranspose},
	{"transpose of a transpose", []string{"Transpose"}, mergeTransposes},
	{"transpose without effect", []string{"Transpose"}, dropNoOp},
}

// pointwise are operators whose result has each element from the operands' elements at its place.
var pointwise = []string{
	"Abs", "Add", "And", "Cast", "Celu", "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater",
	"GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Min", "Mish", "Mod",
	"Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
	"Softsign", "Sqrt", "Sub", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
}

// settleTransposes drops the transpositions of g that undo each other across pointwise operators, and writes the others
// in the way that runtimes are fast at.
func settleTransposes(g *onnx.Graph) (*onnx.Graph, error) {
	fired := true
	for round := 0; fired && round < 8*foldRounds; round++ {
		var err error
		if g, fired, err = rewritten(g, layoutRows); err != nil {
			return nil, err
		}
	}
	g, _, err := rewritten(g, []rewriteRow{{"transpose of a matrix", []string{"Transpose"}, transposeAsMatrix}})
	if err != nil {
		return nil, err
	}
	outputNames(g)
	return g, g.Infer()
}

// transposeOf is the node that makes value name when it is a Transpose with a permutation.
func (f *folder) transposeOf(name string) (n *onnx.Node, perm []int64) {
	if n = f.Maker(name); n == nil || n.Op != "Transpose" || n.Domain != "" {
		return nil, nil
	}
	return n, n.Ints("perm")
}

// sinkTranspose moves transpositions from the operands of a pointwise operator to its result. Operands without are
// transposed the other way if they are small beside the result, or if the result is about to be.
func sinkTranspose(f *folder, n *onnx.Node) bool {
	made := f.inferred(n)
	if made == nil || !only(n) {
		return false
	}
	size := func(shape []onnx.Dim) int { // -1 where it is not known
		d, ok := onnx.Known(shape)
		n, err := onnx.SizeOf(d)
		if shape == nil || !ok || err != nil {
			return -1
		}
		return n
	}
	y := made.Out[0].Shape
	whole := size(y)
	if whole < 0 {
		return false
	}
	var perm []int64
	for i := 0; perm == nil && i < len(n.In); i++ {
		if size(f.Shape(n.In[i])) > whole/4 {
			_, perm = f.transposeOf(n.In[i])
		}
	}
	rank := len(perm)
	if perm == nil || len(y) != rank {
		return false
	}
	back := make([]int64, rank)
	for i, p := range perm {
		back[p] = int64(i)
	}
	undone := slices.ContainsFunc(f.transposed[n.Out[0]], func(m *onnx.Node) bool { return slices.Equal(m.Ints("perm"), back) })
	in := slices.Clone(n.In)
	var other []int // operands to be transposed
	for i, name := range in {
		if name == "" {
			continue
		}
		d := f.Shape(name)
		p, same := f.transposeOf(name)
		switch s := size(d); {
		case s < 0 || len(d) > rank:
			return false
		case p != nil && slices.Equal(same, perm):
			in[i] = p.In[0]
		case s == 1:
		case undone && len(d) == rank || s <= whole/4:
			other = append(other, i)
		default:
			return false
		}
	}
	for _, i := range other {
		d, _ := onnx.Known(f.Shape(in[i]))
		if len(d) < rank {
			in[i] = f.OpAttr("Reshape", nil, in[i], f.Ints(append(slices.Repeat([]int64{1}, rank-len(d)), d...)...))
		}
		in[i] = f.OpAttr("Transpose", onnx.Attrs("perm", back), in[i])
	}
	m := *n
	m.In, m.Out = in, []string{f.Fresh(n.Op)}
	f.Append(&m)
	f.Make(n.Out[0], "Transpose", onnx.Attrs("perm", perm), m.Out[0])
	return true
}

// transposeAsMatrix writes the exchange of two pairs of axes as the transposition of a matrix.
func transposeAsMatrix(f *folder, n *onnx.Node) bool {
	d, ok := onnx.Known(f.Shape(n.In[0]))
	if !ok || len(d) != 4 || !slices.Equal(n.Ints("perm"), toPixels) {
		return false
	}
	flat := f.OpAttr("Reshape", nil, n.In[0], f.Ints(d[0]*d[1], d[2]*d[3]))
	turned := f.OpAttr("Transpose", onnx.Attrs("perm", []int64{1, 0}), flat)
	f.Make(n.Out[0], "Reshape", nil, turned, f.Ints(d[2], d[3], d[0], d[1]))
	return true
}

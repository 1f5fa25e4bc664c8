package diff

import (
	"fmt"
	"math"

	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/rewrite"
)

// lowering writes an operator in terms of those that have rules. It appends to m's builder.
type lowering struct {
	*onnx.Builder
	n *onnx.Node
}

// lowered lists the operators that are taken apart before a graph is differentiated.
var lowered = map[string]func(m *lowering) error{
	"AffineGrid":                lowerAffineGrid,
	"Attention":                 lowerAttention,
	"BatchNormalization":        lowerBatchNorm,
	"GroupNormalization":        lowerGroupNorm,
	"LpNormalization":           lowerLpNorm,
	"MeanVarianceNormalization": lowerMeanVariance,
	"RMSNormalization":          lowerRMSNorm,
}

// lower takes the operators of the table apart. The graph's shapes must have been inferred.
func lower(g *onnx.Graph) (*onnx.Graph, error) {
	any := false
	for _, n := range g.Nodes {
		any = any || needsLowering(n)
	}
	if !any {
		return g, nil
	}
	h := g.Shallow()
	nodes := h.Nodes
	h.Nodes, h.Info = nil, nil
	b := onnx.NewBuilder(h, "lower/")
	g.EachName(func(s string) { b.Reserve(s) })
	for _, n := range nodes {
		if !needsLowering(n) {
			b.Append(n)
			continue
		}
		var err error
		if e := guarded(n, g.Opset[""], func() { err = lowered[n.Op](&lowering{b, n}) }); e != nil {
			err = e
		}
		if err != nil {
			return nil, err
		}
	}
	if err := b.Err(); err != nil {
		return nil, err
	}
	return h, nil
}

func needsLowering(n *onnx.Node) bool {
	if n.Domain != "" || lowered[n.Op] == nil {
		return false
	}
	return n.Op != "BatchNormalization" || n.Int("training_mode", 0) != 0
}

func (m *lowering) in(i int) string { return m.n.InName(i) }

// last appends the node that makes result i of the operator.
func (m *lowering) last(i int, op string, attr map[string]onnx.Attr, in ...string) {
	if i < len(m.n.Out) && m.n.Out[i] != "" {
		m.Make(m.n.Out[i], op, attr, in...)
	}
}

// num is a scalar of the type of like.
func (m *lowering) num(v float64, like string) string {
	if m.Type(like) == onnx.Float64 {
		return m.ScalarOf(onnx.Float64, v)
	}
	return m.Scalar(v)
}

func (m *lowering) rank(name string) int {
	s := m.Shape(name)
	if s == nil {
		failf("the rank of %q is not known", name)
	}
	return len(s)
}

func (m *lowering) mean(x string, axes ...int64) string {
	return m.OpAttr("ReduceMean", onnx.Attrs("keepdims", 1), x, m.Ints(axes...))
}

// channels gives a vector the shape [C, 1, …] that broadcasts against x.
func (m *lowering) channels(v, x string) string {
	rank := m.rank(x)
	if rank < 2 {
		failf("operand of rank %d, expected 2 or more", rank)
	}
	shape := orOnes(nil, rank-1)
	shape[0] = -1
	return m.Op("Reshape", v, m.Ints(shape...))
}

// lowerBatchNorm writes BatchNormalization with training_mode as batch statistics and y = a x + b per channel. The
// running statistics follow the standard: the variance is that of the batch, divided by the number of elements.
func lowerBatchNorm(m *lowering) error {
	x := m.in(0)
	axes := []int64{0}
	for i := 2; i < m.rank(x); i++ {
		axes = append(axes, int64(i))
	}
	mean := m.mean(x, axes...)
	d := m.Op("Sub", x, mean)
	v := m.mean(m.Op("Mul", d, d), axes...)
	r := m.Op("Sqrt", m.Op("Add", v, m.num(m.n.Float("epsilon", 1e-5), x)))
	a := m.Op("Div", m.channels(m.in(1), x), r)
	m.last(0, "Add", nil, m.Op("Mul", d, a), m.channels(m.in(2), x))
	k := m.n.Float("momentum", 0.9)
	for i, batch := range []string{mean, v} {
		flat := m.Op("Reshape", batch, m.Ints(-1))
		m.last(1+i, "Add", nil, m.Op("Mul", m.in(3+i), m.num(k, x)), m.Op("Mul", flat, m.num(1-k, x)))
	}
	return nil
}

// lowerGroupNorm writes GroupNormalization as InstanceNormalization over groups with unit scale, then the affine map:
// per group before operator set 21, per channel from then on.
func lowerGroupNorm(m *lowering) error {
	x := m.in(0)
	s := m.Shape(x)
	groups := m.n.Int("num_groups", 0)
	if len(s) < 2 || groups < 1 || groups > rewrite.MaxFolded {
		failf("rank %d and %d groups", len(s), groups)
	}
	ones := &onnx.Tensor{Type: onnx.Float32, Shape: []int64{groups}, Floats: make([]float32, groups)}
	zeros := &onnx.Tensor{Type: onnx.Float32, Shape: []int64{groups}, Floats: make([]float32, groups)}
	for i := range ones.Floats {
		ones.Floats[i] = 1
	}
	y := m.OpAttr("InstanceNormalization", onnx.Attrs("epsilon", m.n.Float("epsilon", 1e-5)),
		m.Op("Reshape", x, m.Ints(0, groups, -1)), m.Tensor(ones), m.Tensor(zeros))
	if m.G.Opset[""] < 21 {
		y = m.Op("Add", m.Op("Mul", y, m.Op("Reshape", m.in(1), m.Ints(-1, 1))), m.Op("Reshape", m.in(2), m.Ints(-1, 1)))
		m.last(0, "Reshape", nil, y, m.like(x))
		return nil
	}
	y = m.Op("Reshape", y, m.like(x))
	m.last(0, "Add", nil, m.Op("Mul", y, m.channels(m.in(1), x)), m.channels(m.in(2), x))
	return nil
}

// like is the shape of x as a Reshape target, constant but for one extent where that is possible.
func (m *lowering) like(x string) string {
	v := []int64{}
	unknown := 0
	for _, d := range m.Shape(x) {
		if d.Known() {
			v = append(v, d.N)
		} else {
			v = append(v, -1)
			unknown++
		}
	}
	if unknown > 1 {
		return m.Op("Shape", x)
	}
	return m.Ints(v...)
}

// lowerAffineGrid writes AffineGrid as the constant grid of points (x, y, 1) or (x, y, z, 1) times θᵀ.
func lowerAffineGrid(m *lowering) error {
	size, ok := m.Inf.Ints(m.in(1))
	if !ok || len(size.Elems) < 4 || len(size.Elems) > 5 {
		failf("the size is not known")
	}
	target, points := []int64{0}, int64(1)
	for _, d := range size.Elems[2:] {
		if !d.Known() || d.N < 0 || d.N > rewrite.MaxFolded {
			failf("the size is not known, or too large")
		}
		target = append(target, d.N)
		if points *= d.N; points > rewrite.MaxFolded/4 {
			failf("a grid of more than %d points", rewrite.MaxFolded/4)
		}
	}
	spatial := target[1:]
	rank := len(spatial)
	base := &onnx.Tensor{
		Type: onnx.Float32, Shape: []int64{points, int64(rank + 1)},
		Floats: make([]float32, points*int64(rank+1)), Doubles: make([]float64, points*int64(rank+1)), // unrounded for the evaluator
	}
	at := make([]int64, rank)
	for p := range int(points) {
		row := base.Doubles[p*(rank+1) : (p+1)*(rank+1)]
		row[rank] = 1
		for i, d := range spatial {
			v := float64(2*at[i]+1)/float64(d) - 1
			if m.n.Int("align_corners", 0) != 0 {
				v = float64(2*at[i])/float64(d-1) - 1
			}
			row[rank-1-i] = v
		}
		eval.Advance(at, spatial)
	}
	for i, v := range base.Doubles {
		base.Floats[i] = float32(v)
	}
	y := m.Op("MatMul", m.Tensor(base), m.OpAttr("Transpose", onnx.Attrs("perm", []int64{0, 2, 1}), m.in(0)))
	m.last(0, "Reshape", nil, y, m.Ints(append(target, int64(rank))...))
	return nil
}

func lowerLpNorm(m *lowering) error {
	x := m.in(0)
	op := "ReduceL2"
	if m.n.Int("p", 2) == 1 {
		op = "ReduceL1"
	}
	norm := m.OpAttr(op, onnx.Attrs("keepdims", 1), x, m.Ints(m.n.Int("axis", -1)))
	m.last(0, "Div", nil, x, norm)
	return nil
}

func lowerMeanVariance(m *lowering) error {
	x := m.in(0)
	axes := m.n.Ints("axes")
	if len(axes) == 0 {
		axes = []int64{0, 2, 3}
	}
	d := m.Op("Sub", x, m.mean(x, axes...))
	v := m.mean(m.Op("Mul", d, d), axes...)
	m.last(0, "Div", nil, d, m.Op("Add", m.Op("Sqrt", v), m.num(1e-9, x)))
	return nil
}

func lowerRMSNorm(m *lowering) error {
	x := m.in(0)
	rank := m.rank(x)
	var axes []int64
	for a := axisIn(m.n.Int("axis", -1), rank); a < rank; a++ {
		axes = append(axes, int64(a))
	}
	v := m.mean(m.Op("Mul", x, x), axes...)
	r := m.Op("Sqrt", m.Op("Add", v, m.num(m.n.Float("epsilon", 1e-5), x)))
	m.last(0, "Mul", nil, m.Op("Div", x, r), m.in(1))
	return nil
}

// lowerAttention writes scaled dot-product attention as products and a softmax:
// softmax(scale·Q Kᵀ + mask) V, with the heads of K and V repeated over groups of query heads.
func lowerAttention(m *lowering) error {
	n := m.n
	for i := 4; i < len(n.In); i++ {
		if m.in(i) != "" {
			failf("operand %d (past keys and values, padding lengths) is given", i)
		}
	}
	for i := 1; i < len(n.Out); i++ {
		if n.Out[i] != "" {
			failf("result %d is asked for", i)
		}
	}
	q, k, v := m.in(0), m.in(1), m.in(2)
	flat := m.rank(q) == 3
	heads := func(x string, count int64) string {
		if m.rank(x) == 4 {
			return x
		}
		if count < 1 {
			failf("operands of rank 3 without a number of heads")
		}
		s := m.Shape(x)
		if s[2].Known() && s[2].N%count != 0 {
			failf("%d features for %d heads", s[2].N, count)
		}
		return m.OpAttr("Transpose", onnx.Attrs("perm", []int64{0, 2, 1, 3}), m.Op("Reshape", x, m.Ints(0, 0, count, -1)))
	}
	qh, kh := n.Int("q_num_heads", 0), n.Int("kv_num_heads", 0)
	q, k, v = heads(q, qh), heads(k, kh), heads(v, kh)
	sq, sk, sv := m.Shape(q), m.Shape(k), m.Shape(v)
	if len(sq) != 4 || len(sk) != 4 || len(sv) != 4 || !sq[1].Known() || !sk[1].Known() || !sq[3].Known() || !sv[3].Known() {
		failf("the number of heads or features is not known")
	}
	if sk[1].N == 0 || sq[1].N%sk[1].N != 0 {
		failf("%d query heads for %d key heads", sq[1].N, sk[1].N)
	}
	if r := sq[1].N / sk[1].N; r > 1 {
		repeat := func(x string, s []onnx.Dim) string {
			w := m.Op("Unsqueeze", x, m.Ints(2))
			w = m.Op("Expand", w, m.Ints(1, 1, r, 1, 1))
			if !s[3].Known() {
				failf("the number of features is not known")
			}
			w = m.OpAttr("Transpose", onnx.Attrs("perm", []int64{0, 3, 1, 2, 4}), w)
			w = m.Op("Reshape", w, m.Ints(0, 0, sq[1].N, s[3].N))
			return m.OpAttr("Transpose", onnx.Attrs("perm", []int64{0, 2, 1, 3}), w)
		}
		k, v = repeat(k, sk), repeat(v, sv)
	}
	scale := n.Float("scale", 0)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(sq[3].N))
	}
	score := m.Op("MatMul", m.Op("Mul", q, m.num(scale, q)), m.OpAttr("Transpose", onnx.Attrs("perm", []int64{0, 1, 3, 2}), k))
	bias := func(allowed string) string { // 0 where allowed, a number that no softmax survives elsewhere
		f := m.OpAttr("Cast", onnx.Attrs("to", int(m.Type(q))), m.Op("Not", allowed))
		return m.Op("Mul", f, m.num(-1e30, q))
	}
	if mask := m.in(3); mask != "" {
		if m.Type(mask) == onnx.Bool {
			mask = bias(mask)
		}
		score = m.Op("Add", score, mask)
	}
	causal, left, right := n.Int("is_causal", 0) != 0, n.Int("left_window_size", -1), n.Int("right_window_size", -1)
	if causal || left >= 0 || right >= 0 {
		if !sq[2].Known() || !sk[2].Known() || sq[2].N*sk[2].N > rewrite.MaxFolded {
			failf("the lengths of an attention that is causal or has a window are not known")
		}
		rows, cols := sq[2].N, sk[2].N
		c := onnx.FloatTensor(make([]float32, rows*cols), rows, cols)
		for i := range rows {
			for j := range cols {
				if causal && j > i || left >= 0 && j < i-left || right >= 0 && j > i+right {
					c.Floats[i*cols+j] = -1e30
				}
			}
		}
		score = m.Op("Add", score, m.Tensor(c))
	}
	if cap := n.Float("softcap", 0); cap != 0 {
		return fmt.Errorf("%s: %w: softcap is set", where(n, m.G.Opset[""]), ErrNoRule)
	}
	y := m.Op("MatMul", m.OpAttr("Softmax", onnx.Attrs("axis", -1), score), v)
	if !flat {
		m.last(0, "Identity", nil, y)
		return nil
	}
	m.last(0, "Reshape", nil, m.OpAttr("Transpose", onnx.Attrs("perm", []int64{0, 2, 1, 3}), y), m.Ints(0, 0, sq[1].N*sv[3].N))
	return nil
}

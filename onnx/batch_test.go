package onnx

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// rowsCase is a network of z [N, 6] with the result y [N, …]; mixes says whether a row of y depends on the others.
type rowsCase struct {
	name  string
	mixes bool
	build func(b *Builder) string
}

var rowsCases = []rowsCase{
	{"product and activation", false, func(b *Builder) string { return b.Op("Tanh", b.Op("MatMul", "z", draw(b, 6, 5))) }},
	{"convolutions", false, func(b *Builder) string {
		x := b.Op("Reshape", "z", b.Ints(-1, 6, 1, 1))
		x = b.OpAttr("ConvTranspose", attrs("strides", []int64{2, 2}), x, draw(b, 6, 4, 3, 3))
		return b.Op("Relu", normOf(b, x, 4, nil))
	}},
	{"softmax over latents", false, func(b *Builder) string { return b.OpAttr("Softmax", attrs("axis", 1), "z") }},
	{"turned and turned back", false, func(b *Builder) string {
		return b.OpAttr("Transpose", attrs("perm", []int64{1, 0}), b.Op("Exp", b.OpAttr("Transpose", attrs("perm", []int64{1, 0}), "z")))
	}},
	{"rows laid end to end and back", false, func(b *Builder) string {
		return b.Op("Reshape", b.Op("Sin", b.Op("Reshape", "z", b.Ints(-1))), b.Ints(-1, 6))
	}},
	{"attention over parts of a row", false, func(b *Builder) string {
		x := b.Op("Reshape", "z", b.Ints(-1, 3, 2))
		return b.OpAttr("Einsum", attrs("equation", "nij,nkj->nik"), x, x)
	}},
	{"normalisation of a row", false, func(b *Builder) string {
		return b.OpAttr("LayerNormalization", attrs("axis", -1), "z", b.Tensor(FloatTensor([]float32{1, 2, 3, 4, 5, 6}, 6)))
	}},
	{"mean over the batch", true, func(b *Builder) string {
		return b.Op("Mul", "z", b.OpAttr("ReduceMean", attrs("keepdims", 1), "z", b.Ints(0)))
	}},
	{"normalisation over the batch", true, func(b *Builder) string {
		x := b.Op("Reshape", "z", b.Ints(-1, 2, 3))
		return normOf(b, x, 2, attrs("training_mode", 1))
	}},
	{"softmax over the batch", true, func(b *Builder) string { return b.OpAttr("Softmax", attrs("axis", 0), "z") }},
	{"running sum over the batch", true, func(b *Builder) string {
		return b.Op("CumSum", "z", b.Tensor(IntTensor([]int64{0})))
	}},
	{"rows in another order", true, func(b *Builder) string {
		return b.Op("Slice", "z", b.Ints(-1), b.Ints(math.MinInt32), b.Ints(0), b.Ints(-1))
	}},
	{"first row added to all", true, func(b *Builder) string {
		return b.Op("Add", "z", b.OpAttr("Gather", attrs("axis", 0), "z", b.Ints(0)))
	}},
	{"divided by the number of rows", true, func(b *Builder) string {
		return b.Op("Div", "z", b.OpAttr("Cast", attrs("to", int(Float32)), b.OpAttr("Shape", attrs("start", 0, "end", 1), "z")))
	}},
	{"rows multiplied with each other", true, func(b *Builder) string {
		return b.Op("MatMul", b.Op("MatMul", "z", b.OpAttr("Transpose", attrs("perm", []int64{1, 0}), "z")), "z")
	}},
	{"a large batch maximum switches", true, func(b *Builder) string {
		return b.Op("Where", b.Op("Greater", b.OpAttr("ReduceMax", attrs("keepdims", 1), "z", b.Ints(0)), b.Scalar(1e6)), b.Op("Neg", "z"), "z")
	}},
	{"rows scaled by their place", true, func(b *Builder) string {
		n := b.OpAttr("Squeeze", nil, b.OpAttr("Shape", attrs("start", 0, "end", 1), "z"))
		k := b.Op("Range", b.Tensor(IntTensor([]int64{0})), n, b.Tensor(IntTensor([]int64{1})))
		return b.Op("Mul", "z", b.Op("Unsqueeze", b.OpAttr("Cast", attrs("to", int(Float32)), k), b.Ints(1)))
	}},
}

func (c rowsCase) graph(t *testing.T) *Graph {
	t.Helper()
	g := &Graph{Name: c.name, Opset: map[string]int{"": 18}, Inputs: []Value{{Name: "z", Type: Float32, Shape: []Dim{{N: 1, Sym: "N"}, num(6)}}}}
	b := NewBuilder(g, "n_")
	b.OutputAs("y", c.build(b))
	if b.Err() != nil {
		t.Fatal(c.name, b.Err())
	}
	return g
}

// The verdict on each network is compared with what the evaluator makes of rows together and one by one.
func TestRowsOfABatchStandApart(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, c := range rowsCases {
		g := c.graph(t)
		e, err := NewEvaluator(g)
		if err != nil {
			t.Fatal(c.name, err)
		}
		const rows = 4
		z := make([]float64, 6*rows)
		for i := range z {
			z[i] = 3 * rng.NormFloat64()
		}
		if c.name == "a large batch maximum switches" {
			z[len(z)-1] = 2e6 // what draws of latents never show
		}
		of := func(v []float64) []float64 {
			out, err := e.Run(map[string]*Array{"z": FloatArray(v, int64(len(v)/6), 6)})
			if err != nil {
				t.Fatal(c.name, err)
			}
			return out["y"].F
		}
		all, apart := of(z), 0.0
		for k := range rows {
			one := of(z[6*k : 6*k+6])
			for i, v := range one {
				apart = max(apart, math.Abs(v-all[k*len(one)+i]))
			}
		}
		if c.mixes != (apart > 1e-9) {
			t.Fatalf("%s: rows together and alone differ by %g", c.name, apart)
		}
		opt := DiffOptions{Wrt: []string{"z"}, Of: []string{"y"}}
		if err := g.Apart(opt, nil); (err != nil) != c.mixes || err != nil && !errors.Is(err, ErrRows) {
			t.Errorf("%s: found verdict %v, expected mixing %v", c.name, err, c.mixes)
		}
	}
}

// Columns of the Jacobian at one row are compared with central differences of the graph at that row.
func TestJacobianOfNetworksThatMixRowsIsThatOfOneRow(t *testing.T) {
	for _, c := range rowsCases {
		g := c.graph(t)
		e, err := NewEvaluator(g)
		if err != nil {
			t.Fatal(err)
		}
		z := []float64{0.3, -1.1, 0.7, 1.9, -0.4, 0.2}
		of := func(v []float64) []float64 {
			out, err := e.Run(map[string]*Array{"z": FloatArray(v, 1, 6)})
			if err != nil {
				t.Fatal(c.name, err)
			}
			return out["y"].F
		}
		j, err := Jacobian(g, DiffOptions{Wrt: []string{"z"}, Of: []string{"y"}, Columns: 6, Exact: true})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		je, err := NewEvaluator(j)
		if err != nil {
			t.Fatal(err)
		}
		eye := make([]float64, 36)
		for k := range 6 {
			eye[7*k] = 1
		}
		in := map[string]*Array{"tangent_z": FloatArray(eye, 6, 6)}
		for _, v := range j.Inputs {
			if v.Name == "z" {
				in["z"] = FloatArray(z, 1, 6)
			}
		}
		out, err := je.Run(in)
		if err != nil {
			t.Fatal(c.name, err)
		}
		got := out["tangent_y"]
		n := len(of(z))
		if len(got.F) != 6*n || got.Shape[0] != 6 {
			t.Errorf("%s: tangents of shape %v, expected 6 rows of %d", c.name, got.Shape, n)
			continue
		}
		const h = 1e-5
		for k := range 6 {
			at := func(d float64) []float64 {
				v := append([]float64{}, z...)
				v[k] += d
				return of(v)
			}
			plus, minus := at(h), at(-h)
			for i := range n {
				want := (plus[i] - minus[i]) / (2 * h)
				if d := math.Abs(got.F[k*n+i] - want); !(d < 1e-6*(1+math.Abs(want))) {
					t.Errorf("%s: ∂y[%d]/∂z[%d] is %g, differences give %g", c.name, i, k, got.F[k*n+i], want)
				}
			}
		}
	}
}

// A condition of all rows of a batch mixes them at every depth, also where no run of a few rows shows it: here the sum
// of squares would have to reach 1e12.
func TestConditionsInBodiesMixRows(t *testing.T) {
	one := func(op, in string) Attr {
		return Attr{Kind: AttrGraph, Graph: &Graph{Nodes: []*Node{{Op: op, In: []string{in}, Out: []string{op + "v"}}}, Outputs: []Value{{Name: op + "v"}}}}
	}
	nodes := []*Node{
		{Op: "ReduceSumSquare", In: []string{"z"}, Out: []string{"s"}, Attr: attrs("keepdims", 0)}, {Op: "Less", In: []string{"s", "far"}, Out: []string{"c"}},
		{Op: "If", Name: "inner", In: []string{"c"}, Out: []string{"v"}, Attr: map[string]Attr{"then_branch": one("Sin", "z"), "else_branch": one("Cos", "z")}},
	}
	loop := &Graph{Inputs: []Value{{"i", Int64, []Dim{}}, {"on", Bool, []Dim{}}, {"x", Float32, nil}},
		Nodes: []*Node{
			{Op: "Sin", In: []string{"x"}, Out: []string{"x2"}}, {Op: "ReduceSumSquare", In: []string{"x2"}, Out: []string{"t"}, Attr: attrs("keepdims", 0)},
			{Op: "Greater", In: []string{"t", "far"}, Out: []string{"on2"}},
		}, Outputs: []Value{{Name: "on2"}, {Name: "x2"}}}
	for name, n := range map[string]*Node{
		"loop": {Op: "Loop", Name: "turns", In: []string{"three", "", "z"}, Out: []string{"y"}, Attr: map[string]Attr{"body": {Kind: AttrGraph, Graph: loop}}},
		"branch": {Op: "If", Name: "outer", In: []string{"yes"}, Out: []string{"y"}, Attr: map[string]Attr{"else_branch": one("Tanh", "z"),
			"then_branch": {Kind: AttrGraph, Graph: &Graph{Nodes: nodes, Outputs: []Value{{Name: "v"}}}}}},
	} {
		g := &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{"z", Float32, []Dim{{1, "N"}, {N: 4}}}}, Outputs: []Value{{"y", Float32, []Dim{{1, "N"}, {N: 4}}}},
			Init:  map[string]*Tensor{"far": FloatTensor([]float32{1e12}, []int64{}...), "three": IntTensor([]int64{3}), "yes": {Type: Bool, Shape: []int64{}, Ints: []int64{1}}},
			Nodes: []*Node{n}}
		if name == "branch" {
			g.Nodes = []*Node{{Op: "ReduceSumSquare", In: []string{"k"}, Out: []string{"q"}, Attr: attrs("keepdims", 0)}, {Op: "Less", In: []string{"q", "far"}, Out: []string{"yes"}}, n}
			delete(g.Init, "yes")
			g.Inputs = append(g.Inputs, Value{"k", Float32, dimsOf(2)})
		}
		if err := g.Apart(DiffOptions{Wrt: []string{"z"}}, nil); !errors.Is(err, ErrRows) || !strings.Contains(err.Error(), "works across them") {
			t.Errorf("%s: found %v, expected that it works across the rows", name, err)
		}
	}
}

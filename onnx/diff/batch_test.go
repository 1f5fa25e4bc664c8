package diff

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/graphtest"
)

// rowsCase is a network of z [N, 6] with the result y [N, …]; mixes says whether a row of y depends on the others.
type rowsCase struct {
	name  string
	mixes bool
	build func(b *onnx.Builder) string
}

var rowsCases = []rowsCase{
	{"product and activation", false, func(b *onnx.Builder) string { return b.Op("Tanh", b.Op("MatMul", "z", graphtest.Draw(b, 6, 5))) }},
	{"convolutions", false, func(b *onnx.Builder) string {
		x := b.Op("Reshape", "z", b.Ints(-1, 6, 1, 1))
		x = b.OpAttr("ConvTranspose", onnx.Attrs("strides", []int64{2, 2}), x, graphtest.Draw(b, 6, 4, 3, 3))
		return b.Op("Relu", graphtest.NormOf(b, x, 4, nil))
	}},
	{"softmax over latents", false, func(b *onnx.Builder) string { return b.OpAttr("Softmax", onnx.Attrs("axis", 1), "z") }},
	{"turned and turned back", false, func(b *onnx.Builder) string {
		return b.OpAttr("Transpose", onnx.Attrs("perm", []int64{1, 0}), b.Op("Exp", b.OpAttr("Transpose", onnx.Attrs("perm", []int64{1, 0}), "z")))
	}},
	{"rows laid end to end and back", false, func(b *onnx.Builder) string {
		return b.Op("Reshape", b.Op("Sin", b.Op("Reshape", "z", b.Ints(-1))), b.Ints(-1, 6))
	}},
	{"attention over parts of a row", false, func(b *onnx.Builder) string {
		x := b.Op("Reshape", "z", b.Ints(-1, 3, 2))
		return b.OpAttr("Einsum", onnx.Attrs("equation", "nij,nkj->nik"), x, x)
	}},
	{"normalisation of a row", false, func(b *onnx.Builder) string {
		return b.OpAttr("LayerNormalization", onnx.Attrs("axis", -1), "z", b.Tensor(onnx.FloatTensor([]float32{1, 2, 3, 4, 5, 6}, 6)))
	}},
	{"mean over the batch", true, func(b *onnx.Builder) string {
		return b.Op("Mul", "z", b.OpAttr("ReduceMean", onnx.Attrs("keepdims", 1), "z", b.Ints(0)))
	}},
	{"normalisation over the batch", true, func(b *onnx.Builder) string {
		x := b.Op("Reshape", "z", b.Ints(-1, 2, 3))
		return graphtest.NormOf(b, x, 2, onnx.Attrs("training_mode", 1))
	}},
	{"softmax over the batch", true, func(b *onnx.Builder) string { return b.OpAttr("Softmax", onnx.Attrs("axis", 0), "z") }},
	{"running sum over the batch", true, func(b *onnx.Builder) string {
		return b.Op("CumSum", "z", b.Tensor(onnx.IntTensor([]int64{0})))
	}},
	{"rows in another order", true, func(b *onnx.Builder) string {
		return b.Op("Slice", "z", b.Ints(-1), b.Ints(math.MinInt32), b.Ints(0), b.Ints(-1))
	}},
	{"first row added to all", true, func(b *onnx.Builder) string {
		return b.Op("Add", "z", b.OpAttr("Gather", onnx.Attrs("axis", 0), "z", b.Ints(0)))
	}},
	{"divided by the number of rows", true, func(b *onnx.Builder) string {
		return b.Op("Div", "z", b.OpAttr("Cast", onnx.Attrs("to", int(onnx.Float32)), b.OpAttr("Shape", onnx.Attrs("start", 0, "end", 1), "z")))
	}},
	{"rows multiplied with each other", true, func(b *onnx.Builder) string {
		return b.Op("MatMul", b.Op("MatMul", "z", b.OpAttr("Transpose", onnx.Attrs("perm", []int64{1, 0}), "z")), "z")
	}},
	{"a large batch maximum switches", true, func(b *onnx.Builder) string {
		return b.Op("Where", b.Op("Greater", b.OpAttr("ReduceMax", onnx.Attrs("keepdims", 1), "z", b.Ints(0)), b.Scalar(1e6)), b.Op("Neg", "z"), "z")
	}},
	{"rows scaled by their place", true, func(b *onnx.Builder) string {
		n := b.OpAttr("Squeeze", nil, b.OpAttr("Shape", onnx.Attrs("start", 0, "end", 1), "z"))
		k := b.Op("Range", b.Tensor(onnx.IntTensor([]int64{0})), n, b.Tensor(onnx.IntTensor([]int64{1})))
		return b.Op("Mul", "z", b.Op("Unsqueeze", b.OpAttr("Cast", onnx.Attrs("to", int(onnx.Float32)), k), b.Ints(1)))
	}},
}

func (c rowsCase) graph(t *testing.T) *onnx.Graph {
	t.Helper()
	g := &onnx.Graph{Name: c.name, Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "N"}, onnx.Fixed(6)}}}}
	b := onnx.NewBuilder(g, "n_")
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
		e, err := eval.New(g)
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
			out, err := e.Run(map[string]*eval.Array{"z": eval.FloatArray(v, int64(len(v)/6), 6)})
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
		opt := Options{Wrt: []string{"z"}, Of: []string{"y"}}
		if err := Apart(g, opt, nil); (err != nil) != c.mixes || err != nil && !errors.Is(err, ErrRows) {
			t.Errorf("%s: found verdict %v, expected mixing %v", c.name, err, c.mixes)
		}
	}
}

// Columns of the Jacobian at one row are compared with central differences of the graph at that row.
func TestJacobianOfNetworksThatMixRowsIsThatOfOneRow(t *testing.T) {
	for _, c := range rowsCases {
		g := c.graph(t)
		e, err := eval.New(g)
		if err != nil {
			t.Fatal(err)
		}
		z := []float64{0.3, -1.1, 0.7, 1.9, -0.4, 0.2}
		of := func(v []float64) []float64 {
			out, err := e.Run(map[string]*eval.Array{"z": eval.FloatArray(v, 1, 6)})
			if err != nil {
				t.Fatal(c.name, err)
			}
			return out["y"].F
		}
		j, err := Jacobian(g, Options{Wrt: []string{"z"}, Of: []string{"y"}, Columns: 6, Exact: true})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		je, err := eval.New(j)
		if err != nil {
			t.Fatal(err)
		}
		eye := make([]float64, 36)
		for k := range 6 {
			eye[7*k] = 1
		}
		in := map[string]*eval.Array{"tangent_z": eval.FloatArray(eye, 6, 6)}
		for _, v := range j.Inputs {
			if v.Name == "z" {
				in["z"] = eval.FloatArray(z, 1, 6)
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
	one := func(op, in string) onnx.Attr {
		return onnx.Attr{Kind: onnx.AttrGraph, Graph: &onnx.Graph{Nodes: []*onnx.Node{{Op: op, In: []string{in}, Out: []string{op + "v"}}}, Outputs: []onnx.Value{{Name: op + "v"}}}}
	}
	nodes := []*onnx.Node{
		{Op: "ReduceSumSquare", In: []string{"z"}, Out: []string{"s"}, Attr: onnx.Attrs("keepdims", 0)}, {Op: "Less", In: []string{"s", "far"}, Out: []string{"c"}},
		{Op: "If", Name: "inner", In: []string{"c"}, Out: []string{"v"}, Attr: map[string]onnx.Attr{"then_branch": one("Sin", "z"), "else_branch": one("Cos", "z")}},
	}
	loop := &onnx.Graph{Inputs: []onnx.Value{{Name: "i", Type: onnx.Int64, Shape: []onnx.Dim{}}, {Name: "on", Type: onnx.Bool, Shape: []onnx.Dim{}}, {Name: "x", Type: onnx.Float32, Shape: nil}},
		Nodes: []*onnx.Node{
			{Op: "Sin", In: []string{"x"}, Out: []string{"x2"}}, {Op: "ReduceSumSquare", In: []string{"x2"}, Out: []string{"t"}, Attr: onnx.Attrs("keepdims", 0)},
			{Op: "Greater", In: []string{"t", "far"}, Out: []string{"on2"}},
		}, Outputs: []onnx.Value{{Name: "on2"}, {Name: "x2"}}}
	for name, n := range map[string]*onnx.Node{
		"loop": {Op: "Loop", Name: "turns", In: []string{"three", "", "z"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{"body": {Kind: onnx.AttrGraph, Graph: loop}}},
		"branch": {Op: "If", Name: "outer", In: []string{"yes"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{"else_branch": one("Tanh", "z"),
			"then_branch": {Kind: onnx.AttrGraph, Graph: &onnx.Graph{Nodes: nodes, Outputs: []onnx.Value{{Name: "v"}}}}}},
	} {
		g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "N"}, {N: 4}}}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "N"}, {N: 4}}}},
			Init:  map[string]*onnx.Tensor{"far": onnx.FloatTensor([]float32{1e12}, []int64{}...), "three": onnx.IntTensor([]int64{3}), "yes": {Type: onnx.Bool, Shape: []int64{}, Ints: []int64{1}}},
			Nodes: []*onnx.Node{n}}
		if name == "branch" {
			g.Nodes = []*onnx.Node{{Op: "ReduceSumSquare", In: []string{"k"}, Out: []string{"q"}, Attr: onnx.Attrs("keepdims", 0)}, {Op: "Less", In: []string{"q", "far"}, Out: []string{"yes"}}, n}
			delete(g.Init, "yes")
			g.Inputs = append(g.Inputs, onnx.Value{Name: "k", Type: onnx.Float32, Shape: graphtest.DimsOf(2)})
		}
		if err := Apart(g, Options{Wrt: []string{"z"}}, nil); !errors.Is(err, ErrRows) || !strings.Contains(err.Error(), "works across them") {
			t.Errorf("%s: found %v, expected that it works across the rows", name, err)
		}
	}
}

package onnx

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// evalOn runs g in the evaluator on standard normal inputs drawn from seed; symbols are 2.
func evalOn(t *testing.T, g *Graph, seed uint64) map[string]*Array {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	feed := map[string]*Array{}
	for _, v := range g.Inputs {
		n := int64(1)
		shape := []int64{}
		for _, d := range v.Shape {
			e := d.N
			if !d.Known() {
				e *= 2
			}
			shape = append(shape, e)
			n *= e
		}
		a := &Array{Type: v.Type, Shape: shape}
		for range n {
			if v.Type.IsFloat() {
				a.F = append(a.F, rng.NormFloat64())
			} else {
				a.I = append(a.I, 1)
			}
		}
		feed[v.Name] = a
	}
	e, err := NewEvaluator(g)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Run(feed)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sameResults fails unless two graphs give the same outputs to tol times the largest value.
func sameResults(t *testing.T, a, b *Graph, tol float64) {
	t.Helper()
	want, got := evalOn(t, a, 7), evalOn(t, b, 7)
	for name, w := range want {
		g := got[name]
		if g == nil || len(g.F) != len(w.F) {
			t.Errorf("output %q: shapes differ", name)
			continue
		}
		scale, worst := 0.0, 0.0
		for i := range w.F {
			scale = max(scale, math.Abs(w.F[i]))
			worst = max(worst, math.Abs(w.F[i]-g.F[i]))
		}
		if !(worst <= tol*scale) {
			t.Errorf("output %q: differs by %g of %g", name, worst, scale)
		}
	}
}

func TestFoldKeepsWhatDecodersCompute(t *testing.T) {
	for _, path := range decoders(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			g, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			before, err := g.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			h, err := g.Fold()
			if err != nil {
				t.Fatal(err)
			}
			if after, _ := g.Marshal(); string(after) != string(before) {
				t.Error("Fold changed the graph it was given")
			}
			if err := h.Check(); err != nil {
				t.Fatal(err)
			}
			if len(h.Nodes) > len(g.Nodes) {
				t.Errorf("%d nodes became %d", len(g.Nodes), len(h.Nodes))
			}
			for _, n := range h.Nodes {
				switch n.Op {
				case "Shape", "BatchNormalization", "Identity", "Dropout", "Where":
					t.Errorf("node %q (%s) is left", n.Name, n.Op)
				}
			}
			t.Logf("%d nodes became %d", len(g.Nodes), len(h.Nodes))
			sameResults(t, g, h, 2e-6)
		})
	}
}

// rewriteCase is a small graph and whether a rewrite must fire on it.
type rewriteCase struct {
	rule, name string
	fires      bool
	build      func(b *Builder) string
}

// draw makes a constant of normal numbers.
func draw(b *Builder, shape ...int64) string {
	rng := rand.New(rand.NewPCG(uint64(len(b.G.Init)), 5))
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return b.Tensor(FloatTensor(v, shape...))
}

// positive makes a constant of positive numbers.
func positive(b *Builder, n int64) string {
	v := make([]float32, n)
	for i := range v {
		v[i] = 0.5 + float32(i)/4
	}
	return b.Tensor(FloatTensor(v, n))
}

func normOf(b *Builder, x string, c int64, attr map[string]Attr) string {
	return b.OpAttr("BatchNormalization", attr, x, draw(b, c), draw(b, c), draw(b, c), positive(b, c))
}

// resizeTo resizes x to h by w with sizes that follow its batch.
func resizeTo(b *Builder, h, w int64) string {
	n := b.Op("Slice", b.Op("Shape", "x"), b.Ints(0), b.Ints(2))
	sizes := b.OpAttr("Concat", map[string]Attr{"axis": IntAttr(0)}, n, b.Ints(h, w))
	return b.OpAttr("Resize", map[string]Attr{"mode": StringAttr("linear")}, "x", "", "", sizes)
}

var rewriteCases = []rewriteCase{
	{"normalisation into product", "Conv", true, func(b *Builder) string {
		return normOf(b, b.Op("Conv", "x", draw(b, 6, 4, 3, 3)), 6, nil)
	}},
	{"normalisation into product", "Conv in groups with bias", true, func(b *Builder) string {
		return normOf(b, b.OpAttr("Conv", map[string]Attr{"group": IntAttr(2)}, "x", draw(b, 6, 2, 3, 3), draw(b, 6)), 6, nil)
	}},
	{"normalisation into product", "ConvTranspose in groups", true, func(b *Builder) string {
		return normOf(b, b.OpAttr("ConvTranspose", map[string]Attr{"group": IntAttr(2)}, "x", draw(b, 4, 3, 2, 2), draw(b, 6)), 6, nil)
	}},
	{"normalisation into product", "Gemm with alpha, beta and transB", true, func(b *Builder) string {
		f := b.Op("Flatten", "x")
		return normOf(b, b.OpAttr("Gemm", map[string]Attr{"alpha": FloatAttr(2), "beta": FloatAttr(3), "transB": IntAttr(1)}, f, draw(b, 5, 100), draw(b, 1, 5)), 5, nil)
	}},
	{"normalisation into product", "MatMul", true, func(b *Builder) string {
		return normOf(b, b.Op("MatMul", b.Op("Flatten", "x"), draw(b, 100, 5)), 5, nil)
	}},
	{"normalisation into product", "MatMul of rank 4", false, func(b *Builder) string {
		return normOf(b, b.Op("MatMul", "x", draw(b, 5, 5)), 4, nil)
	}},
	{"normalisation into product", "batch statistics", false, func(b *Builder) string {
		return normOf(b, b.Op("Conv", "x", draw(b, 6, 4, 3, 3)), 6, map[string]Attr{"training_mode": IntAttr(1)})
	}},
	{"normalisation into product", "result used twice", false, func(b *Builder) string {
		y := b.Op("Conv", "x", draw(b, 4, 4, 1, 1))
		return b.Op("Add", normOf(b, y, 4, nil), y)
	}},
	{"normalisation into product", "no product before", false, func(b *Builder) string { return normOf(b, b.Op("Relu", "x"), 4, nil) }},
	{"normalisation into product", "weights that are no constant", false, func(b *Builder) string {
		w := b.Op("Slice", "x", b.Ints(0), b.Ints(1), b.Ints(0))
		return normOf(b, b.Op("Conv", "x", w), 1, nil)
	}},
	{"scale or bias into product", "bias per channel", true, func(b *Builder) string {
		return b.Op("Add", draw(b, 6, 1, 1), b.Op("Conv", "x", draw(b, 6, 4, 1, 1)))
	}},
	{"scale or bias into product", "division by a number", true, func(b *Builder) string {
		return b.Op("Div", b.Op("Conv", "x", draw(b, 6, 4, 1, 1), draw(b, 6)), b.Scalar(3))
	}},
	{"scale or bias into product", "bias per column", false, func(b *Builder) string {
		return b.Op("Add", b.Op("Conv", "x", draw(b, 5, 4, 1, 1)), draw(b, 5))
	}},
	{"scale or bias into product", "number over product", false, func(b *Builder) string {
		return b.Op("Div", b.Scalar(3), b.Op("Conv", "x", draw(b, 5, 4, 1, 1)))
	}},
	{"product and bias", "row", true, func(b *Builder) string {
		return b.Op("Add", b.Op("MatMul", b.Op("Flatten", "x"), draw(b, 100, 7)), draw(b, 7))
	}},
	{"product and bias", "weights that are no constant", true, func(b *Builder) string {
		w := b.Op("Reshape", b.Op("ReduceMean", "x", b.Ints(0)), b.Ints(100, 1))
		return b.Op("Add", b.Op("MatMul", b.Op("Flatten", "x"), w), b.Scalar(2))
	}},
	{"product and bias", "column", false, func(b *Builder) string {
		return b.Op("Add", b.Op("MatMul", b.Op("Flatten", "x"), draw(b, 100, 7)), draw(b, 2, 1))
	}},
	{"product and bias", "product of rank 4", false, func(b *Builder) string {
		return b.Op("Add", b.Op("MatMul", "x", draw(b, 5, 7)), draw(b, 7))
	}},
	{"convolution of one pixel", "cropped", true, func(b *Builder) string {
		x := b.Op("GlobalAveragePool", "x")
		return b.OpAttr("ConvTranspose", map[string]Attr{"pads": IntsAttr(1, 0, 0, 2), "strides": IntsAttr(2, 2)}, x, draw(b, 4, 3, 4, 5), draw(b, 3))
	}},
	{"convolution of one pixel", "without bias", true, func(b *Builder) string {
		return b.Op("ConvTranspose", b.Op("GlobalAveragePool", "x"), draw(b, 4, 3, 4, 4))
	}},
	{"convolution of one pixel", "five pixels", false, func(b *Builder) string { return b.Op("ConvTranspose", "x", draw(b, 4, 3, 4, 4)) }},
	{"convolution of one pixel", "output padding", false, func(b *Builder) string {
		return b.OpAttr("ConvTranspose", map[string]Attr{"output_padding": IntsAttr(1, 0), "strides": IntsAttr(2, 2)}, b.Op("GlobalAveragePool", "x"), draw(b, 4, 3, 4, 4))
	}},
	{"convolution of one pixel", "dilation", false, func(b *Builder) string {
		return b.OpAttr("ConvTranspose", map[string]Attr{"dilations": IntsAttr(2, 1)}, b.Op("GlobalAveragePool", "x"), draw(b, 4, 3, 4, 4))
	}},
	{"padding into convolution", "zeros", true, func(b *Builder) string {
		return b.OpAttr("Conv", map[string]Attr{"pads": IntsAttr(1, 0, 0, 1)}, b.Op("Pad", "x", b.Ints(0, 0, 1, 2, 0, 0, 3, 0)), draw(b, 3, 4, 3, 3))
	}},
	{"padding into convolution", "reflected", false, func(b *Builder) string {
		return b.Op("Conv", b.OpAttr("Pad", map[string]Attr{"mode": StringAttr("reflect")}, "x", b.Ints(0, 0, 1, 2, 0, 0, 3, 0)), draw(b, 3, 4, 3, 3))
	}},
	{"padding into convolution", "ones", false, func(b *Builder) string {
		return b.Op("Conv", b.Op("Pad", "x", b.Ints(0, 0, 1, 2, 0, 0, 3, 0), b.Scalar(1)), draw(b, 3, 4, 3, 3))
	}},
	{"padding into convolution", "channels", false, func(b *Builder) string {
		return b.Op("Conv", b.Op("Pad", "x", b.Ints(0, 1, 0, 0, 0, 0, 0, 0)), draw(b, 3, 5, 3, 3))
	}},
	{"padding into convolution", "cropping", false, func(b *Builder) string {
		return b.Op("Conv", b.Op("Pad", "x", b.Ints(0, 0, -1, 0, 0, 0, 0, 0)), draw(b, 3, 4, 3, 3))
	}},
	{"guarded softplus", "threshold 20", true, func(b *Builder) string {
		return b.Op("Where", b.Op("Greater", "x", b.Scalar(20)), "x", b.Op("Softplus", "x"))
	}},
	{"guarded softplus", "threshold 1", false, func(b *Builder) string {
		return b.Op("Where", b.Op("Greater", "x", b.Scalar(1)), "x", b.Op("Softplus", "x"))
	}},
	{"guarded softplus", "another value", false, func(b *Builder) string {
		return b.Op("Where", b.Op("Greater", "x", b.Scalar(20)), b.Op("Neg", "x"), b.Op("Softplus", "x"))
	}},
	{"resize by a factor", "double", true, func(b *Builder) string { return resizeTo(b, 10, 15) }},
	{"resize by a factor", "seven fifths", false, func(b *Builder) string { return resizeTo(b, 7, 10) }},
	{"transpose of a transpose", "three axes", true, func(b *Builder) string {
		y := b.OpAttr("Transpose", map[string]Attr{"perm": IntsAttr(1, 2, 3, 0)}, "x")
		return b.OpAttr("Transpose", map[string]Attr{"perm": IntsAttr(0, 2, 1, 3)}, y)
	}},
	{"transpose of a transpose", "one", false, func(b *Builder) string { return b.Op("Transpose", "x") }},
	{"reshape of a reshape", "two", true, func(b *Builder) string {
		return b.Op("Reshape", b.Op("Flatten", "x"), b.Ints(-1, 10, 10))
	}},
	{"reshape of a reshape", "computed target", true, func(b *Builder) string {
		n := b.Op("Gather", b.Op("Shape", "x"), b.Ints(0))
		return b.Op("Reshape", "x", b.OpAttr("Concat", map[string]Attr{"axis": IntAttr(0)}, n, b.Ints(10, 10)))
	}},
	{"reshape of a reshape", "one", false, func(b *Builder) string { return b.Op("Reshape", "x", b.Ints(-1, 10, 10)) }},
	{"dropout at inference", "plain", true, func(b *Builder) string { return b.Op("Dropout", "x", b.Scalar(0.3)) }},
	{"dropout at inference", "mask in use", false, func(b *Builder) string {
		out := b.OpN("Dropout", 2, nil, "x")
		return b.Op("Where", out[1], "x", out[0])
	}},
	{"node without effect", "slice of all", true, func(b *Builder) string {
		return b.Op("Relu", b.Op("Slice", "x", b.Ints(0), b.Ints(math.MaxInt64), b.Ints(2)))
	}},
	{"node without effect", "slice backwards", false, func(b *Builder) string {
		return b.Op("Relu", b.Op("Slice", "x", b.Ints(-1), b.Ints(math.MinInt64), b.Ints(2), b.Ints(-1)))
	}},
	{"node without effect", "transpose of equal extents", false, func(b *Builder) string {
		return b.OpAttr("Transpose", map[string]Attr{"perm": IntsAttr(0, 1, 3, 2)}, "x")
	}},
	{"node without effect", "shift by padding", false, func(b *Builder) string {
		return b.Op("Pad", "x", b.Ints(0, 0, 0, 1, 0, 0, 0, -1))
	}},
	{"node without effect", "resize by a factor that rounds to one", false, func(b *Builder) string {
		return b.Op("Resize", "x", "", b.Tensor(FloatTensor([]float32{1, 1, 1.1, 1}, 4)))
	}},
	{"node without effect", "expand", true, func(b *Builder) string { return b.Op("Relu", b.Op("Expand", "x", b.Ints(1, 5))) }},
	{"neutral number", "x + 0", true, func(b *Builder) string { return b.Op("Relu", b.Op("Add", b.Scalar(0), "x")) }},
	{"neutral number", "0 - x", false, func(b *Builder) string { return b.Op("Relu", b.Op("Sub", b.Scalar(0), "x")) }},
	{"neutral number", "1 / x", false, func(b *Builder) string { return b.Op("Relu", b.Op("Div", b.Scalar(1), "x")) }},
	{"neutral number", "raised rank", false, func(b *Builder) string {
		return b.Op("Relu", b.Op("Mul", "x", b.Tensor(FloatTensor([]float32{1}, 1, 1, 1, 1, 1))))
	}},
}

func TestRewritesFireWhereTheyMust(t *testing.T) {
	rows := map[string]rewriteRow{}
	for _, r := range append(append([]rewriteRow{}, foldRows...), lateRows...) {
		rows[r.name] = r
	}
	tested := map[string]map[bool]bool{}
	for _, c := range rewriteCases {
		row, ok := rows[c.rule]
		if !ok {
			t.Fatalf("no rewrite %q", c.rule)
		}
		if tested[c.rule] == nil {
			tested[c.rule] = map[bool]bool{}
		}
		tested[c.rule][c.fires] = true
		t.Run(c.rule+"/"+c.name, func(t *testing.T) {
			g := caseGraph(t, c)
			f := newFolder(g, []rewriteRow{row})
			h, err := f.run()
			if err != nil {
				t.Fatal(err)
			}
			if fired := f.fired > 0; fired != c.fires {
				t.Errorf("fired: %v, expected %v", fired, c.fires)
			}
			sameResults(t, g, h, 2e-6)
			all, err := g.Fold()
			if err != nil {
				t.Fatal(err)
			}
			if err := all.Check(); err != nil {
				t.Error(err)
			}
			sameResults(t, g, all, 2e-6)
		})
	}
	for name := range rows {
		if name != "identity" && (!tested[name][true] || !tested[name][false]) {
			t.Errorf("rewrite %q: no case in which it fires, or none in which it does not", name)
		}
	}
}

// caseGraph builds a case over the input x of shape [N 4 5 5].
func caseGraph(t *testing.T, c rewriteCase) *Graph {
	t.Helper()
	g := &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{"x", Float32, []Dim{{1, "N"}, {4, ""}, {5, ""}, {5, ""}}}}}
	b := NewBuilder(g, "t_")
	b.Output(c.build(b))
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return g
}

func TestFoldSharesRepeatedNodes(t *testing.T) {
	g := caseGraph(t, rewriteCase{build: func(b *Builder) string {
		return b.Op("Mul", b.Op("Tanh", "x"), b.Op("Tanh", "x"))
	}})
	h, err := g.Fold()
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Nodes) != 2 {
		t.Errorf("found %d nodes, expected 2", len(h.Nodes))
	}
	sameResults(t, g, h, 0)
}

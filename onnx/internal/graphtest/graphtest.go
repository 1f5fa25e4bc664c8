package graphtest

import (
	"bytes"
	"log"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/checker"
)

// Network makes a graph of float inputs [2 3] and the given nodes, written "out = Op(in, in)".
func Network(inputs, outputs []string, nodes ...string) *onnx.Graph {
	g := &onnx.Graph{Name: "network", Opset: map[string]int{"": 18}, Init: map[string]*onnx.Tensor{}}
	dims := []onnx.Dim{{N: 2}, {N: 3}}
	for _, s := range inputs {
		g.Inputs = append(g.Inputs, onnx.Value{Name: s, Type: onnx.Float32, Shape: dims})
	}
	for _, s := range outputs {
		g.Outputs = append(g.Outputs, onnx.Value{Name: s, Type: onnx.Float32})
	}
	for _, line := range nodes {
		out, rest, _ := strings.Cut(line, " = ")
		op, args, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
		n := &onnx.Node{Op: op, Name: "make " + out, Out: strings.Split(out, ", ")}
		if args != "" {
			n.In = strings.Split(args, ", ")
		}
		g.Nodes = append(g.Nodes, n)
	}
	return g
}

// RewriteCase is a small graph and whether a rewrite must fire on it.
type RewriteCase struct {
	Rule, Name string
	Fires      bool
	Build      func(b *onnx.Builder) string
}

// Draw makes a constant of normal numbers.
func Draw(b *onnx.Builder, shape ...int64) string {
	rng := rand.New(rand.NewPCG(uint64(len(b.G.Init)), 5))
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return b.Tensor(onnx.FloatTensor(v, shape...))
}

// positive makes a constant of positive numbers.
func positive(b *onnx.Builder, n int64) string {
	v := make([]float32, n)
	for i := range v {
		v[i] = 0.5 + float32(i)/4
	}
	return b.Tensor(onnx.FloatTensor(v, n))
}

func NormOf(b *onnx.Builder, x string, c int64, attr map[string]onnx.Attr) string {
	return b.OpAttr("BatchNormalization", attr, x, Draw(b, c), Draw(b, c), Draw(b, c), positive(b, c))
}

// resizeTo resizes x to h by w with sizes that follow its batch.
func resizeTo(b *onnx.Builder, h, w int64) string {
	n := b.Op("Slice", b.Op("Shape", "x"), b.Ints(0), b.Ints(2))
	sizes := b.OpAttr("Concat", map[string]onnx.Attr{"axis": onnx.IntAttr(0)}, n, b.Ints(h, w))
	return b.OpAttr("Resize", map[string]onnx.Attr{"mode": onnx.StringAttr("linear")}, "x", "", "", sizes)
}

var RewriteCases = []RewriteCase{
	{"normalisation into product", "Conv", true, func(b *onnx.Builder) string {
		return NormOf(b, b.Op("Conv", "x", Draw(b, 6, 4, 3, 3)), 6, nil)
	}},
	{"normalisation into product", "Conv in groups with bias", true, func(b *onnx.Builder) string {
		return NormOf(b, b.OpAttr("Conv", map[string]onnx.Attr{"group": onnx.IntAttr(2)}, "x", Draw(b, 6, 2, 3, 3), Draw(b, 6)), 6, nil)
	}},
	{"normalisation into product", "ConvTranspose in groups", true, func(b *onnx.Builder) string {
		return NormOf(b, b.OpAttr("ConvTranspose", map[string]onnx.Attr{"group": onnx.IntAttr(2)}, "x", Draw(b, 4, 3, 2, 2), Draw(b, 6)), 6, nil)
	}},
	{"normalisation into product", "Gemm with alpha, beta and transB", true, func(b *onnx.Builder) string {
		f := b.Op("Flatten", "x")
		return NormOf(b, b.OpAttr("Gemm", map[string]onnx.Attr{"alpha": onnx.FloatAttr(2), "beta": onnx.FloatAttr(3), "transB": onnx.IntAttr(1)}, f, Draw(b, 5, 100), Draw(b, 1, 5)), 5, nil)
	}},
	{"normalisation into product", "MatMul", true, func(b *onnx.Builder) string {
		return NormOf(b, b.Op("MatMul", b.Op("Flatten", "x"), Draw(b, 100, 5)), 5, nil)
	}},
	{"normalisation into product", "MatMul of rank 4", false, func(b *onnx.Builder) string {
		return NormOf(b, b.Op("MatMul", "x", Draw(b, 5, 5)), 4, nil)
	}},
	{"normalisation into product", "batch statistics", false, func(b *onnx.Builder) string {
		return NormOf(b, b.Op("Conv", "x", Draw(b, 6, 4, 3, 3)), 6, map[string]onnx.Attr{"training_mode": onnx.IntAttr(1)})
	}},
	{"normalisation into product", "result used twice", false, func(b *onnx.Builder) string {
		y := b.Op("Conv", "x", Draw(b, 4, 4, 1, 1))
		return b.Op("Add", NormOf(b, y, 4, nil), y)
	}},
	{"normalisation into product", "no product before", false, func(b *onnx.Builder) string { return NormOf(b, b.Op("Relu", "x"), 4, nil) }},
	{"normalisation into product", "weights that are no constant", false, func(b *onnx.Builder) string {
		w := b.Op("Slice", "x", b.Ints(0), b.Ints(1), b.Ints(0))
		return NormOf(b, b.Op("Conv", "x", w), 1, nil)
	}},
	{"scale or bias into product", "bias per channel", true, func(b *onnx.Builder) string {
		return b.Op("Add", Draw(b, 6, 1, 1), b.Op("Conv", "x", Draw(b, 6, 4, 1, 1)))
	}},
	{"scale or bias into product", "division by a number", true, func(b *onnx.Builder) string {
		return b.Op("Div", b.Op("Conv", "x", Draw(b, 6, 4, 1, 1), Draw(b, 6)), b.Scalar(3))
	}},
	{"scale or bias into product", "bias per column", false, func(b *onnx.Builder) string {
		return b.Op("Add", b.Op("Conv", "x", Draw(b, 5, 4, 1, 1)), Draw(b, 5))
	}},
	{"scale or bias into product", "number over product", false, func(b *onnx.Builder) string {
		return b.Op("Div", b.Scalar(3), b.Op("Conv", "x", Draw(b, 5, 4, 1, 1)))
	}},
	{"product and bias", "row", true, func(b *onnx.Builder) string {
		return b.Op("Add", b.Op("MatMul", b.Op("Flatten", "x"), Draw(b, 100, 7)), Draw(b, 7))
	}},
	{"product and bias", "weights that are no constant", true, func(b *onnx.Builder) string {
		w := b.Op("Reshape", b.Op("ReduceMean", "x", b.Ints(0)), b.Ints(100, 1))
		return b.Op("Add", b.Op("MatMul", b.Op("Flatten", "x"), w), b.Scalar(2))
	}},
	{"product and bias", "column", false, func(b *onnx.Builder) string {
		return b.Op("Add", b.Op("MatMul", b.Op("Flatten", "x"), Draw(b, 100, 7)), Draw(b, 2, 1))
	}},
	{"product and bias", "product of rank 4", false, func(b *onnx.Builder) string {
		return b.Op("Add", b.Op("MatMul", "x", Draw(b, 5, 7)), Draw(b, 7))
	}},
	{"convolution of one pixel", "cropped", true, func(b *onnx.Builder) string {
		x := b.Op("GlobalAveragePool", "x")
		return b.OpAttr("ConvTranspose", map[string]onnx.Attr{"pads": onnx.IntsAttr(1, 0, 0, 2), "strides": onnx.IntsAttr(2, 2)}, x, Draw(b, 4, 3, 4, 5), Draw(b, 3))
	}},
	{"convolution of one pixel", "without bias", true, func(b *onnx.Builder) string {
		return b.Op("ConvTranspose", b.Op("GlobalAveragePool", "x"), Draw(b, 4, 3, 4, 4))
	}},
	{"convolution of one pixel", "five pixels", false, func(b *onnx.Builder) string { return b.Op("ConvTranspose", "x", Draw(b, 4, 3, 4, 4)) }},
	{"convolution of one pixel", "output padding", false, func(b *onnx.Builder) string {
		return b.OpAttr("ConvTranspose", map[string]onnx.Attr{"output_padding": onnx.IntsAttr(1, 0), "strides": onnx.IntsAttr(2, 2)}, b.Op("GlobalAveragePool", "x"), Draw(b, 4, 3, 4, 4))
	}},
	{"convolution of one pixel", "dilation", false, func(b *onnx.Builder) string {
		return b.OpAttr("ConvTranspose", map[string]onnx.Attr{"dilations": onnx.IntsAttr(2, 1)}, b.Op("GlobalAveragePool", "x"), Draw(b, 4, 3, 4, 4))
	}},
	{"padding into convolution", "zeros", true, func(b *onnx.Builder) string {
		return b.OpAttr("Conv", map[string]onnx.Attr{"pads": onnx.IntsAttr(1, 0, 0, 1)}, b.Op("Pad", "x", b.Ints(0, 0, 1, 2, 0, 0, 3, 0)), Draw(b, 3, 4, 3, 3))
	}},
	{"padding into convolution", "reflected", false, func(b *onnx.Builder) string {
		return b.Op("Conv", b.OpAttr("Pad", map[string]onnx.Attr{"mode": onnx.StringAttr("reflect")}, "x", b.Ints(0, 0, 1, 2, 0, 0, 3, 0)), Draw(b, 3, 4, 3, 3))
	}},
	{"padding into convolution", "ones", false, func(b *onnx.Builder) string {
		return b.Op("Conv", b.Op("Pad", "x", b.Ints(0, 0, 1, 2, 0, 0, 3, 0), b.Scalar(1)), Draw(b, 3, 4, 3, 3))
	}},
	{"padding into convolution", "channels", false, func(b *onnx.Builder) string {
		return b.Op("Conv", b.Op("Pad", "x", b.Ints(0, 1, 0, 0, 0, 0, 0, 0)), Draw(b, 3, 5, 3, 3))
	}},
	{"padding into convolution", "cropping", false, func(b *onnx.Builder) string {
		return b.Op("Conv", b.Op("Pad", "x", b.Ints(0, 0, -1, 0, 0, 0, 0, 0)), Draw(b, 3, 4, 3, 3))
	}},
	{"guarded softplus", "threshold 20", true, func(b *onnx.Builder) string {
		return b.Op("Where", b.Op("Greater", "x", b.Scalar(20)), "x", b.Op("Softplus", "x"))
	}},
	{"guarded softplus", "threshold 1", false, func(b *onnx.Builder) string {
		return b.Op("Where", b.Op("Greater", "x", b.Scalar(1)), "x", b.Op("Softplus", "x"))
	}},
	{"guarded softplus", "another value", false, func(b *onnx.Builder) string {
		return b.Op("Where", b.Op("Greater", "x", b.Scalar(20)), b.Op("Neg", "x"), b.Op("Softplus", "x"))
	}},
	{"resize by a factor", "double", true, func(b *onnx.Builder) string { return resizeTo(b, 10, 15) }},
	{"resize by a factor", "seven fifths", false, func(b *onnx.Builder) string { return resizeTo(b, 7, 10) }},
	{"transpose of a transpose", "three axes", true, func(b *onnx.Builder) string {
		y := b.OpAttr("Transpose", map[string]onnx.Attr{"perm": onnx.IntsAttr(1, 2, 3, 0)}, "x")
		return b.OpAttr("Transpose", map[string]onnx.Attr{"perm": onnx.IntsAttr(0, 2, 1, 3)}, y)
	}},
	{"transpose of a transpose", "one", false, func(b *onnx.Builder) string { return b.Op("Transpose", "x") }},
	{"reshape of a reshape", "two", true, func(b *onnx.Builder) string {
		return b.Op("Reshape", b.Op("Flatten", "x"), b.Ints(-1, 10, 10))
	}},
	{"reshape of a reshape", "computed target", true, func(b *onnx.Builder) string {
		n := b.Op("Gather", b.Op("Shape", "x"), b.Ints(0))
		return b.Op("Reshape", "x", b.OpAttr("Concat", map[string]onnx.Attr{"axis": onnx.IntAttr(0)}, n, b.Ints(10, 10)))
	}},
	{"reshape of a reshape", "one", false, func(b *onnx.Builder) string { return b.Op("Reshape", "x", b.Ints(-1, 10, 10)) }},
	{"dropout at inference", "plain", true, func(b *onnx.Builder) string { return b.Op("Dropout", "x", b.Scalar(0.3)) }},
	{"dropout at inference", "mask in use", false, func(b *onnx.Builder) string {
		out := b.OpN("Dropout", 2, nil, "x")
		return b.Op("Where", out[1], "x", out[0])
	}},
	{"node without effect", "slice of all", true, func(b *onnx.Builder) string {
		return b.Op("Relu", b.Op("Slice", "x", b.Ints(0), b.Ints(math.MaxInt64), b.Ints(2)))
	}},
	{"node without effect", "slice backwards", false, func(b *onnx.Builder) string {
		return b.Op("Relu", b.Op("Slice", "x", b.Ints(-1), b.Ints(math.MinInt64), b.Ints(2), b.Ints(-1)))
	}},
	{"node without effect", "transpose of equal extents", false, func(b *onnx.Builder) string {
		return b.OpAttr("Transpose", map[string]onnx.Attr{"perm": onnx.IntsAttr(0, 1, 3, 2)}, "x")
	}},
	{"node without effect", "shift by padding", false, func(b *onnx.Builder) string {
		return b.Op("Pad", "x", b.Ints(0, 0, 0, 1, 0, 0, 0, -1))
	}},
	{"node without effect", "resize by a factor that rounds to one", false, func(b *onnx.Builder) string {
		return b.Op("Resize", "x", "", b.Tensor(onnx.FloatTensor([]float32{1, 1, 1.1, 1}, 4)))
	}},
	{"node without effect", "expand", true, func(b *onnx.Builder) string { return b.Op("Relu", b.Op("Expand", "x", b.Ints(1, 5))) }},
	{"neutral number", "x + 0", true, func(b *onnx.Builder) string { return b.Op("Relu", b.Op("Add", b.Scalar(0), "x")) }},
	{"neutral number", "0 - x", false, func(b *onnx.Builder) string { return b.Op("Relu", b.Op("Sub", b.Scalar(0), "x")) }},
	{"neutral number", "1 / x", false, func(b *onnx.Builder) string { return b.Op("Relu", b.Op("Div", b.Scalar(1), "x")) }},
	{"neutral number", "raised rank", false, func(b *onnx.Builder) string {
		return b.Op("Relu", b.Op("Mul", "x", b.Tensor(onnx.FloatTensor([]float32{1}, 1, 1, 1, 1, 1))))
	}},
}

func BombGraph(t *testing.T, build func(b *onnx.Builder) string) *onnx.Graph {
	t.Helper()
	g := &onnx.Graph{Name: "bomb", Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: DimsOf(1, 4)}}}
	b := onnx.NewBuilder(g, "n_")
	b.OutputAs("y", b.OpAttr("ReduceMax", onnx.Attrs("keepdims", 0), build(b)))
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return g
}

// LoadTestdata reads a model of onnx/testdata.
func LoadTestdata(t testing.TB, name string) *onnx.Graph {
	t.Helper()
	g, err := onnx.Load(filepath.Join(check.Root(), "onnx", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := checker.Graph(g); err != nil {
		t.Fatal(err)
	}
	return g
}

// RoundTrip fails unless the graph that is read back from g's bytes equals g.
func RoundTrip(t *testing.T, name string, g *onnx.Graph) {
	t.Helper()
	b, err := g.Marshal()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	h, err := onnx.Parse(b, "")
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if d := Differ(g, h); d != "" {
		t.Errorf("%s: after a round trip %s differ", name, d)
	}
}

// Differ names what differs between two graphs, leaving out what inference found.
func Differ(a, b *onnx.Graph) string {
	switch {
	case a.Name != b.Name && (a.Name != "" || b.Name != "graph"):
		return "names"
	case len(a.Opset)+len(b.Opset) > 0 && a.Opset != nil && !reflect.DeepEqual(a.Opset, b.Opset):
		return "operator sets"
	case !reflect.DeepEqual(a.Inputs, b.Inputs):
		return "inputs"
	case !reflect.DeepEqual(a.Outputs, b.Outputs):
		return "outputs"
	case len(a.Init) != len(b.Init) || len(a.Nodes) != len(b.Nodes) || len(a.Meta) != len(b.Meta):
		return "sizes"
	}
	for k, v := range a.Init {
		if b.Init[k] == nil || !sameTensor(v, b.Init[k]) {
			return "initialisers " + k
		}
	}
	for i, n := range a.Nodes {
		m := b.Nodes[i]
		if n.Op != m.Op || n.Domain != m.Domain || n.Name != m.Name || len(n.Attr) != len(m.Attr) ||
			!sameStrings(n.In, m.In) || !sameStrings(n.Out, m.Out) {
			return "nodes " + n.Name
		}
		for k, x := range n.Attr {
			if y, ok := m.Attr[k]; !ok || !sameAttr(x, y) {
				return "attributes " + n.Name + "." + k
			}
		}
	}
	return ""
}

func sameStrings(a, b []string) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }

// sameTensor compares two tensors by what is written of them.
func sameTensor(a, b *onnx.Tensor) bool {
	return sameFile(&onnx.Graph{Init: map[string]*onnx.Tensor{"x": a}}, &onnx.Graph{Init: map[string]*onnx.Tensor{"x": b}})
}

func sameAttr(a, b onnx.Attr) bool {
	if a.Graph != nil {
		return b.Graph != nil && Differ(a.Graph, b.Graph) == ""
	}
	of := func(a onnx.Attr) *onnx.Graph {
		return &onnx.Graph{Nodes: []*onnx.Node{{Op: "It", Attr: map[string]onnx.Attr{"a": a}}}}
	}
	return sameFile(of(a), of(b))
}

func sameFile(a, b *onnx.Graph) bool {
	x, err1 := a.Marshal()
	y, err2 := b.Marshal()
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// DimsOf makes a shape of numbers.
func DimsOf(n ...int64) []onnx.Dim {
	d := make([]onnx.Dim, len(n))
	for i := range n {
		d[i].N = n[i]
	}
	return d
}

// Regression is the mean squared error of a one-layer network on a batch of 8: loss(x, y; w, b).
func Regression(rng *rand.Rand) *onnx.Graph {
	g := &onnx.Graph{
		Name:   "regression",
		Opset:  map[string]int{"": 18},
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: DimsOf(8, 5)}, {Name: "y", Type: onnx.Float32, Shape: DimsOf(8, 3)}},
		Init:   map[string]*onnx.Tensor{},
	}
	for name, shape := range map[string][]int64{"w": {5, 3}, "b": {3}} {
		t := onnx.FloatTensor(nil, shape...)
		t.Floats = make([]float32, t.Size())
		for i := range t.Floats {
			t.Floats[i] = float32(rng.NormFloat64())
		}
		g.Init[name] = t
	}
	b := onnx.NewBuilder(g, "r.")
	e := b.Op("Sub", b.Op("Tanh", b.Op("Add", b.Op("MatMul", "x", "w"), "b")), "y")
	b.Append(&onnx.Node{Op: "ReduceMean", Name: "loss", In: []string{b.Op("Mul", e, e)}, Out: []string{"loss"}, Attr: map[string]onnx.Attr{"keepdims": onnx.IntAttr(0)}})
	b.Output("loss")
	return g
}

// ConvGraph has one Conv or ConvTranspose over a batch of 64, with a bias.
func ConvGraph(op string, ci, co, h, w int64, attr map[string]onnx.Attr) *onnx.Graph {
	kernel := attr["kernel_shape"].Ints
	shape := []int64{ci, co}
	if op == "Conv" {
		shape = []int64{co, ci}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	normal := func(shape ...int64) *onnx.Tensor {
		t := onnx.FloatTensor(nil, shape...)
		t.Floats = make([]float32, t.Size())
		for i := range t.Floats {
			t.Floats[i] = float32(rng.NormFloat64())
		}
		return t
	}
	g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 64}, {N: ci}, {N: h}, {N: w}}}}}
	b := onnx.NewBuilder(g, "")
	b.Output(b.OpAttr(op, attr, "x", b.Tensor(normal(append(shape, kernel...)...)), b.Tensor(normal(co))))
	if b.Err() != nil {
		panic(b.Err())
	}
	return g
}

func CountOps(g *onnx.Graph, ops ...string) int {
	n := 0
	for _, m := range g.Nodes {
		if slices.Contains(ops, m.Op) {
			n++
		}
	}
	return n
}

// Polynomial is the graph y = Σᵢ (xᵢ² + 3xᵢ) over rows of x.
func Polynomial() *onnx.Graph {
	g := &onnx.Graph{
		Opset:  map[string]int{"": 18},
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "batch"}, {N: 2}}}},
	}
	b := onnx.NewBuilder(g, "p_")
	terms := b.Op("Add", b.Op("Mul", "x", "x"), b.Op("Mul", "x", b.Scalar(3)))
	b.OutputAs("y", b.OpAttr("ReduceSum", map[string]onnx.Attr{"keepdims": onnx.IntAttr(0)}, terms, b.Ints(1)))
	if b.Err() != nil {
		log.Fatal(b.Err())
	}
	return g
}

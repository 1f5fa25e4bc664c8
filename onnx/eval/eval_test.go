package eval

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
)

// evalCase is one node with operands and results worked by hand or by onnx.reference.
type evalCase struct {
	name  string
	node  onnx.Node
	opset int // 0: 21
	in    []*Array
	want  []*Array
}

func floats(v ...float64) *Array { return FloatArray(v, int64(len(v))) }

func whole(v ...int64) *Array { return IntArray(v, int64(len(v))) }

func shaped(a *Array, shape ...int64) *Array { return a.view(shape) }

func typed(t onnx.DType, v ...int64) *Array {
	return &Array{Type: t, Shape: []int64{int64(len(v))}, I: v}
}

// count is 0, 1, 2, … in the given shape.
func counting(shape ...int64) *Array {
	a := FloatArray(make([]float64, volume(shape)), shape...)
	for i := range a.F {
		a.F[i] = float64(i)
	}
	return a
}

func node(op string, attr ...any) onnx.Node {
	n := onnx.Node{Op: op, Name: "it", Attr: map[string]onnx.Attr{}}
	for i := 0; i < len(attr); i += 2 {
		var a onnx.Attr
		switch v := attr[i+1].(type) {
		case int:
			a = onnx.IntAttr(int64(v))
		case float64:
			a = onnx.Attr{Kind: onnx.AttrFloat, Float: v}
		case string:
			a = onnx.StringAttr(v)
		case []int64:
			a = onnx.IntsAttr(v...)
		case []float64:
			a = onnx.Attr{Kind: onnx.AttrFloats, Floats: v}
		}
		n.Attr[attr[i].(string)] = a
	}
	return n
}

func TestEvaluatorHardCases(t *testing.T) {
	x23 := counting(2, 3)
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []evalCase{
		{name: "broadcast a column against a row", node: node("Add"), in: []*Array{shaped(floats(0, 10), 2, 1), shaped(floats(1, 2, 3), 1, 3)},
			want: []*Array{shaped(floats(1, 2, 3, 11, 12, 13), 2, 3)}},
		{name: "broadcast the middle axis", node: node("Mul"), in: []*Array{counting(2, 1, 2), shaped(floats(1, 10, 100), 3, 1)},
			want: []*Array{shaped(floats(0, 1, 0, 10, 0, 100, 2, 3, 20, 30, 200, 300), 2, 3, 2)}},
		{name: "broadcast an empty axis", node: node("Sub"), in: []*Array{counting(0, 3), floats(1)}, want: []*Array{counting(0, 3)}},
		{name: "axis and broadcast of old sets", node: node("Add", "broadcast", 1, "axis", 0), opset: 6, in: []*Array{x23, floats(10, 20)},
			want: []*Array{shaped(floats(10, 11, 12, 23, 24, 25), 2, 3)}},
		{name: "int8 wraps around", node: node("Add"), in: []*Array{typed(onnx.Int8, 100, -100), typed(onnx.Int8, 100, -100)}, want: []*Array{typed(onnx.Int8, -56, 56)}},
		{name: "uint64 divides without sign", node: node("Div"), in: []*Array{typed(onnx.Uint64, -2), typed(onnx.Uint64, 2)}, want: []*Array{typed(onnx.Uint64, math.MaxInt64)}},
		{name: "integers divide towards zero", node: node("Div"), in: []*Array{whole(-7, 7), whole(2, -2)}, want: []*Array{whole(-3, -3)}},
		{name: "modulo has the divisor's sign", node: node("Mod"), in: []*Array{whole(-7, 7, 5), whole(3, -3, 5)}, want: []*Array{whole(2, -2, 0)}},
		{name: "a negative integer power", node: node("Pow"), in: []*Array{whole(2, -1, 3), whole(-1, -3, 4)}, want: []*Array{whole(0, -1, 81)}},
		{name: "NaN goes through Relu, Max and Clip", node: node("Max"), in: []*Array{floats(nan, 1), floats(0, 2)}, want: []*Array{floats(nan, 2)}},
		{name: "no order with NaN", node: node("GreaterOrEqual"), in: []*Array{floats(nan, 1, inf), floats(nan, 1, 2)}, want: []*Array{typed(onnx.Bool, 0, 1, 1)}},
		{name: "Clip by attributes", node: node("Clip", "max", 1.0), opset: 6, in: []*Array{floats(-3, 3)}, want: []*Array{floats(-3, 1)}},
		{name: "Clip by its last bound alone", node: node("Clip"), in: []*Array{floats(-3, 3), nil, FloatArray([]float64{1})}, want: []*Array{floats(-3, 1)}},
		{name: "a cast does not round", node: node("Cast", "to", int(onnx.Float32)), in: []*Array{{Type: onnx.Float64, Shape: []int64{1}, F: []float64{math.Pi}}}, want: []*Array{floats(math.Pi)}},
		{name: "a cast to integers truncates", node: node("Cast", "to", int(onnx.Int32)), in: []*Array{floats(-1.9, 1.9, nan)}, want: []*Array{typed(onnx.Int32, -1, 1, 0)}},
		{name: "softplus does not overflow", node: node("Softplus"), in: []*Array{floats(1000, -1000, 0)}, want: []*Array{floats(1000, 0, math.Ln2)}},
		{name: "Softmax of old sets takes all axes behind", node: node("Softmax"), opset: 11, in: []*Array{shaped(floats(0, 0, 0, 0), 1, 2, 2)},
			want: []*Array{shaped(floats(0.25, 0.25, 0.25, 0.25), 1, 2, 2)}},
		{name: "Softmax of new sets takes one", node: node("Softmax"), in: []*Array{shaped(floats(0, 0, 0, 0), 1, 2, 2)},
			want: []*Array{shaped(floats(0.5, 0.5, 0.5, 0.5), 1, 2, 2)}},
		{name: "PRelu per channel in old sets", node: node("PRelu"), opset: 6, in: []*Array{shaped(floats(-1, -1, -1, 1), 1, 2, 2), floats(2, 3)},
			want: []*Array{shaped(floats(-2, -2, -3, 1), 1, 2, 2)}},
		{name: "a vector times a matrix", node: node("MatMul"), in: []*Array{floats(1, 2), x23}, want: []*Array{floats(6, 9, 12)}},
		{name: "batches broadcast", node: node("MatMul"), in: []*Array{counting(2, 1, 1, 2), counting(1, 2, 2, 1)},
			want: []*Array{shaped(floats(1, 3, 3, 13), 2, 2, 1, 1)}},
		{name: "a product over nothing", node: node("MatMul"), in: []*Array{counting(2, 0), counting(0, 2)}, want: []*Array{shaped(floats(0, 0, 0, 0), 2, 2)}},
		{name: "Gemm with a bias column", node: node("Gemm", "alpha", 2.0, "beta", 0.5, "transB", 1), in: []*Array{shaped(floats(1, 2), 1, 2), counting(2, 2), shaped(floats(2), 1, 1)},
			want: []*Array{shaped(floats(5, 17), 1, 2)}},
		{name: "einsum with diagonal, ellipsis and sum", node: node("Einsum", "equation", "ii...,j->...j"), in: []*Array{counting(2, 2, 2), floats(1, 10)},
			want: []*Array{shaped(floats(6, 60, 8, 80), 2, 2)}},
		{name: "einsum of three", node: node("Einsum", "equation", "ij,jk,k"), in: []*Array{x23, counting(3, 2), floats(1, 2)}, want: []*Array{floats(36, 108)}},

		{name: "a stride beyond the kernel", node: node("Conv", "strides", []int64{3}), in: []*Array{counting(1, 1, 8), shaped(floats(1, 1), 1, 1, 2)},
			want: []*Array{shaped(floats(1, 7, 13), 1, 1, 3)}},
		{name: "pads on one side, dilated", node: node("Conv", "pads", []int64{0, 3}, "dilations", []int64{2}), in: []*Array{counting(1, 1, 4), shaped(floats(1, 10), 1, 1, 2)},
			want: []*Array{shaped(floats(20, 31, 2, 3, 0), 1, 1, 5)}},
		{name: "groups", node: node("Conv", "group", 2), in: []*Array{counting(1, 2, 2), shaped(floats(1, 10), 2, 1, 1), floats(0, 1)},
			want: []*Array{shaped(floats(0, 1, 21, 31), 1, 2, 2)}},
		{name: "transposed with stride, pads and output_padding", node: node("ConvTranspose", "strides", []int64{2}, "pads", []int64{1, 0}, "output_padding", []int64{1}),
			in: []*Array{shaped(floats(1, 2), 1, 1, 2), shaped(floats(1, 10, 100), 1, 1, 3)}, want: []*Array{shaped(floats(10, 102, 20, 200, 0), 1, 1, 5)}},
		{name: "the average leaves the padding out", node: node("AveragePool", "kernel_shape", []int64{2}, "pads", []int64{1, 0}), in: []*Array{shaped(floats(2, 4), 1, 1, 2)},
			want: []*Array{shaped(floats(2, 3), 1, 1, 2)}},
		{name: "or counts it", node: node("AveragePool", "kernel_shape", []int64{2}, "pads", []int64{1, 0}, "count_include_pad", 1), in: []*Array{shaped(floats(2, 4), 1, 1, 2)},
			want: []*Array{shaped(floats(1, 3), 1, 1, 2)}},
		{name: "the last window hangs over", node: node("MaxPool", "kernel_shape", []int64{2}, "strides", []int64{2}, "ceil_mode", 1), in: []*Array{shaped(floats(1, 3, 2), 1, 1, 3)},
			want: []*Array{shaped(floats(3, 2), 1, 1, 2), shaped(whole(1, 2), 1, 1, 2)}},

		{name: "statistics of the batch", node: node("BatchNormalization", "training_mode", 1, "momentum", 0.9, "epsilon", 0.0),
			in:   []*Array{shaped(floats(1, 3), 2, 1), floats(2), floats(1), floats(0), floats(1)},
			want: []*Array{shaped(floats(-1, 3), 2, 1), floats(0.2), floats(1)}},
		{name: "GroupNormalization 18 scales groups", node: node("GroupNormalization", "num_groups", 1, "epsilon", 0.0), opset: 18,
			in: []*Array{shaped(floats(1, 3), 1, 2, 1), floats(2), floats(1)}, want: []*Array{shaped(floats(-1, 3), 1, 2, 1)}},
		{name: "GroupNormalization 21 scales channels", node: node("GroupNormalization", "num_groups", 1, "epsilon", 0.0),
			in: []*Array{shaped(floats(1, 3), 1, 2, 1), floats(2, 4), floats(1, 0)}, want: []*Array{shaped(floats(-1, 4), 1, 2, 1)}},

		{name: "negative axes", node: node("ReduceSum", "keepdims", 0), in: []*Array{counting(2, 3, 2), whole(-1, 0)}, want: []*Array{floats(14, 22, 30)}},
		{name: "the sum of nothing", node: node("ReduceSum"), in: []*Array{counting(2, 0), whole(1)}, want: []*Array{shaped(floats(0, 0), 2, 1)}},
		{name: "no axes, no reduction", node: node("ReduceL1", "noop_with_empty_axes", 1), in: []*Array{floats(-1, 2)}, want: []*Array{floats(1, 2)}},
		{name: "log-sum-exp of great numbers", node: node("ReduceLogSumExp", "keepdims", 0), in: []*Array{floats(1000, 1000)}, want: []*Array{FloatArray([]float64{1000 + math.Ln2})}},
		{name: "the last of equal ones", node: node("ArgMax", "axis", -1, "select_last_index", 1, "keepdims", 0), in: []*Array{floats(1, 3, 3)}, want: []*Array{IntArray([]int64{2})}},
		{name: "reverse exclusive sums", node: node("CumSum", "reverse", 1, "exclusive", 1), in: []*Array{floats(1, 2, 3), IntArray([]int64{-1})}, want: []*Array{floats(5, 3, 0)}},
		{name: "least two", node: node("TopK", "largest", 0), in: []*Array{floats(3, 1, 2, 1), whole(2)}, want: []*Array{floats(1, 1), whole(1, 3)}},

		{name: "slices clamp and step backwards", node: node("Slice"), in: []*Array{floats(0, 1, 2, 3, 4), whole(-1), whole(math.MinInt64), whole(0), whole(-2)}, want: []*Array{floats(4, 2, 0)}},
		{name: "slices by attributes", node: node("Slice", "starts", []int64{1}, "ends", []int64{math.MaxInt64}, "axes", []int64{1}), opset: 1, in: []*Array{x23}, want: []*Array{shaped(floats(1, 2, 4, 5), 2, 2)}},
		{name: "reshape with 0 and -1", node: node("Reshape"), in: []*Array{x23, whole(0, -1, 1)}, want: []*Array{shaped(floats(0, 1, 2, 3, 4, 5), 2, 3, 1)}},
		{name: "pads cut when negative", node: node("Pad"), in: []*Array{floats(1, 2, 3), whole(-1, 2), FloatArray([]float64{9})}, want: []*Array{floats(2, 3, 9, 9)}},
		{name: "reflection more than once", node: node("Pad", "mode", "reflect"), in: []*Array{floats(1, 2, 3), whole(0, 5)}, want: []*Array{floats(1, 2, 3, 2, 1, 2, 3, 2)}},
		{name: "wrapping along a named axis", node: node("Pad", "mode", "wrap"), in: []*Array{shaped(floats(1, 2, 3), 1, 3), whole(1, 1), nil, whole(-1)}, want: []*Array{shaped(floats(3, 1, 2, 3, 1), 1, 5)}},
		{name: "negative indices", node: node("Gather", "axis", 1), in: []*Array{x23, shaped(whole(-1, 0), 1, 2)}, want: []*Array{shaped(floats(2, 0, 5, 3), 2, 1, 2)}},
		{name: "tuples in batches", node: node("GatherND", "batch_dims", 1), in: []*Array{x23, shaped(whole(1, -1), 2, 1)}, want: []*Array{floats(1, 5)}},
		{name: "scatter adds up", node: node("ScatterND", "reduction", "add"), in: []*Array{floats(0, 0), shaped(whole(1, 1), 2, 1), floats(2, 3)}, want: []*Array{floats(0, 5)}},
		{name: "scatter along an axis", node: node("ScatterElements", "axis", -1), in: []*Array{x23, shaped(whole(0, -1), 2, 1), shaped(floats(7, 8), 2, 1)}, want: []*Array{shaped(floats(7, 1, 2, 3, 4, 8), 2, 3)}},
		{name: "an uneven split", node: onnx.Node{Op: "Split", Out: []string{"a", "b"}, Attr: map[string]onnx.Attr{"num_outputs": onnx.IntAttr(2)}}, in: []*Array{floats(1, 2, 3)}, want: []*Array{floats(1, 2), floats(3)}},
		{name: "DepthToSpace by columns first", node: node("DepthToSpace", "blocksize", 2, "mode", "CRD"), in: []*Array{counting(1, 8, 1, 1)}, want: []*Array{counting(1, 2, 2, 2)}},
		{name: "DepthToSpace by depth first", node: node("DepthToSpace", "blocksize", 2), in: []*Array{counting(1, 8, 1, 1)}, want: []*Array{shaped(floats(0, 2, 4, 6, 1, 3, 5, 7), 1, 2, 2, 2)}},
		{name: "part of a shape", node: node("Shape", "start", -2, "end", 9), in: []*Array{counting(4, 2, 3)}, want: []*Array{whole(2, 3)}},

		{name: "nearest by floor, twice as large", node: node("Resize", "coordinate_transformation_mode", "asymmetric", "nearest_mode", "floor"),
			in: []*Array{floats(1, 2), nil, floats(2)}, want: []*Array{floats(1, 1, 2, 2)}},
		{name: "linear by half pixels", node: node("Resize", "mode", "linear"), in: []*Array{floats(1, 2), nil, floats(2)}, want: []*Array{floats(1, 1.25, 1.75, 2)}},
		{name: "linear by corners to sizes", node: node("Resize", "mode", "linear", "coordinate_transformation_mode", "align_corners"),
			in: []*Array{floats(1, 2), nil, nil, whole(3)}, want: []*Array{floats(1, 1.5, 2)}},
		{name: "cubic at the middle", node: node("Resize", "mode", "cubic", "coordinate_transformation_mode", "align_corners"),
			in: []*Array{floats(0, 1, 1, 0), nil, nil, whole(7)}, want: []*Array{floats(0, 0.5, 1, 1.1875, 1, 0.5, 0)}},
		{name: "GridSample at and beyond a corner", node: node("GridSample", "align_corners", 1), in: []*Array{counting(1, 1, 2, 2), shaped(floats(-1, 1, 1.5, 1), 1, 1, 2, 2)},
			want: []*Array{shaped(floats(2, 2.25), 1, 1, 1, 2)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := c.node
			n.In = make([]string, len(c.in))
			for i := range n.In {
				n.In[i] = fmt.Sprint("x", i)
			}
			if n.Out == nil {
				n.Out = make([]string, len(c.want))
				for i := range n.Out {
					n.Out[i] = fmt.Sprint("y", i)
				}
			}
			opset := c.opset
			if opset == 0 {
				opset = 21
			}
			got, err := Node(&n, map[string]int{"": opset}, c.in)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range c.want {
				compareExactly(t, got[i], want)
			}
		})
	}
}

// compareExactly holds floats to 1e-12.
func compareExactly(t *testing.T, got, want *Array) {
	t.Helper()
	if got.Type != want.Type || !slices.Equal(got.Shape, want.Shape) || !slices.Equal(got.I, want.I) || len(got.F) != len(want.F) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i, w := range want.F {
		if g := got.F[i]; !(math.Abs(g-w) <= 1e-12*(1+math.Abs(w))) && g != w && !(g != g && w != w) {
			t.Fatalf("element %d: got %v, want %v", i, got.F, want.F)
		}
	}
}

func TestEvaluatorErrorsNameTheNode(t *testing.T) {
	x := floats(1, 2, 3)
	for _, c := range []struct {
		node onnx.Node
		in   []*Array
		want string
	}{
		{node("Add"), []*Array{x, floats(1, 2)}, `node "it" (Add): shapes [[3] [2]] do not broadcast`},
		{node("Reshape"), []*Array{x, whole(2, 2)}, `node "it" (Reshape): shape [3] does not reshape to [2 2]`},
		{node("Reshape"), []*Array{x, whole(1<<40, 1<<40)}, "more than 134217728 elements"},
		{node("Expand"), []*Array{floats(1), whole(1<<40, 1<<40)}, "more than 134217728 elements"},
		{node("Range"), []*Array{IntArray([]int64{0}), IntArray([]int64{1 << 60}), IntArray([]int64{1})}, "too great"},
		{node("Gather"), []*Array{x, whole(3)}, "found index 3, expected one of 3"},
		{node("Conv"), []*Array{counting(1, 2, 4), counting(1, 1, 2)}, "do not fit 2 channels"},
		{node("Softmax", "axis", 4), []*Array{x}, "found axis 4, expected one of rank 1"},
		{node("Exp"), []*Array{{Type: onnx.Float32, Shape: []int64{5}, F: []float64{1}}}, "found 1 values"},
		{node("MatMul"), []*Array{x, nil}, "input 1 is left out"},
	} {
		n := c.node
		n.In, n.Out = make([]string, len(c.in)), []string{"y"}
		_, err := Node(&n, map[string]int{"": 21}, c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"it"`) {
			t.Errorf("%s: got %v, want %q", n.Op, err, c.want)
		}
	}
	_, err := New(&onnx.Graph{Opset: map[string]int{"": 17}, Nodes: []*onnx.Node{{Op: "STFT", Name: "s"}}})
	if !errors.Is(err, ErrNoEval) || !strings.Contains(err.Error(), `node "s": operator STFT, domain "", opset 17`) {
		t.Errorf("got %v, want an error for the operator STFT that wraps ErrNoEval", err)
	}
}

func TestEvaluatorRunsBranchesWithValuesFromOutside(t *testing.T) {
	branch := func(op string) *onnx.Graph {
		return &onnx.Graph{Nodes: []*onnx.Node{{Op: op, In: []string{"x", "one"}, Out: []string{"r"}}}, Outputs: []onnx.Value{{Name: "r"}}}
	}
	g := &onnx.Graph{
		Opset:  map[string]int{"": 18},
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32}, {Name: "c", Type: onnx.Bool}}, Outputs: []onnx.Value{{Name: "y"}},
		Init: map[string]*onnx.Tensor{"one": onnx.FloatTensor([]float32{1})},
		Nodes: []*onnx.Node{{Op: "If", In: []string{"c"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{
			"then_branch": {Kind: onnx.AttrGraph, Graph: branch("Add")}, "else_branch": {Kind: onnx.AttrGraph, Graph: branch("Sub")}}}},
	}
	e, err := New(g)
	if err != nil {
		t.Fatal(err)
	}
	for cond, want := range map[int64]float64{1: 6, 0: 4} {
		out, err := e.Run(map[string]*Array{"x": floats(5), "c": {Type: onnx.Bool, I: []int64{cond}}})
		if err != nil {
			t.Fatal(err)
		}
		compareExactly(t, out["y"], floats(want))
	}
	if _, err := e.Run(map[string]*Array{"x": floats(5)}); err == nil || !strings.Contains(err.Error(), `input "c" is missing`) {
		t.Errorf("got %v, want an error for the missing input", err)
	}
}

// ⟨ConvTranspose(x), y⟩ = ⟨x, Conv(y)⟩ for every geometry that covers y.
func TestConvTransposeIsTheAdjointOfConv(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	for trial := range 40 {
		rank := 1 + trial%3
		group := 1 + rng.IntN(2)
		cin, cout := int64(group*(1+rng.IntN(2))), int64(group*(1+rng.IntN(2)))
		attr := []any{"group", group}
		var kernel, stride, dil, pads []int64
		y := []int64{2, cin}
		for range rank {
			k, d := int64(1+rng.IntN(3)), int64(1+rng.IntN(2))
			kernel, stride, dil = append(kernel, k), append(stride, int64(1+rng.IntN(4))), append(dil, d)
			y = append(y, (k-1)*d+1+int64(rng.IntN(5)))
		}
		for i := range 2 * rank {
			pads = append(pads, rng.Int64N(kernel[i%rank]))
		}
		attr = append(attr, "strides", stride, "dilations", dil, "pads", pads)
		draw := func(shape ...int64) *Array { return FloatArray(check.Normals(rng, int(volume(shape))), shape...) }
		w, image := draw(append([]int64{cout, cin / int64(group)}, kernel...)...), draw(y...)
		run := func(op string, x *Array, extra ...any) *Array {
			n := node(op, append(slices.Clone(attr), extra...)...)
			n.In, n.Out = []string{"x", "w"}, []string{"y"}
			out, err := Node(&n, map[string]int{"": 21}, []*Array{x, w})
			if err != nil {
				t.Fatalf("trial %d: %v", trial, err)
			}
			return out[0]
		}
		z := run("Conv", image)
		x := draw(z.Shape...)
		// Rows of the image that no window reaches come back through output_padding.
		rest := make([]int64, rank)
		for i := range rest {
			reach := (z.Shape[2+i]-1)*stride[i] + (kernel[i]-1)*dil[i] + 1 - pads[i] - pads[rank+i]
			rest[i] = y[2+i] - reach
		}
		back := run("ConvTranspose", x, "output_padding", rest)
		if !slices.Equal(back.Shape, y) {
			t.Fatalf("trial %d: got shape %v, want %v (attributes %v)", trial, back.Shape, y, attr)
		}
		check.Close(t, fmt.Sprint("trial ", trial), check.Dot(back.F, image.F), check.Dot(x.F, z.F), 1e-12, 1)
	}
}

// BenchmarkEvaluatorDecoder runs a decoder of 64 latents to 64×64 pixels by five transposed 4×4 convolutions.
func BenchmarkEvaluatorDecoder(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "h0", Type: onnx.Float32}}, Outputs: []onnx.Value{{Name: "h5"}}, Init: map[string]*onnx.Tensor{}}
	ch := []int64{64, 512, 256, 128, 64, 1}
	for i, c := range ch[:5] {
		w := make([]float32, c*ch[i+1]*16)
		for k := range w {
			w[k] = float32(rng.NormFloat64()) / 30
		}
		g.Init[fmt.Sprint("w", i)] = onnx.FloatTensor(w, c, ch[i+1], 4, 4)
		n := node("ConvTranspose")
		if i > 0 {
			n = node("ConvTranspose", "strides", []int64{2, 2}, "pads", []int64{1, 1, 1, 1})
		}
		n.In, n.Out = []string{fmt.Sprint("h", i), fmt.Sprint("w", i)}, []string{fmt.Sprint("h", i+1)}
		g.Nodes = append(g.Nodes, &n)
	}
	e, err := New(g)
	if err != nil {
		b.Fatal(err)
	}
	in := map[string]*Array{"h0": FloatArray(check.Normals(rng, 64), 1, 64, 1, 1)}
	for b.Loop() {
		if _, err := e.Run(in); err != nil {
			b.Fatal(err)
		}
	}
}

// ramp is an array of floats that rise.
func ramp(shape ...int64) *Array {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	a := FloatArray(make([]float64, n), shape...)
	for i := range a.F {
		a.F[i] = float64(i%17) / 17
	}
	return a
}

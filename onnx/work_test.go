package onnx

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

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

func list(v ...int64) *Array { return &Array{Type: Int64, Shape: []int64{int64(len(v))}, I: v} }

// oneNode is the graph of one operator on the given operands, of opset 23.
func oneNode(op string, attr map[string]Attr, in []*Array) (*Graph, map[string]*Array) {
	g := &Graph{Opset: map[string]int{"": 23}, Init: map[string]*Tensor{}, Info: map[string]Value{}, Outputs: []Value{{Name: "y"}}}
	n := &Node{Op: op, Attr: attr, In: make([]string, len(in)), Out: []string{"y"}}
	feed := map[string]*Array{}
	for i, a := range in {
		switch name := fmt.Sprint("x", i); {
		case a == nil:
		case a.Type.IsInt():
			n.In[i], g.Init[name] = name, a.Tensor()
		default:
			v := Value{Name: name, Type: a.Type}
			for _, d := range a.Shape {
				v.Shape = append(v.Shape, num(d))
			}
			n.In[i], feed[name], g.Inputs = name, a, append(g.Inputs, v)
		}
	}
	g.Nodes = []*Node{n}
	return g, feed
}

// TestWorkIsBounded runs operators that compute more than they read or write: with no more work than there are bytes they
// are refused, with as much as they take they run.
func TestWorkIsBounded(t *testing.T) {
	for _, c := range []struct {
		op   string
		attr map[string]Attr
		in   []*Array
		work int64 // at least
	}{
		{"MatMul", nil, []*Array{ramp(64, 100), ramp(100, 64)}, 64 * 64 * 100},
		{"Gemm", attrs("transA", 1), []*Array{ramp(100, 64), ramp(100, 64)}, 64 * 64 * 100},
		{"Conv", nil, []*Array{ramp(1, 8, 9, 9), ramp(8, 8, 5, 5)}, 25 * 8 * 8 * 25},
		{"ConvTranspose", nil, []*Array{ramp(1, 8, 9, 9), ramp(8, 8, 5, 5)}, 81 * 8 * 8 * 25},
		{"Einsum", attrs("equation", "ij,jk,kl->il"), []*Array{ramp(30, 40), ramp(40, 50), ramp(50, 2)}, 30*40*50 + 30*50*2},
		{"Attention", nil, []*Array{ramp(1, 2, 50, 8), ramp(1, 2, 60, 8), ramp(1, 2, 60, 8)}, 2 * 2 * 50 * 60 * 8},
		{"AveragePool", attrs("kernel_shape", []int64{9, 9}), []*Array{ramp(1, 1, 40, 40)}, 32 * 32 * 81},
		{"MaxPool", attrs("kernel_shape", []int64{9, 9}), []*Array{ramp(1, 1, 40, 40)}, 32 * 32 * 81},
		{"LpPool", attrs("kernel_shape", []int64{9, 9}), []*Array{ramp(1, 1, 40, 40)}, 32 * 32 * 81},
		{"GridSample", attrs("mode", "cubic"), []*Array{ramp(1, 1, 4, 4), ramp(1, 30, 30, 2)}, 900 * 16},
		{"Resize", attrs("mode", "cubic"), []*Array{ramp(1, 1, 4, 4), nil, nil, list(1, 1, 40, 40)}, 1600 * 8},
		{"TopK", nil, []*Array{ramp(1 << 12), list(1)}, 12 << 12},
		{"ReduceMax", nil, []*Array{ramp(1 << 12)}, 1 << 12},
		{"ArgMax", nil, []*Array{ramp(1 << 12)}, 1 << 12},
		{"CumSum", nil, []*Array{ramp(1 << 12), list(0)}, 1 << 12},
		{"GlobalLpPool", nil, []*Array{ramp(1, 1, 64, 64)}, 1 << 12},
	} {
		t.Run(c.op, func(t *testing.T) {
			g, feed := oneNode(c.op, c.attr, c.in)
			e, err := NewEvaluator(g)
			if err != nil {
				t.Fatal(err)
			}
			left := c.work - 1
			if _, err := e.runWithin(feed, &left); err == nil || !strings.Contains(err.Error(), "operations, expected at most") {
				t.Errorf("found %v, expected an error for more than %d operations", err, c.work-1)
			}
			const all = 1 << 30
			left = all
			if _, err := e.runWithin(feed, &left); err != nil {
				t.Errorf("found %v with enough", err)
			}
			if took := all - left; took < c.work || took > 600*c.work {
				t.Errorf("found work of %d, expected %d or some more", took, c.work)
			}
		})
	}
}

// TestComparedRowsTakeBoundedWork is of networks for which only a run tells whether rows stand apart.
func TestComparedRowsTakeBoundedWork(t *testing.T) {
	for name, c := range map[string]struct {
		nodes []string
		shape []Dim
		says  string
	}{
		"orders":  {[]string{"k = Constant()", "v = TopK(a, k)", "y = Exp(v)"}, []Dim{{1, "N"}, {1 << 20, ""}}, "operations, expected at most"},
		"numbers": {[]string{"k = Constant()", "v = TopK(a, k)", "y = Exp(v)"}, []Dim{{1, "N"}, {1 << 24, ""}}, "are more than 16777216 numbers"},
	} {
		g := network([]string{"a"}, []string{"y"}, c.nodes...)
		g.Inputs[0].Shape = c.shape
		g.Nodes[0].Attr = attrs("value_ints", []int64{1})
		err := g.Apart(DiffOptions{}, nil)
		if !errors.Is(err, ErrRows) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: found %v, expected an error with %q", name, err, c.says)
		}
	}
}

// TestFoldingTakesBoundedWork folds many nodes whose results are small and whose operand is not.
func TestFoldingTakesBoundedWork(t *testing.T) {
	g := network([]string{"a"}, []string{"y"})
	w := make([]float32, 1<<20)
	for i := range w {
		w[i] = float32(i%17) / 17
	}
	g.Init["w"] = FloatTensor(w, 1024, 1024)
	last := "a"
	const many = 200
	for i := range many {
		s, next := fmt.Sprint("s", i), fmt.Sprint("t", i)
		k := fmt.Sprint("k", i)
		g.Init[k] = IntTensor([]int64{int64(i)}, 1)
		g.Nodes = append(g.Nodes, &Node{Op: "Einsum", In: []string{"w", "w"}, Out: []string{s}, Attr: attrs("equation", "ij,ij->")},
			&Node{Op: "Add", In: []string{last, s}, Out: []string{next}})
		last = next
	}
	g.Nodes = append(g.Nodes, &Node{Op: "Identity", In: []string{last}, Out: []string{"y"}})
	h, err := simplify(g)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, n := range h.Nodes {
		left += boolInt(n.Op == "Einsum")
	}
	if left == 0 || left == many {
		t.Errorf("found %d of %d products left, expected some", left, many)
	}
}

// TestEmptyArraysAreNotGoneThrough is of arrays without elements whose other axes are long, and of operators whose tables
// are larger than what they read and write.
func TestEmptyArraysAreNotGoneThrough(t *testing.T) {
	long := &Array{Type: Float32, Shape: []int64{1 << 30, 0}, F: []float64{}}
	deep := func(last ...int64) []int64 {
		s := []int64{1, 1}
		for range 26 {
			s = append(s, 1)
		}
		return append(s, last...)
	}
	for _, c := range []struct {
		op   string
		attr map[string]Attr
		in   []*Array
	}{
		{"TopK", nil, []*Array{long, list(0)}},
		{"Softmax", nil, []*Array{long}},
		{"CumSum", nil, []*Array{long, list(1)}},
		{"LpNormalization", nil, []*Array{long}},
		{"GridSample", attrs("padding_mode", "border"), []*Array{ramp(deep()...), ramp(append(deep()[1:], 26)...)}},
	} {
		g, feed := oneNode(c.op, c.attr, c.in)
		grown := allocated(func() {
			e, err := NewEvaluator(g)
			if err == nil {
				_, err = e.Run(feed)
			}
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: found %v, expected too much memory", c.op, err)
			}
		})
		if grown > 1<<20 {
			t.Errorf("%s: allocated %d bytes", c.op, grown)
		}
	}
}

func TestResizedAxesShrinkFirst(t *testing.T) {
	g, feed := oneNode("Resize", attrs("mode", "linear"), []*Array{ramp(1, 1, 1, 1<<13), nil, nil, list(1, 1, 1<<13, 1)})
	grown := allocated(func() {
		e, err := NewEvaluator(g)
		if err == nil {
			_, err = e.Run(feed)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if grown > 1<<25 {
		t.Errorf("8192 numbers resized to 8192 allocated %d bytes", grown)
	}
}

// TestOrdersKeepEqualElements puts the largest and smallest first, equal ones in their order and NaN as the largest.
func TestOrdersKeepEqualElements(t *testing.T) {
	x := FloatArray([]float64{2, math.NaN(), 1, 2, math.NaN(), 1}, 6)
	for largest, want := range [][]int64{{2, 5, 0, 3, 1, 4}, {1, 4, 0, 3, 2, 5}} {
		out, err := EvalNode(&Node{Op: "TopK", In: []string{"x", "k"}, Out: []string{"v", "i"}, Attr: attrs("largest", largest)},
			map[string]int{"": 18}, []*Array{x, list(6)})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(out[1].I) != fmt.Sprint(want) {
			t.Errorf("largest %d: found order %v, expected %v", largest, out[1].I, want)
		}
	}
}

// TestExtentsOutsideTheLimitsAreUnknown is of shapes that are extents only where a symbol is 0.
func TestExtentsOutsideTheLimitsAreUnknown(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(b *Builder) string
	}{
		{"product", func(b *Builder) string {
			n := b.Op("Gather", b.Op("Shape", "x"), b.Ints(0))
			return b.Op("Expand", b.Scalar(1), b.Op("Mul", n, b.Ints(1<<47+3)))
		}},
		{"sum", func(b *Builder) string {
			n := b.Op("Gather", b.Op("Shape", "x"), b.Ints(0))
			m := b.Op("Mul", n, b.Ints(math.MaxInt32))
			return b.Op("Expand", b.Scalar(1), b.Op("Add", m, m))
		}},
		{"negative", func(b *Builder) string {
			n := b.Op("Gather", b.Op("Shape", "x"), b.Ints(0))
			return b.OpAttr("ConstantOfShape", nil, b.Op("Neg", n))
		}},
		{"copies", func(b *Builder) string { return b.Op("Tile", b.Op("Tile", "x", b.Ints(1<<20, 1)), b.Ints(1<<20, 1)) }},
		{"parts", func(b *Builder) string {
			x := b.Op("Tile", "x", b.Ints(1<<30, 1))
			return b.OpAttr("Concat", attrs("axis", 0), x, x, x)
		}},
		{"axes together", func(b *Builder) string { return b.Op("Reshape", b.Op("Tile", "x", b.Ints(1<<30, 1)), b.Ints(-1)) }},
	} {
		g := &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{"x", Float32, []Dim{{1, "N"}, {4, ""}}}}}
		b := NewBuilder(g, "")
		b.Output(c.build(b))
		if err := b.Err(); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		h, err := g.Fold()
		if err == nil {
			err = h.Check()
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if d := h.Outputs[0].Shape[0]; d.Known() || d.N != 1 || d.Sym[0] != '?' {
			t.Errorf("%s: found extent %v, expected an unknown one", c.name, d)
		}
	}
}

// TestValuesThatWrapOrRoundAreNotFollowed is of whole numbers that their type does not hold.
func TestValuesThatWrapOrRoundAreNotFollowed(t *testing.T) {
	for _, c := range []struct {
		op   string
		typ  DType
		a, b int64
		want bool
	}{
		{"Add", Int64, 1 << 40, 1, true},
		{"Add", Int32, 1 << 30, 1, true},
		{"Add", Int32, math.MaxInt32, 1, false},
		{"Mul", Int32, 1 << 16, 1 << 16, false},
		{"Mul", Uint8, 16, 16, false},
		{"Sub", Uint8, 1, 2, false},
		{"Add", Float32, 1 << 24, 1, false},
		{"Add", Float32, 1 << 23, 1, true},
	} {
		scalar := func(v int64) *Tensor {
			if c.typ == Float32 {
				return FloatTensor([]float32{float32(v)}, 1)
			}
			return &Tensor{Type: c.typ, Shape: []int64{1}, Ints: []int64{v}}
		}
		g := &Graph{Opset: map[string]int{"": 18}, Init: map[string]*Tensor{"a": scalar(c.a), "b": scalar(c.b)},
			Nodes: []*Node{{Op: c.op, In: []string{"a", "b"}, Out: []string{"y"}}}, Outputs: []Value{{Name: "y"}}}
		f, err := g.infer()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := f.ints("y"); ok != c.want {
			t.Errorf("%s of %s %d and %d: found %v, expected %v", c.op, c.typ, c.a, c.b, ok, c.want)
		}
	}
	if s, ok := compare(num(math.MinInt64), num(1)); !ok || s != -1 {
		t.Errorf("-2⁶³ and 1 compare as %d", s)
	}
}

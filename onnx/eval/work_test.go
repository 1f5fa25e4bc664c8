package eval

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/footprint"
	"lenskit/onnx/internal/onnxtest"
)

func list(v ...int64) *Array { return &Array{Type: onnx.Int64, Shape: []int64{int64(len(v))}, I: v} }

// oneNode is the graph of one operator on the given operands, of opset 23.
func oneNode(op string, attr map[string]onnx.Attr, in []*Array) (*onnx.Graph, map[string]*Array) {
	g := &onnx.Graph{Opset: map[string]int{"": 23}, Init: map[string]*onnx.Tensor{}, Info: map[string]onnx.Value{}, Outputs: []onnx.Value{{Name: "y"}}}
	n := &onnx.Node{Op: op, Attr: attr, In: make([]string, len(in)), Out: []string{"y"}}
	feed := map[string]*Array{}
	for i, a := range in {
		switch name := fmt.Sprint("x", i); {
		case a == nil:
		case a.Type.IsInt():
			n.In[i], g.Init[name] = name, a.Tensor()
		default:
			v := onnx.Value{Name: name, Type: a.Type}
			for _, d := range a.Shape {
				v.Shape = append(v.Shape, onnx.Fixed(d))
			}
			n.In[i], feed[name], g.Inputs = name, a, append(g.Inputs, v)
		}
	}
	g.Nodes = []*onnx.Node{n}
	return g, feed
}

// TestWorkIsBounded runs operators that compute more than they read or write: with no more work than there are bytes they
// are refused, with as much as they take they run.
func TestWorkIsBounded(t *testing.T) {
	for _, c := range []struct {
		op   string
		attr map[string]onnx.Attr
		in   []*Array
		work int64 // at least
	}{
		{"MatMul", nil, []*Array{ramp(64, 100), ramp(100, 64)}, 64 * 64 * 100},
		{"Gemm", onnx.Attrs("transA", 1), []*Array{ramp(100, 64), ramp(100, 64)}, 64 * 64 * 100},
		{"Conv", nil, []*Array{ramp(1, 8, 9, 9), ramp(8, 8, 5, 5)}, 25 * 8 * 8 * 25},
		{"ConvTranspose", nil, []*Array{ramp(1, 8, 9, 9), ramp(8, 8, 5, 5)}, 81 * 8 * 8 * 25},
		{"Einsum", onnx.Attrs("equation", "ij,jk,kl->il"), []*Array{ramp(30, 40), ramp(40, 50), ramp(50, 2)}, 30*40*50 + 30*50*2},
		{"Attention", nil, []*Array{ramp(1, 2, 50, 8), ramp(1, 2, 60, 8), ramp(1, 2, 60, 8)}, 2 * 2 * 50 * 60 * 8},
		{"AveragePool", onnx.Attrs("kernel_shape", []int64{9, 9}), []*Array{ramp(1, 1, 40, 40)}, 32 * 32 * 81},
		{"MaxPool", onnx.Attrs("kernel_shape", []int64{9, 9}), []*Array{ramp(1, 1, 40, 40)}, 32 * 32 * 81},
		{"LpPool", onnx.Attrs("kernel_shape", []int64{9, 9}), []*Array{ramp(1, 1, 40, 40)}, 32 * 32 * 81},
		{"GridSample", onnx.Attrs("mode", "cubic"), []*Array{ramp(1, 1, 4, 4), ramp(1, 30, 30, 2)}, 900 * 16},
		{"Resize", onnx.Attrs("mode", "cubic"), []*Array{ramp(1, 1, 4, 4), nil, nil, list(1, 1, 40, 40)}, 1600 * 8},
		{"TopK", nil, []*Array{ramp(1 << 12), list(1)}, 12 << 12},
		{"ReduceMax", nil, []*Array{ramp(1 << 12)}, 1 << 12},
		{"ArgMax", nil, []*Array{ramp(1 << 12)}, 1 << 12},
		{"CumSum", nil, []*Array{ramp(1 << 12), list(0)}, 1 << 12},
		{"GlobalLpPool", nil, []*Array{ramp(1, 1, 64, 64)}, 1 << 12},
	} {
		t.Run(c.op, func(t *testing.T) {
			g, feed := oneNode(c.op, c.attr, c.in)
			e, err := New(g)
			if err != nil {
				t.Fatal(err)
			}
			left := c.work - 1
			if _, err := e.RunWithin(feed, &left); err == nil || !strings.Contains(err.Error(), "operations, expected at most") {
				t.Errorf("found %v, expected an error for more than %d operations", err, c.work-1)
			}
			const all = 1 << 30
			left = all
			if _, err := e.RunWithin(feed, &left); err != nil {
				t.Errorf("found %v with enough", err)
			}
			if took := all - left; took < c.work || took > 600*c.work {
				t.Errorf("found work of %d, expected %d or some more", took, c.work)
			}
		})
	}
}

// TestEmptyArraysAreNotGoneThrough is of arrays without elements whose other axes are long, and of operators whose tables
// are larger than what they read and write.
func TestEmptyArraysAreNotGoneThrough(t *testing.T) {
	long := &Array{Type: onnx.Float32, Shape: []int64{1 << 30, 0}, F: []float64{}}
	deep := func(last ...int64) []int64 {
		s := []int64{1, 1}
		for range 26 {
			s = append(s, 1)
		}
		return append(s, last...)
	}
	for _, c := range []struct {
		op   string
		attr map[string]onnx.Attr
		in   []*Array
	}{
		{"TopK", nil, []*Array{long, list(0)}},
		{"Softmax", nil, []*Array{long}},
		{"CumSum", nil, []*Array{long, list(1)}},
		{"LpNormalization", nil, []*Array{long}},
		{"GridSample", onnx.Attrs("padding_mode", "border"), []*Array{ramp(deep()...), ramp(append(deep()[1:], 26)...)}},
	} {
		g, feed := oneNode(c.op, c.attr, c.in)
		grown := onnxtest.Allocated(func() {
			e, err := New(g)
			if err == nil {
				_, err = e.Run(feed)
			}
			if !errors.Is(err, footprint.ErrTooLarge) {
				t.Errorf("%s: found %v, expected too much memory", c.op, err)
			}
		})
		if grown > 1<<20 {
			t.Errorf("%s: allocated %d bytes", c.op, grown)
		}
	}
}

func TestResizedAxesShrinkFirst(t *testing.T) {
	g, feed := oneNode("Resize", onnx.Attrs("mode", "linear"), []*Array{ramp(1, 1, 1, 1<<13), nil, nil, list(1, 1, 1<<13, 1)})
	grown := onnxtest.Allocated(func() {
		e, err := New(g)
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
		out, err := Node(&onnx.Node{Op: "TopK", In: []string{"x", "k"}, Out: []string{"v", "i"}, Attr: onnx.Attrs("largest", largest)},
			map[string]int{"": 18}, []*Array{x, list(6)})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(out[1].I) != fmt.Sprint(want) {
			t.Errorf("largest %d: found order %v, expected %v", largest, out[1].I, want)
		}
	}
}

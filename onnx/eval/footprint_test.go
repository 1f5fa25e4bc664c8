package eval

import (
	"errors"
	"math"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/footprint"
	"lenskit/onnx/internal/graphtest"
)

// The turns of a Loop that ends by its condition are followed one by one, those of a Scan are as many as the axis is long,
// and an If takes what its larger branch takes. Sizes are counted by hand: 4 bytes an element.
func TestFootprintsCountBodies(t *testing.T) {
	loop := func(less string, more ...*onnx.Node) *onnx.Graph {
		body := &onnx.Graph{Inputs: []onnx.Value{{Name: "i", Type: onnx.Int64, Shape: []onnx.Dim{}}, {Name: "c", Type: onnx.Bool, Shape: []onnx.Dim{}}, {Name: "x", Type: onnx.Float32, Shape: nil}},
			Nodes:   append([]*onnx.Node{{Op: "Less", In: []string{"i", less}, Out: []string{"c2"}}}, more...),
			Outputs: []onnx.Value{{Name: "c2", Type: onnx.Bool, Shape: []onnx.Dim{}}, {Name: "x2", Type: onnx.Float32, Shape: nil}, {Name: "x2", Type: onnx.Float32, Shape: nil}}}
		return &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: graphtest.DimsOf(1024)}, {Name: "n", Type: onnx.Int64, Shape: []onnx.Dim{}}},
			Init:    map[string]*onnx.Tensor{"many": onnx.IntTensor([]int64{math.MaxInt64}), "nine": onnx.IntTensor([]int64{9})},
			Nodes:   []*onnx.Node{{Op: "Loop", Name: "turns", In: []string{"many", "", "z"}, Out: []string{"y", "rows"}, Attr: map[string]onnx.Attr{"body": {Kind: onnx.AttrGraph, Graph: body}}}},
			Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32}, {Name: "rows", Type: onnx.Float32}}}
	}
	same := &onnx.Node{Op: "Neg", In: []string{"x"}, Out: []string{"x2"}}
	double := &onnx.Node{Op: "Concat", In: []string{"x", "x"}, Out: []string{"x2"}, Attr: onnx.Attrs("axis", 0)}
	peak, _, err := footprint.Footprint(loop("nine", same), false)
	if err != nil || peak < 2*10*4096 || peak > 2*10*4096+8*4096 {
		t.Errorf("10 turns: found %d bytes, %v, expected twice 10 rows of 4096 bytes and a few values", peak, err)
	}
	growing := loop("nine", double)
	growing.Nodes[0].Attr["body"].Graph.Outputs = growing.Nodes[0].Attr["body"].Graph.Outputs[:2]
	growing.Nodes[0].Out, growing.Outputs = growing.Nodes[0].Out[:1], growing.Outputs[:1]
	if peak, _, err = footprint.Footprint(growing, false); err != nil || peak < 4096<<10 || peak > 4*4096<<10 {
		t.Errorf("10 doublings: found %d bytes, %v, expected about %d", peak, err, 2*4096<<10)
	}
	endless := loop("n", same)
	if _, err = footprint.FITS(endless, false, footprint.DefaultRoom, 0); !errors.Is(err, footprint.ErrTooLarge) || !strings.Contains(err.Error(), "--device reference") {
		t.Errorf("turns of an input: found %v, expected a refusal that names --device reference", err)
	}
	// The evaluator counts while it runs: a few turns are computed, and rows without end have no room.
	e, err := New(endless)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		last int64
		fits bool
	}{{3, true}, {1 << 40, false}} {
		out, err := e.Run(map[string]*Array{"z": FloatArray(make([]float64, 1024), 1024), "n": {Type: onnx.Int64, Shape: []int64{}, I: []int64{c.last}}})
		if c.fits && (err != nil || out["rows"].Shape[0] != c.last+1) || !c.fits && !errors.Is(err, footprint.ErrTooLarge) {
			t.Errorf("a last turn of %d: found %v", c.last, err)
		}
	}

	scan := &onnx.Graph{Inputs: []onnx.Value{{Name: "s", Type: onnx.Float32, Shape: nil}, {Name: "r", Type: onnx.Float32, Shape: nil}}, Nodes: []*onnx.Node{
		{Op: "Add", In: []string{"s", "r"}, Out: []string{"s2"}}, {Op: "Expand", In: []string{"r", "wide"}, Out: []string{"w"}}}, Outputs: []onnx.Value{{Name: "s2"}, {Name: "w"}}}
	g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: graphtest.DimsOf(1024)}, {Name: "rows", Type: onnx.Float32, Shape: graphtest.DimsOf(7, 1024)}},
		Init:    map[string]*onnx.Tensor{"wide": onnx.IntTensor([]int64{5, 1024}, 2)},
		Nodes:   []*onnx.Node{{Op: "Scan", In: []string{"z", "rows"}, Out: []string{"last", "all"}, Attr: map[string]onnx.Attr{"body": {Kind: onnx.AttrGraph, Graph: scan}, "num_scan_inputs": onnx.IntAttr(1)}}},
		Outputs: []onnx.Value{{Name: "last", Type: onnx.Float32}, {Name: "all", Type: onnx.Float32}}}
	if peak, _, err = footprint.Footprint(g, false); err != nil || peak < 2*7*5*4096 || peak > 2*7*5*4096+30*4096 {
		t.Errorf("scan: found %d bytes, %v, expected twice 7 rows of 5 · 4096 and a few values", peak, err)
	}

	branch := func(turns int64) onnx.Attr {
		return onnx.Attr{Kind: onnx.AttrGraph, Graph: &onnx.Graph{Init: map[string]*onnx.Tensor{"k": onnx.IntTensor([]int64{turns}, 1)},
			Nodes: []*onnx.Node{{Op: "Tile", In: []string{"z", "k"}, Out: []string{"v"}}}, Outputs: []onnx.Value{{Name: "v"}}}}
	}
	g = &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: graphtest.DimsOf(1024)}, {Name: "c", Type: onnx.Bool, Shape: []onnx.Dim{}}},
		Nodes: []*onnx.Node{{Op: "If", In: []string{"c"}, Out: []string{"a"}, Attr: map[string]onnx.Attr{"then_branch": branch(3), "else_branch": branch(20)}},
			{Op: "Neg", In: []string{"a"}, Out: []string{"y"}}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32}}}
	if peak, _, err = footprint.Footprint(g, false); err != nil || peak < 2*20*4096 || peak > 2*20*4096+4*4096 {
		t.Errorf("branches: found %d bytes, %v, expected two values of 20 · 4096", peak, err)
	}
}

package footprint

import (
	"errors"
	"math"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/internal/graphtest"
)

// A loop's turns are counted before an engine takes one: the values of 2⁶², of a number that the latents give, of a value
// that doubles, and of a list that grows have no end that fits.
func TestLoopsWithoutEndAreRefused(t *testing.T) {
	body := func(out onnx.Value, nodes ...*onnx.Node) *onnx.Graph {
		c := &onnx.Graph{Name: "body", Init: map[string]*onnx.Tensor{}, Inputs: []onnx.Value{{Name: "i", Type: onnx.Int64, Shape: []onnx.Dim{}}, {Name: "c", Type: onnx.Bool, Shape: []onnx.Dim{}}, {Name: "x", Type: onnx.Float32, Shape: graphtest.DimsOf(1, 4)}}}
		c.Nodes = append([]*onnx.Node{{Op: "Identity", In: []string{"c"}, Out: []string{"c2"}}}, nodes...)
		c.Outputs = []onnx.Value{{Name: "c2", Type: onnx.Bool, Shape: []onnx.Dim{}}, {Name: "x2", Type: onnx.Float32, Shape: nil}}
		if out.Name != "" {
			c.Outputs = append(c.Outputs, out)
		}
		return c
	}
	same := &onnx.Node{Op: "Neg", In: []string{"x"}, Out: []string{"x2"}}
	double := &onnx.Node{Op: "Concat", In: []string{"x", "x"}, Out: []string{"x2"}, Attr: onnx.Attrs("axis", 0)}
	wide := &onnx.Node{Op: "Expand", In: []string{"x", "wide"}, Out: []string{"s"}}
	for _, c := range []struct {
		name  string
		turns string
		body  *onnx.Graph
		want  string // part of the refusal, "" for none
	}{
		{"a hundred turns", "hundred", body(onnx.Value{}, same), ""},
		{"2⁶² turns", "many", body(onnx.Value{}, same), "4611686018427387904 turns"},
		{"turns of the latents", "z0", body(onnx.Value{}, same), "unknown number of turns"},
		{"a value that doubles", "hundred", body(onnx.Value{}, double), "changes its shape"},
		{"a list that grows", "hundred", body(onnx.Value{Name: "s", Type: onnx.Float32, Shape: nil}, same, wide), "expected at most"},
	} {
		g := &onnx.Graph{Name: c.name, Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: graphtest.DimsOf(1, 4)}},
			Init: map[string]*onnx.Tensor{"hundred": onnx.IntTensor([]int64{100}), "many": onnx.IntTensor([]int64{1 << 62}), "yes": {Type: onnx.Bool, Shape: []int64{}, Ints: []int64{1}},
				"wide": onnx.IntTensor([]int64{1 << 18, 4}, 2), "none": onnx.IntTensor([]int64{}, 0)},
			Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: nil}}}
		out := []string{"y0"}
		if len(c.body.Outputs) > 2 {
			out = append(out, "list")
		}
		g.Nodes = []*onnx.Node{
			{Op: "ReduceMax", In: []string{"z"}, Out: []string{"m"}, Attr: onnx.Attrs("keepdims", 0)},
			{Op: "Cast", In: []string{"m"}, Out: []string{"z0"}, Attr: onnx.Attrs("to", int(onnx.Int64))},
			{Op: "Loop", Name: "turns", In: []string{c.turns, "yes", "z"}, Out: out, Attr: map[string]onnx.Attr{"body": {Kind: onnx.AttrGraph, Graph: c.body}}},
			{Op: "ReduceMax", In: []string{out[len(out)-1]}, Out: []string{"y1"}, Attr: onnx.Attrs("keepdims", 0)},
			{Op: "Reshape", In: []string{"y1", "none"}, Out: []string{"y"}},
		}
		_, err := FITS(g, false, DefaultRoom, 0)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: found error %v, expected one with %q", c.name, err, c.want)
		}
	}
}

// A chain of activations keeps two values at a time, however long it is: 2 · 4 · 2²² bytes.
func TestFootprintCountsWhatIsAliveAtATime(t *testing.T) {
	g := graphtest.BombGraph(t, func(b *onnx.Builder) string {
		x := b.Op("Expand", "z", b.Ints(1<<20, 4))
		for range 200 {
			x = b.Op("Sin", x)
		}
		return x
	})
	peak, _, err := Footprint(g, false)
	if want := int64(2*4<<22 + 16); err != nil || math.Abs(float64(peak-want)) > 64 {
		t.Errorf("found %d bytes, %v, expected %d", peak, err, want)
	}
}

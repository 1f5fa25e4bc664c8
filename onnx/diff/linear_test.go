package diff

import (
	"fmt"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxtest"
	"lenskit/onnx/rewrite"
)

// reluChain is a chain of n nodes.
func reluChain(n int) *onnx.Graph {
	g := &onnx.Graph{
		Opset: map[string]int{"": 18}, Init: map[string]*onnx.Tensor{}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}, {N: 2}}}},
		Outputs: []onnx.Value{{Name: fmt.Sprint("v", n), Type: onnx.Float32}},
	}
	from := "z"
	for i := range n {
		to := fmt.Sprint("v", i+1)
		g.Nodes = append(g.Nodes, &onnx.Node{Op: "Relu", In: []string{from}, Out: []string{to}})
		from = to
	}
	return g
}

// Allocations count work that does not depend on the machine: eight times the nodes may take little more than eight
// times as many bytes, where anything done for each pair of nodes takes 64 times as many.
func TestWorkGrowsWithTheNodes(t *testing.T) {
	for name, work := range map[string]func(g *onnx.Graph) error{
		"check":       checker.Graph,
		"fold":        func(g *onnx.Graph) error { _, err := rewrite.Fold(g); return err },
		"vjp":         func(g *onnx.Graph) error { _, err := VJP(g, Options{}); return err },
		"split":       func(g *onnx.Graph) error { _, err := Split(g, Options{}); return err },
		"jacobian":    func(g *onnx.Graph) error { _, err := Jacobian(g, Options{Columns: 2}); return err },
		"unsupported": func(g *onnx.Graph) error { return errorsOf(Unsupported(g, Options{})) },
	} {
		t.Run(name, func(t *testing.T) {
			bytes := func(n int) float64 {
				g := reluChain(n)
				return float64(onnxtest.Allocated(func() {
					if err := work(g); err != nil {
						t.Fatal(err)
					}
				}))
			}
			if few, many := bytes(250), bytes(2000); many > 16*few {
				t.Errorf("8 times the nodes take %.1f times the memory", many/few)
			}
		})
	}
}

func errorsOf(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

// A chain whose nodes read one constant each makes the rules look at many different nodes.
func TestUnsupportedLooksAtNodesThatDifferOnlyInAConstant(t *testing.T) {
	g := &onnx.Graph{
		Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}, {N: 2}}}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32}},
		Init: map[string]*onnx.Tensor{
			"off": {Type: onnx.Bool, Shape: []int64{}, Ints: []int64{0}}, "on": {Type: onnx.Bool, Shape: []int64{}, Ints: []int64{1}}, "half": onnx.FloatTensor([]float32{0.5}, []int64{}...),
		},
		Nodes: []*onnx.Node{
			{Op: "Exp", In: []string{"z"}, Out: []string{"a"}},
			{Op: "Dropout", Name: "first", In: []string{"a", "half", "on"}, Out: []string{"b"}}, {Op: "Exp", In: []string{"b"}, Out: []string{"c"}},
			{Op: "Dropout", Name: "second", In: []string{"c", "half", "on"}, Out: []string{"y"}},
		},
	}
	if errs := Unsupported(g, Options{}); len(errs) != 2 {
		t.Errorf("found %v, expected an error for each of two nodes", errs)
	}
	if errs := Unsupported(graphtest.Network([]string{"a"}, []string{"y"}, "y = Floor(a)"), Options{}); len(errs) != 1 {
		t.Errorf("found %v, expected one error that every gradient is zero", errs)
	}
}

package diff

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/rewrite"
)

// TestComparedRowsTakeBoundedWork is of networks for which only a run tells whether rows stand apart.
func TestComparedRowsTakeBoundedWork(t *testing.T) {
	for name, c := range map[string]struct {
		nodes []string
		shape []onnx.Dim
		says  string
	}{
		"orders":  {[]string{"k = Constant()", "v = TopK(a, k)", "y = Exp(v)"}, []onnx.Dim{{N: 1, Sym: "N"}, {N: 1 << 20, Sym: ""}}, "operations, expected at most"},
		"numbers": {[]string{"k = Constant()", "v = TopK(a, k)", "y = Exp(v)"}, []onnx.Dim{{N: 1, Sym: "N"}, {N: 1 << 24, Sym: ""}}, "are more than 16777216 numbers"},
	} {
		g := graphtest.Network([]string{"a"}, []string{"y"}, c.nodes...)
		g.Inputs[0].Shape = c.shape
		g.Nodes[0].Attr = onnx.Attrs("value_ints", []int64{1})
		err := Apart(g, Options{}, nil)
		if !errors.Is(err, ErrRows) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: found %v, expected an error with %q", name, err, c.says)
		}
	}
}

// TestFoldingTakesBoundedWork folds many nodes whose results are small and whose operand is not.
func TestFoldingTakesBoundedWork(t *testing.T) {
	g := graphtest.Network([]string{"a"}, []string{"y"})
	w := make([]float32, 1<<20)
	for i := range w {
		w[i] = float32(i%17) / 17
	}
	g.Init["w"] = onnx.FloatTensor(w, 1024, 1024)
	last := "a"
	const many = 200
	for i := range many {
		s, next := fmt.Sprint("s", i), fmt.Sprint("t", i)
		k := fmt.Sprint("k", i)
		g.Init[k] = onnx.IntTensor([]int64{int64(i)}, 1)
		g.Nodes = append(g.Nodes, &onnx.Node{Op: "Einsum", In: []string{"w", "w"}, Out: []string{s}, Attr: onnx.Attrs("equation", "ij,ij->")},
			&onnx.Node{Op: "Add", In: []string{last, s}, Out: []string{next}})
		last = next
	}
	g.Nodes = append(g.Nodes, &onnx.Node{Op: "Identity", In: []string{last}, Out: []string{"y"}})
	h, err := rewrite.Simplify(g)
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

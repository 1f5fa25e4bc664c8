package rewrite

import (
	"path/filepath"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxtest"
)

func TestFoldKeepsWhatDecodersCompute(t *testing.T) {
	for _, path := range onnxtest.Decoders(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			g, err := onnx.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			before, err := g.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			h, err := Fold(g)
			if err != nil {
				t.Fatal(err)
			}
			if after, _ := g.Marshal(); string(after) != string(before) {
				t.Error("Fold changed the graph it was given")
			}
			if err := checker.Graph(h); err != nil {
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
			evaltest.SameResults(t, g, h, 2e-6)
		})
	}
}

func TestRewritesFireWhereTheyMust(t *testing.T) {
	rows := map[string]rewriteRow{}
	for _, r := range append(append([]rewriteRow{}, foldRows...), lateRows...) {
		rows[r.name] = r
	}
	tested := map[string]map[bool]bool{}
	for _, c := range graphtest.RewriteCases {
		row, ok := rows[c.Rule]
		if !ok {
			t.Fatalf("no rewrite %q", c.Rule)
		}
		if tested[c.Rule] == nil {
			tested[c.Rule] = map[bool]bool{}
		}
		tested[c.Rule][c.Fires] = true
		t.Run(c.Rule+"/"+c.Name, func(t *testing.T) {
			g := caseGraph(t, c)
			f := newFolder(g, []rewriteRow{row})
			h, err := f.run()
			if err != nil {
				t.Fatal(err)
			}
			if fired := f.fired > 0; fired != c.Fires {
				t.Errorf("fired: %v, expected %v", fired, c.Fires)
			}
			evaltest.SameResults(t, g, h, 2e-6)
			all, err := Fold(g)
			if err != nil {
				t.Fatal(err)
			}
			if err := checker.Graph(all); err != nil {
				t.Error(err)
			}
			evaltest.SameResults(t, g, all, 2e-6)
		})
	}
	for name := range rows {
		if name != "identity" && (!tested[name][true] || !tested[name][false]) {
			t.Errorf("rewrite %q: no case in which it fires, or none in which it does not", name)
		}
	}
}

// caseGraph builds a case over the input x of shape [N 4 5 5].
func caseGraph(t *testing.T, c graphtest.RewriteCase) *onnx.Graph {
	t.Helper()
	g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "N"}, {N: 4, Sym: ""}, {N: 5, Sym: ""}, {N: 5, Sym: ""}}}}}
	b := onnx.NewBuilder(g, "t_")
	b.Output(c.Build(b))
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return g
}

func TestFoldSharesRepeatedNodes(t *testing.T) {
	g := caseGraph(t, graphtest.RewriteCase{Build: func(b *onnx.Builder) string {
		return b.Op("Mul", b.Op("Tanh", "x"), b.Op("Tanh", "x"))
	}})
	h, err := Fold(g)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Nodes) != 2 {
		t.Errorf("found %d nodes, expected 2", len(h.Nodes))
	}
	evaltest.SameResults(t, g, h, 0)
}

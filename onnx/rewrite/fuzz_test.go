package rewrite

import (
	"os"
	"path/filepath"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxtest"
)

// FuzzParse holds the loader, the check and shape inference against arbitrary files: no panic, no allocation beyond
// the stated bound, and what is read survives being written and read again.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"functions.onnx", "half.onnx", "loop.onnx", "old.onnx"} {
		data, err := os.ReadFile(filepath.Join("..", "testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range fuzzSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var g *onnx.Graph
		var err error
		grown := onnxtest.Allocated(func() { g, err = onnx.Parse(data, "") })
		if err == nil && len(g.Nodes) < len(data) && grown > 512*uint64(len(data))+1<<20 {
			t.Errorf("reading %d bytes allocated %d", len(data), grown)
		}
		if err != nil || checker.Graph(g) != nil {
			return
		}
		if err := g.Infer(); err != nil {
			t.Fatalf("check passes, shape inference does not: %v", err)
		}
		b, err := g.Marshal()
		if err != nil {
			t.Fatalf("check passes, marshal does not: %v", err)
		}
		h, err := onnx.Parse(b, "")
		if err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
		if d := graphtest.Differ(g, h); d != "" {
			t.Fatalf("after a round trip %s differ", d)
		}
	})
}

// FuzzFold holds Fold, and what a session does to a graph, against arbitrary files: what they make of a valid graph is
// valid, and Fold allocates at most MaxFuzzBytes.
func FuzzFold(f *testing.F) {
	for _, name := range []string{"functions.onnx", "half.onnx", "loop.onnx", "old.onnx"} {
		data, err := os.ReadFile(filepath.Join("..", "testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range fuzzSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := onnx.Parse(data, "")
		if err != nil || checker.Graph(g) != nil {
			return
		}
		var h *onnx.Graph
		if grown := onnxtest.Allocated(func() { h, err = Fold(g) }); grown > onnxtest.MaxFuzzBytes {
			t.Errorf("folding a file of %d bytes allocated %d", len(data), grown)
		}
		if err != nil {
			return
		}
		if err := checker.Graph(h); err != nil {
			t.Fatalf("folding made an invalid graph: %v", err)
		}
		if len(h.Outputs) != len(g.Outputs) || len(h.Inputs) != len(g.Inputs) {
			t.Fatalf("folding changed the inputs or outputs")
		}
		w, err := Tuned(h)
		if err == nil {
			w, err = settleTransposes(w)
		}
		if err == nil {
			err = checker.Graph(w)
		}
		if err != nil {
			t.Fatalf("writing convolutions as products and phases: %v", err)
		}
	})
}

// fuzzSeeds are small models that use operators of every kind.
func fuzzSeeds() [][]byte {
	var seeds [][]byte
	add := func(build func(b *onnx.Builder) string) {
		g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "N"}, {N: 4, Sym: ""}, {N: 5, Sym: ""}, {N: 5, Sym: ""}}}}}
		b := onnx.NewBuilder(g, "")
		b.Output(build(b))
		if data, err := g.Marshal(); err == nil && b.Err() == nil {
			seeds = append(seeds, data)
		}
	}
	for _, c := range graphtest.RewriteCases {
		add(c.Build)
	}
	add(func(b *onnx.Builder) string {
		return b.OpAttr("Einsum", map[string]onnx.Attr{"equation": onnx.StringAttr("n...ij,n...kj->nik")}, "x", "x")
	})
	add(func(b *onnx.Builder) string {
		s := b.Op("Shape", "x")
		n := b.Op("Gather", s, b.Ints(0))
		return b.Op("Expand", b.Scalar(1), b.OpAttr("Concat", map[string]onnx.Attr{"axis": onnx.IntAttr(0)}, n, b.Op("Mul", n, b.Ints(3))))
	})
	add(func(b *onnx.Builder) string {
		return b.OpN("Split", 2, map[string]onnx.Attr{"axis": onnx.IntAttr(1)}, "x", b.Ints(1, 3))[1]
	})
	add(func(b *onnx.Builder) string {
		return b.OpAttr("AveragePool", map[string]onnx.Attr{"kernel_shape": onnx.IntsAttr(2, 2), "ceil_mode": onnx.IntAttr(1), "strides": onnx.IntsAttr(2, 2)}, "x")
	})
	add(func(b *onnx.Builder) string {
		turned := b.OpAttr("Transpose", onnx.Attrs("perm", toPixels), "x")
		return b.OpAttr("Transpose", onnx.Attrs("perm", toPixels), b.Op("Mul", b.Op("Add", turned, b.Scalar(1)), b.Op("Sigmoid", turned)))
	})
	add(func(b *onnx.Builder) string {
		return b.Op("Pad", b.OpAttr("DepthToSpace", map[string]onnx.Attr{"blocksize": onnx.IntAttr(2)}, "x"), b.Ints(1, 1), "", b.Ints(2))
	})
	// a layer of a decoder with the mask of its Relu, which sessions write in other ways
	up := graphtest.ConvGraph("ConvTranspose", 16, 16, 4, 4, map[string]onnx.Attr{
		"kernel_shape": onnx.IntsAttr(4, 4), "strides": onnx.IntsAttr(2, 2), "pads": onnx.IntsAttr(1, 1, 1, 1)})
	up.Inputs[0].Shape[0].N = 1
	b := onnx.NewBuilder(up, "")
	h := b.Op("Relu", up.Outputs[0].Name)
	up.Outputs = nil
	b.Output(b.Op("Mul", h, b.OpAttr("Cast", onnx.Attrs("to", int(onnx.Float32)), b.Op("Greater", h, b.Scalar(0)))))
	if data, err := up.Marshal(); err == nil && b.Err() == nil {
		seeds = append(seeds, data)
	}
	return seeds
}

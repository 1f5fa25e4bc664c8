package onnx

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// FuzzParse holds the loader, the check and shape inference against arbitrary files: no panic, no allocation beyond
// the stated bound, and what is read survives being written and read again.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"functions.onnx", "half.onnx", "loop.onnx", "old.onnx"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range fuzzSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var g *Graph
		var err error
		grown := allocated(func() { g, err = Parse(data, "") })
		if err == nil && len(g.Nodes) < len(data) && grown > 512*uint64(len(data))+1<<20 {
			t.Errorf("reading %d bytes allocated %d", len(data), grown)
		}
		if err != nil || g.Check() != nil {
			return
		}
		if err := g.Infer(); err != nil {
			t.Fatalf("check passes, shape inference does not: %v", err)
		}
		b, err := g.Marshal()
		if err != nil {
			t.Fatalf("check passes, marshal does not: %v", err)
		}
		h, err := Parse(b, "")
		if err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
		if d := differ(g, h); d != "" {
			t.Fatalf("after a round trip %s differ", d)
		}
	})
}

// maxFuzzBytes is what folding a small file, taking its derivatives or running one node may allocate in all: a constant
// of a small graph has at most 2²² elements, and together with what it is made of it is counted several times.
const maxFuzzBytes = 1 << 30

// allocated is the number of bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzFold holds Fold, and what a session does to a graph, against arbitrary files: what they make of a valid graph is
// valid, and Fold allocates at most maxFuzzBytes.
func FuzzFold(f *testing.F) {
	for _, name := range []string{"functions.onnx", "half.onnx", "loop.onnx", "old.onnx"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range fuzzSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := Parse(data, "")
		if err != nil || g.Check() != nil {
			return
		}
		var h *Graph
		if grown := allocated(func() { h, err = g.Fold() }); grown > maxFuzzBytes {
			t.Errorf("folding a file of %d bytes allocated %d", len(data), grown)
		}
		if err != nil {
			return
		}
		if err := h.Check(); err != nil {
			t.Fatalf("folding made an invalid graph: %v", err)
		}
		if len(h.Outputs) != len(g.Outputs) || len(h.Inputs) != len(g.Inputs) {
			t.Fatalf("folding changed the inputs or outputs")
		}
		w, err := h.tuned()
		if err == nil {
			w, err = w.settleTransposes()
		}
		if err == nil {
			err = w.Check()
		}
		if err != nil {
			t.Fatalf("writing convolutions as products and phases: %v", err)
		}
	})
}

// fuzzSeeds are small models that use operators of every kind.
func fuzzSeeds() [][]byte {
	var seeds [][]byte
	add := func(build func(b *Builder) string) {
		g := &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{"x", Float32, []Dim{{1, "N"}, {4, ""}, {5, ""}, {5, ""}}}}}
		b := NewBuilder(g, "")
		b.Output(build(b))
		if data, err := g.Marshal(); err == nil && b.Err() == nil {
			seeds = append(seeds, data)
		}
	}
	for _, c := range rewriteCases {
		add(c.build)
	}
	add(func(b *Builder) string {
		return b.OpAttr("Einsum", map[string]Attr{"equation": StringAttr("n...ij,n...kj->nik")}, "x", "x")
	})
	add(func(b *Builder) string {
		s := b.Op("Shape", "x")
		n := b.Op("Gather", s, b.Ints(0))
		return b.Op("Expand", b.Scalar(1), b.OpAttr("Concat", map[string]Attr{"axis": IntAttr(0)}, n, b.Op("Mul", n, b.Ints(3))))
	})
	add(func(b *Builder) string {
		return b.OpN("Split", 2, map[string]Attr{"axis": IntAttr(1)}, "x", b.Ints(1, 3))[1]
	})
	add(func(b *Builder) string {
		return b.OpAttr("AveragePool", map[string]Attr{"kernel_shape": IntsAttr(2, 2), "ceil_mode": IntAttr(1), "strides": IntsAttr(2, 2)}, "x")
	})
	add(func(b *Builder) string {
		turned := b.OpAttr("Transpose", attrs("perm", toPixels), "x")
		return b.OpAttr("Transpose", attrs("perm", toPixels), b.Op("Mul", b.Op("Add", turned, b.Scalar(1)), b.Op("Sigmoid", turned)))
	})
	add(func(b *Builder) string {
		return b.Op("Pad", b.OpAttr("DepthToSpace", map[string]Attr{"blocksize": IntAttr(2)}, "x"), b.Ints(1, 1), "", b.Ints(2))
	})
	// a layer of a decoder with the mask of its Relu, which sessions write in other ways
	up := convGraph("ConvTranspose", 16, 16, 4, 4, map[string]Attr{
		"kernel_shape": IntsAttr(4, 4), "strides": IntsAttr(2, 2), "pads": IntsAttr(1, 1, 1, 1)})
	up.Inputs[0].Shape[0].N = 1
	b := NewBuilder(up, "")
	h := b.Op("Relu", up.Outputs[0].Name)
	up.Outputs = nil
	b.Output(b.Op("Mul", h, b.OpAttr("Cast", attrs("to", int(Float32)), b.Op("Greater", h, b.Scalar(0)))))
	if data, err := up.Marshal(); err == nil && b.Err() == nil {
		seeds = append(seeds, data)
	}
	return seeds
}

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
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		g, err := Parse(data, "")
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; err == nil && len(g.Nodes) < len(data) && grown > 512*uint64(len(data))+1<<20 {
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

// FuzzFold holds Fold against arbitrary files: what it makes of a valid graph is valid.
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
		h, err := g.Fold()
		if err != nil {
			return
		}
		if err := h.Check(); err != nil {
			t.Fatalf("folding made an invalid graph: %v", err)
		}
		if len(h.Outputs) != len(g.Outputs) || len(h.Inputs) != len(g.Inputs) {
			t.Fatalf("folding changed the inputs or outputs")
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
		return b.Op("Pad", b.OpAttr("DepthToSpace", map[string]Attr{"blocksize": IntAttr(2)}, "x"), b.Ints(1, 1), "", b.Ints(2))
	})
	return seeds
}

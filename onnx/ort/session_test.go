package ort

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/graphtest"
)

// affine is y = a·x + b on [2, 3] with a and b initialisers of that shape.
func affine() *onnx.Graph {
	return &onnx.Graph{
		Name:    "affine",
		Opset:   map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: graphtest.DimsOf(2, 3)}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: graphtest.DimsOf(2, 3)}},
		Nodes: []*onnx.Node{
			{Op: "Mul", Name: "scale", In: []string{"x", "a"}, Out: []string{"ax"}},
			{Op: "Add", Name: "shift", In: []string{"ax", "b"}, Out: []string{"y"}},
		},
		Init: map[string]*onnx.Tensor{
			"a": onnx.FloatTensor([]float32{1, 2, 3, 4, 5, 6}, 2, 3),
			"b": onnx.FloatTensor([]float32{10, 10, 10, 20, 20, 20}, 2, 3),
		},
	}
}

func open(t testing.TB, g *onnx.Graph, opt Options) *Session {
	t.Helper()
	needLibrary(t)
	s, err := Open(g, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSessionRunsOnBoundMemory(t *testing.T) {
	mine := make([]float32, 6)
	s := open(t, affine(), Options{Bind: map[string][]float32{"y": mine}})
	for i := range s.Input("x") {
		s.Input("x")[i] = float32(i)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	want := []float32{10, 12, 16, 32, 40, 50}
	if !slices.Equal(mine, want) {
		t.Errorf("the caller's slice: got %v, want %v", mine, want)
	}
	if &s.Output("y")[0] != &mine[0] {
		t.Error("Output is not the caller's slice")
	}
	if s.Input("y") != nil || s.Output("x") != nil || s.Input("z") != nil {
		t.Error("unknown names: got memory, want nil")
	}
}

func TestSessionRunAllocatesNothing(t *testing.T) {
	s := open(t, affine(), Options{Threads: 1})
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %g allocations a run, want 0", n)
	}
}

func TestSessionsAreIndependent(t *testing.T) {
	a, b := open(t, affine(), Options{Threads: 1}), open(t, affine(), Options{Threads: 1, NoSpin: true})
	done := make(chan error, 2)
	for i, s := range []*Session{a, b} {
		go func() {
			var err error
			for k := 0; k < 200 && err == nil; k++ {
				for j := range s.Input("x") {
					s.Input("x")[j] = float32(i + 1)
				}
				err = s.Run()
			}
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if a.Output("y")[5] != 26 || b.Output("y")[5] != 32 {
		t.Errorf("got %g and %g, want 26 and 32", a.Output("y")[5], b.Output("y")[5])
	}
}

func TestSessionCloses(t *testing.T) {
	needLibrary(t)
	s, err := Open(affine(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, affine(), Options{})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Run(); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("run after close: got %v, want an error", err)
	}
	if s.Input("x") != nil {
		t.Error("input after close: got memory, want nil")
	}
	if err := other.Run(); err != nil {
		t.Errorf("another session after the first was closed: %v", err)
	}
}

func TestSessionTakesScalarsAndGraphsWithoutInputs(t *testing.T) {
	g := &onnx.Graph{
		Name:    "scalars",
		Opset:   map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: graphtest.DimsOf()}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: graphtest.DimsOf()}, {Name: "x2", Type: onnx.Float32, Shape: graphtest.DimsOf(1)}},
		Nodes: []*onnx.Node{
			{Op: "Add", In: []string{"x", "two"}, Out: []string{"y"}},
			{Op: "Reshape", In: []string{"y", "shape"}, Out: []string{"x2"}},
		},
		Init: map[string]*onnx.Tensor{"two": onnx.FloatTensor([]float32{2}), "shape": onnx.IntTensor([]int64{1}, 1)},
	}
	s := open(t, g, Options{})
	s.Input("x")[0] = 3
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	if s.Output("y")[0] != 5 || s.Output("x2")[0] != 5 {
		t.Errorf("got %v and %v, want 5", s.Output("y"), s.Output("x2"))
	}
	y, err := s.OutputTensor("y")
	if err != nil || len(y.Shape) != 0 {
		t.Errorf("got shape %v, %v, want no dimensions", y.Shape, err)
	}
	if len(g.Nodes) != 2 || len(g.Init) != 2 || len(g.Inputs[0].Shape) != 0 {
		t.Error("Open changed the graph")
	}

	constant := &onnx.Graph{
		Opset:   map[string]int{"": 18},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: graphtest.DimsOf(2)}},
		Nodes:   []*onnx.Node{{Op: "Neg", In: []string{"c"}, Out: []string{"y"}}},
		Init:    map[string]*onnx.Tensor{"c": onnx.FloatTensor([]float32{1, 2}, 2)},
	}
	s = open(t, constant, Options{})
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Output("y"), []float32{-1, -2}) {
		t.Errorf("no inputs: got %v, want [-1 -2]", s.Output("y"))
	}
}

func TestSessionMovesTensorsOfEveryType(t *testing.T) {
	for _, typ := range []onnx.DType{onnx.Float32, onnx.Float64, onnx.Int64, onnx.Int32, onnx.Int16, onnx.Int8, onnx.Uint8, onnx.Uint16, onnx.Uint32, onnx.Uint64, onnx.Bool} {
		t.Run(typ.String(), func(t *testing.T) {
			s := open(t, &onnx.Graph{
				Opset:   map[string]int{"": 18},
				Inputs:  []onnx.Value{{Name: "x", Type: typ, Shape: graphtest.DimsOf(3)}},
				Outputs: []onnx.Value{{Name: "y", Type: typ, Shape: graphtest.DimsOf(3)}},
				Nodes:   []*onnx.Node{{Op: "Identity", In: []string{"x"}, Out: []string{"y"}}},
			}, Options{})
			x := &onnx.Tensor{Type: typ, Shape: []int64{3}}
			switch typ {
			case onnx.Float32:
				x.Floats = []float32{1, 0, 100}
			case onnx.Float64:
				x.Doubles = []float64{1, 0, 100}
			case onnx.Bool:
				x.Ints = []int64{1, 0, 1}
			default:
				x.Ints = []int64{1, 0, 100}
			}
			if err := s.SetInput("x", x); err != nil {
				t.Fatal(err)
			}
			if err := s.Run(); err != nil {
				t.Fatal(err)
			}
			y, err := s.OutputTensor("y")
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				if y.Float(i) != x.Float(i) {
					t.Errorf("element %d: got %g, want %g", i, y.Float(i), x.Float(i))
				}
			}
			if typ != onnx.Float32 && s.Input("x") != nil {
				t.Error("Input of another type than float32: got memory, want nil")
			}
		})
	}
}

func TestBrokenSessionsAreErrors(t *testing.T) {
	needLibrary(t)
	change := func(f func(g *onnx.Graph)) *onnx.Graph {
		g := affine()
		f(g)
		return g
	}
	for _, c := range []struct {
		name string
		g    *onnx.Graph
		opt  Options
		want string
	}{
		{"symbolic extent", change(func(g *onnx.Graph) {
			g.Inputs[0].Shape[0] = onnx.Dim{N: 1, Sym: "N"}
			g.Outputs[0].Shape[0] = onnx.Dim{N: 1, Sym: "N"}
		}), Options{}, `"x" has shape [N 3], expected numbers`},
		{"unknown rank", change(func(g *onnx.Graph) { g.Outputs[0].Shape = nil }), Options{}, `"y" has shape of unknown rank`},
		{"no outputs", change(func(g *onnx.Graph) { g.Outputs = nil }), Options{}, "no outputs"},
		{"undefined name", change(func(g *onnx.Graph) { g.Nodes[1].In[0] = "nowhere" }), Options{}, "nowhere"},
		{"unknown operator", change(func(g *onnx.Graph) { g.Nodes[1].Op = "Frobnicate" }), Options{}, "Frobnicate"},
		{"shapes that do not fit", change(func(g *onnx.Graph) { g.Init["a"] = onnx.FloatTensor(make([]float32, 4), 4) }), Options{}, ""},
		{"declared output shape is wrong", change(func(g *onnx.Graph) { g.Outputs[0].Shape = graphtest.DimsOf(5) }), Options{}, ""},
		{"values missing", change(func(g *onnx.Graph) { g.Init["a"].Floats = nil }), Options{}, ""},
		{"bound length", affine(), Options{Bind: map[string][]float32{"x": make([]float32, 5)}}, "found 5 numbers, expected 6"},
		{"bound name", affine(), Options{Bind: map[string][]float32{"z": make([]float32, 5)}}, `no such input or output`},
		{"device", affine(), Options{Device: "gpu"}, `found device "gpu", expected cpu, cuda or cuda:N`},
		{"device number", affine(), Options{Device: "cuda:x"}, `found device "cuda:x"`},
		{"threads", affine(), Options{Threads: -1}, "found -1 threads"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Open(c.g, c.opt)
			if err == nil {
				err = s.Run()
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the message has more than one line: %q", err)
			}
		})
	}
}

func TestSetInputChecksItsTensor(t *testing.T) {
	s := open(t, affine(), Options{})
	for _, c := range []struct {
		input string
		t     *onnx.Tensor
	}{
		{"z", onnx.FloatTensor(make([]float32, 6), 2, 3)},
		{"x", onnx.FloatTensor(make([]float32, 6), 3, 2)},
		{"x", onnx.FloatTensor(make([]float32, 5), 2, 3)},
		{"x", onnx.IntTensor(make([]int64, 6), 2, 3)},
	} {
		if err := s.SetInput(c.input, c.t); err == nil {
			t.Errorf("input %s, %s %v: got no error", c.input, c.t.Type, c.t.Shape)
		}
	}
	if _, err := s.OutputTensor("x"); err == nil {
		t.Error("output x: got no error")
	}
}

func TestMissingGPUIsAnError(t *testing.T) {
	needLibrary(t)
	list, err := Providers()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(list, "CUDAExecutionProvider") {
		t.Skip("this onnxruntime was built with CUDA")
	}
	for _, device := range []string{"cuda", "cuda:1"} {
		if _, err := Open(affine(), Options{Device: device}); err == nil || !strings.Contains(err.Error(), "built without CUDA") {
			t.Errorf("%s: got %v, want an error", device, err)
		}
	}
}

func TestSessionsAgreeWithTheEvaluator(t *testing.T) {
	needLibrary(t)
	rng := rand.New(rand.NewPCG(9, 10))
	for _, name := range []string{"dcgan", "dcgan_bias_lrelu", "up_nearest_gn_silu", "up_bilinear_bn_gelu", "pixshuf", "mlp_ln_gelu", "res_att", "stylemod"} {
		for _, exporter := range []string{"dynamo", "legacy"} {
			t.Run(name+"."+exporter, func(t *testing.T) {
				g, err := onnx.Load(check.Shared(t, "decoders/"+name+"."+exporter+".onnx"))
				if err != nil {
					t.Fatal(err)
				}
				shape, _ := onnx.Known(g.Inputs[0].Shape[1:])
				if g, err = diff.BindInput(g, "z", append([]int64{2}, shape...)); err != nil {
					t.Fatal(err)
				}
				d, err := diff.VJP(g, diff.Options{})
				if err != nil {
					t.Fatal(err)
				}
				s := open(t, d, Options{})
				e, err := eval.New(d)
				if err != nil {
					t.Fatal(err)
				}
				in := map[string]*eval.Array{}
				for _, v := range d.Inputs {
					shape, _ := onnx.Known(v.Shape)
					a := eval.FloatArray(make([]float64, len(s.Input(v.Name))), shape...)
					for i := range a.F {
						s.Input(v.Name)[i] = float32(rng.NormFloat64())
						a.F[i] = float64(s.Input(v.Name)[i])
					}
					in[v.Name] = a
				}
				if err := s.Run(); err != nil {
					t.Fatal(err)
				}
				want, err := e.Run(in)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range d.Outputs {
					worst, scale := 0.0, 0.0
					for i, w := range want[v.Name].F {
						worst = max(worst, math.Abs(float64(s.Output(v.Name)[i])-w))
						scale = max(scale, math.Abs(w))
					}
					if !(worst <= 1e-4*scale) {
						t.Errorf("%s: differs by %g of its largest value, want at most 1e-4", v.Name, worst/scale)
					}
				}
			})
		}
	}
}

// paperDecoder is the decoder of Chianese et al. (2020), table D2, with random weights: latents z [N, 64] to an image
// [N, 1, 64, 64] through five transposed convolutions with 4x4 kernels.
func paperDecoder(rng *rand.Rand) *onnx.Graph {
	g := &onnx.Graph{
		Name:   "decoder",
		Opset:  map[string]int{"": 18},
		Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "N"}, {N: 64}}}},
		Init:   map[string]*onnx.Tensor{},
	}
	b := onnx.NewBuilder(g, "d.")
	normal := func(name string, mean, sd float64, shape ...int64) string {
		t := onnx.FloatTensor(nil, shape...)
		t.Floats = make([]float32, t.Size())
		for i := range t.Floats {
			t.Floats[i] = float32(mean + sd*rng.NormFloat64())
		}
		g.Init[name] = t
		return name
	}
	channels := []int64{64, 512, 256, 128, 64, 1}
	x := b.Op("Reshape", "z", b.Ints(-1, 64, 1, 1))
	for i := range 5 {
		in, out := channels[i], channels[i+1]
		pads, strides := []int64{1, 1, 1, 1}, []int64{2, 2}
		if i == 0 {
			pads, strides = []int64{0, 0, 0, 0}, []int64{1, 1}
		}
		w := normal(b.Fresh("weight"), 0, 1/math.Sqrt(float64(4*in)), in, out, 4, 4)
		x = b.OpAttr("ConvTranspose", map[string]onnx.Attr{"kernel_shape": onnx.IntsAttr(4, 4), "strides": onnx.IntsAttr(strides...), "pads": onnx.IntsAttr(pads...)}, x, w)
		if i == 4 {
			break
		}
		variance := normal(b.Fresh("var"), 1, 0.1, out)
		x = b.OpAttr("BatchNormalization", map[string]onnx.Attr{"epsilon": onnx.FloatAttr(1e-5)}, x,
			normal(b.Fresh("scale"), 1, 0.1, out), normal(b.Fresh("bias"), 0, 0.1, out), normal(b.Fresh("mean"), 0, 0.1, out), variance)
		x = b.Op("Relu", x)
	}
	b.Output(b.Op("Tanh", x))
	if err := b.Err(); err != nil {
		panic(err)
	}
	return g
}

// BenchmarkDecoderVJP times value and gradient of the paper's decoder: as one graph, and split into forward and backward
// sessions that share their saved activations and take turns, which is why their threads do not spin; and the Jacobian
// by all 64 latents in one run. LENSKIT_BENCH_DECODER may name a folder with a decoder.onnx to take instead, and with
// graphs of other programs, onnx-ad_*.onnx, to time beside.
func BenchmarkDecoderVJP(b *testing.B) {
	needLibrary(b)
	rng := rand.New(rand.NewPCG(7, 8))
	g := paperDecoder(rng)
	var others []string
	if dir := os.Getenv("LENSKIT_BENCH_DECODER"); dir != "" {
		var err error
		if g, err = onnx.Load(filepath.Join(dir, "decoder.onnx")); err != nil {
			b.Fatal(err)
		}
		if others, err = filepath.Glob(filepath.Join(dir, "onnx-ad_*.onnx")); err != nil {
			b.Fatal(err)
		}
	}
	y := g.Outputs[0].Name
	normals := func(x []float32) {
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
	}
	for _, batch := range []int64{1, 8, 32} {
		bound, err := g.Bind(map[string]int64{"N": batch})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("Split/batch=%d", batch), func(b *testing.B) {
			pair, err := diff.Split(bound, diff.Options{})
			if err != nil {
				b.Fatal(err)
			}
			saved := map[string][]float32{}
			f := open(b, pair.Forward, Options{NoSpin: true})
			for _, name := range pair.Saved {
				if m := f.Output(name); m != nil {
					saved[name] = m
				} else if m := f.Input(name); m != nil {
					saved[name] = m
				}
			}
			r := open(b, pair.Backward, Options{Bind: saved, NoSpin: true})
			normals(f.Input("z"))
			normals(r.Input("grad_" + y))
			for b.Loop() {
				if err := f.Run(); err != nil {
					b.Fatal(err)
				}
				if err := r.Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("VJP/batch=%d", batch), func(b *testing.B) {
			d, err := diff.VJP(bound, diff.Options{})
			if err != nil {
				b.Fatal(err)
			}
			s := open(b, d, Options{})
			normals(s.Input("z"))
			normals(s.Input("grad_" + y))
			for b.Loop() {
				if err := s.Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Jacobian/columns=64", func(b *testing.B) {
		d, err := diff.Jacobian(g, diff.Options{Columns: 64})
		if err != nil {
			b.Fatal(err)
		}
		s := open(b, d, Options{})
		normals(s.Input("z"))
		normals(s.Input("tangent_z"))
		for b.Loop() {
			if err := s.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, path := range others {
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".onnx"), "_")
		b.Run("onnx-ad/"+name, func(b *testing.B) {
			d, err := onnx.Load(path)
			if err != nil {
				b.Fatal(err)
			}
			s := open(b, d, Options{Direct: true})
			for _, v := range d.Inputs {
				normals(s.Input(v.Name))
			}
			for b.Loop() {
				if err := s.Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

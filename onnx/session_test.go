package onnx

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
)

// dims makes a shape of numbers.
func dimsOf(n ...int64) []Dim {
	d := make([]Dim, len(n))
	for i := range n {
		d[i].N = n[i]
	}
	return d
}

// affine is y = a·x + b on [2, 3] with a and b initialisers of that shape.
func affine() *Graph {
	return &Graph{
		Name:    "affine",
		Opset:   map[string]int{"": 18},
		Inputs:  []Value{{"x", Float32, dimsOf(2, 3)}},
		Outputs: []Value{{"y", Float32, dimsOf(2, 3)}},
		Nodes: []*Node{
			{Op: "Mul", Name: "scale", In: []string{"x", "a"}, Out: []string{"ax"}},
			{Op: "Add", Name: "shift", In: []string{"ax", "b"}, Out: []string{"y"}},
		},
		Init: map[string]*Tensor{
			"a": FloatTensor([]float32{1, 2, 3, 4, 5, 6}, 2, 3),
			"b": FloatTensor([]float32{10, 10, 10, 20, 20, 20}, 2, 3),
		},
	}
}

func open(t testing.TB, g *Graph, opt SessionOptions) *Session {
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
	s := open(t, affine(), SessionOptions{Bind: map[string][]float32{"y": mine}})
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
	s := open(t, affine(), SessionOptions{Threads: 1})
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %g allocations a run, want 0", n)
	}
}

func TestSessionsAreIndependent(t *testing.T) {
	a, b := open(t, affine(), SessionOptions{Threads: 1}), open(t, affine(), SessionOptions{Threads: 1, NoSpin: true})
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
	s, err := Open(affine(), SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, affine(), SessionOptions{})
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
	g := &Graph{
		Name:    "scalars",
		Opset:   map[string]int{"": 18},
		Inputs:  []Value{{"x", Float32, dimsOf()}},
		Outputs: []Value{{"y", Float32, dimsOf()}, {"x2", Float32, dimsOf(1)}},
		Nodes: []*Node{
			{Op: "Add", In: []string{"x", "two"}, Out: []string{"y"}},
			{Op: "Reshape", In: []string{"y", "shape"}, Out: []string{"x2"}},
		},
		Init: map[string]*Tensor{"two": FloatTensor([]float32{2}), "shape": IntTensor([]int64{1}, 1)},
	}
	s := open(t, g, SessionOptions{})
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

	constant := &Graph{
		Opset:   map[string]int{"": 18},
		Outputs: []Value{{"y", Float32, dimsOf(2)}},
		Nodes:   []*Node{{Op: "Neg", In: []string{"c"}, Out: []string{"y"}}},
		Init:    map[string]*Tensor{"c": FloatTensor([]float32{1, 2}, 2)},
	}
	s = open(t, constant, SessionOptions{})
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Output("y"), []float32{-1, -2}) {
		t.Errorf("no inputs: got %v, want [-1 -2]", s.Output("y"))
	}
}

func TestSessionMovesTensorsOfEveryType(t *testing.T) {
	for _, typ := range []DType{Float32, Float64, Int64, Int32, Int16, Int8, Uint8, Uint16, Uint32, Uint64, Bool} {
		t.Run(typ.String(), func(t *testing.T) {
			s := open(t, &Graph{
				Opset:   map[string]int{"": 18},
				Inputs:  []Value{{"x", typ, dimsOf(3)}},
				Outputs: []Value{{"y", typ, dimsOf(3)}},
				Nodes:   []*Node{{Op: "Identity", In: []string{"x"}, Out: []string{"y"}}},
			}, SessionOptions{})
			x := &Tensor{Type: typ, Shape: []int64{3}}
			switch typ {
			case Float32:
				x.Floats = []float32{1, 0, 100}
			case Float64:
				x.Doubles = []float64{1, 0, 100}
			case Bool:
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
			if typ != Float32 && s.Input("x") != nil {
				t.Error("Input of another type than float32: got memory, want nil")
			}
		})
	}
}

func TestBrokenSessionsAreErrors(t *testing.T) {
	needLibrary(t)
	change := func(f func(g *Graph)) *Graph {
		g := affine()
		f(g)
		return g
	}
	for _, c := range []struct {
		name string
		g    *Graph
		opt  SessionOptions
		want string
	}{
		{"symbolic extent", change(func(g *Graph) { g.Inputs[0].Shape[0] = Dim{1, "N"}; g.Outputs[0].Shape[0] = Dim{1, "N"} }), SessionOptions{}, `"x" has shape [N 3], expected numbers`},
		{"unknown rank", change(func(g *Graph) { g.Outputs[0].Shape = nil }), SessionOptions{}, `"y" has shape of unknown rank`},
		{"no outputs", change(func(g *Graph) { g.Outputs = nil }), SessionOptions{}, "no outputs"},
		{"undefined name", change(func(g *Graph) { g.Nodes[1].In[0] = "nowhere" }), SessionOptions{}, "nowhere"},
		{"unknown operator", change(func(g *Graph) { g.Nodes[1].Op = "Frobnicate" }), SessionOptions{}, "Frobnicate"},
		{"shapes that do not fit", change(func(g *Graph) { g.Init["a"] = FloatTensor(make([]float32, 4), 4) }), SessionOptions{}, ""},
		{"declared output shape is wrong", change(func(g *Graph) { g.Outputs[0].Shape = dimsOf(5) }), SessionOptions{}, ""},
		{"values missing", change(func(g *Graph) { g.Init["a"].Floats = nil }), SessionOptions{}, ""},
		{"bound length", affine(), SessionOptions{Bind: map[string][]float32{"x": make([]float32, 5)}}, "found 5 numbers, expected 6"},
		{"bound name", affine(), SessionOptions{Bind: map[string][]float32{"z": make([]float32, 5)}}, `no such input or output`},
		{"device", affine(), SessionOptions{Device: "gpu"}, `found device "gpu", expected cpu, cuda or cuda:N`},
		{"device number", affine(), SessionOptions{Device: "cuda:x"}, `found device "cuda:x"`},
		{"threads", affine(), SessionOptions{Threads: -1}, "found -1 threads"},
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
	s := open(t, affine(), SessionOptions{})
	for _, c := range []struct {
		input string
		t     *Tensor
	}{
		{"z", FloatTensor(make([]float32, 6), 2, 3)},
		{"x", FloatTensor(make([]float32, 6), 3, 2)},
		{"x", FloatTensor(make([]float32, 5), 2, 3)},
		{"x", IntTensor(make([]int64, 6), 2, 3)},
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
		if _, err := Open(affine(), SessionOptions{Device: device}); err == nil || !strings.Contains(err.Error(), "built without CUDA") {
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
				g, err := Load(check.Shared(t, "decoders/"+name+"."+exporter+".onnx"))
				if err != nil {
					t.Fatal(err)
				}
				shape, _ := known(g.Inputs[0].Shape[1:])
				if g, err = g.BindInput("z", append([]int64{2}, shape...)); err != nil {
					t.Fatal(err)
				}
				d, err := VJP(g, DiffOptions{})
				if err != nil {
					t.Fatal(err)
				}
				s := open(t, d, SessionOptions{})
				e, err := NewEvaluator(d)
				if err != nil {
					t.Fatal(err)
				}
				in := map[string]*Array{}
				for _, v := range d.Inputs {
					shape, _ := known(v.Shape)
					a := FloatArray(make([]float64, len(s.Input(v.Name))), shape...)
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
func paperDecoder(rng *rand.Rand) *Graph {
	g := &Graph{
		Name:   "decoder",
		Opset:  map[string]int{"": 18},
		Inputs: []Value{{"z", Float32, []Dim{{N: 1, Sym: "N"}, {N: 64}}}},
		Init:   map[string]*Tensor{},
	}
	b := NewBuilder(g, "d.")
	normal := func(name string, mean, sd float64, shape ...int64) string {
		t := FloatTensor(nil, shape...)
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
		x = b.OpAttr("ConvTranspose", map[string]Attr{"kernel_shape": IntsAttr(4, 4), "strides": IntsAttr(strides...), "pads": IntsAttr(pads...)}, x, w)
		if i == 4 {
			break
		}
		variance := normal(b.Fresh("var"), 1, 0.1, out)
		x = b.OpAttr("BatchNormalization", map[string]Attr{"epsilon": FloatAttr(1e-5)}, x,
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
		if g, err = Load(filepath.Join(dir, "decoder.onnx")); err != nil {
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
			pair, err := Split(bound, DiffOptions{})
			if err != nil {
				b.Fatal(err)
			}
			saved := map[string][]float32{}
			f := open(b, pair.Forward, SessionOptions{NoSpin: true})
			for _, name := range pair.Saved {
				if m := f.Output(name); m != nil {
					saved[name] = m
				} else if m := f.Input(name); m != nil {
					saved[name] = m
				}
			}
			r := open(b, pair.Backward, SessionOptions{Bind: saved, NoSpin: true})
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
			d, err := VJP(bound, DiffOptions{})
			if err != nil {
				b.Fatal(err)
			}
			s := open(b, d, SessionOptions{})
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
		d, err := Jacobian(g, DiffOptions{Columns: 64})
		if err != nil {
			b.Fatal(err)
		}
		s := open(b, d, SessionOptions{})
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
			d, err := Load(path)
			if err != nil {
				b.Fatal(err)
			}
			s := open(b, d, SessionOptions{Direct: true})
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

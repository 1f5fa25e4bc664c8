package tools

import (
	"archive/zip"
	"math"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
)

// readNPZ reads every array of an .npz file.
func readNPZ(t *testing.T, path string) map[string]*onnx.Tensor {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string]*onnx.Tensor{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		x, err := decodeNPY(r, int64(f.UncompressedSize64))
		r.Close()
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		out[strings.TrimSuffix(f.Name, ".npy")] = x
	}
	return out
}

// vaeReference is the small VAE whose training step PyTorch computed in float64.
type vaeReference struct {
	vaeShape
	arrays  map[string]*onnx.Tensor
	weights map[string]*onnx.Tensor
	batch   int
	samples int
}

func loadVAEReference(t *testing.T) *vaeReference {
	a := readNPZ(t, check.Shared(t, "reference/public/vae_step.npz"))
	r := &vaeReference{vaeShape: vaeShape{Latents: 8, Channels: []int{4, 6, 8, 12}, Hidden: 32}, arrays: a, weights: map[string]*onnx.Tensor{}}
	for _, p := range r.params() {
		x := a["w."+p.Name]
		if x == nil {
			t.Fatalf("the reference has no %s", p.Name)
		}
		r.weights[p.Name] = narrowed(x)
	}
	r.batch, r.samples = int(a["x"].Shape[0]), int(a["eps"].Shape[1])
	return r
}

// narrowed is a tensor in float32.
func narrowed(x *onnx.Tensor) *onnx.Tensor {
	f := &onnx.Tensor{Type: onnx.Float32, Shape: x.Shape, Floats: make([]float32, x.Size())}
	for i := range f.Floats {
		f.Floats[i] = float32(x.Float(i))
	}
	return f
}

func (r *vaeReference) eps(step int) *onnx.Tensor {
	e := r.arrays["eps"]
	n := int(e.Shape[1] * e.Shape[2] * e.Shape[3])
	return &onnx.Tensor{Type: onnx.Float32, Shape: []int64{e.Shape[1] * e.Shape[2], e.Shape[3]}, Floats: narrowed(e).Floats[step*n : (step+1)*n]}
}

// relative is the largest difference of two arrays relative to the largest element of the second.
func relative(got func(i int) float64, want *onnx.Tensor) float64 {
	worst, size := 0.0, 0.0
	for i := range want.Size() {
		worst = math.Max(worst, math.Abs(got(i)-want.Float(i)))
		size = math.Max(size, math.Abs(want.Float(i)))
	}
	return worst / size
}

func TestVAEGradientsEqualPyTorchs(t *testing.T) {
	r := loadVAEReference(t)
	g, err := lossGraph(r.vaeShape, r.weights, vaeObjective{Batch: r.batch, Samples: r.samples, SigmaD: 0.02})
	if err != nil {
		t.Fatal(err)
	}
	step, err := onnx.Train(g, onnx.TrainOptions{Loss: "loss", Params: trained(r.vaeShape), GradientsOnly: true, Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]*onnx.Tensor{"x": narrowed(r.arrays["x"]), "eps": r.eps(0), "beta": onnx.FloatTensor([]float32{1})}
	for _, p := range r.params() {
		if !p.Stat {
			in[p.Name] = r.weights[p.Name]
		}
	}
	compare := func(t *testing.T, get func(name string) func(int) float64, tol float64) {
		losses := r.arrays["losses"]
		for i, name := range []string{"loss", "reconstruction", "kl"} {
			check.Close(t, name, get(name)(0), losses.Float(i), tol, 0)
		}
		for _, p := range r.params() {
			switch {
			case !p.Stat:
				if e := relative(get("grad_"+p.Name), r.arrays["grad."+p.Name]); !(e <= tol) {
					t.Errorf("gradient of %s is off by %.2g of its largest element, expected at most %g", p.Name, e, tol)
				}
			case strings.HasSuffix(p.Name, "_mean"), strings.HasSuffix(p.Name, "_var"):
				stat := strings.Replace(p.Name, "running_", "", 1)
				old := r.arrays["w."+p.Name]
				now := func(i int) float64 { return (1-bnMomentum)*old.Float(i) + bnMomentum*get(stat)(i) }
				if e := relative(now, r.arrays["step1."+p.Name]); !(e <= tol) {
					t.Errorf("%s is off by %.2g, expected at most %g", p.Name, e, tol)
				}
			}
		}
	}
	t.Run("evaluator", func(t *testing.T) {
		ev, err := onnx.NewEvaluator(step)
		if err != nil {
			t.Fatal(err)
		}
		feed := map[string]*onnx.Array{}
		for name, x := range in {
			if feed[name], err = x.Array(); err != nil {
				t.Fatal(err)
			}
		}
		// beta is a scalar
		feed["beta"].Shape = nil
		last := feed[r.lastConv()]
		last.Shape = []int64{last.Shape[0], last.Shape[1] * last.Shape[2] * last.Shape[3]}
		out, err := ev.Run(feed)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, func(name string) func(int) float64 {
			a := out[name]
			if a == nil {
				t.Fatalf("no output %s", name)
			}
			return func(i int) float64 { return a.F[i] }
		}, 1e-10)
	})
	t.Run("onnxruntime", func(t *testing.T) {
		if _, _, err := onnx.Library(); err != nil {
			t.Skip(err)
		}
		run, err := onnx.Open(step, onnx.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer run.Close()
		for name, x := range in {
			copy(run.Input(name), x.Floats)
		}
		if err := run.Run(); err != nil {
			t.Fatal(err)
		}
		compare(t, func(name string) func(int) float64 {
			a := run.Output(name)
			return func(i int) float64 { return float64(a[i]) }
		}, 1e-5)
	})
}

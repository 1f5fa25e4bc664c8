package vae

import (
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/eval"
	"lenskit/onnx/ort"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
)

func loadVAEReference(t *testing.T) *vaeReference {
	a := testkit.ReadNPZ(t, check.Shared(t, "reference/public/vae_step.npz"))
	r := &vaeReference{Shape: Shape{Latents: 8, Channels: []int{4, 6, 8, 12}, Hidden: 32}, arrays: a, weights: map[string]*onnx.Tensor{}}
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

func TestVAEGradientsEqualPyTorchs(t *testing.T) {
	r := loadVAEReference(t)
	g, err := lossGraph(r.Shape, r.weights, vaeObjective{Batch: r.batch, Samples: r.samples, SigmaD: 0.02})
	if err != nil {
		t.Fatal(err)
	}
	step, err := diff.Train(g, diff.TrainOptions{Loss: "loss", Params: trained(r.Shape), GradientsOnly: true, Exact: true})
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
				if e := termtest.Relative(get("grad_"+p.Name), r.arrays["grad."+p.Name]); !(e <= tol) {
					t.Errorf("gradient of %s is off by %.2g of its largest element, expected at most %g", p.Name, e, tol)
				}
			case strings.HasSuffix(p.Name, "_mean"), strings.HasSuffix(p.Name, "_var"):
				stat := strings.Replace(p.Name, "running_", "", 1)
				old := r.arrays["w."+p.Name]
				now := func(i int) float64 { return (1-bnMomentum)*old.Float(i) + bnMomentum*get(stat)(i) }
				if e := termtest.Relative(now, r.arrays["step1."+p.Name]); !(e <= tol) {
					t.Errorf("%s is off by %.2g, expected at most %g", p.Name, e, tol)
				}
			}
		}
	}
	t.Run("evaluator", func(t *testing.T) {
		ev, err := eval.New(step)
		if err != nil {
			t.Fatal(err)
		}
		feed := map[string]*eval.Array{}
		for name, x := range in {
			if feed[name], err = eval.ArrayOf(x); err != nil {
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
		if _, _, err := ort.Library(); err != nil {
			t.Skip(err)
		}
		run, err := ort.Open(step, ort.Options{})
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

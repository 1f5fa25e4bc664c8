package diff

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/rewrite"
)

// steps runs a training graph in the evaluator, in float64, and returns the losses and the last parameters.
func steps(t *testing.T, d *onnx.Graph, in map[string]*eval.Array, n int) []float64 {
	t.Helper()
	e, err := eval.New(d)
	if err != nil {
		t.Fatal(err)
	}
	var losses []float64
	for range n {
		out, err := e.Run(in)
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, out["loss"].F[0])
		for name, a := range out {
			if s, ok := strings.CutPrefix(name, "new_"); ok {
				in[s] = a
			}
		}
	}
	return losses
}

// The optimisers as their papers write them, one parameter at a time.
func reference(o TrainOptions, rate float64, p, m, v []float64, step int, grad []float64) {
	for i, g := range grad {
		if o.WeightDecay > 0 && o.Optimizer == "adamw" {
			p[i] -= rate * o.WeightDecay * p[i]
		} else {
			g += o.WeightDecay * p[i]
		}
		if o.Optimizer == "sgd" {
			m[i] = o.Momentum*m[i] + g
			p[i] -= rate * m[i]
			continue
		}
		m[i] = 0.9*m[i] + 0.1*g
		v[i] = 0.999*v[i] + 0.001*g*g
		t := float64(step)
		p[i] -= rate * m[i] / (1 - math.Pow(0.9, t)) / (math.Sqrt(v[i]/(1-math.Pow(0.999, t))) + 1e-8)
	}
}

func TestTrainingStepsAreThoseOfThePapers(t *testing.T) {
	const rate, n = 0.05, 5
	for _, opt := range []TrainOptions{
		{Optimizer: "sgd"},
		{Optimizer: "sgd", Momentum: 0.9, WeightDecay: 0.01},
		{Optimizer: "adam"},
		{Optimizer: "adam", WeightDecay: 0.1},
		{Optimizer: "adamw", WeightDecay: 0.1},
	} {
		t.Run(opt.Optimizer, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			g := graphtest.Regression(rng)
			d, err := Train(g, opt)
			if err != nil {
				t.Fatal(err)
			}
			random := func(n int, shape ...int64) *eval.Array {
				a := eval.FloatArray(make([]float64, n), shape...)
				for i := range a.F {
					a.F[i] = rng.NormFloat64()
				}
				return a
			}
			x, y := random(40, 8, 5), random(24, 8, 3)
			in := map[string]*eval.Array{"x": x, "y": y, "learning_rate": eval.FloatArray([]float64{rate})}
			for _, v := range d.Inputs {
				if in[v.Name] != nil {
					continue
				}
				shape, _ := onnx.Known(v.Shape)
				k, _ := onnx.SizeOf(shape)
				in[v.Name] = eval.FloatArray(make([]float64, k), shape...)
			}
			p, m, v := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
			for name := range g.Init {
				a, err := eval.ArrayOf(g.Init[name])
				if err != nil {
					t.Fatal(err)
				}
				in[name] = a
				p[name] = append([]float64{}, a.F...)
				m[name], v[name] = make([]float64, len(a.F)), make([]float64, len(a.F))
			}
			losses := steps(t, d, in, n)

			for step := 1; step <= n; step++ {
				gw, gb := make([]float64, 15), make([]float64, 3)
				loss := 0.0
				for r := range 8 {
					for c := range 3 {
						z := p["b"][c]
						for k := range 5 {
							z += x.F[r*5+k] * p["w"][k*3+c]
						}
						e := math.Tanh(z) - y.F[r*3+c]
						loss += e * e / 24
						ge := 2 * e / 24 * (1 - math.Tanh(z)*math.Tanh(z))
						gb[c] += ge
						for k := range 5 {
							gw[k*3+c] += ge * x.F[r*5+k]
						}
					}
				}
				if math.Abs(loss-losses[step-1]) > 1e-6 {
					t.Fatalf("step %d: got loss %.12g, want %.12g", step, losses[step-1], loss)
				}
				reference(opt, rate, p["w"], m["w"], v["w"], step, gw)
				reference(opt, rate, p["b"], m["b"], v["b"], step, gb)
			}
			for name, want := range p {
				for i := range want {
					// Constants such as β₁ are float32 in the graph.
					if got := in[name].F[i]; math.Abs(got-want[i]) > 2e-6 {
						t.Errorf("%s[%d]: got %.12g, want %.12g", name, i, got, want[i])
					}
				}
			}
		})
	}
}

func TestGradientsOnlyAreThoseOfTheLossAndClippedByTheirNorm(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	g := graphtest.Regression(rng)
	in := map[string]*eval.Array{}
	for _, v := range []struct {
		name  string
		shape []int64
	}{{"x", []int64{8, 5}}, {"y", []int64{8, 3}}} {
		a := eval.FloatArray(nil, v.shape...)
		for range v.shape[0] * v.shape[1] {
			a.F = append(a.F, rng.NormFloat64())
		}
		in[v.name] = a
	}
	for name, x := range g.Init {
		a, err := eval.ArrayOf(x)
		if err != nil {
			t.Fatal(err)
		}
		in[name] = a
	}
	plain, err := Train(g, TrainOptions{GradientsOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(plain.Inputs) != 4 || len(plain.Outputs) != 3 {
		t.Fatalf("found inputs %q and outputs %q", rewrite.ValueNames(plain.Inputs), rewrite.ValueNames(plain.Outputs))
	}
	raw := evaltest.RunGraph(t, plain, in)
	norm := 0.0
	for name := range g.Init {
		dir := map[string]*eval.Array{}
		for k, a := range in {
			dir[k] = eval.FloatArray(make([]float64, a.Len()), a.Shape...)
		}
		for i, d := range raw["grad_"+name].F {
			norm += d * d
			dir[name].F[i] = 1
			const h = 1e-5
			up := evaltest.RunGraph(t, plain, shiftedBy(in, dir, h))["loss"].F[0]
			down := evaltest.RunGraph(t, plain, shiftedBy(in, dir, -h))["loss"].F[0]
			dir[name].F[i] = 0
			if want := (up - down) / (2 * h); math.Abs(d-want) > 1e-8 {
				t.Errorf("grad_%s[%d]: got %.12g, want %.12g", name, i, d, want)
			}
		}
	}
	norm = math.Sqrt(norm)
	clipped, err := Train(g, TrainOptions{GradientsOnly: true, Clip: norm / 3})
	if err != nil {
		t.Fatal(err)
	}
	out := evaltest.RunGraph(t, clipped, in)
	if got := out["grad_norm"].F[0]; math.Abs(got-norm) > 1e-9 {
		t.Errorf("got norm %g, want %g", got, norm)
	}
	for name := range g.Init {
		for i, d := range out["grad_"+name].F {
			if want := raw["grad_"+name].F[i] / 3; math.Abs(d-want) > 1e-5*norm {
				t.Errorf("clipped grad_%s[%d]: got %g, want %g", name, i, d, want)
			}
		}
	}
}

func TestTrainingRefusesWhatItCannotTrain(t *testing.T) {
	g := graphtest.Regression(rand.New(rand.NewPCG(5, 6)))
	two := *g
	two.Outputs = append(two.Outputs[:1:1], onnx.Value{Name: "other", Type: onnx.Float32, Shape: graphtest.DimsOf(1)})
	two.Nodes = append(two.Nodes[:len(two.Nodes):len(two.Nodes)], &onnx.Node{Op: "Reshape", In: []string{"loss", "one"}, Out: []string{"other"}})
	two.Init = map[string]*onnx.Tensor{"w": g.Init["w"], "b": g.Init["b"], "one": onnx.IntTensor([]int64{1}, 1)}
	for _, c := range []struct {
		name string
		g    *onnx.Graph
		opt  TrainOptions
		want string
	}{
		{"optimizer", g, TrainOptions{Optimizer: "lion"}, `found optimizer "lion", expected sgd, adam or adamw`},
		{"beta", g, TrainOptions{Beta1: 1}, "beta1 is 1, expected 0 <= beta1 < 1"},
		{"decay", g, TrainOptions{WeightDecay: -1}, "weight decay -1"},
		{"loss", g, TrainOptions{Loss: "nothing"}, `found no output "nothing"`},
		{"two losses", &two, TrainOptions{}, "found 2 outputs with one element"},
		{"parameter", g, TrainOptions{Params: []string{"q"}}, `found no initialiser "q"`},
		{"integer parameter", &two, TrainOptions{Loss: "loss", Params: []string{"one"}}, "is int64, expected float32"},
		{"twice", g, TrainOptions{Params: []string{"w", "w"}}, "named twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Train(c.g, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
	if d, err := Train(&two, TrainOptions{Loss: "loss", Params: []string{"b"}}); err != nil {
		t.Error(err)
	} else if d.Init["w"] == nil || d.Init["b"] != nil {
		t.Error("training b alone: want w an initialiser and b none")
	}
}

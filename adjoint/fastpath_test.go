package adjoint

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"lenskit/internal/check"
	"lenskit/samplers"
)

// TestPosteriorOfTheFastPathIsTheReferences samples one lens twice, by onnxruntime in float32 on several threads and by
// the float64 evaluator on one, with other random numbers: means and widths agree within their Monte-Carlo errors.
func TestPosteriorOfTheFastPathIsTheReferences(t *testing.T) {
	needRuntime(t)
	if testing.Short() {
		t.Skip("samples two posteriors")
	}
	model := paperModel(smallDecoder(t), "bilinear")
	obs := flatObservation(rand.New(rand.NewPCG(51, 1)), 32, 0.02)
	truth := open(t, model, obs, Options{Device: "reference"})
	u := check.Normals(rand.New(rand.NewPCG(52, 1)), truth.Dim())
	for i := range u {
		u[i] *= 0.3
	}
	theta, image := make([]float64, len(truth.Names())), make([]float64, len(obs.Data))
	truth.Theta(theta, u)
	if err := truth.ModelImage(image, theta); err != nil {
		t.Fatal(err)
	}
	for i := range obs.Data {
		obs.Data[i] += image[i]
	}
	draws := func(opt Options, seed uint64) *samplers.Trace {
		t.Helper()
		p := open(t, model, obs, opt)
		top, err := samplers.LevenbergMarquardt(context.Background(), p.Sampling(), samplers.NewLMState(u), samplers.LMOptions{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		normal, err := samplers.Laplace(top.X, top.Hess, 0)
		if err != nil {
			t.Fatal(err)
		}
		target := func(int) (samplers.Target, error) {
			q, err := p.Clone(opt.Threads)
			if err == nil {
				t.Cleanup(func() { q.Close() })
			}
			return q, err
		}
		chains, err := samplers.NewChains(4, target, samplers.StartNear(normal, 1), normal.Metric, samplers.Options{Method: samplers.HMC, Warmup: 100, Draws: 800}, seed)
		if err != nil {
			t.Fatal(err)
		}
		var trace samplers.Trace
		if err := samplers.Sample(context.Background(), chains, &trace); err != nil {
			t.Fatal(err)
		}
		return &trace
	}
	fast, reference := draws(Options{Device: "cpu", Threads: 2}, 1), draws(Options{Device: "reference", Threads: 1}, 2)
	for k := range u {
		a, b := fast.Draws(k), reference.Draws(k)
		if r := samplers.RHat(append(append([][]float64{}, a...), b...)); r > 1.1 {
			t.Errorf("coordinate %d: R-hat of all chains is %.3f, expected at most 1.1", k, r)
		}
		ma, sa := moments(a)
		mb, sb := moments(b)
		if d := math.Abs(ma-mb) / math.Hypot(samplers.MCSEMean(a), samplers.MCSEMean(b)); d > 4 {
			t.Errorf("coordinate %d: means %.4f and %.4f are %.1f Monte-Carlo errors apart", k, ma, mb, d)
		}
		if d := math.Abs(sa-sb) / math.Hypot(samplers.MCSESD(a), samplers.MCSESD(b)); d > 4 {
			t.Errorf("coordinate %d: widths %.4f and %.4f are %.1f Monte-Carlo errors apart", k, sa, sb, d)
		}
	}
}

func moments(draws [][]float64) (mean, sd float64) {
	n := 0.0
	for _, c := range draws {
		for _, v := range c {
			n++
			mean += v
		}
	}
	mean /= n
	for _, c := range draws {
		for _, v := range c {
			sd += (v - mean) * (v - mean)
		}
	}
	return mean, math.Sqrt(sd / (n - 1))
}

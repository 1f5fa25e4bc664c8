package samplers_test

import (
	"context"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"lenskit/samplers"
)

// banana is a density of one's own: x₁ ~ N(0, 1), x₂ ~ N(x₁², ½).
type banana struct{}

func (banana) Dim() int { return 2 }

func (banana) LogProb(grad, x []float64) (float64, error) {
	r := x[1] - x[0]*x[0]
	if grad != nil {
		grad[0], grad[1] = -x[0]+8*r*x[0], -4*r
	}
	return -0.5*x[0]*x[0] - 2*r*r, nil
}

// Sample one's own density: four chains of NUTS with Stan's warm-up.
func ExampleSample() {
	target := func(chain int) (samplers.Target, error) { return banana{}, nil }
	chains, err := samplers.NewChains(4, target, samplers.StartAt([]float64{1, 1}), nil, samplers.Options{TargetAccept: 0.95}, 1)
	if err != nil {
		panic(err)
	}
	var trace samplers.Trace
	if err := samplers.Sample(context.Background(), chains, &trace); err != nil {
		panic(err)
	}
	s := samplers.Summarize("x2", trace.Draws(1))
	fmt.Printf("mean %.0f, R̂ below 1.02: %t\n", s.Mean, s.RHat < 1.02)
	// Output: mean 1, R̂ below 1.02: true
}

// LogProbHess makes the banana Curved: H = JᵀJ of its residuals x₁ and 2(x₂ − x₁²).
func (b banana) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	hess.SetSym(0, 0, 1+16*x[0]*x[0])
	hess.SetSym(0, 1, -8*x[0])
	hess.SetSym(1, 1, 4)
	return b.LogProb(grad, x)
}

// Find the maximum, approximate there by a Gaussian, and let importance weights say how good that is.
func ExampleLevenbergMarquardt() {
	ctx := context.Background()
	top, err := samplers.LevenbergMarquardt(ctx, banana{}, samplers.NewLMState([]float64{-2, 1}), samplers.LMOptions{}, nil)
	if err != nil {
		panic(err)
	}
	g, err := samplers.Laplace(top.X, top.Hess, 0)
	if err != nil {
		panic(err)
	}
	sigma := make([]float64, 2)
	g.Sigma(sigma)
	fmt.Printf("%s at (%.1f, %.1f), sigma %.1f and %.1f\n", top.Status, math.Abs(top.X[0]), math.Abs(top.X[1]), sigma[0], sigma[1])
	// Output: converged at (0.0, 0.0), sigma 1.0 and 0.5
}

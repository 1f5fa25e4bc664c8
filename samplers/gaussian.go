package samplers

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"
)

// Gaussian is the normal distribution of mean + A u, u ~ N(0, I), A the metric's matrix.
type Gaussian struct {
	Mean   []float64
	Metric *Metric
	// Floored counts the directions in which the curvature said too little and was raised (see NewMetricHess).
	Floored int
}

// Laplace is the Gaussian approximation at a maximum x with curvature hess = −∇² log p: local, and no wider than the
// curvature at x says. Of hess scaled to a unit diagonal, eigenvalues below floor times the largest are raised to that
// (0: 1e-12).
func Laplace(x []float64, hess mat.Symmetric, floor float64) (*Gaussian, error) {
	if hess.SymmetricDim() != len(x) {
		return nil, fmt.Errorf("samplers: laplace: curvature: found %d parameters, expected %d", hess.SymmetricDim(), len(x))
	}
	m, floored, err := NewMetricHess(hess, floor)
	if err != nil {
		return nil, err
	}
	return &Gaussian{Mean: cloneFloats(x), Metric: m, Floored: floored}, nil
}

// Draw writes a draw into x.
func (g *Gaussian) Draw(x []float64, rng *rand.Rand) {
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	g.Metric.Push(x, x)
	for i, m := range g.Mean {
		x[i] += m
	}
}

// LogProb is the normalised log density at x; with grad not nil its gradient is written there. A Gaussian is a Target.
func (g *Gaussian) LogProb(grad, x []float64) (float64, error) {
	n := len(g.Mean)
	u := make([]float64, n)
	for i, m := range g.Mean {
		u[i] = x[i] - m
	}
	g.Metric.Solve(u, u)
	q := 0.0
	for _, v := range u {
		q += v * v
	}
	if grad != nil {
		g.Metric.solveTrans(grad, u)
		for i := range grad {
			grad[i] = -grad[i]
		}
	}
	return -0.5*q - g.Metric.LogDet() - 0.5*float64(n)*math.Log(2*math.Pi), nil
}

// Dim is the number of parameters.
func (g *Gaussian) Dim() int { return len(g.Mean) }

// Sigma writes the standard deviation of each parameter into dst.
func (g *Gaussian) Sigma(dst []float64) {
	g.Metric.Variances(dst)
	for i, v := range dst {
		dst[i] = math.Sqrt(v)
	}
}

// LogEvidence is Laplace's estimate of log ∫ p, given log p at the mean.
func (g *Gaussian) LogEvidence(logProb float64) float64 {
	return logProb + g.Metric.LogDet() + 0.5*float64(len(g.Mean))*math.Log(2*math.Pi)
}

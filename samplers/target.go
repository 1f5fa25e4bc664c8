package samplers

import "gonum.org/v1/gonum/mat"

// Target is a log density over ℝᴰ. LogProb returns log p(x), up to a constant, and writes ∇ log p into grad unless grad
// is nil. An error that wraps ErrRecoverable rejects the point; any other ends the run.
type Target interface {
	Dim() int
	LogProb(grad, x []float64) (float64, error)
}

// Curved is a Target that also knows a positive semi-definite approximation H ≈ −∇² log p (the Gauss-Newton matrix).
// LogProbHess writes gradient and H and returns log p(x).
type Curved interface {
	Target
	LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error)
}

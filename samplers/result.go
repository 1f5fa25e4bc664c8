package samplers

import "gonum.org/v1/gonum/mat"

// Status says how a search for a maximum ended.
type Status string

// Ends of a search.
const (
	Converged   Status = "converged"    // a stopping rule of the method holds
	Stalled     Status = "stalled"      // no step raises log p any more, though the model says one should: a kink, noise or a wrong gradient
	OutOfSteps  Status = "out of steps" // the step budget is spent
	Interrupted Status = "interrupted"  // the context was cancelled; the state can be run on
)

// Result is the end of a search for a maximum.
type Result struct {
	X       []float64
	LogProb float64
	Grad    []float64
	Hess    *mat.SymDense // curvature at X; nil from Adam
	// Gain is by how much a full Newton step is expected to raise log p: ½ gᵀH⁻¹g. Zero from Adam.
	Gain       float64
	Iterations int
	Tally
	Status Status
	Reason string
}

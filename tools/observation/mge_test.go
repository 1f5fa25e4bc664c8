package observation

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"
	"lenskit/internal/check"
)

func TestNonNegativeKeepsWhatIsPositive(t *testing.T) {
	// unconstrained, the solution is (2, -1, -3)
	a := mat.NewSymDense(3, []float64{2, 0.5, 0, 0.5, 1, 0, 0, 0, 1})
	b := mat.NewVecDense(3, []float64{3.5, 0, -3})
	x := make([]float64, 3)
	NonNegative(x, a, b, 2)
	check.Close(t, "positive", x[0], 1.75, 1e-3, 1)
	check.Close(t, "held at zero", x[1], 0, 0, 1)
	check.Close(t, "free", x[2], -3, 1e-3, 1)
}

func TestFractionOfTheLightIsAddedToTheNoise(t *testing.T) {
	o := &Observation{W: 4, H: 1, Scale: 1, Data: []float64{10, 10, 10, math.NaN()}, Sigma: []float64{0.3, 0.3, 1e8, 0.3}}
	o.addFraction(0.04)
	for k, want := range []float64{0.5, 0.5, 1e8, 0.3} {
		check.Close(t, "sigma", o.Sigma[k], want, 1e-12, 1)
	}
}

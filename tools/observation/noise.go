package observation

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
	"lenskit/physics"
)

// Simulate draws an image of a model, in the units of the image, and the noise that is to be stated with it. The
// deviations are those of the likelihood: normal, or Student's t with nu > 0 degrees of freedom, times the stated noise
// and the factor scale. Where the noise comes from counts, the light is drawn from its Poisson distribution, only the
// background is normal or Student's t, and the noise is that which the drawn image says.
func (o *Observation) Simulate(model []float64, noisy bool, scale, nu float64, rng *rand.Rand) (data, sigma []float64) {
	unit := rng.NormFloat64
	if nu > 0 {
		unit = distuv.StudentsT{Sigma: 1, Nu: nu, Src: rng}.Rand
	}
	data, sigma = append([]float64(nil), model...), make([]float64, len(model))
	for i, m := range model {
		sigma[i] = o.Sigma[min(i, len(o.Sigma)-1)]
		switch {
		case o.Counts != nil:
			n := o.Counts.Electrons(i)
			if !noisy || !(n > 0) || math.IsInf(n, 0) {
				continue
			}
			light := 0.0
			if m > 0 {
				light = distuv.Poisson{Lambda: m * n, Src: rng}.Rand() / n
			}
			data[i] += scale * (light - math.Max(m, 0) + o.Counts.BackgroundSigma(i)*unit())
		default:
			if v := unit(); noisy && sigma[i] > 0 && sigma[i] < physics.MaskedSigma {
				data[i] += scale * sigma[i] * v
			}
		}
	}
	if o.Counts != nil {
		o.Counts.Sigma(sigma, data)
	}
	return data, sigma
}

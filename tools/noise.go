package tools

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"

	"lenskit/physics"
)

// simulate draws an image of a model, in the units of the image, and the noise that is to be stated with it. The
// deviations are those of the likelihood: normal, or Student's t with nu > 0 degrees of freedom, times the stated noise
// and the factor scale. Where the noise comes from counts, the light is drawn from its Poisson distribution, only the
// background is normal or Student's t, and the noise is that which the drawn image says.
func (o *observation) simulate(model []float64, noisy bool, scale, nu float64, rng *rand.Rand) (data, sigma []float64) {
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

// noiseScale is the factor of the noise among named parameters.
func (p *problem) noiseScale(theta []float64) float64 {
	if i, ok := p.index["noise.scale"]; ok {
		return theta[i]
	}
	return 1
}

// standardise turns residuals in units of the stated noise into such whose squares are 1 in the mean where the model is
// true: divided by the fitted factor of the noise, and with Student's t by the part of the deviance that is theirs, so
// that an outlier counts no more than it does in the fit.
func (p *problem) standardise(residuals, theta []float64) {
	s := p.noiseScale(theta)
	nu := p.Config.StudentT
	norm := physics.StudentT(nu).Deviance()
	for i, r := range residuals {
		r /= s
		if nu > 0 {
			r = math.Copysign(math.Sqrt((nu+1)*math.Log1p(r*r/nu)/norm), r)
		}
		residuals[i] = r
	}
}

package problem

import (
	"math"

	"lenskit/physics"
)

// NoiseScale is the factor of the noise among named parameters.
func (p *Problem) NoiseScale(theta []float64) float64 {
	if v, ok := p.Scalar(physics.RoleNoiseScale, theta); ok {
		return v
	}
	return 1
}

// Standardise turns residuals in units of the stated noise into such whose squares are 1 in the mean where the model is
// true: divided by the fitted factor of the noise, and with Student's t by the part of the deviance that is theirs, so
// that an outlier counts no more than it does in the fit.
func (p *Problem) Standardise(residuals, theta []float64) {
	s := p.NoiseScale(theta)
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

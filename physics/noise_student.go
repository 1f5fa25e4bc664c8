package physics

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// StudentT is Student's t distribution of the residuals, with ν degrees of freedom (1 or more): Gaussian in the middle
// and with tails that fall as a power, so that a few pixels far off the model do not drag the fit. With r = (d − m)/(sσ)
//
//	log p = log Γ((ν+1)/2) − log Γ(ν/2) − ½ log(νπ) − log(sσ) − ½(ν+1) log(1 + r²/ν)
//
// for each pixel (Lange, Little & Taylor 1989, eq. 1 in one dimension).
type StudentT float64

// LogNorm is the log density at r = 0 for sσ = 1.
func (nu StudentT) LogNorm() float64 {
	n := float64(nu)
	a, _ := math.Lgamma((n + 1) / 2)
	b, _ := math.Lgamma(n / 2)
	return a - b - 0.5*math.Log(n*math.Pi)
}

// Deviance is the mean of (ν+1) log(1 + r²/ν) where the distribution is the true one; χ² of a pixel, 1, for a Gaussian.
func (nu StudentT) Deviance() float64 {
	n := float64(nu)
	return (n + 1) * (mathext.Digamma((n+1)/2) - mathext.Digamma(n/2))
}

// Information is the expected information of a pixel about its mean, in units of 1/(sσ)², and about log s: 1 and 2 for
// a Gaussian (Lange, Little & Taylor 1989, appendix B).
func (nu StudentT) Information() (mean, logScale float64) {
	n := float64(nu)
	return (n + 1) / (n + 3), 2 * n / (n + 3)
}

// Residual sums over the pixels, with r = inv·(d − m)·weight: the deviance Σ (ν+1) log(1 + r²/ν), half of whose negative
// is the log density up to constants; the pull Σ (ν+1) r²/(ν + r²), its derivative by log s; and Σ r². It writes
// inv·weight·(ν+1) r/(ν + r²), the derivative of the log density by the model, to gmodel unless that is nil. weight is
// 1/σ, 0 where a pixel is not used, and inv 1/s.
func (nu StudentT) Residual(gmodel, model, data, weight []float64, inv float64) (deviance, pull, square float64) {
	n := float64(nu)
	// log of a product of as many terms as a float64 holds
	product, log := 1.0, 0.0
	for i, w := range weight {
		w *= inv
		r := (data[i] - model[i]) * w
		rr := r * r
		square += rr
		g := (n + 1) / (n + rr)
		pull += g * rr
		if gmodel != nil {
			gmodel[i] = g * r * w
		}
		if product *= 1 + rr/n; product > 1e100 {
			log += math.Log(product)
			product = 1
		}
	}
	return (n + 1) * (log + math.Log(product)), pull, square
}

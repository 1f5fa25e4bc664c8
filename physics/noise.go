package physics

import (
	"fmt"
	"math"

	"lenskit/physics/internal/kern"
)

// MaskedSigma is the noise from which a pixel counts as masked; files mark bad pixels with 1e8.
const MaskedSigma = 1e7

// Noise is independent Gaussian noise on the pixels of an image, and the data it is compared with.
//
//	log L = −½ Σ ((d − m)/σ)² − Σ log(σ√2π) over used pixels
type Noise struct {
	Used     []bool    // whole image: the pixels compared
	Data     []float64 // whole image, 0 where a pixel is not used
	Weight   []float64 // whole image: 1/σ, 0 where a pixel is not used
	Pixels   int       // number of used pixels
	BadData  int       // pixels that the mask would use, left out because their data are not finite
	BadNoise int       // likewise for σ that is not finite, not positive, or MaskedSigma or more
	LogNorm  float64   // −Σ log(σ√2π)
}

// NewNoise takes the data, sigma (one value for all pixels, or one for each) and the mask (nil, or true where a pixel may
// be used). A single sigma must be positive and finite.
func NewNoise(data, sigma []float64, mask []bool) (*Noise, error) {
	n := len(data)
	if len(sigma) != 1 && len(sigma) != n {
		return nil, fmt.Errorf("physics: noise: found %d values, expected 1 or one for each of %d pixels", len(sigma), n)
	}
	if mask != nil && len(mask) != n {
		return nil, fmt.Errorf("physics: noise: found a mask of %d pixels, expected %d", len(mask), n)
	}
	if len(sigma) == 1 && n != 1 && !(sigma[0] > 0 && sigma[0] < MaskedSigma) {
		return nil, fmt.Errorf("physics: noise: found sigma %g, expected a positive number below %g", sigma[0], float64(MaskedSigma))
	}
	v := &Noise{Used: make([]bool, n), Data: make([]float64, n), Weight: make([]float64, n)}
	for i, d := range data {
		s := sigma[0]
		if len(sigma) > 1 {
			s = sigma[i]
		}
		switch {
		case mask != nil && !mask[i]:
		case math.IsNaN(d) || math.IsInf(d, 0):
			v.BadData++
		case !(s > 0 && s < MaskedSigma):
			v.BadNoise++
		default:
			v.Used[i], v.Data[i], v.Weight[i] = true, d, 1/s
			v.Pixels++
			v.LogNorm -= math.Log(s) + 0.5*math.Log(2*math.Pi)
		}
	}
	if v.Pixels == 0 {
		return nil, fmt.Errorf("physics: noise: all %d pixels are masked (%d have no finite data, %d no usable noise)", n, v.BadData, v.BadNoise)
	}
	return v, nil
}

// Residual returns Σ r² with r = (d − m)/σ, and writes r/σ, the derivative of −½ Σ r² by the model, to gmodel unless
// that is nil. All planes have the same layout; weight is 1/σ, 0 where a pixel is not used.
func Residual(gmodel, model, data, weight []float64) float64 {
	return kern.Residual(gmodel, model, data, weight)
}

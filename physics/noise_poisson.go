package physics

import "math"

// PoissonNoise is the noise of counted photons over a background. Images are in counts per second: an electron that the
// detector holds after Exposure seconds adds 1/(Gain·Exposure).
type PoissonNoise struct {
	Exposure   []float64 // seconds: one value, or one for each pixel
	Background []float64 // standard deviation, in counts per second, of all that is not the image's own light: likewise
	Gain       float64   // electrons per count
}

// BackgroundSigma is the standard deviation of a pixel without light.
func (p *PoissonNoise) BackgroundSigma(i int) float64 {
	return p.Background[min(i, len(p.Background)-1)]
}

// Sigma writes σ with σ² = background² + max(d, 0)/(gain·exposure) for an image d of expected or observed counts per
// second. Where the exposure is not positive, σ is not finite.
func (p *PoissonNoise) Sigma(sigma, image []float64) {
	for i, d := range image {
		sigma[i] = math.Inf(1)
		if n := p.Electrons(i); n > 0 {
			b := p.BackgroundSigma(i)
			sigma[i] = math.Sqrt(b*b + math.Max(d, 0)/n)
		}
	}
}

// Electrons is the number that stands for one count per second in a pixel.
func (p *PoissonNoise) Electrons(i int) float64 {
	return p.Gain * p.Exposure[min(i, len(p.Exposure)-1)]
}

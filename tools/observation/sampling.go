package observation

import (
	"fmt"
	"math"

	"lenskit/physics"
	"lenskit/tools/config"
)

// Settings of adaptive supersampling.
const (
	roughSmooth = 0.7    // pixels: standard deviation of the smoothing before second differences are taken
	roughNoise  = 3      // times its own noise: what of a second difference is not taken for light
	roughError  = 1. / 6 // error of the mean over one ray, in units of the second difference
	roughReach  = 2.3    // pixels around a rough one that get as many rays
)

// ChooseRays sets Rays as the config says. Adaptive supersampling looks at the image, so that the number of rays does not
// change while a model is fitted; where there is no image yet, every pixel has the most.
//
// The mean of smooth light over a pixel differs from that at its centre by (∂²I/∂x² + ∂²I/∂y²)/24, in pixels. The image shows
// I blurred, and cusps not at all: the second differences count four times as much, and the error is taken to fall like 1/n for
// n rays along a side, where that of smooth light falls like 1/n².
func (o *Observation) ChooseRays(d *config.DataConfig) {
	o.Rays = []int{d.Supersampling}
	if d.Tolerance == 0 || d.Image == "" {
		return
	}
	noise, err := o.unmasked() // masked pixels too: the PSF spreads their light
	if err != nil {
		return // the whole image is bad, which check says
	}
	rough := o.roughness(noise)
	o.Rays = make([]int, len(rough))
	rays, step, r := 0, max(1, d.PSFSampling), int(math.Floor(roughReach))
	for k := range rough {
		worst := 0.0
		for j := max(0, k/o.W-r); j <= min(o.H-1, k/o.W+r); j++ {
			for i := max(0, k%o.W-r); i <= min(o.W-1, k%o.W+r); i++ {
				if math.Hypot(float64(i-k%o.W), float64(j-k/o.W)) <= roughReach {
					worst = math.Max(worst, rough[j*o.W+i])
				}
			}
		}
		n := math.Ceil(worst * roughError / (d.Tolerance * float64(step)))
		o.Rays[k] = min(step*int(math.Max(1, math.Min(n, float64(d.Supersampling)))), d.Supersampling)
		rays += o.Rays[k] * o.Rays[k]
	}
	o.Notices = append(o.Notices, fmt.Sprintf("supersampling: %.3g rays a pixel, up to %d x %d", float64(rays)/float64(len(rough)), d.Supersampling, d.Supersampling))
}

// roughness is the length of the second differences of the image along x and y, less what noise makes of them, in units of
// the noise of a pixel. It is 0 at the image's border and where there is no data.
func (o *Observation) roughness(noise *physics.Noise) []float64 {
	signal, sigma := o.smoothed(noise, roughSmooth)
	// the correlation of smoothed white noise at a distance of one and two pixels
	near, far := math.Exp(-0.25/(roughSmooth*roughSmooth)), math.Exp(-1/(roughSmooth*roughSmooth))
	floor := roughNoise * math.Sqrt(6-8*near+2*far)
	rough := make([]float64, len(signal))
	for j := 1; j < o.H-1; j++ {
		for i := 1; i < o.W-1; i++ {
			k := j*o.W + i
			d := math.Hypot(signal[k-1]-2*signal[k]+signal[k+1], signal[k-o.W]-2*signal[k]+signal[k+o.W])
			if v := (d - floor*sigma[k]) * noise.Weight[k]; v > 0 { // not where it is NaN
				rough[k] = v
			}
		}
	}
	return rough
}

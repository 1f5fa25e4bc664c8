package observation

import (
	"math"
	"slices"
)

// Arcs is the light of an image that stands out of the lens's and of the noise.
type Arcs struct {
	X, Y  []float64 // arcsec: the pixels that show it, smoothed
	Light []float64 // their brightness
}

// What counts as an arc.
const (
	arcSide   = 100 // pixels along the used part of the image that is looked at
	arcSmooth = 1.0 // of these pixels: standard deviation of the smoothing
	arcPeak   = 5.0 // signal to noise of the brightest pixel of a patch of light, which noise alone does not reach,
	arcEdge   = 2.5 // and that down to which the patch is followed outward
)

// Arcs looks for the light of an image that its lens does not have. Where the lens shines, its light is taken off as FitMGE
// measures it, and its error counts as noise; else sky is. Nothing may be found.
func (o *Observation) Arcs(lensShines bool, lightError, sky float64) (*Arcs, error) {
	small, err := o.Coarsen(o.Binning(arcSide))
	if err != nil {
		return nil, err
	}
	data, sigma := slices.Clone(small.Data), small.Sigmas()
	if lensShines {
		x0, y0 := o.BrightCentre()
		_, level, err := small.FitMGE(x0, y0, lightError)
		if err != nil {
			return nil, err
		}
		for k, v := range level {
			data[k] -= v
			sigma[k] = math.Hypot(sigma[k], lightError*v)
		}
	} else {
		for k := range data {
			data[k] -= sky
		}
	}
	if small, err = small.With(data, sigma); err != nil {
		return nil, err
	}
	light, sigma := small.smoothed(small.Noise, arcSmooth)
	snr := make([]float64, len(light))
	for k, used := range small.Noise.Used {
		if !lensShines { // a mock of a source of mean zero is as dark in places as it is bright in others
			light[k] = math.Abs(light[k])
		}
		if used {
			snr[k] = light[k] / sigma[k]
		}
	}
	a := &Arcs{}
	for _, patch := range patches(snr, small.W, arcEdge) {
		if !slices.ContainsFunc(patch, func(k int) bool { return snr[k] > arcPeak }) {
			continue
		}
		for _, k := range patch {
			x, y := small.Place(k%small.W, k/small.W)
			a.X, a.Y, a.Light = append(a.X, x), append(a.Y, y), append(a.Light, light[k])
		}
	}
	return a, nil
}

// Resolution is the standard deviation in arcsec of what a point becomes in a pixel: of the PSF and of the pixel's own width.
func (o *Observation) Resolution() float64 {
	return math.Hypot(GaussianPSF(o.PSF).Gaussian, o.Scale/math.Sqrt(12))
}

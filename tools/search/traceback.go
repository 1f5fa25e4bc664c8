package search

import (
	"math"

	"lenskit/tools/lensing"
	"lenskit/tools/observation"
)

// traceback is the lensed light of an image, seen in the source plane through a lens.
type traceback struct {
	bx, by []float64 // where each pixel's ray meets the source plane, arcsec
	light  []float64 // brightness of the pixel without lens light and sky
	weight []float64 // 1/σ²; 0 where the pixel is not used
}

// newTraceback shoots the pixels of an observation through the lens. foreground is what does not come from the source.
func newTraceback(o *observation.Observation, lens lensing.Sum, foreground []float64) *traceback {
	n := o.W * o.H
	t := &traceback{bx: make([]float64, n), by: make([]float64, n), light: make([]float64, n), weight: make([]float64, n)}
	x, y := make([]float64, n), make([]float64, n)
	for j := range o.H {
		for i := range o.W {
			x[j*o.W+i] = (float64(i) - float64(o.W-1)/2) * o.Scale
			y[j*o.W+i] = (float64(j) - float64(o.H-1)/2) * o.Scale
		}
	}
	ax, ay := make([]float64, n), make([]float64, n)
	for _, l := range lens {
		l.Deflect(ax, ay, x, y)
	}
	for p := range n {
		t.bx[p], t.by[p] = x[p]-ax[p], y[p]-ay[p]
		t.light[p] = o.Noise.Data[p] - foreground[p]
		t.weight[p] = o.Noise.Weight[p] * o.Noise.Weight[p]
	}
	return t
}

// image averages the light over w x h source pixels of a frame of width s centred at (x, y), each pixel shared between
// the four nearest. Where little light arrives it leans on the guess, an image of the
// same frame, with a share lean of the typical weight.
func (t *traceback) image(w, h int, x, y, s float64, guess []float64, lean float64) []float64 {
	sum, weight := make([]float64, w*h), make([]float64, w*h)
	for p, wt := range t.weight {
		if wt == 0 {
			continue
		}
		u := ((t.bx[p]-x)/s+0.5)*float64(w) - 0.5
		v := ((t.by[p]-y)/s+0.5)*float64(h) - 0.5
		i, j := int(math.Floor(u)), int(math.Floor(v))
		if i < -1 || j < -1 || i >= w || j >= h {
			continue
		}
		fu, fv := u-float64(i), v-float64(j)
		for b, gv := range [2]float64{1 - fv, fv} {
			for a, gu := range [2]float64{1 - fu, fu} {
				if ii, jj := i+a, j+b; ii >= 0 && jj >= 0 && ii < w && jj < h {
					k := wt * gu * gv
					sum[jj*w+ii] += k * t.light[p]
					weight[jj*w+ii] += k
				}
			}
		}
	}
	typical := 0.0
	n := 0
	for _, k := range weight {
		if k > 0 {
			typical += k
			n++
		}
	}
	if n > 0 {
		typical /= float64(n)
	}
	lean = lean*typical + 1e-300
	for i := range sum {
		sum[i] = (sum[i] + lean*guess[i]) / (weight[i] + lean)
	}
	return sum
}

package observation

import (
	"cmp"
	"math"
	"slices"

	"lenskit/physics"
)

// Binning is the number of pixels along a side that brings the used part of an image close to `side` pixels, 1 where it
// is no larger.
func (o *Observation) Binning(side int) int {
	w, h := o.Extent()
	return binning(o.W, o.H, min(w, h), side)
}

// Extent is the size of the box around the pixels that the mask leaves.
func (o *Observation) Extent() (w, h int) {
	if o.Mask == nil {
		return o.W, o.H
	}
	left, right, low, high := o.W, -1, o.H, -1
	for k, used := range o.Mask {
		if used {
			left, right = min(left, k%o.W), max(right, k%o.W)
			low, high = min(low, k/o.W), max(high, k/o.W)
		}
	}
	return right - left + 1, high - low + 1
}

// HalfSides are half the sides of that box, arcsec.
func (o *Observation) HalfSides() (x, y float64) {
	w, h := o.Extent()
	return 0.5 * float64(w) * o.Scale, 0.5 * float64(h) * o.Scale
}

// binning is the number of pixels along a side that brings a part of an image of w x h, extent pixels across, close to
// `side` pixels, 1 where it is no larger. Of the factors near the right one it takes that which loses the fewest pixels
// at the borders.
func binning(w, h, extent, side int) int {
	want := float64(extent) / float64(side)
	if want < 1.5 {
		return 1
	}
	best, loss := 1, math.Inf(1)
	for k := int(math.Floor(want * 0.8)); k <= int(math.Ceil(want*1.25)); k++ {
		if k < 2 {
			continue
		}
		// an odd remainder shifts the centre by half a pixel, which costs more than the pixels lost
		l := float64(w%k+h%k) + 100*float64((w%k)%2+(h%k)%2) + 3*math.Abs(float64(k)-want)
		if l < loss {
			best, loss = k, l
		}
	}
	return best
}

// Coarsen averages the observation over k x k pixels, cut to whole blocks around its centre. A block's value is the mean
// of its used pixels, and it is used when at least half of them are; where no block is, that is an error.
func (o *Observation) Coarsen(k int) (*Observation, error) {
	if k <= 1 {
		return o, nil
	}
	noise := o.Noise
	c := &Observation{W: o.W / k, H: o.H / k, Scale: o.Scale * float64(k), Brightness: o.Brightness, Header: o.Header}
	x0, y0 := (o.W-c.W*k)/2, (o.H-c.H*k)/2
	c.Data = make([]float64, c.W*c.H)
	c.Sigma = make([]float64, c.W*c.H)
	c.Mask = make([]bool, c.W*c.H)
	for J := range c.H {
		for I := range c.W {
			n, sum, variance := 0, 0.0, 0.0
			for j := y0 + J*k; j < y0+(J+1)*k; j++ {
				for i := x0 + I*k; i < x0+(I+1)*k; i++ {
					if p := j*o.W + i; noise.Used[p] {
						n++
						sum += noise.Data[p]
						variance += 1 / (noise.Weight[p] * noise.Weight[p])
					}
				}
			}
			p := J*c.W + I
			c.Sigma[p] = 1
			if 2*n >= k*k {
				c.Mask[p], c.Data[p], c.Sigma[p] = true, sum/float64(n), math.Sqrt(variance)/float64(n)
			}
		}
	}
	c.PSF = coarsePSF(o.PSF, k)
	return c, c.Weigh()
}

// GaussianPSF is a Gaussian about as wide as the middle of the PSF's kernel, which is quicker to blur with.
func GaussianPSF(spec physics.PSFSpec) physics.PSFSpec {
	if spec.Kernel == nil {
		return spec
	}
	k := spec.Kernel
	peak, sum := 0.0, 0.0
	for _, v := range k.Pix {
		peak = math.Max(peak, v)
		sum += v
	}
	if !(peak > 0) || !(sum > 0) {
		return spec
	}
	// the radius that holds half the light of a Gaussian is 1.18 of its standard deviations
	type ring struct{ r, v float64 }
	rings := make([]ring, len(k.Pix))
	for i, v := range k.Pix {
		rings[i] = ring{math.Hypot(float64(i%k.W)-0.5*float64(k.W-1), float64(i/k.W)-0.5*float64(k.H-1)), v}
	}
	slices.SortFunc(rings, func(a, b ring) int { return cmp.Compare(a.r, b.r) })
	half := 0.0
	for i, within := 0, 0.0; i < len(rings) && within < 0.5*sum; i++ {
		within += rings[i].v
		half = rings[i].r
	}
	return physics.PSFSpec{Gaussian: math.Max(half, 0.3) / 1.18 * k.Scale}
}

// coarsePSF is the PSF as pixels k times as large as the image's see it, in these pixels. A Gaussian keeps its width; each weight of a kernel is shared
// between the large pixels on both sides.
func coarsePSF(spec physics.PSFSpec, k int) physics.PSFSpec {
	if spec.Kernel == nil {
		return physics.PSFSpec{Gaussian: spec.Gaussian}
	}
	in := spec.Kernel
	k *= max(1, spec.Sampling)
	half := func(n int) int { return (n/2 + k - 1) / k }
	rx, ry := half(in.W), half(in.H)
	out := &physics.Image{W: 2*rx + 1, H: 2*ry + 1, Scale: in.Scale * float64(k)}
	out.Pix = make([]float64, out.W*out.H)
	split := func(at, centre float64, r int) (lo int, frac float64) {
		d := (at-centre)/float64(k) + float64(r)
		lo = int(math.Floor(d))
		return lo, d - float64(lo)
	}
	for j := range in.H {
		y, fy := split(float64(j), float64(in.H-1)/2, ry)
		for i := range in.W {
			x, fx := split(float64(i), float64(in.W-1)/2, rx)
			v := in.Pix[j*in.W+i]
			for b, wy := range []float64{1 - fy, fy} {
				for a, wx := range []float64{1 - fx, fx} {
					if wy*wx != 0 {
						out.Pix[(y+b)*out.W+x+a] += v * wx * wy
					}
				}
			}
		}
	}
	return physics.PSFSpec{Kernel: out}
}

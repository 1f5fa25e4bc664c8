package observation

import (
	"fmt"
	"math"
	"slices"

	"lenskit/internal/stats"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
)

// Settings of the search for neighbours.
const (
	neighbourSmooth = 1.2  // pixels: standard deviation of the smoothing
	neighbourEdge   = 2.0  // signal to noise down to which a neighbour is followed outward
	neighbourRoom   = 1.25 // arcsec: half the side of the square whose median is what a neighbour stands above
	neighbourInner  = 0.8  // of Beyond: within, no pixel is masked
	neighbourArc    = 60   // degrees around the centre: what spans more is taken for an arc
)

// neighbourhood is what was found beside a lens.
type neighbourhood struct {
	Pixels []bool // true where a neighbour is seen, with its margin
	Count  int    // neighbours
	masked int    // pixels
	beyond float64
}

func (n *neighbourhood) notice() string {
	if n.Count == 0 {
		return fmt.Sprintf("mask: no neighbours beyond %g arcsec", n.beyond)
	}
	return fmt.Sprintf("mask: %s beyond %g arcsec, %d pixels", term.Counted(n.Count, "neighbour"), n.beyond, n.masked)
}

// neighbours looks for compact light away from the lens that the lens cannot have: patches of pixels that stand above
// what is seen at the opposite side of the image's centre, and above the median of their ring around it. The first is the
// light of a galaxy that is as bright at both ends, the second that of a round one, and what is left of lopsided ones does
// not stand out of its surroundings. Patches that bend around the centre are arcs and stay, and so do those whose
// brightest pixel lies within Beyond.
func (o *Observation) neighbours(q config.NeighbourConfig) (*neighbourhood, error) {
	q = q.Defaults()
	snr, radius, err := o.asymmetry()
	if err != nil {
		return nil, err
	}
	out := &neighbourhood{Pixels: make([]bool, len(snr)), beyond: q.Beyond}
	for _, patch := range patches(snr, o.W, neighbourEdge) {
		peak := slices.MaxFunc(patch, func(a, b int) int { return sign(snr[a] - snr[b]) })
		if snr[peak] < q.Threshold || radius[peak] <= q.Beyond || o.span(patch, snr) > neighbourArc {
			continue
		}
		out.Count++
		reach := q.Margin / o.Scale
		for _, k := range patch {
			r := int(reach)
			for j := max(0, k/o.W-r); j <= min(o.H-1, k/o.W+r); j++ {
				for i := max(0, k%o.W-r); i <= min(o.W-1, k%o.W+r); i++ {
					if p := j*o.W + i; !out.Pixels[p] && radius[p] > neighbourInner*q.Beyond && math.Hypot(float64(i-k%o.W), float64(j-k/o.W)) <= reach {
						out.Pixels[p] = true
						out.masked++
					}
				}
			}
		}
	}
	return out, nil
}

// asymmetry is by how many standard deviations of its noise each pixel of the smoothed image stands above the symmetric light
// and its surroundings, and how far the pixel is from the image's centre.
func (o *Observation) asymmetry() (snr, radius []float64, err error) {
	noise, err := o.unmasked()
	if err != nil {
		return nil, nil, err
	}
	signal, sigma := o.smoothed(noise, neighbourSmooth)
	radius = make([]float64, len(signal))
	for k := range radius {
		radius[k] = math.Hypot(o.Place(k%o.W, k/o.W))
	}
	ring := ringMedians(signal, radius, o.Scale)
	above, spread := make([]float64, len(signal)), make([]float64, len(signal)) // less the symmetric light
	for k, v := range signal {
		base := ring[int(radius[k]/o.Scale)]
		spread[k] = sigma[k]
		if m := len(signal) - 1 - k; signal[m] > base { // the pixel opposite
			base = signal[m]
			spread[k] = math.Hypot(sigma[k], sigma[m])
		}
		above[k] = v - base
	}
	snr = o.local(above)
	for k := range snr {
		if snr[k] = (above[k] - math.Max(snr[k], 0)) / spread[k]; math.IsNaN(snr[k]) {
			snr[k] = 0
		}
	}
	return snr, radius, nil
}

func sign(v float64) int {
	switch {
	case v < 0:
		return -1
	case v > 0:
		return 1
	}
	return 0
}

// smoothed averages the image over a Gaussian of that many pixels, each pixel with the weight of its distance, and tells the standard
// deviation that its noise then has. Where no pixel is of use it is NaN.
func (o *Observation) smoothed(noise *physics.Noise, width float64) (signal, sigma []float64) {
	r := int(math.Ceil(2.5 * width))
	taps := make([]float64, 2*r+1)
	for i := range taps {
		d := float64(i-r) / width
		taps[i] = math.Exp(-0.5 * d * d)
	}
	signal, sigma = make([]float64, o.W*o.H), make([]float64, o.W*o.H)
	for j := range o.H {
		for i := range o.W {
			sum, weight, variance := 0.0, 0.0, 0.0
			for b := max(0, j-r); b <= min(o.H-1, j+r); b++ {
				for a := max(0, i-r); a <= min(o.W-1, i+r); a++ {
					p := b*o.W + a
					if !noise.Used[p] {
						continue
					}
					t := taps[a-i+r] * taps[b-j+r]
					sum += t * noise.Data[p]
					weight += t
					variance += t * t / (noise.Weight[p] * noise.Weight[p])
				}
			}
			signal[j*o.W+i], sigma[j*o.W+i] = sum/weight, math.Sqrt(variance)/weight
		}
	}
	return signal, sigma
}

// local is the median of v around each pixel, taken at nodes and interpolated between them.
func (o *Observation) local(v []float64) []float64 {
	room := max(2, int(neighbourRoom/o.Scale))
	step, stride := max(1, room/4), max(1, room/8) // from node to node, and between the pixels that a node looks at
	nx, ny := (o.W-1)/step+2, (o.H-1)/step+2
	nodes := make([]float64, nx*ny)
	var near []float64
	for n := range nodes {
		near = near[:0]
		for j := max(0, n/nx*step-room); j <= min(o.H-1, n/nx*step+room); j += stride {
			for i := max(0, n%nx*step-room); i <= min(o.W-1, n%nx*step+room); i += stride {
				near = append(near, v[j*o.W+i])
			}
		}
		nodes[n] = stats.Percentile(near, 0.5)
	}
	out := make([]float64, len(v))
	for k := range out {
		i, j := k%o.W, k/o.W
		n := j/step*nx + i/step
		fx, fy := float64(i%step)/float64(step), float64(j%step)/float64(step)
		out[k] = (1-fy)*((1-fx)*nodes[n]+fx*nodes[n+1]) + fy*((1-fx)*nodes[n+nx]+fx*nodes[n+nx+1])
	}
	return out
}

// ringMedians is the median of the image in rings of one pixel's width around the centre, smoothed over three.
func ringMedians(signal, radius []float64, scale float64) []float64 {
	var rings [][]float64
	for k, v := range signal {
		n := int(radius[k] / scale)
		for len(rings) <= n {
			rings = append(rings, nil)
		}
		if !math.IsNaN(v) {
			rings[n] = append(rings[n], v)
		}
	}
	out := make([]float64, len(rings))
	for n := range rings {
		var near []float64
		for m := max(0, n-1); m <= min(len(rings)-1, n+1); m++ {
			near = append(near, rings[m]...)
		}
		out[n] = stats.Percentile(near, 0.5)
	}
	return out
}

// patches are the groups of touching pixels (corners count) in which v exceeds a limit.
func patches(v []float64, w int, limit float64) [][]int {
	seen := make([]bool, len(v))
	var out [][]int
	for first := range v {
		if seen[first] || !(v[first] > limit) {
			continue
		}
		seen[first] = true
		patch := []int{first}
		for at := 0; at < len(patch); at++ {
			k := patch[at]
			for j := max(0, k/w-1); j <= min(len(v)/w-1, k/w+1); j++ {
				for i := max(0, k%w-1); i <= min(w-1, k%w+1); i++ {
					if p := j*w + i; !seen[p] && v[p] > limit {
						seen[p] = true
						patch = append(patch, p)
					}
				}
			}
		}
		out = append(out, patch)
	}
	return out
}

// span is the angle in degrees around the image's centre that holds the brighter nine tenths of a patch.
func (o *Observation) span(patch []int, snr []float64) float64 {
	bright := slices.Clone(patch)
	slices.SortFunc(bright, func(a, b int) int { return sign(snr[b] - snr[a]) })
	bright = bright[:(9*len(bright)+9)/10]
	angles := make([]float64, len(bright))
	for i, k := range bright {
		x, y := o.Place(k%o.W, k/o.W)
		angles[i] = math.Atan2(y, x)
	}
	slices.Sort(angles)
	gap := 2*math.Pi - angles[len(angles)-1] + angles[0]
	for i, a := range angles[1:] {
		gap = math.Max(gap, a-angles[i])
	}
	return (2*math.Pi - gap) * 180 / math.Pi
}

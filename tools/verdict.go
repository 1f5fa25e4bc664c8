package tools

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"lenskit/adjoint"
)

// imageOfPoint is where a point of the source plane is seen.
type imageOfPoint struct {
	X, Y          float64 // arcsec
	Magnification float64 // without its sign
}

// faintImage is the magnification below which an image is none: a singular lens has one such in its centre.
const faintImage = 0.05

// imagesOf finds the images of a point of the source plane within half-sides w, h around the origin, on a grid of the
// given step: each cell is cut into two triangles, and those whose corners surround the point hold an image.
func (s lensSum) imagesOf(bx, by, w, h, step float64) []imageOfPoint {
	nx, ny := int(2*w/step)+2, int(2*h/step)+2
	x, y := make([]float64, nx*ny), make([]float64, nx*ny)
	for k := range x {
		x[k] = (float64(k%nx) - 0.5*float64(nx-1)) * step
		y[k] = (float64(k/nx) - 0.5*float64(ny-1)) * step
	}
	u, v := s.source(x, y)
	for k := range u {
		u[k] -= bx
		v[k] -= by
	}
	var out []imageOfPoint
	triangle := func(a, b, c int) {
		area := (u[b]-u[a])*(v[c]-v[a]) - (u[c]-u[a])*(v[b]-v[a])
		// the weights of the corners at the point
		wa, wb, wc := (u[b]*v[c]-u[c]*v[b])/area, (u[c]*v[a]-u[a]*v[c])/area, (u[a]*v[b]-u[b]*v[a])/area
		if !(wa >= 0 && wb >= 0 && wc >= 0) {
			return
		}
		if mu := step * step / math.Abs(area); mu > faintImage {
			out = append(out, imageOfPoint{wa*x[a] + wb*x[b] + wc*x[c], wa*y[a] + wb*y[b] + wc*y[c], mu})
		}
	}
	for j := range ny - 1 {
		for i := range nx - 1 {
			k := j*nx + i
			triangle(k, k+1, k+nx)
			triangle(k+nx+1, k+nx, k+1)
		}
	}
	return out
}

// einsteinRadius is that of the circle around the origin, of at most the given radius, within which the mean convergence
// is 1: by Gauss's theorem, where the mean deflection inward is the radius.
func (s lensSum) einsteinRadius(most float64) float64 {
	const n = 72
	x, y := make([]float64, n), make([]float64, n)
	inward := func(r float64) float64 { // less the radius
		for k := range n {
			sin, cos := math.Sincos(2 * math.Pi * float64(k) / n)
			x[k], y[k] = r*cos, r*sin
		}
		u, v := s.source(x, y)
		sum := 0.0
		for k := range n {
			sum += (u[k]*x[k] + v[k]*y[k]) / r
		}
		return -sum / n
	}
	lo, hi := 1e-3*most, most
	if inward(hi) > 0 {
		return hi
	}
	for range 50 {
		if mid := 0.5 * (lo + hi); inward(mid) > 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// radiusOf is the Einstein radius of another lens, 0 where none is asked for or known.
func (l *lensed) radiusOf(s *search, named namedValues) float64 {
	if l == nil {
		return 0
	}
	lens, err := s.p.Config.deflection("", named, nil)
	if err != nil {
		return 0
	}
	return lens.einsteinRadius(max(s.p.Obs.halfSides()))
}

// strange says what of a lens is unlike what was held likely beforehand, or hangs on how the source is described.
func (s *search) strange(post *adjoint.Posterior, named namedValues, top *stageEnd) []string {
	var out []string
	for k, name := range post.Names() {
		if f := post.Free()[k]; f >= 0 && strings.HasPrefix(name, "lens.") && math.Abs(top.U[f]) > strangeLens && math.Abs(top.U[f]) <= 4 {
			out = append(out, fmt.Sprintf("%s = %.4g is %.1f standard deviations from what its prior holds likely", name, named[name], math.Abs(top.U[f])))
		}
	}
	return out
}

// strangeLens is the number of standard deviations of its prior from which a parameter of the lens is strange.
const strangeLens = 3

// lensed is what speaks for an arc being the image of a source behind a lens.
type lensed struct {
	Images        int       `json:"images"`               // of the source's brightest point, apart and within the used pixels
	Second        jsonFloat `json:"second_image_snr"`     // signal to noise of the second of them
	Magnification jsonFloat `json:"magnification"`        // flux seen over flux of the source
	Radius        jsonFloat `json:"einstein_radius"`      // arcsec: of the circle within which the mean convergence is 1, at the maximum
	Free          jsonFloat `json:"einstein_radius_free"` // that of the lens of the best evidence with a free source
	Misfit        jsonFloat `json:"arcs_misfit"`          // χ² of a pixel where the source shines over that of one where it does not
	Explained     jsonFloat `json:"arcs_explained"`       // of the squared signal where the source shines
}

// Apertures and errors of the test of images.
const (
	imageAperture = 0.15 // arcsec: radius of the disc in which an image's light is taken together
	imageApart    = 0.3  // arcsec: images closer than this count as one
)

// lensing looks for the images of the brightest point of the source.
func (s *search) lensing(post *adjoint.Posterior, named namedValues, img *adjoint.Images) (*lensed, error) {
	if img.Source == nil {
		return nil, nil
	}
	lens, err := s.p.Config.deflection("", named, nil)
	if err != nil {
		return nil, err
	}
	halfW, halfH := s.p.Obs.halfSides()
	src, noise := img.Source, post.Noise()
	peak := 0
	flux := 0.0
	for k, v := range src.Pix {
		flux += v * src.Scale * src.Scale
		if v > src.Pix[peak] {
			peak = k
		}
	}
	bx := img.SourceX + (float64(peak%src.W)-0.5*float64(src.W-1))*src.Scale
	by := img.SourceY + (float64(peak/src.W)-0.5*float64(src.H-1))*src.Scale
	m := img.Model
	arcs := make([]float64, len(m.Pix))
	seen, missed, signal := 0.0, 0.0, 0.0
	var shine, dark tally
	for k := range arcs {
		arcs[k] = m.Pix[k] - img.LensLight.Pix[k] - named["sky"]
		seen += arcs[k] * m.Scale * m.Scale
		if t := arcs[k] * noise.Weight[k]; t > 1 {
			r := img.Residual.Pix[k]
			signal += (t + r) * (t + r)
			missed += r * r
			shine.add(r)
		} else if noise.Used[k] {
			dark.add(img.Residual.Pix[k])
		}
	}
	out := &lensed{Magnification: jsonFloat(seen / flux), Explained: jsonFloat(1 - missed/signal), Radius: jsonFloat(lens.einsteinRadius(max(halfW, halfH)))}
	var best []float64
	var places []imageOfPoint
	if s.free != nil {
		out.Free = jsonFloat(out.radiusOf(s, s.free))
	}
	if dark.n >= darkEnough && shine.n > 0 {
		out.Misfit = jsonFloat(shine.mean() / dark.mean())
	}
	for _, p := range lens.imagesOf(bx, by, halfW, halfH, m.Scale) {
		value, n := s.aperture(post, img, arcs, p)
		if n == 0 {
			continue
		}
		near := false
		for i, o := range places {
			if math.Hypot(o.X-p.X, o.Y-p.Y) < imageApart {
				near = true
				best[i] = math.Max(best[i], value)
			}
		}
		if !near {
			places, best = append(places, p), append(best, value)
		}
	}
	out.Images = len(places)
	slices.Sort(best)
	if n := len(best); n > 1 {
		out.Second = jsonFloat(best[n-2])
	}
	return out, nil
}

// aperture is the signal to noise of the light of an image, with the error that profiles leave in the light of a lens
// counted as noise, and the number of pixels it was taken from.
func (s *search) aperture(post *adjoint.Posterior, img *adjoint.Images, arcs []float64, p imageOfPoint) (value float64, n int) {
	noise, m := post.Noise(), img.Model
	r := imageAperture / m.Scale
	x, y := p.X/m.Scale+0.5*float64(m.W-1), p.Y/m.Scale+0.5*float64(m.H-1)
	sum, variance := 0.0, 0.0
	for j := max(0, int(y-r)); j <= min(m.H-1, int(y+r)+1); j++ {
		for i := max(0, int(x-r)); i <= min(m.W-1, int(x+r)+1); i++ {
			k := j*m.W + i
			if !noise.Used[k] || math.Hypot(float64(i)-x, float64(j)-y) > r {
				continue
			}
			n++
			// the light that is there, not that which the model has
			sum += arcs[k] + img.Residual.Pix[k]/noise.Weight[k]
			variance += 1/(noise.Weight[k]*noise.Weight[k]) + math.Pow(lightError*img.LensLight.Pix[k], 2)*r*r*math.Pi
		}
	}
	if n == 0 {
		return 0, 0
	}
	return sum / math.Sqrt(variance), n
}

// disagrees tells whether a free source has another Einstein radius.
func (l *lensed) disagrees() bool {
	return l != nil && l.Free > 0 && math.Abs(float64(l.Radius/l.Free)-1) > mostChange
}

// doubts says why an arc may be no image of a lensed source, or the lens not the one that makes it.
func (l *lensed) doubts() []string {
	var out []string
	if l == nil {
		return nil
	}
	doubt := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if !finite(float64(l.Magnification + l.Explained + l.Misfit + l.Radius + l.Free + l.Second)) {
		// a number that is none fails no comparison and passes none
		doubt("the source has no light that stands above the noise: nothing says that it is lensed")
		return out
	}
	if l.Images < 2 {
		doubt("the brightest point of the source is seen once only: nothing says that it is lensed")
	} else if l.Second < leastSignal {
		doubt("the second image of the source does not stand out: its signal to noise is %.2g", l.Second)
	}
	if l.Magnification < leastMagnification {
		doubt("the source is magnified by %.2g only, as where light that is not lensed is taken for arcs", l.Magnification)
	}
	if l.Explained < leastExplained {
		doubt("only %.0f %% of the arcs are explained", 100*l.Explained)
	}
	if l.Misfit > mostMisfit {
		doubt("χ² of a pixel where the source shines is %.1f times that of the others: source or lens cannot follow the arcs", l.Misfit)
	}
	if l.disagrees() {
		doubt("the Einstein radius hangs on how the source is described: %.3f arcsec, and %.3f with a free one", l.Radius, l.Free)
	}
	return out
}

// Limits of the verdict on a lens that shines.
const (
	leastSignal        = 8
	leastMagnification = 2
	leastExplained     = 0.85
	mostMisfit         = 4
	mostChange         = 0.02 // of the Einstein radius
	rivalDoubt         = 20   // of log posterior, to a lens with another Einstein radius
)

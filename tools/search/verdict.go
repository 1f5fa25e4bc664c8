package search

import (
	"math"
	"slices"

	"lenskit/adjoint"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"
)

// radiusOf is the Einstein radius of another lens, 0 where none is asked for, NaN where it cannot be computed.
func (l *Lensed) radiusOf(s *Search, named config.Named) float64 {
	if l == nil {
		return 0
	}
	lens, err := s.Problem.Config.Deflection("", named, nil)
	if err != nil {
		return math.NaN()
	}
	return lens.EinsteinRadius(max(s.Problem.Obs.HalfSides()))
}

// unlikely says what of a lens is unlike what was held likely beforehand, or hangs on how the source is described.
func (s *Search) unlikely(post *adjoint.Posterior, named config.Named, top *StageEnd) (out Doubts) {
	for k, name := range post.Names() {
		if f := post.Free()[k]; f >= 0 && isLens(&post.Params()[k]) && math.Abs(top.U[f]) > unlikelySigma && math.Abs(top.U[f]) <= 4 {
			out.add(unlikelyLens, math.Abs(top.U[f]), unlikelySigma, "%s = %.4g is %.1f standard deviations from what its prior holds likely", name, named[name], math.Abs(top.U[f]))
		}
	}
	return out
}

// unlikelySigma is the number of standard deviations of its prior from which a parameter of the lens is unlikely.
const unlikelySigma = 3

// Lensed is what speaks for an arc being the image of a source behind a lens.
type Lensed struct {
	Images        int            `json:"images"`               // of the source's brightest point, apart and within the used pixels
	Second        term.JSONFloat `json:"second_image_snr"`     // signal to noise of the second of them
	Magnification term.JSONFloat `json:"magnification"`        // flux seen over flux of the source
	Radius        term.JSONFloat `json:"einstein_radius"`      // arcsec: of the circle within which the mean convergence is 1, at the maximum
	Pixelised     term.JSONFloat `json:"einstein_radius_free"` // that of the lens of the largest evidence with a pixelised source
	Misfit        term.JSONFloat `json:"arcs_misfit"`          // χ² of a pixel where the source shines over that of one where it does not
	Explained     term.JSONFloat `json:"arcs_explained"`       // of the squared signal where the source shines
}

// Apertures and errors of the test of images.
const (
	imageAperture = 0.15 // arcsec: radius of the disc in which an image's light is taken together
	imageApart    = 0.3  // arcsec: images closer than this count as one
)

// lensing looks for the images of the brightest point of the source.
func (s *Search) lensing(post *adjoint.Posterior, named config.Named, img *adjoint.Images) (*Lensed, error) {
	if img.Source == nil {
		return nil, nil
	}
	lens, err := s.Problem.Config.Deflection("", named, nil)
	if err != nil {
		return nil, err
	}
	halfW, halfH := s.Problem.Obs.HalfSides()
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
	m, sky := img.Model, skyOf(post, named)
	arcs := make([]float64, len(m.Pix))
	seen, missed, signal := 0.0, 0.0, 0.0
	var shine, dark tally
	for k := range arcs {
		arcs[k] = m.Pix[k] - img.LensLight.Pix[k] - sky
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
	out := &Lensed{Magnification: term.JSONFloat(seen / flux), Explained: term.JSONFloat(1 - missed/signal), Radius: term.JSONFloat(lens.EinsteinRadius(max(halfW, halfH)))}
	var best []float64
	var places []lensing.Image
	if dark.n >= darkEnough && shine.n > 0 {
		out.Misfit = term.JSONFloat(shine.mean() / dark.mean())
	}
	for _, p := range lens.ImagesOf(bx, by, halfW, halfH, m.Scale) {
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
		out.Second = term.JSONFloat(best[n-2])
	}
	return out, nil
}

// aperture is the signal to noise of the light of an image, with the error that profiles leave in the light of a lens
// counted as noise, and the number of pixels it was taken from.
func (s *Search) aperture(post *adjoint.Posterior, img *adjoint.Images, arcs []float64, p lensing.Image) (value float64, n int) {
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
			variance += 1/(noise.Weight[k]*noise.Weight[k]) + math.Pow(s.Settings.LightError*img.LensLight.Pix[k], 2)*r*r*math.Pi
		}
	}
	if n == 0 {
		return 0, 0
	}
	return sum / math.Sqrt(variance), n
}

// disagrees tells whether a pixelised source has another Einstein radius.
func (l *Lensed) disagrees() bool {
	return l != nil && l.Pixelised > 0 && math.Abs(float64(l.Radius/l.Pixelised)-1) > mostChange
}

// doubts says why an arc may be no image of a lensed source, or the lens not the one that makes it.
func (l *Lensed) doubts() (out Doubts) {
	if l == nil {
		out.add(sourceDark, none, none, "the model has no source: nothing says that it is lensed")
		return out
	}
	if !term.Finite(float64(l.Magnification)) || !term.Finite(float64(l.Explained)) || !term.Finite(float64(l.Misfit)) {
		out.add(sourceDark, none, none, "the source has no light that stands above the noise: nothing says that it is lensed")
		return out
	}
	ok := out.finite("the Einstein radius", float64(l.Radius))
	ok = out.finite("the Einstein radius with a free source", float64(l.Pixelised)) && ok
	if !out.finite("the signal to noise of the second image", float64(l.Second)) || !ok {
		return out
	}
	if l.Images < 2 {
		out.add(oneImage, float64(l.Images), 2, "the brightest point of the source is seen once only: nothing says that it is lensed")
	} else if l.Second < leastSignal {
		out.add(faintImage, float64(l.Second), leastSignal, "the second image of the source does not stand out: its signal to noise is %.2g", l.Second)
	}
	if l.Magnification < leastMagnification {
		out.add(magnification, float64(l.Magnification), leastMagnification, "the source is magnified by %.2g only, as where light that is not lensed is taken for arcs", l.Magnification)
	}
	if l.Explained < leastExplained {
		out.add(arcsMissed, float64(l.Explained), leastExplained, "only %.0f %% of the arcs are explained", 100*l.Explained)
	}
	if l.Misfit > mostMisfit {
		out.add(arcsMisfit, float64(l.Misfit), mostMisfit, "χ² of a pixel where the source shines is %.1f times that of the others: source or lens cannot follow the arcs", l.Misfit)
	}
	if l.disagrees() {
		out.add(radiusOfSource, math.Abs(float64(l.Radius/l.Pixelised)-1), mostChange, "the Einstein radius hangs on how the source is described: %.3f arcsec, and %.3f with a free one", l.Radius, l.Pixelised)
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

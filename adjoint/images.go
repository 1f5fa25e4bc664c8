package adjoint

import (
	"math"

	"lenskit/physics"
)

// Images is a model drawn on the whole image, masked pixels included. Pixels hold surface brightness in the units of
// the data.
type Images struct {
	Model     *physics.Image // blurred, with sky
	LensLight *physics.Image // the lens lights alone, blurred
	Residual  *physics.Image // (data − model)/σ, 0 where masked
	Source    *physics.Image // the sources without lensing, those of all redshifts side by side; nil when there are none
	// The centre of Source in arcsec.
	SourceX, SourceY float64
}

// Images draws the model at named parameters, in the order of Names.
//
// The source image is the decoder's own pixels where a decoder is the only source; else it is drawn on a square that
// holds the light the image sees.
func (p *Posterior) Images(theta []float64) (*Images, error) {
	if !allFinite(theta) {
		return nil, rejected("the parameters are not finite")
	}
	if err := p.scene.set(theta); err != nil {
		return nil, err
	}
	if p.inv != nil { // the coefficients
		if _, err := p.likelihoodOf(theta, false, false); err != nil {
			return nil, err
		}
	}
	return p.draw()
}

// draw draws the scene as it is set.
func (p *Posterior) draw() (*Images, error) {
	if p.full == nil {
		full, err := p.newGrid(nil, 0, 0)
		if err != nil {
			return nil, err
		}
		psf, err := p.newPSF(full.Box)
		if err != nil {
			return nil, err
		}
		p.full = newChain(p.scene, full, psf, nil, p.pool, len(p.params.names))
	}
	c := p.full
	c.forward()
	out := &Images{Model: p.image(), LensLight: p.image(), Residual: p.image()}
	copy(out.Model.Pix, c.model)
	for i, d := range p.noise.Data {
		if p.noise.Used[i] {
			out.Residual.Pix[i] = (d - c.model[i]) * p.noise.Weight[i]
		}
	}
	c.lensLight(out.LensLight.Pix)
	out.Source, out.SourceX, out.SourceY = c.source()
	return out, nil
}

// ModelImage writes the model image at named parameters, sky included, to dst (W·H). Pixels that no used pixel's PSF
// reaches are left zero.
func (p *Posterior) ModelImage(dst, theta []float64) error {
	if _, err := p.likelihoodOf(theta, false, false); err != nil {
		return err
	}
	copy(dst, whole(p.grid, p.chain.model))
	return nil
}

func (p *Posterior) image() *physics.Image {
	return physics.NewImage(p.obs.W, p.obs.H, p.obs.PixelScale)
}

// lensLight writes the blurred lens lights of a chain of the whole image.
func (c *chain) lensLight(dst []float64) {
	v := make([]float64, len(c.grid.X))
	for i := range c.scene.lights {
		if l := &c.scene.lights[i]; !l.source {
			l.light.Brightness(v, c.grid.X, c.grid.Y)
		}
	}
	plane := make([]float64, c.grid.PlaneLen())
	c.grid.Bin(plane, v, 0, len(c.grid.Pixel), 0)
	c.psf.Blur(dst, plane)
}

// sourceSide is the number of pixels along a side of a source image that has none of its own.
const sourceSide = 128

// source draws the sources on a plane of their own. It follows the rays that forward left.
func (c *chain) source() (img *physics.Image, cx, cy float64) {
	var sources []*lightUnit
	for i := range c.scene.lights {
		if l := &c.scene.lights[i]; l.source {
			sources = append(sources, l)
		}
	}
	if len(sources) == 0 {
		return nil, 0, 0
	}
	if l := sources[0]; len(sources) == 1 && l.pixels != nil && l.splines == nil {
		if w, h := l.pixels.Size(); w == h {
			iota, s := l.last[0], l.last[1]
			img = physics.NewImage(w, h, s/float64(w))
			l.pixels.Image(img.Pix)
			for i := range img.Pix {
				img.Pix[i] *= iota
			}
			return img, l.last[2], l.last[3]
		}
	}
	v := make([]float64, len(c.grid.X))
	// brightness-weighted centre and spread; three times the spread on either side holds what is seen
	var w, mx, my, ss float64
	each := func(visit func(b, x, y float64)) {
		for plane := range c.scene.sourcePlanes() {
			at := c.scene.lensPlanes() + plane
			x, y := c.px[at], c.py[at]
			clear(v)
			for _, l := range sources {
				if l.plane == plane {
					l.light.Brightness(v, x, y)
				}
			}
			for i, b := range v {
				if b > 0 {
					visit(b, x[i], y[i])
				}
			}
		}
	}
	each(func(b, x, y float64) {
		w += b
		mx += b * x
		my += b * y
	})
	half := 0.5 * c.grid.Scale * float64(max(c.grid.W, c.grid.H))
	if w > 0 {
		cx, cy = mx/w, my/w
		each(func(b, x, y float64) {
			dx, dy := x-cx, y-cy
			ss += b * (dx*dx + dy*dy)
		})
		if spread := 3 * math.Sqrt(ss/w); spread > 0 {
			half = math.Min(half, spread)
		}
	}
	img = physics.NewImage(sourceSide, sourceSide, 2*half/sourceSide)
	x, y := make([]float64, len(img.Pix)), make([]float64, len(img.Pix))
	for k := range img.Pix {
		x[k] = cx + (float64(k%sourceSide)-0.5*(sourceSide-1))*img.Scale
		y[k] = cy + (float64(k/sourceSide)-0.5*(sourceSide-1))*img.Scale
	}
	for _, l := range sources {
		l.light.Brightness(img.Pix, x, y)
	}
	return img, cx, cy
}

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
// The source image is the decoder's own pixels where a decoder is the only source; else it is drawn on the least square around
// the grids of pixelised sources or, without these, on one that holds the light the image sees.
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

// sourceSide is the number of pixels along a side of a source image that has none of its own; grids of splines are drawn with two
// pixels a step, up to maxSourceSide.
const (
	sourceSide    = 128
	maxSourceSide = 256
)

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
	cx, cy, half, side := c.sourceFrame(sources)
	img = physics.NewImage(side, side, 2*half/float64(side))
	x, y := make([]float64, len(img.Pix)), make([]float64, len(img.Pix))
	for k := range img.Pix {
		x[k] = cx + (float64(k%side)-0.5*float64(side-1))*img.Scale
		y[k] = cy + (float64(k/side)-0.5*float64(side-1))*img.Scale
	}
	for _, l := range sources {
		l.light.Brightness(img.Pix, x, y)
	}
	return img, cx, cy
}

// sourceFrame is the square that sources are drawn on: that of the grids of pixelised ones, else one that holds what is seen.
func (c *chain) sourceFrame(sources []*lightUnit) (cx, cy, half float64, side int) {
	if x, y, half, step := gridFrame(sources); step > 0 {
		return x, y, half, min(maxSourceSide, max(sourceSide, int(math.Ceil(4*half/step))))
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
	half = 0.5 * c.grid.Scale * float64(max(c.grid.W, c.grid.H))
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
	return cx, cy, half, sourceSide
}

// gridFrame is the least square around the grids of pixelised sources, and the least of their steps, 0 where there are none.
func gridFrame(sources []*lightUnit) (cx, cy, half, step float64) {
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	step = math.Inf(1)
	for _, l := range sources {
		if l.splines == nil {
			continue
		}
		for _, g := range l.splines.Grids() {
			x0, x1 = math.Min(x0, g.X-g.Half), math.Max(x1, g.X+g.Half)
			y0, y1 = math.Min(y0, g.Y-g.Half), math.Max(y1, g.Y+g.Half)
			step = math.Min(step, g.Step())
		}
	}
	if math.IsInf(step, 1) {
		return 0, 0, 0, 0
	}
	return 0.5 * (x0 + x1), 0.5 * (y0 + y1), 0.5 * math.Max(x1-x0, y1-y0), step
}

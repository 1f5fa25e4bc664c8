package physics

import (
	"fmt"
	"math"

	"lenskit/physics/internal/kern"
)

// Pixels is a Light whose brightness is an image of W x H pixels, looked up between them:
//
//	I(x, y) = iota · image(u, v),  (u, v) = ((x, y) − (X, Y))/s ∈ [−½, ½]²
//
// so s is the image's full width in arcsec, and pixel (i, j) is centred at u = (i+½)/W − ½, v = (j+½)/H − ½. Outside
// lie zeros, which the interpolation reaches by a ramp of about a pixel. Its parameters are iota, s, x, y; the image is
// set by SetImage. The concurrency rules of Light hold, with SetImage beside Set.
//
// Images that Pixels reads or accumulates into have rings of zeros around them: PadLen numbers, filled by Pad and read
// by Unpad.
type Pixels struct {
	w, h       int
	look       *lookup
	frame      kern.Frame
	iota, s    float64
	img        []float64 // padded
	padW, padH int
}

// NewPixels makes a light of w x h pixels, all zero, with one of the Interpolations ("" is bilinear).
func NewPixels(interpolation string, w, h int) (*Pixels, error) {
	look, err := findLookup(interpolation)
	if err != nil {
		return nil, err
	}
	if w <= 0 || h <= 0 || (w+2*look.pad)*(h+2*look.pad) > math.MaxInt32 {
		return nil, fmt.Errorf("physics: source image: found %d x %d pixels, expected at least 1 x 1", w, h)
	}
	p := &Pixels{w: w, h: h, look: look, padW: w + 2*look.pad, padH: h + 2*look.pad}
	p.img = make([]float64, p.padW*p.padH)
	low, off := float64(look.low), float64(look.pad-look.low)
	p.frame = kern.Frame{
		OX: float64(w)/2 - 0.5 + low, OY: float64(h)/2 - 0.5 + low,
		EndX: float64(w) + 2*low - 1, EndY: float64(h) + 2*low - 1,
		Stride: float64(p.padW), Corner: off*float64(p.padW) + off,
	}
	if err := p.Set([]float64{1, 1, 0, 0}); err != nil {
		return nil, err
	}
	return p, nil
}

// Size is the number of pixels along x and y.
func (p *Pixels) Size() (w, h int) { return p.w, p.h }

var pixelsParams = append([]Param{
	anywhere("iota", RoleAmplitude, Brightness).likely(logNormal(1, 1).OfBrightness()).inSource(Normal(1, 0.5).Bounded(0, math.Inf(1)).OfBrightness()),
	positive("s", RoleSize, Arcsec).likely(Normal(5, 2).Bounded(0.5, 40)).inSource(Normal(5, 1).Bounded(0.2, 20)),
}, centre("x", "y")...)

// Params are iota, the factor of the image; s, its width; and x, y, its centre.
func (p *Pixels) Params() []Param {
	return pixelsParams
}

// Set takes iota, s, x, y.
func (p *Pixels) Set(v []float64) error {
	s := v[1]
	if !(s > 0) || math.IsInf(float64(p.w)/s, 0) {
		return fmt.Errorf("physics: pixels: s = %g, expected a positive width: %w", s, ErrRange)
	}
	p.iota, p.s = v[0], s
	f := &p.frame
	f.X, f.Y = v[2], v[3]
	f.CX, f.CY = float64(p.w)/s, float64(p.h)/s
	f.GX, f.GY = p.iota*f.CX, p.iota*f.CY
	return nil
}

// SetImage takes W·H pixel values, lowest row first.
func (p *Pixels) SetImage(pix []float64) { p.Pad(p.img, pix) }

// Image writes the W·H pixel values to pix.
func (p *Pixels) Image(pix []float64) {
	clear(pix)
	p.Unpad(pix, p.img)
}

// PadLen is the length of a padded image.
func (p *Pixels) PadLen() int { return len(p.img) }

// Pad copies W·H pixel values into the interior of a padded image; it leaves the rings alone.
func (p *Pixels) Pad(padded, pix []float64) {
	if len(pix) != p.w*p.h || len(padded) != len(p.img) {
		panic("physics: Pixels.Pad: image of another size")
	}
	for j := range p.h {
		k := (j+p.look.pad)*p.padW + p.look.pad
		copy(padded[k:k+p.w], pix[j*p.w:])
	}
}

// Unpad adds the interior of a padded image to the W·H values of pix.
func (p *Pixels) Unpad(pix, padded []float64) {
	if len(pix) != p.w*p.h || len(padded) != len(p.img) {
		panic("physics: Pixels.Unpad: image of another size")
	}
	for j := range p.h {
		k := (j+p.look.pad)*p.padW + p.look.pad
		row := padded[k : k+p.w]
		for i, v := range row {
			pix[j*p.w+i] += v
		}
	}
}

// Brightness adds I(x, y) to dst.
func (p *Pixels) Brightness(dst, x, y []float64) { p.Lookup(dst, p.img, p.iota, x, y) }

// Lookup adds scale times the interpolated padded image to dst: the derivative of Brightness in the direction of an
// image, when scale is iota.
func (p *Pixels) Lookup(dst, padded []float64, scale float64, x, y []float64) {
	var t taps
	for k := 0; k < len(x); k += kern.Block {
		end := min(k+kern.Block, len(x))
		p.look.locate(&t, &p.frame, x[k:end], y[k:end])
		p.look.value(dst[k:end], padded, p.padW, &t, scale)
	}
}

// LookupEach adds iota times the interpolation of each padded image to the plane of the same index: the columns of the
// Jacobian of Brightness by whatever made the images. A nil plane is left out.
func (p *Pixels) LookupEach(dst, padded [][]float64, x, y []float64) {
	var t taps
	for k := 0; k < len(x); k += kern.Block {
		end := min(k+kern.Block, len(x))
		p.look.locate(&t, &p.frame, x[k:end], y[k:end])
		for c, d := range dst {
			if d != nil {
				p.look.value(d[k:end], padded[c], p.padW, &t, p.iota)
			}
		}
	}
}

// BrightnessVJP is as Light says; the image is taken as a constant.
func (p *Pixels) BrightnessVJP(gp, gx, gy, gdst, x, y []float64) {
	p.BrightnessVJPImage(gp, nil, gx, gy, gdst, x, y)
}

// BrightnessVJPImage is BrightnessVJP that also adds (∂I/∂image)ᵀ gdst to gimg, a padded image, unless that is nil. What
// lands in the rings is of no account.
func (p *Pixels) BrightnessVJPImage(gp, gimg, gx, gy, gdst, x, y []float64) {
	var t taps
	var slope kern.Slope
	var sum [4]float64
	for k := 0; k < len(x); k += kern.Block {
		end := min(k+kern.Block, len(x))
		xs, ys, g := x[k:end], y[k:end], gdst[k:end]
		p.look.locate(&t, &p.frame, xs, ys)
		p.look.slopes(&slope, p.img, p.padW, &t)
		if gx != nil {
			p.frame.Chain(&sum, &slope, g, xs, ys, gx[k:end], gy[k:end])
		} else {
			p.frame.Chain(&sum, &slope, g, xs, ys, nil, nil)
		}
		if gimg != nil {
			p.look.scatter(gimg, p.padW, &t, g, p.iota)
		}
	}
	gp[0] += sum[0]
	gp[1] -= sum[1] / p.s
	gp[2] -= sum[2]
	gp[3] -= sum[3]
}

// BrightnessJac is as Light says.
func (p *Pixels) BrightnessJac(jp [][]float64, jx, jy, x, y []float64) {
	var t taps
	var slope kern.Slope
	f := &p.frame
	v, dx, dy := &slope[0], &slope[1], &slope[2]
	for k := 0; k < len(x); k += kern.Block {
		end := min(k+kern.Block, len(x))
		p.look.locate(&t, f, x[k:end], y[k:end])
		p.look.slopes(&slope, p.img, p.padW, &t)
		for i := range t.n {
			dx[i] *= f.GX
			dy[i] *= f.GY
		}
		if jx != nil {
			copy(jx[k:end], dx[:])
			copy(jy[k:end], dy[:])
		}
		if jp == nil {
			continue
		}
		if jp[0] != nil {
			copy(jp[0][k:end], v[:])
		}
		if jp[1] != nil {
			for i := range t.n {
				jp[1][k+i] = -(dx[i]*(x[k+i]-f.X) + dy[i]*(y[k+i]-f.Y)) / p.s
			}
		}
		if jp[2] != nil {
			for i := range t.n {
				jp[2][k+i] = -dx[i]
			}
		}
		if jp[3] != nil {
			for i := range t.n {
				jp[3][k+i] = -dy[i]
			}
		}
	}
}

package physics

import (
	"fmt"
	"math"

	"lenskit/physics/internal/kern"
)

// lookup is one way to read an image between its pixels. It works on an image with `pad` rings of zeros around it and
// on a block of taps, so that no tap needs a bounds check of its own.
type lookup struct {
	name  string
	pad   int // rings of zeros
	low   int // positions in [-low, size+low-1) pixels can see the image
	cubic bool
}

// lookups is the table of interpolations.
//
// bilinear is the paper's: continuous, with a kink where a ray crosses a line through pixel centres. There the
// derivative is that of the cell to the right and above (floor takes the cell), as in torch's grid_sample.
//
// bicubic is Catmull-Rom's cubic convolution (Keys 1981, a = -1/2): it passes through the pixel values and has
// continuous first derivatives everywhere, borders included, since the image goes on as zeros.
var lookups = [...]lookup{
	{name: "bilinear", pad: 1, low: 1},
	{name: "bicubic", pad: 3, low: 2, cubic: true},
}

// taps is where a block of rays meets a padded image, and with what weights.
type taps struct {
	n       int
	cells   kern.Taps
	weights kern.Weights // of a cubic lookup
}

// locate fills t with the cells of up to kern.Block rays.
func (l *lookup) locate(t *taps, f *kern.Frame, x, y []float64) {
	t.n = len(x)
	f.Locate(&t.cells, x, y)
	if l.cubic {
		t.weights.Fill(&t.cells, t.n)
	}
}

// value adds scale times the interpolated values to dst.
func (l *lookup) value(dst, img []float64, stride int, t *taps, scale float64) {
	if l.cubic {
		kern.BicubicValue(dst[:t.n], img, stride, &t.cells, &t.weights, scale)
	} else {
		kern.BilinearValue(dst[:t.n], img, stride, &t.cells, scale)
	}
}

// slopes writes the values and their derivatives by position, per pixel.
func (l *lookup) slopes(s *kern.Slope, img []float64, stride int, t *taps) {
	if l.cubic {
		kern.BicubicSlopes(s, img, stride, &t.cells, &t.weights, t.n)
	} else {
		kern.BilinearSlopes(s, img, stride, &t.cells, t.n)
	}
}

// scatter adds scale·g times each tap's weight to the taps: the adjoint of value in the image.
func (l *lookup) scatter(gimg []float64, stride int, t *taps, g []float64, scale float64) {
	if l.cubic {
		kern.BicubicScatter(gimg, stride, &t.cells, &t.weights, g[:t.n], scale)
	} else {
		kern.BilinearScatter(gimg, stride, &t.cells, g[:t.n], scale)
	}
}

// Interpolations lists the names that NewPixels takes.
func Interpolations() []string {
	names := make([]string, len(lookups))
	for i := range lookups {
		names[i] = lookups[i].name
	}
	return names
}

func findLookup(name string) (*lookup, error) {
	if name == "" {
		name = "bilinear"
	}
	for i := range lookups {
		if lookups[i].name == name {
			return &lookups[i], nil
		}
	}
	return nil, fmt.Errorf("physics: interpolation: found %q, expected one of %v", name, Interpolations())
}

// Border returns the distance, in source pixels, from (x, y) to the nearest line through pixel centres: at zero a
// bilinear lookup has a kink. It is +Inf where the image cannot be seen.
func (p *Pixels) Border(x, y float64) float64 {
	f := &p.frame
	px, py := (x-f.X)*f.CX+f.OX, (y-f.Y)*f.CY+f.OY
	if !(px >= 0 && py >= 0 && px < f.EndX && py < f.EndY) {
		return math.Inf(1)
	}
	tx, ty := px-math.Floor(px), py-math.Floor(py)
	return min(tx, 1-tx, ty, 1-ty)
}

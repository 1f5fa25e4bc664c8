package physics

import (
	"fmt"
	"math"
)

// lookup is one way to read an image between its pixels. It works on an image with `pad` rings of zeros around it and
// on a block of taps, so that no tap needs a bounds check of its own.
type lookup struct {
	name string
	pad  int // rings of zeros
	low  int // positions in [-low, size+low-1) pixels can see the image
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
	{name: "bicubic", pad: 3, low: 2},
}

// The kernels are called by name, not through a table: then the blocks they work on stay on the stack.

// value adds scale times the interpolated values to dst.
func (l *lookup) value(dst, img []float64, stride int, t *taps, scale float64) {
	if l.name == "bicubic" {
		bicubicValue(dst, img, stride, t, scale)
	} else {
		bilinearValue(dst, img, stride, t, scale)
	}
}

// slopes writes the values and their derivatives by position, per pixel.
func (l *lookup) slopes(v, dx, dy, img []float64, stride int, t *taps) {
	if l.name == "bicubic" {
		bicubicSlopes(v, dx, dy, img, stride, t)
	} else {
		bilinearSlopes(v, dx, dy, img, stride, t)
	}
}

// scatter adds scale·g times each tap's weight to the taps: the adjoint of value in the image.
func (l *lookup) scatter(gimg []float64, stride int, t *taps, g []float64, scale float64) {
	if l.name == "bicubic" {
		bicubicScatter(gimg, stride, t, g, scale)
	} else {
		bilinearScatter(gimg, stride, t, g, scale)
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

// tapBlock is the number of rays that are located at a time; the taps then stay in the first-level cache.
const tapBlock = 128

// taps holds, for up to tapBlock rays, the cell of the padded image in which each falls, as the index of the pixel at
// the cell's lower left, and the position (tx, ty) in [0, 1)² within it. A ray that cannot see the image has a cell in
// the corner where all that weighs is zero.
type taps struct {
	n      int
	base   [tapBlock]int32
	tx, ty [tapBlock]float64
}

// frame maps positions in arcsec to cells of a padded image.
type frame struct {
	x, y, cx, cy float64 // pixel position = (x - frame.x)·cx + ox
	ox, oy       float64
	low          float64
	endx, endy   float64 // positions from -low up to here can see the image
	off          int     // padded column, and row, of a position in [-low, 1-low)
	stride       int     // length of a padded row
	nowhere      int32   // the cell of rays that see nothing
}

// locate fills t with the cells of up to tapBlock rays.
func (f *frame) locate(t *taps, x, y []float64) {
	t.n = len(x)
	for i, xi := range x {
		px := (xi-f.x)*f.cx + f.ox + f.low
		py := (y[i]-f.y)*f.cy + f.oy + f.low
		if px >= 0 && py >= 0 && px < f.endx && py < f.endy { // false for NaN
			ix, iy := int(px), int(py)
			t.base[i] = int32((iy+f.off)*f.stride + ix + f.off)
			t.tx[i], t.ty[i] = px-float64(ix), py-float64(iy)
		} else {
			t.base[i], t.tx[i], t.ty[i] = f.nowhere, 0, 0
		}
	}
}

// Border returns the distance, in source pixels, from (x, y) to the nearest line through pixel centres: at zero a
// bilinear lookup has a kink. It is +Inf where the image cannot be seen.
func (p *Pixels) Border(x, y float64) float64 {
	var t taps
	p.frame.locate(&t, []float64{x}, []float64{y})
	if t.base[0] == p.frame.nowhere && t.tx[0] == 0 && t.ty[0] == 0 {
		return math.Inf(1)
	}
	return min(t.tx[0], 1-t.tx[0], t.ty[0], 1-t.ty[0])
}

package physics

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"lenskit/physics/internal/kern"
)

// Box is a rectangle of pixels: columns X0 ≤ i < X0+W of rows Y0 ≤ j < Y0+H.
type Box struct{ X0, Y0, W, H int }

// Grid is the rays of an image: for each pixel that matters, a square of them. What matters is a used pixel or one whose
// light the PSF spreads into a used pixel. All planes made on a grid cover the Box around these pixels, row by row.
type Grid struct {
	W, H  int     // of the whole image
	Scale float64 // arcsec per pixel
	Most  int     // rays along each side of the pixel that has most
	Fine  int     // pixels of a plane of light along each side of a pixel; 1 unless Refine was called
	Box   Box
	Pixel []int32 // index in the box of each pixel that has rays, in rising order
	Side  []int32 // rays along each side of each entry of Pixel
	First []int32 // the first ray of each entry of Pixel, and after the last the number of rays
	// X, Y are the rays' positions in arcsec, one entry of Pixel after another, row by row in each.
	X, Y []float64
}

// NewGrid lays out the rays of an image of w x h pixels of `scale` arcsec. used tells which pixels are compared with
// data (nil: all); rx, ry is the PSF's margin; sub is the number of rays along a pixel's side, at least 1: one value for
// all pixels of the image, or one for each.
func NewGrid(w, h int, scale float64, used []bool, rx, ry int, sub []int) (*Grid, error) {
	switch {
	case w <= 0 || h <= 0:
		return nil, fmt.Errorf("physics: grid: found %d x %d pixels, expected at least 1 x 1", w, h)
	case !(scale > 0):
		return nil, fmt.Errorf("physics: grid: found a pixel scale of %g arcsec, expected a positive number", scale)
	case len(sub) != 1 && len(sub) != w*h:
		return nil, fmt.Errorf("physics: grid: found supersampling of %d pixels, expected 1 value or %d x %d", len(sub), w, h)
	case slices.Min(sub) < 1:
		return nil, fmt.Errorf("physics: grid: found supersampling %d, expected at least 1", slices.Min(sub))
	case used != nil && len(used) != w*h:
		return nil, fmt.Errorf("physics: grid: found a mask of %d pixels, expected %d x %d", len(used), w, h)
	}
	need := spread(used, w, h, rx, ry)
	box, ok := bounding(need, w, h)
	if !ok {
		return nil, fmt.Errorf("physics: grid: no pixel of %d x %d is used", w, h)
	}
	side := func(p int) int { return sub[min(p, len(sub)-1)] }
	n, rays := 0, 0
	for p, b := range need {
		if b {
			n++
			rays += side(p) * side(p)
		}
	}
	if rays > math.MaxInt32 {
		return nil, fmt.Errorf("physics: grid: found %d rays, expected at most %d", rays, math.MaxInt32)
	}
	g := &Grid{W: w, H: h, Scale: scale, Fine: 1, Box: box}
	g.Pixel, g.Side, g.First = make([]int32, 0, n), make([]int32, 0, n), make([]int32, 1, n+1)
	g.X, g.Y = make([]float64, 0, rays), make([]float64, 0, rays)
	for j := box.Y0; j < box.Y0+box.H; j++ {
		for i := box.X0; i < box.X0+box.W; i++ {
			if !need[j*w+i] {
				continue
			}
			m := side(j*w + i)
			for b := range m {
				for a := range m {
					g.X = append(g.X, (float64(i)-float64(w-1)/2+(float64(a)+0.5)/float64(m)-0.5)*scale)
					g.Y = append(g.Y, (float64(j)-float64(h-1)/2+(float64(b)+0.5)/float64(m)-0.5)*scale)
				}
			}
			g.Pixel = append(g.Pixel, int32((j-box.Y0)*box.W+i-box.X0))
			g.Side, g.First, g.Most = append(g.Side, int32(m)), append(g.First, int32(len(g.X))), max(g.Most, m)
		}
	}
	return g, nil
}

// Refine makes the planes that Bin writes finer: fine x fine pixels, each the mean of its rays, for each of the image's,
// as a PSF with Sampling fine takes them. The rays along each pixel's side must be a multiple of fine.
func (g *Grid) Refine(fine int) error {
	for _, m := range g.Side {
		if fine < 1 || int(m)%fine != 0 {
			return fmt.Errorf("physics: grid: found %d pixels of the PSF along a pixel's side, expected a divisor of the supersampling %d", fine, m)
		}
	}
	g.Fine = fine
	return nil
}

// PlaneLen is the number of pixels of a plane that Bin writes.
func (g *Grid) PlaneLen() int { return g.Fine * g.Fine * g.Box.W * g.Box.H }

// first is First[k], and pixel is Pixel[k]. Most grids need not look: to fetch what a large table holds, here and there, from
// memory takes longer than the work of many rays.
func (g *Grid) first(k int) int {
	if g.Most == 1 {
		return k
	}
	return int(g.First[k])
}

func (g *Grid) pixel(k int) int {
	if len(g.Pixel) == g.Box.W*g.Box.H {
		return k
	}
	return int(g.Pixel[k])
}

// Rays are those of the pixels from ≤ k < to of Pixel among v, which has a value for each ray.
func (g *Grid) Rays(v []float64, from, to int) []float64 { return v[g.first(from):g.first(to)] }

// Share is the pixel of Pixel with which the k-th of n shares of about as many rays begins, of the pixels from ≤ i < to.
// That of k = n is to.
func (g *Grid) Share(from, to, k, n int) int {
	first := g.first(from)
	at := first + k*(g.first(to)-first)/n
	return from + sort.Search(to-from, func(i int) bool { return g.first(from+i) >= at })
}

// Reach is the first pixel after from ≤ k < to of Pixel that cannot be taken with those before it into a stretch of at
// most n rays; a pixel of more rays is a stretch of its own.
func (g *Grid) Reach(from, to, n int) int {
	limit := g.first(from) + n
	// a pixel has one ray at least
	return from + max(1, sort.Search(min(to-from, n), func(k int) bool { return g.first(from+1+k) > limit }))
}

// Row is the first entry of Pixel in or after the j-th row of the box, whose first row is 0.
func (g *Grid) Row(j int) int {
	return sort.Search(len(g.Pixel), func(k int) bool { return g.pixel(k) >= j*g.Box.W })
}

// spread marks every pixel within rx columns and ry rows of a used one.
func spread(used []bool, w, h, rx, ry int) []bool {
	if used == nil {
		used = make([]bool, w*h)
		for i := range used {
			used[i] = true
		}
		return used
	}
	out := append([]bool(nil), used...)
	widen := func(n, r, stride, start int) {
		last := -r - 1 // the nearest used one so far
		line := make([]bool, n)
		for i := range n {
			if out[start+i*stride] {
				last = i
			}
			line[i] = i-last <= r
		}
		last = n + r
		for i := n - 1; i >= 0; i-- {
			if out[start+i*stride] {
				last = i
			}
			line[i] = line[i] || last-i <= r
		}
		for i, b := range line {
			out[start+i*stride] = b
		}
	}
	for j := range h {
		widen(w, rx, 1, j*w)
	}
	for i := range w {
		widen(h, ry, w, i)
	}
	return out
}

func bounding(need []bool, w, h int) (Box, bool) {
	x0, y0, x1, y1 := w, h, -1, -1
	for j := range h {
		for i := range w {
			if need[j*w+i] {
				x0, x1 = min(x0, i), max(x1, i)
				y0, y1 = min(y0, j), max(y1, j)
			}
		}
	}
	return Box{x0, y0, x1 - x0 + 1, y1 - y0 + 1}, x1 >= 0
}

// Bin writes to the plane the mean of each pixel's rays, for the pixels from ≤ k < to of Pixel; ray holds their rays
// alone. The plane begins at index `start` of the box, which on a refined grid must begin a row. Other pixels of the
// plane are left as they are.
func (g *Grid) Bin(plane, ray []float64, from, to, start int) {
	if from == to {
		return
	}
	if g.Fine > 1 {
		g.binFine(plane, ray, from, to, start)
		return
	}
	if g.Most == 1 && g.unbroken(from, to) {
		copy(plane[g.pixel(from)-start:], ray[:to-from])
		return
	}
	first := g.First[from]
	for k := from; k < to; k++ {
		rays, sum := ray[g.First[k]-first:g.First[k+1]-first], 0.0
		for _, v := range rays {
			sum += v
		}
		plane[int(g.Pixel[k])-start] = sum / float64(len(rays))
	}
}

// Unbin is the adjoint of Bin: it writes to each ray the share of its pixel's adjoint.
func (g *Grid) Unbin(gray, gplane []float64, from, to int) {
	if from == to {
		return
	}
	if g.Fine > 1 {
		g.unbinFine(gray, gplane, from, to)
		return
	}
	if g.Most == 1 && g.unbroken(from, to) {
		copy(gray[:to-from], gplane[g.pixel(from):])
		return
	}
	first := g.First[from]
	for k := from; k < to; k++ {
		rays := gray[g.First[k]-first : g.First[k+1]-first]
		share := gplane[g.Pixel[k]] / float64(len(rays))
		for i := range rays {
			rays[i] = share
		}
	}
}

// cell is where pixel k of Pixel begins in a refined plane, and the length of its rows.
func (g *Grid) cell(k int) (first, width int) {
	p := int(g.Pixel[k])
	width = g.Fine * g.Box.W
	return p/g.Box.W*g.Fine*width + p%g.Box.W*g.Fine, width
}

func (g *Grid) binFine(plane, ray []float64, from, to, start int) {
	for k := from; k < to; k++ {
		first, width := g.cell(k)
		first -= start * g.Fine * g.Fine
		rays, side := ray[g.First[k]-g.First[from]:], int(g.Side[k])
		m := side / g.Fine
		inv := 1 / float64(m*m)
		for b := range g.Fine {
			row := plane[first+b*width:][:g.Fine]
			for a := range row {
				s := 0.0
				for j := b * m; j < (b+1)*m; j++ {
					for _, v := range rays[j*side+a*m:][:m] {
						s += v
					}
				}
				row[a] = s * inv
			}
		}
	}
}

func (g *Grid) unbinFine(gray, gplane []float64, from, to int) {
	for k := from; k < to; k++ {
		first, width := g.cell(k)
		rays, side := gray[g.First[k]-g.First[from]:g.First[k+1]-g.First[from]], int(g.Side[k])
		m := side / g.Fine
		inv := 1 / float64(m*m)
		for i := range rays {
			rays[i] = inv * gplane[first+i/side/m*width+i%side/m]
		}
	}
}

// unbroken tells whether the pixels from ≤ k < to of Pixel follow each other.
func (g *Grid) unbroken(from, to int) bool { return g.pixel(to-1)-g.pixel(from) == to-1-from }

// SourcePlane writes x - ax and y - ay to bx and by.
func SourcePlane(bx, by, x, y, ax, ay []float64) { kern.SourcePlane(bx, by, x, y, ax, ay) }

// Crop copies the box out of a plane of the whole image.
func Crop[T any](b Box, dst, whole []T, w int) {
	for j := range b.H {
		copy(dst[j*b.W:(j+1)*b.W], whole[(b.Y0+j)*w+b.X0:])
	}
}

package lensing

import (
	"math"
	"slices"
)

// curveSide is the number of cells along the longer side in which critical curves are sought.
const curveSide = 400

// Curves finds the critical curves, where the magnification is infinite, within ±halfW, ±halfH arcsec, and the caustics
// they are mapped to. A small curve, as around the centre of a shallow lens, is traced again in cells of its own size: one that
// shrinks with the cells is of the differences across a singular centre, and is left out.
func (s Sum) Curves(halfW, halfH float64) (critical, caustics [][]Point) {
	side := 2 * math.Max(halfW, halfH)
	for _, c := range s.trace(-halfW, -halfH, halfW, halfH, side/curveSide) {
		lo, hi := bounds(c)
		size := max(hi.X-lo.X, hi.Y-lo.Y)
		if size >= side/8 {
			critical = append(critical, c)
			continue
		}
		for _, fine := range s.trace(lo.X-size/4, lo.Y-size/4, hi.X+size/4, hi.Y+size/4, 1.5*size/curveSide) {
			if a, b := bounds(fine); max(b.X-a.X, b.Y-a.Y) > size/4 {
				critical = append(critical, fine)
			}
		}
	}
	for _, c := range critical {
		x, y := make([]float64, len(c)), make([]float64, len(c))
		for i, p := range c {
			x[i], y[i] = p.X, p.Y
		}
		bx, by := s.Source(x, y)
		caustic := make([]Point, len(c))
		for i := range c {
			caustic[i] = Point{bx[i], by[i]}
		}
		caustics = append(caustics, caustic)
	}
	return critical, caustics
}

// bounds are the corners of the box around a curve.
func bounds(c []Point) (lo, hi Point) {
	lo, hi = c[0], c[0]
	for _, p := range c {
		lo.X, lo.Y, hi.X, hi.Y = min(lo.X, p.X), min(lo.Y, p.Y), max(hi.X, p.X), max(hi.Y, p.Y)
	}
	return lo, hi
}

// trace finds the critical curves in a rectangle by cells of the given size: the zeros of det(∂β/∂θ), which is taken by
// central differences.
func (s Sum) trace(x0, y0, x1, y1, step float64) [][]Point {
	nx, ny := int((x1-x0)/step)+2, int((y1-y0)/step)+2
	n := nx * ny
	// β at the four neighbours of each node, a quarter of a cell away
	h := step / 4
	var bx, by [4][]float64
	for k, d := range [4][2]float64{{h, 0}, {-h, 0}, {0, h}, {0, -h}} {
		x, y := make([]float64, n), make([]float64, n)
		for i := range n {
			x[i], y[i] = x0+float64(i%nx)*step+d[0], y0+float64(i/nx)*step+d[1]
		}
		bx[k], by[k] = s.Source(x, y)
	}
	det := make([]float64, n)
	for i := range det {
		xx, yx := (bx[0][i]-bx[1][i])/(2*h), (by[0][i]-by[1][i])/(2*h)
		xy, yy := (bx[2][i]-bx[3][i])/(2*h), (by[2][i]-by[3][i])/(2*h)
		det[i] = xx*yy - xy*yx
	}
	// short lines are the wiggles around a singular centre
	lines := slices.DeleteFunc(Contours(det, nx, ny), func(c []Point) bool { return len(c) < 8 })
	for _, c := range lines {
		for i, p := range c {
			c[i] = Point{x0 + p.X*step, y0 + p.Y*step}
		}
	}
	return lines
}

// Source maps places of the image to the source plane.
func (s Sum) Source(x, y []float64) (bx, by []float64) {
	ax, ay := make([]float64, len(x)), make([]float64, len(x))
	for _, l := range s {
		l.Deflect(ax, ay, x, y)
	}
	for i := range ax {
		ax[i], ay[i] = x[i]-ax[i], y[i]-ay[i]
	}
	return ax, ay
}

// Contours traces the zeros of v on a grid of nx x ny nodes as lines of places in units of cells (marching squares). The same
// values give the same lines, in the same order.
func Contours(v []float64, nx, ny int) [][]Point {
	// An edge of the grid is horizontal (from node k to k+1) or vertical (from k to k+nx); a line runs from edge to edge.
	type edge struct {
		node     int
		vertical bool
	}
	cross := func(e edge) (Point, bool) {
		a, step := v[e.node], 1
		if e.vertical {
			step = nx
		}
		b := v[e.node+step]
		if !(a < 0) == !(b < 0) || math.IsNaN(a-b) || math.IsInf(a-b, 0) {
			return Point{}, false
		}
		f := a / (a - b)
		p := Point{float64(e.node % nx), float64(e.node / nx)}
		if e.vertical {
			p.Y += f
		} else {
			p.X += f
		}
		return p, true
	}
	next := map[edge][]edge{}
	var order []edge
	link := func(a, b edge) {
		for _, e := range [2]edge{a, b} {
			if _, ok := next[e]; !ok {
				order = append(order, e)
			}
		}
		next[a], next[b] = append(next[a], b), append(next[b], a)
	}
	for j := range ny - 1 {
		for i := range nx - 1 {
			k := j*nx + i
			var hit []edge
			for _, e := range [4]edge{{k, false}, {k + 1, true}, {k + nx, false}, {k, true}} { // around the cell
				if _, ok := cross(e); ok {
					hit = append(hit, e)
				}
			}
			switch len(hit) {
			case 2:
				link(hit[0], hit[1])
			case 4: // a saddle: either pairing will do at this resolution
				link(hit[0], hit[1])
				link(hit[2], hit[3])
			}
		}
	}
	var out [][]Point
	seen := map[edge]bool{}
	walk := func(e edge) []Point {
		var line []Point
		for {
			seen[e] = true
			p, _ := cross(e)
			line = append(line, p)
			at := -1
			for i, n := range next[e] {
				if !seen[n] {
					at = i
				}
			}
			if at < 0 {
				return line
			}
			e = next[e][at]
		}
	}
	for pass := range 2 { // open lines from their ends first, then closed ones
		for _, e := range order {
			if seen[e] || pass == 0 && len(next[e]) != 1 {
				continue
			}
			line := walk(e)
			if pass == 1 && len(line) > 2 {
				line = append(line, line[0])
			}
			out = append(out, line)
		}
	}
	return out
}

// Point is a place in arcsec.
type Point struct{ X, Y float64 }

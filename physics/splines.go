package physics

import (
	"fmt"
	"math"
)

// SplineGrid is a square of N x N quadratic B-splines in a source plane, whose knots are h = 2·Half/N apart. The spline of
// column i and row j stands at (X − Half + (i+½)h, Y − Half + (j+½)h) and reaches 1.5 h to either side. Its coefficients
// are stored row by row, lowest y first; a surface brightness is the sum of the splines times these, so that equal
// coefficients make it constant within the square, half a step from its edges.
type SplineGrid struct {
	X, Y float64 // the centre in arcsec
	Half float64 // half of the side in arcsec
	N    int     // splines along a side
}

// MaxSplines bounds the splines along a side of a grid: the matrices of the inversion have a row for each of N².
const MaxSplines = 128

// Validate tells whether the grid has a size and a number of splines that can be used.
func (g SplineGrid) Validate() error {
	switch {
	case g.N < 2 || g.N > MaxSplines:
		return fmt.Errorf("physics: grid of splines: found %d along a side, expected 2 to %d", g.N, MaxSplines)
	case !(g.Half > 0) || math.IsInf(g.Half, 1):
		return fmt.Errorf("physics: grid of splines: found a half-width of %g arcsec, expected a positive number", g.Half)
	case math.IsNaN(g.X+g.Y) || math.IsInf(g.X, 0) || math.IsInf(g.Y, 0):
		return fmt.Errorf("physics: grid of splines: found the centre (%g, %g), expected finite numbers", g.X, g.Y)
	}
	return nil
}

// Len is the number of splines.
func (g SplineGrid) Len() int { return g.N * g.N }

// Step is the distance between knots in arcsec.
func (g SplineGrid) Step() float64 { return 2 * g.Half / float64(g.N) }

// Nodes writes where the splines stand to x and y, of Len elements.
func (g SplineGrid) Nodes(x, y []float64) {
	h := g.Step()
	for k := range g.Len() {
		x[k] = g.X - g.Half + (float64(k%g.N)+0.5)*h
		y[k] = g.Y - g.Half + (float64(k/g.N)+0.5)*h
	}
}

// splineTaps is the splines that are not zero at a place: those of three columns from IX and of three rows from IY, some
// of which may lie outside the grid. The value of one is WX·WY, its derivatives by place DX·WY and WX·DY in 1/arcsec.
type splineTaps struct {
	ix, iy         int
	wx, wy, dx, dy [3]float64
}

// taps finds the splines at (x, y); ok is false where all are zero or the place is not a number.
func (g SplineGrid) taps(t *splineTaps, x, y float64) (ok bool) {
	inv := float64(g.N) / (2 * g.Half)
	u, v := (x-g.X+g.Half)*inv-0.5, (y-g.Y+g.Half)*inv-0.5
	end := float64(g.N) + 0.5
	if !(u > -1.5 && v > -1.5 && u < end && v < end) {
		return false
	}
	t.ix = splineWeights(&t.wx, &t.dx, u, inv)
	t.iy = splineWeights(&t.wy, &t.dy, v, inv)
	return true
}

// splineWeights writes the three quadratic B-splines that are not zero at u, in steps from the first, and their slopes
// times inv. It returns the index of the first of them.
func splineWeights(w, d *[3]float64, u, inv float64) int {
	i := math.Floor(u + 0.5)
	f := u - i
	a, b := 0.5-f, 0.5+f
	w[0], w[1], w[2] = 0.5*a*a, 0.75-f*f, 0.5*b*b
	d[0], d[1], d[2] = -a*inv, -2*f*inv, b*inv
	return int(i) - 1
}

// Each calls visit with every spline that is not zero at (x, y), and its value there.
func (g SplineGrid) Each(x, y float64, visit func(spline int, v float64)) {
	var t splineTaps
	if !g.taps(&t, x, y) {
		return
	}
	a0, a1 := clip(t.ix, g.N)
	b0, b1 := clip(t.iy, g.N)
	for b := b0; b < b1; b++ {
		for a := a0; a < a1; a++ {
			visit((t.iy+b)*g.N+t.ix+a, t.wx[a]*t.wy[b])
		}
	}
}

// clip is the part 0 ≤ k < 3 of taps that begin at i for which i + k lies in 0 … n−1.
func clip(i, n int) (from, to int) { return max(0, -i), min(3, n-i) }

// value is the sum of the splines at the taps times coef, and its gradient by place.
func (g SplineGrid) value(t *splineTaps, coef []float64) (v, vx, vy float64) {
	a0, a1 := clip(t.ix, g.N)
	b0, b1 := clip(t.iy, g.N)
	for b := b0; b < b1; b++ {
		row, drow := 0.0, 0.0
		c := coef[(t.iy+b)*g.N:]
		for a := a0; a < a1; a++ {
			row += t.wx[a] * c[t.ix+a]
			drow += t.dx[a] * c[t.ix+a]
		}
		v += t.wy[b] * row
		vx += t.wy[b] * drow
		vy += t.dy[b] * row
	}
	return v, vx, vy
}

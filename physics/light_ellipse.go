package physics

import (
	"slices"

	"lenskit/physics/internal/kern"
)

// brightnessCurve is a surface brightness as a function of R² (arcsec²), at the parameters it was set to.
type brightnessCurve interface {
	at(r2 float64) curveValue
}

// curveValue is a brightness at one radius: I, ∂I/∂(R²) and the derivatives of I by the curve's own parameters.
type curveValue struct {
	i, dr2 float64
	dp     [6]float64
}

// ellipse turns a brightness curve with own parameters 0 … m-1, followed by e1, e2, center_x, center_y, into a light
// profile whose isophotes are the ellipses R² = q x'² + y'²/q. In a form that is smooth where the isophotes are round,
//
//	R² = |u|²/(1-|e|²),   u = ζ - e ζ̄,   ζ = (x - center_x) + i(y - center_y),   e = e1 + i e2.
type ellipse struct {
	curve          brightnessCurve
	m              int
	e1, e2, cx, cy float64
	norm           float64 // 1/(1-|e|²)

	kind kern.LightKind // the curve's kernel, if it has one
	k    kern.Light
}

// setEllipse takes e1, e2, center_x, center_y, already checked.
func (l *ellipse) setEllipse(p []float64) {
	l.e1, l.e2, l.cx, l.cy = p[0], p[1], p[2], p[3]
	l.norm = 1 / (1 - (l.e1*l.e1 + l.e2*l.e2))
	l.k.E1, l.k.E2, l.k.CX, l.k.CY, l.k.Norm = l.e1, l.e2, l.cx, l.cy, l.norm
}

// amplitude is the amplitude of a whole profile.
func amplitude(unit Unit) Param {
	return anywhere("amp", RoleAmplitude, unit).likely(logNormal(0.5, 2).OfBrightness()).inSource(logNormal(0.5, 1.5).OfBrightness())
}

// ellipseParams appends the parameters that every elliptical light profile ends with. A source need not stand behind the
// middle of the image.
func ellipseParams(own ...Param) []Param {
	at := centre("center_x", "center_y")
	for i, p := range at {
		at[i] = p.inSource(Normal(0, 0.3))
	}
	return slices.Concat(own, ellipticity(), at)
}

func (l *ellipse) Brightness(dst, x, y []float64) {
	n := len(x)
	dst, y = dst[:n], y[:n]
	for lo := 0; lo < n; lo += kern.Block {
		hi := min(lo+kern.Block, n)
		if !l.k.Brightness(l.kind, dst[lo:hi], x[lo:hi], y[lo:hi]) {
			l.brightness(dst[lo:hi], x[lo:hi], y[lo:hi])
		}
	}
}

// brightness is Brightness ray by ray.
func (l *ellipse) brightness(dst, x, y []float64) {
	dst, y = dst[:len(x)], y[:len(x)]
	for i := range x {
		dx, dy := x[i]-l.cx, y[i]-l.cy
		ux, uy := dx-(l.e1*dx+l.e2*dy), dy-(l.e2*dx-l.e1*dy)
		dst[i] += l.curve.at((ux*ux + uy*uy) * l.norm).i
	}
}

// slopes gives the curve's value and the gradient of R² by (e1, e2) and by position.
func (l *ellipse) slopes(x, y float64) (v curveValue, re1, re2, rx, ry float64) {
	dx, dy := x-l.cx, y-l.cy
	ux, uy := dx-(l.e1*dx+l.e2*dy), dy-(l.e2*dx-l.e1*dy)
	r2 := (ux*ux + uy*uy) * l.norm
	// ∂|u|²/∂e = -2uζ as a gradient; ∂(1-|e|²)^-1 adds 2e R²/(1-|e|²).
	s := 2 * l.norm
	re1 = s * (l.e1*r2 - (ux*dx - uy*dy))
	re2 = s * (l.e2*r2 - (ux*dy + uy*dx))
	// ∇|u|² = 2(u - e ū)
	rx = s * (ux - (l.e1*ux + l.e2*uy))
	ry = s * (uy - (l.e2*ux - l.e1*uy))
	return l.curve.at(r2), re1, re2, rx, ry
}

func (l *ellipse) BrightnessVJP(gp, gx, gy, gdst, x, y []float64) {
	n := len(x)
	gdst, y = gdst[:n], y[:n]
	var sum [10]float64 // own parameters, e1, e2, x, y
	var zx, zy [kern.Block]float64
	for lo := 0; lo < n; lo += kern.Block {
		hi := min(lo+kern.Block, n)
		if !l.k.VJP(l.kind, &sum, &zx, &zy, gdst[lo:hi], x[lo:hi], y[lo:hi]) {
			l.vjp(&sum, &zx, &zy, gdst[lo:hi], x[lo:hi], y[lo:hi])
		}
		if gx != nil {
			for i := range hi - lo {
				gx[lo+i] += zx[i&(kern.Block-1)]
				gy[lo+i] += zy[i&(kern.Block-1)]
			}
		}
	}
	for k, v := range sum[:l.m+2] {
		gp[k] += v
	}
	gp[l.m+2] -= sum[l.m+2]
	gp[l.m+3] -= sum[l.m+3]
}

// vjp adds the gradient of a block of rays to sum and writes that by position to zx, zy.
func (l *ellipse) vjp(sum *[10]float64, zx, zy *[kern.Block]float64, gdst, x, y []float64) {
	for i := range x {
		v, re1, re2, rx, ry := l.slopes(x[i], y[i])
		g := gdst[i]
		for k := range l.m {
			sum[k] += g * v.dp[k]
		}
		g *= v.dr2
		s := sum[l.m : l.m+4]
		s[0] += g * re1
		s[1] += g * re2
		s[2] += g * rx
		s[3] += g * ry
		zx[i&(kern.Block-1)], zy[i&(kern.Block-1)] = g*rx, g*ry
	}
}

func (l *ellipse) BrightnessJac(jp [][]float64, jx, jy, x, y []float64) {
	n := len(x)
	y = y[:n]
	var s kern.LightSlopes
	for lo := 0; lo < n; lo += kern.Block {
		hi := min(lo+kern.Block, n)
		l.blockOf(&s, x[lo:hi], y[lo:hi])
		for k, j := range jp[:l.m+2] {
			if j != nil {
				copy(j[lo:hi], s[k][:])
			}
		}
		for k, j := range [2][]float64{jx, jy} {
			if j != nil {
				copy(j[lo:hi], s[l.m+2+k][:])
			}
			if j := jp[l.m+2+k]; j != nil {
				for i, v := range s[l.m+2+k][:hi-lo] {
					j[lo+i] = -v
				}
			}
		}
	}
}

// blockOf fills s for a block of rays.
func (l *ellipse) blockOf(s *kern.LightSlopes, x, y []float64) {
	if !l.k.Slopes(l.kind, s, x, y) {
		l.blockSlopes(s, x, y)
	}
}

// blockSlopes is blockOf ray by ray.
func (l *ellipse) blockSlopes(s *kern.LightSlopes, x, y []float64) {
	for i := range x {
		v, re1, re2, rx, ry := l.slopes(x[i], y[i])
		j := i & (kern.Block - 1)
		for k := range l.m {
			s[k][j] = v.dp[k]
		}
		for k, r := range [4]float64{re1, re2, rx, ry} {
			s[l.m+k][j] = v.dr2 * r
		}
	}
}

// sersicMinR2 is the square of the radius (arcsec) below which a Sersic profile is flat.
const sersicMinR2 = 1e-8

// sersicB is b_n = 1.9992 n - 0.3271 (Capaccioli 1989), floored at 1e-5, and its derivative by n.
func sersicB(n float64) (b, db float64) {
	if b = 1.9992*n - 0.3271; b > 1e-5 {
		return b, 1.9992
	}
	return 1e-5, 0
}

package physics

import (
	"fmt"
	"math"
)

// mgeTerms is how many Gaussians a multi-Gaussian expansion has.
const mgeTerms = 10

// mge is a multi-Gaussian expansion (Emsellem, Monnet & Bacon 1994),
//
//	I = Σ_k amp_k/(2π σ_k²) exp(-R²/(2σ_k²)),
//
// ten Gaussians on shared ellipses with widths in geometric progression from sigma_min to sigma_max; amp_k is the flux of
// the k-th. Parameters: amp_1 … amp_10, sigma_min, sigma_max, e1, e2, center_x, center_y.
type mge struct {
	ellipse
	amp   [mgeTerms]float64
	peak  [mgeTerms]float64 // 1/(2π σ_k²)
	rate  [mgeTerms]float64 // 1/(2 σ_k²)
	sigma [2]float64        // σ_min, σ_max
}

func newMGE() *mge {
	l := &mge{}
	l.m = mgeTerms + 2
	return l
}

var mgeParams = func() []Param {
	var own []Param
	for k := range mgeTerms {
		own = append(own, anywhere(fmt.Sprintf("amp_%d", k+1), Flux))
	}
	return ellipseParams(append(own, positive("sigma_min", Arcsec), positive("sigma_max", Arcsec))...)
}()

var mgeLinear = func() []int {
	var k []int
	for i := range mgeTerms {
		k = append(k, i)
	}
	return k
}()

func (l *mge) Params() []Param { return mgeParams }

func (l *mge) Set(p []float64) error {
	if err := checkParams("mge", mgeParams, p); err != nil {
		return err
	}
	if err := checkEllipticity("mge", p[mgeTerms+2], p[mgeTerms+3]); err != nil {
		return err
	}
	copy(l.amp[:], p)
	l.sigma = [2]float64(p[mgeTerms : mgeTerms+2])
	for k := range mgeTerms {
		t := mgeFraction(k)
		s := math.Pow(l.sigma[0], 1-t) * math.Pow(l.sigma[1], t)
		l.rate[k] = 0.5 / (s * s)
		l.peak[k] = l.rate[k] / math.Pi
	}
	l.setEllipse(p[mgeTerms+2:])
	return nil
}

// mgeFraction is how far along the progression the k-th width lies, from 0 to 1.
func mgeFraction(k int) float64 { return float64(k) / (mgeTerms - 1) }

func (l *mge) Brightness(dst, x, y []float64) {
	dst, y = dst[:len(x)], y[:len(x)]
	for i := range x {
		dx, dy := x[i]-l.cx, y[i]-l.cy
		ux, uy := dx-(l.e1*dx+l.e2*dy), dy-(l.e2*dx-l.e1*dy)
		r2 := (ux*ux + uy*uy) * l.norm
		s := 0.0
		for k, a := range &l.amp {
			s += a * l.peak[k] * math.Exp(-l.rate[k]*r2)
		}
		dst[i] += s
	}
}

// terms gives the Gaussians of unit flux in unit, and the derivatives of the sum by ln σ_min, ln σ_max and R².
func (l *mge) terms(r2 float64, unit *[mgeTerms]float64) (dmin, dmax, dr2 float64) {
	for k, a := range &l.amp {
		v := l.rate[k] * r2
		e := l.peak[k] * math.Exp(-v)
		unit[k] = e
		// ∂/∂ln σ_k
		d := a * e * 2 * (v - 1)
		t := mgeFraction(k)
		dmin += (1 - t) * d
		dmax += t * d
		dr2 -= a * e * l.rate[k]
	}
	return dmin, dmax, dr2
}

func (l *mge) BrightnessVJP(gp, gx, gy, gdst, x, y []float64) {
	gdst, y = gdst[:len(x)], y[:len(x)]
	var unit [mgeTerms]float64
	var smin, smax, s1, s2, sx, sy float64
	for i := range x {
		r2, re1, re2, rx, ry := l.radius(x[i], y[i])
		dmin, dmax, dr2 := l.terms(r2, &unit)
		g := gdst[i]
		for k, e := range &unit {
			gp[k] += g * e
		}
		smin += g * dmin
		smax += g * dmax
		g *= dr2
		s1 += g * re1
		s2 += g * re2
		sx += g * rx
		sy += g * ry
		if gx != nil {
			gx[i] += g * rx
			gy[i] += g * ry
		}
	}
	gp = gp[mgeTerms : mgeTerms+6]
	gp[0] += smin / l.sigma[0]
	gp[1] += smax / l.sigma[1]
	gp[2] += s1
	gp[3] += s2
	gp[4] -= sx
	gp[5] -= sy
}

func (l *mge) BrightnessJac(jp [][]float64, jx, jy, x, y []float64) {
	y = y[:len(x)]
	var unit [mgeTerms]float64
	for i := range x {
		r2, re1, re2, rx, ry := l.radius(x[i], y[i])
		dmin, dmax, dr2 := l.terms(r2, &unit)
		for k, e := range &unit {
			if jp[k] != nil {
				jp[k][i] = e
			}
		}
		for k, v := range [6]float64{dmin / l.sigma[0], dmax / l.sigma[1], dr2 * re1, dr2 * re2, -dr2 * rx, -dr2 * ry} {
			if j := jp[mgeTerms+k]; j != nil {
				j[i] = v
			}
		}
		if jx != nil {
			jx[i] = dr2 * rx
		}
		if jy != nil {
			jy[i] = dr2 * ry
		}
	}
}

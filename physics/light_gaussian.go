package physics

import (
	"math"

	"lenskit/physics/internal/kern"
)

// gaussian is I = amp/(2π σ²) exp(-R²/(2σ²)), so that amp is the total flux. Parameters: amp, sigma, e1, e2, center_x,
// center_y.
type gaussian struct {
	ellipse
	amp, sigma float64
}

func newGaussian() *gaussian {
	l := &gaussian{}
	l.curve, l.m, l.kind = l, 2, kern.Gaussian
	return l
}

var gaussianParams = ellipseParams(amplitude(Flux), positive("sigma", RoleSize, Arcsec).likely(logNormal(0.7, 0.7)).inSource(logNormal(0.2, 0.7)))

func (l *gaussian) Params() []Param { return gaussianParams }

func (l *gaussian) Set(p []float64) error {
	if err := checkParams("gaussian", gaussianParams, p); err != nil {
		return err
	}
	if err := checkEllipticity("gaussian", p[2], p[3]); err != nil {
		return err
	}
	l.set(p[0], p[1], p[2:])
	return nil
}

// set takes the flux, the width and the ellipse, already checked.
func (l *gaussian) set(amp, sigma float64, ellipse []float64) {
	l.amp, l.sigma = amp, sigma
	l.setEllipse(ellipse)
	s2 := l.sigma * l.sigma
	l.k.P = [11]float64{l.amp / (2 * math.Pi * s2), 1 / (2 * math.Pi * s2), -0.5 / s2, 1 / l.sigma}
}

func (l *gaussian) at(r2 float64) (v curveValue) {
	s2 := l.sigma * l.sigma
	e := sersicExp(-0.5*r2/s2) / (2 * math.Pi * s2)
	v.i = l.amp * e
	v.dp[0] = e
	v.dp[1] = v.i * (r2/s2 - 2) / l.sigma
	v.dr2 = -0.5 * v.i / s2
	return v
}

package physics

import (
	"math"
	"slices"
)

// sis is the singular isothermal sphere, α = θ_E r/|r|, κ = θ_E/(2|r|), with parameters theta_E, center_x, center_y.
type sis struct {
	round
	thetaE float64
}

func newSIS() *sis {
	l := &sis{}
	l.prof, l.m = l, 1
	return l
}

var sisParams = slices.Concat([]Param{einsteinRadius("theta_E")}, centre("center_x", "center_y"))

func (l *sis) Params() []Param { return sisParams }

func (l *sis) Set(p []float64) error {
	if err := checkParams("sis", sisParams, p); err != nil {
		return err
	}
	l.thetaE, l.cx, l.cy = p[0], p[1], p[2]
	return nil
}

func (l *sis) at(r2 float64) radialValue {
	inv := 1 / math.Sqrt(r2)
	return radialValue{a: l.thetaE * inv, kappa: 0.5 * l.thetaE * inv, da: [3]float64{inv}}
}

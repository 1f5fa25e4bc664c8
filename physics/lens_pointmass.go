package physics

import "slices"

// pointMass is α = θ_E² r/|r|², with parameters theta_E, center_x, center_y. Its convergence is zero away from the
// point, and zero is what Convergence says everywhere.
type pointMass struct {
	round
	thetaE float64
}

func newPointMass() *pointMass {
	l := &pointMass{}
	l.prof, l.m = l, 1
	return l
}

var pointMassParams = slices.Concat([]Param{einsteinRadius("theta_E")}, centre("center_x", "center_y"))

func (l *pointMass) Params() []Param { return pointMassParams }

func (l *pointMass) Set(p []float64) error {
	if err := checkParams("point_mass", pointMassParams, p); err != nil {
		return err
	}
	l.thetaE, l.cx, l.cy = p[0], p[1], p[2]
	return nil
}

func (l *pointMass) at(r2 float64) radialValue {
	inv := 1 / r2
	return radialValue{a: l.thetaE * l.thetaE * inv, da: [3]float64{2 * l.thetaE * inv}}
}

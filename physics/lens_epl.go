package physics

import "slices"

// epl is the elliptical power law of the community,
//
//	κ = (3-γ)/2 (θ_E/√(q x'² + y'²/q))^(γ-1),   1 < γ < 3,
//
// with parameters theta_E, gamma, e1, e2, center_x, center_y and e = (1-q)/(1+q) (cos 2φ, sin 2φ).
type epl struct{ powerLaw }

func newEPL() *epl {
	l := &epl{}
	l.n = len(eplParams)
	for m := range plParams {
		l.chain[m][m] = 1
	}
	return l
}

var eplParams = slices.Concat([]Param{einsteinRadius("theta_E"), massSlope("gamma")}, ellipticity(), centre("center_x", "center_y"))

func (l *epl) Params() []Param { return eplParams }

func (l *epl) Set(p []float64) error {
	if err := checkParams("epl", eplParams, p); err != nil {
		return err
	}
	return l.set("epl", p[0], p[1]-1, p[2], p[3], p[4], p[5])
}

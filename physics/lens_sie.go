package physics

import "slices"

// sie is the singular isothermal ellipsoid: epl with γ = 2, with parameters theta_E, e1, e2, center_x, center_y.
type sie struct{ powerLaw }

func newSIE() *sie {
	l := &sie{}
	l.n = len(sieParams)
	l.chain = [plParams][plParams]float64{
		plTheta: {0: 1},
		plE1:    {1: 1},
		plE2:    {2: 1},
		plX:     {3: 1},
		plY:     {4: 1},
	}
	return l
}

var sieParams = slices.Concat([]Param{einsteinRadius("theta_E")}, ellipticity(), centre("center_x", "center_y"))

func (l *sie) Params() []Param { return sieParams }

func (l *sie) Set(p []float64) error {
	if err := checkParams("sie", sieParams, p); err != nil {
		return err
	}
	return l.set("sie", p[0], 1, p[1], p[2], p[3], p[4])
}

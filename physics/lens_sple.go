package physics

import (
	"fmt"
	"math"
	"slices"
)

// sple is the singular power-law ellipsoid of Chianese et al. (2020), eqs 11 and 12,
//
//	κ = (3-γ)/2 (ρ/r_ein)^(1-γ),   ρ² = x'² + y'²/q²,
//
// with parameters r_ein, q, phi, gamma, x, y; φ is the direction of the major axis. It is epl with θ_E = √q r_ein.
type sple struct{ powerLaw }

func newSPLE() *sple {
	l := &sple{}
	l.n = len(spleParams)
	return l
}

var spleParams = slices.Concat([]Param{einsteinRadius("r_ein"), between("q", RoleAxisRatio, 0, unitHi).likely(Normal(0.7, 0.2).Bounded(0.2, 0.999)),
	direction("phi"), massSlope("gamma")}, centre("x", "y"))

func (l *sple) Params() []Param { return spleParams }

func (l *sple) Set(p []float64) error {
	if err := checkParams("sple", spleParams, p); err != nil {
		return err
	}
	r, q, phi := p[0], p[1], p[2]
	f := (1 - q) / (1 + q)
	if f >= maxEllipticity {
		return fmt.Errorf("physics: sple: q: found %g, expected more than 0.001: %w", q, ErrRange)
	}
	s, c := math.Sincos(2 * phi)
	rq := math.Sqrt(q)
	if err := l.set("sple", rq*r, p[3]-1, f*c, f*s, p[4], p[5]); err != nil {
		return err
	}
	df := -2 / ((1 + q) * (1 + q))
	l.chain = [plParams][plParams]float64{
		plTheta: {0: rq, 1: 0.5 * r / rq},
		plE1:    {1: df * c, 2: -2 * f * s},
		plE2:    {1: df * s, 2: 2 * f * c},
		plT:     {3: 1},
		plX:     {4: 1},
		plY:     {5: 1},
	}
	return nil
}

package physics

import (
	"math"
	"slices"
)

// nfw is the halo of Navarro, Frenk & White (1997), ρ ∝ 1/(r (r_s + r)²), with parameters r_s, alpha_rs, center_x,
// center_y; alpha_rs is the deflection at r_s (arcsec). With x = r/r_s and g(x) = ln(x/2) + F(x) (Wright & Brainerd 2000),
//
//	α(r) = alpha_rs g(x)/(x g(1)).
type nfw struct {
	round
	nfwShape
}

// nfwShape is the radial profile of an NFW halo.
type nfwShape struct{ rs, alpha float64 }

func newNFW() *nfw {
	l := &nfw{}
	l.prof, l.m = &l.nfwShape, 2
	return l
}

var nfwParams = slices.Concat(ofHalo(), centre("center_x", "center_y"))

func (l *nfw) Params() []Param { return nfwParams }

func (l *nfw) Set(p []float64) error {
	if err := checkParams("nfw", nfwParams, p); err != nil {
		return err
	}
	l.rs, l.alpha, l.cx, l.cy = p[0], p[1], p[2], p[3]
	return nil
}

func (l *nfwShape) at(r2 float64) radialValue {
	x := math.Sqrt(r2) / l.rs
	g, _, k := nfwG(x)
	s := 1 / (l.rs * nfwG1)
	a, kappa := s*g/(x*x), 0.5*s*k
	return radialValue{a: l.alpha * a, kappa: l.alpha * kappa, da: [3]float64{l.alpha * (a - 2*kappa) / l.rs, a}}
}

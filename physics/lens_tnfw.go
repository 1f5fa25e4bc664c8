package physics

import (
	"math"
	"slices"
)

// tnfw is the NFW halo with its density multiplied by r_t²/(r_t² + r²) (Baltz, Marshall & Oguri 2009), with parameters
// r_s, alpha_rs, r_trunc, center_x, center_y; alpha_rs is the deflection (arcsec) that the halo without truncation has
// at r_s.
type tnfw struct {
	round
	rs, alpha, rt float64
}

func newTNFW() *tnfw {
	l := &tnfw{}
	l.prof, l.m = l, 3
	return l
}

var tnfwParams = slices.Concat(ofHalo(), []Param{positive("r_trunc", RoleTruncationRadius, Arcsec).likely(logNormal(10, 0.7))}, centre("center_x", "center_y"))

func (l *tnfw) Params() []Param { return tnfwParams }

func (l *tnfw) Set(p []float64) error {
	if err := checkParams("tnfw", tnfwParams, p); err != nil {
		return err
	}
	l.rs, l.alpha, l.rt, l.cx, l.cy = p[0], p[1], p[2], p[3], p[4]
	return nil
}

func (l *tnfw) at(r2 float64) radialValue {
	x := math.Sqrt(r2) / l.rs
	tau := l.rt / l.rs
	m, mTau, k := tnfwM(x, tau)
	s := 1 / (l.rs * nfwG1)
	a, kappa, aTau := s*m/(x*x), s*k, s*mTau/(x*x)
	return radialValue{a: l.alpha * a, kappa: l.alpha * kappa,
		da: [3]float64{l.alpha * (a - 2*kappa - aTau*tau) / l.rs, a, l.alpha * aTau / l.rs}}
}

package physics

import (
	"math"

	"lenskit/physics/internal/kern"
)

// sersic is I = amp exp(-b_n((R/r_sersic)^(1/n) - 1)), b_n = 1.9992 n - 0.3271 (floored at 1e-5), so that amp is the
// brightness at r_sersic. It is flat inside R = 1e-4 arcsec and zero beyond 1000 r_sersic. Parameters: amp, r_sersic,
// n, e1, e2, center_x, center_y.
type sersic struct {
	ellipse
	amp, rs, n, b, db float64
}

func newSersic() *sersic {
	l := &sersic{}
	l.curve, l.m, l.kind = l, 3, kern.Sersic
	return l
}

// sersicOwn are the parameters of a Sersic profile on its own radius.
func sersicOwn() []Param {
	return []Param{
		amplitude(Brightness),
		positive("r_sersic", RoleHalfLightRadius, Arcsec).likely(logNormal(1, 0.7)).inSource(logNormal(0.3, 0.7)),
		positive("n", RoleSersicIndex, One).likely(Normal(3, 1.5).Bounded(0.3, 8)).inSource(Normal(1.5, 1).Bounded(0.3, 6)),
	}
}

var sersicParams = ellipseParams(sersicOwn()...)

func (l *sersic) Params() []Param { return sersicParams }

func (l *sersic) Set(p []float64) error {
	if err := checkParams("sersic", sersicParams, p); err != nil {
		return err
	}
	if err := checkEllipticity("sersic", p[3], p[4]); err != nil {
		return err
	}
	l.amp, l.rs, l.n = p[0], p[1], p[2]
	l.b, l.db = sersicB(l.n)
	l.setEllipse(p[3:])
	l.k.P = [11]float64{l.amp, l.b, l.db, 1 / (l.rs * l.rs), 0.5 / l.n, 1 / (l.n * l.rs), sersicMinR2}
	return nil
}

func (l *sersic) at(r2 float64) (v curveValue) {
	flat := r2 < sersicMinR2
	if flat {
		r2 = sersicMinR2
	}
	if r2 > 1e6*l.rs*l.rs {
		return v
	}
	lr := 0.5 * math.Log(r2/(l.rs*l.rs))
	g := math.Exp(min(lr/l.n, 300))
	e := sersicExp(l.b - l.b*g)
	if e == 0 {
		return v
	}
	v.i = l.amp * e
	bg := l.b * g
	v.dp[0] = e
	v.dp[1] = v.i * bg / (l.n * l.rs)
	v.dp[2] = v.i * (bg*lr/(l.n*l.n) - l.db*(g-1))
	if !flat {
		v.dr2 = -0.5 * v.i * bg / (l.n * r2)
	}
	return v
}

// sersicExp is e^y, and 0 where that is below 1e-304 (y < -700), so that products with derivatives cannot overflow.
func sersicExp(y float64) float64 {
	if y < -700 {
		return 0
	}
	return math.Exp(y)
}

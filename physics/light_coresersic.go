package physics

import (
	"math"

	"lenskit/physics/internal/kern"
)

// coreSersic is a Sersic profile with a power-law core of slope gamma inside r_break,
//
//	I = amp (1 + (R_b/R)^α)^(γ/α) exp(-b_n (((R^α + R_b^α)/r_sersic^α)^(1/(αn)) - 1)),
//
// with b_n as in sersic, flat inside R = 1e-4 arcsec. Parameters: amp, r_sersic, n, r_break, gamma, alpha, e1, e2,
// center_x, center_y; alpha (how sharp the break is) is customarily fixed at 3.
type coreSersic struct {
	ellipse
	amp, rs, n, rb, gamma, alpha, b, db float64
}

func newCoreSersic() *coreSersic {
	l := &coreSersic{}
	l.curve, l.m, l.kind = l, 6, kern.CoreSersic
	return l
}

var coreSersicParams = ellipseParams(append(sersicOwn(), positive("r_break", RoleCoreRadius, Arcsec).likely(logNormal(0.05, 1)),
	anywhere("gamma", RoleSlope, One).likely(Normal(0.2, 0.2).Bounded(0, 1)), positive("alpha", RoleSharpness, One).likely(Fixed(3)))...)

func (l *coreSersic) Params() []Param { return coreSersicParams }

func (l *coreSersic) Set(p []float64) error {
	if err := checkParams("core_sersic", coreSersicParams, p); err != nil {
		return err
	}
	if err := checkEllipticity("core_sersic", p[6], p[7]); err != nil {
		return err
	}
	l.amp, l.rs, l.n, l.rb, l.gamma, l.alpha = p[0], p[1], p[2], p[3], p[4], p[5]
	l.b, l.db = sersicB(l.n)
	l.setEllipse(p[6:])
	l.k.P = [11]float64{l.amp, l.b, l.db, 1 / (l.rs * l.rs), 1 / l.n, 1 / (l.n * l.rs), sersicMinR2,
		math.Log(l.rs / l.rb), l.alpha, l.gamma, 1 / l.rb}
	return nil
}

func (l *coreSersic) at(r2 float64) (v curveValue) {
	flat := r2 < sersicMinR2
	if flat {
		r2 = sersicMinR2
	}
	a, n := l.alpha, l.n
	lr, lb, ls := 0.5*math.Log(r2), math.Log(l.rb), math.Log(l.rs)
	// With w = (R_b/R)^α: ln(R^α + R_b^α) = α ln R + ln(1 + w) = α ln R + m, weights 1/(1+w) and w/(1+w).
	var m, wr, wb float64
	if d := a * (lb - lr); d > 0 {
		w := math.Exp(-d)
		m, wr, wb = d+math.Log1p(w), w/(1+w), 1/(1+w)
	} else {
		w := math.Exp(d)
		m, wr, wb = math.Log1p(w), 1/(1+w), w/(1+w)
	}
	lg := (lr - ls + m/a) / n
	g := math.Exp(min(lg, 300))
	e := sersicExp(l.gamma*m/a + l.b - l.b*g)
	if e == 0 {
		return v
	}
	v.i = l.amp * e
	bg := l.b * g
	// ∂m/∂ln R = -α wb, ∂m/∂ln R_b = α wb, ∂m/∂α = wb (ln R_b - ln R)
	dma := wb*(lb-lr)/a - m/(a*a)
	v.dp[0] = e
	v.dp[1] = v.i * bg / (n * l.rs)
	v.dp[2] = v.i * (bg*lg/n - l.db*(g-1))
	v.dp[3] = v.i * (l.gamma - bg/n) * wb / l.rb
	v.dp[4] = v.i * m / a
	v.dp[5] = v.i * (l.gamma - bg/n) * dma
	if !flat {
		v.dr2 = 0.5 * v.i * (-l.gamma*wb - bg/n*wr) / r2
	}
	return v
}

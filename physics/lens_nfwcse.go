package physics

import "math"

// nfwCSE is an NFW halo with elliptical convergence, κ = κ_NFW(R) with R² = q x'² + y'²/q, with parameters r_s,
// alpha_rs, e1, e2, center_x, center_y, as a superposition of cored steep ellipsoids (Oguri 2021). The weights are not
// fitted: as a Stieltjes transform, in units of r_s,
//
//	1/(r(1+r)²) = ∫_0^∞ (4/π) s²/(1+s²) ds/(s²+r²)²,
//
// and each 1/(s²+r²)² projects to a cored steep ellipsoid, κ_s = 1/(2(s²+R²)^{3/2}), whose deflection is, in the terms
// of confocal and with P² = s² + R²,
//
//	α_s = R²/(s P (P ζ̄ + s V̄)).
//
// The trapezoidal rule in ln s converges exponentially; with the step and the ends taken here deflections are good to
// 2e-9 of their size for R between 1e-4 and 1e3 r_s. The convergence is exact.
type nfwCSE struct {
	byPoint
	nfwShape
	confocal
	s, w [cseTerms]float64
}

const (
	cseTerms = 72
	cseStep  = 0.4
	cseFirst = -14.2 // ln of the smallest s
)

func newNFWCSE() *nfwCSE {
	l := &nfwCSE{}
	l.prof, l.m, l.singular = l, 4, true
	for k := range cseTerms {
		s := math.Exp(cseFirst + cseStep*float64(k))
		l.s[k] = s
		l.w[k] = 2 * cseStep * s * s * s / (1 + s*s)
	}
	// What lies beyond either end is a geometric series, as a point mass at the small end and as a sheet at the large.
	tail := 1 / -math.Expm1(-2*cseStep)
	l.w[0] *= tail
	l.w[cseTerms-1] *= tail
	return l
}

func (l *nfwCSE) Params() []Param { return nfwEllipseParams }

func (l *nfwCSE) Set(p []float64) error {
	if err := checkParams("nfw_ellipse_cse", nfwEllipseParams, p); err != nil {
		return err
	}
	if err := checkEllipticity("nfw_ellipse_cse", p[2], p[3]); err != nil {
		return err
	}
	l.rs, l.alpha, l.cx, l.cy = p[0], p[1], p[4], p[5]
	l.confocal = newConfocal(p[2], p[3])
	return nil
}

// amplitude is what the superposition in units of r_s is multiplied with: α_rs/(2 g(1)).
func (l *nfwCSE) amplitude() float64 { return 0.5 * l.alpha / nfwG1 }

func (l *nfwCSE) deflectAt(dx, dy float64) (ax, ay float64) {
	inv := 1 / l.rs
	dx, dy = dx*inv, dy*inv
	r2, v := l.confocal.at(dx, dy)
	vx, vy := real(v), imag(v)
	for k, s := range &l.s {
		p := math.Sqrt(s*s + r2)
		tx, ty := p*dx+s*vx, p*dy+s*vy
		c := l.w[k] / (s * p * (tx*tx + ty*ty))
		ax += c * tx
		ay += c * ty
	}
	r2 *= l.amplitude()
	return ax * r2, ay * r2
}

func (l *nfwCSE) slopesAt(dx, dy float64) (o pointSlopes) {
	inv := 1 / l.rs
	f := l.confocal.slopes(dx*inv, dy*inv)
	zx, zy := real(f.zeta), imag(f.zeta)
	vx, vy := real(f.v), imag(f.v)
	// α = R² Σ w/(s P T), T = P ζ̄ + s V̄, so that dα = (Σ c) dR² + (Σ d) dζ̄ + (Σ g) dV̄ with
	// c = w/(s P T) (1 - R²/(2P²) - R² ζ̄/(2 P T)), d = -w R²/(s T²), g = -w R²/(P T²).
	var a, c, d, g complex128
	for k, s := range &l.s {
		p2 := s*s + f.r2
		p := math.Sqrt(p2)
		tx, ty := p*zx+s*vx, p*zy+s*vy
		m := 1 / (tx*tx + ty*ty)
		tx, ty = tx*m, ty*m // 1/T
		w := l.w[k]
		b := w / (s * p)
		a += complex(b*tx, b*ty)
		qx, qy := zx*tx+zy*ty, zx*ty-zy*tx // ζ̄/T
		h := 0.5 * f.r2 / p
		ex, ey := 1-h/p-h*qx, -h*qy
		c += complex(b*(tx*ex-ty*ey), b*(tx*ey+ty*ex))
		sx, sy := tx*tx-ty*ty, 2*tx*ty // 1/T²
		w *= f.r2
		d -= complex(w/s*sx, w/s*sy)
		g -= complex(w/p*sx, w/p*sy)
	}
	a *= complex(f.r2, 0)
	amp := l.amplitude()
	conj := func(z complex128) complex128 { return complex(real(z), -imag(z)) }

	_, k := nfwF(math.Sqrt(f.r2))
	o.kappa = amp * inv * k
	gam := complex(amp*inv, 0) * (c*conj(f.r2z) + d + g*conj(f.vz))
	o.gx, o.gy = real(gam), imag(gam)
	// α = amp α̂(ζ/r_s): ∂α/∂r_s = -(κ ζ + Γ ζ̄)/r_s
	o.px[0] = -(o.kappa*zx + o.gx*zx + o.gy*zy)
	o.py[0] = -(o.kappa*zy + o.gy*zx - o.gx*zy)
	o.px[1], o.py[1] = 0.5/nfwG1*real(a), 0.5/nfwG1*imag(a)
	for j := range 2 {
		ae := complex(amp, 0) * (c*complex(f.r2e[j], 0) + g*conj(f.ve[j]))
		o.px[2+j], o.py[2+j] = real(ae), imag(ae)
	}
	return o
}

func (l *nfwCSE) kappaAt(dx, dy float64) float64 {
	r2, _ := l.confocal.at(dx/l.rs, dy/l.rs)
	_, k := nfwF(math.Sqrt(r2))
	return l.amplitude() / l.rs * k
}

package physics

import "slices"

// nfwPotential is an NFW halo with the ellipticity in the potential, ψ(x, y) = ψ_NFW(ρ) with
// ρ² = (1-ε) x'² + (1+ε) y'² and ε = (1-q²)/(1+q²), with parameters r_s, alpha_rs, e1, e2, center_x, center_y. In a form
// that is smooth where it is round, with the complex ε = 2e/(1+|e|²):
//
//	ρ² = |ζ|² - Re(ε̄ ζ²),   α = A(ρ) v,   v = ζ - ε ζ̄,
//
// where A(r) = α_NFW(r)/r. Strong flattening makes κ negative in places: nfw_ellipse_cse does not.
type nfwPotential struct {
	byPoint
	nfwShape
	e1, e2 float64
	h1, h2 float64 // ε
}

func newNFWPotential() *nfwPotential {
	l := &nfwPotential{}
	l.prof, l.m, l.singular = l, 4, true
	return l
}

var nfwEllipseParams = slices.Concat(ofHalo(), ellipticity(), centre("center_x", "center_y"))

func (l *nfwPotential) Params() []Param { return nfwEllipseParams }

func (l *nfwPotential) Set(p []float64) error {
	if err := checkParams("nfw_ellipse_potential", nfwEllipseParams, p); err != nil {
		return err
	}
	if err := checkEllipticity("nfw_ellipse_potential", p[2], p[3]); err != nil {
		return err
	}
	l.rs, l.alpha, l.e1, l.e2, l.cx, l.cy = p[0], p[1], p[2], p[3], p[4], p[5]
	s := 2 / (1 + l.e1*l.e1 + l.e2*l.e2)
	l.h1, l.h2 = s*l.e1, s*l.e2
	return nil
}

// frame gives v and ρ².
func (l *nfwPotential) frame(dx, dy float64) (vx, vy, rho2 float64) {
	vx, vy = dx-(l.h1*dx+l.h2*dy), dy-(l.h2*dx-l.h1*dy)
	// Re(v̄ ζ) = ρ²
	return vx, vy, vx*dx + vy*dy
}

func (l *nfwPotential) deflectAt(dx, dy float64) (ax, ay float64) {
	vx, vy, rho2 := l.frame(dx, dy)
	a := l.at(rho2).a
	return a * vx, a * vy
}

func (l *nfwPotential) slopesAt(dx, dy float64) (o pointSlopes) {
	vx, vy, rho2 := l.frame(dx, dy)
	v := l.at(rho2)
	b := (v.kappa - v.a) / rho2 // dA/dρ²
	// dα = A(dζ - ε dζ̄ - ζ̄ dε) + v B dρ², dρ² = 2 Re(v̄ dζ) - Re(ζ̄² dε)
	o.kappa = v.a + b*(vx*vx+vy*vy)
	o.gx, o.gy = -v.a*l.h1+b*(vx*vx-vy*vy), -v.a*l.h2+b*2*vx*vy
	o.px[0], o.py[0] = v.da[0]*vx, v.da[0]*vy
	o.px[1], o.py[1] = v.da[1]*vx, v.da[1]*vy
	c2, s2 := b*(dx*dx-dy*dy), b*2*dx*dy
	ax, ay := -v.a*dx-c2*vx, v.a*dy-c2*vy  // by ε1
	bx, by := -v.a*dy-s2*vx, -v.a*dx-s2*vy // by ε2
	s := 2 / (1 + l.e1*l.e1 + l.e2*l.e2)
	d11, d12, d22 := s-l.h1*l.h1, -l.h1*l.h2, s-l.h2*l.h2
	o.px[2], o.py[2] = d11*ax+d12*bx, d11*ay+d12*by
	o.px[3], o.py[3] = d12*ax+d22*bx, d12*ay+d22*by
	return o
}

func (l *nfwPotential) kappaAt(dx, dy float64) float64 {
	vx, vy, rho2 := l.frame(dx, dy)
	v := l.at(rho2)
	return v.a + (v.kappa-v.a)/rho2*(vx*vx+vy*vy)
}

package physics

import (
	"math"
	"math/cmplx"
	"slices"
)

// multipole is an angular perturbation of order m of a power law,
//
//	κ = ½ (θ_E/r)^(γ-1) (a_cos cos mφ + a_sin sin mφ),
//
// with parameters theta_E, gamma, a_cos, a_sin, center_x, center_y. With p = 3-γ, ω = e^{iφ} and c = a_cos + i a_sin its
// potential is θ_E^(γ-1) r^p Re(c̄ ω^m)/(p²-m²).
type multipole struct {
	byPoint
	order     int
	kind      string
	thetaE, t float64
	c         complex128
}

func newMultipole(kind string, order int) *multipole {
	l := &multipole{order: order, kind: kind}
	l.prof, l.m, l.singular = l, 4, true
	return l
}

// multipoleAmplitude is what is held likely of a_cos and a_sin. About a round lens of slope 2 they are the a_m/a by which
// contours of the convergence depart from ellipses: a percent or so in the light of elliptical galaxies (Hao et al. 2006)
// and in the mass of lenses (Stacey et al. 2024).
var multipoleAmplitude = Normal(0, 0.01)

var multipoleParams = slices.Concat([]Param{einsteinRadius("theta_E"), massSlope("gamma"),
	anywhere("a_cos", RoleMultipoleCos, One).likely(multipoleAmplitude), anywhere("a_sin", RoleMultipoleSin, One).likely(multipoleAmplitude)},
	centre("center_x", "center_y"))

func (l *multipole) Params() []Param { return multipoleParams }

func (l *multipole) Set(p []float64) error {
	if err := checkParams(l.kind, multipoleParams, p); err != nil {
		return err
	}
	l.thetaE, l.t, l.c, l.cx, l.cy = p[0], p[1]-1, complex(p[2], p[3]), p[4], p[5]
	return nil
}

// unit gives r, ω and ω^m.
func (l *multipole) unit(dx, dy float64) (r float64, w, wm complex128) {
	r = math.Sqrt(dx*dx + dy*dy)
	w = complex(dx/r, dy/r)
	wm = w * w * w
	for range l.order - 3 {
		wm *= w
	}
	return r, w, wm
}

func (l *multipole) deflectAt(dx, dy float64) (ax, ay float64) {
	r, w, wm := l.unit(dx, dy)
	p, m := 2-l.t, float64(l.order)
	up, down := cmplx.Conj(l.c)*wm, l.c*cmplx.Conj(wm)
	n := r * math.Pow(l.thetaE/r, l.t) / (p*p - m*m)
	a := complex(n, 0) * w * (up*complex((p-m)/2, 0) + down*complex((p+m)/2, 0))
	return real(a), imag(a)
}

func (l *multipole) slopesAt(dx, dy float64) (o pointSlopes) {
	r, w, wm := l.unit(dx, dy)
	p, m := 2-l.t, float64(l.order)
	up, down := cmplx.Conj(l.c)*wm, l.c*cmplx.Conj(wm)
	lo, hi := (p-m)/2, (p+m)/2
	s := math.Pow(l.thetaE/r, l.t)
	n := 1 / (p*p - m*m)
	f := complex(r*s*n, 0) * w
	a := f * (up*complex(lo, 0) + down*complex(hi, 0))
	o.kappa = 0.5 * s * real(up)
	g := complex(s*n, 0) * w * w * (up*complex(lo*(lo-1), 0) + down*complex(hi*(hi-1), 0))
	o.gx, o.gy = real(g), imag(g)
	// By t = γ-1, dp = -dt: α (ln(θ_E/r) + 2p/(p²-m²)) - ½ f (c̄ω^m + c ω^-m)
	dt := a*complex(math.Log(l.thetaE/r)+2*p*n, 0) - f*complex(real(up), 0)
	// By a_cos and a_sin: c enters linearly.
	dc := f * (wm*complex(lo, 0) + cmplx.Conj(wm)*complex(hi, 0))
	ds := f * (wm*complex(0, -lo) + cmplx.Conj(wm)*complex(0, hi))
	dth := a * complex(l.t/l.thetaE, 0)
	o.px = [4]float64{real(dth), real(dt), real(dc), real(ds)}
	o.py = [4]float64{imag(dth), imag(dt), imag(dc), imag(ds)}
	return o
}

func (l *multipole) kappaAt(dx, dy float64) float64 {
	r, _, wm := l.unit(dx, dy)
	return 0.5 * math.Pow(l.thetaE/r, l.t) * real(cmplx.Conj(l.c)*wm)
}

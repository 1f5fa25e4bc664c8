package physics

import (
	"math"
	"math/cmplx"
	"slices"
)

// nie is the isothermal ellipsoid with a core,
//
//	κ = θ_E/(2 √(s² + q x'² + y'²/q)),
//
// with parameters theta_E, s_scale (the core s, arcsec), e1, e2, center_x, center_y. In the terms of confocal, with
// P² = s² + R²,
//
//	ᾱ = θ_E I,   I = ∫_s^P dp/√(ζ² + K s² - K p²) = (1/c) ln((V + cP)/(ζ + cs)),   c² = -K.
type nie struct {
	byPoint
	confocal
	thetaE, s float64
}

func newNIE() *nie {
	l := &nie{}
	l.prof, l.m = l, 4
	return l
}

var nieParams = slices.Concat([]Param{einsteinRadius("theta_E"), positive("s_scale", RoleCoreRadius, Arcsec).likely(logNormal(0.05, 1))},
	ellipticity(), centre("center_x", "center_y"))

func (l *nie) Params() []Param { return nieParams }

func (l *nie) Set(p []float64) error {
	if err := checkParams("nie", nieParams, p); err != nil {
		return err
	}
	if err := checkEllipticity("nie", p[2], p[3]); err != nil {
		return err
	}
	l.thetaE, l.s, l.cx, l.cy = p[0], p[1], p[4], p[5]
	l.confocal = newConfocal(p[2], p[3])
	return nil
}

// nieSmallK is the |K| below which the integrals are done by Gauss-Legendre quadrature: the closed forms lose digits as
// K → 0, and the quadrature is exact to rounding.
const nieSmallK = 0.1

// Nodes and weights of the Gauss-Legendre rule with six points on [-1, 1].
var gauss6 = [3][2]float64{
	{0.2386191860831969086305017, 0.4679139345726910473898703},
	{0.6612093864662645136613996, 0.3607615730481386075698335},
	{0.9324695142031520278123016, 0.1713244923791703450402961},
}

// integral gives I.
func (l *nie) integral(zeta, v complex128, r2 float64) complex128 {
	p := math.Sqrt(l.s*l.s + r2)
	d := r2 / (p + l.s) // P - s
	if cmplx.Abs(l.k) < nieSmallK {
		i, _ := l.quadrature(zeta, p, d, false)
		return i
	}
	c := cmplx.Sqrt(-l.k)
	if real(c)*real(zeta)+imag(c)*imag(zeta) < 0 {
		c = -c
	}
	// (V + cP)/(ζ + cs) = 1 + c w; the halves of the plane keep the logarithm on its principal branch.
	z := (v - zeta + c*complex(d, 0)) / (zeta + c*complex(l.s, 0))
	x, y := real(z), imag(z)
	return complex(0.5*math.Log1p(2*x+x*x+y*y), math.Atan2(y, 1+x)) / c
}

// quadrature gives I and ∂I/∂K at fixed ζ² + K s², for small K.
func (l *nie) quadrature(zeta complex128, p, d float64, withK bool) (i, ik complex128) {
	mid, half := 0.5*(p+l.s), 0.5*d
	z2 := zeta * zeta
	for _, nw := range gauss6 {
		for _, sign := range [2]float64{-1, 1} {
			at := mid + sign*half*nw[0]
			// p² - s² without cancellation: (p - s)(p + s)
			v := (half + sign*half*nw[0]) * (at + l.s)
			den := z2 - l.k*complex(v, 0)
			root := cmplx.Sqrt(den)
			if real(root)*real(zeta)+imag(root)*imag(zeta) < 0 {
				root = -root
			}
			f := complex(nw[1], 0) / root
			i += f
			if withK {
				ik += f / den * complex(0.5*at*at, 0)
			}
		}
	}
	return i * complex(half, 0), ik * complex(half, 0)
}

func (l *nie) deflectAt(dx, dy float64) (ax, ay float64) {
	r2, v := l.confocal.at(dx, dy)
	i := l.integral(complex(dx, dy), v, r2)
	return l.thetaE * real(i), -l.thetaE * imag(i)
}

func (l *nie) slopesAt(dx, dy float64) (o pointSlopes) {
	f := l.confocal.slopes(dx, dy)
	zeta, v := f.zeta, f.v
	p := math.Sqrt(l.s*l.s + f.r2)
	d := f.r2 / (p + l.s)
	cp, cs := complex(p, 0), complex(l.s, 0)
	// With D = ζ² + K s²: I_P = 1/V, I_D = -½ R²/((Pζ + sV) V ζ), I_K at fixed D = (P/V - s/ζ - I)/(2K)
	iv := 1 / v
	iz := 1 / zeta
	id := complex(-0.5*f.r2, 0) * iv * iz / (cp*zeta + cs*v)
	var i, ik complex128
	if cmplx.Abs(l.k) < nieSmallK {
		i, ik = l.quadrature(zeta, p, d, true)
	} else {
		i = l.integral(zeta, v, f.r2)
		ik = (cp*iv - cs*iz - i) / (2 * l.k)
	}
	ik += id * complex(l.s*l.s, 0)
	ir2 := iv * complex(0.5/p, 0) // by R²

	o.kappa = 0.5 * l.thetaE / p
	// ᾱ_ζ = Γ̄
	g := complex(l.thetaE, 0) * (2*id*zeta + ir2*f.r2z)
	o.gx, o.gy = real(g), -imag(g)
	is := 2*id*l.k*cs - iz + iv*complex(l.s/p, 0)
	o.px[0], o.py[0] = real(i), -imag(i)
	o.px[1], o.py[1] = l.thetaE*real(is), -l.thetaE*imag(is)
	for j := range 2 {
		ie := ik*l.dk[j] + ir2*complex(f.r2e[j], 0)
		o.px[2+j], o.py[2+j] = l.thetaE*real(ie), -l.thetaE*imag(ie)
	}
	return o
}

func (l *nie) kappaAt(dx, dy float64) float64 {
	r2, _ := l.confocal.at(dx, dy)
	return 0.5 * l.thetaE / math.Sqrt(l.s*l.s+r2)
}

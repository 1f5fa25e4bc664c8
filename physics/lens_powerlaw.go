package physics

import (
	"fmt"
	"math"

	"lenskit/physics/internal/kern"
)

// powerLaw is the elliptical power law in the parametrisation that is smooth where the lens is round: e = e1 + i e2 and
// t = γ-1. With ζ = (x - center_x) + i(y - center_y), f = |e| and u = ζ - e ζ̄, eq. 13 of Tessore & Metcalf (2015) reads
//
//	α = P u F(s),   P = (θ_E² (1-f²)/|u|²)^{t/2},   s = -ē u/ū,   F(s) = 2F1(1, t/2; 2-t/2; s) = Σ a_n sⁿ,
//
// with a_0 = 1, a_n = a_{n-1} (2n-2+t)/(2n+2-t). F satisfies s(1-s)F' = (1-t/2)(1-F) + s t/2 F, so that F and ∂F/∂t
// give every derivative. The loops (package kern) evaluate H = (F-1)/s = Σ a_{n+1} sⁿ, which keeps F' exact at s = 0, as
// a Fourier series over the angle of s; as many terms are summed as double precision needs at this f (about 37/ln(1/f)).
//
// At the centre itself (|u| < 1e-12 arcsec) the deflection and its derivatives are zero, and the convergence is that at
// |u| = 1e-12 arcsec.
//
// Profiles embed it: they fix what their parameters p mean through the chain rule ∂(own parameter)/∂p.
type powerLaw struct {
	thetaE, t float64
	k         kern.PowerLaw

	chain [plParams][plParams]float64 // chain[m][k] = ∂(own parameter m)/∂p_k
	n     int                         // parameters of the profile
}

// Indices of the kernel's own parameters.
const (
	plTheta = iota
	plT
	plE1
	plE2
	plX
	plY
	plParams
)

// centreR2 is the square of the radius (arcsec) within which a singular profile deflects nothing.
const centreR2 = 1e-24

// set takes the kernel's own parameters, inside their open ranges, and tabulates the series. It refuses ellipticities
// beyond axis ratio 1/1000 and Einstein radii whose powers would leave float64; the error wraps ErrRange.
func (l *powerLaw) set(kind string, thetaE, t, e1, e2, cx, cy float64) error {
	if err := checkEllipticity(kind, e1, e2); err != nil {
		return err
	}
	if !(thetaE > 1e-60 && thetaE < 1e60) {
		return fmt.Errorf("physics: %s: Einstein radius: found %g, expected between 1e-60 and 1e60: %w", kind, thetaE, ErrRange)
	}
	l.thetaE, l.t = thetaE, t
	l.k.C, l.k.D = powerLawSeries(l.k.C[:0], l.k.D[:0], t, math.Hypot(e1, e2))
	l.k.Set(thetaE, t, e1, e2, cx, cy)
	return nil
}

// powerLawSeries appends a_{n+1} fⁿ to c and its derivative by t to d, until what is left out is below rounding. The
// number of terms is odd.
func powerLawSeries(c, d []float64, t, f float64) ([]float64, []float64) {
	const eps = 0x1p-54
	a, fn, dln := 1.0, 1.0, 0.0
	tail := eps * (1 - f)
	for n := 0; ; n++ {
		k := float64(n + 1)
		up, down := 2*k-2+t, 2*k+2-t
		a *= up / down
		dln += 1/up + 1/down
		c, d = append(c, a*fn), append(d, a*fn*dln)
		if n%2 == 0 && c[n] <= tail*c[0] && math.Abs(d[n]) <= tail*math.Abs(d[0]) {
			return c, d
		}
		fn *= f
	}
}

func (l *powerLaw) Deflect(ax, ay, x, y []float64) {
	n := len(x)
	ax, ay, y = ax[:n], ay[:n], y[:n]
	var b kern.Rays
	for lo := 0; lo < n; lo += kern.Block {
		hi := min(lo+kern.Block, n)
		l.k.Prepare(&b, x[lo:hi], y[lo:hi], false)
		l.k.Deflect(&b, ax[lo:hi], ay[lo:hi])
	}
}

func (l *powerLaw) DeflectVJP(gp, gx, gy, gax, gay, x, y []float64) {
	n := len(x)
	gax, gay, y = gax[:n], gay[:n], y[:n]
	var b kern.Rays
	var zx, zy [kern.Block]float64
	var sum kern.Sums
	for lo := 0; lo < n; lo += kern.Block {
		hi := min(lo+kern.Block, n)
		l.k.Prepare(&b, x[lo:hi], y[lo:hi], true)
		l.k.VJP(&sum, &b, zx[:hi-lo], zy[:hi-lo], gax[lo:hi], gay[lo:hi])
		if gx != nil {
			for j := range hi - lo {
				gx[lo+j] += zx[j]
				gy[lo+j] += zy[j]
			}
		}
	}
	g := [plParams]float64{
		plTheta: sum[0] * l.t / l.thetaE,
		plT:     sum[2] - 0.5*sum[1],
		plE1:    sum[3] - sum[0]*l.t*l.k.E1/l.k.G,
		plE2:    sum[4] - sum[0]*l.t*l.k.E2/l.k.G,
		plX:     -sum[5],
		plY:     -sum[6],
	}
	for k := range l.n {
		s := 0.0
		for m, v := range g {
			s += l.chain[m][k] * v
		}
		gp[k] += s
	}
}

func (l *powerLaw) DeflectJac(jx, jy [][]float64, x, y []float64) {
	n := len(x)
	y = y[:n]
	var b kern.Rays
	var s kern.Slopes
	var cx, cy [plParams][kern.Block]float64
	v := l.t / l.thetaE
	v1, v2 := -l.t*l.k.E1/l.k.G, -l.t*l.k.E2/l.k.G
	for lo := 0; lo < n; lo += kern.Block {
		hi := min(lo+kern.Block, n)
		l.k.Prepare(&b, x[lo:hi], y[lo:hi], true)
		l.k.Slopes(&b, &s, hi-lo)
		for i := range hi - lo {
			j := i & (kern.Block - 1)
			ax, ay := s.AX[j], s.AY[j]
			cx[plTheta][j], cy[plTheta][j] = v*ax, v*ay
			w := -0.5 * b.LG[j]
			cx[plT][j], cy[plT][j] = w*ax+s.TX[j], w*ay+s.TY[j]
			cx[plE1][j], cy[plE1][j] = s.AEX[j]+s.ABX[j]+v1*ax, s.AEY[j]+s.ABY[j]+v1*ay
			cx[plE2][j], cy[plE2][j] = s.ABY[j]-s.AEY[j]+v2*ax, s.AEX[j]-s.ABX[j]+v2*ay
			cx[plX][j], cy[plX][j] = -(s.Kappa[j] + s.GX[j]), -s.GY[j]
			cx[plY][j], cy[plY][j] = -s.GY[j], -(s.Kappa[j] - s.GX[j])
		}
		for k := range l.n {
			if jx[k] == nil {
				continue
			}
			ox, oy := jx[k][lo:hi], jy[k][lo:hi]
			oy = oy[:len(ox)]
			fresh := true
			for m := range plParams {
				c := l.chain[m][k]
				switch {
				case c == 0:
				case fresh && c == 1:
					copy(ox, cx[m][:])
					copy(oy, cy[m][:])
					fresh = false
				case fresh:
					for j := range ox {
						ox[j] = c * cx[m][j&(kern.Block-1)]
						oy[j] = c * cy[m][j&(kern.Block-1)]
					}
					fresh = false
				default:
					for j := range ox {
						ox[j] += c * cx[m][j&(kern.Block-1)]
						oy[j] += c * cy[m][j&(kern.Block-1)]
					}
				}
			}
			if fresh {
				clear(ox)
				clear(oy)
			}
		}
	}
}

func (l *powerLaw) Convergence(kappa, x, y []float64) {
	y = y[:len(x)]
	for i := range x {
		dx, dy := x[i]-l.k.CX, y[i]-l.k.CY
		ux, uy := dx-(l.k.E1*dx+l.k.E2*dy), dy-(l.k.E2*dx-l.k.E1*dy)
		r2 := max(ux*ux+uy*uy, centreR2)
		kappa[i] += l.k.Rest * math.Exp(l.k.Exponent*math.Log(r2*l.k.Scale))
	}
}

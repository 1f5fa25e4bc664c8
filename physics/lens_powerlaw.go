package physics

import (
	"math"

	"lenskit/physics/internal/kern"
)

// powerLaw is the elliptical power law in the parametrisation that is smooth where the lens is round: e = e1 + i e2 and
// t = γ-1. With ζ = (x - center_x) + i(y - center_y), f = |e| and u = ζ - e ζ̄, eq. 13 of Tessore & Metcalf (2015) reads
//
//	α = P u F(s),   P = (θ_E² (1-f²)/|u|²)^{t/2},   s = -ē u/ū,   F(s) = 2F1(1, t/2; 2-t/2; s) = Σ a_n sⁿ,
//
// with a_0 = 1, a_n = a_{n-1} (2n-2+t)/(2n+2-t). F satisfies s(1-s)F' = (1-t/2)(1-F) + s t/2 F, so that F and ∂F/∂t
// give every derivative. The loops evaluate H = (F-1)/s = Σ a_{n+1} sⁿ, which keeps F' exact at s = 0, as a Fourier
// series over the angle of s; as many terms are summed as double precision needs at this f (about 37/ln(1/f)).
//
// At the centre itself (|u| < 1e-12 arcsec) the deflection and its derivatives are zero, and the convergence is that at
// |u| = 1e-12 arcsec.
//
// Profiles embed it: they fix what their parameters p mean through the chain rule ∂(own parameter)/∂p.
type powerLaw struct {
	thetaE, t, e1, e2, cx, cy float64

	f, s0x, s0y float64   // f = |e|, s0 = -ē/f (1 where f = 0)
	scale       float64   // 1/(θ_E² (1-f²))
	c, d        []float64 // a_{n+1} fⁿ and its derivative by t

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

// rayBlock is how many rays the loops take at once, so that their buffers stay in the first-level cache.
const rayBlock = 64

// centreR2 is the square of the radius (arcsec) within which a singular profile deflects nothing.
const centreR2 = 1e-24

// set takes the kernel's own parameters, already checked, and tabulates the series.
func (l *powerLaw) set(thetaE, t, e1, e2, cx, cy float64) {
	l.thetaE, l.t, l.e1, l.e2, l.cx, l.cy = thetaE, t, e1, e2, cx, cy
	f := math.Hypot(e1, e2)
	l.f, l.s0x, l.s0y = f, 1, 0
	if f > 0 {
		l.s0x, l.s0y = -e1/f, e2/f
	}
	l.scale = 1 / (thetaE * thetaE * (1 - f*f))
	l.c, l.d = powerLawSeries(l.c[:0], l.d[:0], t, f)
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

// rays holds what the loops need of a block of rays.
type rays struct {
	dx, dy [rayBlock]float64 // ζ
	ux, uy [rayBlock]float64 // u
	r2     [rayBlock]float64 // |u|²/(θ_E² (1-f²))
	lg     [rayBlock]float64 // its logarithm
	pw     [rayBlock]float64 // P
	cs, sn [rayBlock]float64 // s/f
	x2     [rayBlock]float64 // 2 Re s/f
	b1, b2 [rayBlock]float64 // H by Clenshaw
	d1, d2 [rayBlock]float64 // ∂H/∂t by Clenshaw
}

// prepare fills b with the rays x, y; withT says whether ∂H/∂t is wanted.
func (l *powerLaw) prepare(b *rays, x, y []float64, withT bool) {
	n := len(x)
	y = y[:n]
	e1, e2, cx, cy := l.e1, l.e2, l.cx, l.cy
	s0x, s0y := l.s0x, l.s0y
	for i := range x {
		j := i & (rayBlock - 1)
		dx, dy := x[i]-cx, y[i]-cy
		ux, uy := dx-(e1*dx+e2*dy), dy-(e2*dx-e1*dy)
		r2 := ux*ux + uy*uy
		if r2 < centreR2 {
			r2 = centreR2
		}
		inv := 1 / r2
		wx, wy := (ux*ux-uy*uy)*inv, 2*ux*uy*inv
		cs, sn := s0x*wx-s0y*wy, s0x*wy+s0y*wx
		b.dx[j], b.dy[j], b.ux[j], b.uy[j], b.r2[j] = dx, dy, ux, uy, r2*l.scale
		b.cs[j], b.sn[j], b.x2[j] = cs, sn, 2*cs
	}
	kern.LogPow(b.lg[:n], b.pw[:n], b.r2[:n], -0.5*l.t)
	centre := centreR2 * l.scale
	for i, r2 := range b.r2[:n] {
		if r2 <= centre {
			b.pw[i] = 0
		}
	}
	kern.Series(b.b1[:n], b.b2[:n], b.x2[:n], l.c)
	if withT {
		kern.Series(b.d1[:n], b.d2[:n], b.x2[:n], l.d)
	}
}

func (l *powerLaw) Deflect(ax, ay, x, y []float64) {
	ax, ay, y = ax[:len(x)], ay[:len(x)], y[:len(x)]
	var b rays
	f, c0 := l.f, l.c[0]
	for lo := 0; lo < len(x); lo += rayBlock {
		hi := min(lo+rayBlock, len(x))
		l.prepare(&b, x[lo:hi], y[lo:hi], false)
		ox, oy := ax[lo:hi], ay[lo:hi]
		oy = oy[:len(ox)]
		for i := range ox {
			j := i & (rayBlock - 1)
			cs, sn, b1 := b.cs[j], b.sn[j], b.b1[j]
			hr, hi := c0+cs*b1-b.b2[j], sn*b1
			fr, fi := 1+f*(cs*hr-sn*hi), f*(cs*hi+sn*hr)
			ux, uy, p := b.ux[j], b.uy[j], b.pw[j]
			ox[i] += p * (ux*fr - uy*fi)
			oy[i] += p * (ux*fi + uy*fr)
		}
	}
}

// slopes are a ray's deflection and its derivatives. With real increments dζ and de,
//
//	dα = κ dζ + Γ dζ̄ + (α_e) de + (α_ē) dē + …,
//
// where α_e and α_ē leave out the part through (1-f²)^{t/2}, which is proportional to α.
type slopes struct {
	ax, ay   float64 // α
	kappa    float64 // κ
	gx, gy   float64 // Γ
	tx, ty   float64 // P u ∂F/∂t
	aex, aey float64 // α_e
	abx, aby float64 // α_ē
}

// slopes gives ray j of the block.
func (l *powerLaw) slopes(b *rays, j int) slopes {
	t, f := l.t, l.f
	cs, sn := b.cs[j], b.sn[j]
	ux, uy, p := b.ux[j], b.uy[j], b.pw[j]
	hr, hi := l.c[0]+cs*b.b1[j]-b.b2[j], sn*b.b1[j]
	kr, ki := l.d[0]+cs*b.d1[j]-b.d2[j], sn*b.d1[j]
	sx, sy := f*cs, f*sn
	fr, fi := 1+sx*hr-sy*hi, sx*hi+sy*hr
	ftr, fti := sx*kr-sy*ki, sx*ki+sy*kr

	// 1/(1-s)
	mx := 1 - sx
	inv := 1 / (mx*mx + sy*sy)
	vx, vy := mx*inv, sy*inv
	// E = sF' + t/2 F = ((1-t/2) + (t-1)F)/(1-s)
	half := 0.5 * t
	nx, ny := (1-half)+(t-1)*fr, (t-1)*fi
	ex, ey := nx*vx-ny*vy, nx*vy+ny*vx
	// F' = (t/2 F - (1-t/2)H)/(1-s)
	nx, ny = half*fr-(1-half)*hr, half*fi-(1-half)*hi
	dx, dy := nx*vx-ny*vy, nx*vy+ny*vx

	// w = u/ū; s = -ē w, so w = s/f / s0.
	wx, wy := cs*l.s0x+sn*l.s0y, sn*l.s0x-cs*l.s0y

	var o slopes
	o.ax, o.ay = p*(ux*fr-uy*fi), p*(ux*fi+uy*fr)
	o.kappa = (1 - half) * p
	// Γ = -P((1-t/2)e + (1-f²) w E)
	wex, wey := wx*ex-wy*ey, wx*ey+wy*ex
	g := 1 - f*f
	o.gx, o.gy = -p*((1-half)*l.e1+g*wex), -p*((1-half)*l.e2+g*wey)
	o.tx, o.ty = p*(ux*ftr-uy*fti), p*(ux*fti+uy*ftr)
	// α_e = -ζ̄ α_u, α_u = P((1-t/2) + sE)
	qx, qy := p*((1-half)+sx*ex-sy*ey), p*(sx*ey+sy*ex)
	zx, zy := b.dx[j], b.dy[j]
	o.aex, o.aey = -(zx*qx + zy*qy), -(zx*qy - zy*qx)
	// α_ē = P w (ζE - uF')
	nx = zx*ex - zy*ey - (ux*dx - uy*dy)
	ny = zx*ey + zy*ex - (ux*dy + uy*dx)
	o.abx, o.aby = p*(wx*nx-wy*ny), p*(wx*ny+wy*nx)
	return o
}

func (l *powerLaw) DeflectVJP(gp, gx, gy, gax, gay, x, y []float64) {
	n := len(x)
	gax, gay, y = gax[:n], gay[:n], y[:n]
	var b rays
	var sa, sl, st, se1, se2, sx, sy float64
	for lo := 0; lo < n; lo += rayBlock {
		hi := min(lo+rayBlock, n)
		l.prepare(&b, x[lo:hi], y[lo:hi], true)
		for j := range hi - lo {
			o := l.slopes(&b, j)
			hx, hy := gax[lo+j], gay[lo+j]
			dot := hx*o.ax + hy*o.ay
			sa += dot
			sl += dot * b.lg[j]
			st += hx*o.tx + hy*o.ty
			// ge = g conj(α_e) + ḡ α_ē
			se1 += hx*(o.aex+o.abx) + hy*(o.aey+o.aby)
			se2 += hy*(o.aex-o.abx) - hx*(o.aey-o.aby)
			// gζ = κ g + Γ ḡ
			zx, zy := o.kappa*hx+o.gx*hx+o.gy*hy, o.kappa*hy+o.gy*hx-o.gx*hy
			sx += zx
			sy += zy
			if gx != nil {
				gx[lo+j] += zx
				gy[lo+j] += zy
			}
		}
	}
	var g [plParams]float64
	r := 1 / (1 - l.f*l.f)
	g[plTheta] = sa * l.t / l.thetaE
	g[plT] = st - 0.5*sl
	g[plE1] = se1 - sa*l.t*l.e1*r
	g[plE2] = se2 - sa*l.t*l.e2*r
	g[plX], g[plY] = -sx, -sy
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
	var b rays
	var cx, cy [plParams][rayBlock]float64
	r := 1 / (1 - l.f*l.f)
	for lo := 0; lo < n; lo += rayBlock {
		hi := min(lo+rayBlock, n)
		l.prepare(&b, x[lo:hi], y[lo:hi], true)
		for j := range hi - lo {
			o := l.slopes(&b, j)
			v := l.t / l.thetaE
			cx[plTheta][j], cy[plTheta][j] = v*o.ax, v*o.ay
			v = -0.5 * b.lg[j]
			cx[plT][j], cy[plT][j] = v*o.ax+o.tx, v*o.ay+o.ty
			v = -l.t * l.e1 * r
			cx[plE1][j], cy[plE1][j] = o.aex+o.abx+v*o.ax, o.aey+o.aby+v*o.ay
			v = -l.t * l.e2 * r
			cx[plE2][j], cy[plE2][j] = -(o.aey-o.aby)+v*o.ax, o.aex-o.abx+v*o.ay
			cx[plX][j], cy[plX][j] = -(o.kappa + o.gx), -o.gy
			cx[plY][j], cy[plY][j] = -o.gy, -(o.kappa - o.gx)
		}
		for k := range l.n {
			if jx[k] == nil {
				continue
			}
			ox, oy := jx[k][lo:hi], jy[k][lo:hi]
			clear(ox)
			clear(oy)
			for m := range plParams {
				v := l.chain[m][k]
				if v == 0 {
					continue
				}
				for j := range ox {
					ox[j] += v * cx[m][j&(rayBlock-1)]
					oy[j] += v * cy[m][j&(rayBlock-1)]
				}
			}
		}
	}
}

func (l *powerLaw) Convergence(kappa, x, y []float64) {
	y = y[:len(x)]
	k := 1 - 0.5*l.t
	for i := range x {
		dx, dy := x[i]-l.cx, y[i]-l.cy
		ux, uy := dx-(l.e1*dx+l.e2*dy), dy-(l.e2*dx-l.e1*dy)
		r2 := max(ux*ux+uy*uy, centreR2)
		kappa[i] += k * math.Exp(-0.5*l.t*math.Log(r2*l.scale))
	}
}

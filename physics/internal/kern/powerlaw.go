package kern

import "math"

// Block is how many rays the kernels take at once, so that their buffers stay in the first-level cache.
const Block = 64

// centreR2 is the square of the radius (arcsec) within which a power law deflects nothing.
const centreR2 = 1e-24

// PowerLaw holds the numbers of an elliptical power law that its kernels read: with ζ = (x - cx) + i(y - cy),
// e = e1 + i e2, f = |e|, t = γ-1 and u = ζ - e ζ̄ (Tessore & Metcalf 2015, eq. 13),
//
//	α = P u F(s),   P = (|u|² scale)^exponent,   s = -ē u/ū = f σ,   F(s) = 1 + s H(s),
//
// where H(s) = Σ c_n σⁿ and ∂H/∂t = Σ d_n σⁿ. The order of the fields is the layout the assembly reads.
type PowerLaw struct {
	E1, E2, CX, CY float64
	S0X, S0Y       float64 // -ē/f, or 1 where f = 0
	Scale          float64 // 1/(θ_E² (1-f²))
	Centre         float64 // Scale times the square of the radius within which P is 0
	Exponent       float64 // -t/2
	F              float64 // f
	Half           float64 // t/2
	Rest           float64 // 1 - t/2
	TM1            float64 // t - 1
	G              float64 // 1 - f²
	C0, D0         float64 // c_0, d_0
	C, D           []float64
}

// Set fills everything but C and D, which the caller has filled with an odd number of terms.
func (k *PowerLaw) Set(thetaE, t, e1, e2, cx, cy float64) {
	f := math.Hypot(e1, e2)
	k.E1, k.E2, k.CX, k.CY = e1, e2, cx, cy
	k.S0X, k.S0Y = 1, 0
	if f > 0 {
		k.S0X, k.S0Y = -e1/f, e2/f
	}
	k.F, k.Half, k.Rest, k.TM1, k.G = f, 0.5*t, 1-0.5*t, t-1, 1-f*f
	k.Scale = 1 / (thetaE * thetaE * k.G)
	k.Centre = centreR2 * k.Scale
	k.Exponent = -0.5 * t
	k.C0, k.D0 = k.C[0], k.D[0]
}

// Rays holds a block of rays between Prepare and what reads it. The order of the fields is the layout the assembly
// reads.
type Rays struct {
	DX, DY [Block]float64 // ζ
	UX, UY [Block]float64 // u
	LG     [Block]float64 // ln(|u|² scale)
	PW     [Block]float64 // P
	CS, SN [Block]float64 // σ
	B1, B2 [Block]float64 // H by Clenshaw
	D1, D2 [Block]float64 // ∂H/∂t by Clenshaw
}

// Slopes holds the derivatives of a block of rays. With real increments dζ and de,
//
//	dα = κ dζ + Γ dζ̄ + α_e de + α_ē dē + …,
//
// where α_e and α_ē leave out the part through the factor (1-f²)^(t/2), which is proportional to α, and T = P u ∂F/∂t.
// The order of the fields is the layout the assembly writes.
type Slopes struct {
	AX, AY   [Block]float64 // α
	Kappa    [Block]float64 // κ
	GX, GY   [Block]float64 // Γ
	TX, TY   [Block]float64 // T
	AEX, AEY [Block]float64 // α_e
	ABX, ABY [Block]float64 // α_ē
}

// Sums are what VJP adds up over rays: of Re(ḡ α), of that times ln(|u|² scale), of Re(ḡ T), of the gradient by e1 and
// e2 through α_e and α_ē, and of the gradient by position.
type Sums [7]float64

// prepareGo fills b for the rays x, y, the series aside.
func (k *PowerLaw) prepareGo(b *Rays, x, y []float64) {
	y = y[:len(x)]
	for i := range x {
		j := i & (Block - 1)
		dx, dy := x[i]-k.CX, y[i]-k.CY
		ux, uy := dx-(k.E1*dx+k.E2*dy), dy-(k.E2*dx-k.E1*dy)
		r2 := max(ux*ux+uy*uy, centreR2)
		inv := 1 / r2
		wx, wy := (ux*ux-uy*uy)*inv, 2*ux*uy*inv
		b.DX[j], b.DY[j], b.UX[j], b.UY[j] = dx, dy, ux, uy
		b.CS[j], b.SN[j] = k.S0X*wx-k.S0Y*wy, k.S0X*wy+k.S0Y*wx
		r2 *= k.Scale
		lg := math.Log(r2)
		b.LG[j] = lg
		b.PW[j] = 0
		if r2 > k.Centre {
			b.PW[j] = math.Exp(k.Exponent * lg)
		}
	}
}

// deflectGo adds α to ax, ay.
func (k *PowerLaw) deflectGo(b *Rays, ax, ay []float64) {
	ay = ay[:len(ax)]
	for i := range ax {
		j := i & (Block - 1)
		cs, sn, b1 := b.CS[j], b.SN[j], b.B1[j]
		hr, hi := k.C0+cs*b1-b.B2[j], sn*b1
		fr, fi := 1+k.F*(cs*hr-sn*hi), k.F*(cs*hi+sn*hr)
		ux, uy, p := b.UX[j], b.UY[j], b.PW[j]
		ax[i] += p * (ux*fr - uy*fi)
		ay[i] += p * (ux*fi + uy*fr)
	}
}

// slope is one ray of Slopes.
type slope struct {
	ax, ay, kappa, gx, gy, tx, ty, aex, aey, abx, aby float64
}

// slope gives ray j. F satisfies s(1-s)F' = (1-t/2)(1-F) + s t/2 F.
func (k *PowerLaw) slope(b *Rays, j int) (o slope) {
	cs, sn := b.CS[j], b.SN[j]
	ux, uy, p := b.UX[j], b.UY[j], b.PW[j]
	hr, hi := k.C0+cs*b.B1[j]-b.B2[j], sn*b.B1[j]
	kr, ki := k.D0+cs*b.D1[j]-b.D2[j], sn*b.D1[j]
	sx, sy := k.F*cs, k.F*sn
	fr, fi := 1+sx*hr-sy*hi, sx*hi+sy*hr
	ftr, fti := sx*kr-sy*ki, sx*ki+sy*kr

	// 1/(1-s)
	mx := 1 - sx
	inv := 1 / (mx*mx + sy*sy)
	vx, vy := mx*inv, sy*inv
	// E = sF' + t/2 F = ((1-t/2) + (t-1)F)/(1-s)
	nx, ny := k.Rest+k.TM1*fr, k.TM1*fi
	ex, ey := nx*vx-ny*vy, nx*vy+ny*vx
	// F' = (t/2 F - (1-t/2)H)/(1-s)
	nx, ny = k.Half*fr-k.Rest*hr, k.Half*fi-k.Rest*hi
	dx, dy := nx*vx-ny*vy, nx*vy+ny*vx

	// w = u/ū = σ/(-ē/f)
	wx, wy := cs*k.S0X+sn*k.S0Y, sn*k.S0X-cs*k.S0Y

	o.ax, o.ay = p*(ux*fr-uy*fi), p*(ux*fi+uy*fr)
	o.kappa = k.Rest * p
	// Γ = -P((1-t/2)e + (1-f²) w E)
	wex, wey := wx*ex-wy*ey, wx*ey+wy*ex
	o.gx, o.gy = -p*(k.Rest*k.E1+k.G*wex), -p*(k.Rest*k.E2+k.G*wey)
	o.tx, o.ty = p*(ux*ftr-uy*fti), p*(ux*fti+uy*ftr)
	// α_e = -ζ̄ α_u, α_u = P((1-t/2) + sE)
	qx, qy := p*(k.Rest+sx*ex-sy*ey), p*(sx*ey+sy*ex)
	zx, zy := b.DX[j], b.DY[j]
	o.aex, o.aey = -(zx*qx + zy*qy), -(zx*qy - zy*qx)
	// α_ē = P w (ζE - uF')
	nx = zx*ex - zy*ey - (ux*dx - uy*dy)
	ny = zx*ey + zy*ex - (ux*dy + uy*dx)
	o.abx, o.aby = p*(wx*nx-wy*ny), p*(wx*ny+wy*nx)
	return o
}

// vjpGo adds to sum and writes the gradients by position to zx, zy.
func (k *PowerLaw) vjpGo(sum *Sums, b *Rays, zx, zy, gax, gay []float64) {
	gay, zx, zy = gay[:len(gax)], zx[:len(gax)], zy[:len(gax)]
	for i := range gax {
		j := i & (Block - 1)
		o := k.slope(b, j)
		hx, hy := gax[i], gay[i]
		a := hx*o.ax + hy*o.ay
		sum[0] += a
		sum[1] += a * b.LG[j]
		sum[2] += hx*o.tx + hy*o.ty
		// ge = g conj(α_e) + ḡ α_ē
		sum[3] += hx*(o.aex+o.abx) + hy*(o.aey+o.aby)
		sum[4] += hy*(o.aex-o.abx) - hx*(o.aey-o.aby)
		// gζ = κ g + Γ ḡ
		vx, vy := (o.kappa+o.gx)*hx+o.gy*hy, (o.kappa-o.gx)*hy+o.gy*hx
		sum[5] += vx
		sum[6] += vy
		zx[i], zy[i] = vx, vy
	}
}

// slopesGo fills s for the first n rays of b.
func (k *PowerLaw) slopesGo(b *Rays, s *Slopes, n int) {
	for i := range n {
		j := i & (Block - 1)
		o := k.slope(b, j)
		s.AX[j], s.AY[j], s.Kappa[j] = o.ax, o.ay, o.kappa
		s.GX[j], s.GY[j], s.TX[j], s.TY[j] = o.gx, o.gy, o.tx, o.ty
		s.AEX[j], s.AEY[j], s.ABX[j], s.ABY[j] = o.aex, o.aey, o.abx, o.aby
	}
}

// prepareAllGo is Prepare.
func (k *PowerLaw) prepareAllGo(b *Rays, x, y []float64, withT bool) {
	n := len(x)
	k.prepareGo(b, x, y)
	seriesGo(b.B1[:n], b.B2[:n], b.CS[:n], k.C)
	if withT {
		seriesGo(b.D1[:n], b.D2[:n], b.CS[:n], k.D)
	}
}

package main

import "math"

// Byte offsets in kern.PowerLaw and kern.Rays: the order of their fields.
const (
	kE1 = 8 * iota
	kE2
	kCX
	kCY
	kS0X
	kS0Y
	kScale
	kCentre
	kExponent
	kF
	kHalf
	kRest
	kTM1
	kG
	kC0
	kD0
)

const block = 64 * 8

const (
	rDX = block * iota
	rDY
	rUX
	rUY
	rLG
	rPW
	rCS
	rSN
	rB1
	rB2
	rD1
	rD2
)

// cplx is a complex value.
type cplx struct{ re, im value }

func (k *kernel) cmul(a, b cplx) cplx {
	return cplx{k.fnma(a.im, b.im, k.mul(a.re, b.re)), k.fma(a.re, b.im, k.mul(a.im, b.re))}
}

func (k *kernel) cscale(s value, a cplx) cplx { return cplx{k.mul(s, a.re), k.mul(s, a.im)} }

// log is ln x for normal positive x. With x = 2^e m, m in [√½, √2), f = m-1, s = f/(2+f) and z = s²,
// ln m = f - s(f - z(2/3 + 2/5 z + 2/7 z² + …)).
func (k *kernel) log(x value) value {
	l, f, f2 := k.split(x)
	return l(k.div(f, f2))
}

// split gives f and 2+f of log, which goes on from their quotient.
func (k *kernel) split(x value) (log func(s value) value, f, f2 value) {
	const low = 0x3fe6a09e667f3bcd // √½
	t := k.iadd(x, k.bits(0x3ff0000000000000-low))
	e := k.or(k.shift("VPSRLQ", t, 52), k.bits(0x4330000000000000))
	ef := k.sub(e, k.number(0x1p52+1023))
	m := k.iadd(k.and(t, k.bits(0x000fffffffffffff)), k.bits(low))
	f = k.sub(m, k.number(1))
	return func(s value) value {
		z := k.mul(s, s)
		var c []float64
		for n := 3; n <= 25; n += 2 {
			c = append(c, 2/float64(n))
		}
		p := k.poly(z, c)
		r := k.fnma(p, z, f) // f - R
		v := k.fnma(s, r, f) // f - s(f - R)
		v = k.fma(ef, k.number(ln2Lo), v)
		return k.fma(ef, k.number(ln2Hi), v)
	}, f, k.add(f, k.number(2))
}

// poly is Σ c_n xⁿ by Estrin's scheme: neighbours are joined pair by pair, so that the chain of operations is short.
func (k *kernel) poly(x value, c []float64) value {
	v := make([]value, len(c))
	for i, n := range c {
		v[i] = k.number(n)
	}
	for ; len(v) > 1; x = k.mul(x, x) {
		var joined []value
		for i := 0; i < len(v); i += 2 {
			if i+1 < len(v) {
				joined = append(joined, k.fma(v[i+1], x, v[i]))
			} else {
				joined = append(joined, v[i])
			}
		}
		v = joined
	}
	return v[0]
}

// ln 2 in two parts, of which the first has 20 trailing zero bits.
var (
	ln2Hi = math.Float64frombits(math.Float64bits(math.Ln2) &^ (1<<20 - 1))
	ln2Lo = 7.440617110012397e-11
)

// exp is e^y for |y| < 708; beyond, it is that of ±708.
func (k *kernel) exp(y value) value {
	y = k.min(k.max(y, k.number(-708)), k.number(708))
	const shifter = 0x1.8p52
	kd := k.fma(y, k.number(math.Log2E), k.number(shifter))
	n := k.sub(kd, k.number(shifter))
	r := k.fnma(n, k.number(ln2Hi), y)
	r = k.fnma(n, k.number(ln2Lo), r)
	fact, c := 1.0, []float64{1}
	for i := 1; i <= 13; i++ {
		fact *= float64(i)
		c = append(c, 1/fact)
	}
	p := k.poly(r, c)
	return k.iadd(p, k.shift("VPSLLQ", kd, 52))
}

// prepareKernel is PowerLaw.prepareGo without the series.
func prepareKernel(c *constants) *kernel {
	k := newKernel(c, "prepareVec", "// func prepareVec(k *PowerLaw, b *Rays, x, y *float64, n int)", "k", "b", "x", "y", "n")
	k.streams = []string{"x", "y"}
	e1, e2 := k.field("k", kE1), k.field("k", kE2)
	dx, dy := k.sub(k.vector("x", 0), k.field("k", kCX)), k.sub(k.vector("y", 0), k.field("k", kCY))
	k.store("b", rDX, dx)
	k.store("b", rDY, dy)
	ux := k.sub(dx, k.fma(e1, dx, k.mul(e2, dy)))
	uy := k.sub(dy, k.fms(e2, dx, k.mul(e1, dy)))
	k.store("b", rUX, ux)
	k.store("b", rUY, uy)
	uy2 := k.mul(uy, uy)
	r2 := k.fma(ux, ux, uy2)
	r2 = k.max(r2, k.number(centreR2))
	// one division for 1/r2 and the logarithm's f/(2+f)
	scaled := k.mul(r2, k.field("k", kScale))
	log, f, f2 := k.split(scaled)
	both := k.div(k.number(1), k.mul(r2, f2))
	inv := k.mul(both, f2)
	wx := k.mul(k.fms(ux, ux, uy2), inv)
	wy := k.mul(k.mul(k.add(ux, ux), uy), inv)
	s := k.cmul(cplx{k.field("k", kS0X), k.field("k", kS0Y)}, cplx{wx, wy})
	k.store("b", rCS, s.re)
	k.store("b", rSN, s.im)
	lg := log(k.mul(f, k.mul(both, r2)))
	k.store("b", rLG, lg)
	pw := k.exp(k.mul(lg, k.field("k", kExponent)))
	k.store("b", rPW, k.andNot(k.atMost(scaled, k.field("k", kCentre)), pw))
	return k
}

const centreR2 = 1e-24

// series gives c_0 + σ b_1 - b_2 for σ = cs + i sn.
func (k *kernel) series(c0 int, b1, b2 int) cplx {
	cs, sn := k.vector("b", rCS), k.vector("b", rSN)
	p := k.vector("b", b1)
	return cplx{k.fma(cs, p, k.sub(k.field("k", c0), k.vector("b", b2))), k.mul(sn, p)}
}

// deflectKernel is PowerLaw.deflectGo.
func deflectKernel(c *constants) *kernel {
	k := newKernel(c, "deflectVec", "// func deflectVec(k *PowerLaw, b *Rays, ax, ay *float64, n int)", "k", "b", "ax", "ay", "n")
	h := k.series(kC0, rB1, rB2)
	f := k.field("k", kF)
	sh := k.cmul(cplx{k.vector("b", rCS), k.vector("b", rSN)}, h)
	fr, fi := k.fma(f, sh.re, k.number(1)), k.mul(f, sh.im)
	a := k.cmul(cplx{k.vector("b", rUX), k.vector("b", rUY)}, cplx{fr, fi})
	p := k.vector("b", rPW)
	k.store("ax", 0, k.fma(p, a.re, k.vector("ax", 0)))
	k.store("ay", 0, k.fma(p, a.im, k.vector("ay", 0)))
	return k
}

// slopes are the values of kern.slope.
type slopes struct {
	a, g, t, ae, ab cplx
	kappa           value
}

// slopes is PowerLaw.slope.
func (k *kernel) slopes() (o slopes) {
	f, half, rest, one := k.field("k", kF), k.field("k", kHalf), k.field("k", kRest), k.number(1)
	cs, sn := k.vector("b", rCS), k.vector("b", rSN)
	p := k.vector("b", rPW)
	h := k.series(kC0, rB1, rB2)
	s := cplx{k.mul(f, cs), k.mul(f, sn)}
	ff := k.cmul(s, h)
	ff.re = k.add(ff.re, one)
	u := cplx{k.vector("b", rUX), k.vector("b", rUY)}
	o.a = k.cscale(p, k.cmul(u, ff))
	o.kappa = k.mul(rest, p)

	ft := k.cmul(s, k.series(kD0, rD1, rD2))
	o.t = k.cscale(p, k.cmul(u, ft))

	mx := k.sub(one, s.re)
	inv := k.div(one, k.fma(mx, mx, k.mul(s.im, s.im)))
	v := cplx{k.mul(mx, inv), k.mul(s.im, inv)}
	tm1 := k.field("k", kTM1)
	e := k.cmul(v, cplx{k.fma(tm1, ff.re, rest), k.mul(tm1, ff.im)})
	d := k.cmul(v, cplx{k.fms(half, ff.re, k.mul(rest, h.re)), k.fms(half, ff.im, k.mul(rest, h.im))})

	// w = σ s0^-1, |s0| = 1
	s0x, s0y := k.field("k", kS0X), k.field("k", kS0Y)
	w := cplx{k.fma(cs, s0x, k.mul(sn, s0y)), k.fms(sn, s0x, k.mul(cs, s0y))}
	we := k.cmul(w, e)
	g := k.field("k", kG)
	gx := k.fma(g, we.re, k.mul(rest, k.field("k", kE1)))
	gy := k.fma(g, we.im, k.mul(rest, k.field("k", kE2)))
	zero := k.number(0)
	o.g = cplx{k.fnma(p, gx, zero), k.fnma(p, gy, zero)}

	se := k.cmul(s, e)
	q := k.cscale(p, cplx{k.add(rest, se.re), se.im})
	z := cplx{k.vector("b", rDX), k.vector("b", rDY)}
	// -ζ̄ α_u
	o.ae = cplx{k.fnma(z.re, q.re, k.fnma(z.im, q.im, zero)), k.fms(z.im, q.re, k.mul(z.re, q.im))}

	ze, ud := k.cmul(z, e), k.cmul(u, d)
	o.ab = k.cscale(p, k.cmul(w, cplx{k.sub(ze.re, ud.re), k.sub(ze.im, ud.im)}))
	return o
}

// vjpKernel is PowerLaw.vjpGo.
func vjpKernel(c *constants) *kernel {
	k := newKernel(c, "vjpVec", "// func vjpVec(k *PowerLaw, b *Rays, gax, gay, zx, zy *float64, acc *[7][4]float64, n int)",
		"k", "b", "gax", "gay", "zx", "zy", "acc", "n")
	o := k.slopes()
	hx, hy := k.vector("gax", 0), k.vector("gay", 0)
	dot := func(ax, ay value) value { return k.fma(hx, ax, k.mul(hy, ay)) }
	a := dot(o.a.re, o.a.im)
	k.accumulate("acc", 0, a)
	k.accumulate("acc", 32, k.mul(a, k.vector("b", rLG)))
	k.accumulate("acc", 64, dot(o.t.re, o.t.im))
	k.accumulate("acc", 96, dot(k.add(o.ae.re, o.ab.re), k.add(o.ae.im, o.ab.im)))
	k.accumulate("acc", 128, k.fms(hy, k.sub(o.ae.re, o.ab.re), k.mul(hx, k.sub(o.ae.im, o.ab.im))))
	zx := k.fma(k.add(o.kappa, o.g.re), hx, k.mul(o.g.im, hy))
	zy := k.fma(k.sub(o.kappa, o.g.re), hy, k.mul(o.g.im, hx))
	k.accumulate("acc", 160, zx)
	k.accumulate("acc", 192, zy)
	k.store("zx", 0, zx)
	k.store("zy", 0, zy)
	return k
}

// slopesKernel is PowerLaw.slopesGo.
func slopesKernel(c *constants) *kernel {
	k := newKernel(c, "slopesVec", "// func slopesVec(k *PowerLaw, b *Rays, s *Slopes, n int)", "k", "b", "s", "n")
	o := k.slopes()
	for i, v := range []value{o.a.re, o.a.im, o.kappa, o.g.re, o.g.im, o.t.re, o.t.im, o.ae.re, o.ae.im, o.ab.re, o.ab.im} {
		k.store("s", block*i, v)
	}
	return k
}

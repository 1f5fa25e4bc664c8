package main

import "fmt"

// Byte offsets in kern.Light.
const (
	lE1 = 8 * iota
	lE2
	lCX
	lCY
	lNorm
	lP
)

// curve is a brightness at R² = r2, with its derivatives by R² and by the curve's own parameters; forward kernels leave
// out what they do not use.
type curve struct {
	i, dr2 value
	dp     []value
}

// lightKernels are the three kernels of a curve: brightness, adjoint and slopes.
func lightKernels(c *constants, name string, f func(k *kernel, r2 value) curve) []*kernel {
	var all []*kernel
	for _, what := range []string{"", "VJP", "Slopes"} {
		fn := name + what + "Vec"
		var k *kernel
		switch what {
		case "":
			k = newKernel(c, fn, fmt.Sprintf("// func %s(k *Light, dst, x, y *float64, n int)", fn), "k", "dst", "x", "y", "n")
		case "VJP":
			k = newKernel(c, fn, fmt.Sprintf("// func %s(k *Light, acc *[10][4]float64, zx, zy, gdst, x, y *float64, n int)", fn),
				"k", "acc", "zx", "zy", "gdst", "x", "y", "n")
		case "Slopes":
			k = newKernel(c, fn, fmt.Sprintf("// func %s(k *Light, s *LightSlopes, x, y *float64, n int)", fn), "k", "s", "x", "y", "n")
		}
		e1, e2 := k.field("k", lE1), k.field("k", lE2)
		dx, dy := k.sub(k.vector("x", 0), k.field("k", lCX)), k.sub(k.vector("y", 0), k.field("k", lCY))
		ux := k.sub(dx, k.fma(e1, dx, k.mul(e2, dy)))
		uy := k.sub(dy, k.fms(e2, dx, k.mul(e1, dy)))
		norm := k.field("k", lNorm)
		r2 := k.mul(norm, k.fma(ux, ux, k.mul(uy, uy)))
		o := f(k, r2)
		if what == "" {
			k.store("dst", 0, k.add(o.i, k.vector("dst", 0)))
			all = append(all, k)
			continue
		}
		s := k.mul(o.dr2, k.add(norm, norm))
		re1 := k.mul(s, k.sub(k.mul(e1, r2), k.fms(ux, dx, k.mul(uy, dy))))
		re2 := k.mul(s, k.sub(k.mul(e2, r2), k.fma(ux, dy, k.mul(uy, dx))))
		rx := k.mul(s, k.sub(ux, k.fma(e1, ux, k.mul(e2, uy))))
		ry := k.mul(s, k.sub(uy, k.fms(e2, ux, k.mul(e1, uy))))
		out := append(append([]value{}, o.dp...), re1, re2, rx, ry)
		if what == "Slopes" {
			for i, v := range out {
				k.store("s", block*i, v)
			}
		} else {
			g := k.vector("gdst", 0)
			for i, v := range out {
				gv := k.mul(g, v)
				k.accumulate("acc", 32*i, gv)
				switch i - len(o.dp) {
				case 2:
					k.store("zx", 0, gv)
				case 3:
					k.store("zy", 0, gv)
				}
			}
		}
		all = append(all, k)
	}
	return all
}

// lp is number i of the curve.
func (k *kernel) lp(i int) value { return k.field("k", lP+8*i) }

// where keeps v where the mask is set and is zero elsewhere.
func (k *kernel) where(mask, v value) value { return k.and(mask, v) }

// sersicCurve is physics' sersic.
func sersicCurve(k *kernel, r2 value) (o curve) {
	amp, b, db := k.lp(0), k.lp(1), k.lp(2)
	floor := k.lp(6)
	rc := k.max(r2, floor)
	x := k.mul(rc, k.lp(3))
	l := k.log(x)
	q := k.mul(l, k.lp(4)) // ln g
	g := k.exp(k.min(q, k.number(300)))
	bg := k.mul(b, g)
	y := k.sub(b, bg)
	keep := k.and(k.atMost(k.number(-700), y), k.atMost(x, k.number(1e6)))
	e := k.where(keep, k.exp(y))
	o.i = k.mul(amp, e)
	ibg := k.mul(o.i, bg)
	rate := k.lp(4)
	// ∂I/∂n = I (b g ln g/n - b'(g-1)), 1/n = 2·1/(2n)
	dn := k.sub(k.mul(k.mul(ibg, q), k.add(rate, rate)), k.mul(k.mul(o.i, db), k.sub(g, k.number(1))))
	o.dp = []value{e, k.mul(ibg, k.lp(5)), dn}
	// ∂I/∂R² = -I b g/(2n R²), and 0 inside the flat part
	d := k.div(k.mul(ibg, rate), rc)
	o.dr2 = k.where(k.atMost(floor, r2), k.sub(k.number(0), d))
	return o
}

// coreSersicCurve is physics' coreSersic.
func coreSersicCurve(k *kernel, r2 value) (o curve) {
	amp, b, db := k.lp(0), k.lp(1), k.lp(2)
	floor, alpha, gamma := k.lp(6), k.lp(8), k.lp(9)
	one := k.number(1)
	rc := k.max(r2, floor)
	lx := k.mul(k.number(0.5), k.log(k.mul(rc, k.lp(3)))) // ln(R/r_s)
	// d = α ln(R_b/R), w = e^-|d|; m = ln(1 + (R_b/R)^α)
	lbr := k.fnma(one, k.add(lx, k.lp(7)), k.number(0)) // ln(R_b/R)
	d := k.mul(alpha, lbr)
	pos := k.max(d, k.number(0))
	w := k.exp(k.sub(d, k.add(pos, pos)))
	w1 := k.add(one, w)
	m := k.add(pos, k.log(w1))
	big := k.div(one, w1) // the larger weight
	small := k.mul(w, big)
	dpos := k.atMost(k.number(0), d)
	wb := k.or(k.and(dpos, big), k.andNot(dpos, small))
	wr := k.or(k.and(dpos, small), k.andNot(dpos, big))

	in := k.lp(4)
	ma := k.div(m, alpha)
	lg := k.mul(in, k.add(lx, ma))
	g := k.exp(k.min(lg, k.number(300)))
	bg := k.mul(b, g)
	y := k.fma(gamma, ma, k.sub(b, bg))
	e := k.where(k.atMost(k.number(-700), y), k.exp(y))
	o.i = k.mul(amp, e)
	dn := k.sub(k.mul(k.mul(bg, lg), in), k.mul(db, k.sub(g, one)))
	bgn := k.mul(bg, in)
	gb := k.sub(gamma, bgn)
	dma := k.div(k.fms(wb, lbr, ma), alpha) // ∂(m/α)/∂α
	o.dp = []value{e, k.mul(o.i, k.mul(bg, k.lp(5))), k.mul(o.i, dn), k.mul(o.i, k.mul(k.mul(gb, wb), k.lp(10))), k.mul(o.i, ma),
		k.mul(o.i, k.mul(gb, dma))}
	s := k.fma(gamma, wb, k.mul(bgn, wr))
	t := k.div(k.mul(k.mul(k.number(-0.5), o.i), s), rc)
	o.dr2 = k.where(k.atMost(floor, r2), t)
	return o
}

// gaussianCurve is physics' gaussian.
func gaussianCurve(k *kernel, r2 value) (o curve) {
	rate := k.lp(2)
	v := k.mul(rate, r2)
	e := k.where(k.atMost(k.number(-700), v), k.exp(v))
	o.i = k.mul(k.lp(0), e)
	// ∂I/∂σ = I (R²/σ² - 2)/σ
	two := k.number(2)
	o.dp = []value{k.mul(k.lp(1), e), k.mul(k.mul(o.i, k.lp(3)), k.fnma(two, v, k.sub(k.number(0), two)))}
	o.dr2 = k.mul(o.i, rate)
	return o
}

package physics

// catmullRom writes the weights of the taps at -1, 0, 1, 2 for a position t in [0, 1) (Keys 1981, eq. 4, a = -1/2).
func catmullRom(w *[4]float64, t float64) {
	t2 := t * t
	t3 := t2 * t
	w[0] = -0.5*t3 + t2 - 0.5*t
	w[1] = 1.5*t3 - 2.5*t2 + 1
	w[2] = -1.5*t3 + 2*t2 + 0.5*t
	w[3] = 0.5*t3 - 0.5*t2
}

// catmullRomSlope writes the derivatives of the weights by t.
func catmullRomSlope(w *[4]float64, t float64) {
	t2 := t * t
	w[0] = -1.5*t2 + 2*t - 0.5
	w[1] = 4.5*t2 - 5*t
	w[2] = -4.5*t2 + 4*t + 0.5
	w[3] = 1.5*t2 - t
}

func bicubicValue(dst, img []float64, stride int, t *taps, scale float64) {
	var a, b [4]float64
	dst = dst[:t.n]
	for i := range dst {
		catmullRom(&a, t.tx[i])
		catmullRom(&b, t.ty[i])
		k := int(t.base[i]) - stride - 1
		v := 0.0
		for m := range b {
			r := img[k : k+4 : k+4]
			v += b[m] * (a[0]*r[0] + a[1]*r[1] + a[2]*r[2] + a[3]*r[3])
			k += stride
		}
		dst[i] += scale * v
	}
}

func bicubicSlopes(v, dx, dy, img []float64, stride int, t *taps) {
	var a, b, d, e [4]float64
	v, dx, dy = v[:t.n], dx[:t.n], dy[:t.n]
	for i := range v {
		catmullRom(&a, t.tx[i])
		catmullRom(&b, t.ty[i])
		catmullRomSlope(&d, t.tx[i])
		catmullRomSlope(&e, t.ty[i])
		k := int(t.base[i]) - stride - 1
		var s, sx, sy float64
		for m := range b {
			r := img[k : k+4 : k+4]
			row := a[0]*r[0] + a[1]*r[1] + a[2]*r[2] + a[3]*r[3]
			s += b[m] * row
			sy += e[m] * row
			sx += b[m] * (d[0]*r[0] + d[1]*r[1] + d[2]*r[2] + d[3]*r[3])
			k += stride
		}
		v[i], dx[i], dy[i] = s, sx, sy
	}
}

func bicubicScatter(gimg []float64, stride int, t *taps, g []float64, scale float64) {
	var a, b [4]float64
	g = g[:t.n]
	for i := range g {
		catmullRom(&a, t.tx[i])
		catmullRom(&b, t.ty[i])
		k := int(t.base[i]) - stride - 1
		h := scale * g[i]
		for m := range b {
			r := gimg[k : k+4 : k+4]
			w := h * b[m]
			r[0] += w * a[0]
			r[1] += w * a[1]
			r[2] += w * a[2]
			r[3] += w * a[3]
			k += stride
		}
	}
}

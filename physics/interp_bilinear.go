package physics

func bilinearValue(dst, img []float64, stride int, t *taps, scale float64) {
	dst = dst[:t.n]
	for i := range dst {
		base, tx, ty := int(t.base[i]), t.tx[i], t.ty[i]
		lo := img[base : base+2 : base+2]
		hi := img[base+stride : base+stride+2 : base+stride+2]
		a := lo[0] + tx*(lo[1]-lo[0])
		b := hi[0] + tx*(hi[1]-hi[0])
		dst[i] += scale * (a + ty*(b-a))
	}
}

func bilinearSlopes(v, dx, dy, img []float64, stride int, t *taps) {
	v, dx, dy = v[:t.n], dx[:t.n], dy[:t.n]
	for i := range v {
		base, tx, ty := int(t.base[i]), t.tx[i], t.ty[i]
		lo := img[base : base+2 : base+2]
		hi := img[base+stride : base+stride+2 : base+stride+2]
		da, db := lo[1]-lo[0], hi[1]-hi[0]
		a, b := lo[0]+tx*da, hi[0]+tx*db
		v[i] = a + ty*(b-a)
		dx[i] = da + ty*(db-da)
		dy[i] = b - a
	}
}

func bilinearScatter(gimg []float64, stride int, t *taps, g []float64, scale float64) {
	g = g[:t.n]
	for i := range g {
		base, tx := int(t.base[i]), t.tx[i]
		lo := gimg[base : base+2 : base+2]
		hi := gimg[base+stride : base+stride+2 : base+stride+2]
		gl := scale * g[i]
		gh := gl * t.ty[i]
		gl -= gh
		al, ah := gl*tx, gh*tx
		lo[0] += gl - al
		lo[1] += al
		hi[0] += gh - ah
		hi[1] += ah
	}
}

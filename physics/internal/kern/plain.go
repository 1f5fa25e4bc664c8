package kern

// Shear holds γ1 and γ2 of an external shear about the origin.
type Shear struct{ G1, G2 float64 }

func (k *Shear) deflectGo(ax, ay, x, y []float64) {
	ax, ay, y = ax[:len(x)], ay[:len(x)], y[:len(x)]
	for i := range x {
		ax[i] += k.G1*x[i] + k.G2*y[i]
		ay[i] += k.G2*x[i] - k.G1*y[i]
	}
}

func shearVJPGo(gax, gay, x, y []float64) (g1, g2 float64) {
	gax, gay, y = gax[:len(x)], gay[:len(x)], y[:len(x)]
	for i := range x {
		hx, hy := gax[i], gay[i]
		g1 += hx*x[i] - hy*y[i]
		g2 += hx*y[i] + hy*x[i]
	}
	return g1, g2
}

func raysGo(bx, by, x, y, ax, ay []float64) {
	by, x, y, ax, ay = by[:len(bx)], x[:len(bx)], y[:len(bx)], ax[:len(bx)], ay[:len(bx)]
	for i := range bx {
		bx[i], by[i] = x[i]-ax[i], y[i]-ay[i]
	}
}

func residualGo(gmodel, model, data, weight []float64) (chi2 float64) {
	data, weight = data[:len(model)], weight[:len(model)]
	if gmodel == nil {
		for i, m := range model {
			r := (data[i] - m) * weight[i]
			chi2 += r * r
		}
		return chi2
	}
	gmodel = gmodel[:len(model)]
	for i, m := range model {
		r := (data[i] - m) * weight[i]
		chi2 += r * r
		gmodel[i] = r * weight[i]
	}
	return chi2
}

func productGo(dst, a, b []float64) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

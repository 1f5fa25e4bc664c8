//go:build !noasm

package kern

//go:noescape
func shearVec(k *Shear, ax, ay, x, y *float64, n int)

//go:noescape
func shearVJPVec(acc *[2][4]float64, gax, gay, x, y *float64, n int)

//go:noescape
func raysVec(bx, by, x, y, ax, ay *float64, n int)

//go:noescape
func chi2Vec(acc *[4]float64, model, data, weight *float64, n int)

//go:noescape
func residualVec(acc *[4]float64, gmodel, model, data, weight *float64, n int)

//go:noescape
func productVec(dst, a, b *float64, n int)

// wholeVectors splits n into what the assembly takes and what is left for Go.
func wholeVectors(n int) int {
	if !Accelerated() {
		return 0
	}
	return n &^ 3
}

// Deflect adds the shear's deflection of the rays x, y to ax, ay.
func (k *Shear) Deflect(ax, ay, x, y []float64) {
	n := len(x)
	ax, ay, y = ax[:n], ay[:n], y[:n]
	m := wholeVectors(n)
	if m > 0 {
		shearVec(k, &ax[0], &ay[0], &x[0], &y[0], m)
	}
	k.deflectGo(ax[m:], ay[m:], x[m:], y[m:])
}

// ShearVJP returns the gradient by γ1 and γ2, summed over the rays.
func ShearVJP(gax, gay, x, y []float64) (g1, g2 float64) {
	n := len(x)
	gax, gay, y = gax[:n], gay[:n], y[:n]
	m := wholeVectors(n)
	g1, g2 = shearVJPGo(gax[m:], gay[m:], x[m:], y[m:])
	if m > 0 {
		var acc [2][4]float64
		shearVJPVec(&acc, &gax[0], &gay[0], &x[0], &y[0], m)
		g1 += (acc[0][0] + acc[0][1]) + (acc[0][2] + acc[0][3])
		g2 += (acc[1][0] + acc[1][1]) + (acc[1][2] + acc[1][3])
	}
	return g1, g2
}

// SourcePlane writes x - ax to bx and y - ay to by.
func SourcePlane(bx, by, x, y, ax, ay []float64) {
	n := len(bx)
	by, x, y, ax, ay = by[:n], x[:n], y[:n], ax[:n], ay[:n]
	m := wholeVectors(n)
	if m > 0 {
		raysVec(&bx[0], &by[0], &x[0], &y[0], &ax[0], &ay[0], m)
	}
	raysGo(bx[m:], by[m:], x[m:], y[m:], ax[m:], ay[m:])
}

// Residual returns Σ r² with r = (data - model) weight, and writes r weight to gmodel unless that is nil.
func Residual(gmodel, model, data, weight []float64) float64 {
	n := len(model)
	data, weight = data[:n], weight[:n]
	m := wholeVectors(n)
	var acc [4]float64
	var chi2 float64
	if gmodel == nil {
		chi2 = residualGo(nil, model[m:], data[m:], weight[m:])
		if m > 0 {
			chi2Vec(&acc, &model[0], &data[0], &weight[0], m)
		}
	} else {
		gmodel = gmodel[:n]
		chi2 = residualGo(gmodel[m:], model[m:], data[m:], weight[m:])
		if m > 0 {
			residualVec(&acc, &gmodel[0], &model[0], &data[0], &weight[0], m)
		}
	}
	return chi2 + ((acc[0] + acc[1]) + (acc[2] + acc[3]))
}

// Product writes a·b, element by element, to dst.
func Product(dst, a, b []float64) {
	n := len(dst)
	a, b = a[:n], b[:n]
	m := wholeVectors(n)
	if m > 0 {
		productVec(&dst[0], &a[0], &b[0], m)
	}
	productGo(dst[m:], a[m:], b[m:])
}

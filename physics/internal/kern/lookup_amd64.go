//go:build !noasm

package kern

//go:noescape
func locateVec(k *Frame, t *Taps, x, y *float64, n int)

//go:noescape
func chainVec(k *Frame, acc *[4][4]float64, s *Slope, gv, x, y, gx, gy *float64, n int)

//go:noescape
func bilinearValueVec(t *Taps, img *float64, stride int, dst *float64, scale float64, n int)

//go:noescape
func bilinearSlopesVec(t *Taps, img *float64, stride int, s *Slope, n int)

//go:noescape
func bilinearScatterVec(t *Taps, img *float64, stride int, gv *float64, scale float64, n int)

//go:noescape
func weightsVec(w *Weights, t *Taps, n int)

//go:noescape
func bicubicValueVec(t *Taps, img *float64, stride int, w *Weights, dst *float64, scale float64, n int)

//go:noescape
func bicubicSlopesVec(t *Taps, img *float64, stride int, w *Weights, s *Slope, n int)

//go:noescape
func bicubicScatterVec(t *Taps, img *float64, stride int, w *Weights, gv *float64, scale float64, n int)

// quads is how many rays the lookups take for n: whole groups of 4.
func quads(n int) int { return (n + 3) &^ 3 }

// fourth copies v to whole groups of 4 and fills the last one with zeros.
func fourth(dst *[Block]float64, v []float64) *float64 {
	n := copy(dst[:], v)
	for i := n; i < quads(n); i++ {
		dst[i] = 0
	}
	return &dst[0]
}

// Locate fills t for at most Block rays x, y.
func (k *Frame) Locate(t *Taps, x, y []float64) {
	n := len(x)
	if n == 0 {
		return
	}
	if !Accelerated() {
		k.locateGo(t, x, y)
		return
	}
	y = y[:n]
	if n%4 == 0 {
		locateVec(k, t, &x[0], &y[0], n)
		return
	}
	var px, py [Block]float64
	locateVec(k, t, fourth(&px, x), fourth(&py, y), quads(n))
}

// Chain takes the slopes of at most Block rays x, y and their adjoints g to sum, adding Σ g v, Σ g ∂v/∂x·(x-X) + …, and
// the gradients by x and y, the last three with GX and GY, and adds the gradients by position to gx, gy (both may be nil).
func (k *Frame) Chain(sum *[4]float64, s *Slope, g, x, y, gx, gy []float64) {
	n := len(g)
	if n == 0 {
		return
	}
	if !Accelerated() {
		k.chainGo(sum, s, g, x, y, gx, gy)
		return
	}
	var acc [4][4]float64
	x, y = x[:n], y[:n]
	if gx != nil && n%4 == 0 {
		gx, gy = gx[:n], gy[:n]
		chainVec(k, &acc, s, &g[0], &x[0], &y[0], &gx[0], &gy[0], n)
	} else {
		var pg, px, py, hx, hy [Block]float64
		if gx != nil {
			copy(hx[:], gx[:n])
			copy(hy[:], gy[:n])
		}
		for i := n; i < quads(n); i++ {
			s[0][i], s[1][i], s[2][i] = 0, 0, 0
		}
		chainVec(k, &acc, s, fourth(&pg, g), fourth(&px, x), fourth(&py, y), &hx[0], &hy[0], quads(n))
		if gx != nil {
			copy(gx[:n], hx[:])
			copy(gy[:n], hy[:])
		}
	}
	for i := range sum {
		sum[i] += (acc[i][0] + acc[i][1]) + (acc[i][2] + acc[i][3])
	}
}

// The taps of t beyond its rays, up to a whole group of 4, are read by the lookups: Locate fills them.

// BilinearValue adds scale times the interpolated values to dst, of at most Block rays.
func BilinearValue(dst, img []float64, stride int, t *Taps, scale float64) {
	n := len(dst)
	switch {
	case n == 0:
	case !Accelerated():
		bilinearValueGo(dst, img, stride, t, scale)
	case n%4 == 0:
		bilinearValueVec(t, &img[0], stride, &dst[0], scale, n)
	default:
		var p [Block]float64
		bilinearValueVec(t, &img[0], stride, fourth(&p, dst), scale, quads(n))
		copy(dst, p[:])
	}
}

// BilinearSlopes fills s for the n rays of t.
func BilinearSlopes(s *Slope, img []float64, stride int, t *Taps, n int) {
	if !Accelerated() {
		bilinearSlopesGo(s, img, stride, t, n)
		return
	}
	bilinearSlopesVec(t, &img[0], stride, s, quads(n))
}

// BilinearScatter adds scale·g times each tap's weight to the taps: the adjoint of BilinearValue.
func BilinearScatter(gimg []float64, stride int, t *Taps, g []float64, scale float64) {
	n := len(g)
	switch {
	case n == 0:
	case !Accelerated():
		bilinearScatterGo(gimg, stride, t, g, scale)
	case n%4 == 0:
		bilinearScatterVec(t, &gimg[0], stride, &g[0], scale, n)
	default:
		var p [Block]float64
		bilinearScatterVec(t, &gimg[0], stride, fourth(&p, g), scale, quads(n))
	}
}

// Fill computes the weights of Catmull-Rom's cubic convolution for the n rays of t, as BicubicValue and its companions
// need them.
func (w *Weights) Fill(t *Taps, n int) {
	if !Accelerated() {
		w.fillGo(t, n)
		return
	}
	weightsVec(w, t, quads(n))
}

// BicubicValue adds scale times the interpolated values to dst, of at most Block rays.
func BicubicValue(dst, img []float64, stride int, t *Taps, w *Weights, scale float64) {
	n := len(dst)
	switch {
	case n == 0:
	case !Accelerated():
		bicubicValueGo(dst, img, stride, t, w, scale)
	case n%4 == 0:
		bicubicValueVec(t, &img[0], stride, w, &dst[0], scale, n)
	default:
		var p [Block]float64
		bicubicValueVec(t, &img[0], stride, w, fourth(&p, dst), scale, quads(n))
		copy(dst, p[:])
	}
}

// BicubicSlopes fills s for the n rays of t.
func BicubicSlopes(s *Slope, img []float64, stride int, t *Taps, w *Weights, n int) {
	if !Accelerated() {
		bicubicSlopesGo(s, img, stride, t, w, n)
		return
	}
	bicubicSlopesVec(t, &img[0], stride, w, s, quads(n))
}

// BicubicScatter adds scale·g times each tap's weight to the taps: the adjoint of BicubicValue.
func BicubicScatter(gimg []float64, stride int, t *Taps, w *Weights, g []float64, scale float64) {
	n := len(g)
	switch {
	case n == 0:
	case !Accelerated():
		bicubicScatterGo(gimg, stride, t, w, g, scale)
	case n%4 == 0:
		bicubicScatterVec(t, &gimg[0], stride, w, &g[0], scale, n)
	default:
		var p [Block]float64
		bicubicScatterVec(t, &gimg[0], stride, w, fourth(&p, g), scale, quads(n))
	}
}

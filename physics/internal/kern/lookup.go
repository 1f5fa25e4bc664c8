package kern

// Frame maps positions to cells of an image with rings of zeros around it: the position in pixels is
// (x - X) CX + OX along x, and it sees the image where 0 <= position < EndX. A cell is the index of the pixel at its lower
// left, Corner for positions in [0, 1)², Stride more for each row. The order of the fields is the layout the assembly
// reads.
type Frame struct {
	X, Y, CX, CY   float64
	OX, OY         float64
	EndX, EndY     float64
	Stride, Corner float64 // whole numbers
	GX, GY         float64 // of Chain: CX and CY times the image's factor
}

// Taps holds, for up to Block rays, the cell in which each falls and the position (tx, ty) in [0, 1)² within it. A ray
// that cannot see the image, or whose position is not a number, has the cell Corner and the position 0. The order of the
// fields is the layout the assembly reads.
type Taps struct {
	Base   [Block]int32
	TX, TY [Block]float64
}

// Slope holds, for up to Block rays, an interpolated value and its derivatives by x and y, in pixels.
type Slope [3][Block]float64

// Weights holds, for up to Block rays, the weights of four taps along x, their derivatives, and the same along y.
type Weights [16][Block]float64

func (k *Frame) locateGo(t *Taps, x, y []float64) {
	y = y[:len(x)]
	for i, xi := range x {
		j := i & (Block - 1)
		px, py := (xi-k.X)*k.CX+k.OX, (y[i]-k.Y)*k.CY+k.OY
		if !(px >= 0 && py >= 0 && px < k.EndX && py < k.EndY) { // true for NaN
			px, py = 0, 0
		}
		ix, iy := int(px), int(py)
		t.Base[j] = int32(iy*int(k.Stride) + ix + int(k.Corner))
		t.TX[j], t.TY[j] = px-float64(ix), py-float64(iy)
	}
}

func (k *Frame) chainGo(sum *[4]float64, s *Slope, g, x, y, gx, gy []float64) {
	x, y = x[:len(g)], y[:len(g)]
	for i, gv := range g {
		j := i & (Block - 1)
		hx, hy := gv*k.GX*s[1][j], gv*k.GY*s[2][j]
		sum[0] += gv * s[0][j]
		sum[1] += hx*(x[i]-k.X) + hy*(y[i]-k.Y)
		sum[2] += hx
		sum[3] += hy
		if gx != nil {
			gx[i] += hx
			gy[i] += hy
		}
	}
}

func bilinearValueGo(dst, img []float64, stride int, t *Taps, scale float64) {
	for i := range dst {
		j := i & (Block - 1)
		base, tx, ty := int(t.Base[j]), t.TX[j], t.TY[j]
		lo := img[base : base+2 : base+2]
		hi := img[base+stride : base+stride+2 : base+stride+2]
		a := lo[0] + tx*(lo[1]-lo[0])
		b := hi[0] + tx*(hi[1]-hi[0])
		dst[i] += scale * (a + ty*(b-a))
	}
}

func bilinearSlopesGo(s *Slope, img []float64, stride int, t *Taps, n int) {
	for j := range n {
		j &= Block - 1
		base, tx, ty := int(t.Base[j]), t.TX[j], t.TY[j]
		lo := img[base : base+2 : base+2]
		hi := img[base+stride : base+stride+2 : base+stride+2]
		da, db := lo[1]-lo[0], hi[1]-hi[0]
		a, b := lo[0]+tx*da, hi[0]+tx*db
		s[0][j] = a + ty*(b-a)
		s[1][j] = da + ty*(db-da)
		s[2][j] = b - a
	}
}

func bilinearScatterGo(gimg []float64, stride int, t *Taps, g []float64, scale float64) {
	for i, gv := range g {
		j := i & (Block - 1)
		base, tx := int(t.Base[j]), t.TX[j]
		lo := gimg[base : base+2 : base+2]
		hi := gimg[base+stride : base+stride+2 : base+stride+2]
		gl := scale * gv
		gh := gl * t.TY[j]
		gl -= gh
		al, ah := gl*tx, gh*tx
		lo[0] += gl - al
		lo[1] += al
		hi[0] += gh - ah
		hi[1] += ah
	}
}

// fillGo computes Catmull-Rom's weights of the taps at -1, 0, 1, 2 (Keys 1981, eq. 4, a = -1/2) and their derivatives.
func (w *Weights) fillGo(t *Taps, n int) {
	for j := range n {
		j &= Block - 1
		for axis, t := range [2]float64{t.TX[j], t.TY[j]} {
			t2 := t * t
			k := 8 * axis
			w[k][j] = t * ((-0.5*t+1)*t - 0.5)
			w[k+1][j] = (1.5*t-2.5)*t2 + 1
			w[k+2][j] = t * ((2-1.5*t)*t + 0.5)
			w[k+3][j] = t2 * (0.5*t - 0.5)
			w[k+4][j] = (2-1.5*t)*t - 0.5
			w[k+5][j] = t * (4.5*t - 5)
			w[k+6][j] = (4-4.5*t)*t + 0.5
			w[k+7][j] = t * (1.5*t - 1)
		}
	}
}

func bicubicValueGo(dst, img []float64, stride int, t *Taps, w *Weights, scale float64) {
	for i := range dst {
		j := i & (Block - 1)
		k := int(t.Base[j]) - stride - 1
		a0, a1, a2, a3 := w[0][j], w[1][j], w[2][j], w[3][j]
		v := 0.0
		for m := range 4 {
			r := img[k : k+4 : k+4]
			v += w[8+m][j] * (a0*r[0] + a1*r[1] + a2*r[2] + a3*r[3])
			k += stride
		}
		dst[i] += scale * v
	}
}

func bicubicSlopesGo(s *Slope, img []float64, stride int, t *Taps, w *Weights, n int) {
	for j := range n {
		j &= Block - 1
		k := int(t.Base[j]) - stride - 1
		a0, a1, a2, a3 := w[0][j], w[1][j], w[2][j], w[3][j]
		d0, d1, d2, d3 := w[4][j], w[5][j], w[6][j], w[7][j]
		var v, dx, dy float64
		for m := range 4 {
			r := img[k : k+4 : k+4]
			row := a0*r[0] + a1*r[1] + a2*r[2] + a3*r[3]
			v += w[8+m][j] * row
			dy += w[12+m][j] * row
			dx += w[8+m][j] * (d0*r[0] + d1*r[1] + d2*r[2] + d3*r[3])
			k += stride
		}
		s[0][j], s[1][j], s[2][j] = v, dx, dy
	}
}

func bicubicScatterGo(gimg []float64, stride int, t *Taps, w *Weights, g []float64, scale float64) {
	for i, gv := range g {
		j := i & (Block - 1)
		k := int(t.Base[j]) - stride - 1
		a0, a1, a2, a3 := w[0][j], w[1][j], w[2][j], w[3][j]
		h := scale * gv
		for m := range 4 {
			r := gimg[k : k+4 : k+4]
			v := h * w[8+m][j]
			r[0] += v * a0
			r[1] += v * a1
			r[2] += v * a2
			r[3] += v * a3
			k += stride
		}
	}
}

//go:build !noasm

package kern

//go:noescape
func down4Vec(dst *float64, pitch int, src *float64, stride int, taps *float64, nt, n int)

//go:noescape
func down1Vec(dst *float64, pitch int, src *float64, stride int, taps *float64, nt, n int)

//go:noescape
func acrossVec(dst, src, taps *float64, nt, n, add int)

//go:noescape
func dotsVec(sum *[3][4]float64, a, b *float64, stride, n int)

// MixDown convolves columns: it writes rows of n numbers, the first of each `pitch` after that of the one before, from rows
// of src, which begin `stride` apart:
//
//	dst(r pitch + i) = Σ_t taps(t) src((r+t) stride + i).
func MixDown(dst []float64, pitch, rows, n int, src []float64, stride int, taps []float64) {
	nt := len(taps)
	if !Accelerated() || nt == 0 || rows == 0 || n == 0 {
		mixDownGo(dst, pitch, rows, n, src, stride, taps)
		return
	}
	_, _ = dst[(rows-1)*pitch+n-1], src[(rows+nt-2)*stride+n-1]
	r := 0
	if nt >= DownRows {
		for ; r+DownRows <= rows; r += DownRows {
			down4Vec(&dst[r*pitch], pitch, &src[r*stride], stride, &taps[0], nt, n)
		}
	}
	for ; r < rows; r++ {
		down1Vec(&dst[r*pitch], pitch, &src[r*stride], stride, &taps[0], nt, n)
	}
}

// MixAcross convolves a row: it writes to dst, or adds to it,
//
//	dst(i) = Σ_t taps(t) src(t + i).
func MixAcross(dst, src, taps []float64, add bool) {
	if !Accelerated() || len(taps) == 0 || len(dst) == 0 {
		mixAcrossGo(dst, src, taps, add)
		return
	}
	_ = src[len(taps)+len(dst)-2]
	how := 0
	if add {
		how = 1
	}
	acrossVec(&dst[0], &src[0], &taps[0], len(taps), len(dst), how)
}

// Dots adds to sum(r, c) the scalar product of row r of a and row c of b, n elements of each; rows begin `stride` apart. n
// is a multiple of 4.
func Dots(sum *[3][4]float64, a, b []float64, stride, n int) {
	if n%4 != 0 {
		panic("kern: Dots: rows of another length")
	}
	if !Accelerated() {
		dotsGo(sum, a, b, stride, n)
		return
	}
	if n == 0 {
		return
	}
	_, _ = a[2*stride+n-1], b[3*stride+n-1]
	dotsVec(sum, &a[0], &b[0], stride, n)
}

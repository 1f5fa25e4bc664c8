//go:build !noasm

package kern

//go:noescape
func mixVec(dst, src *float64, stride int, taps *float64, nt, n, add int)

//go:noescape
func dotsVec(sum *[3][4]float64, a, b *float64, stride, n int)

// Mix writes to dst, or adds to it, the sum of len(taps) stretches of src, each as long as dst and `stride` after the
// one before:
//
//	dst(i) = Σ_t taps(t) src(t stride + i).
//
// A convolution is Mix with rows as stretches, or with stretches that begin one element apart.
func Mix(dst, src []float64, stride int, taps []float64, add bool) {
	if !Accelerated() {
		mixGo(dst, src, stride, taps, add)
		return
	}
	if len(dst) == 0 {
		return
	}
	if len(taps) == 0 {
		if !add {
			clear(dst)
		}
		return
	}
	_ = src[(len(taps)-1)*stride+len(dst)-1]
	how := 0
	if add {
		how = 1
	}
	mixVec(&dst[0], &src[0], stride, &taps[0], len(taps), len(dst), how)
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

//go:build !noasm

package kern

//go:noescape
func gemmVec(c *float64, stride int, a, b *float64, k int, alpha, beta float64)

//go:noescape
func solveVec(x, l *float64)

//go:noescape
func transposeVec(dst *float64, pitch int, src *float64, stride, m, n int)

// Gemm makes a tile of a product of matrices: C = alpha AB + beta C. a holds the k columns of A one after the other, TileRows
// elements each, and b the k rows of B, TileCols elements each. The rows of c begin `stride` apart. Where beta is zero C is
// not read.
func Gemm(c []float64, stride int, a, b []float64, alpha, beta float64) {
	k := len(a) / TileRows
	_ = c[(TileRows-1)*stride+TileCols-1]
	if !Accelerated() || k == 0 {
		gemmGo(c, stride, a, b, alpha, beta)
		return
	}
	_ = b[k*TileCols-1]
	gemmVec(&c[0], stride, &a[0], &b[0], k, alpha, beta)
}

// Solve replaces the tile x, TileRows rows of TileCols elements one after the other, by L⁻¹X. l holds the columns of the lower
// triangular matrix L, TileRows elements each, with the inverse of its diagonal in the diagonal's place.
func Solve(x, l []float64) {
	if !Accelerated() {
		solveGo(x, l)
		return
	}
	_, _ = x[TileRows*TileCols-1], l[TileRows*TileRows-1]
	solveVec(&x[0], &l[0])
}

// Transpose writes the m rows of n elements in src to the columns of dst. The first begins at `from` in src and the next ones
// `stride` apart; the rows of dst begin at `to`, and `pitch` apart. Rows may go backwards.
func Transpose(dst []float64, to, pitch int, src []float64, from, stride, m, n int) {
	squares, across := wholeVectors(m), wholeVectors(n)
	if squares == 0 || across == 0 {
		transposeGo(dst, to, pitch, src, from, stride, m, n)
		return
	}
	_, _ = dst[to+squares-1], src[from+across-1]
	_, _ = dst[to+(across-1)*pitch+squares-1], src[from+(squares-1)*stride+across-1]
	transposeVec(&dst[to], pitch, &src[from], stride, squares, across)
	transposeGo(dst, to+across*pitch, pitch, src, from+across, stride, squares, n-across)
	transposeGo(dst, to+squares, pitch, src, from+squares*stride, stride, m-squares, n)
}

//go:build !amd64 || noasm

package kern

// Accelerated tells whether assembly takes the place of the Go loops.
func Accelerated() bool { return false }

// Prepare fills b for at most Block rays x, y; withT says whether ∂H/∂t is wanted, as VJP and Slopes need it.
func (k *PowerLaw) Prepare(b *Rays, x, y []float64, withT bool) { k.prepareAllGo(b, x, y, withT) }

// Deflect adds α of the rays in b to ax, ay.
func (k *PowerLaw) Deflect(b *Rays, ax, ay []float64) { k.deflectGo(b, ax, ay) }

// VJP adds to sum what the rays in b and gax, gay give and writes their gradients by position to zx, zy.
func (k *PowerLaw) VJP(sum *Sums, b *Rays, zx, zy, gax, gay []float64) {
	k.vjpGo(sum, b, zx, zy, gax, gay)
}

// Slopes fills s for the first n rays of b.
func (k *PowerLaw) Slopes(b *Rays, s *Slopes, n int) { k.slopesGo(b, s, n) }

// Brightness adds I of the rays x, y to dst and says whether it did: there is no kernel, and nothing is done.
func (k *Light) Brightness(kind LightKind, dst, x, y []float64) bool { return false }

// VJP has no kernel: nothing is done.
func (k *Light) VJP(kind LightKind, sum *[10]float64, zx, zy *[Block]float64, gdst, x, y []float64) bool {
	return false
}

// Slopes has no kernel: nothing is done.
func (k *Light) Slopes(kind LightKind, s *LightSlopes, x, y []float64) bool { return false }

// MixDown convolves columns: it writes rows of n numbers, the first of each `pitch` after that of the one before, from rows
// of src, which begin `stride` apart:
//
//	dst(r pitch + i) = Σ_t taps(t) src((r+t) stride + i).
func MixDown(dst []float64, pitch, rows, n int, src []float64, stride int, taps []float64) {
	mixDownGo(dst, pitch, rows, n, src, stride, taps)
}

// MixAcross convolves a row: it writes to dst, or adds to it,
//
//	dst(i) = Σ_t taps(t) src(t + i).
func MixAcross(dst, src, taps []float64, add bool) { mixAcrossGo(dst, src, taps, add) }

// Dots adds to sum(r, c) the scalar product of row r of a and row c of b, n elements of each; rows begin `stride` apart. n
// is a multiple of 4.
func Dots(sum *[3][4]float64, a, b []float64, stride, n int) {
	if n%4 != 0 {
		panic("kern: Dots: rows of another length")
	}
	dotsGo(sum, a, b, stride, n)
}

// Locate fills t for at most Block rays x, y.
func (k *Frame) Locate(t *Taps, x, y []float64) {
	k.locateGo(t, x, y)
}

// Chain takes the slopes of at most Block rays x, y and their adjoints g to sum, adding Σ g v, Σ g ∂v/∂x·(x-X) + …, and
// the gradients by x and y, the last three with GX and GY, and adds the gradients by position to gx, gy (both may be nil).
func (k *Frame) Chain(sum *[4]float64, s *Slope, g, x, y, gx, gy []float64) {
	k.chainGo(sum, s, g, x, y, gx, gy)
}

// BilinearValue adds scale times the interpolated values to dst, of at most Block rays.
func BilinearValue(dst, img []float64, stride int, t *Taps, scale float64) {
	bilinearValueGo(dst, img, stride, t, scale)
}

// BilinearSlopes fills s for the n rays of t.
func BilinearSlopes(s *Slope, img []float64, stride int, t *Taps, n int) {
	bilinearSlopesGo(s, img, stride, t, n)
}

// BilinearScatter adds scale·g times each tap's weight to the taps: the adjoint of BilinearValue.
func BilinearScatter(gimg []float64, stride int, t *Taps, g []float64, scale float64) {
	bilinearScatterGo(gimg, stride, t, g, scale)
}

// Fill computes the weights of Catmull-Rom's cubic convolution for the n rays of t, as BicubicValue and its companions
// need them.
func (w *Weights) Fill(t *Taps, n int) {
	w.fillGo(t, n)
}

// BicubicValue adds scale times the interpolated values to dst, of at most Block rays.
func BicubicValue(dst, img []float64, stride int, t *Taps, w *Weights, scale float64) {
	bicubicValueGo(dst, img, stride, t, w, scale)
}

// BicubicSlopes fills s for the n rays of t.
func BicubicSlopes(s *Slope, img []float64, stride int, t *Taps, w *Weights, n int) {
	bicubicSlopesGo(s, img, stride, t, w, n)
}

// BicubicScatter adds scale·g times each tap's weight to the taps: the adjoint of BicubicValue.
func BicubicScatter(gimg []float64, stride int, t *Taps, w *Weights, g []float64, scale float64) {
	bicubicScatterGo(gimg, stride, t, w, g, scale)
}

// Deflect adds the shear's deflection of the rays x, y to ax, ay.
func (k *Shear) Deflect(ax, ay, x, y []float64) { k.deflectGo(ax, ay, x, y) }

// ShearVJP returns the gradient by γ1 and γ2, summed over the rays.
func ShearVJP(gax, gay, x, y []float64) (g1, g2 float64) { return shearVJPGo(gax, gay, x, y) }

// SourcePlane writes x - ax to bx and y - ay to by.
func SourcePlane(bx, by, x, y, ax, ay []float64) { raysGo(bx, by, x, y, ax, ay) }

// Residual returns Σ r² with r = (data - model) weight, and writes r weight to gmodel unless that is nil.
func Residual(gmodel, model, data, weight []float64) float64 {
	return residualGo(gmodel, model, data, weight)
}

// Product writes a·b, element by element, to dst.
func Product(dst, a, b []float64) { productGo(dst, a, b) }

// Gemm makes a tile of a product of matrices: C = alpha AB + beta C. a holds the k columns of A one after the other, TileRows
// elements each, and b the k rows of B, TileCols elements each. The rows of c begin `stride` apart. Where beta is zero C is
// not read.
func Gemm(c []float64, stride int, a, b []float64, alpha, beta float64) {
	gemmGo(c, stride, a, b, alpha, beta)
}

// Solve replaces the tile x, TileRows rows of TileCols elements one after the other, by L⁻¹X. l holds the columns of the lower
// triangular matrix L, TileRows elements each, with the inverse of its diagonal in the diagonal's place.
func Solve(x, l []float64) { solveGo(x, l) }

// Spread adds k(r·line + i) times the sparse row of each cell i to row r of rows, which begin `pitch` apart; a cell below 0 has
// none. That of cell c is the blocks first[c] ≤ j < first[c+1]. A row goes on after the last column that a block has: by two
// strides and three numbers.
func Spread(rows []float64, pitch int, k []float64, line int, cells, first []int32, blocks []SplineBlock) {
	spreadGo(rows, pitch, k, line, cells, first, blocks)
}

// AddRows adds src, times each of the weights, to three rows of dst, which begin `pitch` apart.
func AddRows(dst []float64, pitch int, src []float64, weights *[3]float64) {
	addRowsGo(dst, pitch, src, weights)
}

// RowDots writes the scalar products of x and three rows of a, which begin `pitch` apart.
func RowDots(sum *[3]float64, a []float64, pitch int, x []float64) { rowDotsGo(sum, a, pitch, x) }

// Transpose writes the m rows of n elements in src to the columns of dst. The first begins at `from` in src and the next ones
// `stride` apart; the rows of dst begin at `to`, and `pitch` apart. Rows may go backwards.
func Transpose(dst []float64, to, pitch int, src []float64, from, stride, m, n int) {
	transposeGo(dst, to, pitch, src, from, stride, m, n)
}

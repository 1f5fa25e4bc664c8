//go:build !noasm

package kern

//go:noescape
func spreadVec(rows *float64, pitch int, k *float64, line int, cells *int32, n int, first *int32, blocks *SplineBlock)

//go:noescape
func addRowsVec(dst *float64, pitch int, src, weights *float64, n int)

//go:noescape
func rowDotsVec(sum *[3]float64, a *float64, pitch int, x *float64, n int)

// Spread adds k(r·line + i) times the sparse row of each cell i to row r of rows, which begin `pitch` apart; a cell below 0 has
// none. That of cell c is the blocks first[c] ≤ j < first[c+1]. A row goes on after the last column that a block has: by two
// strides and three numbers.
func Spread(rows []float64, pitch int, k []float64, line int, cells, first []int32, blocks []SplineBlock) {
	if !Accelerated() || len(cells) == 0 || len(blocks) == 0 {
		spreadGo(rows, pitch, k, line, cells, first, blocks)
		return
	}
	_, _ = k[(SpreadRows-1)*line+len(cells)-1], rows[(SpreadRows-1)*pitch]
	spreadVec(&rows[0], pitch, &k[0], line, &cells[0], len(cells), &first[0], &blocks[0])
}

// AddRows adds src, times each of the weights, to three rows of dst, which begin `pitch` apart.
func AddRows(dst []float64, pitch int, src []float64, weights *[3]float64) {
	if !Accelerated() || len(src) == 0 {
		addRowsGo(dst, pitch, src, weights)
		return
	}
	_ = dst[2*pitch+len(src)-1]
	addRowsVec(&dst[0], pitch, &src[0], &weights[0], len(src))
}

// RowDots writes the scalar products of x and three rows of a, which begin `pitch` apart.
func RowDots(sum *[3]float64, a []float64, pitch int, x []float64) {
	n := len(x) &^ 3
	if !Accelerated() || n == 0 {
		rowDotsGo(sum, a, pitch, x)
		return
	}
	_ = a[2*pitch+len(x)-1]
	rowDotsVec(sum, &a[0], pitch, &x[0], n)
	for r := range sum {
		for i := n; i < len(x); i++ {
			sum[r] += a[r*pitch+i] * x[i]
		}
	}
}

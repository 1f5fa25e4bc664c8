package kern

// The tile of a product: Gemm makes TileRows x TileCols elements at a time.
const (
	TileRows = 12
	TileCols = 16
)

// gemmGo is Gemm: blocks of 2 x 4 elements, whose sums have registers.
func gemmGo(c []float64, stride int, a, b []float64, alpha, beta float64) {
	for r := 0; r < TileRows; r += 2 {
		for s := 0; s < TileCols; s += 4 {
			var c00, c01, c02, c03, c10, c11, c12, c13 float64
			x, y := a, b
			for len(x) >= TileRows && len(y) >= TileCols {
				x0, x1, y0, y1, y2, y3 := x[r], x[r+1], y[s], y[s+1], y[s+2], y[s+3]
				c00 += x0 * y0
				c01 += x0 * y1
				c02 += x0 * y2
				c03 += x0 * y3
				c10 += x1 * y0
				c11 += x1 * y1
				c12 += x1 * y2
				c13 += x1 * y3
				x, y = x[TileRows:], y[TileCols:]
			}
			for i, sums := range [2][4]float64{{c00, c01, c02, c03}, {c10, c11, c12, c13}} {
				row := c[(r+i)*stride+s:][:4]
				for j, v := range sums {
					v *= alpha
					if beta != 0 {
						v += beta * row[j]
					}
					row[j] = v
				}
			}
		}
	}
}

// solveGo is Solve.
func solveGo(x, l []float64) {
	for j := range TileRows {
		row := x[j*TileCols:][:TileCols]
		for i := range row {
			row[i] *= l[j*TileRows+j]
		}
		for r := j + 1; r < TileRows; r++ {
			axpy(x[r*TileCols:][:TileCols], -l[j*TileRows+r], row)
		}
	}
}

// transposeGo is Transpose.
func transposeGo(dst []float64, to, pitch int, src []float64, from, stride, m, n int) {
	for i := range m {
		at := to + i
		for j := range n {
			dst[at] = src[from+j]
			at += pitch
		}
		from += stride
	}
}

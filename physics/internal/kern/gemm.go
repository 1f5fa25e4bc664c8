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
			i, j := r, s
			for range len(a) / TileRows {
				x0, x1 := a[i], a[i+1]
				y := b[j]
				c00 += x0 * y
				c10 += x1 * y
				y = b[j+1]
				c01 += x0 * y
				c11 += x1 * y
				y = b[j+2]
				c02 += x0 * y
				c12 += x1 * y
				y = b[j+3]
				c03 += x0 * y
				c13 += x1 * y
				i, j = i+TileRows, j+TileCols
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

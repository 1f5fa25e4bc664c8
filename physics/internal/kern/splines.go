package kern

// The rows and columns of a SplineBlock.
const (
	BlockRows = 3
	BlockCols = 4
)

// SplineBlock is elements of a sparse row, seen as a plane: BlockCols numbers for each of BlockRows lines, for the columns from Col
// on, a line beginning Stride columns after the one before. What lies beyond the first Rows lines and Cols numbers is zeros.
// Part is the caller's.
type SplineBlock struct {
	Col, Stride, Part int32
	Rows, Cols        int16
	W                 [BlockRows * BlockCols]float64
}

// SpreadRows is how many rows Spread adds to.
const SpreadRows = 4

// spreadGo is Spread.
func spreadGo(rows []float64, pitch int, k []float64, line int, cells, first []int32, blocks []SplineBlock) {
	for i, c := range cells {
		if c < 0 {
			continue
		}
		for j := first[c]; j < first[c+1]; j++ {
			p := &blocks[j]
			for r := range SpreadRows {
				for b := range int(p.Rows) {
					axpy(rows[r*pitch+int(p.Col)+b*int(p.Stride):][:p.Cols], k[r*line+i], p.W[BlockCols*b:])
				}
			}
		}
	}
}

// addRowsGo is AddRows.
func addRowsGo(dst []float64, pitch int, src []float64, weights *[3]float64) {
	for r, w := range weights {
		axpy(dst[r*pitch:][:len(src)], w, src)
	}
}

// rowDotsGo is RowDots.
func rowDotsGo(sum *[3]float64, a []float64, pitch int, x []float64) {
	for r := range sum {
		s := 0.0
		for i, v := range a[r*pitch:][:len(x)] {
			s += v * x[i]
		}
		sum[r] = s
	}
}

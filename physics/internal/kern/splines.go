package kern

// Patch is elements of a sparse row: Rows rows of 4·Wide numbers, one after the other from At among a list of values, for the
// columns from Col on; a row begins Stride columns after the one before. What follows the first Cols of a row is zeros. Part is
// the caller's.
type Patch struct {
	Col, Stride, Rows, Wide, At, Cols, Part, _ int32
}

// spreadGo is Spread.
func spreadGo(row, k []float64, cells, first []int32, patches []Patch, values []float64) {
	for i, c := range cells {
		if c < 0 {
			continue
		}
		for _, p := range patches[first[c]:first[c+1]] {
			n := 4 * int(p.Wide)
			for b := range int(p.Rows) {
				axpy(row[int(p.Col)+b*int(p.Stride):][:n], k[i], values[int(p.At)+b*n:])
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

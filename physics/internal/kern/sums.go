package kern

// DownRows is the rows that MixDown makes at a time where it can.
const DownRows = 4

// mixDownGo is MixDown.
func mixDownGo(dst []float64, pitch, rows, n int, src []float64, stride int, taps []float64) {
	for r := range rows {
		row := dst[r*pitch:][:n]
		clear(row)
		for t, k := range taps {
			axpy(row, k, src[(r+t)*stride:])
		}
	}
}

// mixAcrossGo is MixAcross.
func mixAcrossGo(dst, src, taps []float64, add bool) {
	if !add {
		clear(dst)
	}
	for t, k := range taps {
		axpy(dst, k, src[t:])
	}
}

// axpy adds k·src to dst.
func axpy(dst []float64, k float64, src []float64) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] += k * v
	}
}

// dotsGo is Dots.
func dotsGo(sum *[3][4]float64, a, b []float64, stride, n int) {
	for r := range sum {
		x := a[r*stride:][:n]
		for c := range sum[r] {
			y := b[c*stride:][:n]
			s := 0.0
			for i, v := range x {
				s += v * y[i]
			}
			sum[r][c] += s
		}
	}
}

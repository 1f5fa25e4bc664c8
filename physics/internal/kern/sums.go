package kern

// mixGo is Mix.
func mixGo(dst, src []float64, stride int, taps []float64, add bool) {
	if !add {
		clear(dst)
	}
	for t, k := range taps {
		row := src[t*stride:]
		row = row[:len(dst)]
		for i, v := range row {
			dst[i] += k * v
		}
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

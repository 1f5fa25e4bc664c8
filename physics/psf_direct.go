package physics

import (
	"slices"

	"lenskit/physics/internal/kern"
)

// direct convolves with a small kernel tap by tap.
type direct struct {
	*byRows
	taps [2][]float64 // in the order in which they meet the source's pixels, forward and adjoint
}

func newDirect(kernel *Image, w, h int, pool *Pool) *direct {
	d := &direct{byRows: newByRows(w, h, kernel.W/2, kernel.H/2, 1, pool)}
	d.taps[1] = kernel.Pix
	d.taps[0] = slices.Clone(kernel.Pix)
	slices.Reverse(d.taps[0])
	d.some = d.blur
	return d
}

func (d *direct) blur(line []float64, from, to int) {
	width := 2*d.rx + 1
	for j := from; j < to; j++ {
		dst := d.dst[j*d.w : (j+1)*d.w]
		clear(dst)
		for row, last := d.reach(j); row < last; row++ {
			copy(line[d.rx:], d.src[row*d.w:(row+1)*d.w])
			t := row - (j - d.ry)
			kern.MixAcross(dst, line, d.taps[d.adjoint][t*width:(t+1)*width], true)
		}
	}
}

package physics

import (
	"slices"

	"lenskit/physics/internal/kern"
)

// direct convolves with a small kernel tap by tap.
type direct struct {
	w, h, rx, ry int
	taps         [2][]float64 // in the order in which they meet the source's pixels, forward and adjoint
	pool         *Pool
	chunks       int
	rows         []float64 // for each chunk one row with rx zeros at either end

	dst, src []float64
	adjoint  int
	run      func(chunk int)
}

func newDirect(kernel *Image, w, h int, pool *Pool) *direct {
	d := &direct{w: w, h: h, rx: kernel.W / 2, ry: kernel.H / 2, pool: pool, chunks: (h + psfRows - 1) / psfRows}
	d.taps[1] = kernel.Pix
	d.taps[0] = slices.Clone(kernel.Pix)
	slices.Reverse(d.taps[0])
	d.rows = make([]float64, d.chunks*(w+2*d.rx))
	d.run = d.chunk
	return d
}

func (p *direct) Margin() (rx, ry int) { return p.rx, p.ry }

func (p *direct) Blur(dst, src []float64) {
	p.dst, p.src, p.adjoint = dst, src, 0
	p.pool.Run(p.chunks, p.run)
}

func (p *direct) BlurAdj(gsrc, gdst []float64) {
	p.dst, p.src, p.adjoint = gsrc, gdst, 1
	p.pool.Run(p.chunks, p.run)
}

func (p *direct) chunk(c int) {
	n := p.w + 2*p.rx
	row, taps, width := p.rows[c*n:(c+1)*n], p.taps[p.adjoint], 2*p.rx+1
	for j := c * psfRows; j < min((c+1)*psfRows, p.h); j++ {
		dst := p.dst[j*p.w : (j+1)*p.w]
		if p.adjoint == 0 {
			clear(dst)
		}
		for from := max(j-p.ry, 0); from < min(j+p.ry+1, p.h); from++ {
			copy(row[p.rx:], p.src[from*p.w:(from+1)*p.w])
			t := from - (j - p.ry)
			kern.Mix(dst, row, 1, taps[t*width:(t+1)*width], true)
		}
	}
}

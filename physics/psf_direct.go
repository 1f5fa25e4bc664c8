package physics

// direct convolves with a small kernel tap by tap.
type direct struct {
	w, h   int
	kernel *Image
	pool   *Pool
	chunks int

	dst, src []float64
	adjoint  bool
	run      func(chunk int)
}

func newDirect(kernel *Image, w, h int, pool *Pool) *direct {
	d := &direct{w: w, h: h, kernel: kernel, pool: pool, chunks: (h + psfRows - 1) / psfRows}
	d.run = d.chunk
	return d
}

func (p *direct) Margin() (rx, ry int) { return p.kernel.W / 2, p.kernel.H / 2 }

func (p *direct) Blur(dst, src []float64) {
	p.dst, p.src, p.adjoint = dst, src, false
	p.pool.Run(p.chunks, p.run)
}

func (p *direct) BlurAdj(gsrc, gdst []float64) {
	p.dst, p.src, p.adjoint = gsrc, gdst, true
	p.pool.Run(p.chunks, p.run)
}

func (p *direct) chunk(c int) {
	rx, ry := p.Margin()
	for j := c * psfRows; j < min((c+1)*psfRows, p.h); j++ {
		dst := p.dst[j*p.w : (j+1)*p.w]
		if !p.adjoint {
			clear(dst)
		}
		for t := range p.kernel.H {
			dy := t - ry
			if p.adjoint {
				dy = -dy
			}
			from := j - dy
			if from < 0 || from >= p.h {
				continue
			}
			src := p.src[from*p.w : (from+1)*p.w]
			for u, k := range p.kernel.Pix[t*p.kernel.W : (t+1)*p.kernel.W] {
				dx := u - rx
				if p.adjoint {
					dx = -dx
				}
				addShifted(dst, src, k, dx)
			}
		}
	}
}

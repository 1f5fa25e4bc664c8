package physics

// finePSF blurs on a plane of n x n pixels for each of the image's, and then averages these: the source of Blur is the
// fine plane (see Grid.Refine), its result the image's.
type finePSF struct {
	fine    PSF // of the fine plane
	n, w, h int // pixels along an image pixel's side; size of the image's plane
	scratch []float64
}

func newFinePSF(spec PSFSpec, w, h int, scale float64, pool *Pool) (PSF, []string, error) {
	n := spec.Sampling
	spec.Sampling = 1
	fine, notices, err := NewPSF(spec, n*w, n*h, scale/float64(n), pool)
	if err != nil {
		return nil, nil, err
	}
	return &finePSF{fine: fine, n: n, w: w, h: h, scratch: make([]float64, n*n*w*h)}, notices, nil
}

// Margin rounds that of the fine plane up: light at the edge of a pixel reaches as far as any.
func (p *finePSF) Margin() (rx, ry int) {
	rx, ry = p.fine.Margin()
	return (rx + p.n - 1) / p.n, (ry + p.n - 1) / p.n
}

func (p *finePSF) Blur(dst, src []float64) {
	p.fine.Blur(p.scratch, src)
	inv, width := 1/float64(p.n*p.n), p.n*p.w
	for j := range p.h {
		row := dst[j*p.w : (j+1)*p.w]
		clear(row)
		for b := range p.n {
			from := p.scratch[(j*p.n+b)*width:]
			for i := range row {
				for _, v := range from[i*p.n : (i+1)*p.n] {
					row[i] += v
				}
			}
		}
		for i := range row {
			row[i] *= inv
		}
	}
}

func (p *finePSF) BlurAdj(gsrc, gdst []float64) {
	inv, width := 1/float64(p.n*p.n), p.n*p.w
	for j := range p.h {
		first := p.scratch[j*p.n*width:][:width]
		for i, g := range gdst[j*p.w : (j+1)*p.w] {
			for a := range p.n {
				first[i*p.n+a] = g * inv
			}
		}
		for b := 1; b < p.n; b++ {
			copy(p.scratch[(j*p.n+b)*width:], first)
		}
	}
	p.fine.BlurAdj(gsrc, p.scratch)
}

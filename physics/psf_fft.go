package physics

import "gonum.org/v1/gonum/dsp/fourier"

// fftPSF convolves by Fourier transform, on a plane widened by the kernel's radius so that nothing wraps around.
type fftPSF struct {
	w, h, rx, ry int
	nx, ny       int          // transform lengths
	nc           int          // columns of a half spectrum, nx/2+1
	kernel       []complex128 // nc x ny: the kernel's spectrum, column by column, divided by nx·ny
	spectrum     []complex128 // nc x h: the plane, transformed along x, column by column
	pool         *Pool
	rowChunks    int
	colChunks    int
	rows         []fftRow
	cols         []fftCol

	dst, src []float64
	adjoint  bool
	forward  func(chunk int)
	multiply func(chunk int)
	backward func(chunk int)
}

// fftRow and fftCol are the working space of one chunk.
type fftRow struct {
	fft *fourier.FFT
	seq []float64
	coe []complex128
}

type fftCol struct {
	fft *fourier.CmplxFFT
	seq []complex128
}

// fftCols is the number of columns in a chunk of work.
const fftCols = 16

func newFFTPSF(kernel *Image, w, h int, pool *Pool) *fftPSF {
	p := &fftPSF{w: w, h: h, rx: kernel.W / 2, ry: kernel.H / 2, pool: pool}
	p.nx, p.ny = fastLen(w+p.rx), fastLen(h+p.ry)
	// a kernel wider than the plane itself must not overlap itself
	p.nx, p.ny = max(p.nx, fastLen(kernel.W)), max(p.ny, fastLen(kernel.H))
	p.nc = p.nx/2 + 1
	p.spectrum = make([]complex128, p.nc*h)
	p.rowChunks = (h + psfRows - 1) / psfRows
	p.colChunks = (p.nc + fftCols - 1) / fftCols
	p.rows = make([]fftRow, p.rowChunks)
	for c := range p.rows {
		p.rows[c] = fftRow{fourier.NewFFT(p.nx), make([]float64, p.nx), make([]complex128, p.nc)}
	}
	p.cols = make([]fftCol, p.colChunks)
	for c := range p.cols {
		p.cols[c] = fftCol{fourier.NewCmplxFFT(p.ny), make([]complex128, p.ny)}
	}
	p.kernel = p.transformed(kernel)
	p.forward, p.multiply, p.backward = p.forwardRows, p.multiplyCols, p.backwardRows
	return p
}

// transformed is the spectrum of the kernel with its middle at the origin.
func (p *fftPSF) transformed(k *Image) []complex128 {
	spec := make([]complex128, p.nc*p.ny)
	r := &p.rows[0]
	norm := complex(1/float64(p.nx*p.ny), 0)
	for j := range k.H {
		clear(r.seq)
		for i := range k.W {
			r.seq[(i-p.rx+p.nx)%p.nx] = k.At(i, j)
		}
		r.fft.Coefficients(r.coe, r.seq)
		for c, v := range r.coe {
			spec[c*p.ny+(j-p.ry+p.ny)%p.ny] = v * norm
		}
	}
	for c := range p.nc {
		col := spec[c*p.ny : (c+1)*p.ny]
		p.cols[0].fft.Coefficients(col, col)
	}
	clear(r.seq)
	return spec
}

func (p *fftPSF) Margin() (rx, ry int) { return p.rx, p.ry }

func (p *fftPSF) Blur(dst, src []float64) { p.convolve(dst, src, false) }

func (p *fftPSF) BlurAdj(gsrc, gdst []float64) { p.convolve(gsrc, gdst, true) }

func (p *fftPSF) convolve(dst, src []float64, adjoint bool) {
	p.dst, p.src, p.adjoint = dst, src, adjoint
	p.pool.Run(p.rowChunks, p.forward)
	p.pool.Run(p.colChunks, p.multiply)
	p.pool.Run(p.rowChunks, p.backward)
}

func (p *fftPSF) forwardRows(chunk int) {
	r := &p.rows[chunk]
	clear(r.seq[p.w:])
	for j := chunk * psfRows; j < min((chunk+1)*psfRows, p.h); j++ {
		copy(r.seq, p.src[j*p.w:(j+1)*p.w])
		r.fft.Coefficients(r.coe, r.seq)
		for c, v := range r.coe {
			p.spectrum[c*p.h+j] = v
		}
	}
}

func (p *fftPSF) multiplyCols(chunk int) {
	s := &p.cols[chunk]
	for c := chunk * fftCols; c < min((chunk+1)*fftCols, p.nc); c++ {
		col := p.spectrum[c*p.h : (c+1)*p.h]
		clear(s.seq[copy(s.seq, col):])
		s.fft.Coefficients(s.seq, s.seq)
		kernel := p.kernel[c*p.ny : (c+1)*p.ny]
		if p.adjoint { // the spectrum of the mirrored kernel
			for i, k := range kernel {
				s.seq[i] *= complex(real(k), -imag(k))
			}
		} else {
			for i, k := range kernel {
				s.seq[i] *= k
			}
		}
		s.fft.Sequence(s.seq, s.seq)
		copy(col, s.seq)
	}
}

func (p *fftPSF) backwardRows(chunk int) {
	r := &p.rows[chunk]
	for j := chunk * psfRows; j < min((chunk+1)*psfRows, p.h); j++ {
		for c := range r.coe {
			r.coe[c] = p.spectrum[c*p.h+j]
		}
		r.fft.Sequence(r.seq, r.coe)
		dst := p.dst[j*p.w : (j+1)*p.w]
		copy(dst, r.seq)
	}
}

// fastLen is the smallest number from n up without a prime factor above 5.
func fastLen(n int) int {
	for ; ; n++ {
		m := n
		for _, f := range [...]int{2, 3, 5} {
			for m%f == 0 {
				m /= f
			}
		}
		if m == 1 {
			return n
		}
	}
}

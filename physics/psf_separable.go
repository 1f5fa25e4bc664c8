package physics

import "gonum.org/v1/gonum/blas/gonum"

// blas adds multiples of rows; it holds no state.
var blas gonum.Implementation

// psfRows is the number of rows in a chunk of work of a PSF.
const psfRows = 16

// separable convolves with the product of a row and a column. Each row of the result is made in one go: the sum of the
// source's rows, weighted by the column, stays in the cache and is then convolved along x.
type separable struct {
	w, h     int
	row, col []float64
	pool     *Pool
	chunks   int
	sums     []float64 // one row for each chunk

	dst, src []float64
	adjoint  bool
	run      func(chunk int)
}

func newSeparable(row, col []float64, w, h int, pool *Pool) *separable {
	s := &separable{w: w, h: h, row: row, col: col, pool: pool, chunks: (h + psfRows - 1) / psfRows}
	s.sums = make([]float64, s.chunks*w)
	s.run = s.chunk
	return s
}

func (s *separable) Margin() (rx, ry int) { return len(s.row) / 2, len(s.col) / 2 }

func (s *separable) Blur(dst, src []float64) {
	s.dst, s.src, s.adjoint = dst, src, false
	s.pool.Run(s.chunks, s.run)
}

func (s *separable) BlurAdj(gsrc, gdst []float64) {
	s.dst, s.src, s.adjoint = gsrc, gdst, true
	s.pool.Run(s.chunks, s.run)
}

func (s *separable) chunk(c int) {
	sum := s.sums[c*s.w : (c+1)*s.w]
	rx, ry := s.Margin()
	for j := c * psfRows; j < min((c+1)*psfRows, s.h); j++ {
		clear(sum)
		// (K src)(j) = Σ_d K(d) src(j-d), and the adjoint takes src(j+d)
		for t, k := range s.col {
			from := j + ry - t
			if s.adjoint {
				from = j - ry + t
			}
			if from >= 0 && from < s.h {
				blas.Daxpy(s.w, k, s.src[from*s.w:], 1, sum, 1)
			}
		}
		dst := s.dst[j*s.w : (j+1)*s.w]
		if !s.adjoint {
			clear(dst)
		}
		for t, k := range s.row {
			d := t - rx
			if s.adjoint {
				d = rx - t
			}
			addShifted(dst, sum, k, d)
		}
	}
}

// addShifted adds k·src(i-d) to dst(i) wherever both lie in the row.
func addShifted(dst, src []float64, k float64, d int) {
	n := len(src) - absInt(d)
	if n <= 0 {
		return
	}
	blas.Daxpy(n, k, src[max(-d, 0):], 1, dst[max(d, 0):], 1)
}

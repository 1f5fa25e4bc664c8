package physics

import (
	"slices"

	"lenskit/physics/internal/kern"
)

// psfRows is the number of rows in a chunk of work of a PSF.
const psfRows = 16

// separable convolves with the product of a row and a column. Each row of the result is made in one go: the sum of the
// source's rows, weighted by the column, stays in the cache and is then convolved along x.
type separable struct {
	w, h   int
	rx, ry int
	// taps in the order in which they meet the source's pixels, forward and adjoint
	row, col [2][]float64
	pool     *Pool
	chunks   int
	sums     []float64 // for each chunk one row with rx zeros at either end

	dst, src []float64
	adjoint  int
	run      func(chunk int)
}

func newSeparable(row, col []float64, w, h int, pool *Pool) *separable {
	s := &separable{w: w, h: h, rx: len(row) / 2, ry: len(col) / 2, pool: pool, chunks: (h + psfRows - 1) / psfRows}
	// (K src)(j) = Σ_d K(d) src(j-d), and the adjoint takes src(j+d)
	s.row[1], s.col[1] = row, col
	s.row[0], s.col[0] = slices.Clone(row), slices.Clone(col)
	slices.Reverse(s.row[0])
	slices.Reverse(s.col[0])
	s.sums = make([]float64, s.chunks*(w+2*s.rx))
	s.run = s.chunk
	return s
}

func (s *separable) Margin() (rx, ry int) { return s.rx, s.ry }

func (s *separable) Blur(dst, src []float64) {
	s.dst, s.src, s.adjoint = dst, src, 0
	s.pool.Run(s.chunks, s.run)
}

func (s *separable) BlurAdj(gsrc, gdst []float64) {
	s.dst, s.src, s.adjoint = gsrc, gdst, 1
	s.pool.Run(s.chunks, s.run)
}

func (s *separable) chunk(c int) {
	n := s.w + 2*s.rx
	sum := s.sums[c*n : (c+1)*n]
	row, col := s.row[s.adjoint], s.col[s.adjoint]
	for j := c * psfRows; j < min((c+1)*psfRows, s.h); j++ {
		from, to := max(j-s.ry, 0), min(j+s.ry+1, s.h)
		kern.Mix(sum[s.rx:s.rx+s.w], s.src[from*s.w:to*s.w], s.w, col[from-(j-s.ry):][:to-from], false)
		kern.Mix(s.dst[j*s.w:(j+1)*s.w], sum, 1, row, s.adjoint == 1)
	}
}

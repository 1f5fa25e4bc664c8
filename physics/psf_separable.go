package physics

import (
	"slices"

	"lenskit/physics/internal/kern"
)

// separable convolves with the product of a row and a column. A few rows of the result are made in one go: the sums of
// the source's rows, weighted by the column, stay in the cache and are then convolved along x.
type separable struct {
	*byRows
	// taps in the order in which they meet the source's pixels, forward and adjoint
	across, down [2][]float64
}

func newSeparable(row, col []float64, w, h int, pool *Pool) *separable {
	s := &separable{byRows: newByRows(w, h, len(row)/2, len(col)/2, kern.DownRows, pool)}
	// (K src)(j) = Σ_d K(d) src(j-d), and the adjoint takes src(j+d)
	s.across[1], s.down[1] = row, col
	s.across[0], s.down[0] = slices.Clone(row), slices.Clone(col)
	slices.Reverse(s.across[0])
	slices.Reverse(s.down[0])
	s.some = s.blur
	return s
}

func (s *separable) blur(lines []float64, from, to int) {
	across, down, n := s.across[s.adjoint], s.down[s.adjoint], s.w+2*s.rx
	for j, rows := from, 0; j < to; j += rows {
		rows = min(kern.DownRows, to-j)
		first, last := s.reach(j)
		if j < s.ry || j+rows+s.ry > s.h { // their columns differ
			rows = 1
		}
		kern.MixDown(lines[s.rx:], n, rows, s.w, s.src[first*s.w:], s.w, down[first-(j-s.ry):][:last-first])
		for r := range rows {
			kern.MixAcross(s.dst[(j+r)*s.w:][:s.w], lines[r*n:(r+1)*n], across, false)
		}
	}
}

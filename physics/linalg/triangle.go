package linalg

import "lenskit/physics/internal/kern"

const (
	// leaf is the size of triangles that are not taken apart further where a square of zeros and the triangle serves.
	leaf = 96
	// solveCols is the number of columns that a chunk of a triangular solution takes.
	solveCols = 2 * kern.TileCols
)

// half is where a triangle of n rows is taken apart: about the middle, whole tiles both ways.
func half(n int) int {
	const whole = 3 * kern.TileCols // and 4 of kern.TileRows
	return ceil(n/2, whole) * whole
}

// lowerLeft looks at a triangular matrix, and at what it multiplies, so that it is lower and on the left.
func lowerLeft(left, isLower bool, n int, l, b matrix) (matrix, matrix) {
	if !left {
		l, b, isLower = l.t(), b.t(), !isLower
	}
	if !isLower {
		l, b = l.upsideDown(n).mirrored(n), b.upsideDown(n)
	}
	return l, b
}

// solve replaces B, n x m, by alpha L⁻¹B. L is lower triangular; unit: its diagonal is one.
func (w *Workspace) solve(unit bool, n, m int, alpha float64, l, b matrix) {
	if n <= depth {
		w.solveLeaf(unit, n, m, alpha, l, b)
		return
	}
	h := half(n)
	w.solve(unit, h, m, alpha, l, b)
	w.multiply(whole, n-h, m, h, -1, l.from(h, 0), b, alpha, b.from(h, 0))
	w.solve(unit, n-h, m, 1, l.from(h, h), b.from(h, 0))
}

// solution is the triangular solution that chunks are at work on.
type solution struct {
	n, m  int // of B
	alpha float64
	b     matrix
}

// solveLeaf is solve of at most depth rows.
func (w *Workspace) solveLeaf(unit bool, n, m int, alpha float64, l, b matrix) {
	padded := ceil(n, kern.TileRows) * kern.TileRows
	w.packedA = grown(w.packedA, padded*n)
	w.packedB = grown(w.packedB, ceil(m, kern.TileCols)*kern.TileCols*padded)
	for r := 0; r < n; r += kern.TileRows {
		rows, cols := min(kern.TileRows, n-r), min(kern.TileRows+r, n)
		stretch := w.packedA[r*n:][:kern.TileRows*cols]
		pack(stretch, kern.TileRows, l.from(r, 0), rows, cols)
		for i := range rows {
			d := &stretch[(r+i)*kern.TileRows+i]
			if *d = 1 / *d; unit {
				*d = 1
			}
		}
	}
	w.solution = solution{n: n, m: m, alpha: alpha, b: b}
	w.each(n*n*m < alone, ceil(m, solveCols), w.solveColumns)
}

// solveColumnsOf solves for chunk i of the columns.
func (w *Workspace) solveColumnsOf(i int) {
	s := &w.solution
	padded := ceil(s.n, kern.TileRows) * kern.TileRows
	for first := i * solveCols; first < min(s.m, (i+1)*solveCols); first += kern.TileCols {
		m := min(kern.TileCols, s.m-first)
		x := w.packedB[first*padded:][:kern.TileCols*padded]
		b := s.b.from(0, first)
		pack(x, kern.TileCols, b.t(), m, s.n)
		clear(x[kern.TileCols*s.n:])
		for r := 0; r < s.n; r += kern.TileRows {
			l := w.packedA[r*s.n:][:kern.TileRows*s.n]
			tile := x[r*kern.TileCols:]
			if r > 0 {
				kern.Gemm(tile, kern.TileCols, l[:kern.TileRows*r], x, -1, s.alpha)
			} else if s.alpha != 1 {
				for i := range tile[:kern.TileRows*kern.TileCols] {
					tile[i] *= s.alpha
				}
			}
			if r+kern.TileRows > s.n {
				var last [kern.TileRows * kern.TileRows]float64
				copy(last[:], l[kern.TileRows*r:])
				kern.Solve(tile, last[:])
				break
			}
			kern.Solve(tile, l[kern.TileRows*r:])
		}
		assign(b, rows(x, kern.TileCols), s.n, m)
	}
}

// multiplyLower replaces B, n x m, by alpha LB. L is lower triangular; unit: its diagonal is one.
func (w *Workspace) multiplyLower(unit bool, n, m int, alpha float64, l, b matrix) {
	if n <= leaf {
		w.square = grown(w.square, n*n)
		lowerSquare(w.square, l, n, unit)
		w.multiply(whole, n, m, n, alpha, rows(w.square, n), b, 0, b)
		return
	}
	h := half(n)
	w.multiplyLower(unit, n-h, m, alpha, l.from(h, h), b.from(h, 0))
	w.multiply(whole, n-h, m, h, alpha, l.from(h, 0), b, 1, b.from(h, 0))
	w.multiplyLower(unit, h, m, alpha, l, b)
}

// multiplySymmetric makes C = alpha AB + beta C, m x n, of the symmetric A whose lower triangle is a.
func (w *Workspace) multiplySymmetric(m, n int, alpha float64, a, b matrix, beta float64, c matrix) {
	if m <= leaf {
		w.square = grown(w.square, m*m)
		lowerSquare(w.square, a, m, false)
		Mirror(m, w.square, m)
		w.multiply(whole, m, n, m, alpha, rows(w.square, m), b, beta, c)
		return
	}
	h := half(m)
	a21, b2, c2 := a.from(h, 0), b.from(h, 0), c.from(h, 0)
	w.multiplySymmetric(h, n, alpha, a, b, beta, c)
	w.multiply(whole, h, n, m-h, alpha, a21.t(), b2, 1, c)
	w.multiplySymmetric(m-h, n, alpha, a.from(h, h), b2, beta, c2)
	w.multiply(whole, m-h, n, h, alpha, a21, b, 1, c2)
}

// invert replaces the lower triangle L by L⁻¹.
func (w *Workspace) invert(n int, l matrix) {
	if n <= leaf {
		w.inverse = grown(w.inverse, n*n)
		clear(w.inverse)
		for i := range n {
			w.inverse[i*n+i] = 1
		}
		w.solveLeaf(false, n, n, 1, l, rows(w.inverse, n))
		for i := range n {
			assign(l.from(i, 0), rows(w.inverse[i*n:], n), 1, i+1)
		}
		return
	}
	h := half(n)
	below := l.from(h, 0)
	w.solve(false, n-h, h, -1, l.from(h, h), below)
	l11, right := lowerLeft(false, true, h, l, below)
	w.solve(false, h, n-h, 1, l11, right)
	w.invert(h, l)
	w.invert(n-h, l.from(h, h))
}

// squareLower replaces the lower triangle L by that of LᵀL.
func (w *Workspace) squareLower(n int, l matrix) {
	if n <= leaf {
		w.square = grown(w.square, n*n)
		lowerSquare(w.square, l, n, false)
		s := rows(w.square, n)
		w.multiply(lower, n, n, n, 1, s.t(), s, 0, l)
		return
	}
	h := half(n)
	below := l.from(h, 0)
	w.squareLower(h, l)
	w.multiply(lower, h, h, n-h, 1, below.t(), below, 1, l)
	l22, b := lowerLeft(true, false, n-h, l.from(h, h).t(), below)
	w.multiplyLower(false, n-h, h, 1, l22, b)
	w.squareLower(n-h, l.from(h, h))
}

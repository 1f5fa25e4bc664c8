package linalg

import "lenskit/physics/internal/kern"

const (
	// depth is how many terms of its sums a tile takes at a time: the panel of B that it takes them from, depth x
	// kern.TileCols, stays in the first cache. It is a multiple of kern.TileRows.
	depth = 240
	// blockRows x depth elements of A stay in the second cache while panels of B pass by.
	blockRows = 12 * kern.TileRows
	blockCols = 8 * kern.TileCols
	// span is the most rows and columns of a product that are packed at a time, which bounds the memory for it.
	span = 24 * blockCols
	// alone is the number of multiplications from which on a product is worth more than one thread.
	alone = 1 << 19
)

// part says which elements of a product are wanted.
type part int

const (
	whole part = iota
	lower      // the diagonal and what is below
	upper      // the diagonal and what is above
)

// t is the part of the transpose.
func (p part) t() part {
	switch p {
	case lower:
		return upper
	case upper:
		return lower
	}
	return p
}

// columns is which of the n columns from c on are wanted of row r.
func (p part) columns(r, c, n int) (from, end int) {
	from, end = 0, n
	switch p {
	case lower:
		end = min(n, r-c+1)
	case upper:
		from = max(0, r-c)
	}
	return from, end
}

// has tells whether any of the rows and columns from (r, c) up to (endRow, endCol) is wanted.
func (p part) has(r, c, endRow, endCol int) bool {
	return p == whole || p == lower && c < endRow || p == upper && r < endCol
}

// product is one that chunks are at work on: C = alpha AB + beta C, m x n, of k terms, at most span x span x depth.
type product struct {
	part        part
	m, n, k     int
	alpha, beta float64
	a, b, c     matrix
	keepB       bool // B is packed already
	rows, cols  int  // of a block
}

// split sets the size of blocks: those of small products are small, so that threads end at about the same time.
func (p *product) split() {
	p.rows, p.cols = blockRows, blockCols
	if p.m*p.n < 32*blockRows*blockCols {
		p.rows, p.cols = blockRows/3, blockCols/2
	}
}

// multiply makes the wanted part of C = alpha AB + beta C, m x n, of k terms. C may be A or B where k fits depth. Each element
// sums its terms in an order that depends on nothing but k.
func (w *Workspace) multiply(wanted part, m, n, k int, alpha float64, a, b matrix, beta float64, c matrix) {
	if c.rs < 0 {
		a, c = a.upsideDown(m), c.upsideDown(m)
	}
	if c.cs < 0 {
		b, c = b.mirrored(n), c.mirrored(n)
	}
	if a.cs < 0 {
		a, b = a.mirrored(k), b.upsideDown(k)
	}
	if c.cs != 1 {
		wanted, m, n, a, b, c = wanted.t(), n, m, b.t(), a.t(), c.t()
	}
	for j := 0; j < n; j += span {
		for l := 0; l < k; l += depth {
			keepB := false
			for i := 0; i < m; i += span {
				if !wanted.has(i, j, i+span, j+span) {
					continue
				}
				w.product = product{part: wanted, m: min(span, m-i), n: min(span, n-j), k: min(depth, k-l), alpha: alpha, beta: beta,
					a: a.from(i, l), b: b.from(l, j), c: c.from(i, j), keepB: keepB}
				if l > 0 {
					w.product.beta = 1
				}
				if i != j {
					w.product.part = whole
				}
				w.oneProduct()
				keepB = true
			}
		}
	}
}

// oneProduct packs A and B, a block of either at a time, and makes C, a block at a time.
func (w *Workspace) oneProduct() {
	p := &w.product
	w.packedA = grown(w.packedA, ceil(p.m, kern.TileRows)*kern.TileRows*p.k)
	w.packedB = grown(w.packedB, ceil(p.n, kern.TileCols)*kern.TileCols*p.k)
	p.split()
	down, across := ceil(p.m, p.rows), ceil(p.n, p.cols)
	packs := down
	if !p.keepB {
		packs += across
	}
	small := p.m*p.n*p.k < alone
	w.each(small, packs, w.packBlock)
	w.each(small, down*across, w.multiplyBlock)
}

// packBlockOf packs block i of A, or of B where those of A are done.
func (w *Workspace) packBlockOf(i int) {
	p := &w.product
	if first := i * p.rows; first < p.m {
		pack(w.packedA[first*p.k:], kern.TileRows, p.a.from(first, 0), min(p.rows, p.m-first), p.k)
		return
	}
	first := (i - ceil(p.m, p.rows)) * p.cols
	pack(w.packedB[first*p.k:], kern.TileCols, p.b.from(0, first).t(), min(p.cols, p.n-first), p.k)
}

// multiplyBlockOf makes block i of C.
func (w *Workspace) multiplyBlockOf(i int) {
	p := &w.product
	across := ceil(p.n, p.cols)
	row, col := i/across*p.rows, i%across*p.cols
	endRow, endCol := min(row+p.rows, p.m), min(col+p.cols, p.n)
	for c := col; c < endCol; c += kern.TileCols {
		b := w.packedB[c*p.k:][:kern.TileCols*p.k]
		for r := row; r < endRow; r += kern.TileRows {
			if p.part.has(r, c, r+kern.TileRows, c+kern.TileCols) {
				p.tile(w.packedA[r*p.k:][:kern.TileRows*p.k], b, r, c)
			}
		}
	}
}

// tile makes the tile of C that begins at (r, c).
func (p *product) tile(a, b []float64, r, c int) {
	m, n := min(kern.TileRows, p.m-r), min(kern.TileCols, p.n-c)
	to := p.c.v[p.c.at+r*p.c.rs+c:]
	from, _ := p.part.columns(r+m-1, c, n)
	_, end := p.part.columns(r, c, n)
	if m == kern.TileRows && n == kern.TileCols && from == 0 && end == n {
		kern.Gemm(to, p.c.rs, a, b, p.alpha, p.beta)
		return
	}
	var t [kern.TileRows * kern.TileCols]float64
	kern.Gemm(t[:], kern.TileCols, a, b, p.alpha, 0)
	for i := range m {
		from, end := p.part.columns(r+i, c, n)
		for j := from; j < end; j++ {
			v := t[i*kern.TileCols+j]
			if p.beta != 0 {
				v += p.beta * to[i*p.c.rs+j]
			}
			to[i*p.c.rs+j] = v
		}
	}
}

// each calls f(0) … f(chunks-1), by threads unless the work is small.
func (w *Workspace) each(small bool, chunks int, f func(chunk int)) {
	if small || w.run == nil || chunks <= 1 {
		for i := range chunks {
			f(i)
		}
		return
	}
	w.run(chunks, f)
}

// grown has room for n elements.
func grown(v []float64, n int) []float64 {
	if cap(v) < n {
		return make([]float64, n)
	}
	return v[:n]
}

// ceil is n/d rounded up.
func ceil(n, d int) int { return (n + d - 1) / d }

package physics

// psfRows is the number of rows in a chunk of work of a PSF.
const psfRows = 16

// byRows is a PSF of w x h pixels that makes its result row by row: forward, and with taps in the reverse order as the
// adjoint.
type byRows struct {
	w, h, rx, ry int
	pool         *Pool
	chunks       int
	lines        []float64                           // for each chunk some rows with rx zeros at either end
	some         func(lines []float64, from, to int) // makes the rows from ≤ j < to of dst

	dst, src []float64
	adjoint  int
	run      func(chunk int)
}

// newByRows gives each chunk so many lines.
func newByRows(w, h, rx, ry, lines int, pool *Pool) *byRows {
	p := &byRows{w: w, h: h, rx: rx, ry: ry, pool: pool, chunks: (h + psfRows - 1) / psfRows}
	p.lines = make([]float64, p.chunks*lines*(w+2*rx))
	p.run = p.chunk
	return p
}

func (p *byRows) Margin() (rx, ry int) { return p.rx, p.ry }

func (p *byRows) Blur(dst, src []float64) {
	p.dst, p.src, p.adjoint = dst, src, 0
	p.pool.Run(p.chunks, p.run)
}

func (p *byRows) BlurAdj(gsrc, gdst []float64) {
	p.dst, p.src, p.adjoint = gsrc, gdst, 1
	p.pool.Run(p.chunks, p.run)
}

func (p *byRows) chunk(c int) {
	n := len(p.lines) / p.chunks
	p.some(p.lines[c*n:(c+1)*n], c*psfRows, min((c+1)*psfRows, p.h))
}

// reach is which rows of the source the j-th of the result is made of.
func (p *byRows) reach(j int) (from, to int) { return max(j-p.ry, 0), min(j+p.ry+1, p.h) }

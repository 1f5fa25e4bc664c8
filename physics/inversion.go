package physics

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/floats"

	"lenskit/physics/internal/kern"
)

// Inversion is the linear algebra by which pixelised sources are solved for. With L the brightness that the splines give
// the pixels of a Grid's plane, B the PSF and C the noise of the used pixels,
//
//	K = Bᵀ C⁻¹ B,   F = Lᵀ K L.
//
// K is computed once: it hangs on the image alone, and reaches from each pixel as far as two PSFs. L follows the rays. The
// rows of K L are made when they are needed, one at a time, each of a few hundred numbers: no matrix has both a side of
// pixels and one of splines.
//
// An Inversion serves one caller at a time.
type Inversion struct {
	grid  *Grid
	pool  *Pool
	parts []SplinePart
	n     int

	// the plane's pixels that have rays are its cells
	width  int     // of the plane
	height int     // of the plane
	cellAt []int32 // of each pixel of the plane, -1 where it has no rays
	plane  []int32 // where each cell is in it

	// K: of each cell, the elements with itself and the cells after it within the reach
	rx, ry  int
	half    int
	k       []float64
	before  []float64 // the elements with the cells before each, where there is room for them; nil: they are looked for in k
	weight  []float64 // 1/σ² in the box
	stencil stencil

	chunks []inversionChunk
	first  []int32            // of each cell among blocks
	blocks []kern.SplineBlock // L: what a cell sees of the splines, grid by grid
	reach  []span             // of each part, for each cell: what the rows of K L from it and the cells after it may have, then of whole rows
	lines  []span             // scratch of a plane
	groups [][]float64        // partial sums of which F is the sum, with their mirror images; zeros between calls
	stride int                // of their rows
	works  []*InversionWork

	px, py             [][]float64 // for Locate
	dst                []float64   // for Gram
	pitch              int
	runLocate, runRows func(chunk int)
	runSum             func(chunk int)
}

// SplinePart is a grid of a source, in the source plane of that number, its splines the columns of L from First.
type SplinePart struct {
	Grid  SplineGrid
	Plane int
	First int
}

// inversionChunk is a stretch of the grid's pixels, and what Locate finds for it.
type inversionChunk struct {
	from, to int // among Grid.Pixel
	first    []int32
	blocks   []kern.SplineBlock
	taps     []splineTaps
	seen     []bool
}

// InversionWork is working space for some rows of K L at a time.
type InversionWork struct {
	rows  []float64 // of K L, one after the other, with what kern.Spread wants beyond; zeros between calls
	pitch int
	k     []float64 // a line of each of their rows of K
	line  int
	spans []span // the part of the row at work, of each grid, that may not be zero
	trace []float64
}

// span is columns lo ≤ j < hi; none where lo is not below hi.
type span struct{ lo, hi int32 }

func (a span) union(b span) span { return span{min(a.lo, b.lo), max(a.hi, b.hi)} }

// stencil is what of a pixel of the plane, in columns and rows from the first of its pixel of the image, the PSF brings to
// that.
type stencil struct {
	x0, y0, w, h int
	p            []float64
}

const (
	inversionChunks = 16
	inversionGroups = 2
	inversionBytes  = 2 << 30   // of K, at most
	beforeBytes     = 512 << 20 // of half of K, where it is kept twice
	gramNumbers     = 1 << 26   // of all groups, where more than one is to be had
)

// NewInversion lays out the inversion of sources whose splines are the columns of L, part by part. psf is how the image is
// blurred, weight 1/σ² of the pixels of the grid's box, 0 where one is not used. A PSF so wide that K would take more than 2
// GiB is an error. The pool may be nil.
func NewInversion(grid *Grid, psf PSFSpec, weight []float64, parts []SplinePart, pool *Pool) (*Inversion, error) {
	v := &Inversion{grid: grid, pool: pool, parts: parts, weight: weight, width: grid.Fine * grid.Box.W, height: grid.Fine * grid.Box.H}
	for _, p := range parts {
		if p.First != v.n {
			panic("physics: NewInversion: columns that do not follow each other")
		}
		v.n += p.Grid.Len()
	}
	if err := v.stencil.measure(psf, grid.Scale, max(1, grid.Fine)); err != nil {
		return nil, err
	}
	f := grid.Fine
	v.cellAt = make([]int32, v.width*v.height)
	for i := range v.cellAt {
		v.cellAt[i] = -1
	}
	for k := range grid.Pixel {
		first, width := grid.cell(k)
		for c := range f * f {
			at := first + c/f*width + c%f
			v.cellAt[at] = int32(len(v.plane))
			v.plane = append(v.plane, int32(at))
		}
	}
	v.rx, v.ry = v.stencil.w-1, v.stencil.h-1
	v.half = v.rx + 1 + v.ry*(2*v.rx+1)
	if bytes := 8 * v.half * len(v.plane); bytes > inversionBytes {
		return nil, fmt.Errorf("physics: inversion: a PSF of %d x %d pixels on %d rays' pixels takes %.1f GB, expected at most %.1f: cut the PSF's faint rim, or mask more",
			v.stencil.w, v.stencil.h, len(v.plane), float64(bytes)/1e9, float64(inversionBytes)/1e9)
	}
	v.k = make([]float64, v.half*len(v.plane))
	pool.Run(inversionChunks, v.correlate)
	if bytes := 8 * v.half * len(v.plane); bytes <= beforeBytes {
		v.before = make([]float64, (v.half-1)*len(v.plane))
		pool.Run(inversionChunks, v.copyBefore)
	}
	v.layOut()
	return v, nil
}

// Clone makes an Inversion with working space of its own, which shares K.
func (v *Inversion) Clone(pool *Pool) *Inversion {
	w := &Inversion{grid: v.grid, pool: pool, parts: v.parts, n: v.n, width: v.width, height: v.height, cellAt: v.cellAt, plane: v.plane,
		rx: v.rx, ry: v.ry, half: v.half, k: v.k, before: v.before, weight: v.weight, stencil: v.stencil}
	w.layOut()
	return w
}

// layOut makes the working space.
func (v *Inversion) layOut() {
	v.chunks = make([]inversionChunk, inversionChunks)
	most := v.grid.Most * v.grid.Most
	for k := range v.chunks {
		c := &v.chunks[k]
		c.from, c.to = v.grid.Share(0, len(v.grid.Pixel), k, inversionChunks), v.grid.Share(0, len(v.grid.Pixel), k+1, inversionChunks)
		c.taps, c.seen = make([]splineTaps, most), make([]bool, most)
	}
	v.first = make([]int32, len(v.plane)+1)
	v.reach, v.lines = make([]span, 2*len(v.parts)*len(v.plane)), make([]span, 2*len(v.cellAt))
	groups := max(1, min(inversionGroups, gramNumbers/(v.n*v.n)))
	v.stride = (v.n+7)&^7 + 8
	if v.stride%16 == 0 {
		v.stride += 8 // rows in odd lines of the cache, so that columns do not compete for places
	}
	for range groups {
		v.groups = append(v.groups, make([]float64, v.n*v.stride))
		v.works = append(v.works, v.NewWork())
	}
	v.runLocate, v.runRows, v.runSum = v.locate, v.rows, v.sum
}

// NewWork makes working space for one goroutine.
func (v *Inversion) NewWork() *InversionWork {
	w := &InversionWork{pitch: v.n + 2*MaxSplines + kern.BlockCols, line: 2*v.rx + kern.SpreadRows, trace: make([]float64, v.n), spans: make([]span, len(v.parts))}
	w.rows, w.k = make([]float64, kern.SpreadRows*w.pitch), make([]float64, kern.SpreadRows*w.line)
	return w
}

// measure finds the stencil by the adjoint of the blurring of a single pixel.
func (s *stencil) measure(spec PSFSpec, scale float64, fine int) error {
	probe, _, err := NewPSF(spec, 1, 1, scale, nil)
	if err != nil {
		return err
	}
	rx, ry := probe.Margin()
	w, h := 2*rx+1, 2*ry+1
	psf, _, err := NewPSF(spec, w, h, scale, nil)
	if err != nil {
		return err
	}
	one, all := make([]float64, w*h), make([]float64, fine*fine*w*h)
	one[ry*w+rx] = 1
	psf.BlurAdj(all, one)
	least := 1e-17 * math.Max(floats.Max(all), -floats.Min(all)) // a transform's noise
	used := make([]bool, len(all))
	for i, a := range all {
		used[i] = math.Abs(a) > least
	}
	box, _ := bounding(used, fine*w, fine*h)
	s.x0, s.y0, s.w, s.h = box.X0-fine*rx, box.Y0-fine*ry, box.W, box.H
	s.p = make([]float64, box.W*box.H)
	Crop(box, s.p, all, fine*w)
	return nil
}

// share is the cells of the k-th of so many stretches.
func (v *Inversion) share(k, of int) (from, to int) {
	return k * len(v.plane) / of, (k + 1) * len(v.plane) / of
}

// correlate computes a stretch of rows of K: K_ij = Σ_D P(i − D) P(j − D)/σ_D².
func (v *Inversion) correlate(chunk int) {
	s, f, box := &v.stencil, v.grid.Fine, v.grid.Box
	from, to := v.share(chunk, inversionChunks)
	for c := from; c < to; c++ {
		x, y := int(v.plane[c])%v.width, int(v.plane[c])/v.width
		row := v.k[c*v.half:][:v.half]
		// the pixels of the image that the cell brings light to
		for dj := max(0, ceilDiv(y-s.y0-s.h+1, f)); dj < box.H && f*dj+s.y0 <= y; dj++ {
			for di := max(0, ceilDiv(x-s.x0-s.w+1, f)); di < box.W && f*di+s.x0 <= x; di++ {
				w := v.weight[dj*box.W+di]
				if w == 0 {
					continue
				}
				// the cell's place in the stencil
				u, t := x-f*di-s.x0, y-f*dj-s.y0
				w *= s.p[t*s.w+u]
				floats.AddScaled(row[:s.w-u], w, s.p[t*s.w+u:(t+1)*s.w])
				for b := t + 1; b < s.h; b++ {
					line := row[v.rx+1+(b-t-1)*(2*v.rx+1)+v.rx-u:][:s.w]
					floats.AddScaled(line, w, s.p[b*s.w:(b+1)*s.w])
				}
			}
		}
	}
}

func ceilDiv(a, b int) int {
	if a > 0 {
		return (a + b - 1) / b
	}
	return a / b
}

// Locate finds L for rays that cross the source planes at px, py, slices of every plane with a place for each ray of the
// grid.
func (v *Inversion) Locate(px, py [][]float64) {
	v.px, v.py = px, py
	v.pool.Run(len(v.chunks), v.runLocate)
	v.blocks = v.blocks[:0]
	cell := 0
	for k := range v.chunks {
		c := &v.chunks[k]
		for _, f := range c.first {
			v.first[cell] = int32(len(v.blocks)) + f
			cell++
		}
		v.blocks = append(v.blocks, c.blocks...)
	}
	v.first[cell] = int32(len(v.blocks))
	for part := range v.parts {
		v.spans(part)
	}
}

// spans finds what columns of a part the rows of K L may have.
func (v *Inversion) spans(part int) {
	own, line := v.lines[:len(v.cellAt)], v.lines[len(v.cellAt):]
	none := span{math.MaxInt32, 0}
	for i := range own {
		own[i] = none
	}
	for c, at := range v.plane {
		for j := v.first[c]; j < v.first[c+1]; j++ {
			if p := &v.blocks[j]; int(p.Part) == part {
				own[at] = own[at].union(span{p.Col, p.Col + int32(p.Rows-1)*p.Stride + int32(p.Cols)})
			}
		}
	}
	// along x, then along y, first with what follows
	for y := range v.height {
		from, to := own[y*v.width:(y+1)*v.width], line[y*v.width:(y+1)*v.width]
		for x := range to {
			s := none
			for _, o := range from[max(0, x-v.rx):min(v.width, x+v.rx+1)] {
				s = s.union(o)
			}
			to[x] = s
		}
	}
	for y := range v.height {
		to := own[y*v.width : (y+1)*v.width]
		copy(to, line[y*v.width:])
		for d := 1; d <= v.ry && y+d < v.height; d++ {
			for x, o := range line[(y+d)*v.width:][:v.width] {
				to[x] = to[x].union(o)
			}
		}
	}
	for c, at := range v.plane {
		after := own[at]
		v.reach[2*(c*len(v.parts)+part)] = after
		// what follows the cell as far before it as the reach goes has the rest
		x, y := int(at)%v.width, int(at)/v.width
		v.reach[2*(c*len(v.parts)+part)+1] = after.union(own[max(0, y-v.ry)*v.width+x])
	}
}

// locate is Locate for a stretch of pixels.
func (v *Inversion) locate(chunk int) {
	c := &v.chunks[chunk]
	c.first, c.blocks = c.first[:0], c.blocks[:0]
	for k := c.from; k < c.to; k++ {
		for sub := range v.grid.Fine * v.grid.Fine {
			c.first = append(c.first, int32(len(c.blocks)))
			for part := range v.parts {
				v.see(c, k, sub, part)
			}
		}
	}
}

// cellRays calls visit with each ray of a cell of the pixel k, counted from the grid's first.
func (v *Inversion) cellRays(k, sub int, visit func(ray int)) {
	g := v.grid
	side, first := int(g.Side[k]), int(g.First[k])
	m := side / g.Fine
	at := first + sub/g.Fine*m*side + sub%g.Fine*m
	for b := range m {
		for a := range m {
			visit(at + b*side + a)
		}
	}
}

// see adds the splines of a grid that a cell sees to a chunk.
func (v *Inversion) see(c *inversionChunk, k, sub, part int) {
	p := &v.parts[part]
	n := p.Grid.N
	px, py := v.px[p.Plane], v.py[p.Plane]
	x0, y0, x1, y1, rays := n, n, 0, 0, 0
	v.cellRays(k, sub, func(ray int) {
		t := &c.taps[rays]
		if c.seen[rays] = p.Grid.taps(t, px[ray], py[ray]); c.seen[rays] {
			x0, x1 = min(x0, max(0, t.ix)), max(x1, min(n, t.ix+3))
			y0, y1 = min(y0, max(0, t.iy)), max(y1, min(n, t.iy+3))
		}
		rays++
	})
	if x0 >= x1 || y0 >= y1 {
		return
	}
	at, across := len(c.blocks), (x1-x0+kern.BlockCols-1)/kern.BlockCols
	for y := y0; y < y1; y += kern.BlockRows {
		for x := x0; x < x1; x += kern.BlockCols {
			c.blocks = append(c.blocks, kern.SplineBlock{Col: int32(p.First + y*n + x), Stride: int32(n), Part: int32(part),
				Rows: int16(min(kern.BlockRows, y1-y)), Cols: int16(min(kern.BlockCols, x1-x))})
		}
	}
	blocks := c.blocks[at:]
	inv := 1 / float64(rays)
	for r := range rays {
		if !c.seen[r] {
			continue
		}
		t := &c.taps[r]
		a0, a1 := clip(t.ix, n)
		b0, b1 := clip(t.iy, n)
		for b := b0; b < b1; b++ {
			y := t.iy + b - y0
			for a := a0; a < a1; a++ {
				x := t.ix + a - x0
				blocks[y/kern.BlockRows*across+x/kern.BlockCols].W[y%kern.BlockRows*kern.BlockCols+x%kern.BlockCols] += inv * t.wx[a] * t.wy[b]
			}
		}
	}
}

// Apply writes L s to the plane, at the pixels that have rays.
func (v *Inversion) Apply(plane, s []float64) {
	for c, at := range v.plane {
		sum := 0.0
		for j := v.first[c]; j < v.first[c+1]; j++ {
			p := &v.blocks[j]
			for b := range int(p.Rows) {
				for a, x := range s[int(p.Col)+b*int(p.Stride):][:p.Cols] {
					sum += x * p.W[kern.BlockCols*b+a]
				}
			}
		}
		plane[at] = sum
	}
}

// ApplyAdj writes Lᵀ plane to dst.
func (v *Inversion) ApplyAdj(dst, plane []float64) {
	clear(dst)
	for c, at := range v.plane {
		g := plane[at]
		for j := v.first[c]; j < v.first[c+1]; j++ {
			p := &v.blocks[j]
			for b := range int(p.Rows) {
				row := dst[int(p.Col)+b*int(p.Stride):][:p.Cols]
				for a := range row {
					row[a] += g * p.W[kern.BlockCols*b+a]
				}
			}
		}
	}
}

// together is how many cells from the c-th on, before `end`, lie side by side: at most as many as the work has rows for.
func (v *Inversion) together(c, end int) int {
	n := 1
	for x := int(v.plane[c]) % v.width; n < kern.SpreadRows && c+n < end && x+n < v.width && v.plane[c+n] == v.plane[c]+int32(n); {
		n++
	}
	return n
}

// seen tells whether any of so many cells has splines.
func (v *Inversion) seen(c, count int) bool { return v.first[c] < v.first[c+count] }

// makeRows makes the rows of K L of so many cells side by side: whole, or what comes from each itself, half of it, and from
// the cells after it.
func (v *Inversion) makeRows(w *InversionWork, c, count int, whole bool) {
	x, y := int(v.plane[c])%v.width, int(v.plane[c])/v.width
	first := 0
	if whole {
		first = -min(y, v.ry)
	}
	for dy := first; dy <= v.ry && y+dy < v.height; dy++ {
		from, end := max(0, x-v.rx), min(x+count+v.rx, v.width)
		if dy == 0 && !whole {
			from = x
		}
		clear(w.k)
		for r := range count {
			v.lineOf(w.k[r*w.line:], c+r, x+r, dy, from, whole)
		}
		kern.Spread(w.rows, w.pitch, w.k, w.line, v.cellAt[(y+dy)*v.width:][from:end], v.first, v.blocks)
	}
}

// lineOf writes the elements of K of a cell, in column x, with those dy rows after it, to k, which begins with the column
// `from`. Of its own row those after it do unless the row is to be whole, and half of that with itself.
func (v *Inversion) lineOf(k []float64, cell, x, dy, from int, whole bool) {
	row := v.k[cell*v.half:][:v.half]
	lo, end := max(0, x-v.rx), min(x+v.rx+1, v.width)
	switch {
	case dy > 0:
		copy(k[lo-from:], row[v.rx+1+(dy-1)*(2*v.rx+1)+lo-(x-v.rx):][:end-lo])
	case dy == 0:
		copy(k[x-from:], row[:end-x])
		if !whole {
			k[x-from] *= 0.5
			return
		}
		fallthrough
	default:
		v.lineBack(k[lo-from:], cell, x, -dy)
	}
}

// lineBack writes the elements of K of a cell with those dy rows before it.
func (v *Inversion) lineBack(k []float64, cell, x, dy int) {
	from, end := v.lineBefore(x, dy)
	if v.before == nil {
		y := int(v.plane[cell]) / v.width
		v.elementsBefore(k, v.cellAt[(y-dy)*v.width:][from:end], x-from, dy)
		return
	}
	at := cell * (v.half - 1)
	if dy > 0 {
		at += v.rx + (dy-1)*(2*v.rx+1)
	}
	copy(k, v.before[at+from-(x-v.rx):][:end-from])
}

// row is the r-th row, of the cell c; its spans become those at work.
func (v *Inversion) row(w *InversionWork, r, c int, whole bool) []float64 {
	for i := range w.spans {
		w.spans[i] = v.reach[2*(c*len(v.parts)+i)]
		if whole {
			w.spans[i] = v.reach[2*(c*len(v.parts)+i)+1]
		}
	}
	return w.rows[r*w.pitch:][:v.n]
}

// lineBefore is the columns of the cells before the one in column x, dy rows below, that it shares elements of K with.
func (v *Inversion) lineBefore(x, dy int) (from, end int) {
	if dy == 0 {
		return max(0, x-v.rx), x
	}
	return max(0, x-v.rx), min(x+v.rx+1, v.width)
}

// elementsBefore writes the elements of K of a cell with cells dy rows below, the first of them dx columns before it, to k.
func (v *Inversion) elementsBefore(k []float64, cells []int32, dx, dy int) {
	at := dx
	if dy > 0 {
		at += v.rx + 1 + (dy-1)*(2*v.rx+1) + v.rx
	}
	for i, c := range cells {
		if c >= 0 {
			k[i] = v.k[int(c)*v.half+at-i]
		}
	}
}

// copyBefore keeps the elements with the cells before those of a stretch: rx of a cell's own row, 2 rx + 1 of each below.
func (v *Inversion) copyBefore(chunk int) {
	from, to := v.share(chunk, inversionChunks)
	for cell := from; cell < to; cell++ {
		x, y := int(v.plane[cell])%v.width, int(v.plane[cell])/v.width
		at := cell * (v.half - 1)
		for dy := 0; dy <= v.ry; dy++ {
			if y-dy >= 0 {
				lo, end := v.lineBefore(x, dy)
				v.elementsBefore(v.before[at+lo-(x-v.rx):], v.cellAt[(y-dy)*v.width:][lo:end], x-lo, dy)
			}
			if at += v.rx; dy > 0 {
				at += v.rx + 1
			}
		}
	}
}

// clear leaves the row at work as it was found.
func (w *InversionWork) clear(row []float64) {
	for _, s := range w.spans {
		if s.lo < s.hi {
			clear(row[s.lo:s.hi])
		}
	}
}

// Gram writes F to the lower triangle of dst, a matrix of `pitch` elements from one row to the next.
func (v *Inversion) Gram(dst []float64, pitch int) {
	v.dst, v.pitch = dst, pitch
	v.pool.Run(len(v.groups), v.runRows)
	v.pool.Run((v.n+sumRows-1)/sumRows, v.runSum)
}

const sumRows = 32

// rows adds the products of a stretch of cells: F is the sum of their groups and of its mirror image.
func (v *Inversion) rows(group int) {
	from, to := v.share(group, len(v.groups))
	w, f := v.works[group], v.groups[group]
	for c, count := from, 0; c < to; c += count {
		if count = v.together(c, to); !v.seen(c, count) {
			continue
		}
		v.makeRows(w, c, count, false)
		for r := range count {
			row := v.row(w, r, c+r, false)
			for j := v.first[c+r]; j < v.first[c+r+1]; j++ {
				p := &v.blocks[j]
				for b := range int(p.Rows) {
					v.addOuter(f, w, row, int(p.Col)+b*int(p.Stride), p.W[kern.BlockCols*b:][:p.Cols])
				}
			}
			w.clear(row)
		}
	}
}

// addOuter adds the row at work, times each of the weights, to as many rows of f from the a-th on.
func (v *Inversion) addOuter(f []float64, w *InversionWork, row []float64, a int, weights []float64) {
	for ; len(weights) >= 3; a, weights = a+3, weights[3:] {
		for _, s := range w.spans {
			if s.lo < s.hi {
				kern.AddRows(f[a*v.stride+int(s.lo):], v.stride, row[s.lo:s.hi], (*[3]float64)(weights))
			}
		}
	}
	for i, c := range weights {
		for _, s := range w.spans {
			if s.lo < s.hi {
				at := (a + i) * v.stride
				floats.AddScaled(f[at+int(s.lo):at+int(s.hi)], c, row[s.lo:s.hi])
			}
		}
	}
}

// sum adds up the groups and their mirror images, and clears them while they are in the cache.
func (v *Inversion) sum(chunk int) {
	from, to := chunk*sumRows, min((chunk+1)*sumRows, v.n)
	for j0 := from; j0 < v.n; j0 += sumRows {
		j1 := min(j0+sumRows, v.n)
		for i := from; i < to; i++ {
			for j := max(i, j0); j < j1; j++ {
				s := 0.0
				for _, f := range v.groups {
					a, b := &f[i*v.stride+j], &f[j*v.stride+i]
					if i == j {
						s += 2 * *a
					} else {
						s += *a + *b
					}
					*a, *b = 0, 0
				}
				v.dst[j*v.pitch+i] = s
			}
		}
	}
}

// RayAdjoint is where the derivative of the evidence by L comes from, and goes.
type RayAdjoint struct {
	// The derivative by an element of L is Blurred_i S_j − (K L Covariance)_ij − Σ_g Columns_gi Mixed_gj.
	Blurred    []float64   // BᵀC⁻¹ r in the plane
	S          []float64   // the coefficients
	Covariance []float64   // symmetric, n x n
	Columns    [][]float64 // planes
	Mixed      [][]float64 // n numbers for each of Columns
}

// RayVJP adds the derivative by the place of each ray of the pixels from ≤ k < to of the grid to gx and gy, which have a
// slice for each source plane that begins with the first of these rays.
func (v *Inversion) RayVJP(gx, gy [][]float64, a *RayAdjoint, w *InversionWork, from, to int) {
	f2 := v.grid.Fine * v.grid.Fine
	start := int(v.grid.First[from])
	for c, count := from*f2, 0; c < to*f2; c += count {
		if count = v.together(c, to*f2); !v.seen(c, count) {
			continue
		}
		v.makeRows(w, c, count, true)
		for r := range count {
			row := v.row(w, r, c+r, true)
			v.elements(w, a, row, c+r)
			w.clear(row)
			last := int32(-1)
			for j := v.first[c+r]; j < v.first[c+r+1]; j++ {
				if part := v.blocks[j].Part; part != last {
					last = part
					plane := v.parts[part].Plane
					v.places(gx[plane], gy[plane], w.trace, (c+r)/f2, (c+r)%f2, start, int(part))
				}
			}
		}
	}
}

// elements writes the derivatives by the elements of L of the cell to w.trace, at their columns.
func (v *Inversion) elements(w *InversionWork, a *RayAdjoint, row []float64, cell int) {
	at := v.plane[cell]
	blurred := a.Blurred[at]
	for k := v.first[cell]; k < v.first[cell+1]; k++ {
		p := &v.blocks[k]
		for b := range int(p.Rows) {
			v.dots(w, row, a.Covariance, int(p.Col)+b*int(p.Stride), int(p.Cols))
		}
		for b := range int(p.Rows) {
			o := int(p.Col) + b*int(p.Stride)
			for j := o; j < o+int(p.Cols); j++ {
				d := blurred*a.S[j] - w.trace[j]
				for g, plane := range a.Columns {
					d -= plane[at] * a.Mixed[g][j]
				}
				w.trace[j] = d
			}
		}
	}
}

// dots writes the scalar products of the row at work with so many rows of a matrix from the j-th on to w.trace[j:].
func (v *Inversion) dots(w *InversionWork, row, a []float64, j, rows int) {
	clear(w.trace[j : j+rows])
	var d [3]float64
	for ; rows >= 3; j, rows = j+3, rows-3 {
		for _, s := range w.spans {
			if s.lo < s.hi {
				kern.RowDots(&d, a[j*v.n+int(s.lo):], v.n, row[s.lo:s.hi])
				for r, x := range d {
					w.trace[j+r] += x
				}
			}
		}
	}
	for ; rows > 0; j, rows = j+1, rows-1 {
		for _, s := range w.spans {
			if s.lo < s.hi {
				w.trace[j] += floats.Dot(a[j*v.n+int(s.lo):j*v.n+int(s.hi)], row[s.lo:s.hi])
			}
		}
	}
}

// places takes the derivatives by the elements of L of a cell and a grid to the places of its rays.
func (v *Inversion) places(gx, gy, by []float64, k, sub, start, part int) {
	p := &v.parts[part]
	px, py := v.px[p.Plane], v.py[p.Plane]
	m := int(v.grid.Side[k]) / v.grid.Fine
	inv := 1 / float64(m*m)
	v.cellRays(k, sub, func(ray int) {
		var t splineTaps
		if p.Grid.taps(&t, px[ray], py[ray]) {
			_, x, y := p.Grid.value(&t, by[p.First:])
			gx[ray-start] += inv * x
			gy[ray-start] += inv * y
		}
	})
}

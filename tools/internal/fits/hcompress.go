package fits

import (
	"fmt"
	"math/bits"
)

// hcompressTile decodes HCOMPRESS_1: a two-dimensional Haar transform, its coefficients divided by a scale and stored bit
// plane by bit plane as quadtrees (White, Postman & Lattanzi 1992; FITS standard 4.0, section 10.4.4). With smooth the
// coefficients are interpolated where the division left room for it, as the program that packed the image asked for.
func hcompressTile(out []int64, data []byte, smooth bool) error {
	if len(data) < 25 || data[0] != 0xdd || data[1] != 0x99 {
		return fmt.Errorf("is not packed by hcompress: found no mark at its start")
	}
	r := &bitReader{data: data[2:]}
	rows, cols, scale := int(int32(r.bits(32))), int(int32(r.bits(32))), int64(int32(r.bits(32)))
	if rows < 1 || cols < 1 || rows > len(out) || rows*cols != len(out) {
		return fmt.Errorf("is of %d x %d pixels, expected %d in all", cols, rows, len(out))
	}
	sum := int64(r.bits(32)<<32 | r.bits(32))
	var planes [3]uint // bits of the coefficients, by quadrant
	for i := range planes {
		if planes[i] = uint(r.bits(8)); planes[i] > 62 {
			return fmt.Errorf("has coefficients of %d bits, expected at most 62", planes[i])
		}
	}
	clear(out)
	h := &haar{a: out, rows: rows, cols: cols}
	top, left := (rows+1)/2, (cols+1)/2
	for _, q := range []struct {
		at, rows, cols int
		bits           uint
	}{{0, top, left, planes[0]}, {left, top, cols / 2, planes[1]}, {cols * top, rows / 2, left, planes[1]}, {cols*top + left, rows / 2, cols / 2, planes[2]}} {
		if err := h.quadrant(r, q.at, q.rows, q.cols, q.bits); err != nil {
			return err
		}
	}
	if r.bits(4) != 0 {
		return fmt.Errorf("has no end mark behind its coefficients")
	}
	r.align()
	for i, v := range out {
		if v != 0 && r.bits(1) != 0 {
			out[i] = -v
		}
	}
	if r.end {
		return errTile
	}
	out[0] = sum
	if scale > 1 {
		for i := range out {
			out[i] *= scale
		}
	}
	if !smooth {
		scale = 0
	}
	h.inverse(scale / 2)
	return nil
}

// haar holds the coefficients of the transform, row by row.
type haar struct {
	a          []int64
	rows, cols int
}

// levels is the number of doublings that lead to at least n.
func levels(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// quadrant reads the bit planes of rows x cols coefficients at an offset, the highest first.
func (h *haar) quadrant(r *bitReader, at, rows, cols int, planes uint) error {
	depth := levels(max(rows, cols))
	shape := func(level int) (int, int) { // of the quadtree so many levels above the coefficients
		round := 1<<level - 1
		return max(1, (rows+round)>>level), max(1, (cols+round)>>level)
	}
	for bit := int(planes) - 1; bit >= 0; bit-- {
		if r.end {
			return errTile
		}
		var tree []byte
		switch form := r.bits(4); form {
		case 0: // not as a tree: four bits for each 2 x 2 coefficients
			tree = make([]byte, (rows+1)/2*((cols+1)/2))
			for i := range tree {
				tree[i] = byte(r.bits(4))
			}
		case 15:
			tree = []byte{quadCode(r)}
			for level := depth - 1; level > 0; level-- {
				nr, nc := shape(level)
				fine := make([]byte, nr*nc)
				splitCodes(tree, nr, nc, func(i, j int, set byte) { fine[i*nc+j] = set })
				for i := len(fine) - 1; i >= 0; i-- {
					if fine[i] != 0 {
						fine[i] = quadCode(r)
					}
				}
				tree = fine
			}
		default:
			return fmt.Errorf("has a bit plane of form %d, expected 0 or 15", form)
		}
		splitCodes(tree, rows, cols, func(i, j int, set byte) { h.a[at+i*h.cols+j] |= int64(set) << bit })
	}
	return nil
}

// splitCodes gives each of rows x cols cells its bit of the code of its 2 x 2 block: 8 and 4 above, 2 and 1 below.
func splitCodes(codes []byte, rows, cols int, set func(i, j int, bit byte)) {
	width := (cols + 1) / 2
	for i := range rows {
		for j := range cols {
			set(i, j, codes[i/2*width+j/2]>>(3-i%2*2-j%2)&1)
		}
	}
}

// quadCode reads a code of four bits that tells which quarters of a block are not empty, by its Huffman code.
func quadCode(r *bitReader) byte {
	c := r.bits(3)
	if c < 4 {
		return 1 << c
	}
	if c = c<<1 | r.bits(1); c < 13 {
		return [...]byte{3, 5, 10, 12, 15}[c-8]
	}
	if c = c<<1 | r.bits(1); c < 31 {
		return [...]byte{6, 7, 9, 11, 13}[c-26]
	}
	if r.bits(1) == 0 {
		return 0
	}
	return 14
}

// inverse turns coefficients into pixels, in place, one doubling after the other. A coefficient is stored without the low
// bits that its neighbours tell; limit is how far smoothing may move one.
func (h *haar) inverse(limit int64) {
	depth := levels(max(h.rows, h.cols))
	// bit[0] is the lowest bit of a diagonal difference, bit[1] that of the others, bit[2] that of a mean
	b0 := int64(1) << depth >> 1
	round := func(v, bit int64) int64 { // to a multiple of bit, halves away from zero
		half := bit >> 1
		if v < 0 && half > 0 {
			half--
		}
		return (v + half) &^ (bit - 1)
	}
	if b0 > 0 {
		h.a[0] = round(h.a[0], 4*b0)
	}
	line := make([]int64, max(h.rows, h.cols))
	for level := depth - 1; level >= 0; level-- {
		mask := 1<<level - 1
		rows, cols := (h.rows+mask)>>level, (h.cols+mask)>>level
		for i := range rows {
			interleave(h.a[i*h.cols:], cols, 1, line)
		}
		for j := range cols {
			interleave(h.a[j:], rows, h.cols, line)
		}
		if limit > 0 {
			h.smooth(rows, cols, limit)
		}
		shift := 1
		if level == 0 {
			shift = 2
		}
		b1 := 2 * b0
		for i := 0; i < rows; i += 2 {
			for j := 0; j < cols; j += 2 {
				at := i*h.cols + j
				down, right := i+1 < rows, j+1 < cols
				mean, x, y, xy := h.a[at], int64(0), int64(0), int64(0)
				if down {
					x = round(h.a[at+h.cols], b1)
				}
				if right {
					y = round(h.a[at+1], b1)
				}
				var low0 int64
				if down && right {
					xy = h.a[at+h.cols+1]
					if level > 0 { // on the last level all bits are there
						xy = round(xy, b0)
					}
					low0 = xy & b0
					x, y = inward(x, low0), inward(y, low0)
				}
				low1 := (xy ^ x ^ y) & b1
				switch {
				case mean >= 0:
					mean += low0 - low1
				case low0 == 0:
					mean += low1
				default:
					mean += low0 - low1
				}
				h.a[at] = (mean - x - y + xy) >> shift
				if right {
					h.a[at+1] = (mean - x + y - xy) >> shift
				}
				if down {
					h.a[at+h.cols] = (mean + x - y - xy) >> shift
				}
				if down && right {
					h.a[at+h.cols+1] = (mean + x + y + xy) >> shift
				}
			}
		}
		b0 >>= 1
	}
}

// inward moves v by d towards zero.
func inward(v, d int64) int64 {
	if v >= 0 {
		return v - d
	}
	return v + d
}

// interleave mixes the second half of n numbers, a step apart, into the first: 0 1 2 3 4 5 6 becomes 0 4 1 5 2 6 3.
func interleave(a []int64, n, step int, line []int64) {
	half := (n + 1) / 2
	for i := range n {
		line[i] = a[i*step]
	}
	for i := range half {
		a[2*i*step] = line[i]
	}
	for i := half; i < n; i++ {
		a[(2*(i-half)+1)*step] = line[i]
	}
}

// smooth moves differences towards those that the means of neighbouring blocks tell, by at most limit, and only where the
// means rise or fall throughout.
func (h *haar) smooth(rows, cols int, limit int64) {
	a, n := h.a, h.cols
	adjust := func(at int, diff, least, most int64, shift uint) {
		if least >= most {
			return
		}
		s := max(min(diff, most), least) - a[at]<<shift
		a[at] += max(min(s/(1<<shift), limit), -limit)
	}
	slope := func(at, step, coefficient int) {
		before, here, after := a[at-step], a[at], a[at+step]
		up, down := after-here, here-before
		adjust(coefficient, after-before, min(max(up, down), 0)<<2, max(min(up, down), 0)<<2, 3)
	}
	for i := 2; i < rows-2; i += 2 {
		for j := 0; j < cols; j += 2 {
			at := i*n + j
			slope(at, 2*n, at+n)
		}
	}
	for i := 0; i < rows; i += 2 {
		for j := 2; j < cols-2; j += 2 {
			at := i*n + j
			slope(at, 2, at+1)
		}
	}
	for i := 2; i < rows-2; i += 2 {
		for j := 2; j < cols-2; j += 2 {
			at := i*n + j
			here, mm, pm, mp, pp := a[at], a[at-2*n-2], a[at+2*n-2], a[at-2*n+2], a[at+2*n+2]
			x, y := 2*a[at+n], 2*a[at+1]
			most := min(max(pp-here, 0)-x-y, max(here-pm, 0)+x-y, max(here-mp, 0)-x+y, max(mm-here, 0)+x+y) << 4
			least := max(min(pp-here, 0)-x-y, min(here-pm, 0)+x-y, min(here-mp, 0)-x+y, min(mm-here, 0)+x+y) << 4
			adjust(at+n+1, pp+mm-mp-pm, least, most, 6)
		}
	}
}

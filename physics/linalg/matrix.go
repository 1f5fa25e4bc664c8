package linalg

// A matrix is a view of elements of a slice: (i, j) at index at + i·rs + j·cs. Transposed and reversed matrices are views
// with other strides.
type matrix struct {
	v          []float64
	at, rs, cs int
}

// rows is the view of a matrix stored by rows.
func rows(v []float64, stride int) matrix { return matrix{v: v, rs: stride, cs: 1} }

// from is the part that begins at (i, j).
func (a matrix) from(i, j int) matrix {
	a.at += i*a.rs + j*a.cs
	return a
}

// t is the transpose.
func (a matrix) t() matrix {
	a.rs, a.cs = a.cs, a.rs
	return a
}

// upsideDown has its n rows in the opposite order.
func (a matrix) upsideDown(n int) matrix {
	a.at += (n - 1) * a.rs
	a.rs = -a.rs
	return a
}

// op is the matrix, transposed where that is asked for.
func op(transposed bool, a matrix) matrix {
	if transposed {
		return a.t()
	}
	return a
}

// pack writes m rows and n columns of a to dst for kern.Gemm: stretches of `width` rows, of each its columns one after the
// other. The last stretch is filled with rows of zeros.
func pack(dst []float64, width int, a matrix, m, n int) {
	for first := 0; first < m; first += width {
		packStretch(dst[:width*n], width, a.from(first, 0), min(width, m-first), n)
		dst = dst[width*n:]
	}
}

func packStretch(dst []float64, width int, a matrix, m, n int) {
	if a.rs == 1 && m == width {
		for j := range n {
			copy(dst[j*width:][:width], a.v[a.at+j*a.cs:][:width])
		}
		return
	}
	for i := range m {
		at, to := a.at+i*a.rs, i
		if a.cs == 1 {
			for _, v := range a.v[at:][:n] {
				dst[to] = v
				to += width
			}
			continue
		}
		for range n {
			dst[to] = a.v[at]
			at += a.cs
			to += width
		}
	}
	for i := m; i < width; i++ {
		for to := i; to < len(dst); to += width {
			dst[to] = 0
		}
	}
}

// unpack writes m rows of n columns to a, from rows of src that begin `width` apart.
func unpack(a matrix, src []float64, width, m, n int) {
	for i := range m {
		row, at := src[i*width:][:n], a.at+i*a.rs
		if a.cs == 1 {
			copy(a.v[at:][:n], row)
			continue
		}
		for _, v := range row {
			a.v[at] = v
			at += a.cs
		}
	}
}

// lowerSquare writes the n x n lower triangle of l to dst, by rows, with zeros above it; unit: its diagonal is one and l's is
// not read.
func lowerSquare(dst []float64, l matrix, n int, unit bool) {
	for i := range n {
		row, at := dst[i*n:][:n], l.at+i*l.rs
		for j := range i + 1 {
			row[j] = l.v[at]
			at += l.cs
		}
		clear(row[i+1:])
		if unit {
			row[i] = 1
		}
	}
}

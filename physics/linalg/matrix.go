package linalg

import "lenskit/physics/internal/kern"

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

// mirrored has its n columns in the opposite order.
func (a matrix) mirrored(n int) matrix { return a.t().upsideDown(n).t() }

// op is the matrix, transposed where that is asked for.
func op(transposed bool, a matrix) matrix {
	if transposed {
		return a.t()
	}
	return a
}

// assign copies the m x n matrix src to dst. Elements of a row, or of a column, lie side by side in either.
func assign(dst, src matrix, m, n int) {
	if dst.cs != 1 && dst.cs != -1 {
		dst, src, m, n = dst.t(), src.t(), n, m
	}
	if dst.cs == -1 {
		dst, src = dst.mirrored(n), src.mirrored(n)
	}
	if src.rs == -1 {
		dst, src = dst.upsideDown(m), src.upsideDown(m)
	}
	switch {
	case src.cs == 1:
		for i := range m {
			copy(dst.v[dst.at+i*dst.rs:][:n], src.v[src.at+i*src.rs:][:n])
		}
	case src.cs == -1: // the other way round
		for i := range m {
			for j := range n {
				dst.v[dst.at+i*dst.rs+j] = src.v[src.at+i*src.rs-j]
			}
		}
	case src.rs == 1:
		kern.Transpose(dst.v, dst.at, dst.rs, src.v, src.at, src.cs, n, m)
	}
}

// pack writes m rows and n columns of a to dst for kern.Gemm: stretches of `width` rows, of each its columns one after the
// other. The last stretch is filled with rows of zeros.
func pack(dst []float64, width int, a matrix, m, n int) {
	size := width * n
	if rest := m % width; rest > 0 {
		clear(dst[m/width*size:][:size])
	}
	if a.rs == 1 { // each column is read at once
		for j := range n {
			column := a.v[a.at+j*a.cs:][:m]
			for to := j * width; len(column) > 0; to += size {
				column = column[copy(dst[to:][:width], column):]
			}
		}
		return
	}
	for first := 0; first < m; first += width {
		assign(matrix{v: dst, rs: 1, cs: width}, a.from(first, 0), min(width, m-first), n)
		dst = dst[min(size, len(dst)):]
	}
}

// lowerSquare writes the n x n lower triangle of l to dst, by rows, with zeros above it; unit: its diagonal is one and l's is
// not read.
func lowerSquare(dst []float64, l matrix, n int, unit bool) {
	assign(rows(dst, n), l, n, n)
	for i := range n {
		clear(dst[i*n+i+1 : (i+1)*n])
		if unit {
			dst[i*n+i] = 1
		}
	}
}

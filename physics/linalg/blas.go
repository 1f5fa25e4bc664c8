package linalg

import (
	"sync"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/blas/gonum"
)

var (
	_ blas.Float64 = (*Workspace)(nil)
	_ blas.Float64 = BLAS{}
)

// stored tells whether a holds a matrix.
func stored(rows, cols int, a []float64, stride int) bool {
	return rows > 0 && cols > 0 && stride >= cols && len(a) >= stride*(rows-1)+cols
}

// storedOp is stored for op(A).
func storedOp(t blas.Transpose, rows, cols int, a []float64, stride int) bool {
	if t == blas.NoTrans {
		return stored(rows, cols, a, stride)
	}
	return (t == blas.Trans || t == blas.ConjTrans) && stored(cols, rows, a, stride)
}

// triangle tells whether a holds one, n x n.
func triangle(ul blas.Uplo, n int, a []float64, stride int) bool {
	return (ul == blas.Lower || ul == blas.Upper) && stored(n, n, a, stride)
}

// order is the size of the square matrix beside an m x n matrix, 0 where s is no side.
func order(s blas.Side, m, n int) int {
	switch s {
	case blas.Left:
		return m
	case blas.Right:
		return n
	}
	return 0
}

// lowerView is the square matrix in triangle ul, transposed where that makes it the lower one.
func lowerView(ul blas.Uplo, a []float64, stride int) matrix {
	return op(ul == blas.Upper, rows(a, stride))
}

// The routines take over what is worth it from gonum's: wrong arguments, which gonum's refuse, and products of nothing
// remain with those.

// Dgemm makes C = alpha op(A) op(B) + beta C, m x n; op(A) has k columns.
func (w *Workspace) Dgemm(tA, tB blas.Transpose, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	if alpha == 0 || !storedOp(tA, m, k, a, lda) || !storedOp(tB, k, n, b, ldb) || !stored(m, n, c, ldc) {
		w.Implementation.Dgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		return
	}
	w.multiply(whole, m, n, k, alpha, op(tA != blas.NoTrans, rows(a, lda)), op(tB != blas.NoTrans, rows(b, ldb)), beta, rows(c, ldc))
}

// SymmetricProduct is Dgemm for a product that is known to be symmetric, such as Fᵀ(KF): it makes the lower triangle of
// C = alpha op(A) op(B) + beta C, n x n, and leaves what is above the diagonal. op(A) has k columns.
func (w *Workspace) SymmetricProduct(tA, tB blas.Transpose, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	w.Implementation.Dgemm(tA, tB, n, n, k, 0, a, lda, b, ldb, 1, c, ldc) // does nothing but refuse wrong arguments
	if alpha == 0 || k == 0 {
		w.Implementation.Dsyrk(blas.Lower, blas.Trans, n, 0, 0, nil, max(1, n), beta, c, ldc)
		return
	}
	w.multiply(lower, n, n, k, alpha, op(tA != blas.NoTrans, rows(a, lda)), op(tB != blas.NoTrans, rows(b, ldb)), beta, rows(c, ldc))
}

// Dsyrk makes triangle ul of C = alpha op(A) op(A)ᵀ + beta C, n x n; op(A) has k columns.
func (w *Workspace) Dsyrk(ul blas.Uplo, tA blas.Transpose, n, k int, alpha float64, a []float64, lda int, beta float64, c []float64, ldc int) {
	if alpha == 0 || !storedOp(tA, n, k, a, lda) || !triangle(ul, n, c, ldc) {
		w.Implementation.Dsyrk(ul, tA, n, k, alpha, a, lda, beta, c, ldc)
		return
	}
	x := op(tA != blas.NoTrans, rows(a, lda))
	w.multiply(triangleOf(ul), n, n, k, alpha, x, x.t(), beta, rows(c, ldc))
}

// Dsyr2k makes triangle ul of C = alpha (op(A) op(B)ᵀ + op(B) op(A)ᵀ) + beta C, n x n; op(A) has k columns.
func (w *Workspace) Dsyr2k(ul blas.Uplo, tA blas.Transpose, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	if alpha == 0 || !storedOp(tA, n, k, a, lda) || !storedOp(tA, n, k, b, ldb) || !triangle(ul, n, c, ldc) {
		w.Implementation.Dsyr2k(ul, tA, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		return
	}
	x, y := op(tA != blas.NoTrans, rows(a, lda)), op(tA != blas.NoTrans, rows(b, ldb))
	w.multiply(triangleOf(ul), n, n, k, alpha, x, y.t(), beta, rows(c, ldc))
	w.multiply(triangleOf(ul), n, n, k, alpha, y, x.t(), 1, rows(c, ldc))
}

// Dsymm makes C = alpha AB + beta C, or alpha BA + beta C where s is blas.Right, m x n; A is symmetric and stored in triangle ul.
func (w *Workspace) Dsymm(s blas.Side, ul blas.Uplo, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	if alpha == 0 || !triangle(ul, order(s, m, n), a, lda) || !stored(m, n, b, ldb) || !stored(m, n, c, ldc) {
		w.Implementation.Dsymm(s, ul, m, n, alpha, a, lda, b, ldb, beta, c, ldc)
		return
	}
	right := s == blas.Right
	if right {
		m, n = n, m
	}
	w.multiplySymmetric(m, n, alpha, lowerView(ul, a, lda), op(right, rows(b, ldb)), beta, op(right, rows(c, ldc)))
}

// Dtrmm replaces the m x n matrix B by alpha op(A) B, or by alpha B op(A) where s is blas.Right; A is triangular.
func (w *Workspace) Dtrmm(s blas.Side, ul blas.Uplo, tA blas.Transpose, d blas.Diag, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int) {
	size, l, x, ok := triangular(s, ul, tA, d, m, n, alpha, a, lda, b, ldb)
	if !ok {
		w.Implementation.Dtrmm(s, ul, tA, d, m, n, alpha, a, lda, b, ldb)
		return
	}
	w.multiplyLower(d == blas.Unit, size, m+n-size, alpha, l, x)
}

// fewRows is the number of rows that gonum solves for in less time than it takes to pack the triangle.
const fewRows = 2

// Dtrsm replaces the m x n matrix B by alpha op(A)⁻¹ B, or by alpha B op(A)⁻¹ where s is blas.Right; A is triangular.
func (w *Workspace) Dtrsm(s blas.Side, ul blas.Uplo, tA blas.Transpose, d blas.Diag, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int) {
	size, l, x, ok := triangular(s, ul, tA, d, m, n, alpha, a, lda, b, ldb)
	if s == blas.Left && n == 1 && ldb == 1 && ok { // a column without gaps is a row
		s, m, n, ldb = blas.Right, 1, m, m
		if tA == blas.NoTrans {
			tA = blas.Trans
		} else {
			tA = blas.NoTrans
		}
	}
	if !ok || s == blas.Right && m <= fewRows {
		w.Implementation.Dtrsm(s, ul, tA, d, m, n, alpha, a, lda, b, ldb)
		return
	}
	w.solve(d == blas.Unit, size, m+n-size, alpha, l, x)
}

// triangular looks at the triangular matrix, of so many rows, and at what it multiplies from whichever side, so that it is lower
// and on the left. ok: the arguments are right, and there is something to do.
func triangular(s blas.Side, ul blas.Uplo, tA blas.Transpose, d blas.Diag, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int) (size int, l, x matrix, ok bool) {
	size = order(s, m, n)
	transposed := tA == blas.Trans || tA == blas.ConjTrans
	ok = alpha != 0 && triangle(ul, size, a, lda) && stored(m, n, b, ldb) && (transposed || tA == blas.NoTrans) && (d == blas.Unit || d == blas.NonUnit)
	if !ok {
		return
	}
	l, x = lowerLeft(s == blas.Left, (ul == blas.Lower) != transposed, size, op(transposed, rows(a, lda)), rows(b, ldb))
	return
}

func triangleOf(ul blas.Uplo) part {
	if ul == blas.Lower {
		return lower
	}
	return upper
}

// BLAS is gonum's interface to the routines of Workspace, for any number of callers at a time. Each call runs in the caller
// alone.
type BLAS struct{ gonum.Implementation }

var spare = sync.Pool{New: func() any { return New(nil) }}

// Use has gonum's matrices and LAPACK, in the whole program, call BLAS. Their results then differ from those before in the last
// bits. A program calls it once, before it computes; lenskit itself does not.
func Use() { blas64.Use(BLAS{}) }

// Dgemm is Workspace.Dgemm.
func (BLAS) Dgemm(tA, tB blas.Transpose, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	w := spare.Get().(*Workspace)
	w.Dgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	spare.Put(w)
}

// Dsyrk is Workspace.Dsyrk.
func (BLAS) Dsyrk(ul blas.Uplo, tA blas.Transpose, n, k int, alpha float64, a []float64, lda int, beta float64, c []float64, ldc int) {
	w := spare.Get().(*Workspace)
	w.Dsyrk(ul, tA, n, k, alpha, a, lda, beta, c, ldc)
	spare.Put(w)
}

// Dsyr2k is Workspace.Dsyr2k.
func (BLAS) Dsyr2k(ul blas.Uplo, tA blas.Transpose, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	w := spare.Get().(*Workspace)
	w.Dsyr2k(ul, tA, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	spare.Put(w)
}

// Dsymm is Workspace.Dsymm.
func (BLAS) Dsymm(s blas.Side, ul blas.Uplo, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	w := spare.Get().(*Workspace)
	w.Dsymm(s, ul, m, n, alpha, a, lda, b, ldb, beta, c, ldc)
	spare.Put(w)
}

// Dtrmm is Workspace.Dtrmm.
func (BLAS) Dtrmm(s blas.Side, ul blas.Uplo, tA blas.Transpose, d blas.Diag, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int) {
	w := spare.Get().(*Workspace)
	w.Dtrmm(s, ul, tA, d, m, n, alpha, a, lda, b, ldb)
	spare.Put(w)
}

// Dtrsm is Workspace.Dtrsm.
func (BLAS) Dtrsm(s blas.Side, ul blas.Uplo, tA blas.Transpose, d blas.Diag, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int) {
	w := spare.Get().(*Workspace)
	w.Dtrsm(s, ul, tA, d, m, n, alpha, a, lda, b, ldb)
	spare.Put(w)
}

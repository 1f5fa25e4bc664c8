// Package linalg is dense linear algebra in float64: products of matrices, triangular solutions, Cholesky factors and
// inverses.
//
// Matrices are gonum's: slices by rows, element (i, j) at i·stride + j.
package linalg

import (
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
	lapack "gonum.org/v1/gonum/lapack/gonum"
)

// A Workspace has the routines and the memory that they work in. It grows with the matrices that it meets and allocates
// nothing after that. It serves one caller at a time.
type Workspace struct {
	gonum.Implementation // what is not below: the vector and matrix-vector routines of BLAS
	run                  func(chunks int, f func(chunk int))
}

// New makes a workspace. run calls f(0) … f(chunks-1), in any order and several at a time, and returns when all are done,
// as physics.Pool's Run does; nil takes one after another. Results are the same bit for bit whatever run does.
func New(run func(chunks int, f func(chunk int))) *Workspace { return &Workspace{run: run} }

// Cholesky replaces the lower triangle of the n x n matrix a, symmetric and positive definite, by L with A = LLᵀ, and
// leaves what is above the diagonal. It returns false where A is not positive definite to rounding, and then leaves the lower
// triangle in no useful state.
func (w *Workspace) Cholesky(n int, a []float64, stride int) bool {
	return lapack.Implementation{}.Dpotrf(blas.Lower, n, a, stride)
}

// Inverse replaces L, Cholesky's factor of A in the lower triangle of the n x n matrix l, by the whole of A⁻¹, both triangles.
func (w *Workspace) Inverse(n int, l []float64, stride int) {
	lapack.Implementation{}.Dpotri(blas.Lower, n, l, stride)
	Mirror(n, l, stride)
}

// Solve replaces the n x m matrix b by A⁻¹B, where l is Cholesky's factor of A.
func (w *Workspace) Solve(n, m int, l []float64, stride int, b []float64, strideB int) {
	w.Dtrsm(blas.Left, blas.Lower, blas.NoTrans, blas.NonUnit, n, m, 1, l, stride, b, strideB)
	w.Dtrsm(blas.Left, blas.Lower, blas.Trans, blas.NonUnit, n, m, 1, l, stride, b, strideB)
}

// SymmetricProduct is Dgemm for a product that is known to be symmetric, such as Fᵀ(KF): it computes the lower triangle of
// C = alpha op(A) op(B) + beta C, n x n, and leaves what is above the diagonal. k is the number of columns of op(A).
func (w *Workspace) SymmetricProduct(tA, tB blas.Transpose, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	w.Dgemm(tA, tB, n, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
}

// LogDet is ln|A| of A = LLᵀ, n x n.
func LogDet(n int, l []float64, stride int) float64 {
	sum := 0.0
	for i := range n {
		sum += math.Log(l[i*stride+i])
	}
	return 2 * sum
}

// Mirror copies what is below the diagonal of the n x n matrix a to above it.
func Mirror(n int, a []float64, stride int) {
	for i := range n {
		for j := range i {
			a[j*stride+i] = a[i*stride+j]
		}
	}
}

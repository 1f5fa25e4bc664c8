package adjoint

import (
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
)

// The dense operations of an inversion, on matrices stored row by row without gaps.

// factorise overwrites the upper triangle of the n x n matrix a with U, a = UᵀU, and returns ln|a|; ok is false where a is
// not positive definite.
func factorise(a []float64, n int) (logDet float64, ok bool) {
	if n == 0 {
		return 0, true
	}
	if _, ok = lapack64.Potrf(blas64.Symmetric{N: n, Stride: n, Data: a, Uplo: blas.Upper}); !ok {
		return 0, false
	}
	for i := range n {
		logDet += 2 * math.Log(a[i*n+i])
	}
	return logDet, finite(logDet)
}

// timesInverse overwrites the rows of b, m of n elements, with b U⁻¹, timesInverseT with b U⁻ᵀ.
func timesInverse(b, u []float64, m, n int) { triangularSolve(blas.NoTrans, b, u, m, n) }

func timesInverseT(b, u []float64, m, n int) { triangularSolve(blas.Trans, b, u, m, n) }

func triangularSolve(t blas.Transpose, b, u []float64, m, n int) {
	if n == 0 || m == 0 {
		return
	}
	tri := blas64.Triangular{N: n, Stride: n, Data: u, Uplo: blas.Upper, Diag: blas.NonUnit}
	blas64.Trsm(blas.Right, t, 1, tri, blas64.General{Rows: m, Cols: n, Stride: n, Data: b})
}

// invert overwrites a, which holds U in its upper triangle, with the whole of (UᵀU)⁻¹.
func invert(a []float64, n int) {
	if n == 0 {
		return
	}
	lapack64.Potri(blas64.Triangular{N: n, Stride: n, Data: a, Uplo: blas.Upper, Diag: blas.NonUnit})
	mirror(a, n)
}

// mirror copies the upper triangle to the lower one, block by block.
func mirror(a []float64, n int) {
	const block = 32
	for i0 := 0; i0 < n; i0 += block {
		for j0 := i0; j0 < n; j0 += block {
			for i := i0; i < min(i0+block, n); i++ {
				for j := max(i+1, j0); j < min(j0+block, n); j++ {
					a[j*n+i] = a[i*n+j]
				}
			}
		}
	}
}

// addGram adds xᵀ x to the n x n matrix a, x being m rows of n elements.
func addGram(a, x []float64, m, n int) {
	if n == 0 || m == 0 {
		return
	}
	of := blas64.General{Rows: m, Cols: n, Stride: n, Data: x}
	blas64.Gemm(blas.Trans, blas.NoTrans, 1, of, of, 1, blas64.General{Rows: n, Cols: n, Stride: n, Data: a})
}

// products writes x xᵀ to the m x m matrix dst, x being m rows of n elements.
func products(dst, x []float64, m, n int) {
	if m == 0 {
		return
	}
	of := blas64.General{Rows: m, Cols: n, Stride: n, Data: x}
	blas64.Gemm(blas.NoTrans, blas.Trans, 1, of, of, 0, blas64.General{Rows: m, Cols: m, Stride: m, Data: dst})
}

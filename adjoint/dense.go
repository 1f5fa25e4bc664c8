package adjoint

import (
	"gonum.org/v1/gonum/blas"

	"lenskit/physics/linalg"
)

// dense is the dense operations of an inversion, on matrices stored row by row without gaps.
type dense struct{ *linalg.Workspace }

// factorise overwrites the lower triangle of the n x n matrix a with L, a = LLᵀ, and returns ln|a|; ok is false where a is
// not positive definite, or so nearly not that rounding has the last word. work has n elements.
func (d dense) factorise(a []float64, n int, work []float64) (logDet float64, ok bool) {
	for i := range n {
		work[i] = a[i*n+i]
	}
	if !d.Cholesky(n, a, n) {
		return 0, false
	}
	for i := range n {
		if l := a[i*n+i]; !(l*l > leastShare*work[i]) {
			return 0, false
		}
	}
	logDet = linalg.LogDet(n, a, n)
	return logDet, finite(logDet)
}

// leastShare is what has to be left of each diagonal element, in parts of it, when the unknowns before it are solved for.
const leastShare = 1e-14

// whiten overwrites the rows of b, m of n elements, with b L⁻ᵀ, and unwhiten with b L⁻¹: one after the other makes b a⁻¹.
func (d dense) whiten(b, l []float64, m, n int) { d.triangular(blas.Trans, b, l, m, n) }

func (d dense) unwhiten(b, l []float64, m, n int) { d.triangular(blas.NoTrans, b, l, m, n) }

func (d dense) triangular(t blas.Transpose, b, l []float64, m, n int) {
	if m > 0 && n > 0 {
		d.Dtrsm(blas.Right, blas.Lower, t, blas.NonUnit, m, n, 1, l, n, b, n)
	}
}

// addGram adds xᵀ x to the n x n matrix a, x being m rows of n elements.
func (d dense) addGram(a, x []float64, m, n int) {
	if m > 0 && n > 0 {
		d.Dgemm(blas.Trans, blas.NoTrans, n, n, m, 1, x, n, x, n, 1, a, n)
	}
}

// products writes x yᵀ to the m x k matrix dst, x being m rows of n elements and y being k.
func (d dense) products(dst, x, y []float64, m, k, n int) {
	if m > 0 && k > 0 && n > 0 {
		d.Dgemm(blas.NoTrans, blas.Trans, m, k, n, 1, x, n, y, n, 0, dst, k)
	}
}

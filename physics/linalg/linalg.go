// Package linalg is dense linear algebra in float64 at the processor's rate: products of matrices, triangular solutions,
// Cholesky factors and inverses.
//
// Matrices are gonum's: slices by rows, element (i, j) at i·stride + j. Everything comes down to products of panels that fit
// the caches, of which kern.Gemm makes a tile at a time. Results are the same bit for bit whatever the number of threads,
// and with AVX-512 as with AVX2.
//
//	w := linalg.New(pool.Run)
//	if !w.Cholesky(n, a, n) {
//		// not positive definite
//	}
//	logDet := linalg.LogDet(n, a, n)
//	w.Inverse(n, a, n)
//
// Use offers the same routines to gonum.
package linalg

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

// A Workspace has the routines and the memory that they work in. It grows with the matrices that it meets and allocates
// nothing after that. It serves one caller at a time.
type Workspace struct {
	gonum.Implementation // the routines of BLAS that are not below
	run                  func(chunks int, f func(chunk int))

	packedA, packedB, square, inverse []float64

	// what chunks are at work on, and their functions, which are made once
	product  product
	solution solution
	mirrored struct {
		n int
		a matrix
	}
	packBlock, multiplyBlock, solveColumns, mirrorRows func(chunk int)
}

// New makes a workspace. run calls f(0) … f(chunks-1), in any order and several at a time, and returns when all are done,
// as physics.Pool's Run does; nil takes one after another.
func New(run func(chunks int, f func(chunk int))) *Workspace {
	w := &Workspace{run: run}
	w.packBlock, w.multiplyBlock, w.solveColumns = w.packBlockOf, w.multiplyBlockOf, w.solveColumnsOf
	w.mirrorRows = func(i int) { mirror(i, w.mirrored.n, w.mirrored.a) }
	return w
}

// Cholesky replaces the lower triangle of the n x n matrix a, symmetric and positive definite, by L with A = LLᵀ, and
// leaves what is above the diagonal. It returns false where A is not positive definite to rounding or has an element that is not a
// number, and then the lower triangle is of no use.
func (w *Workspace) Cholesky(n int, a []float64, stride int) bool {
	return w.cholesky(n, square(n, a, stride))
}

// square is the n x n matrix in a.
func square(n int, a []float64, stride int) matrix {
	if n > 0 && !stored(n, n, a, stride) {
		panic(fmt.Sprintf("linalg: no %d x %d matrix in %d elements with stride %d", n, n, len(a), stride))
	}
	return rows(a, stride)
}

// choleskyLeaf is the size of matrices that are factored a column at a time.
const choleskyLeaf = 48

func (w *Workspace) cholesky(n int, a matrix) bool {
	if n <= choleskyLeaf {
		return choleskyByColumns(n, a)
	}
	h := half(n)
	if !w.cholesky(h, a) {
		return false
	}
	below := a.from(h, 0)
	l11, right := lowerLeft(false, false, h, a.t(), below)
	w.solve(false, h, n-h, 1, l11, right)
	rest := a.from(h, h)
	w.multiply(lower, n-h, n-h, h, -1, below, below.t(), 1, rest)
	return w.cholesky(n-h, rest)
}

func choleskyByColumns(n int, a matrix) bool {
	var column [choleskyLeaf]float64
	for j := range n {
		row := a.v[a.at+j*a.rs:][:j+1]
		d := math.Sqrt(row[j])
		if !(d > 0) || math.IsInf(d, 1) {
			return false
		}
		row[j] = d
		for i := j + 1; i < n; i++ {
			row := a.v[a.at+i*a.rs:][:i+1]
			l := row[j] / d
			row[j], column[i] = l, l
			c := column[j+1 : i+1]
			row = row[j+1:][:len(c)]
			for k, v := range c {
				row[k] -= l * v
			}
		}
	}
	return true
}

// Inverse replaces L, Cholesky's factor of A in the lower triangle of the n x n matrix l, by A⁻¹, the whole of it.
func (w *Workspace) Inverse(n int, l []float64, stride int) {
	a := square(n, l, stride)
	w.invert(n, a)
	w.squareLower(n, a)
	w.mirrored.n, w.mirrored.a = n, a
	w.each(n*n < alone, ceil(n, mirrorRows), w.mirrorRows)
}

// Solve replaces the n x m matrix b by A⁻¹B, where l is Cholesky's factor of A.
func (w *Workspace) Solve(n, m int, l []float64, strideL int, b []float64, strideB int) {
	w.Dtrsm(blas.Left, blas.Lower, blas.NoTrans, blas.NonUnit, n, m, 1, l, strideL, b, strideB)
	w.Dtrsm(blas.Left, blas.Lower, blas.Trans, blas.NonUnit, n, m, 1, l, strideL, b, strideB)
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
	whole := square(n, a, stride)
	for i := range ceil(n, mirrorRows) {
		mirror(i, n, whole)
	}
}

// mirrorRows is the number of rows that mirror takes.
const mirrorRows = 48

// mirror is Mirror of stretch i of the rows.
func mirror(i, n int, a matrix) {
	first := i * mirrorRows
	m := min(mirrorRows, n-first)
	assign(a.from(0, first), a.from(first, 0).t(), first, m)
	for r := first; r < first+m; r++ {
		assign(a.from(first, r), a.from(r, first).t(), r-first, 1)
	}
}

package linalg_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

	"lenskit/physics"
	"lenskit/physics/linalg"
)

func normals(rng *rand.Rand, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = rng.NormFloat64()
	}
	return v
}

// positive is a random symmetric positive definite matrix with eigenvalues between about 1/100 and 4.
func positive(rng *rand.Rand, n, stride int) []float64 {
	x, a := normals(rng, n*n), normals(rng, n*stride)
	linalg.New(nil).Dsyrk(blas.Lower, blas.NoTrans, n, n, 1/float64(n), x, n, 0, a, stride)
	linalg.Mirror(n, a, stride)
	for i := range n {
		a[i*stride+i] += 0.01
	}
	return a
}

func TestCholeskyAndInverse(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	w := linalg.New(nil)
	for _, n := range []int{1, 2, 11, 12, 13, 47, 48, 49, 95, 97, 100, 191, 240, 241, 300, 523} {
		stride := n + rng.IntN(5)
		a := positive(rng, n, stride)
		l := append([]float64(nil), a...)
		if !w.Cholesky(n, l, stride) {
			t.Fatalf("n = %d: not positive definite", n)
		}
		worst := 0.0
		for i := range n {
			for j := range n {
				if j > i {
					if l[i*stride+j] != a[i*stride+j] {
						t.Fatalf("n = %d: element %d, %d above the diagonal changed", n, i, j)
					}
					continue
				}
				sum := 0.0
				for k := range j + 1 {
					sum += l[i*stride+k] * l[j*stride+k]
				}
				worst = max(worst, math.Abs(sum-a[i*stride+j]))
			}
		}
		if !(worst <= 1e-14) {
			t.Errorf("n = %d: LLᵀ differs from A by %g", n, worst)
		}
		inverse := append([]float64(nil), l...)
		w.Inverse(n, inverse, stride)
		product := make([]float64, n*n)
		gonum.Implementation{}.Dgemm(blas.NoTrans, blas.NoTrans, n, n, n, 1, a, stride, inverse, stride, 0, product, n)
		worst = 0
		for i := range n {
			product[i*n+i]--
			for j := range n {
				worst = max(worst, math.Abs(product[i*n+j]))
			}
		}
		if !(worst <= 1e-11) {
			t.Errorf("n = %d: A A⁻¹ differs from the unit matrix by %g", n, worst)
		}
	}
}

func BenchmarkGemm1024(b *testing.B) {
	const n = 1024
	rng := rand.New(rand.NewPCG(5, 2))
	x, y, c := normals(rng, n*n), normals(rng, n*n), make([]float64, n*n)
	timed(b, 2*n*n*n, func() {}, func(w *linalg.Workspace) { w.Dgemm(blas.NoTrans, blas.NoTrans, n, n, n, 1, x, n, y, n, 0, c, n) })
}

func BenchmarkCholesky1600(b *testing.B) {
	const n = 1600
	a := positive(rand.New(rand.NewPCG(5, 3)), n, n)
	l := make([]float64, n*n)
	timed(b, n*n*n/3, func() { copy(l, a) }, func(w *linalg.Workspace) { w.Cholesky(n, l, n) })
}

func BenchmarkInverse1600(b *testing.B) {
	const n = 1600
	l := positive(rand.New(rand.NewPCG(5, 3)), n, n)
	linalg.New(nil).Cholesky(n, l, n)
	inverse := make([]float64, n*n)
	timed(b, 2*n*n*n/3, func() { copy(inverse, l) }, func(w *linalg.Workspace) { w.Inverse(n, inverse, n) })
}

// timed measures f by one and by two threads.
func timed(b *testing.B, operations float64, before func(), f func(w *linalg.Workspace)) {
	for _, threads := range []string{"1", "2"} {
		b.Run("threads="+threads, func(b *testing.B) {
			pool := physics.NewPool(int(threads[0] - '0'))
			defer pool.Close()
			w := linalg.New(pool.Run)
			before()
			f(w)
			least := math.Inf(1)
			last := b.Elapsed()
			for b.Loop() {
				b.StopTimer()
				before()
				b.StartTimer()
				last = b.Elapsed()
				f(w)
				least = min(least, float64(b.Elapsed()-last))
			}
			b.ReportMetric(least/1e6, "least-ms")
			b.ReportMetric(operations/least, "GFlop/s")
		})
	}
}

package linalg_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
	lapack "gonum.org/v1/gonum/lapack/gonum"

	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/physics/linalg"
)

func normals(rng *rand.Rand, n int) []float64 { return check.Normals(rng, n) }

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

// The Cholesky factor of min(i, j), counted from one, is all ones; the inverse has 2 on its diagonal, 1 at its end, and -1 beside
// it. All of it is exact.
func TestExactFactorAndInverse(t *testing.T) {
	w := linalg.New(nil)
	for _, n := range []int{1, 2, 3, 11, 12, 13, 47, 48, 49, 95, 96, 97, 100, 191, 240, 241, 300, 523} {
		stride := n + n%4
		a := make([]float64, n*stride)
		for i := range a {
			a[i] = -7 // above the diagonal and between rows
			if j := i % stride; j <= i/stride {
				a[i] = float64(j + 1)
			}
		}
		if !w.Cholesky(n, a, stride) {
			t.Fatalf("n = %d: not positive definite", n)
		}
		for i, got := range a {
			want := 1.0
			if i%stride > i/stride {
				want = -7
			}
			if got != want {
				t.Fatalf("n = %d: element %d, %d of the factor is %v, not %v", n, i/stride, i%stride, got, want)
			}
		}
		if got := linalg.LogDet(n, a, stride); got != 0 {
			t.Errorf("n = %d: ln|A| = %v", n, got)
		}
		for _, m := range []int{1, 2, 17} {
			b := make([]float64, n*(m+1))
			for i := range n {
				for j := range m {
					b[i*(m+1)+j] = float64((i + 1) * (j + 1)) // column n of A, times j+1
				}
			}
			w.Solve(n, m, a, stride, b, m+1)
			for i, got := range b {
				want := 0.0
				if i/(m+1) == n-1 && i%(m+1) < m {
					want = float64(i%(m+1) + 1)
				}
				if got != want {
					t.Fatalf("n = %d, %d columns: element %d of the solution is %v, not %v", n, m, i, got, want)
				}
			}
		}
		w.Inverse(n, a, stride)
		for i, got := range a {
			row, col := i/stride, i%stride
			want := 0.0
			switch {
			case col >= n:
				want = -7
			case row == col && row == n-1:
				want = 1
			case row == col:
				want = 2
			case row-col == 1 || col-row == 1:
				want = -1
			}
			if got != want {
				t.Fatalf("n = %d: element %d, %d of the inverse is %v, not %v", n, row, col, got, want)
			}
		}
	}
}

// LLᵀ is A to rounding, however badly conditioned A is (Demmel 1989: |A - LLᵀ| ≤ (n+1)ε √(aᵢᵢ aⱼⱼ) element by element, ε half a unit in
// the last place), and the inverse, the solution and the determinant are those of the matrix ρ^|i-j|, which are known.
func TestErrorsAreRoundings(t *testing.T) {
	w := linalg.New(nil)
	for _, n := range []int{40, 97, 300, 520} {
		for _, rho := range []float64{0.5, 0.99, 0.9999999} {
			a := make([]float64, n*n)
			for i := range n {
				for j := range n {
					a[i*n+j] = math.Pow(rho, math.Abs(float64(i-j)))
				}
			}
			l := append([]float64(nil), a...)
			if !w.Cholesky(n, l, n) {
				t.Fatalf("n = %d, ρ = %g: not positive definite", n, rho)
			}
			for i := range n {
				for j := range i + 1 {
					if d := a[i*n+j] - dot(l[i*n:][:j+1], l[j*n:][:j+1]); !(math.Abs(d) <= float64(n+1)*0x1p-53) {
						t.Fatalf("n = %d, ρ = %g: LLᵀ differs from A by %g at %d, %d", n, rho, d, i, j)
					}
				}
			}
			condition := (1 + rho) / (1 - rho)
			bound := condition * condition * 1e-15
			if got, want := linalg.LogDet(n, l, n), float64(n-1)*math.Log1p(-rho*rho); !(math.Abs(got-want) <= float64(n)*(condition+math.Abs(want))*1e-15) {
				t.Errorf("n = %d, ρ = %g: ln|A| = %v, want %v", n, rho, got, want)
			}
			b := append([]float64(nil), a...)
			w.Solve(n, n, l, n, b, n)
			w.Inverse(n, l, n)
			for i := range n {
				for j := range n {
					var want float64
					switch {
					case i == j && (i == 0 || i == n-1):
						want = 1 / (1 - rho*rho)
					case i == j:
						want = (1 + rho*rho) / (1 - rho*rho)
					case i-j == 1 || j-i == 1:
						want = -rho / (1 - rho*rho)
					}
					if got := l[i*n+j]; !(math.Abs(got-want) <= bound) {
						t.Fatalf("n = %d, ρ = %g: element %d, %d of the inverse is %v, want %v", n, rho, i, j, got, want)
					}
					one := 0.0
					if i == j {
						one = 1
					}
					if got := b[i*n+j]; !(math.Abs(got-one) <= condition*1e-14) {
						t.Fatalf("n = %d, ρ = %g: element %d, %d of A⁻¹A is %v", n, rho, i, j, got)
					}
				}
			}
		}
	}
}

func dot(a, b []float64) (sum float64) {
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

func TestWhatIsNotPositiveDefiniteIsRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 7))
	w := linalg.New(nil)
	for _, n := range []int{1, 5, 48, 60, 150, 400} {
		sound := positive(rng, n, n)
		l := append([]float64(nil), sound...)
		if !w.Cholesky(n, l, n) {
			t.Fatalf("n = %d: a positive definite matrix is refused", n)
		}
		for _, at := range []int{0, n / 3, n / 2, n - 2, n - 1} {
			at = max(at, 0)
			for _, pivot := range []float64{-1e-13, -1e-3, -1, math.NaN(), math.Inf(1), math.Inf(-1)} {
				a := append([]float64(nil), sound...)
				a[at*n+at] += pivot - l[at*n+at]*l[at*n+at] // pivot is what is left of it
				if w.Cholesky(n, a, n) {
					t.Errorf("n = %d: pivot %d is %g and the matrix is taken", n, at, pivot)
				}
			}
		}
		if w.Cholesky(n, make([]float64, n*n), n) {
			t.Errorf("n = %d: zero is taken", n)
		}
	}
}

func TestSymmetricProductIsTheProduct(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 8))
	w := linalg.New(nil)
	for _, n := range []int{1, 13, 100, 290} {
		m := n + 9
		k, f := positive(rng, m, m), normals(rng, m*n)
		kf := make([]float64, m*n)
		w.Dsymm(blas.Left, blas.Lower, m, n, 1, k, m, f, n, 0, kf, n)
		want, got := make([]float64, n*n), normals(rng, n*n)
		old := append([]float64(nil), got...)
		gonum.Implementation{}.Dgemm(blas.Trans, blas.NoTrans, n, n, m, 1, f, n, kf, n, 0, want, n)
		w.SymmetricProduct(blas.Trans, blas.NoTrans, n, m, 1, f, n, kf, n, 0, got, n)
		for i := range got {
			if i%n > i/n {
				want[i] = old[i]
			}
		}
		compare(t, "lower triangle", got, want, 1e-11)
		w.SymmetricProduct(blas.Trans, blas.NoTrans, n, m, 0, f, n, kf, n, 2, got, n) // alpha = 0, beta = 2
		for i := range got {
			if i%n <= i/n {
				want[i] *= 2
			}
		}
		compare(t, "twice the lower triangle", got, want, 2e-11)
	}
}

// evaluation is what the evidence of a pixelised source asks for.
func evaluation(w *linalg.Workspace, n int, a, f, work, out []float64) bool {
	copy(work, a)
	if !w.Cholesky(n, work, n) {
		return false
	}
	copy(out, f)
	w.Solve(n, n, work, n, out, n)
	w.SymmetricProduct(blas.Trans, blas.NoTrans, n, n, 1, f, n, out, n, 0, out[n*n:], n)
	w.Inverse(n, work, n)
	out[2*n*n] = linalg.LogDet(n, work, n)
	return true
}

// Results are the same to the bit whatever the number of threads, and none allocates.
func TestThreadsAgreeAndNoneAllocates(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 9))
	for _, n := range []int{70, 333, 600} {
		a, f := positive(rng, n, n), normals(rng, n*n)
		var first []float64
		for _, threads := range []int{0, 1, 2, 5} {
			var pool *physics.Pool
			if threads > 0 {
				pool = physics.NewPool(threads)
			}
			w := linalg.New(pool.Run)
			work, out := make([]float64, n*n), make([]float64, 2*n*n+1)
			if !evaluation(w, n, a, f, work, out) {
				t.Fatalf("n = %d: not positive definite", n)
			}
			result := append(append([]float64(nil), work...), out...)
			if first == nil {
				first = result
			}
			for i := range result {
				if result[i] != first[i] {
					t.Fatalf("n = %d, %d threads: number %d is %v, with none %v", n, threads, i, result[i], first[i])
				}
			}
			if got := testing.AllocsPerRun(3, func() { evaluation(w, n, a, f, work, out) }); got != 0 {
				t.Errorf("n = %d, %d threads: %v allocations", n, threads, got)
			}
			pool.Close()
		}
	}
}

func BenchmarkGemm1024(b *testing.B) {
	const n = 1024
	rng := rand.New(rand.NewPCG(5, 2))
	x, y, c := normals(rng, n*n), normals(rng, n*n), make([]float64, n*n)
	product := func(w blas.Float64) { w.Dgemm(blas.NoTrans, blas.NoTrans, n, n, n, 1, x, n, y, n, 0, c, n) }
	besideGonum(b, func(w *linalg.Workspace) { product(w) }, func() { product(gonum.Implementation{}) })
}

func BenchmarkCholesky1600(b *testing.B) {
	const n = 1600
	a := positive(rand.New(rand.NewPCG(5, 3)), n, n)
	l := make([]float64, n*n)
	besideGonum(b, func(w *linalg.Workspace) {
		copy(l, a)
		w.Cholesky(n, l, n)
	}, func() {
		copy(l, a)
		lapack.Implementation{}.Dpotrf(blas.Lower, n, l, n)
	})
}

func BenchmarkInverse1600(b *testing.B) {
	const n = 1600
	l := positive(rand.New(rand.NewPCG(5, 3)), n, n)
	linalg.New(nil).Cholesky(n, l, n)
	inverse := make([]float64, n*n)
	besideGonum(b, func(w *linalg.Workspace) {
		copy(inverse, l)
		w.Inverse(n, inverse, n)
	}, func() {
		copy(inverse, l)
		lapack.Implementation{}.Dpotri(blas.Lower, n, inverse, n)
	})
}

// besideGonum measures f by one and by two threads, and gonum's plain Go.
func besideGonum(b *testing.B, f func(w *linalg.Workspace), plain func()) {
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			pool := physics.NewPool(threads)
			defer pool.Close()
			w := linalg.New(pool.Run)
			check.Measure(b, func() { f(w) })
		})
	}
	b.Run("gonum", func(b *testing.B) { check.Measure(b, plain) })
}

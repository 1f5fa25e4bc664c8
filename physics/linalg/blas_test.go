package linalg_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/blas/gonum"
	"gonum.org/v1/gonum/blas/testblas"
	lapack "gonum.org/v1/gonum/lapack/gonum"
	"gonum.org/v1/gonum/lapack/testlapack"

	"lenskit/physics/linalg"
)

// gonum's own tests of its BLAS.
func TestGonumsCases(t *testing.T) {
	for _, w := range []testblas.Dgemmer{linalg.New(nil), linalg.BLAS{}} {
		testblas.TestDgemm(t, w)
		testblas.DsyrkTest(t, w.(testblas.Dsyker))
		testblas.Dsyr2kTest(t, w.(testblas.Dsyr2ker))
		testblas.DsymmTest(t, w.(testblas.Dsymmer))
		testblas.DtrmmTest(t, w.(testblas.Dtrmmer))
		testblas.DtrsmTest(t, w.(testblas.Dtrsmer))
	}
}

// gonum's own tests of its LAPACK, whose blocked routines call BLAS.
func TestGonumsLAPACK(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds")
	}
	before := blas64.Implementation()
	defer blas64.Use(before)
	linalg.Use()
	var impl lapack.Implementation
	testlapack.DpotrfTest(t, impl)
	testlapack.DpotriTest(t, impl)
	testlapack.DpotrsTest(t, impl)
	testlapack.DlauumTest(t, impl)
	testlapack.DtrtriTest(t, impl)
	testlapack.DgetrfTest(t, impl)
	testlapack.DgetriTest(t, impl)
	testlapack.DgeqrfTest(t, impl)
}

// stored is a rows x cols matrix of random numbers in a slice that ends with it.
func stored(rng *rand.Rand, rows, cols, stride int) []float64 {
	return normals(rng, (rows-1)*stride+cols)
}

// hide makes what a routine must not read of the triangular n x n matrix no number.
func hide(a []float64, n, stride int, ul blas.Uplo, d blas.Diag) {
	for i := range n {
		for j := range n {
			if j > i == (ul == blas.Lower) && i != j || i == j && d == blas.Unit {
				a[i*stride+j] = math.NaN()
			}
		}
	}
}

// compare fails where elements differ, but for those that are no number in both.
func compare(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tolerance) && !(math.IsNaN(got[i]) && math.IsNaN(want[i])) {
			t.Fatalf("%s: element %d is %g, gonum's is %g", what, i, got[i], want[i])
		}
	}
}

// Every routine gives what gonum's plain Go does, for every side, triangle, transpose and stride, and reads and writes nothing
// else: what it must not read is no number, and the elements between rows are compared as well.
func TestRoutinesAgreeWithGonum(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 4))
	var plain gonum.Implementation
	var w blas.Float64 = linalg.New(inParallel)
	one := func(n ...int) int { return n[rng.IntN(len(n))] }
	trials := 1500
	if testing.Short() {
		trials = 200
	}
	for trial := range trials {
		if trial > trials/2 {
			w = linalg.BLAS{}
		}
		size := func() int {
			if trial%50 == 0 {
				return one(200, 239, 240, 241, 300, 481)
			}
			return 1 + rng.IntN(one(4, 16, 40, 120))
		}
		m, n, k := size(), size(), size()
		factor := func() float64 { return []float64{0, 1, -0.7, 2.5}[rng.IntN(4)] }
		alpha, beta := factor(), factor()
		transpose := func() blas.Transpose { return []blas.Transpose{blas.NoTrans, blas.Trans, blas.ConjTrans}[rng.IntN(3)] }
		tA, tB := transpose(), transpose()
		ul, side, d := []blas.Uplo{blas.Lower, blas.Upper}[rng.IntN(2)], []blas.Side{blas.Left, blas.Right}[rng.IntN(2)], []blas.Diag{blas.Unit, blas.NonUnit}[rng.IntN(2)]
		// a matrix that a transpose turns into rows x cols, and its stride
		turned := func(t blas.Transpose, rows, cols int) ([]float64, int) {
			if t != blas.NoTrans {
				rows, cols = cols, rows
			}
			stride := cols + rng.IntN(4)
			return stored(rng, rows, cols, stride), stride
		}
		// C twice; where beta is zero it is not read, and ours is no number where it is written
		both := func(rows, cols int, ul blas.Uplo) (got, want []float64, stride int) {
			want, stride = turned(blas.NoTrans, rows, cols)
			got = append([]float64(nil), want...)
			for i := range rows {
				for j := range cols {
					if beta == 0 && (ul == blas.All || i == j || j > i == (ul == blas.Upper)) {
						got[i*stride+j], want[i*stride+j] = math.NaN(), 0
					}
				}
			}
			return got, want, stride
		}
		what := fmt.Sprintf("trial %d, %d x %d, %d, %c %c %c %c %c, alpha %g, beta %g", trial, m, n, k, tA, tB, ul, side, d, alpha, beta)
		tolerance := 1e-14 * float64(m+n+k)

		a, lda := turned(tA, m, k)
		b, ldb := turned(tB, k, n)
		got, want, ldc := both(m, n, blas.All)
		w.Dgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, got, ldc)
		plain.Dgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, want, ldc)
		compare(t, "Dgemm "+what, got, want, tolerance)

		got, want, ldc = both(m, m, ul)
		w.Dsyrk(ul, tA, m, k, alpha, a, lda, beta, got, ldc)
		plain.Dsyrk(ul, tA, m, k, alpha, a, lda, beta, want, ldc)
		compare(t, "Dsyrk "+what, got, want, tolerance)

		b, ldb = turned(tA, m, k)
		got, want, ldc = both(m, m, ul)
		w.Dsyr2k(ul, tA, m, k, alpha, a, lda, b, ldb, beta, got, ldc)
		plain.Dsyr2k(ul, tA, m, k, alpha, a, lda, b, ldb, beta, want, ldc)
		compare(t, "Dsyr2k "+what, got, want, 2*tolerance)

		size1 := m
		if side == blas.Right {
			size1 = n
		}
		a, lda = turned(blas.NoTrans, size1, size1)
		hide(a, size1, lda, ul, blas.NonUnit)
		b, ldb = turned(blas.NoTrans, m, n)
		got, want, ldc = both(m, n, blas.All)
		w.Dsymm(side, ul, m, n, alpha, a, lda, b, ldb, beta, got, ldc)
		plain.Dsymm(side, ul, m, n, alpha, a, lda, b, ldb, beta, want, ldc)
		compare(t, "Dsymm "+what, got, want, tolerance)

		for i := range a { // well conditioned
			a[i] /= float64(size1)
		}
		for i := range size1 {
			a[i*lda+i] = 1 + rng.Float64()
		}
		hide(a, size1, lda, ul, d)
		got = append([]float64(nil), b...)
		want = append([]float64(nil), b...)
		w.Dtrmm(side, ul, tA, d, m, n, alpha, a, lda, got, ldb)
		plain.Dtrmm(side, ul, tA, d, m, n, alpha, a, lda, want, ldb)
		compare(t, "Dtrmm "+what, got, want, tolerance)
		got = append([]float64(nil), b...)
		want = append([]float64(nil), b...)
		w.Dtrsm(side, ul, tA, d, m, n, alpha, a, lda, got, ldb)
		plain.Dtrsm(side, ul, tA, d, m, n, alpha, a, lda, want, ldb)
		compare(t, "Dtrsm "+what, got, want, tolerance)
	}
}

// inParallel runs all chunks at a time.
func inParallel(chunks int, f func(chunk int)) {
	done := make(chan struct{})
	for c := range chunks {
		go func() {
			f(c)
			done <- struct{}{}
		}()
	}
	for range chunks {
		<-done
	}
}

// Products of more rows or columns than are packed at a time.
func TestLongProducts(t *testing.T) {
	if testing.Short() {
		t.Skip("millions of elements")
	}
	rng := rand.New(rand.NewPCG(5, 5))
	var plain gonum.Implementation
	w := linalg.New(nil)
	for _, size := range [][3]int{{3100, 17, 250}, {25, 6200, 3}, {3085, 3095, 2}} {
		m, n, k := size[0], size[1], size[2]
		a, b, got, want := normals(rng, m*k), normals(rng, k*n), make([]float64, m*n), make([]float64, m*n)
		w.Dgemm(blas.NoTrans, blas.NoTrans, m, n, k, 1, a, k, b, n, 0, got, n)
		plain.Dgemm(blas.NoTrans, blas.NoTrans, m, n, k, 1, a, k, b, n, 0, want, n)
		compare(t, fmt.Sprint("Dgemm ", size), got, want, 1e-12)
	}
	const n, k = 3100, 3
	a := normals(rng, n*k)
	for _, ul := range []blas.Uplo{blas.Lower, blas.Upper} {
		got, want := make([]float64, n*n), make([]float64, n*n)
		w.Dsyrk(ul, blas.NoTrans, n, k, 1, a, k, 0, got, n)
		plain.Dsyrk(ul, blas.NoTrans, n, k, 1, a, k, 0, want, n)
		compare(t, fmt.Sprintf("Dsyrk %c", ul), got, want, 1e-13)
	}
}

// What is not a number or not finite reaches the elements that depend on it and no other, not even by rounding.
func TestWhatIsNoNumberStaysInItsRow(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	w := linalg.New(nil)
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		for _, size := range []int{5, 30, 130, 270} {
			m, n, k := size, size+7, size+3
			at := rng.IntN(m)
			a, b := normals(rng, m*k), normals(rng, k*n)
			sound, hurt := make([]float64, m*n), make([]float64, m*n)
			w.Dgemm(blas.NoTrans, blas.NoTrans, m, n, k, 1, a, k, b, n, 0, sound, n)
			a[at*k+rng.IntN(k)] = bad
			w.Dgemm(blas.NoTrans, blas.NoTrans, m, n, k, 1, a, k, b, n, 0, hurt, n)
			for i, v := range hurt {
				if in := i/n == at; in && !math.IsNaN(v) && !math.IsInf(v, 0) || !in && v != sound[i] {
					t.Fatalf("%v in row %d of A, %d x %d: element %d, %d is %v, was %v", bad, at, m, n, i/n, i%n, v, sound[i])
				}
			}
			l := positive(rng, m, m)
			x, y := normals(rng, m*n), make([]float64, m*n)
			copy(y, x)
			at = rng.IntN(n)
			y[at] = bad
			for _, x := range [][]float64{x, y} {
				w.Dtrsm(blas.Left, blas.Lower, blas.NoTrans, blas.NonUnit, m, n, 1, l, m, x, n)
			}
			for i, v := range y {
				if in := i%n == at; in && !math.IsNaN(v) && !math.IsInf(v, 0) || !in && v != x[i] {
					t.Fatalf("%v in column %d of B, %d x %d: element %d, %d is %v, was %v", bad, at, m, n, i/n, i%n, v, x[i])
				}
			}
		}
	}
}

// Wrong arguments are refused as gonum refuses them.
func TestWrongArgumentsAreGonums(t *testing.T) {
	message := func(f func()) (met any) {
		defer func() { met = recover() }()
		f()
		return nil
	}
	v := make([]float64, 12)
	for name, call := range map[string]func(b blas.Float64){
		"stride of a":   func(b blas.Float64) { b.Dgemm(blas.NoTrans, blas.NoTrans, 3, 4, 3, 1, v, 2, v, 4, 0, v, 4) },
		"short b":       func(b blas.Float64) { b.Dgemm(blas.NoTrans, blas.NoTrans, 3, 4, 3, 1, v, 3, v[:11], 4, 0, v, 4) },
		"transpose":     func(b blas.Float64) { b.Dgemm('X', blas.NoTrans, 3, 4, 3, 1, v, 3, v, 4, 0, v, 4) },
		"negative size": func(b blas.Float64) { b.Dgemm(blas.NoTrans, blas.NoTrans, -1, 4, 3, 1, v, 3, v, 4, 0, v, 4) },
		"triangle":      func(b blas.Float64) { b.Dsyrk('X', blas.NoTrans, 3, 3, 1, v, 3, 0, v, 3) },
		"short c":       func(b blas.Float64) { b.Dsyrk(blas.Lower, blas.NoTrans, 3, 3, 1, v, 3, 0, v[:8], 3) },
		"short c of 2k": func(b blas.Float64) { b.Dsyr2k(blas.Lower, blas.NoTrans, 3, 3, 1, v, 3, v, 3, 0, v[:8], 3) },
		"side":          func(b blas.Float64) { b.Dsymm('X', blas.Lower, 3, 3, 1, v, 3, v, 3, 0, v, 3) },
		"diagonal":      func(b blas.Float64) { b.Dtrmm(blas.Left, blas.Lower, blas.NoTrans, 'X', 3, 3, 1, v, 3, v, 3) },
		"stride of b":   func(b blas.Float64) { b.Dtrsm(blas.Left, blas.Lower, blas.NoTrans, blas.Unit, 3, 3, 1, v, 3, v, 2) },
	} {
		want := message(func() { call(gonum.Implementation{}) })
		for _, b := range []blas.Float64{linalg.New(nil), linalg.BLAS{}} {
			if got := message(func() { call(b) }); want == nil || got != want {
				t.Errorf("%s: %T panics with %v, gonum with %v", name, b, got, want)
			}
		}
	}
	w := linalg.New(nil)
	for what, call := range map[string]func(){
		"Cholesky": func() { w.Cholesky(3, v[:8], 3) }, "Inverse": func() { w.Inverse(3, v, 2) }, "Mirror": func() { linalg.Mirror(4, v, 4) },
	} {
		if got := message(call); !strings.Contains(fmt.Sprint(got), "linalg: no ") {
			t.Errorf("%s of what is no matrix: %v", what, got)
		}
	}
}

// Any number of callers may use BLAS at a time.
func TestBLASServesManyCallers(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 10))
	const n, callers = 130, 8
	a, b, want := normals(rng, n*n), normals(rng, n*n), make([]float64, n*n)
	linalg.New(nil).Dgemm(blas.NoTrans, blas.Trans, n, n, n, 1, a, n, b, n, 0, want, n)
	got := make([]float64, callers*n*n)
	inParallel(callers, func(i int) {
		linalg.BLAS{}.Dgemm(blas.NoTrans, blas.Trans, n, n, n, 1, a, n, b, n, 0, got[i*n*n:], n)
	})
	for i := range callers {
		compare(t, fmt.Sprint("caller ", i), got[i*n*n:][:n*n], want, 0)
	}
}

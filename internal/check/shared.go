// Package check holds what the tests of several packages share: reference data, gradient checks, dot tests.
package check

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Shared returns the path of a file of the shared reference data, or skips the test when the data is not there. The
// data lies in the folder named by LENSKIT_SHARED, or in a folder "shared" beside the repository.
func Shared(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("LENSKIT_SHARED")
	if dir == "" {
		dir = filepath.Join(Root(), "..", "shared")
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("reference data %s is not here (set LENSKIT_SHARED to its folder)", name)
	}
	return path
}

// Root is the repository's root folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Dot is the inner product of a and b.
func Dot(a, b []float64) float64 {
	s := 0.0
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// Normals draws n standard normal numbers.
func Normals(rng *rand.Rand, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = rng.NormFloat64()
	}
	return v
}

// Directional is the derivative of f at x along v by central differences of fourth order with step h.
func Directional(f func(x []float64) float64, x, v []float64, h float64) float64 {
	at := func(s float64) float64 {
		y := make([]float64, len(x))
		for i := range y {
			y[i] = x[i] + s*v[i]
		}
		return f(y)
	}
	return (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
}

// Close fails the test unless |got-want| <= tol·(scale+|want|).
func Close(t testing.TB, what string, got, want, tol, scale float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol*(scale+math.Abs(want))) {
		t.Errorf("%s: got %.17g, want %.17g (tolerance %g)", what, got, want, tol)
	}
}

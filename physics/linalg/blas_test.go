package linalg_test

import (
	"testing"

	"gonum.org/v1/gonum/blas/testblas"

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

package linalg_test

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/blas/gonum"
	"gonum.org/v1/gonum/mat"

	"lenskit/physics"
	"lenskit/physics/linalg"
)

func Example() {
	pool := physics.NewPool(2)
	defer pool.Close()
	w := linalg.New(pool.Run)
	a := []float64{
		4, 0, 0, // what is above the diagonal is not read
		2, 5, 0,
		0, 2, 2,
	}
	fmt.Println(w.Cholesky(3, a, 3))
	fmt.Printf("ln|A| = %.4f\n", linalg.LogDet(3, a, 3))
	w.Inverse(3, a, 3)
	fmt.Printf("%.4f\n", a)
	// Output:
	// true
	// ln|A| = 2.7726
	// [0.3750 -0.2500 0.2500 -0.2500 0.5000 -0.5000 0.2500 -0.5000 1.0000]
}

// A program that has gonum's matrices use the package's products.
func ExampleUse() {
	linalg.Use()
	defer blas64.Use(gonum.Implementation{}) // a program leaves it so

	var chol mat.Cholesky
	chol.Factorize(mat.NewSymDense(2, []float64{4, 2, 2, 5}))
	fmt.Printf("%.0f\n", chol.Det())
	// Output: 16
}

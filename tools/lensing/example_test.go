package lensing_test

import (
	"fmt"

	"lenskit/physics"
	"lenskit/tools/lensing"
)

// The Einstein radius of a lens, its caustics, and where a point behind it is seen.
func Example() {
	lens, err := physics.NewLens("sie")
	if err != nil {
		panic(err)
	}
	if err := lens.Set([]float64{1.2, 0.1, 0, 0, 0}); err != nil { // theta_E, e1, e2, center_x, center_y
		panic(err)
	}
	sum := lensing.Sum{lens}
	critical, caustics := sum.Curves(3, 3)
	fmt.Printf("Einstein radius %.2f arcsec, critical curves: %d, caustics: %d\n", sum.EinsteinRadius(3), len(critical), len(caustics))
	for _, im := range sum.ImagesOf(0.02, 0.01, 3, 3, 0.05) {
		fmt.Printf("%.0f times as bright at %.1f, %.1f\n", im.Magnification, im.X, im.Y)
	}
	// Output:
	// Einstein radius 1.20 arcsec, critical curves: 1, caustics: 1
	// 13 times as bright at 0.2, -1.2
	// 8 times as bright at 1.2, -0.1
	// 6 times as bright at -1.1, -0.1
	// 8 times as bright at 0.2, 1.2
}

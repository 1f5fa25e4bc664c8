package physics_test

import (
	"fmt"

	"lenskit/physics"
)

// Rays are bent by a lens on their way to a source; VJP takes what is wanted of the deflections back to the parameters.
func ExampleLens() {
	lens, err := physics.NewLens("sis")
	if err != nil {
		panic(err)
	}
	if err := lens.Set([]float64{1.2, 0, 0}); err != nil { // theta_E, center_x, center_y
		panic(err)
	}
	x, y := []float64{1.5, 0}, []float64{0, 2}
	ax, ay := make([]float64, 2), make([]float64, 2)
	lens.Deflect(ax, ay, x, y)
	fmt.Printf("β = (%.1f, %.1f), (%.1f, %.1f)\n", x[0]-ax[0], y[0]-ay[0], x[1]-ax[1], y[1]-ay[1])
	gp := make([]float64, 3)
	lens.DeflectVJP(gp, nil, nil, []float64{1, 0}, []float64{0, 0}, x, y)
	fmt.Printf("∂α_x/∂θ_E = %.0f at the first\n", gp[0])
	// Output:
	// β = (0.3, 0.0), (0.0, 0.8)
	// ∂α_x/∂θ_E = 1 at the first
}

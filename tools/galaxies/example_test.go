package galaxies_test

import (
	"context"
	"fmt"

	"lenskit/tools/galaxies"
)

// Draw galaxies, and find the components that hold most of what varies among them.
func ExamplePrincipalComponents() {
	const n, size = 60, 32
	pix, err := galaxies.Synthesise(context.Background(), n, size, 1, nil)
	if err != nil {
		panic(err)
	}
	set := &galaxies.Cube{N: n, W: size, H: size, Pix: make([]float32, len(pix))}
	for i, v := range pix {
		set.Pix[i] = float32(v)
	}
	model, err := galaxies.PrincipalComponents(context.Background(), set, 8, 1, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println("more than half of the variance:", model.Kept > 0.5)
	// Output: more than half of the variance: true
}

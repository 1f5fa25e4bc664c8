package diff_test

import (
	"fmt"
	"log"

	"lenskit/onnx/diff"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/graphtest"
)

// The derived graph takes a cotangent of each output and gives the gradient by each input.
func ExampleVJP() {
	d, err := diff.VJP(graphtest.Polynomial(), diff.Options{})
	if err != nil {
		log.Fatal(err)
	}
	e, err := eval.New(d)
	if err != nil {
		log.Fatal(err)
	}
	out, err := e.Run(map[string]*eval.Array{
		"x":      eval.FloatArray([]float64{1, 2}, 1, 2),
		"grad_y": eval.FloatArray([]float64{1}, 1),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out["y"].F, out["grad_x"].F)
	// Output: [14] [5 7]
}

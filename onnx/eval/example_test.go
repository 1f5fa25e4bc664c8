package eval_test

import (
	"fmt"
	"log"

	"lenskit/onnx/eval"
	"lenskit/onnx/internal/graphtest"
)

// The evaluator computes a graph in float64.
func ExampleEvaluator_Run() {
	e, err := eval.New(graphtest.Polynomial())
	if err != nil {
		log.Fatal(err)
	}
	out, err := e.Run(map[string]*eval.Array{"x": eval.FloatArray([]float64{1, 2, 0.5, 0}, 2, 2)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out["y"].F)
	// Output: [14 1.75]
}

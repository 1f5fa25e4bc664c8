package footprint_test

import (
	"fmt"

	"lenskit/onnx"
	"lenskit/onnx/footprint"
)

func ExampleFits() {
	g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1024}}}}}
	b := onnx.NewBuilder(g, "")
	b.OutputAs("y", b.Op("Tanh", "x"))
	fmt.Println(footprint.Fits(g, 1<<20), footprint.Fits(g, 1<<10))
	// Output: true false
}

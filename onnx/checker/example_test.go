package checker_test

import (
	"fmt"

	"lenskit/onnx"
	"lenskit/onnx/checker"
)

func ExampleGraph() {
	g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 2}}}}}
	b := onnx.NewBuilder(g, "")
	b.OutputAs("y", b.Op("Tanh", "x"))
	fmt.Println(checker.Graph(g))
	g.Nodes[0].In = append(g.Nodes[0].In, "x")
	fmt.Println(checker.Graph(g) != nil)
	// Output:
	// <nil>
	// true
}

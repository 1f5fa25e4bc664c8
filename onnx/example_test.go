package onnx_test

import (
	"fmt"
	"log"

	"lenskit/onnx/internal/graphtest"
)

// A graph is built node by node; shapes are inferred on the way.
func ExampleBuilder() {
	g := graphtest.Polynomial()
	for _, v := range g.Outputs {
		fmt.Println(v.Name, v.Type, v.Shape)
	}
	// Output: y float32 [batch]
}

// Symbols of a shape can be replaced by numbers.
func ExampleGraph_Bind() {
	g, err := graphtest.Polynomial().Bind(map[string]int64{"batch": 16})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Inputs[0].Shape, g.Outputs[0].Shape)
	// Output: [16 2] [16]
}

package ort_test

import (
	"fmt"
	"log"

	"lenskit/onnx"
	"lenskit/onnx/ort"
)

// It needs the shared library of onnxruntime, which make onnxruntime fetches.
func ExampleOpen() {
	g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 2}}}}}
	b := onnx.NewBuilder(g, "")
	b.OutputAs("y", b.Op("Mul", "x", b.Scalar(2)))
	s, err := ort.Open(g, ort.Options{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	copy(s.Input("x"), []float32{1, 2})
	if err := s.Run(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Output("y"))
}

package rewrite_test

import (
	"fmt"
	"log"

	"lenskit/onnx"
	"lenskit/onnx/rewrite"
)

// Folding merges a normalisation with the product before it.
func ExampleFold() {
	g := &onnx.Graph{
		Opset:  map[string]int{"": 18},
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "batch"}, {N: 2}}}},
	}
	b := onnx.NewBuilder(g, "n_")
	w := b.Tensor(onnx.FloatTensor([]float32{1, 2, 3, 4}, 2, 2))
	one, zero := b.Tensor(onnx.FloatTensor([]float32{1, 1}, 2)), b.Tensor(onnx.FloatTensor([]float32{0, 0}, 2))
	b.OutputAs("y", b.Op("BatchNormalization", b.Op("MatMul", "x", w), one, zero, zero, one))
	folded, err := rewrite.Fold(g)
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range folded.Nodes {
		fmt.Println(n.Op, n.Out)
	}
	// Output: Gemm [y]
}

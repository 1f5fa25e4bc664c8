package onnx_test

import (
	"fmt"
	"log"

	"lenskit/onnx"
)

// polynomial is the graph y = Σᵢ (xᵢ² + 3xᵢ) over rows of x.
func polynomial() *onnx.Graph {
	g := &onnx.Graph{
		Opset:  map[string]int{"": 18},
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "batch"}, {N: 2}}}},
	}
	b := onnx.NewBuilder(g, "p_")
	terms := b.Op("Add", b.Op("Mul", "x", "x"), b.Op("Mul", "x", b.Scalar(3)))
	b.OutputAs("y", b.OpAttr("ReduceSum", map[string]onnx.Attr{"keepdims": onnx.IntAttr(0)}, terms, b.Ints(1)))
	if b.Err() != nil {
		log.Fatal(b.Err())
	}
	return g
}

// A graph is built node by node; shapes are inferred on the way.
func ExampleBuilder() {
	g := polynomial()
	for _, v := range g.Outputs {
		fmt.Println(v.Name, v.Type, v.Shape)
	}
	// Output: y float32 [batch]
}

// The evaluator computes a graph in float64.
func ExampleEvaluator_Run() {
	e, err := onnx.NewEvaluator(polynomial())
	if err != nil {
		log.Fatal(err)
	}
	out, err := e.Run(map[string]*onnx.Array{"x": onnx.FloatArray([]float64{1, 2, 0.5, 0}, 2, 2)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out["y"].F)
	// Output: [14 1.75]
}

// The derived graph takes a cotangent of each output and gives the gradient by each input.
func ExampleVJP() {
	d, err := onnx.VJP(polynomial(), onnx.DiffOptions{})
	if err != nil {
		log.Fatal(err)
	}
	e, err := onnx.NewEvaluator(d)
	if err != nil {
		log.Fatal(err)
	}
	out, err := e.Run(map[string]*onnx.Array{
		"x":      onnx.FloatArray([]float64{1, 2}, 1, 2),
		"grad_y": onnx.FloatArray([]float64{1}, 1),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out["y"].F, out["grad_x"].F)
	// Output: [14] [5 7]
}

// Symbols of a shape can be replaced by numbers.
func ExampleGraph_Bind() {
	g, err := polynomial().Bind(map[string]int64{"batch": 16})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Inputs[0].Shape, g.Outputs[0].Shape)
	// Output: [16 2] [16]
}

// Folding merges a normalisation with the product before it.
func ExampleGraph_Fold() {
	g := &onnx.Graph{
		Opset:  map[string]int{"": 18},
		Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "batch"}, {N: 2}}}},
	}
	b := onnx.NewBuilder(g, "n_")
	w := b.Tensor(onnx.FloatTensor([]float32{1, 2, 3, 4}, 2, 2))
	one, zero := b.Tensor(onnx.FloatTensor([]float32{1, 1}, 2)), b.Tensor(onnx.FloatTensor([]float32{0, 0}, 2))
	b.OutputAs("y", b.Op("BatchNormalization", b.Op("MatMul", "x", w), one, zero, zero, one))
	folded, err := g.Fold()
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range folded.Nodes {
		fmt.Println(n.Op, n.Out)
	}
	// Output: Gemm [y]
}

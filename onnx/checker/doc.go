// Package checker holds a graph against the ONNX standard: operators and their versions, numbers of operands, types of
// attributes, names.
//
//	g, err := onnx.Load("decoder.onnx")
//	err = checker.Graph(g)
package checker

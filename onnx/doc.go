// Package onnx reads, writes and builds ONNX models; the packages below it differentiate, rewrite and run them.
//
// A model is a [Graph]: plain data with nodes in the order in which they run. [Load] brings files of all operator sets
// from 1 to 28 into one form: constants are initialisers, the model's own functions and constant conditions are
// inlined, half precision is widened to float32, and operators have the form of set 18 or a later one. Every pass takes
// a graph and returns a new one:
//
//   - [Graph.Infer] finds the type and shape of every value, also where shapes are computed from a dynamic batch;
//     [Graph.Bind] replaces symbolic extents by numbers.
//   - [Graph.Save] writes it; lenskit/onnx/checker tells whether it is a valid model.
//   - lenskit/onnx/rewrite computes what is constant and folds normalisations into the products before them.
//   - lenskit/onnx/diff makes gradient graphs (VJP, JVP, Jacobian, Split), and graphs that compute gradients of a loss and
//     update parameters. All of them are ordinary ONNX, for any engine. Derivatives go through the bodies of If, and of
//     Loop and Scan where their turns are known; what cannot be differentiated is an error that names the node.
//
// Two engines run graphs. lenskit/onnx/eval computes in float64 in Go: slow, but exact enough to test against.
// lenskit/onnx/ort gives the graph to onnxruntime, the C library, with tensors bound once so that a run allocates nothing;
// convolutions over a batch are first written with fewer multiplications. It alone needs cgo: without it,
// CGO_ENABLED=0 go build ./onnx/eval ./onnx/diff gives Go an ONNX differentiator.
//
// New graphs are made with a [Builder].
//
// Shapes are lists of [Dim]: a number, or a number times a symbol such as the batch N; lenskit/onnx/symbolic computes with
// them. Nothing in the package panics on
// what a file holds; sizes, nesting and node counts are limited, and the limits are constants beside the code that
// applies them.
//
//	g, err := onnx.Load("decoder.onnx")
//	d, err := diff.VJP(g, diff.Options{})
//	err = d.Save("decoder_vjp.onnx")
package onnx

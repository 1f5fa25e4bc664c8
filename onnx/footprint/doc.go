// Package footprint counts what the values of a graph take before it is run: bytes alive at a time, on onnxruntime or in the
// evaluator, and operations.
//
//	ok := footprint.Fits(g, 1<<30) // at most so many bytes alive at a time
package footprint

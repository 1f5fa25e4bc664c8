// Package ort runs graphs by onnxruntime, on the processor or by CUDA. It finds the shared library and is the only package
// with cgo.
//
//	s, err := ort.Open(g, ort.Options{Threads: 1})
//	defer s.Close()
package ort

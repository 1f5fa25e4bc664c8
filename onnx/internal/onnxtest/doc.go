// Package onnxtest has what tests of all packages of onnx share and that needs none of them.
package onnxtest

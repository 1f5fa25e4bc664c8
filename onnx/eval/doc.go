// Package eval runs graphs in float64, in Go alone: slow, exact to rounding, on every platform. Derivatives and rewrites are
// held to it.
//
//	e, err := eval.New(g)
//	out, err := e.Run(map[string]*eval.Array{"z": eval.FloatArray(z, 1, 64)})
package eval

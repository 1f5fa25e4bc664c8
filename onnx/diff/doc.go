// Package diff derives graphs from graphs: VJP, JVP, Jacobian, the split of a Jacobian's work, training steps. What it makes is
// a graph again, which onnxruntime or the evaluator runs; a node without a rule is refused by name.
//
//	grad, err := diff.VJP(g, diff.Options{Wrt: []string{"z"}})
package diff

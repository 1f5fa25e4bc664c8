package rewrite

import (
	"fmt"
	"maps"
	"slices"

	"lenskit/onnx"
)

func ValueNames(vs []onnx.Value) []string {
	names := make([]string, len(vs))
	for i, v := range vs {
		names[i] = v.Name
	}
	return names
}

// Prune keeps the nodes that the named values need.
func Prune(nodes []*onnx.Node, outputs []string) []*onnx.Node {
	need := map[string]bool{}
	for _, s := range outputs {
		need[s] = true
	}
	var keep []*onnx.Node
	for i := len(nodes) - 1; i >= 0; i-- {
		n := nodes[i]
		if !slices.ContainsFunc(n.Out, func(s string) bool { return s != "" && need[s] }) {
			continue
		}
		keep = append(keep, n)
		for _, s := range n.Uses() {
			need[s] = true
		}
	}
	slices.Reverse(keep)
	return keep
}

// DropInit drops the initialisers that nothing reads.
func DropInit(g *onnx.Graph) {
	need := map[string]bool{}
	for _, n := range g.Nodes {
		for _, s := range n.Uses() {
			need[s] = true
		}
	}
	for _, v := range g.Outputs {
		need[v.Name] = true
	}
	maps.DeleteFunc(g.Init, func(name string, _ *onnx.Tensor) bool { return !need[name] })
}

// ShapeText prints the shape of v.
func ShapeText(v onnx.Value) string {
	if v.Shape == nil {
		return "of unknown rank"
	}
	return fmt.Sprint(v.Shape)
}

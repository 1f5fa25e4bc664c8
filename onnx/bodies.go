package onnx

import (
	"maps"
	"slices"
)

// Sub-graphs: the bodies of If, Loop and Scan see the values of the graph around them. Whoever asks what a node depends
// on asks uses, which lists these values too.

// HasGraph tells whether n has a body.
func HasGraph(n *Node) bool {
	for _, a := range n.Attr {
		if a.Graph != nil {
			return true
		}
	}
	return false
}

// FirstResult is the first of the node's results that has a name, "" when none has.
func (n *Node) FirstResult() string {
	for _, s := range n.Out {
		if s != "" {
			return s
		}
	}
	return ""
}

// Uses are the names that the node reads: its operands, then what its bodies capture. A name may come twice, and "" is
// an operand left out. The list is not to be written into.
func (n *Node) Uses() []string {
	if !HasGraph(n) {
		return n.In
	}
	list := slices.Clone(n.In)
	for _, k := range SortedKeys(n.Attr) {
		if g := n.Attr[k].Graph; g != nil {
			list = append(list, g.Captured()...)
		}
	}
	return list
}

// ownNames are the names that a body defines, and "".
func (g *Graph) ownNames() map[string]bool {
	own := map[string]bool{"": true}
	for _, v := range g.Inputs {
		own[v.Name] = true
	}
	for s := range g.Init {
		own[s] = true
	}
	for _, n := range g.Nodes {
		for _, s := range n.Out {
			own[s] = true
		}
	}
	return own
}

// Captured are the names that a body reads without making them, its own bodies included.
func (g *Graph) Captured() []string {
	seen := g.ownNames()
	var list []string
	read := func(s string) {
		if !seen[s] {
			list = append(list, s)
			seen[s] = true
		}
	}
	for _, n := range g.Nodes {
		for _, s := range n.Uses() {
			read(s)
		}
	}
	for _, v := range g.Outputs {
		read(v.Name)
	}
	return list
}

// Reread returns the node with the values that it reads, in its bodies too, under the names that to has for them. n
// itself stays as it is.
func (n *Node) Reread(to map[string]string) *Node {
	m := *n
	m.In = RenamedIn(n.In, to)
	if HasGraph(n) {
		m.Attr = maps.Clone(n.Attr)
		for k, a := range m.Attr {
			if a.Graph != nil {
				a.Graph = a.Graph.recaptured(to)
				m.Attr[k] = a
			}
		}
	}
	return &m
}

// recaptured is a body that captures the same values under other names; g itself where nothing changes.
func (g *Graph) recaptured(to map[string]string) *Graph {
	own := g.ownNames()
	rest := map[string]string{}
	for _, s := range g.Captured() {
		if t, ok := to[s]; ok && !own[s] {
			rest[s] = t
		}
	}
	if len(rest) == 0 {
		return g
	}
	h := *g
	h.Nodes = make([]*Node, len(g.Nodes))
	for i, n := range g.Nodes {
		h.Nodes[i] = n.Reread(rest)
	}
	h.Outputs = slices.Clone(g.Outputs)
	for i, v := range h.Outputs {
		if t, ok := rest[v.Name]; ok {
			h.Outputs[i].Name = t
		}
	}
	return &h
}

func RenamedIn(list []string, to map[string]string) []string {
	out := slices.Clone(list)
	for i, s := range out {
		if t, ok := to[s]; ok {
			out[i] = t
		}
	}
	return out
}

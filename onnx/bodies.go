package onnx

import (
	"maps"
	"slices"
)

// Sub-graphs: the bodies of If, Loop and Scan see the values of the graph around them. Whoever asks what a node depends
// on asks uses, which lists these values too.

// hasGraph tells whether n has a body.
func hasGraph(n *Node) bool {
	for _, a := range n.Attr {
		if a.Graph != nil {
			return true
		}
	}
	return false
}

// firstResult is the first of the node's results that has a name, "" when none has.
func (n *Node) firstResult() string {
	for _, s := range n.Out {
		if s != "" {
			return s
		}
	}
	return ""
}

// uses are the names that the node reads: its operands, then what its bodies capture. A name may come twice, and "" is
// an operand left out. The list is not to be written into.
func (n *Node) uses() []string {
	if !hasGraph(n) {
		return n.In
	}
	list := slices.Clone(n.In)
	for _, k := range sortedKeys(n.Attr) {
		if g := n.Attr[k].Graph; g != nil {
			list = append(list, g.captured()...)
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

// captured are the names that a body reads without making them, its own bodies included.
func (g *Graph) captured() []string {
	seen := g.ownNames()
	var list []string
	read := func(s string) {
		if !seen[s] {
			list = append(list, s)
			seen[s] = true
		}
	}
	for _, n := range g.Nodes {
		for _, s := range n.uses() {
			read(s)
		}
	}
	for _, v := range g.Outputs {
		read(v.Name)
	}
	return list
}

// reread returns the node with the values that it reads, in its bodies too, under the names that to has for them. n
// itself stays as it is.
func (n *Node) reread(to map[string]string) *Node {
	m := *n
	m.In = renamedIn(n.In, to)
	if hasGraph(n) {
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
	for _, s := range g.captured() {
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
		h.Nodes[i] = n.reread(rest)
	}
	h.Outputs = slices.Clone(g.Outputs)
	for i, v := range h.Outputs {
		if t, ok := rest[v.Name]; ok {
			h.Outputs[i].Name = t
		}
	}
	return &h
}

// renamed is a copy of g in which every value, in its bodies too, has the name that f gives it. f must not give two
// names the same one.
func (g *Graph) renamed(f func(string) string) *Graph {
	name := func(s string) string {
		if s == "" {
			return ""
		}
		return f(s)
	}
	values := func(list []Value) []Value {
		out := slices.Clone(list)
		for i := range out {
			out[i].Name = name(out[i].Name)
		}
		return out
	}
	names := func(list []string) []string {
		out := slices.Clone(list)
		for i := range out {
			out[i] = name(out[i])
		}
		return out
	}
	h := *g
	h.Inputs, h.Outputs = values(g.Inputs), values(g.Outputs)
	h.Init, h.Info = map[string]*Tensor{}, map[string]Value{}
	for _, s := range sortedKeys(g.Init) {
		h.Init[name(s)] = g.Init[s]
	}
	h.Nodes = make([]*Node, len(g.Nodes))
	for i, n := range g.Nodes {
		m := *n
		if m.Name == "" && len(n.Out) > 0 {
			m.Name = n.Out[0] // what messages call it
		}
		m.In, m.Out = names(n.In), names(n.Out)
		if hasGraph(n) {
			m.Attr = maps.Clone(n.Attr)
			for _, k := range sortedKeys(n.Attr) {
				if a := n.Attr[k]; a.Graph != nil {
					a.Graph = a.Graph.renamed(f)
					m.Attr[k] = a
				}
			}
		}
		h.Nodes[i] = &m
	}
	return &h
}

func renamedIn(list []string, to map[string]string) []string {
	out := slices.Clone(list)
	for i, s := range out {
		if t, ok := to[s]; ok {
			out[i] = t
		}
	}
	return out
}

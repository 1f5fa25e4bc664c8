package onnx

import "fmt"

// Check tells whether the graph is a valid model, before any engine sees it.
func (g *Graph) Check() error {
	if err := g.checkNames(nil); err != nil {
		return fmt.Errorf("onnx: check: %w", err)
	}
	return nil
}

// checkNames tells whether every name is defined once and before it is used, and whether the outputs are made. outer
// holds the names of the graphs around a sub-graph.
func (g *Graph) checkNames(outer map[string]bool) error {
	def := map[string]bool{}
	for s := range outer {
		def[s] = true
	}
	own := map[string]bool{}
	define := func(what, s string) error {
		if own[s] {
			return fmt.Errorf("%s %q: defined twice", what, s)
		}
		own[s], def[s] = true, true
		return nil
	}
	for _, v := range g.Inputs {
		if err := define("input", v.Name); err != nil {
			return err
		}
	}
	for _, s := range sortedKeys(g.Init) {
		if err := define("initialiser", s); err != nil {
			return err
		}
	}
	for i, n := range g.Nodes {
		where := func(err error) error {
			return fmt.Errorf("node %s (%s, opset %d): %w", nodeName(n.Name, i), opName(n), g.Opset[n.Domain], err)
		}
		for _, s := range n.In {
			if s != "" && !def[s] {
				return where(fmt.Errorf("operand %q: found no node, input or initialiser that makes it", s))
			}
		}
		for _, k := range sortedKeys(n.Attr) {
			if sub := n.Attr[k].Graph; sub != nil {
				if err := sub.checkNames(def); err != nil {
					return where(fmt.Errorf("attribute %q: %w", k, err))
				}
			}
		}
		for _, s := range n.Out {
			if s != "" {
				if err := define("value", s); err != nil {
					return where(err)
				}
			}
		}
	}
	for _, v := range g.Outputs {
		if !def[v.Name] {
			return fmt.Errorf("output %q: found no node, input or initialiser that makes it", v.Name)
		}
	}
	return nil
}

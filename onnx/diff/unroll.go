package diff

import (
	"fmt"
	"slices"

	"lenskit/onnx"
)

// unroll writes out the loops on the paths that are differentiated, loops within loops too, and puts the bodies of If
// nodes in their place where the condition is known. What cannot be written out stays, with the reason in p.why.
func (p *plan) unroll(verb string, opt Options) error {
	left := onnx.MaxUnrolled
	for range onnx.MaxInlineDepth {
		if !slices.ContainsFunc(p.g.Nodes, onnx.HasGraph) {
			return nil
		}
		if err := p.g.Infer(); err != nil {
			return fmt.Errorf("onnx: %s: %w", verb, err)
		}
		if err := p.chooseAndMark(verb, opt); err != nil {
			return err
		}
		u := &onnx.Unroller{Loops: map[string]bool{}, Why: p.why, Left: &left}
		for _, n := range p.g.Nodes {
			if (n.Op == "Loop" || n.Op == "Scan") && n.Domain == "" && p.onPath(n) && p.why[n.FirstResult()] == "" {
				u.Loops[n.FirstResult()] = true
			}
		}
		before := bodies(p.g)
		g, err := onnx.NormaliseWith(p.g.Shallow(), nil, nil, 0, u)
		if err == nil && (len(u.Loops) > 0 || bodies(g) != before) {
			g, err = p.fold(g)
		}
		if err != nil {
			return fmt.Errorf("onnx: %s: %w", verb, err)
		}
		if p.g = g; len(u.Loops) == 0 && bodies(g) == before {
			return nil
		}
	}
	return nil
}

// bodies is the number of bodies in g, those within bodies too: it falls when a branch is put in the place of its If,
// also where a loop in the branch comes to the top.
func bodies(g *onnx.Graph) int {
	count := 0
	for _, n := range g.Nodes {
		for _, a := range n.Attr {
			if a.Graph != nil {
				count += 1 + bodies(a.Graph)
			}
		}
	}
	return count
}

package diff

import (
	"errors"
	"fmt"

	"lenskit/onnx"
	"lenskit/onnx/rewrite"
)

// The derivative of an If whose condition is known only when the graph runs is an If over the same condition: its
// branches compute the branch again and the branch's own derivative, by the values that the branches capture. Branches
// are differentiated as graphs of their own, so that bodies within bodies are seen at every depth.

// branches are the bodies of an If.
var branches = [2]string{"then_branch", "else_branch"}

// ifBack gives the gradient of each captured value.
func ifBack(b *back) []string {
	uses := b.n.Uses()
	out := make([]string, len(uses))
	var by []string
	at := map[string]int{}
	for i := len(b.n.In); i < len(uses); i++ {
		if s := uses[i]; b.want(i) {
			if _, ok := at[s]; !ok {
				at[s] = i
				by = append(by, s)
			}
		}
	}
	var of []int
	seeds := map[string]string{}
	for k := range b.n.Out {
		if b.raw(k) == "" {
			continue
		}
		of = append(of, k)
		g, s := b.raw(k), b.shape(b.out(k))
		if b.shape(g) == nil || s == nil || !sameShape(b.shape(g), s) {
			g = b.as(b.Op("Expand", g, b.shapeOf(b.out(k))), s)
		}
		seeds["grad_"+resultName(k)] = g
	}
	if len(by) == 0 || len(of) == 0 {
		return out
	}
	attr := map[string]onnx.Attr{}
	for _, key := range branches {
		attr[key] = b.derived(key, by, of, seeds, b.vjp)
	}
	for k, name := range b.OpN("If", len(by), attr, b.in(0)) {
		s := by[k]
		b.Declare(onnx.Value{Name: name, Type: b.typ(s), Shape: b.shape(s)})
		out[at[s]] = name
	}
	return out
}

// ifFwd gives the tangent of each result.
func ifFwd(f *fwd) []string {
	uses := f.n.Uses()
	out := make([]string, len(f.n.Out))
	var by []string
	seeds := map[string]string{}
	seen := map[string]bool{}
	for i := len(f.n.In); i < len(uses); i++ {
		if s := uses[i]; f.tan(i) != "" && !seen[s] {
			seeds[fmt.Sprintf("tangent_%s", captureName(len(by)))] = f.tan(i)
			seen[s] = true
			by = append(by, s)
		}
	}
	var of []int
	for k := range f.n.Out {
		if f.asked[k] {
			of = append(of, k)
		}
	}
	if len(by) == 0 || len(of) == 0 {
		return out
	}
	attr := map[string]onnx.Attr{}
	for _, key := range branches {
		attr[key] = f.derived(key, by, of, seeds, f.jvp)
	}
	for k, name := range f.OpN("If", len(of), attr, f.in(0)) {
		s := f.out(of[k])
		f.Declare(onnx.Value{Name: name, Type: f.typ(s), Shape: f.tanShape(s)})
		out[of[k]] = name
	}
	return out
}

// tangentsOf is the forward-mode derivative of a branch: in a Jacobian that of a graph at batch 1 with many tangents.
func (t *tape) tangentsOf(h *onnx.Graph, opt Options) (*onnx.Graph, error) {
	p, err := newPlan("jvp", h, opt)
	if err != nil {
		return nil, err
	}
	if t.batch == "" {
		return p.tangents("jvp", p.tape("jvp"))
	}
	return p.tangents("jacobian", p.jacobianTape(t.cols))
}

// The names of what a branch captures and gives, while it is a graph of its own.
func captureName(k int) string { return fmt.Sprintf("c%d", k) }

func resultName(k int) string { return fmt.Sprintf("o%d", k) }

// derived is the branch key of the If that is the derivative of c's node, by the captured values by and of the results
// of. derive differentiates the branch; seeds holds what its new inputs are in this graph.
func (c *call) derived(key string, by []string, of []int, seeds map[string]string,
	derive func(*onnx.Graph, Options) (*onnx.Graph, error)) onnx.Attr {
	h, opt, outer := c.standalone(key, by, of)
	d, err := derive(h, opt)
	if err != nil {
		if e := errors.Unwrap(err); e != nil {
			err = e // without the package and the verb
		}
		failf("%s: %w", key, err)
	}
	d = d.Shallow()
	d.Outputs = d.Outputs[len(of):]
	d.Nodes = rewrite.Prune(d.Nodes, rewrite.ValueNames(d.Outputs))
	rewrite.DropInit(d)
	for name, x := range d.Init {
		if s := outer[name]; s != "" && c.value(s) == x {
			delete(d.Init, name) // it is captured
		}
	}
	inner := map[string]string{}
	for name, s := range outer {
		inner[name] = s
	}
	for name, s := range seeds {
		inner[name] = s
	}
	d.Inputs = nil
	d = renamed(d, func(s string) string {
		if _, ok := inner[s]; !ok {
			inner[s] = c.Fresh("branch")
		}
		return inner[s]
	})
	d.Info = map[string]onnx.Value{}
	for i, v := range d.Outputs {
		if _, ok := onnx.Known(v.Shape); !ok {
			d.Outputs[i].Shape = nil // its symbols are not those of this graph
		}
	}
	return onnx.Attr{Kind: onnx.AttrGraph, Graph: d}
}

// standalone makes a branch of c's node a graph of its own. What it captures is an input or an initialiser there, c0 to
// c<k> for by and further names for the rest; the results of are its outputs. outer has the names of these values in the
// graph around the branch.
func (c *call) standalone(key string, by []string, of []int) (h *onnx.Graph, opt Options, outer map[string]string) {
	body := c.n.Attr[key].Graph
	if body == nil {
		failf("%s: found no graph", key)
	}
	if len(body.Inputs) > 0 || len(body.Outputs) != len(c.n.Out) {
		failf("%s: found %d inputs and %d outputs, expected 0 and %d", key, len(body.Inputs), len(body.Outputs), len(c.n.Out))
	}
	outer, inner := map[string]string{}, map[string]string{}
	h = &onnx.Graph{Name: key, Opset: map[string]int{"": c.opset}}
	capture := func(s string) {
		if _, ok := inner[s]; ok {
			return
		}
		name := captureName(len(outer))
		inner[s], outer[name] = name, s
		if x := c.value(s); x != nil {
			return
		}
		v := c.Inf.Value(s)
		if o, ok := c.open[s]; ok {
			v = o
		}
		v.Name = name
		if v.Type == onnx.Undefined {
			v.Type = onnx.Float32
		}
		h.Inputs = append(h.Inputs, v)
	}
	for k, s := range by {
		capture(s)
		opt.Wrt = append(opt.Wrt, captureName(k))
	}
	for _, s := range body.Captured() {
		capture(s)
	}
	b := renamed(body, func(s string) string {
		if _, ok := inner[s]; !ok {
			inner[s] = fmt.Sprintf("v%d", len(inner))
		}
		return inner[s]
	})
	h.Nodes, h.Init = b.Nodes, b.Init
	for name, s := range outer {
		if x := c.value(s); x != nil {
			h.Init[name] = x
		}
	}
	for _, k := range of {
		v := b.Outputs[k]
		h.Nodes = append(h.Nodes, &onnx.Node{Op: "Identity", Name: resultName(k), In: []string{v.Name}, Out: []string{resultName(k)}})
		h.Outputs = append(h.Outputs, onnx.Value{Name: resultName(k), Type: c.typ(c.out(k))})
		opt.Of = append(opt.Of, resultName(k))
	}
	opt.Exact = c.exact
	return h, opt, outer
}

package onnx

import (
	"fmt"
	"slices"

	"lenskit/onnx/symbolic"
)

// body infers the outputs of a body with the given inputs; the body itself is not changed. It returns nil where the
// inference fails or the body is not of this form: what a branch that never runs does must not stop the graph.
func (c *ShapeCall) body(g *Graph, in []Value) (f *Inferer, out []Value) {
	if g == nil || len(in) != len(g.Inputs) {
		return nil, nil
	}
	h := *g
	h.Opset, h.Info, h.Inputs = c.G.Opset, map[string]Value{}, slices.Clone(in)
	for i := range in {
		h.Inputs[i].Name = g.Inputs[i].Name
		h.Info[g.Inputs[i].Name] = h.Inputs[i]
	}
	f = NewInferer(&h)
	f.Within(c.Inferer)
	for _, n := range h.Nodes {
		if f.Node(n) != nil {
			return nil, nil
		}
	}
	for _, v := range h.Outputs {
		x := f.Value(v.Name)
		if x.Type == Undefined {
			x.Type = v.Type
		}
		if x.Shape == nil {
			if _, ok := Known(v.Shape); ok {
				x.Shape = v.Shape
			}
		}
		out = append(out, x)
	}
	return f, out
}

// ifShape gives outputs what both branches agree on.
func ifShape(c *ShapeCall) error {
	a, b := c.N.Attr["then_branch"].Graph, c.N.Attr["else_branch"].Graph
	if a == nil || b == nil || len(a.Outputs) != len(c.Out) || len(b.Outputs) != len(c.Out) {
		return fmt.Errorf("found branches of other output numbers, expected %d", len(c.Out))
	}
	_, x := c.body(a, nil)
	_, y := c.body(b, nil)
	if x == nil || y == nil {
		x, y = declared(a), declared(b)
	}
	for i := range c.Out {
		if x[i].Type == y[i].Type {
			c.set(i, x[i].Type, c.either(x[i].Shape, y[i].Shape))
		}
	}
	return nil
}

// declared are the outputs of a body as it states them, shapes only where they are numbers.
func declared(g *Graph) []Value {
	out := slices.Clone(g.Outputs)
	for i := range out {
		if _, ok := Known(out[i].Shape); !ok {
			out[i].Shape = nil
		}
	}
	return out
}

// either is a shape that is s or t.
func (c *ShapeCall) either(s, t []Dim) []Dim {
	if s == nil || t == nil || len(s) != len(t) {
		return nil
	}
	s = slices.Clone(s)
	for i := range s {
		if s[i] != t[i] {
			s[i] = c.Fresh("")
		}
	}
	return s
}

// turning infers a body whose first outputs go into its inputs from out on in the next turn. The shapes of what goes from
// turn to turn are those of the operands where the body keeps them; where it does not, nothing is known of any output.
func (c *ShapeCall) turning(body *Graph, in []Value, kept []Value, from int) (f *Inferer, out []Value) {
	f, out = c.body(body, in)
	if out == nil {
		return nil, nil
	}
	for i, v := range kept {
		if x := out[from+i].Shape; x == nil || v.Shape == nil || !slices.Equal(x, v.Shape) {
			return nil, nil
		}
	}
	return f, out
}

// typesOnly sets the types of the outputs: those of what goes from turn to turn, then what the body declares.
func (c *ShapeCall) typesOnly(body *Graph, kept []Value, from int) {
	for i := range c.Out {
		if i < len(kept) {
			c.set(i, kept[i].Type, nil)
		} else if k := from + i; k < len(body.Outputs) {
			c.set(i, body.Outputs[k].Type, nil)
		}
	}
}

// operandValues are the operands from the given one on.
func (c *ShapeCall) operandValues(from int) []Value {
	var v []Value
	for i := from; i < len(c.N.In); i++ {
		v = append(v, c.Value(c.N.In[i]))
	}
	return v
}

// loopShape is that of Loop, whose body takes the turn's number, a condition and the state.
func loopShape(c *ShapeCall) error {
	body := c.N.Attr["body"].Graph
	kept := c.operandValues(2)
	if body == nil || len(body.Inputs) != len(kept)+2 || len(body.Outputs) != len(c.Out)+1 || len(c.Out) < len(kept) {
		return nil
	}
	count := []Dim{}
	if s := body.Inputs[0].Shape; len(s) == 1 {
		count = []Dim{Fixed(1)}
	}
	in := append([]Value{{Type: Int64, Shape: count}, {Type: Bool, Shape: body.Inputs[1].Shape}}, kept...)
	_, out := c.turning(body, in, kept, 1)
	if out == nil {
		c.typesOnly(body, kept, 1)
		return nil
	}
	for i := range c.Out {
		v := out[i+1]
		if i >= len(kept) && v.Shape != nil {
			v.Shape = symbolic.Join([]Dim{c.Fresh("")}, v.Shape)
		}
		c.set(i, v.Type, v.Shape)
	}
	return nil
}

// scanShape is that of Scan from operator set 9 on, whose body takes the state and a slice of each scanned operand.
func scanShape(c *ShapeCall) error {
	body := c.N.Attr["body"].Graph
	taken := int(c.N.Int("num_scan_inputs", 0))
	all := c.operandValues(0)
	if body == nil || taken < 1 || taken > len(all) || len(body.Inputs) != len(all) || len(body.Outputs) != len(c.Out) || len(c.Out) < len(all)-taken {
		return nil
	}
	pick := func(name string, i int) int64 {
		if v := c.N.Ints(name); i < len(v) {
			return v[i]
		}
		return 0
	}
	kept, in := all[:len(all)-taken], slices.Clone(all)
	turns := c.Fresh("")
	for i := range taken {
		v := &in[len(kept)+i]
		if v.Shape == nil {
			continue
		}
		axis, err := NormAxis(pick("scan_input_axes", i), len(v.Shape))
		if err != nil {
			return err
		}
		if i == 0 {
			turns = v.Shape[axis]
		}
		v.Shape = slices.Delete(slices.Clone(v.Shape), axis, axis+1)
	}
	_, out := c.turning(body, in, kept, 0)
	if out == nil {
		c.typesOnly(body, kept, 0)
		return nil
	}
	for i := range c.Out {
		v := out[i]
		if k := i - len(kept); k >= 0 && v.Shape != nil {
			axis, err := NormAxis(pick("scan_output_axes", k), len(v.Shape)+1)
			if err != nil {
				return err
			}
			v.Shape = slices.Insert(slices.Clone(v.Shape), axis, turns)
		}
		c.set(i, v.Type, v.Shape)
	}
	return nil
}

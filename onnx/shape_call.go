package onnx

import (
	"fmt"
	"slices"

	"lenskit/onnx/symbolic"
)

// ShapeCall is one node whose outputs are to be inferred.
type ShapeCall struct {
	*Inferer
	N   *Node
	Out []Value
}

// shapeFunc sets c.out. It returns an error only for nodes that no input can make valid; where it cannot tell, it
// leaves outputs unset.
type shapeFunc func(c *ShapeCall) error

func (c *ShapeCall) has(i int) bool { return c.N.InName(i) != "" }

func (c *ShapeCall) arg(i int) []Dim { return c.Value(c.N.InName(i)).Shape }

func (c *ShapeCall) argType(i int) DType { return c.Value(c.N.InName(i)).Type }

// set sets output i when the node has it.
func (c *ShapeCall) set(i int, t DType, s []Dim) {
	if i < len(c.Out) {
		c.Out[i] = Value{Type: t, Shape: s}
	}
}

// need returns an error unless the first k operands are there.
func (c *ShapeCall) need(k int) error {
	for i := range k {
		if !c.has(i) {
			return fmt.Errorf("found %d operands, expected at least %d", len(c.N.In), k)
		}
	}
	return nil
}

// list is what is known of the values of operand i.
func (c *ShapeCall) list(i int) (symbolic.Ints, bool) { return c.Ints(c.N.InName(i)) }

// elems are the values of operand i as far as they are followed.
func (c *ShapeCall) elems(i int) ([]Dim, bool) {
	k, ok := c.list(i)
	return k.Elems, ok
}

// numbers are the values of operand i when all of them are numbers.
func (c *ShapeCall) numbers(i int) ([]int64, bool) {
	k, ok := c.list(i)
	if !ok {
		return nil, false
	}
	return k.Numbers()
}

// List are integers given by operand i or, in older operator sets, by an attribute. given is false where neither is
// there, ok where their values are not known.
func (c *ShapeCall) List(i int, attr string) (v []int64, given, ok bool) {
	if a, has := c.N.Attr[attr]; has {
		return a.Ints, true, true
	}
	if !c.has(i) {
		return nil, false, true
	}
	v, ok = c.numbers(i)
	return v, true, ok
}

// scalarInt is a single integer given by operand i.
func (c *ShapeCall) scalarInt(i int) (int64, bool) {
	v, ok := c.numbers(i)
	if !ok || len(v) != 1 {
		return 0, false
	}
	return v[0], true
}

// Floats are the values of operand i when it is an initialiser.
func (c *ShapeCall) Floats(i int) ([]float64, bool) {
	t := c.Tensor(c.N.InName(i))
	if t == nil || t.Type == String || t.Count() < 0 || t.Count() > symbolic.MaxInts {
		return nil, false
	}
	v := make([]float64, t.Count())
	for k := range v {
		v[k] = t.Float(k)
	}
	return v, true
}

// Tensor is the initialiser name, nil when name is none.
func (f *Inferer) Tensor(name string) *Tensor {
	for ; f != nil; f = f.Outer {
		if t := f.G.Init[name]; t != nil {
			return t
		}
		if _, own := f.G.Info[name]; own {
			return nil
		}
	}
	return nil
}

// NormAxis turns an axis that may count from the end into one that does not.
func NormAxis(a int64, rank int) (int, error) {
	if a < -int64(rank) || a >= int64(rank) {
		return 0, fmt.Errorf("axis: found %d, expected -%d to %d", a, rank, rank-1)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a), nil
}

// NormAxes does so for a list and refuses axes that come twice.
func NormAxes(axes []int64, rank int) ([]int, error) {
	var out []int
	for _, a := range axes {
		x, err := NormAxis(a, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, x) {
			return nil, fmt.Errorf("axes: found %d twice", a)
		}
		out = append(out, x)
	}
	return out, nil
}

// unknownDims is a shape of the given rank of which nothing else is known.
func (c *ShapeCall) unknownDims(rank int) []Dim {
	s := make([]Dim, rank)
	for i := range s {
		s[i] = c.Fresh("")
	}
	return s
}

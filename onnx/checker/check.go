package checker

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"lenskit/onnx"
	"lenskit/onnx/internal/onnxpb"
)

// attrLetters are the kinds of attribute as operators.txt writes them.
var attrLetters = map[byte]onnx.AttrKind{
	'f': onnx.AttrFloat, 'i': onnx.AttrInt, 's': onnx.AttrString, 't': onnx.AttrTensor, 'g': onnx.AttrGraph, 'F': onnx.AttrFloats, 'I': onnx.AttrInts, 'S': onnx.AttrStrings,
}

// Graph tells whether the graph is a valid model: every name is defined once and before it is used, operators are
// those of the operator set with the operands and attributes that it gives them, initialisers have the size of their
// shape, shapes fit together, and everything is within the limits: 2¹⁷ nodes, graphs nested 32 deep, tensors of rank 32
// and 4 GiB. An engine is given only graphs that pass.
func Graph(g *onnx.Graph) error {
	c := &checker{opset: g.Opset, budget: onnx.MaxNodes}
	err := c.graph(g, 1)
	if err == nil {
		err = g.CheckNames(nil)
	}
	if err != nil {
		return fmt.Errorf("onnx: check: %w", err)
	}
	h := g.Shallow()
	return h.Infer()
}

// checker walks a graph and its sub-graphs.
type checker struct {
	opset  map[string]int
	budget int
}

func (c *checker) graph(g *onnx.Graph, depth int) error {
	if depth > onnxpb.MaxDepth {
		return onnxpb.ErrDepth
	}
	if v := c.opset[""]; v < 1 || v > onnx.MaxOpset {
		return fmt.Errorf("found operator set %d, expected 1 to %d", v, onnx.MaxOpset)
	}
	for _, k := range onnx.SortedKeys(g.Init) {
		if err := onnx.CheckName(k); err != nil {
			return fmt.Errorf("initialiser %w", err)
		}
		if err := checkTensor(g.Init[k]); err != nil {
			return fmt.Errorf("initialiser %q: %w", k, err)
		}
	}
	for _, v := range g.Inputs {
		if err := checkValue(v); err != nil {
			return fmt.Errorf("input %w", err)
		}
		if depth == 1 && v.Type == onnx.Undefined {
			return fmt.Errorf("input %q: found no element type", v.Name)
		}
	}
	if depth == 1 && len(g.Outputs) == 0 {
		return errors.New("found no outputs, expected at least one")
	}
	seen := map[string]bool{}
	for _, v := range g.Outputs {
		if err := checkValue(v); err != nil {
			return fmt.Errorf("output %w", err)
		}
		if seen[v.Name] && depth == 1 {
			return fmt.Errorf("output %q: listed twice", v.Name)
		}
		seen[v.Name] = true
	}
	for i, n := range g.Nodes {
		if err := c.node(n, depth); err != nil {
			return fmt.Errorf("node %s (%s, opset %d): %w", onnx.NodeName(n.Name, i), onnx.OpName(n), c.opset[n.Domain], err)
		}
	}
	return nil
}

func checkValue(v onnx.Value) error {
	if err := onnx.CheckName(v.Name); err != nil {
		return err
	}
	if v.Type != onnx.Undefined && v.Type != onnx.String && v.Type.Width() == 0 {
		return fmt.Errorf("%q: found element type %s", v.Name, v.Type)
	}
	if len(v.Shape) > onnx.MaxRank {
		return fmt.Errorf("%q: found rank %d, expected at most %d", v.Name, len(v.Shape), onnx.MaxRank)
	}
	for _, d := range v.Shape {
		if d.N < 0 || d.N > onnx.MaxExtent || !d.Known() && d.N == 0 || !utf8.ValidString(d.Sym) {
			return fmt.Errorf("%q: found shape %v, expected extents of 0 to %d", v.Name, v.Shape, onnx.MaxExtent)
		}
	}
	return nil
}

// checkTensor tells whether the tensor holds as many values as its shape asks for.
func checkTensor(t *onnx.Tensor) error {
	if t == nil {
		return errors.New("found no tensor")
	}
	n, err := onnx.SizeOf(t.Shape)
	if err != nil {
		return err
	}
	if got := t.Count(); got != n {
		return fmt.Errorf("found %d values of %s, expected %d for shape %v", max(got, 0), t.Type, n, t.Shape)
	}
	if n > onnx.MaxTensorBytes/max(1, t.Type.Width()) {
		return fmt.Errorf("found shape %v of %s, expected at most %d bytes", t.Shape, t.Type, int64(onnx.MaxTensorBytes))
	}
	return nil
}

func (c *checker) node(n *onnx.Node, depth int) error {
	if c.budget--; c.budget < 0 {
		return fmt.Errorf("found more than %d nodes", onnx.MaxNodes)
	}
	if n.Domain != "" {
		return fmt.Errorf("found domain %q, expected the default domain", n.Domain)
	}
	versions := onnx.Signatures()[n.Op]
	if versions == nil {
		return fmt.Errorf("found an operator that the standard does not have")
	}
	set := c.opset[""]
	if set < versions[0].Since {
		return fmt.Errorf("found operator set %d, expected %d or later for this operator", set, versions[0].Since)
	}
	s := versions[0]
	for _, v := range versions {
		if v.Since <= set {
			s = v
		}
	}
	if s.Gone {
		return fmt.Errorf("found operator set %d, expected one before %d for this operator", set, s.Since)
	}
	if err := arity("operands", n.In, s.MinIn, s.MaxIn); err != nil {
		return err
	}
	if err := arity("outputs", n.Out, s.MinOut, s.Most); err != nil {
		return err
	}
	for _, list := range [][]string{n.In, n.Out} {
		for _, v := range list {
			if !utf8.ValidString(v) {
				return onnx.CheckName(v)
			}
		}
	}
	for _, k := range onnx.SortedKeys(n.Attr) {
		if err := c.attr(s.Attr[k], n.Attr[k], depth); err != nil {
			return fmt.Errorf("attribute %q: %w", k, err)
		}
	}
	if d := onnx.DType(n.Int("to", 0)); n.Op == "Cast" && d.Narrow() {
		return fmt.Errorf("attribute \"to\": found %s, which only the evaluator casts to", d)
	}
	for _, k := range onnx.SortedKeys(s.Attr) {
		if _, ok := n.Attr[k]; !ok && strings.HasSuffix(s.Attr[k], "!") {
			return fmt.Errorf("attribute %q: found none, expected one", k)
		}
	}
	return nil
}

// arity checks a number of names; trailing empty ones do not count.
func arity(what string, names []string, lo, hi int) error {
	n := len(names)
	for n > 0 && names[n-1] == "" {
		n--
	}
	switch {
	case hi >= 0 && n > hi:
		return fmt.Errorf("found %d %s, expected at most %d", n, what, hi)
	case n < lo:
		return fmt.Errorf("found %d %s, expected at least %d", n, what, lo)
	}
	return nil
}

func (c *checker) attr(want string, a onnx.Attr, depth int) error {
	if want == "" {
		return errors.New("the operator has no such attribute")
	}
	if kind := attrLetters[want[0]]; a.Kind != kind {
		return fmt.Errorf("found kind %d, expected %d", a.Kind, kind)
	}
	if a.Ref != "" {
		return fmt.Errorf("found a reference to %q outside of a function", a.Ref)
	}
	if !utf8.ValidString(a.String) && a.Kind == onnx.AttrString {
		return fmt.Errorf("found %q, expected text in UTF-8", a.String)
	}
	if a.Kind == onnx.AttrTensor {
		return checkTensor(a.Tensor)
	}
	if a.Kind == onnx.AttrGraph {
		if a.Graph == nil {
			return errors.New("found no graph")
		}
		return c.graph(a.Graph, depth+1)
	}
	return nil
}

package onnx

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"lenskit/onnx/internal/onnxpb"
)

//go:embed operators.txt
var operatorText string

// signature is what the standard says of an operator from one operator set on.
type signature struct {
	since                      int
	minIn, maxIn, minOut, most int // maxIn and most are -1 without a limit
	attr                       map[string]string
	gone                       bool
}

// signatures are the operators of the default domain, each with its versions in order.
var signatures = sync.OnceValue(func() map[string][]signature {
	table := map[string][]signature{}
	for line := range strings.Lines(operatorText) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] == "#" {
			continue
		}
		var s signature
		s.since, _ = strconv.Atoi(f[1])
		if f[2] == "gone" {
			s.gone = true
			table[f[0]] = append(table[f[0]], s)
			continue
		}
		s.minIn, s.maxIn = span(f[2])
		s.minOut, s.most = span(f[3])
		s.attr = map[string]string{}
		for _, a := range f[4:] {
			k, v, _ := strings.Cut(a, ":")
			s.attr[k] = v
		}
		table[f[0]] = append(table[f[0]], s)
	}
	return table
})

// span reads "2-3" or "1-*".
func span(s string) (lo, hi int) {
	a, b, _ := strings.Cut(s, "-")
	lo, _ = strconv.Atoi(a)
	if b == "*" {
		return lo, -1
	}
	hi, _ = strconv.Atoi(b)
	return lo, hi
}

// attrLetters are the kinds of attribute as operators.txt writes them.
var attrLetters = map[byte]AttrKind{
	'f': AttrFloat, 'i': AttrInt, 's': AttrString, 't': AttrTensor, 'g': AttrGraph, 'F': AttrFloats, 'I': AttrInts, 'S': AttrStrings,
}

// Check tells whether the graph is a valid model: every name is defined once and before it is used, operators are
// those of the operator set with the operands and attributes that it gives them, initialisers have the size of their
// shape, shapes fit together, and everything is within the limits: 2¹⁷ nodes, graphs nested 32 deep, tensors of rank 32
// and 4 GiB. An engine is given only graphs that pass.
func (g *Graph) Check() error {
	c := &checker{opset: g.Opset, budget: maxNodes}
	err := c.graph(g, 1)
	if err == nil {
		err = g.checkNames(nil)
	}
	if err != nil {
		return fmt.Errorf("onnx: check: %w", err)
	}
	h := g.shallow()
	return h.Infer()
}

// checker walks a graph and its sub-graphs.
type checker struct {
	opset  map[string]int
	budget int
}

func (c *checker) graph(g *Graph, depth int) error {
	if depth > onnxpb.MaxDepth {
		return onnxpb.ErrDepth
	}
	if v := c.opset[""]; v < 1 || v > maxOpset {
		return fmt.Errorf("found operator set %d, expected 1 to %d", v, maxOpset)
	}
	for _, k := range sortedKeys(g.Init) {
		if err := checkName(k); err != nil {
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
		if depth == 1 && v.Type == Undefined {
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
			return fmt.Errorf("node %s (%s, opset %d): %w", nodeName(n.Name, i), opName(n), c.opset[n.Domain], err)
		}
	}
	return nil
}

// checkName refuses names that a file cannot hold.
func checkName(s string) error {
	if s == "" || !utf8.ValidString(s) {
		return fmt.Errorf("name: found %q, expected text in UTF-8", s)
	}
	return nil
}

func checkValue(v Value) error {
	if err := checkName(v.Name); err != nil {
		return err
	}
	if v.Type != Undefined && v.Type != String && v.Type.width() == 0 {
		return fmt.Errorf("%q: found element type %s", v.Name, v.Type)
	}
	if len(v.Shape) > maxRank {
		return fmt.Errorf("%q: found rank %d, expected at most %d", v.Name, len(v.Shape), maxRank)
	}
	for _, d := range v.Shape {
		if d.N < 0 || d.N > maxExtent || !d.Known() && d.N == 0 || !utf8.ValidString(d.Sym) {
			return fmt.Errorf("%q: found shape %v, expected extents of 0 to %d", v.Name, v.Shape, maxExtent)
		}
	}
	return nil
}

// check tells whether the tensor holds as many values as its shape asks for.
func checkTensor(t *Tensor) error {
	if t == nil {
		return errors.New("found no tensor")
	}
	n, err := sizeOf(t.Shape)
	if err != nil {
		return err
	}
	if got := t.count(); got != n {
		return fmt.Errorf("found %d values of %s, expected %d for shape %v", max(got, 0), t.Type, n, t.Shape)
	}
	if n > maxTensorBytes/max(1, t.Type.width()) {
		return fmt.Errorf("found shape %v of %s, expected at most %d bytes", t.Shape, t.Type, int64(maxTensorBytes))
	}
	return nil
}

func (c *checker) node(n *Node, depth int) error {
	if c.budget--; c.budget < 0 {
		return fmt.Errorf("found more than %d nodes", maxNodes)
	}
	if n.Domain != "" {
		return fmt.Errorf("found domain %q, expected the default domain", n.Domain)
	}
	versions := signatures()[n.Op]
	if versions == nil {
		return fmt.Errorf("found an operator that the standard does not have")
	}
	set := c.opset[""]
	if set < versions[0].since {
		return fmt.Errorf("found operator set %d, expected %d or later for this operator", set, versions[0].since)
	}
	s := versions[0]
	for _, v := range versions {
		if v.since <= set {
			s = v
		}
	}
	if s.gone {
		return fmt.Errorf("found operator set %d, expected one before %d for this operator", set, s.since)
	}
	if err := arity("operands", n.In, s.minIn, s.maxIn); err != nil {
		return err
	}
	if err := arity("outputs", n.Out, s.minOut, s.most); err != nil {
		return err
	}
	for _, list := range [][]string{n.In, n.Out} {
		for _, v := range list {
			if !utf8.ValidString(v) {
				return checkName(v)
			}
		}
	}
	for _, k := range sortedKeys(n.Attr) {
		if err := c.attr(s.attr[k], n.Attr[k], depth); err != nil {
			return fmt.Errorf("attribute %q: %w", k, err)
		}
	}
	if d := DType(n.Int("to", 0)); n.Op == "Cast" && d.narrow() {
		return fmt.Errorf("attribute \"to\": found %s, which only the evaluator casts to", d)
	}
	for _, k := range sortedKeys(s.attr) {
		if _, ok := n.Attr[k]; !ok && strings.HasSuffix(s.attr[k], "!") {
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

func (c *checker) attr(want string, a Attr, depth int) error {
	if want == "" {
		return errors.New("the operator has no such attribute")
	}
	if kind := attrLetters[want[0]]; a.Kind != kind {
		return fmt.Errorf("found kind %d, expected %d", a.Kind, kind)
	}
	if a.Ref != "" {
		return fmt.Errorf("found a reference to %q outside of a function", a.Ref)
	}
	if !utf8.ValidString(a.String) && a.Kind == AttrString {
		return fmt.Errorf("found %q, expected text in UTF-8", a.String)
	}
	if a.Kind == AttrTensor {
		return checkTensor(a.Tensor)
	}
	if a.Kind == AttrGraph {
		if a.Graph == nil {
			return errors.New("found no graph")
		}
		return c.graph(a.Graph, depth+1)
	}
	return nil
}

// checkNames tells whether every name is defined once and before it is used, and whether the outputs are made. outer
// holds the names of the graphs around a sub-graph.
func (g *Graph) checkNames(outer map[string]bool) error {
	own := map[string]bool{}
	if outer == nil {
		outer = map[string]bool{}
	}
	var defined []string
	define := func(what, s string) error {
		if own[s] {
			return fmt.Errorf("%s %q: defined twice", what, s)
		}
		own[s] = true
		if !outer[s] {
			outer[s] = true
			defined = append(defined, s)
		}
		return nil
	}
	defer func() {
		for _, s := range defined {
			delete(outer, s)
		}
	}()
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
			if s != "" && !outer[s] {
				return where(fmt.Errorf("operand %q: found no node, input or initialiser that makes it", s))
			}
		}
		for _, k := range sortedKeys(n.Attr) {
			if sub := n.Attr[k].Graph; sub != nil {
				if err := sub.checkNames(outer); err != nil {
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
		if !outer[v.Name] {
			return fmt.Errorf("output %q: found no node, input or initialiser that makes it", v.Name)
		}
	}
	return nil
}

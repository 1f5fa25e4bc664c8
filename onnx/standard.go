package onnx

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

//go:embed operators.txt
var operatorText string

// signature is what the standard says of an operator from one operator set on.
type signature struct {
	Since                      int
	MinIn, MaxIn, MinOut, Most int // MaxIn and Most are -1 without a limit
	Attr                       map[string]string
	Gone                       bool
}

// Signatures are the operators of the default domain, each with its versions in order.
var Signatures = sync.OnceValue(func() map[string][]signature {
	table := map[string][]signature{}
	for line := range strings.Lines(operatorText) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] == "#" {
			continue
		}
		var s signature
		s.Since, _ = strconv.Atoi(f[1])
		if f[2] == "gone" {
			s.Gone = true
			table[f[0]] = append(table[f[0]], s)
			continue
		}
		s.MinIn, s.MaxIn = span(f[2])
		s.MinOut, s.Most = span(f[3])
		s.Attr = map[string]string{}
		for _, a := range f[4:] {
			k, v, _ := strings.Cut(a, ":")
			s.Attr[k] = v
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

// CheckName refuses names that a file cannot hold.
func CheckName(s string) error {
	if s == "" || !utf8.ValidString(s) {
		return fmt.Errorf("name: found %q, expected text in UTF-8", s)
	}
	return nil
}

// CheckNames tells whether every name is defined once and before it is used, and whether the outputs are made. outer
// holds the names of the graphs around a sub-graph.
func (g *Graph) CheckNames(outer map[string]bool) error {
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
	for _, s := range SortedKeys(g.Init) {
		if err := define("initialiser", s); err != nil {
			return err
		}
	}
	for i, n := range g.Nodes {
		where := func(err error) error {
			return fmt.Errorf("node %s (%s, opset %d): %w", NodeName(n.Name, i), OpName(n), g.Opset[n.Domain], err)
		}
		for _, s := range n.In {
			if s != "" && !outer[s] {
				return where(fmt.Errorf("operand %q: found no node, input or initialiser that makes it", s))
			}
		}
		for _, k := range SortedKeys(n.Attr) {
			if sub := n.Attr[k].Graph; sub != nil {
				if err := sub.CheckNames(outer); err != nil {
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

package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"lenskit/internal/disk"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// node is a place in a YAML file. Its errors begin with file:line:column.
type node struct {
	file string
	key  string // dotted path from the root, for messages
	n    ast.Node
}

// entry is one key of a mapping with its value.
type entry struct {
	name string
	at   *token.Token
	node
}

// parseYAML parses the single document of a file. An empty document is an error.
func parseYAML(file string, text []byte) (node, error) {
	text = rundir.WithoutBOM(text)
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return node{}, term.BadInput("%s: is not a text file: found a zero byte at offset %d, expected YAML", file, i)
	}
	if line, err := checkYAML(text); err != nil {
		return node{}, term.BadInput("%s:%d: %w", file, line, err)
	}
	f, err := parseBytes(text)
	if err != nil {
		var e yaml.Error
		if errors.As(err, &e) {
			return node{}, term.BadInput("%s: %s", at(file, e.GetToken()), e.GetMessage())
		}
		return node{}, term.BadInput("%s: %s", file, term.OneLine(err.Error()))
	}
	var docs []ast.Node
	for _, d := range f.Docs {
		if d.Body != nil && d.Body.Type() != ast.CommentType && d.Body.Type() != ast.DirectiveType {
			docs = append(docs, d.Body)
		}
	}
	switch len(docs) {
	case 0:
		return node{}, term.BadInput("%s: is empty, expected a config", file)
	case 1:
		return node{file: file, n: docs[0]}, nil
	}
	return node{}, term.BadInput("%s: found a second document, expected one", at(file, docs[1].GetToken()))
}

// Limits of a config, beyond which the parser would take seconds and gigabytes: it goes over all open brackets for each
// new one, and over all keys of a mapping for each new line.
const (
	maxYAMLDepth    = 100    // brackets or indented blocks in each other
	maxYAMLBrackets = 10_000 // that open, in comments and strings, too
	maxYAMLKeys     = 5000   // lines with a key
	maxYAMLItems    = 20_000
	maxYAMLBlank    = 1000 // empty lines in a row
)

// checkYAML holds a text against the limits before it is parsed. It tells the line that is too much.
func checkYAML(text []byte) (line int, err error) {
	if len(text) > term.MaxConfigFile {
		return 1, fmt.Errorf("found %s, expected a config of at most %s", disk.Size(int64(len(text))), disk.Size(term.MaxConfigFile))
	}
	var s yamlScan
	for rest := text; len(rest) > 0; {
		line++
		end := bytes.IndexAny(rest, "\r\n") + 1
		if end == 0 {
			end = len(rest)
		}
		s.line(rest[:end])
		rest = rest[end:]
		switch {
		case s.depth() > maxYAMLDepth:
			return line, fmt.Errorf("found more than %d lists and mappings in each other, expected a config", maxYAMLDepth)
		case s.opened > maxYAMLBrackets:
			return line, fmt.Errorf("found more than %d brackets, expected a config", maxYAMLBrackets)
		case s.keys > maxYAMLKeys:
			return line, fmt.Errorf("found more than %d lines with a key, expected a config", maxYAMLKeys)
		case s.blank > maxYAMLBlank:
			return line, fmt.Errorf("found more than %d empty lines in a row, expected a config", maxYAMLBlank)
		case s.items > maxYAMLItems:
			return line, fmt.Errorf("found more than %d items, expected a config", maxYAMLItems)
		}
	}
	return 0, nil
}

// yamlScan counts what nests in a YAML text. Where it takes something for a string or a comment that is none, the number
// of all brackets still bounds the depth.
type yamlScan struct {
	blocks []int // indents of the blocks around the line
	marks  int   // dashes and question marks of the line that may open blocks
	open   int   // brackets
	most   int   // open brackets of the line
	opened int   // brackets so far
	keys   int   // lines with a key
	items  int   // commas and dashes so far
	blank  int   // empty lines in a row
	quote  byte  // what the string that goes on began with, 0 for none
}

// depth is how deep the last line nests.
func (s *yamlScan) depth() int { return len(s.blocks) + s.marks + s.most }

// line takes the next line.
func (s *yamlScan) line(row []byte) {
	indent := len(row) - len(bytes.TrimLeft(row, " \t"))
	text := bytes.TrimSpace(row)
	if s.blank++; len(text) > 0 {
		s.blank = 0
	}
	if len(text) > 0 && text[0] != '#' {
		for len(s.blocks) > 0 && s.blocks[len(s.blocks)-1] >= indent {
			s.blocks = s.blocks[:len(s.blocks)-1]
		}
		s.blocks = append(s.blocks, indent)
		if bytes.IndexByte(row, ':') >= 0 {
			s.keys++
		}
	}
	s.marks, s.most = 0, s.open
	last, space, comment := byte(0), true, false // last character that is no space; whether a space or nothing stands before
	for i := 0; i < len(row); i++ {
		c := row[i]
		if c == '[' || c == '{' {
			s.opened++
		}
		if c == ',' {
			s.items++
		}
		if (c == '-' || c == '?') && space && (i+1 == len(row) || row[i+1] <= ' ') {
			s.marks++
			s.items++
		}
		switch {
		case comment:
		case s.quote == '"' && c == '\\':
			i++
		case s.quote != 0:
			if c == s.quote {
				s.quote = 0
			}
		case (c == '"' || c == '\'') && (last == 0 || strings.IndexByte("[{,:-?", last) >= 0):
			s.quote = c
		case c == '#' && space:
			comment = true
		case c == '[' || c == '{':
			s.open++
			s.most = max(s.most, s.open)
		case c == ']' || c == '}':
			s.open = max(s.open-1, 0)
		}
		if space = c <= ' '; !space {
			last = c
		}
	}
}

// parseBytes is the parser with its panics, if any, made errors.
func parseBytes(text []byte) (f *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be parsed as YAML: %v", r)
		}
	}()
	return parser.ParseBytes(text, 0)
}

// at writes file:line:column.
func at(file string, t *token.Token) string {
	if t == nil || t.Position == nil {
		return file
	}
	return fmt.Sprintf("%s:%d:%d", file, t.Position.Line, t.Position.Column)
}

// fail makes an error at the node.
func (n node) fail(format string, args ...any) error {
	var t *token.Token
	if n.n != nil {
		t = start(n.n)
	}
	msg := fmt.Sprintf(format, args...)
	if n.key != "" {
		msg = n.key + ": " + msg
	}
	return term.BadInput("%s: %s", at(n.file, t), msg)
}

// start is the first token of a node; that of a mapping is otherwise its first colon.
func start(n ast.Node) *token.Token {
	switch v := n.(type) {
	case *ast.MappingNode:
		if len(v.Values) > 0 && !v.IsFlowStyle {
			return start(v.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return start(v.Key)
	}
	return n.GetToken()
}

// describe says in words what a node is.
func (n node) describe() string {
	switch v := n.n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AliasNode, *ast.AnchorNode:
		return "an anchor or alias"
	case *ast.TagNode:
		return "a tag"
	default:
		s := v.GetToken().Value
		if len(s) > 40 {
			s = s[:40] + "…"
		}
		return strconv.Quote(s)
	}
}

// isMapping tells whether the node is a mapping.
func (n node) isMapping() bool {
	switch n.n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}

// isNull tells whether nothing stands at the node.
func (n node) isNull() bool {
	if n.n == nil {
		return true
	}
	_, ok := n.n.(*ast.NullNode)
	return ok
}

// entries returns the keys of a mapping in their order. A key that is not in allowed is an error that names the nearest
// allowed one; a nil allowed takes every key.
func (n node) entries(allowed []string) ([]entry, error) {
	var values []*ast.MappingValueNode
	switch v := n.n.(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	case *ast.NullNode:
	default:
		if len(allowed) > 0 {
			return nil, n.fail("found %s, expected a mapping of %s", n.describe(), strings.Join(allowed, ", "))
		}
		return nil, n.fail("found %s, expected a mapping", n.describe())
	}
	seen := map[string]bool{}
	var out []entry
	for _, v := range values {
		t := start(v.Key)
		name := v.Key.GetToken().Value
		if v.Key.Type() == ast.MergeKeyType {
			return nil, term.BadInput("%s: merge keys are not read", at(n.file, t))
		}
		if allowed != nil && !Contains(allowed, name) {
			return nil, term.BadInput("%s: unknown key %q%s", at(n.file, t), term.Shown(name), ExpectedKeys(name, allowed))
		}
		if seen[name] {
			return nil, term.BadInput("%s: key %q stands here a second time", at(n.file, t), term.Shown(name))
		}
		seen[name] = true
		out = append(out, entry{name, t, node{n.file, join(n.key, name), v.Value}})
	}
	return out, nil
}

// ExpectedKeys ends the message about an unknown key.
func ExpectedKeys(name string, allowed []string) string {
	if s := term.DidYouMean(name, allowed); s != "" {
		return s
	}
	if len(allowed) == 0 {
		return ": none is expected here"
	}
	return ": expected " + strings.Join(allowed, ", ")
}

func Contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// list returns the items of a sequence.
func (n node) list() ([]node, error) {
	s, ok := n.n.(*ast.SequenceNode)
	if !ok {
		return nil, n.fail("found %s, expected a list", n.describe())
	}
	out := make([]node, len(s.Values))
	for i, v := range s.Values {
		out[i] = node{n.file, fmt.Sprintf("%s[%d]", n.key, i), v}
	}
	return out, nil
}

// text returns a string.
func (n node) text() (string, error) {
	switch v := n.n.(type) {
	case *ast.StringNode:
		return v.Value, nil
	case *ast.LiteralNode:
		return strings.TrimSpace(v.Value.Value), nil
	}
	return "", n.fail("found %s, expected text", n.describe())
}

// number returns a finite number.
func (n node) number() (float64, error) {
	v, err := n.anyNumber()
	if err == nil && (math.IsInf(v, 0) || math.IsNaN(v)) {
		return 0, n.fail("found %s, expected a finite number", n.describe())
	}
	return v, err
}

// anyNumber returns a number, ±Inf included.
func (n node) anyNumber() (float64, error) {
	switch v := n.n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
	case *ast.StringNode:
		// 1e-3 without a point is text in YAML 1.1; nobody means that.
		if v.Token.Type == token.SingleQuoteType || v.Token.Type == token.DoubleQuoteType {
			return 0, n.fail("found %s in quotes, expected a number", n.describe())
		}
	default:
		return 0, n.fail("found %s, expected a number", n.describe())
	}
	s := strings.NewReplacer("_", "", ".inf", "inf", ".Inf", "inf", ".nan", "nan", ".NaN", "nan").Replace(n.n.GetToken().Value)
	v, err := strconv.ParseFloat(s, 64)
	switch {
	case math.Abs(v) > term.MaxMagnitude && term.Finite(v) || errors.Is(err, strconv.ErrRange):
		return 0, n.fail("found %s, expected a number of size up to %g", n.describe(), term.MaxMagnitude)
	case err != nil || math.IsNaN(v):
		return 0, n.fail("found %s, expected a number", n.describe())
	}
	return v, nil
}

// whole returns a whole number from lo to hi.
func (n node) whole(lo, hi int) (int, error) {
	v, err := n.number()
	if err != nil {
		return 0, err
	}
	if v != math.Trunc(v) || v < float64(lo) || v > float64(hi) {
		return 0, n.fail("found %s, expected %s", n.describe(), wholeFrom(lo, hi))
	}
	return int(v), nil
}

func wholeFrom(lo, hi int) string { return fmt.Sprintf("a whole number from %d to %d", lo, hi) }

// numbers returns a list of count numbers (any count when count < 0). With inf, ±Inf may be among them.
func (n node) numbers(count int, inf bool) ([]float64, error) {
	items, err := n.list()
	if err != nil {
		return nil, err
	}
	if count >= 0 && len(items) != count {
		return nil, n.fail("found %d numbers, expected %d", len(items), count)
	}
	out := make([]float64, len(items))
	for i, it := range items {
		if inf {
			out[i], err = it.anyNumber()
		} else {
			out[i], err = it.number()
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

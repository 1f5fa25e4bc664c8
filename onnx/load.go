package onnx

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"

	"lenskit/internal/disk"
	"lenskit/onnx/internal/onnxpb"
)

// maxFileBytes is the largest model file that is read: protobuf messages cannot be larger than 2 GiB.
const maxFileBytes = 1 << 31

// Load reads an ONNX file. Weights in files of their own are read only from inside the model's folder. See Parse.
func Load(path string) (*Graph, error) {
	data, err := disk.Read(path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("onnx: load: %w", err)
	}
	g, err := Parse(data, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("onnx: load: %s: %w", path, trimPrefix(err))
	}
	return g, nil
}

// trimPrefix drops the package and verb of an error that is wrapped by another of this package.
func trimPrefix(err error) error {
	if e, ok := errors.AsType[*parseError](err); ok && e == err {
		return e.err
	}
	return err
}

// parseError is an error of Parse.
type parseError struct{ err error }

func (e *parseError) Error() string { return "onnx: read: " + e.err.Error() }

func (e *parseError) Unwrap() error { return e.err }

// Parse reads a model from the bytes of an ONNX file. dir is the folder in which weights in files of their own may
// lie; with an empty dir such weights are refused.
//
// The graph that comes out is simpler than the file: Constant nodes are initialisers, calls of the model's own functions and
// If nodes with a constant condition are replaced by their bodies, nodes stand in an order in which every name is
// made before it is used, half-precision types are Float32 throughout, and operators of operator sets before 18 have
// their later form, so that Opset[""] is at least 18. Sub-graphs of Loop, Scan and other If nodes stay in Attr.Graph.
//
// Decoding allocates at most 512 bytes per byte of the file plus 1 MiB, and inlining makes at most 2¹⁷ nodes.
func Parse(data []byte, dir string) (*Graph, error) {
	m, err := onnxpb.Unmarshal(data)
	if err != nil {
		return nil, &parseError{err}
	}
	r := &reader{dir: dir, syms: map[string]bool{}, overload: map[*Node]string{}}
	g, err := r.model(m)
	if err != nil {
		return nil, &parseError{err}
	}
	return g, nil
}

// reader turns messages into a Graph.
type reader struct {
	dir      string
	files    map[string]bool  // files of weights
	room     int64            // bytes that these hold
	outside  int64            // bytes that the tensors take which were read from them
	fresh    int              // extents without a name met so far
	syms     map[string]bool  // symbols that the file uses
	overload map[*Node]string // overload names of the functions that nodes call
	narrow   DType            // an element type of 8 bits or fewer that the file uses
	follows  string           // an operator met whose result's type is that of an operand, even a narrow one
}

// model converts the whole file.
func (r *reader) model(m *onnxpb.Model) (*Graph, error) {
	if m.Graph == nil {
		return nil, errors.New("found no graph, expected an ONNX model")
	}
	opset, err := r.opsets(m.Opsets)
	if err != nil {
		return nil, err
	}
	if len(m.Opsets) == 0 {
		if m.IRVersion >= 3 {
			return nil, errors.New("found no operator set, expected at least one")
		}
		opset[""] = 1
	}
	collectSyms(m.Graph, r.syms)
	g, err := r.graph(m.Graph)
	if err != nil {
		return nil, err
	}
	g.Opset = opset
	for _, e := range m.Meta {
		if g.Meta == nil {
			g.Meta = map[string]string{}
		}
		g.Meta[e.Key] = e.Value
	}
	fns := map[FuncKey]*Function{}
	for _, f := range m.Functions {
		fn, err := r.function(f)
		if err != nil {
			return nil, err
		}
		key := FuncKey{domain(f.Domain), f.Name, f.Overload}
		if fns[key] != nil {
			return nil, fmt.Errorf("function %q: defined twice", f.Name)
		}
		fns[key] = fn
	}
	if r.narrow != Undefined && r.follows != "" {
		return nil, fmt.Errorf("found %s beside %s, whose results may take that type", r.narrow, r.follows)
	}
	if g, err = Normalise(g, fns, r.overload, 0); err != nil {
		return nil, err
	}
	g.portable(m.Producer == "pytorch")
	return g, nil
}

// domain is the name under which a domain is kept: "ai.onnx" is the default domain.
func domain(s string) string {
	if s == "ai.onnx" {
		return ""
	}
	return s
}

func (r *reader) opsets(list []onnxpb.Opset) (map[string]int, error) {
	m := map[string]int{}
	for _, o := range list {
		if o.Version < 1 || o.Version > 1<<20 {
			return nil, fmt.Errorf("operator set %q: found version %d, expected 1 to %d", o.Domain, o.Version, MaxOpset)
		}
		if domain(o.Domain) == "" && o.Version > MaxOpset {
			return nil, fmt.Errorf("found operator set %d, expected at most %d", o.Version, MaxOpset)
		}
		m[domain(o.Domain)] = int(o.Version)
	}
	return m, nil
}

// collectSyms gathers the symbols that the graph's own shapes use.
func collectSyms(g *onnxpb.Graph, syms map[string]bool) {
	for _, list := range [][]*onnxpb.ValueInfo{g.Inputs, g.Outputs, g.Values} {
		for _, v := range list {
			for _, d := range v.Dims {
				if d.Param != "" {
					syms[parseDim(d.Param).Sym] = true
				}
			}
		}
	}
}

var dimTerm = regexp.MustCompile(`(?s)^([1-9][0-9]{0,9})\*(?:([A-Za-z_?][A-Za-z0-9_.]*)|\((.+)\))$`)

// parseDim reads a symbolic extent: a symbol, or COUNT*symbol as String of a marshalled Dim writes it.
func parseDim(s string) Dim {
	if m := dimTerm.FindStringSubmatch(s); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err == nil && n > 1 && (m[2] != "" || !plainSym.MatchString(m[3]) && balanced(m[3])) {
			return Dim{N: n, Sym: m[2] + m[3]}
		}
	}
	return Dim{N: 1, Sym: s}
}

// balanced tells whether every parenthesis of s is closed and none is closed before it is opened.
func balanced(s string) bool {
	depth := 0
	for _, c := range s {
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return depth == 0
}

var plainSym = regexp.MustCompile(`^[A-Za-z_?][A-Za-z0-9_.]*$`)

// formatDim writes a symbolic extent so that parseDim reads it back.
func formatDim(d Dim) string {
	switch {
	case d.N == 1:
		return d.Sym
	case plainSym.MatchString(d.Sym):
		return fmt.Sprintf("%d*%s", d.N, d.Sym)
	}
	return fmt.Sprintf("%d*(%s)", d.N, d.Sym)
}

// anon makes a symbol for an extent without a name.
func (r *reader) anon() Dim {
	for {
		r.fresh++
		if s := fmt.Sprintf("?%d", r.fresh); !r.syms[s] {
			return Dim{N: 1, Sym: s}
		}
	}
}

// graph converts a graph without looking at what its nodes do.
func (r *reader) graph(p *onnxpb.Graph) (*Graph, error) {
	if p.Sparse > 0 {
		return nil, errors.New("found sparse initialisers, expected dense ones")
	}
	g := &Graph{Name: p.Name, Init: map[string]*Tensor{}, Info: map[string]Value{}}
	for _, t := range p.Init {
		if t.Name == "" {
			return nil, errors.New("initialiser without a name")
		}
		if g.Init[t.Name] != nil {
			return nil, fmt.Errorf("initialiser %q: defined twice", t.Name)
		}
		v, err := r.tensor(t)
		if err != nil {
			return nil, fmt.Errorf("initialiser: %w", err)
		}
		g.Init[t.Name] = v
	}
	for _, v := range p.Inputs {
		if v.Name == "" {
			return nil, errors.New("input without a name")
		}
		if g.Init[v.Name] != nil {
			continue
		}
		x, err := r.value(v)
		if err != nil {
			return nil, fmt.Errorf("input %w", err)
		}
		g.Inputs = append(g.Inputs, x)
	}
	for _, v := range p.Outputs {
		if v.Name == "" {
			return nil, errors.New("output without a name")
		}
		x, err := r.value(v)
		if err != nil {
			return nil, fmt.Errorf("output %w", err)
		}
		g.Outputs = append(g.Outputs, x)
	}
	for _, v := range p.Values {
		// A value of another kind is refused where a node makes it.
		if x, err := r.value(v); err == nil && v.Name != "" {
			g.Info[v.Name] = x
		}
	}
	for i, n := range p.Nodes {
		x, err := r.node(n)
		if err != nil {
			return nil, fmt.Errorf("node %s (%s): %w", NodeName(n.Name, i), n.Op, err)
		}
		g.Nodes = append(g.Nodes, x)
	}
	return g, nil
}

// NodeName is how messages call node i.
func NodeName(name string, i int) string {
	if name == "" {
		return fmt.Sprintf("#%d", i)
	}
	return Quote(name)
}

// value converts an input, output or intermediate value.
func (r *reader) value(p *onnxpb.ValueInfo) (Value, error) {
	v := Value{Name: p.Name, Type: DType(p.Type)}
	if p.Kind != "" {
		return v, fmt.Errorf("%q: found a %s, expected a tensor", p.Name, p.Kind)
	}
	if v.Type != Undefined && v.Type != String && v.Type.Width() == 0 && !v.Type.Narrow() {
		return v, fmt.Errorf("%q: found element type %s, expected a float, integer, bool or string type", p.Name, v.Type)
	}
	r.note(v.Type)
	v.Type = v.Type.Widened()
	if !p.HasShape {
		return v, nil
	}
	if len(p.Dims) > MaxRank {
		return v, fmt.Errorf("%q: found rank %d, expected at most %d", p.Name, len(p.Dims), MaxRank)
	}
	v.Shape = make([]Dim, len(p.Dims))
	for i, d := range p.Dims {
		switch {
		case d.HasValue && d.Value > MaxExtent:
			return v, fmt.Errorf("%q: found extent %d, expected at most %d", p.Name, d.Value, MaxExtent)
		case d.HasValue && d.Value >= 0:
			v.Shape[i] = Dim{N: d.Value}
		case d.Param != "":
			v.Shape[i] = parseDim(d.Param)
		default:
			v.Shape[i] = r.anon()
		}
	}
	return v, nil
}

// node converts a node, its attributes and their graphs.
func (r *reader) node(p *onnxpb.Node) (*Node, error) {
	n := &Node{Op: p.Op, Domain: domain(p.Domain), Name: p.Name, In: p.In, Out: p.Out}
	if p.Op == "" {
		return nil, errors.New("found no operator")
	}
	if p.Op == "CastLike" || p.Op == "QuantizeLinear" {
		r.follows = p.Op
	}
	if p.Overload != "" {
		r.overload[n] = p.Overload
	}
	for _, a := range p.Attr {
		if _, ok := n.Attr[a.Name]; ok {
			return nil, fmt.Errorf("attribute %q: given twice", a.Name)
		}
		x, err := r.attr(a)
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", a.Name, err)
		}
		if n.Attr == nil {
			n.Attr = map[string]Attr{}
		}
		n.Attr[a.Name] = x
	}
	return n, nil
}

func (r *reader) attr(p *onnxpb.Attribute) (Attr, error) {
	a := Attr{Kind: AttrKind(p.Type), Ref: p.Ref}
	if p.Other > 0 || a.Kind > AttrStrings {
		return a, fmt.Errorf("found kind %d, expected float, int, string, tensor, graph or a list of the first three", p.Type)
	}
	if a.Kind == 0 {
		// Files of the first IR versions leave the type out.
		for k := AttrFloat; k <= AttrStrings; k++ {
			if p.Set == 1<<k {
				a.Kind = k
			}
		}
		if a.Kind == 0 && p.Ref == "" {
			return a, errors.New("found no value")
		}
	}
	switch a.Kind {
	case AttrFloat:
		a.Float = float64(p.Float)
	case AttrInt:
		a.Int = p.Int
	case AttrString:
		a.String = string(p.String)
	case AttrTensor:
		if p.Tensor == nil {
			if p.Ref != "" {
				break
			}
			return a, errors.New("found no tensor")
		}
		t, err := r.tensor(p.Tensor)
		if err != nil {
			return a, err
		}
		a.Tensor = t
	case AttrGraph:
		if p.Graph == nil {
			if p.Ref != "" {
				break
			}
			return a, errors.New("found no graph")
		}
		g, err := r.graph(p.Graph)
		if err != nil {
			return a, err
		}
		a.Graph = g
	case AttrFloats:
		a.Floats = make([]float64, len(p.Floats))
		for i, v := range p.Floats {
			a.Floats[i] = float64(v)
		}
	case AttrInts:
		a.Ints = p.Ints
		if a.Ints == nil {
			a.Ints = []int64{}
		}
	case AttrStrings:
		a.Strings = make([]string, len(p.Strings))
		for i, s := range p.Strings {
			a.Strings[i] = string(s)
		}
	}
	return a, nil
}

// function converts a model-local function.
func (r *reader) function(p *onnxpb.Function) (*Function, error) {
	f := &Function{in: p.Inputs, out: p.Outputs, defaults: map[string]Attr{}}
	var err error
	if f.opset, err = r.opsets(p.Opsets); err != nil {
		return nil, fmt.Errorf("function %q: %w", p.Name, err)
	}
	for _, a := range p.Defaults {
		if f.defaults[a.Name], err = r.attr(a); err != nil {
			return nil, fmt.Errorf("function %q: attribute %q: %w", p.Name, a.Name, err)
		}
	}
	for i, n := range p.Nodes {
		x, err := r.node(n)
		if err != nil {
			return nil, fmt.Errorf("function %q: node %s (%s): %w", p.Name, NodeName(n.Name, i), n.Op, err)
		}
		f.nodes = append(f.nodes, x)
	}
	return f, nil
}

// OpName is an operator as messages write it: one that no standard has stands between quotes.
func OpName(n *Node) string {
	switch {
	case n.Domain != "":
		return Quote(n.Domain + "." + n.Op)
	case Signatures()[n.Op] == nil:
		return Quote(n.Op)
	}
	return n.Op
}

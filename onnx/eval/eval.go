package eval

import (
	"errors"
	"fmt"
	"slices"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/onnx/footprint"
)

// ErrNoEval is wrapped by the error for an operator that the evaluator does not cover.
var ErrNoEval = errors.New("the evaluator does not cover this operator")

// Evaluator runs a graph in Go in float64.
//
// It is the oracle that derived graphs and onnxruntime are compared with, so it is exact arithmetic as far as float64
// goes: every float type is computed and kept in float64, and a Cast to Float32, Float16 or BFloat16 does not round.
// Integers are exact and wrap around as their type does. The arrays alive at one time may take DefaultRoom bytes.
//
// An Evaluator is not changed by Run: several goroutines may share one.
type Evaluator struct {
	room int64 // bytes that the arrays of a run may take beside the constants
	g    *onnx.Graph
	prog *evalProgram
}

// New prepares g. An operator that is not covered is an error that wraps ErrNoEval and names operator, node
// and opset.
func New(g *onnx.Graph) (*Evaluator, error) { return NewIn(g, footprint.DefaultRoom) }

// NewIn is New of a graph whose arrays may take room bytes. Where the shapes of the inputs are numbers
// a graph that takes more is refused at once.
func NewIn(g *onnx.Graph, room int64) (*Evaluator, error) {
	if !slices.ContainsFunc(g.Inputs, func(v onnx.Value) bool { _, ok := onnx.Known(v.Shape); return !ok }) {
		if _, err := footprint.FITS(g, true, room, 0); errors.Is(err, footprint.ErrTooLarge) && !errors.As(err, new(*footprint.UnsizedError)) {
			return nil, fmt.Errorf("onnx: evaluate: %w", err)
		}
	}
	p, err := compileGraph(g, g.Opset, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("onnx: evaluate: %w", err)
	}
	return &Evaluator{g: g, prog: p, room: room}, nil
}

// Run evaluates the graph for the given inputs, one for each of the graph's inputs by name, and returns the outputs
// by name. Shapes may differ from call to call and need not be those that the graph declares; types must be. The
// outputs share no memory with inputs or constants.
func (e *Evaluator) Run(in map[string]*Array) (map[string]*Array, error) {
	left := int64(footprint.Endless)
	return e.RunWithin(in, &left)
}

// RunWithin is Run of a graph that may take the work that is left, as held counts it.
func (e *Evaluator) RunWithin(in map[string]*Array, left *int64) (map[string]*Array, error) {
	vals := make([]*Array, e.prog.slots)
	for i, v := range e.g.Inputs {
		a := in[v.Name]
		if a == nil {
			return nil, fmt.Errorf("onnx: evaluate: input %q is missing", v.Name)
		}
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("onnx: evaluate: input %q: %w", v.Name, err)
		}
		if v.Type != onnx.Undefined && v.Type.IsFloat() != a.Type.IsFloat() {
			return nil, fmt.Errorf("onnx: evaluate: input %q: found type %v, expected %v", v.Name, a.Type, v.Type)
		}
		vals[e.prog.inputs[i]] = a
	}
	if len(in) > len(e.g.Inputs) {
		for name := range in {
			if !slices.ContainsFunc(e.g.Inputs, func(v onnx.Value) bool { return v.Name == name }) {
				return nil, fmt.Errorf("onnx: evaluate: the graph has no input %q", name)
			}
		}
	}
	m := &evalMeter{room: e.room, left: left}
	outs, err := e.prog.run(vals, m)
	for _, a := range outs {
		m.take(a)
	}
	if err == nil && m.alive > m.room {
		err = fmt.Errorf("%w: found outputs of %s with their copies, expected at most %s", footprint.ErrTooLarge, disk.Size(m.alive), disk.Size(m.room))
	}
	if err != nil {
		return nil, fmt.Errorf("onnx: evaluate: %w", err)
	}
	res := make(map[string]*Array, len(outs))
	for i, v := range e.g.Outputs {
		res[v.Name] = outs[i].clone()
	}
	return res, nil
}

// Node evaluates one node for the given inputs (nil for an operand left out) under the given operator sets and
// returns its outputs, nil for those the node does not name. Outputs may share memory with inputs.
func Node(n *onnx.Node, opset map[string]int, in []*Array) ([]*Array, error) {
	if len(in) != len(n.In) {
		return nil, fmt.Errorf("onnx: evaluate: node %q (%s): found %d inputs, expected %d", n.Name, n.Op, len(in), len(n.In))
	}
	s, err := compileNode(n, opset, &evalScope{slot: map[string]int{}, prog: &evalProgram{}}, 0)
	if err != nil {
		return nil, fmt.Errorf("onnx: evaluate: %w", err)
	}
	for i, a := range in {
		if a == nil {
			continue
		}
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("onnx: evaluate: node %q (%s): input %d: %w", n.Name, n.Op, i, err)
		}
	}
	left := int64(footprint.Endless)
	m := &evalMeter{room: footprint.DefaultRoom, left: &left}
	if err := m.admit(s, in); err != nil {
		return nil, fmt.Errorf("onnx: evaluate: %w", err)
	}
	out, err := s.call(in, nil, m)
	if err != nil {
		return nil, fmt.Errorf("onnx: evaluate: %w", err)
	}
	return out, nil
}

// evalCall is what an operator's function is given: its node, the version of its operator set and its inputs.
type evalCall struct {
	*onnx.Node
	opset int
	in    []*Array // nil: left out
	sub   map[string]*evalProgram
	outer []*Array // values of the enclosing graph, for sub
	meter *evalMeter
}

// evalFunc computes the outputs of a call. It writes into none of its inputs, but may return them.
type evalFunc func(c *evalCall) ([]*Array, error)

// arg returns input i or nil.
func (c *evalCall) arg(i int) *Array {
	if i < len(c.in) {
		return c.in[i]
	}
	return nil
}

// need returns the first k inputs, or an error when one is left out.
func (c *evalCall) need(k int) error {
	for i := range k {
		if c.arg(i) == nil {
			return fmt.Errorf("input %d is left out", i)
		}
	}
	return nil
}

// floats checks that the given inputs, where present, hold floats.
func (c *evalCall) floats(idx ...int) error {
	for _, i := range idx {
		if a := c.arg(i); a != nil && !a.Type.IsFloat() {
			return fmt.Errorf("input %d: found type %v, expected floats", i, a.Type)
		}
	}
	return nil
}

// ints returns input i as integers, or nil when it is left out.
func (c *evalCall) ints(i int) ([]int64, error) {
	a := c.arg(i)
	switch {
	case a == nil:
		return nil, nil
	case !a.Type.IsInt():
		return nil, fmt.Errorf("input %d: found type %v, expected integers", i, a.Type)
	case a.I == nil:
		return []int64{}, nil
	}
	return a.I, nil
}

// intsAttrOrInput returns an integer list that was an attribute in old operator sets and is input i in new ones. The
// attribute is taken when present; nil when there is neither.
func (c *evalCall) intsAttrOrInput(name string, i int) ([]int64, error) {
	if a, ok := c.Attr[name]; ok {
		if a.Ints == nil {
			return []int64{}, nil
		}
		return a.Ints, nil
	}
	return c.ints(i)
}

// names tells whether the node names its output i.
func (c *evalCall) names(i int) bool { return i < len(c.Out) && c.Out[i] != "" }

// evalProgram is a graph (or a graph inside an attribute) with names resolved to slots.
type evalProgram struct {
	steps    []evalStep
	slots    int
	inputs   []int
	outputs  []int
	names    []string // of outputs
	consts   []evalBinding
	captures []evalCapture
	made     []bool // slots that steps fill: what the others hold is not counted
}

type evalBinding struct {
	slot int
	val  *Array
}

// evalCapture is a value that an inner graph takes from the graph around it.
type evalCapture struct{ outer, inner int }

// evalStep is one node of a evalProgram.
type evalStep struct {
	n       *onnx.Node
	fn      evalFunc
	opset   int
	in, out []int // slots, -1 for an operand left out
	sub     map[string]*evalProgram
	free    []int // slots not needed after this step
}

// evalScope maps names to slots while a evalProgram is compiled.
type evalScope struct {
	slot  map[string]int
	prog  *evalProgram
	outer *evalScope
}

func (s *evalScope) add(name string) int {
	i := s.prog.slots
	s.prog.slots++
	s.slot[name] = i
	return i
}

// find returns the slot of name; a value of an enclosing graph is captured.
func (s *evalScope) find(name string) (int, bool) {
	if i, ok := s.slot[name]; ok {
		return i, true
	}
	if s.outer == nil {
		return 0, false
	}
	o, ok := s.outer.find(name)
	if !ok {
		return 0, false
	}
	i := s.add(name)
	s.prog.captures = append(s.prog.captures, evalCapture{o, i})
	return i, true
}

// maxEvalDepth limits how deep graphs may be nested.
const maxEvalDepth = 32

func compileGraph(g *onnx.Graph, opset map[string]int, outer *evalScope, depth int) (*evalProgram, error) {
	if depth > maxEvalDepth {
		return nil, fmt.Errorf("graphs are nested deeper than %d", maxEvalDepth)
	}
	p := &evalProgram{}
	s := &evalScope{slot: map[string]int{}, prog: p, outer: outer}
	for name, t := range g.Init {
		a, err := ArrayOf(t)
		if err != nil {
			return nil, fmt.Errorf("initialiser %q: %w", name, err)
		}
		p.consts = append(p.consts, evalBinding{s.add(name), a})
	}
	for _, v := range g.Inputs {
		p.inputs = append(p.inputs, s.add(v.Name))
	}
	for _, n := range g.Nodes {
		st, err := compileNode(n, opset, s, depth)
		if err != nil {
			return nil, err
		}
		for i, name := range n.In {
			st.in[i] = -1
			if name == "" {
				continue
			}
			slot, ok := s.find(name)
			if !ok {
				return nil, fmt.Errorf("node %q (%s): input %q is not made by any node before it", n.Name, n.Op, name)
			}
			st.in[i] = slot
		}
		for i, name := range n.Out {
			st.out[i] = -1
			if name != "" {
				st.out[i] = s.add(name)
			}
		}
		p.steps = append(p.steps, *st)
	}
	for _, v := range g.Outputs {
		slot, ok := s.find(v.Name)
		if !ok {
			return nil, fmt.Errorf("output %q is not made by any node", v.Name)
		}
		p.outputs = append(p.outputs, slot)
		p.names = append(p.names, v.Name)
	}
	p.markFree()
	return p, nil
}

// compileNode resolves the operator and the graphs in n's attributes; the caller fills in the slots.
func compileNode(n *onnx.Node, opset map[string]int, s *evalScope, depth int) (*evalStep, error) {
	domain := n.Domain
	if domain == "ai.onnx" {
		domain = ""
	}
	version, ok := opset[domain]
	if !ok && domain == "" {
		version = opset["ai.onnx"]
	}
	fn := evalTable[n.Op]
	if fn == nil || domain != "" {
		return nil, fmt.Errorf("node %q: operator %s, domain %q, opset %d: %w", n.Name, n.Op, n.Domain, version, ErrNoEval)
	}
	st := &evalStep{n: n, fn: fn, opset: version, in: make([]int, len(n.In)), out: make([]int, len(n.Out))}
	for name, a := range n.Attr {
		if a.Graph == nil {
			continue
		}
		sub, err := compileGraph(a.Graph, opset, s, depth+1)
		if err != nil {
			return nil, fmt.Errorf("node %q (%s): %s: %w", n.Name, n.Op, name, err)
		}
		if st.sub == nil {
			st.sub = map[string]*evalProgram{}
		}
		st.sub[name] = sub
	}
	return st, nil
}

// markFree notes after which step each value is needed no more.
func (p *evalProgram) markFree() {
	seen := make([]bool, p.slots)
	p.made = make([]bool, p.slots)
	for _, st := range p.steps {
		for _, slot := range st.out {
			if slot >= 0 {
				p.made[slot] = true
			}
		}
	}
	for _, o := range p.outputs {
		seen[o] = true
	}
	for i := len(p.steps) - 1; i >= 0; i-- {
		st := &p.steps[i]
		last := func(slot int) {
			if slot >= 0 && !seen[slot] {
				seen[slot] = true
				st.free = append(st.free, slot)
			}
		}
		for _, slot := range st.out {
			last(slot)
		}
		for _, slot := range st.in {
			last(slot)
		}
		for _, sub := range st.sub {
			for _, c := range sub.captures {
				last(c.outer)
			}
		}
	}
}

// run evaluates p; vals has the inputs (and captured values) in their slots.
func (p *evalProgram) run(vals []*Array, m *evalMeter) ([]*Array, error) {
	for _, c := range p.consts {
		vals[c.slot] = c.val
	}
	for i := range p.steps {
		st := &p.steps[i]
		in := make([]*Array, len(st.in))
		for k, slot := range st.in {
			if slot < 0 {
				continue
			}
			if in[k] = vals[slot]; in[k] == nil {
				return nil, fmt.Errorf("node %q (%s): input %q has no value", st.n.Name, st.n.Op, st.n.In[k])
			}
		}
		if err := m.admit(st, in); err != nil {
			return nil, err
		}
		out, err := st.call(in, vals, m)
		if err != nil {
			return nil, err
		}
		for k, slot := range st.out {
			if slot >= 0 {
				vals[slot] = out[k]
				m.take(out[k])
			}
		}
		for _, slot := range st.free {
			if p.made[slot] {
				m.leave(vals[slot])
			}
			vals[slot] = nil
		}
	}
	outs := make([]*Array, len(p.outputs))
	for i, slot := range p.outputs {
		if outs[i] = vals[slot]; outs[i] == nil {
			return nil, fmt.Errorf("output %q has no value", p.names[i])
		}
	}
	return outs, nil
}

// runSub evaluates the graph attribute name with the given inputs. What it returns is the caller's to count.
func (c *evalCall) runSub(name string, in ...*Array) ([]*Array, error) {
	p := c.sub[name]
	if p == nil {
		return nil, fmt.Errorf("attribute %q is missing", name)
	}
	if len(in) != len(p.inputs) {
		return nil, fmt.Errorf("%s: found %d inputs, expected %d", name, len(p.inputs), len(in))
	}
	vals := make([]*Array, p.slots)
	for i, slot := range p.inputs {
		vals[slot] = in[i]
	}
	for _, cp := range p.captures {
		if cp.outer >= len(c.outer) || c.outer[cp.outer] == nil {
			return nil, fmt.Errorf("%s: a value of the enclosing graph is missing", name)
		}
		vals[cp.inner] = c.outer[cp.outer]
	}
	out, err := p.run(vals, c.meter)
	if err != nil {
		return nil, err
	}
	counted := map[int]bool{}
	for i, slot := range p.outputs {
		if p.made[slot] && !counted[slot] {
			counted[slot] = true
			c.meter.release(out[i])
		}
	}
	return out, nil
}

// call evaluates the step's node and returns one array for each output that it names. Operators check their operands;
// the recover is for what a hostile file finds all the same.
func (s *evalStep) call(in, outer []*Array, m *evalMeter) (out []*Array, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			out, err = nil, fmt.Errorf("node %q (%s): %w", s.n.Name, s.n.Op, err)
		}
	}()
	res, err := s.fn(&evalCall{Node: s.n, opset: s.opset, in: in, sub: s.sub, outer: outer, meter: m})
	if err != nil {
		return nil, err
	}
	out = make([]*Array, len(s.n.Out))
	for i, name := range s.n.Out {
		if name == "" {
			continue
		}
		if i >= len(res) || res[i] == nil {
			return nil, fmt.Errorf("output %d (%q) is not covered: %w", i, name, ErrNoEval)
		}
		out[i] = res[i]
	}
	return out, nil
}

// one wraps the result of an operator with one output.
func one(a *Array, err error) ([]*Array, error) {
	if err != nil {
		return nil, err
	}
	return []*Array{a}, nil
}

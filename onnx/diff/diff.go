package diff

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"lenskit/onnx"
	"lenskit/onnx/rewrite"
)

// ErrNoRule is wrapped by the errors about operators that cannot be differentiated.
var ErrNoRule = errors.New("no differentiation rule")

// Options says by what and of what a graph is differentiated. The zero value takes every float input and output.
type Options struct {
	Wrt     []string // inputs or initialisers; all float inputs when empty
	Of      []string // outputs; all float outputs when empty
	Columns int      // Jacobian: the number of tangents in a run; 0 leaves it to the run
	Apart   bool     // Jacobian: the rows of a batch are known to stand apart
	Exact   bool     // no folding that rounds a constant to its type: for the evaluator
}

// call is one node under differentiation. Rules write into its tape.
type call struct {
	*tape
	n *onnx.Node
}

// in is the name of operand i, "" when it is left out.
func (c *call) in(i int) string {
	if i < len(c.n.In) {
		return c.n.In[i]
	}
	return ""
}

// out is the name of result i; it exists in the primal graph.
func (c *call) out(i int) string {
	if i < len(c.n.Out) {
		return c.n.Out[i]
	}
	return ""
}

// extra is the name of an optional result, added to the primal node when it is left out there.
func (c *call) extra(i int, typ onnx.DType, shape []onnx.Dim) string {
	for len(c.n.Out) <= i {
		c.n.Out = append(c.n.Out, "")
	}
	if c.n.Out[i] == "" {
		c.n.Out[i] = c.Fresh(c.n.Op)
		c.Declare(onnx.Value{Name: c.n.Out[i], Type: typ, Shape: shape})
	}
	return c.n.Out[i]
}

// back is a call in reverse mode.
type back struct {
	call
	grads  []string
	wanted []bool // by what the node uses
}

// raw is the gradient of result i as it came: it may still have to be broadcast to the shape of the result. "" is none.
func (b *back) raw(i int) string {
	if i < len(b.grads) {
		return b.grads[i]
	}
	return ""
}

// grad is the gradient of result i in the shape of the result, "" when there is none.
func (b *back) grad(i int) string {
	g := b.raw(i)
	if g == "" {
		return ""
	}
	return b.full(g, b.out(i))
}

// full broadcasts a gradient of the primal value v to the shape of v.
func (t *tape) full(g, v string) string {
	s := t.shape(v)
	cur := t.shape(g)
	if s == nil || cur == nil || sameShape(cur, s) {
		return g
	}
	return t.expand(g, s, v)
}

// want tells whether the gradient of operand i is asked for.
func (b *back) want(i int) bool { return i < len(b.wanted) && b.wanted[i] }

// fwd is a call in forward mode.
type fwd struct {
	call
	tans  []string
	asked []bool // results whose tangents are needed
}

// tan is the tangent of operand i, "" when it is zero.
func (f *fwd) tan(i int) string {
	if i < len(f.tans) {
		return f.tans[i]
	}
	return ""
}

// same repeats the node on other operands.
func (f *fwd) same(in ...string) string {
	return f.OpAttr(f.n.Op, f.n.Attr, in...)
}

// total adds terms; "" is zero.
func (t *tape) total(terms ...string) string {
	sum := ""
	for _, s := range terms {
		switch {
		case s == "":
		case sum == "":
			sum = s
		default:
			sum = t.add(sum, s)
		}
	}
	return sum
}

// tanShape is the shape of a tangent of the primal value v: that of v, with the columns in place of the batch.
func (t *tape) tanShape(v string) []onnx.Dim {
	if t.batch != "" {
		return t.columns(t.open[v].Shape)
	}
	return t.shape(v)
}

// columns puts the number of tangents where the shapes of a Jacobian's primal carry the batch symbol.
func (t *tape) columns(s []onnx.Dim) []onnx.Dim {
	if t.batch == "" {
		return s
	}
	return atBatch(s, t.cols)
}

// like is the primal value whose run-time shape a tangent of v has: v itself, or nothing in a Jacobian.
func (t *tape) like(v string) string {
	if t.batch != "" {
		return ""
	}
	return v
}

// tanZeros is a zero tangent of v.
func (t *tape) tanZeros(v string) string {
	if t.batch == "" {
		return t.zeros(v)
	}
	d, ok := onnx.Known(t.tanShape(v))
	if !ok {
		failf("the shape of a zero tangent of %q is not known; give the number of columns", v)
	}
	return t.zerosOf(t.Ints(d...), t.tanShape(v), v)
}

// plan is a graph made ready for differentiation: upgraded, folded, lowered, with shapes, and with the nodes that lie
// on a path from wrt to of.
type plan struct {
	g      *onnx.Graph
	wrt    []onnx.Value
	of     []onnx.Value
	params map[string]*onnx.Tensor // initialisers among wrt: inputs of g while it is differentiated
	active map[string]bool         // values that depend on wrt
	needed map[string]bool         // values that lead to of
	why    map[string]string       // why a loop is not differentiated, by its first result that has a name
	exact  bool
}

// tape starts a derived graph.
func (p *plan) tape(prefix string) *tape {
	t := newTape(p.g, prefix)
	t.exact, t.vjp, t.jvp = p.exact, VJP, t.tangentsOf
	return t
}

// fold is Fold, or what of it does not round.
func (p *plan) fold(g *onnx.Graph) (*onnx.Graph, error) {
	if p.exact {
		return rewrite.Simplify(g)
	}
	return rewrite.Fold(g)
}

func newPlan(verb string, g *onnx.Graph, opt Options) (*plan, error) {
	p := &plan{params: map[string]*onnx.Tensor{}, why: map[string]string{}, exact: opt.Exact}
	g = g.Shallow()
	for _, name := range opt.Wrt {
		if x, ok := g.Init[name]; ok {
			if !x.Type.IsFloat() {
				return nil, fmt.Errorf("onnx: %s: initialiser %q is not of a float type", verb, name)
			}
			p.params[name] = x
			delete(g.Init, name)
			g.Inputs = append(g.Inputs, x.Value(name))
		}
	}
	err := p.prepare(verb, g, opt)
	if err != nil {
		return nil, err
	}
	if err = p.chooseAndMark(verb, opt); err != nil {
		return nil, err
	}
	return p, nil
}

// prepare brings a graph into the form that the rules know.
func (p *plan) prepare(verb string, g *onnx.Graph, opt Options) error {
	failed := func(err error) error { return fmt.Errorf("onnx: %s: %w", verb, err) }
	g, err := g.Upgrade(minOpset)
	if err != nil {
		return failed(err)
	}
	if p.g, err = p.fold(g); err != nil {
		return failed(err)
	}
	if err = p.unroll(verb, opt); err != nil {
		return err
	}
	if p.g, err = lower(p.g); err != nil {
		return failed(err)
	}
	if err = p.g.Infer(); err != nil {
		return failed(err)
	}
	return nil
}

// chooseAndMark finds what is differentiated, by what, and the paths between.
func (p *plan) chooseAndMark(verb string, opt Options) (err error) {
	if p.wrt, err = choose(verb, "input", opt.Wrt, p.g.Inputs); err != nil {
		return err
	}
	if p.of, err = choose(verb, "output", opt.Of, p.g.Outputs); err != nil {
		return err
	}
	p.mark()
	return nil
}

// choose picks the named values, or every float one.
func choose(verb, kind string, names []string, from []onnx.Value) ([]onnx.Value, error) {
	var out []onnx.Value
	if len(names) == 0 {
		for _, v := range from {
			if v.Type.IsFloat() {
				out = append(out, v)
			}
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("onnx: %s: the graph has no float %s", verb, kind)
		}
		return out, nil
	}
	for i, name := range names {
		k := slices.IndexFunc(from, func(v onnx.Value) bool { return v.Name == name })
		if k < 0 {
			var have []string
			for _, v := range from {
				have = append(have, v.Name)
			}
			return nil, fmt.Errorf("onnx: %s: no %s %q; there are %s", verb, kind, name, strings.Join(have, ", "))
		}
		if !from[k].Type.IsFloat() {
			return nil, fmt.Errorf("onnx: %s: %s %q is not of a float type", verb, kind, name)
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("onnx: %s: %s %q is named twice", verb, kind, name)
		}
		out = append(out, from[k])
	}
	return out, nil
}

// mark finds the values on paths from wrt to of.
func (p *plan) mark() {
	p.active, p.needed = map[string]bool{}, map[string]bool{}
	for _, v := range p.wrt {
		p.active[v.Name] = true
	}
	for _, n := range p.g.Nodes {
		r := findRule(n, p.g.Opset[""])
		if r != nil && r.none {
			continue
		}
		refused := r != nil && r.refuse != ""
		if slices.ContainsFunc(n.Uses(), func(s string) bool { return p.active[s] }) {
			for _, out := range n.Out {
				if v, ok := p.g.Info[out]; out != "" && (!ok || v.Type == onnx.Undefined || v.Type.IsFloat() || refused) {
					p.active[out] = true
				}
			}
		}
	}
	for _, v := range p.of {
		p.needed[v.Name] = true
	}
	for i := len(p.g.Nodes) - 1; i >= 0; i-- {
		n := p.g.Nodes[i]
		if slices.ContainsFunc(n.Out, func(s string) bool { return p.needed[s] && p.active[s] }) {
			for _, in := range n.Uses() {
				p.needed[in] = true
			}
		}
	}
	delete(p.active, "")
}

// onPath tells whether a derivative goes through n.
func (p *plan) onPath(n *onnx.Node) bool {
	return slices.ContainsFunc(n.Out, func(s string) bool { return p.needed[s] && p.active[s] }) &&
		slices.ContainsFunc(n.Uses(), func(s string) bool { return p.active[s] })
}

// where names a node in an error.
func where(n *onnx.Node, opset int) string {
	name := n.Name
	if name == "" {
		name = n.FirstResult()
	}
	op := n.Op
	if n.Domain != "" {
		op = n.Domain + "." + n.Op
	}
	return fmt.Sprintf("node %q (%s, opset %d)", name, op, opset)
}

// guarded runs a rule and turns its complaint into an error. Rules read a node as the standard describes it: one that
// lacks operands or has lists of wrong length makes them fail at an index, which is an error of the graph.
func guarded(n *onnx.Node, opset int, f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case ruleError:
			err = fmt.Errorf("%s: %w: %w", where(n, opset), ErrNoRule, r.err)
		case runtime.Error:
			err = fmt.Errorf("%s: %w: the node is not of the standard's form (%w)", where(n, opset), ErrNoRule, r)
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// newRuledPlan is newPlan of a graph in which every node on a path has a rule.
func newRuledPlan(verb string, g *onnx.Graph, opt Options) (*plan, error) {
	p, err := newPlan(verb, g, opt)
	if err != nil {
		return nil, err
	}
	for _, n := range p.g.Nodes {
		if p.onPath(n) {
			if _, err := p.ruleFor(n); err != nil {
				return nil, fmt.Errorf("onnx: %s: %w", verb, err)
			}
		}
	}
	return p, nil
}

// ruleFor is the rule of a node on a path, or the reason why there is none.
func (p *plan) ruleFor(n *onnx.Node) (*rule, error) {
	opset := p.g.Opset[""]
	r := findRule(n, opset)
	switch {
	case r == nil:
		return nil, fmt.Errorf("%s: %w", where(n, opset), ErrNoRule)
	case p.why[n.FirstResult()] != "":
		return nil, fmt.Errorf("%s: %w: %s", where(n, opset), ErrNoRule, p.why[n.FirstResult()])
	case r.refuse != "":
		return nil, fmt.Errorf("%s: %w: %s", where(n, opset), ErrNoRule, r.refuse)
	}
	return r, nil
}

// reverse runs one node's rule in reverse mode and returns a gradient for each value that the node uses.
func (p *plan) reverse(t *tape, n *onnx.Node, r *rule, grads []string) (out []string, err error) {
	uses := n.Uses()
	b := &back{call: call{t, n}, grads: grads, wanted: make([]bool, len(uses))}
	for i, s := range uses {
		b.wanted[i] = p.active[s]
	}
	err = guarded(n, t.opset, func() {
		for k := 1; k < len(grads) && !r.results; k++ {
			if grads[k] != "" {
				failf("result %d is differentiated; only result 0 can be", k)
			}
		}
		if r.elem == nil {
			out = r.back(b)
			return
		}
		full := t.shape(n.Out[0])
		out = make([]string, len(n.In))
		for i, x := range n.In {
			if !b.wanted[i] {
				continue
			}
			g := b.raw(0)
			if t.shape(x) == nil || full == nil || t.shape(g) == nil {
				g = b.grad(0)
			}
			if g = r.elem(&b.call, i, g); g == "" {
				continue
			}
			out[i] = t.sumTo(g, full, x)
		}
	})
	if err == nil && len(out) > len(uses) {
		out = out[:len(uses)]
	}
	return out, err
}

// sweepBack differentiates of in reverse into t. seeds gives the gradient of each output in of; the result is a
// gradient for each active value that has one.
func (p *plan) sweepBack(t *tape, seeds map[string]string) (map[string]string, error) {
	parts := map[string][]string{}
	for _, v := range p.of {
		parts[v.Name] = append(parts[v.Name], seeds[v.Name])
	}
	grad := map[string]string{}
	settle := func(name string) string {
		if g, ok := grad[name]; ok {
			return g
		}
		// The small gradients, which still broadcast, are added first.
		terms := slices.Clone(parts[name])
		slices.SortStableFunc(terms, func(a, b string) int { return boolInt(t.isFull(a, name)) - boolInt(t.isFull(b, name)) })
		g := t.total(terms...)
		if g != "" && len(terms) > 1 && t.shape(g) == nil {
			t.as(g, t.shape(name))
		}
		grad[name] = g
		return g
	}
	for i := len(p.g.Nodes) - 1; i >= 0; i-- {
		n := p.g.Nodes[i]
		if !p.onPath(n) {
			continue
		}
		r, err := p.ruleFor(n)
		if err != nil {
			return nil, err
		}
		grads := make([]string, len(n.Out))
		any := false
		for k, s := range n.Out {
			if s != "" {
				grads[k] = settle(s)
				any = any || grads[k] != ""
			}
		}
		if !any {
			continue
		}
		out, err := p.reverse(t, n, r, grads)
		if err != nil {
			return nil, err
		}
		uses := n.Uses()
		for k, g := range out {
			if x := uses[k]; g != "" && p.active[x] {
				t.meets(g, t.shape(x))
				parts[x] = append(parts[x], g)
			}
		}
	}
	for _, v := range p.wrt {
		settle(v.Name)
	}
	return grad, nil
}

func (t *tape) isFull(g, v string) bool {
	a, b := t.shape(g), t.shape(v)
	return a == nil || b == nil || sameShape(a, b)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// forward runs one node's rule in forward mode and returns a tangent per result.
func (p *plan) forward(t *tape, n *onnx.Node, r *rule, tans []string) (out []string, err error) {
	f := &fwd{call: call{t, n}, tans: tans, asked: make([]bool, len(n.Out))}
	for k, s := range n.Out {
		f.asked[k] = p.active[s] && p.needed[s]
	}
	err = guarded(n, t.opset, func() {
		for k := 1; k < len(n.Out) && !r.results; k++ {
			if f.asked[k] {
				failf("result %d is differentiated; only result 0 can be", k)
			}
		}
		switch {
		case r.elem != nil:
			var terms []string
			for i := range n.In {
				if f.tan(i) != "" {
					terms = append(terms, r.elem(&f.call, i, f.tan(i)))
				}
			}
			sum := t.total(terms...)
			if sum != "" && !(t.shape(sum) == nil && t.shape(n.Out[0]) == nil && len(n.In) == 1) {
				sum = t.expand(sum, t.tanShape(n.Out[0]), t.like(n.Out[0]))
			}
			out = []string{sum}
		case r.fwdAll != nil:
			out = r.fwdAll(f)
		default:
			out = []string{r.fwd(f)}
		}
	})
	return out, err
}

// sweepForward carries the tangents in tan along every path into t.
func (p *plan) sweepForward(t *tape, tan map[string]string) error {
	for _, n := range p.g.Nodes {
		if !p.onPath(n) {
			continue
		}
		r, err := p.ruleFor(n)
		if err != nil {
			return err
		}
		uses := n.Uses()
		tans := make([]string, len(uses))
		any := false
		for i, s := range uses {
			if p.active[s] {
				tans[i] = tan[s]
				any = any || tan[s] != ""
			}
		}
		if !any {
			continue
		}
		out, err := p.forward(t, n, r, tans)
		if err != nil {
			return err
		}
		for k, s := range out {
			if k < len(n.Out) && n.Out[k] != "" && s != "" && p.active[n.Out[k]] {
				t.meets(s, t.tanShape(n.Out[k]))
				tan[n.Out[k]] = s
			}
		}
	}
	return nil
}

// likeness is equal for nodes on which the rules do the same; "" is equal to none.
func (p *plan) likeness(n *onnx.Node) string {
	if onnx.HasGraph(n) {
		return ""
	}
	seen := map[string]int{}
	var names []string
	for i, s := range n.In {
		d := "=" + s
		if s != "" && p.g.Init[s] == nil {
			if _, ok := seen[s]; !ok {
				seen[s] = i
			}
			v := p.g.Info[s]
			d = fmt.Sprint(v.Type, v.Shape == nil, v.Shape, p.active[s], seen[s])
		}
		names = append(names, d)
	}
	for _, s := range n.Out {
		v := p.g.Info[s]
		names = append(names, fmt.Sprint(s == "", v.Type, v.Shape == nil, v.Shape, p.active[s] && p.needed[s]))
	}
	return onnx.NodeKey(n.Domain+"."+n.Op, n.Attr, names, len(n.Out))
}

// Unsupported lists every node on a path from opt.Wrt to opt.Of through which no derivative can be taken, with the
// reason; each error wraps ErrNoRule. An error that concerns the graph as a whole is the only one then, and so is the
// one that tells that every derivative is zero because no such path is there.
func Unsupported(g *onnx.Graph, opt Options) []error {
	p, err := newPlan("differentiate", g, opt)
	if err != nil {
		return []error{err}
	}
	var errs []error
	t := p.tape("try")
	tried := map[string]bool{}
	if !slices.ContainsFunc(p.of, func(v onnx.Value) bool { return p.active[v.Name] }) {
		return []error{errors.New("onnx: differentiate: every gradient is zero: no differentiable path leads from an input to an output")}
	}
	for _, n := range p.g.Nodes {
		if !p.onPath(n) {
			continue
		}
		like := p.likeness(n)
		if tried[like] {
			continue
		}
		r, err := p.ruleFor(n)
		if err == nil {
			err = p.try(t, n, r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("onnx: differentiate: %w", err))
		} else if like != "" {
			tried[like] = true
		}
	}
	return errs
}

// try runs a node's rules in both modes on stand-in gradients.
func (p *plan) try(t *tape, n *onnx.Node, r *rule) error {
	defer t.forget()
	stand := func(names []string) []string {
		out := make([]string, len(names))
		for i, s := range names {
			if p.active[s] && p.needed[s] {
				out[i] = t.Fresh("stand")
				v := t.Inf.Value(s)
				v.Name = out[i]
				t.Declare(v)
			}
		}
		return out
	}
	m := *n
	m.Out = slices.Clone(n.Out)
	if _, err := p.reverse(t, &m, r, stand(n.Out)); err != nil {
		return err
	}
	_, err := p.forward(t, &m, r, stand(n.Uses()))
	return err
}

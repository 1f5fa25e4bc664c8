package diff

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/rewrite"
)

// optimizers are the names that TrainOptions.Optimizer may have.
var optimizers = []string{"sgd", "adam", "adamw"}

// TrainOptions say what a training graph minimises, by what, and how.
type TrainOptions struct {
	Loss        string   // a float output with one element; the graph's only such output when empty
	Params      []string // initialisers to train; all float ones that the loss depends on when empty
	Optimizer   string   // "sgd", "adam" (default) or "adamw"
	Momentum    float64  // of sgd; 0: none
	Beta1       float64  // of adam and adamw; 0: 0.9
	Beta2       float64  // 0: 0.999
	Epsilon     float64  // 0: 1e-8
	WeightDecay float64  // added to the gradient as WeightDecay·p; with adamw taken off the parameter itself
	Clip        float64  // largest norm of all gradients taken together; larger ones are scaled down; 0: no limit

	// GradientsOnly leaves the update to the caller: the parameters go in, grad_<p> comes out, and nothing else is added.
	// Where memory is far, as on a GPU, the update belongs in the graph; on a CPU a loop over the parameters that does
	// all of Adam in one pass costs less than its operators one by one.
	GradientsOnly bool
	Exact         bool // as Options.Exact
}

// Validate checks what can be checked without a graph, and names the option.
func (o TrainOptions) Validate() error {
	if o.Optimizer != "" && !slices.Contains(optimizers, o.Optimizer) {
		return fmt.Errorf("onnx: train: found optimizer %q, expected sgd, adam or adamw", o.Optimizer)
	}
	for _, x := range []struct {
		name string
		v    float64
	}{{"momentum", o.Momentum}, {"beta1", o.Beta1}, {"beta2", o.Beta2}} {
		if !(x.v >= 0 && x.v < 1) {
			return fmt.Errorf("onnx: train: %s is %g, expected 0 <= %s < 1", x.name, x.v, x.name)
		}
	}
	if !(o.Epsilon >= 0) || !(o.WeightDecay >= 0) {
		return fmt.Errorf("onnx: train: epsilon is %g and weight decay %g, expected numbers >= 0", o.Epsilon, o.WeightDecay)
	}
	if !(o.Clip >= 0) {
		return fmt.Errorf("onnx: train: clip is %g, expected a number >= 0", o.Clip)
	}
	return nil
}

// Train makes the graph of one training step: the model, the gradients of its loss by the parameters, and the
// optimiser's update. State goes in and comes out, so that whoever runs the graph keeps it:
//
//	inputs                          outputs
//	those of g                      those of g
//	learning_rate []                new_<p>    for each parameter p
//	<p>                             new_m_<p>  where the optimiser has m
//	m_<p>      (momentum, adam)     new_v_<p>  where it has v
//	v_<p>      (adam, adamw)        new_step
//	step []    (adam, adamw)
//
// With a limit on the gradients their norm before it comes out as grad_norm. With GradientsOnly learning_rate, the
// state and new_<p> are absent, and grad_<p> comes out.
//
// m and v begin with zeros and step, a float32, with 0. The parameters' values in g are their starting values; they
// are not in the new graph. An output new_<p> must not be bound to the memory of <p>, which other gradients may still
// read: alternate between two buffers.
//
// Adam is that of Kingma & Ba (2015), algorithm 1; adamw that of Loshchilov & Hutter (2019), algorithm 2. The updates
// equal PyTorch's.
func Train(g *onnx.Graph, opt TrainOptions) (*onnx.Graph, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	if err := checker.Graph(g); err != nil {
		return nil, fmt.Errorf("onnx: train: %w", err)
	}
	loss, err := opt.loss(g)
	if err != nil {
		return nil, err
	}
	params, err := opt.params(g, loss.Name)
	if err != nil {
		return nil, err
	}
	// As inputs the parameters are safe from constant folding.
	free := g.Shallow()
	free.Inputs = slices.Clone(g.Inputs)
	free.Init = maps.Clone(g.Init)
	for _, p := range params {
		free.Inputs = append(free.Inputs, g.Init[p].Value(p))
		delete(free.Init, p)
	}
	d, err := VJP(free, Options{Wrt: params, Of: []string{loss.Name}, Exact: opt.Exact})
	if err != nil {
		return nil, fmt.Errorf("onnx: train: %w", err)
	}
	d, err = opt.assemble(d, loss, params)
	if err != nil {
		return nil, fmt.Errorf("onnx: train: %w", err)
	}
	return d, nil
}

// loss finds the output to minimise.
func (o TrainOptions) loss(g *onnx.Graph) (onnx.Value, error) {
	one := func(v onnx.Value) bool {
		d, ok := onnx.Known(v.Shape)
		n, err := onnx.SizeOf(d)
		return v.Type == onnx.Float32 && ok && err == nil && n == 1
	}
	var found []onnx.Value
	for _, v := range g.Outputs {
		if o.Loss == v.Name && !one(v) {
			return v, fmt.Errorf("onnx: train: loss %q is %s %s, expected float32 with one element", v.Name, v.Type, rewrite.ShapeText(v))
		}
		if one(v) && (o.Loss == "" || o.Loss == v.Name) {
			found = append(found, v)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case o.Loss != "":
		return onnx.Value{}, fmt.Errorf("onnx: train: found no output %q, expected one of %q", o.Loss, rewrite.ValueNames(g.Outputs))
	}
	return onnx.Value{}, fmt.Errorf("onnx: train: found %d outputs with one element, expected one, or the name of the loss", len(found))
}

// params lists the initialisers to train.
func (o TrainOptions) params(g *onnx.Graph, loss string) ([]string, error) {
	reached := map[string]bool{}
	for _, n := range rewrite.Prune(g.Nodes, []string{loss}) {
		for _, s := range n.Uses() {
			reached[s] = true
		}
	}
	if len(o.Params) == 0 {
		var all []string
		for _, name := range onnx.SortedKeys(g.Init) {
			if g.Init[name].Type == onnx.Float32 && reached[name] {
				all = append(all, name)
			}
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("onnx: train: found no float32 initialiser that %q depends on", loss)
		}
		return all, nil
	}
	seen := map[string]bool{}
	for _, name := range o.Params {
		t := g.Init[name]
		switch {
		case t == nil:
			return nil, fmt.Errorf("onnx: train: found no initialiser %q", name)
		case t.Type != onnx.Float32:
			return nil, fmt.Errorf("onnx: train: parameter %q is %s, expected float32", name, t.Type)
		case seen[name]:
			return nil, fmt.Errorf("onnx: train: parameter %q is named twice", name)
		}
		seen[name] = true
	}
	return o.Params, nil
}

// assemble appends the optimiser to d, the reverse-mode graph with the parameters among its inputs.
func (o TrainOptions) assemble(d *onnx.Graph, loss onnx.Value, params []string) (*onnx.Graph, error) {
	h := d.Shallow()
	h.Nodes = slices.Clone(d.Nodes)
	h.Inputs = nil
	shapes := map[string][]onnx.Dim{}
	for _, v := range d.Inputs {
		if slices.Contains(params, v.Name) {
			shapes[v.Name] = v.Shape
		} else if v.Name != "grad_"+loss.Name {
			h.Inputs = append(h.Inputs, v)
		}
	}
	h.Outputs = slices.Clone(d.Outputs[:len(d.Outputs)-len(params)])
	h.Init = maps.Clone(d.Init)
	taken := map[string]bool{}
	d.EachName(func(s string) { taken[s] = true })
	delete(taken, "grad_"+loss.Name)
	var clash error
	name := func(s string) string {
		if taken[s] && clash == nil {
			clash = fmt.Errorf("the name %q is taken in the graph", s)
		}
		taken[s] = true
		return s
	}
	in := func(s string, shape []onnx.Dim) string {
		h.Inputs = append(h.Inputs, onnx.Value{Name: s, Type: onnx.Float32, Shape: shape})
		return s
	}
	unit, _ := onnx.Known(loss.Shape)
	h.Init["grad_"+loss.Name] = onnx.FloatTensor([]float32{1}, unit...)

	scalar := []onnx.Dim{}
	adam := o.Optimizer != "sgd"
	var rate, step string
	if !o.GradientsOnly {
		rate = in(name("learning_rate"), scalar)
		if adam {
			step = in(name("step"), scalar)
		}
	}
	state := map[string][2]string{}
	for _, p := range params {
		shape := shapes[p]
		in(p, shape)
		var s [2]string
		if !o.GradientsOnly && (adam || o.Momentum > 0) {
			s[0] = in(name("m_"+p), shape)
		}
		if !o.GradientsOnly && adam {
			s[1] = in(name("v_"+p), shape)
		}
		state[p] = s
	}
	if clash != nil {
		return nil, clash
	}
	b := onnx.NewBuilder(h, "train.")
	// out appends a node whose result is an output of the graph.
	out := func(as, op string, in ...string) string {
		b.Make(name(as), op, nil, in...)
		b.Output(as)
		return as
	}
	grads := map[string]string{}
	for _, p := range params {
		grads[p] = "grad_" + p
	}
	if o.Clip > 0 {
		// g · min(1, limit/(‖g‖ + 10⁻⁶)) with the norm over all parameters, as in PyTorch's clip_grad_norm_
		var squares []string
		for _, p := range params {
			squares = append(squares, b.OpAttr("ReduceSumSquare", map[string]onnx.Attr{"keepdims": onnx.IntAttr(0)}, grads[p]))
		}
		total := squares[0]
		for _, s := range squares[1:] {
			total = b.Op("Add", total, s)
		}
		norm := out("grad_norm", "Sqrt", total)
		shrink := b.Op("Min", b.Op("Div", b.Scalar(o.Clip), b.Op("Add", norm, b.Scalar(1e-6))), b.Scalar(1))
		if o.GradientsOnly {
			raw := map[string]string{}
			for _, p := range params {
				raw[grads[p]] = "raw_" + grads[p]
			}
			rename(h, raw)
		}
		for _, p := range params {
			if o.GradientsOnly {
				delete(taken, grads[p])
				grads[p] = out(grads[p], "Mul", name("raw_"+grads[p]), shrink)
			} else {
				grads[p] = b.Op("Mul", grads[p], shrink)
			}
		}
	} else if o.GradientsOnly {
		for _, p := range params {
			b.Output(grads[p])
		}
	}
	if !o.GradientsOnly {
		o.update(b, out, params, grads, state, rate, step)
	}
	if clash != nil {
		return nil, clash
	}
	if err := b.Err(); err != nil {
		return nil, err
	}
	return h, h.Infer()
}

// rename gives values that nodes make other names.
func rename(g *onnx.Graph, to map[string]string) {
	for i, n := range g.Nodes {
		n = n.Reread(to)
		n.Out = onnx.RenamedIn(n.Out, to)
		g.Nodes[i] = n
	}
	for old, name := range to {
		if v, ok := g.Info[old]; ok {
			v.Name = name
			g.Info[name] = v
			delete(g.Info, old)
		}
	}
}

// update appends the optimiser's step.
func (o TrainOptions) update(b *onnx.Builder, out func(as, op string, in ...string) string, params []string,
	grads map[string]string, state map[string][2]string, rate, step string) {
	adam := o.Optimizer != "sgd"
	beta1, beta2, eps := orDefault(o.Beta1, 0.9), orDefault(o.Beta2, 0.999), orDefault(o.Epsilon, 1e-8)
	// With t the number of this step, m̂ = m/(1-β₁ᵗ) and v̂ = v/(1-β₂ᵗ), the update η m̂/(√v̂ + ε) is
	// size·m/(√v + floor) with size = η √(1-β₂ᵗ)/(1-β₁ᵗ) and floor = ε √(1-β₂ᵗ).
	var size, floor string
	if adam {
		next := out("new_step", "Add", step, b.Scalar(1))
		// 1-βᵗ = 2h/(1+h), h = tanh(-t ln β/2), keeps its digits in float32 where βᵗ is close to 1.
		rest := func(beta float64) string {
			h := b.Op("Tanh", b.Op("Mul", next, b.Scalar(-math.Log(beta)/2)))
			return b.Op("Div", b.Op("Add", h, h), b.Op("Add", h, b.Scalar(1)))
		}
		c2 := b.Op("Sqrt", rest(beta2))
		size = b.Op("Div", b.Op("Mul", rate, c2), rest(beta1))
		floor = b.Op("Mul", b.Scalar(eps), c2)
	}
	for _, p := range params {
		grad, value := grads[p], p
		if o.WeightDecay > 0 {
			if o.Optimizer == "adamw" {
				value = b.Op("Mul", p, b.Op("Sub", b.Scalar(1), b.Op("Mul", rate, b.Scalar(o.WeightDecay))))
			} else {
				grad = b.Op("Add", grad, b.Op("Mul", b.Scalar(o.WeightDecay), p))
			}
		}
		m, v := state[p][0], state[p][1]
		switch {
		case adam:
			m = out("new_m_"+p, "Add", b.Op("Mul", b.Scalar(beta1), m), b.Op("Mul", b.Scalar(1-beta1), grad))
			v = out("new_v_"+p, "Add", b.Op("Mul", b.Scalar(beta2), v), b.Op("Mul", b.Scalar(1-beta2), b.Op("Mul", grad, grad)))
			out("new_"+p, "Sub", value, b.Op("Mul", size, b.Op("Div", m, b.Op("Add", b.Op("Sqrt", v), floor))))
		case o.Momentum > 0:
			m = out("new_m_"+p, "Add", b.Op("Mul", b.Scalar(o.Momentum), m), grad)
			out("new_"+p, "Sub", value, b.Op("Mul", rate, m))
		default:
			out("new_"+p, "Sub", value, b.Op("Mul", rate, grad))
		}
	}
}

func orDefault(v, def float64) float64 {
	if v == 0 {
		return def
	}
	return v
}

package diff

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
)

// operands makes operands of tested nodes.
type operands struct{}

// operand is an operand of a tested node: an input that is differentiated, or a constant.
type operand struct {
	shape []int64
	draw  func(rng *rand.Rand) float64
	fixed *onnx.Tensor
	skip  bool // left out
	quiet bool // a float input that is not differentiated
}

func (operands) x(shape ...int64) operand {
	return operand{shape: shape, draw: func(r *rand.Rand) float64 { return r.NormFloat64() }}
}

// within draws from (lo, hi).
func (operands) within(lo, hi float64, shape ...int64) operand {
	return operand{shape: shape, draw: func(r *rand.Rand) float64 { return lo + (hi-lo)*r.Float64() }}
}

// apart draws numbers that keep a distance to each other and to zero, for operators with kinks.
func (operands) apart(shape ...int64) operand {
	return operand{shape: shape, draw: func(r *rand.Rand) float64 {
		return (math.Floor(8*r.Float64()) - 3.5 + 0.2*r.Float64()) * 0.5
	}}
}

// with holds values in which ties and zeros are meant.
func (operands) with(vals []float64, shape ...int64) operand {
	i := -1
	return operand{shape: shape, draw: func(*rand.Rand) float64 { i++; return vals[i%len(vals)] }}
}

func (o operand) still() operand { o.quiet = true; return o }

func (operands) ints(v ...int64) operand { return operand{fixed: onnx.IntTensor(v, int64(len(v)))} }

func (operands) ints2(v []int64, shape ...int64) operand {
	return operand{fixed: onnx.IntTensor(v, shape...)}
}

func (operands) scalarInt(v int64) operand { return operand{fixed: onnx.IntTensor([]int64{v})} }

func (operands) num32(v ...float32) operand {
	if len(v) == 1 {
		return operand{fixed: onnx.FloatTensor(v)}
	}
	return operand{fixed: onnx.FloatTensor(v, int64(len(v)))}
}

func (operands) floats(v []float32, shape ...int64) operand {
	return operand{fixed: onnx.FloatTensor(v, shape...)}
}

func (operands) bools(v []int64, shape ...int64) operand {
	return operand{fixed: &onnx.Tensor{Type: onnx.Bool, Shape: shape, Ints: v}}
}

func (operands) none() operand { return operand{skip: true} }

type ruleCase struct {
	op    string
	attr  map[string]onnx.Attr
	in    []operand
	outs  int // 1 when 0
	opset int // 18 when 0
	// fixed says that the rule needs every extent
	fixed bool
}

// on makes a case.
func (operands) on(op string, attr map[string]onnx.Attr, in ...operand) ruleCase {
	return ruleCase{op: op, attr: attr, in: in}
}

func (c ruleCase) at(opset int) ruleCase { c.opset = opset; return c }

func (c ruleCase) results(n int) ruleCase { c.outs = n; return c }

func (c ruleCase) static() ruleCase { c.fixed = true; return c }

// graph makes the case a graph; with symbols the leading extents of its inputs that equal that of the first are N.
func (c ruleCase) graph(symbols bool) (*onnx.Graph, []string) {
	g := &onnx.Graph{Name: "case", Opset: map[string]int{"": max(c.opset, 18)}, Init: map[string]*onnx.Tensor{}}
	n := &onnx.Node{Op: c.op, Name: "node", Attr: c.attr}
	var wrt []string
	var lead int64 = -1
	for i, o := range c.in {
		name := fmt.Sprintf("in%d", i)
		switch {
		case o.skip:
			n.In = append(n.In, "")
			continue
		case o.fixed != nil:
			g.Init[name] = o.fixed
		default:
			shape := make([]onnx.Dim, len(o.shape))
			for k, d := range o.shape {
				shape[k] = onnx.Dim{N: d}
			}
			if len(shape) > 0 {
				if lead < 0 {
					lead = o.shape[0]
				}
				if symbols && o.shape[0] == lead && lead > 1 {
					shape[0] = onnx.Dim{N: 1, Sym: "N"}
				}
			}
			g.Inputs = append(g.Inputs, onnx.Value{Name: name, Type: onnx.Float32, Shape: shape})
			if !o.quiet {
				wrt = append(wrt, name)
			}
		}
		n.In = append(n.In, name)
	}
	for i := range max(c.outs, 1) {
		name := fmt.Sprintf("out%d", i)
		n.Out = append(n.Out, name)
		g.Outputs = append(g.Outputs, onnx.Value{Name: name, Type: onnx.Float32})
	}
	g.Nodes = []*onnx.Node{n}
	return g, wrt
}

func shiftedBy(in, dir map[string]*eval.Array, h float64) map[string]*eval.Array {
	out := map[string]*eval.Array{}
	for k, a := range in {
		if d := dir[k]; d != nil {
			b := eval.FloatArray(slices.Clone(a.F), a.Shape...)
			for i := range b.F {
				b.F[i] += h * d.F[i]
			}
			a = b
		}
		out[k] = a
	}
	return out
}

// checkDerivatives compares VJP, Split and JVP of g with a central difference along a random direction.
func checkDerivatives(t *testing.T, g *onnx.Graph, wrt []string, in map[string]*eval.Array, rng *rand.Rand, tol float64) {
	t.Helper()
	checkDerivativesBy(t, g, wrt, in, rng, tol, 1e-4)
}

// checkDerivativesBy is checkDerivatives with step h.
func checkDerivativesBy(t *testing.T, g *onnx.Graph, wrt []string, in map[string]*eval.Array, rng *rand.Rand, tol, h float64) {
	t.Helper()
	opt := Options{Wrt: wrt}
	var floatOuts []string
	y := evaltest.RunGraph(t, g, in)
	probe := g.Shallow()
	if err := probe.Infer(); err != nil {
		t.Fatal(err)
	}
	for _, v := range probe.Outputs {
		if v.Type.IsFloat() {
			floatOuts = append(floatOuts, v.Name)
		}
	}
	opt.Of = floatOuts
	u, v := map[string]*eval.Array{}, map[string]*eval.Array{}
	full := map[string]*eval.Array{}
	for k, a := range in {
		full[k] = a
	}
	for _, name := range wrt {
		u[name] = eval.FloatArray(check.Normals(rng, in[name].Len()), in[name].Shape...)
		full["tangent_"+name] = u[name]
	}
	for _, name := range floatOuts {
		v[name] = eval.FloatArray(check.Normals(rng, y[name].Len()), y[name].Shape...)
		full["grad_"+name] = v[name]
	}
	norm := 0.0
	f := func(s []float64) float64 {
		out := evaltest.RunGraph(t, g, shiftedBy(in, u, s[0]))
		sum := 0.0
		for name, w := range v {
			sum += check.Dot(out[name].F, w.F)
		}
		return sum
	}
	want := check.Directional(f, []float64{0}, []float64{1}, h)
	for name, w := range v {
		norm += math.Sqrt(check.Dot(w.F, w.F)) * 1e-1
		_ = name
	}
	vjp, err := VJP(g, opt)
	if err != nil {
		t.Fatal(err)
	}
	pairing := func(out map[string]*eval.Array) float64 {
		sum := 0.0
		for name, d := range u {
			gr := out["grad_"+name]
			if !slices.Equal(gr.Shape, in[name].Shape) {
				t.Fatalf("grad_%s has shape %v, expected %v", name, gr.Shape, in[name].Shape)
			}
			sum += check.Dot(gr.F, d.F)
		}
		return sum
	}
	check.Close(t, "vjp", pairing(evaltest.RunGraph(t, vjp, full)), want, tol, norm+1e-3)

	pair, err := Split(g, opt)
	if err != nil {
		t.Fatal(err)
	}
	mid := evaltest.RunGraph(t, pair.Forward, full)
	feed := map[string]*eval.Array{}
	for k, a := range full {
		feed[k] = a
	}
	for _, name := range pair.Saved {
		if mid[name] != nil {
			feed[name] = mid[name]
		}
	}
	check.Close(t, "split", pairing(evaltest.RunGraph(t, pair.Backward, feed)), want, tol, norm+1e-3)

	jvp, err := JVP(g, opt)
	if err != nil {
		t.Fatal(err)
	}
	out := evaltest.RunGraph(t, jvp, full)
	sum := 0.0
	for name, w := range v {
		tn := out["tangent_"+name]
		if !slices.Equal(tn.Shape, y[name].Shape) {
			t.Fatalf("tangent_%s has shape %v, expected %v", name, tn.Shape, y[name].Shape)
		}
		sum += check.Dot(tn.F, w.F)
	}
	check.Close(t, "jvp", sum, want, tol, norm+1e-3)
}

func TestEveryRuleMatchesDifferences(t *testing.T) {
	for k, c := range ruleCases() {
		t.Run(fmt.Sprintf("%s/%d", c.op, k), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(k), 7))
			for _, symbols := range []bool{false, true} {
				if symbols && c.fixed {
					continue
				}
				g, wrt := c.graph(symbols)
				in := map[string]*eval.Array{}
				for i, o := range c.in {
					if o.draw == nil {
						continue
					}
					a := eval.FloatArray(nil, o.shape...)
					n := int64(1)
					for _, d := range o.shape {
						n *= d
					}
					for range n {
						a.F = append(a.F, o.draw(rng))
					}
					in[fmt.Sprintf("in%d", i)] = a
				}
				checkDerivatives(t, g, wrt, in, rng, 2e-6)
			}
		})
	}
}

func TestEveryRuleRowHasACase(t *testing.T) {
	tested := map[ruleKey]bool{}
	for _, c := range ruleCases() {
		for v := max(c.opset, 18); v > 0; v-- {
			if _, ok := ruleTable[ruleKey{c.op, v}]; ok {
				tested[ruleKey{c.op, v}] = true
				break
			}
		}
	}
	for k, r := range ruleTable {
		if !r.none && r.refuse == "" && !tested[k] && k.op != "If" { // bodies_test.go
			t.Errorf("the row %v has no case", k)
		}
		if r.none || r.refuse != "" {
			if r.elem != nil || r.back != nil || r.fwd != nil || r.fwdAll != nil {
				t.Errorf("the row %v is both refused and given", k)
			}
			continue
		}
		if (r.elem == nil) == (r.back == nil) || r.elem == nil && (r.fwd == nil) == (r.fwdAll == nil) {
			t.Errorf("the row %v lacks a mode", k)
		}
	}
	for op := range lowered {
		if !slices.ContainsFunc(ruleCases(), func(c ruleCase) bool { return c.op == op }) {
			t.Errorf("the lowered operator %s has no case", op)
		}
	}
}

func TestRefusedOperatorsAreNamedWithTheReason(t *testing.T) {
	g := &onnx.Graph{
		Opset:   map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 2}}}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: []onnx.Dim{{N: 2}}}},
		Init:    map[string]*onnx.Tensor{"s": onnx.FloatTensor([]float32{1}), "z": {Type: onnx.Uint8, Ints: []int64{0}}},
		Nodes: []*onnx.Node{
			{Op: "QuantizeLinear", Name: "q", In: []string{"x", "s", "z"}, Out: []string{"i"}},
			{Op: "DequantizeLinear", Name: "dq", In: []string{"i", "s", "z"}, Out: []string{"y"}},
		},
	}
	errs := Unsupported(g, Options{})
	if len(errs) != 2 || !strings.Contains(errs[0].Error(), `node "q" (QuantizeLinear, opset 18)`) || !strings.Contains(errs[0].Error(), "in float") {
		t.Errorf("found %v", errs)
	}
	h := &onnx.Graph{
		Opset:   map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 2}}}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: []onnx.Dim{{N: 2}}}},
		Nodes: []*onnx.Node{
			{Op: "Det", Name: "bad", In: []string{"x"}, Out: []string{"m"}},
			{Op: "Relu", Name: "ok", In: []string{"m"}, Out: []string{"n"}},
			{Op: "Det", Name: "worse", In: []string{"n"}, Out: []string{"y"}},
		},
	}
	errs = Unsupported(h, Options{})
	if len(errs) != 2 {
		t.Fatalf("found %v, expected two errors", errs)
	}
	for _, err := range errs {
		if !errors.Is(err, ErrNoRule) {
			t.Errorf("%v does not wrap ErrNoRule", err)
		}
	}
	if _, err := VJP(h, Options{}); !errors.Is(err, ErrNoRule) {
		t.Errorf("found %v, expected ErrNoRule", err)
	}
}

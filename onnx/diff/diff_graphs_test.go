package diff

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxtest"
	"lenskit/onnx/rewrite"
)

func normals23(rng *rand.Rand, names ...string) map[string]*eval.Array {
	m := map[string]*eval.Array{}
	for _, s := range names {
		m[s] = eval.FloatArray(check.Normals(rng, 6), 2, 3)
	}
	return m
}

func TestGraphsOfSeveralPathsAndOutputs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for name, g := range map[string]*onnx.Graph{
		"value used three times":  graphtest.Network([]string{"a"}, []string{"y"}, "b = Sin(a)", "c = Mul(b, b)", "y = Add(c, b)"),
		"output used further":     graphtest.Network([]string{"a"}, []string{"b", "y"}, "b = Sin(a)", "y = Exp(b)"),
		"two inputs, two outputs": graphtest.Network([]string{"a", "b"}, []string{"u", "v"}, "c = Mul(a, b)", "u = Tanh(c)", "v = Sub(c, a)"),
		"small gradients meet":    graphtest.Network([]string{"a"}, []string{"y"}, "m = ReduceMean(a)", "s = ReduceSum(a)", "p = Mul(m, s)", "d = Sub(a, p)", "y = Mul(d, d)"),
		"lazy and full meet":      graphtest.Network([]string{"a"}, []string{"y", "m"}, "m = ReduceSum(a)", "y = Exp(a)"),
		"same operand twice":      graphtest.Network([]string{"a"}, []string{"y"}, "t = Transpose(a)", "y = MatMul(a, t)"),
		"cut by a comparison":     graphtest.Network([]string{"a", "b"}, []string{"y"}, "c = Greater(a, b)", "y = Where(c, a, b)"),
	} {
		t.Run(name, func(t *testing.T) {
			in := rewrite.ValueNames(g.Inputs)
			checkDerivatives(t, g, in, normals23(rng, in...), rng, 1e-7)
		})
	}
}

func TestInputWithoutInfluenceGetsZeros(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	g := graphtest.Network([]string{"a", "b"}, []string{"y", "z"}, "y = Sin(a)", "z = Floor(b)")
	g.Inputs[1].Shape = []onnx.Dim{{N: 1, Sym: "N"}, {N: 3}}
	in := normals23(rng, "a", "b", "grad_y", "grad_z", "tangent_a", "tangent_b")
	vjp, err := VJP(g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	gb := evaltest.RunGraph(t, vjp, in)["grad_b"]
	jvp, err := JVP(g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tz := evaltest.RunGraph(t, jvp, in)["tangent_z"]
	for _, a := range []*eval.Array{gb, tz} {
		if !slices.Equal(a.Shape, []int64{2, 3}) || slices.ContainsFunc(a.F, func(v float64) bool { return v != 0 }) {
			t.Errorf("found %v %v, expected zeros", a.Shape, a.F)
		}
	}
}

func TestOfAndWrtChoose(t *testing.T) {
	g := graphtest.Network([]string{"a", "b"}, []string{"u", "v"}, "u = Mul(a, w)", "v = Mul(b, u)")
	g.Init["w"] = onnx.FloatTensor([]float32{1, 2, 3}, 3)
	vjp, err := VJP(g, Options{Of: []string{"u"}, Wrt: []string{"w"}})
	if err != nil {
		t.Fatal(err)
	}
	if in := rewrite.ValueNames(vjp.Inputs); !slices.Equal(in, []string{"a", "b", "grad_u"}) {
		t.Errorf("found inputs %q", in)
	}
	if out := rewrite.ValueNames(vjp.Outputs); !slices.Equal(out, []string{"u", "v", "grad_w"}) {
		t.Errorf("found outputs %q", out)
	}
	for _, opt := range []Options{{Of: []string{"x"}}, {Wrt: []string{"x"}}, {Wrt: []string{"a", "a"}}} {
		if _, err := VJP(g, opt); err == nil {
			t.Errorf("%v was taken", opt)
		}
	}
	if _, err := VJP(graphtest.Network([]string{"a"}, []string{"grad_a"}, "grad_a = Sin(a)"), Options{}); err == nil {
		t.Error("a name was taken twice")
	}
}

func TestSecondDerivative(t *testing.T) {
	// The forward-mode derivative of a gradient is a product with the Hessian: y = Σ sin(a)³.
	rng := rand.New(rand.NewPCG(3, 1))
	g := graphtest.Network([]string{"a"}, []string{"y"}, "s = Sin(a)", "q = Mul(s, s)", "c = Mul(q, s)", "y = ReduceSum(c)")
	vjp, err := VJP(g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// The name of the gradient would be given out twice.
	rename(vjp, map[string]string{"grad_a": "slope"})
	vjp.Outputs = []onnx.Value{{Name: "slope", Type: onnx.Float32}}
	checkDerivatives(t, vjp, []string{"a"}, map[string]*eval.Array{
		"a": eval.FloatArray(check.Normals(rng, 6), 2, 3), "grad_y": eval.FloatArray([]float64{1.3}, 1, 1),
	}, rng, 1e-7)
}

func TestDeepGraphsAreSwept(t *testing.T) {
	g := graphtest.Network([]string{"a"}, []string{"y"})
	last := "a"
	for range 3000 {
		next := "n" + strconv.Itoa(len(g.Nodes))
		g.Nodes = append(g.Nodes, &onnx.Node{Op: "Sin", In: []string{last}, Out: []string{next}})
		last = next
	}
	g.Nodes = append(g.Nodes, &onnx.Node{Op: "Identity", In: []string{last}, Out: []string{"y"}})
	if _, err := VJP(g, Options{}); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsOfDerivativesWrapErrNoRule(t *testing.T) {
	g := graphtest.Network([]string{"a"}, []string{"y"}, "y = Det(a)")
	g.Inputs[0].Shape = graphtest.DimsOf(1, 3, 3)
	for name, f := range map[string]func() error{
		"vjp":      func() error { _, err := VJP(g, Options{}); return err },
		"jvp":      func() error { _, err := JVP(g, Options{}); return err },
		"split":    func() error { _, err := Split(g, Options{}); return err },
		"jacobian": func() error { _, err := Jacobian(g, Options{}); return err },
	} {
		err := f()
		if !errors.Is(err, ErrNoRule) || !strings.Contains(err.Error(), `node "make y" (Det, opset 18)`) {
			t.Errorf("%s: found %v", name, err)
		}
	}
}

// FuzzDifferentiate takes any file through every derivative: none may panic, hang or allocate more than MaxFuzzBytes.
func FuzzDifferentiate(f *testing.F) {
	for k, c := range ruleCases() {
		if k%9 != 0 {
			continue
		}
		g, _ := c.graph(k%2 == 0)
		if data, err := g.Marshal(); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return
		}
		g, err := onnx.Parse(data, "")
		if err != nil {
			return
		}
		derive(t, g, nil)
	})
}

// derive takes every derivative of g, and the VJP by wrt, within MaxFuzzBytes for each.
func derive(t *testing.T, g *onnx.Graph, wrt []string) {
	vjp := func(opt Options) {
		if d, err := VJP(g, opt); err == nil {
			if _, err := d.Marshal(); err != nil {
				t.Errorf("a derived graph cannot be written: %v", err)
			}
		}
	}
	for name, f := range map[string]func(){
		"unsupported": func() { Unsupported(g, Options{}) },
		"vjp":         func() { vjp(Options{}) },
		"vjp of some": func() { vjp(Options{Wrt: wrt}) },
		"jvp":         func() { JVP(g, Options{}) },
		"split":       func() { Split(g, Options{}) },
		"jacobian":    func() { Jacobian(g, Options{Columns: 3}) },
	} {
		if grown := onnxtest.Allocated(f); grown > onnxtest.MaxFuzzBytes {
			t.Errorf("%s allocated %d bytes", name, grown)
		}
	}
}

// FuzzDifferentiateNode spoils the attributes, constants, operands and shapes of a node with a rule; each derivative
// stays within MaxFuzzBytes.
func FuzzDifferentiateNode(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed, seed*seed)
	}
	cases := ruleCases()
	f.Fuzz(func(t *testing.T, a, b uint64) {
		rng := rand.New(rand.NewPCG(a, b))
		g, _ := cases[rng.IntN(len(cases))].graph(rng.IntN(2) == 0)
		n := g.Nodes[0]
		n.Attr = maps.Clone(n.Attr)
		odd := func() int64 {
			return []int64{-1 << 63, -1 << 31, -3, -2, -1, 0, 1, 2, 3, 5, 100, 1 << 20, 1 << 40, 1<<63 - 1}[rng.IntN(14)]
		}
		for range 1 + rng.IntN(3) {
			switch rng.IntN(6) {
			case 0:
				for _, k := range onnx.SortedKeys(n.Attr) {
					if at := n.Attr[k]; rng.IntN(2) == 0 {
						at.Int, at.Ints = odd(), slices.Clone(at.Ints)
						if len(at.Ints) > 0 {
							at.Ints[rng.IntN(len(at.Ints))] = odd()
							at.Ints = at.Ints[:1+rng.IntN(len(at.Ints))]
						}
						n.Attr[k] = at
					}
				}
			case 1:
				for _, k := range onnx.SortedKeys(g.Init) {
					x := *g.Init[k]
					if x.Ints = slices.Clone(x.Ints); len(x.Ints) > 0 {
						x.Ints[rng.IntN(len(x.Ints))] = odd()
					}
					g.Init[k] = &x
				}
			case 2:
				if len(g.Inputs) > 0 {
					v := &g.Inputs[rng.IntN(len(g.Inputs))]
					if len(v.Shape) > 0 {
						v.Shape[rng.IntN(len(v.Shape))] = onnx.Dim{N: max(0, odd())}
					}
				}
			case 3:
				if len(g.Inputs) > 0 {
					v := &g.Inputs[rng.IntN(len(g.Inputs))]
					if len(v.Shape) > 0 {
						v.Shape[rng.IntN(len(v.Shape))] = onnx.Dim{N: 1, Sym: "M"}
					}
				}
			case 4:
				if len(g.Inputs) > 0 {
					v := &g.Inputs[rng.IntN(len(g.Inputs))]
					v.Shape = [][]onnx.Dim{nil, {}, append(slices.Clone(v.Shape), onnx.Dim{N: 2}), v.Shape[:len(v.Shape)/2]}[rng.IntN(4)]
				}
			case 5:
				if len(n.In) > 1 {
					n.In = n.In[:1+rng.IntN(len(n.In)-1)]
				}
			}
		}
		var wrt []string
		for _, v := range g.Inputs {
			if rng.IntN(2) == 0 {
				wrt = append(wrt, v.Name)
			}
		}
		derive(t, g, wrt)
	})
}

package rewrite

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxpb"
	"lenskit/onnx/internal/onnxtest"
)

func TestFunctionsAndConstantConditionsAreInlined(t *testing.T) {
	g := graphtest.LoadTestdata(t, "functions.onnx")
	for _, n := range g.Nodes {
		if n.Domain != "" || n.Op == "If" || n.Op == "Constant" {
			t.Errorf("node %q (%s.%s) is left", n.Name, n.Domain, n.Op)
		}
	}
	if _, ok := g.Opset["loc"]; ok {
		t.Error("the functions' domain is left")
	}
	// out = max(0, 2x + (1, 2, 3)) + x
	onnxtest.Near(t, evaltest.Run(t, g, eval.FloatArray([]float64{1, -4, 0.5}, 1, 3)), []float64{4, -4, 4.5}, 1e-12)
	graphtest.RoundTrip(t, "functions", g)
}

func TestHalfPrecisionIsWidened(t *testing.T) {
	g := graphtest.LoadTestdata(t, "half.onnx")
	if g.Inputs[0].Type != onnx.Float32 || g.Outputs[0].Type != onnx.Float32 || g.Init["w"].Type != onnx.Float32 {
		t.Errorf("types %s, %s, %s", g.Inputs[0].Type, g.Outputs[0].Type, g.Init["w"].Type)
	}
	// 6e-8 is the smallest subnormal number of float16, 2⁻²⁴.
	if w := g.Init["w"].Floats; w[0] != 0.5 || w[1] != 1.0/(1<<24) {
		t.Errorf("weights %v", w)
	}
	h, err := Fold(g)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Nodes) != 1 {
		t.Errorf("found %d nodes, expected the product alone", len(h.Nodes))
	}
}

func TestWidenHalf(t *testing.T) {
	cases := []struct {
		typ  onnx.DType
		bits uint16
		want float32
	}{
		{onnx.Float16, 0x3c00, 1}, {onnx.Float16, 0xc000, -2}, {onnx.Float16, 0x7bff, 65504}, {onnx.Float16, 0x0001, 1.0 / (1 << 24)}, {onnx.Float16, 0x0000, 0},
		{onnx.Float16, 0x03ff, 1023.0 / (1 << 24)}, {onnx.Float16, 0x3555, 0.333251953125}, {onnx.Float16, 0xfc00, float32(math.Inf(-1))},
		{onnx.Float16, 0x8001, -1.0 / (1 << 24)}, {onnx.Float16, 0x0400, 1.0 / (1 << 14)}, {onnx.Float16, 0x7c00, float32(math.Inf(1))},
		{onnx.BFloat16, 0x3f80, 1}, {onnx.BFloat16, 0xc040, -3},
	}
	for _, c := range cases {
		if got := onnx.Widen(c.typ, c.bits); got != c.want {
			t.Errorf("%s %#x: got %g, want %g", c.typ, c.bits, got, c.want)
		}
	}
	if v := onnx.Widen(onnx.Float16, 0x7e00); v == v {
		t.Errorf("got %g, want NaN", v)
	}
}

func TestOldOperatorsAreBroughtToSet18(t *testing.T) {
	g := graphtest.LoadTestdata(t, "old.onnx")
	if g.Opset[""] != 18 {
		t.Errorf("operator set %d", g.Opset[""])
	}
	x := make([]float64, 18)
	for i := range x {
		x[i] = float64(i)/9 - 1
	}
	// onnxruntime 1.32 gives this for the file as it is.
	onnxtest.Near(t, evaltest.Run(t, g, eval.FloatArray(x, 2, 1, 3, 3)), []float64{0.2189117670059204, 0.2189117670059204, 0.2189117670059204, 0.2189117670059204}, 1e-6)
	if s := g.Inputs; len(s) != 1 || s[0].Name != "x" {
		t.Errorf("inputs %v, expected x alone", s)
	}
}

func TestLoopBodiesStay(t *testing.T) {
	g := graphtest.LoadTestdata(t, "loop.onnx")
	graphtest.RoundTrip(t, "loop", g)
	h, err := Fold(g)
	if err != nil {
		t.Fatal(err)
	}
	if err := checker.Graph(h); err != nil {
		t.Error(err)
	}
}

// message builds a small valid model, which change then spoils.
func message(change func(m *onnxpb.Model)) []byte {
	m := &onnxpb.Model{IRVersion: 8, Opsets: []onnxpb.Opset{{Version: 18}}, Graph: &onnxpb.Graph{
		Name:    "g",
		Nodes:   []*onnxpb.Node{{Name: "sum", Op: "Add", In: []string{"x", "w"}, Out: []string{"y"}}},
		Init:    []*onnxpb.Tensor{{Name: "w", Dims: []int64{2}, Type: 1, HasRaw: true, Raw: make([]byte, 8)}},
		Inputs:  []*onnxpb.ValueInfo{{Name: "x", Type: 1, HasShape: true, Dims: []onnxpb.Dim{{Param: "N"}, {Value: 2, HasValue: true}}}},
		Outputs: []*onnxpb.ValueInfo{{Name: "y", Type: 1}},
	}}
	change(m)
	p := m.Encode()
	return slices.Concat(p.Pieces()...)
}

func TestBadModelsAreRefusedWithTheReason(t *testing.T) {
	add := func(m *onnxpb.Model, n *onnxpb.Node) { m.Graph.Nodes = append(m.Graph.Nodes, n) }
	cases := []struct {
		name, want string
		change     func(m *onnxpb.Model)
	}{
		{"good", "", func(m *onnxpb.Model) {}},
		{"cycle", "depends on its own output", func(m *onnxpb.Model) {
			add(m, &onnxpb.Node{Op: "Relu", In: []string{"b"}, Out: []string{"a"}})
			add(m, &onnxpb.Node{Op: "Relu", In: []string{"a"}, Out: []string{"b"}})
		}},
		{"missing operand", `operand "v"`, func(m *onnxpb.Model) { m.Graph.Nodes[0].In[1] = "v" }},
		{"missing output", `output "z"`, func(m *onnxpb.Model) { m.Graph.Outputs[0].Name = "z" }},
		{"value made twice", "made by two nodes", func(m *onnxpb.Model) { add(m, &onnxpb.Node{Op: "Relu", In: []string{"x"}, Out: []string{"y"}}) }},
		{"value of an input's name", `value "x": defined twice`, func(m *onnxpb.Model) { add(m, &onnxpb.Node{Op: "Relu", In: []string{"w"}, Out: []string{"x"}}) }},
		{"initialiser twice", "defined twice", func(m *onnxpb.Model) { m.Graph.Init = append(m.Graph.Init, m.Graph.Init[0]) }},
		{"too little data", "found 8 bytes of data, expected 12", func(m *onnxpb.Model) { m.Graph.Init[0].Dims[0] = 3 }},
		{"negative extent", "found extent -2", func(m *onnxpb.Model) { m.Graph.Init[0].Dims[0] = -2 }},
		{"huge extent", "found extent", func(m *onnxpb.Model) { m.Graph.Init[0].Dims[0] = math.MaxInt64 }},
		{"huge product", "elements", func(m *onnxpb.Model) { m.Graph.Init[0].Dims = []int64{1 << 30, 1 << 30, 1 << 30, 1 << 30} }},
		{"unknown element type", "complex64", func(m *onnxpb.Model) { m.Graph.Init[0].Type = 14 }},
		{"narrow element type with too little data", "of float8e4m3fn", func(m *onnxpb.Model) { m.Graph.Init[0].Type, m.Graph.Init[0].Dims = 17, []int64{9} }},
		{"narrow element type with quantisation", "float8e5m2 beside QuantizeLinear", func(m *onnxpb.Model) {
			m.Graph.Init[0] = &onnxpb.Tensor{Name: m.Graph.Init[0].Name, Type: 19, Dims: []int64{2}, Raw: []byte{60, 61}, HasRaw: true}
			add(m, &onnxpb.Node{Op: "QuantizeLinear", In: []string{"x", "x"}, Out: []string{"q"}})
		}},
		{"cast to a narrow type", "float4e2m1, which only the evaluator casts to", func(m *onnxpb.Model) {
			m.Graph.Nodes = append(m.Graph.Nodes, &onnxpb.Node{Op: "Cast", In: []string{"x"}, Out: []string{"q"}, Attr: []*onnxpb.Attribute{{Name: "to", Type: 2, Int: 23}}})
		}},
		{"no operator", "found no operator", func(m *onnxpb.Model) { m.Graph.Nodes[0].Op = "" }},
		{"unknown operator", `node "sum" ("Sumify", opset 18): found an operator`, func(m *onnxpb.Model) { m.Graph.Nodes[0].Op = "Sumify" }},
		{"unknown domain", `domain "com.microsoft"`, func(m *onnxpb.Model) { m.Graph.Nodes[0].Domain = "com.microsoft" }},
		{"operator of a later set", "expected 20 or later", func(m *onnxpb.Model) {
			m.Graph.Nodes[0] = &onnxpb.Node{Op: "Gelu", In: []string{"x"}, Out: []string{"y"}}
		}},
		{"unknown attribute", `attribute "axis"`, func(m *onnxpb.Model) { m.Graph.Nodes[0].Attr = []*onnxpb.Attribute{{Name: "axis", Type: 2}} }},
		{"attribute twice", "given twice", func(m *onnxpb.Model) {
			m.Graph.Nodes[0].Attr = []*onnxpb.Attribute{{Name: "a", Type: 2}, {Name: "a", Type: 2}}
		}},
		{"attribute of another kind", "found kind 1, expected 2", func(m *onnxpb.Model) {
			m.Graph.Nodes[0] = &onnxpb.Node{Op: "Softmax", In: []string{"x"}, Out: []string{"y"}, Attr: []*onnxpb.Attribute{{Name: "axis", Type: 1}}}
		}},
		{"reference outside of a function", "outside of a function", func(m *onnxpb.Model) {
			m.Graph.Nodes[0].Attr = []*onnxpb.Attribute{{Name: "a", Type: 2, Ref: "b"}}
		}},
		{"shapes that do not broadcast", "do not broadcast", func(m *onnxpb.Model) {
			m.Graph.Init[0].Dims[0], m.Graph.Init[0].Raw = 3, make([]byte, 12)
		}},
		{"axis out of range", "axis: found 7", func(m *onnxpb.Model) {
			m.Graph.Nodes[0] = &onnxpb.Node{Op: "Softmax", In: []string{"x"}, Out: []string{"y"}, Attr: []*onnxpb.Attribute{{Name: "axis", Type: 2, Int: 7}}}
		}},
		{"no operator set", "found no operator set", func(m *onnxpb.Model) { m.Opsets = nil }},
		{"operator set of the future", "found operator set 999", func(m *onnxpb.Model) { m.Opsets[0].Version = 999 }},
		{"too many operands", "found 3 operands, expected at most 2", func(m *onnxpb.Model) { m.Graph.Nodes[0].In = []string{"x", "w", "w"} }},
	}
	for _, c := range cases {
		g, err := onnx.Parse(message(c.change), "")
		if err == nil {
			err = checker.Graph(g)
		}
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: error of several lines: %v", c.name, err)
		}
	}
	for _, data := range [][]byte{nil, []byte("SIMPLE  =                    T"), message(func(*onnxpb.Model) {})[:40]} {
		if _, err := onnx.Parse(data, ""); err == nil {
			t.Errorf("%q was taken for a model", data)
		}
	}
	if _, err := onnx.Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("folder: %v", err)
	}
}

func TestExternalDataStaysInTheFolder(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "model")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	eight := []byte{0, 0, 128, 63, 0, 0, 0, 64} // 1, 2 in float32
	for _, f := range []string{filepath.Join(top, "secret.bin"), filepath.Join(dir, "sub", "w.bin")} {
		if err := os.WriteFile(f, append([]byte{9, 9, 9, 9}, eight...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(top, "secret.bin"), filepath.Join(dir, "link.bin")); err != nil {
		t.Logf("no symbolic links here: %v", err)
	}
	load := func(entries ...string) (*onnx.Graph, error) {
		b := externalMessage(entries...)
		path := filepath.Join(dir, "m.onnx")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return onnx.Load(path)
	}
	g, err := load("location", "sub/w.bin", "offset", "4", "length", "8")
	if err != nil {
		t.Fatal(err)
	}
	if w := g.Init["w"].Floats; w[0] != 1 || w[1] != 2 {
		t.Errorf("weights %v", w)
	}
	for _, c := range [][]string{
		{"location", "../secret.bin", "offset", "4"},
		{"location", filepath.Join(top, "secret.bin"), "offset", "4"},
		{"location", "sub/../../secret.bin", "offset", "4"},
		{"location", `..\secret.bin`, "offset", "4"},
		{"location", "link.bin", "offset", "4"},
		{"location", "sub", "offset", "0"},
		{"location", "absent.bin"},
		{"location", ""},
		{"location", "sub/w.bin", "offset", "5"},
		{"location", "sub/w.bin", "offset", "-4"},
		{"location", "sub/w.bin", "length", "7"},
		{"location", "sub/w.bin", "offset", "four"},
	} {
		if _, err := load(c...); err == nil {
			t.Errorf("external data %q was read", c)
		}
	}
	if _, err := onnx.Parse(externalMessage("location", "sub/w.bin", "offset", "4"), ""); err == nil {
		t.Error("external data of a model without a folder was read")
	}
}

// externalMessage is a model whose weights lie in a file of their own.
func externalMessage(entries ...string) []byte {
	// The encoder writes data inside the model only, so the tensor's fields are appended by hand.
	b := message(func(m *onnxpb.Model) { m.Graph.Init = nil })
	tensor := []byte{0x0a, 1, 2, 0x10, 1, 0x42, 1, 'w', 0x70, 1}
	for i := 0; i+1 < len(entries); i += 2 {
		e := append([]byte{0x0a, byte(len(entries[i]))}, entries[i]...)
		e = append(append(e, 0x12, byte(len(entries[i+1]))), entries[i+1]...)
		tensor = append(append(tensor, 0x6a, byte(len(e))), e...)
	}
	graph := append([]byte{0x2a, byte(len(tensor))}, tensor...)
	// A second graph field is merged with the first.
	n := len(graph)
	return append(append(b, 0x3a, byte(n&0x7f|0x80), byte(n>>7)), graph...)
}

func TestSaveLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	g := graphtest.LoadTestdata(t, "functions.onnx")
	path := filepath.Join(dir, "x.onnx")
	if err := g.Save(path); err != nil {
		t.Fatal(err)
	}
	bad := *g
	bad.Init = map[string]*onnx.Tensor{"w": {Type: onnx.Float32, Shape: []int64{3}, Floats: []float32{1}}}
	if err := bad.Save(path); err == nil {
		t.Error("a tensor without its values was saved")
	}
	if err := g.Save(filepath.Join(dir, "none", "x.onnx")); err == nil {
		t.Error("saved into a folder that is not there")
	}
	if _, err := onnx.Load(path); err != nil {
		t.Errorf("the file of before is gone: %v", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("found %v, expected the model alone", list)
	}
}

func TestWrittenFilesPassTheStandardsChecker(t *testing.T) {
	python := onnxtest.PythonWithONNX(t)
	dir := t.TempDir()
	list := onnxtest.Decoders(t)
	for _, name := range []string{"functions.onnx", "half.onnx", "loop.onnx", "old.onnx"} {
		list = append(list, filepath.Join("..", "testdata", name))
	}
	for _, path := range list {
		g, err := onnx.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		h, err := Fold(g)
		if err != nil {
			t.Fatal(err)
		}
		for kind, x := range map[string]*onnx.Graph{"loaded": g, "folded": h} {
			if err := x.Save(filepath.Join(dir, kind+"."+filepath.Base(path))); err != nil {
				t.Fatal(err)
			}
		}
	}
	script := `
import glob, onnx, sys
for f in sorted(glob.glob(sys.argv[1] + "/*.onnx")):
    m = onnx.load(f)
    onnx.checker.check_model(m, full_check=True)
    assert m.producer_name == "lenskit", f
    print(f)`
	out, err := exec.Command(python, "-c", script, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), ".onnx\n"); n != 2*len(list) {
		t.Errorf("checked %d files, expected %d", n, 2*len(list))
	}
}

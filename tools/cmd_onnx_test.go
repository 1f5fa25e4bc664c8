package tools

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/ort"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
)

// tinyModel writes y = tanh(x w) + b, x [N, 3], and returns its path.
func tinyModel(t *testing.T, change func(g *onnx.Graph)) string {
	t.Helper()
	n := onnx.Dim{N: 1, Sym: "N"}
	g := &onnx.Graph{
		Name:    "tiny",
		Opset:   map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{n, {N: 3}}}},
		Outputs: []onnx.Value{{Name: "a/y", Type: onnx.Float32, Shape: []onnx.Dim{n, {N: 2}}}},
		Nodes: []*onnx.Node{
			{Op: "MatMul", Name: "product", In: []string{"x", "w"}, Out: []string{"xw"}},
			{Op: "Tanh", Name: "squash", In: []string{"xw"}, Out: []string{"t"}},
			{Op: "Add", Name: "shift", In: []string{"t", "b"}, Out: []string{"a/y"}},
		},
		Init: map[string]*onnx.Tensor{
			"w": onnx.FloatTensor([]float32{1, 2, 3, 4, 5, 6}, 3, 2),
			"b": onnx.FloatTensor([]float32{0.5, -0.5}, 2),
		},
	}
	if change != nil {
		change(g)
	}
	path := filepath.Join(t.TempDir(), "tiny.onnx")
	if err := g.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// saveNPY writes x and returns its path.
func saveNPY(t *testing.T, x *onnx.Tensor) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.npy")
	if err := tensors.WriteNPY(path, x); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOnnxInspectTellsOfAModel(t *testing.T) {
	out := testkit.MustRun(t, "onnx", "inspect", tinyModel(t, nil), "--json")
	var m modelSummary
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		t.Fatal(err)
	}
	if m.Parameters != 8 || m.Operators["Tanh"] != 1 || m.Inputs[0].Shape[0] != "N" || m.NotDifferentiable == nil || len(*m.NotDifferentiable) != 0 {
		t.Errorf("got %s", out)
	}
	bad := tinyModel(t, func(g *onnx.Graph) { g.Nodes[1].Op = "Det"; g.Nodes[1].Name = "odd" })
	out = testkit.MustRun(t, "onnx", "inspect", bad)
	if !strings.Contains(out, "no gradient") || !strings.Contains(out, "odd") {
		t.Errorf("a model with Det: got %s, want the node named that has no gradient", out)
	}
	code, _, err := testkit.RunCommand(t, "onnx", "vjp", bad, "-o", filepath.Join(t.TempDir(), "v.onnx"))
	if code != term.ExitBadInput || !strings.Contains(err, "odd") || !strings.Contains(err, "hint: lenskit onnx inspect") {
		t.Errorf("its vjp: exit %d, %q, want exit 2, the node and a hint", code, err)
	}
}

func TestOnnxRunsAModelAndItsDerivatives(t *testing.T) {
	model := tinyModel(t, nil)
	x := []float64{0.1, -0.2, 0.05, 0.3, 0.1, -0.15}
	xFile := saveNPY(t, &onnx.Tensor{Type: onnx.Float64, Shape: []int64{2, 3}, Doubles: x})
	seed := saveNPY(t, onnx.FloatTensor([]float32{1, 0, 0, 1}, 2, 2))
	dir := t.TempDir()
	vjp := filepath.Join(dir, "vjp.onnx")
	testkit.MustRun(t, "onnx", "vjp", model, "-o", vjp)
	jvp := filepath.Join(dir, "jvp.onnx")
	testkit.MustRun(t, "onnx", "jvp", model, "-o", jvp)

	w := [3][2]float64{{1, 2}, {3, 4}, {5, 6}}
	y := func(row, col int) float64 {
		s := 0.0
		for k := range 3 {
			s += x[row*3+k] * w[k][col]
		}
		return math.Tanh(s)
	}
	devices := []string{"reference"}
	if _, _, err := ort.Library(); err == nil {
		devices = append(devices, "cpu")
	}
	for _, device := range devices {
		out := filepath.Join(dir, device)
		testkit.MustRun(t, "onnx", "run", vjp, "--input", "x="+xFile, "--input", "grad_a/y="+seed, "-o", out, "--device", device)
		got, err := tensors.ReadNPY(filepath.Join(out, "a_y.npy"))
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]onnx.DType{"reference": onnx.Float64, "cpu": onnx.Float32}[device]; got.Type != want {
			t.Errorf("%s: got %s, want %s", device, got.Type, want)
		}
		grad, err := tensors.ReadNPY(filepath.Join(out, "grad_x.npy"))
		if err != nil {
			t.Fatal(err)
		}
		for row := range 2 {
			for col := range 2 {
				if want := y(row, col) + []float64{0.5, -0.5}[col]; math.Abs(got.Float(row*2+col)-want) > 1e-6 {
					t.Errorf("%s: y[%d,%d]: got %g, want %g", device, row, col, got.Float(row*2+col), want)
				}
			}
			for k := range 3 {
				// Row r asks for the gradient of y[r, r].
				want := (1 - y(row, row)*y(row, row)) * w[k][row]
				if math.Abs(grad.Float(row*3+k)-want) > 1e-5 {
					t.Errorf("%s: grad x[%d,%d]: got %g, want %g", device, row, k, grad.Float(row*3+k), want)
				}
			}
		}
		testkit.MustRun(t, "onnx", "run", jvp, "--input", "x="+xFile, "--input", "tangent_x="+xFile, "-o", out, "--device", device)
		tan, err := tensors.ReadNPY(filepath.Join(out, "tangent_a_y.npy"))
		if err != nil {
			t.Fatal(err)
		}
		want := math.Atanh(y(0, 1)) * (1 - y(0, 1)*y(0, 1))
		if math.Abs(tan.Float(1)-want) > 1e-5 {
			t.Errorf("%s: tangent: got %g, want %g", device, tan.Float(1), want)
		}
	}
}

func TestOnnxJVPOfManyColumnsIsAJacobian(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.onnx")
	testkit.MustRun(t, "onnx", "jvp", tinyModel(t, nil), "-o", path, "--columns", "3")
	x := saveNPY(t, onnx.FloatTensor([]float32{0.1, -0.2, 0.05}, 1, 3))
	unit := saveNPY(t, onnx.FloatTensor([]float32{1, 0, 0, 0, 1, 0, 0, 0, 1}, 3, 3))
	out := t.TempDir()
	testkit.MustRun(t, "onnx", "run", path, "--input", "x="+x, "--input", "tangent_x="+unit, "-o", out, "--device", "reference")
	j, err := tensors.ReadNPY(filepath.Join(out, "tangent_a_y.npy"))
	if err != nil {
		t.Fatal(err)
	}
	for k := range 3 {
		for col, pre := range []float64{0.1 - 0.6 + 0.25, 0.2 - 0.8 + 0.3} {
			want := (1 - math.Tanh(pre)*math.Tanh(pre)) * float64(2*k+col+1)
			if got := j.Float(2*k + col); math.Abs(got-want) > 1e-6 {
				t.Errorf("row %d, column %d: got %g, want %g", k, col, got, want)
			}
		}
	}
}

func TestOnnxTrainWritesAStep(t *testing.T) {
	model := tinyModel(t, func(g *onnx.Graph) {
		g.Nodes = append(g.Nodes, &onnx.Node{Op: "ReduceMean", Name: "loss", In: []string{"a/y"}, Out: []string{"loss"}, Attr: map[string]onnx.Attr{"keepdims": onnx.IntAttr(0)}})
		g.Outputs = append(g.Outputs, onnx.Value{Name: "loss", Type: onnx.Float32, Shape: []onnx.Dim{}})
	})
	path := filepath.Join(t.TempDir(), "step.onnx")
	testkit.MustRun(t, "onnx", "train", model, "--loss", "loss", "--params", "w", "--optimizer", "sgd", "--momentum", "0.5", "-o", path)
	g, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := inputNames(g); got != "x, learning_rate, w, m_w" {
		t.Errorf("inputs: got %s", got)
	}
	got := namesOf(g.Outputs)
	if slices.Sort(got); strings.Join(got, " ") != "a/y loss new_m_w new_w" {
		t.Errorf("outputs: got %s", got)
	}
}

func TestOnnxRefusesBadInput(t *testing.T) {
	model := tinyModel(t, nil)
	good := saveNPY(t, onnx.FloatTensor(make([]float32, 3), 1, 3))
	wide := saveNPY(t, onnx.FloatTensor(make([]float32, 4), 1, 4))
	ints := saveNPY(t, onnx.IntTensor(make([]int64, 3), 1, 3))
	broken := filepath.Join(t.TempDir(), "broken.onnx")
	if err := os.WriteFile(broken, []byte("\x08\x07\x3a\xff"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"inspect", broken}, "broken.onnx"},
		{[]string{"inspect", filepath.Join(out, "none.onnx")}, "none.onnx"},
		{[]string{"inspect"}, "found 0 arguments, expected MODEL.onnx"},
		{[]string{"run", model, "-o", out}, "input x of"},
		{[]string{"run", model, "-o", out, "--input", "x"}, "expected NAME=FILE.npy"},
		{[]string{"run", model, "-o", out, "--input", "y=" + good}, "has no such input, it has x"},
		{[]string{"run", model, "-o", out, "--input", "x=" + good, "--input", "x=" + good}, "given twice"},
		{[]string{"run", model, "-o", out, "--input", "x=" + wide}, "found shape [1 4]"},
		{[]string{"run", model, "-o", out, "--input", "x=" + ints}, "found int64, expected float32"},
		{[]string{"run", model, "-o", out, "--input", "x=" + model}, "is not a .npy file"},
		{[]string{"run", model, "-o", out, "--input", "x=" + good, "--device", "gpu"}, `found device "gpu"`},
		{[]string{"run", model, "-o", out, "--input", "x=" + good, "--threads", "-2"}, "--threads is -2"},
		{[]string{"vjp", model, "-o", out + ".onnx", "--wrt", "q"}, `"q"`},
		{[]string{"jvp", model, "-o", out + ".onnx", "--of", "q"}, `"q"`},
		{[]string{"train", model, "-o", out + ".onnx", "--optimizer", "lion"}, `found optimizer "lion"`},
		{[]string{"train", model, "-o", out + ".onnx", "--loss", "a/y"}, "expected float32 with one element"},
		{[]string{"vjp", model, "-o", filepath.Join(out, "no", "folder.onnx")}, "folder"},
	} {
		code, stdout, err := testkit.RunCommand(t, append([]string{"onnx"}, c.args...)...)
		if code != term.ExitBadInput || !strings.Contains(err, c.want) || strings.Count(strings.TrimSpace(err), "\n") > 1 || stdout != "" {
			t.Errorf("onnx %s: exit %d, %q, want exit 2 and %q", strings.Join(c.args, " "), code, err, c.want)
		}
	}
}

func TestOutputNamesBecomeFileNames(t *testing.T) {
	taken := map[string]bool{}
	for _, c := range [][2]string{{"/decoder/Tanh_output_0", "decoder_Tanh_output_0"}, {"a:b", "a_b"}, {"a/b", "a_b_2"}, {"A/B", "A_B_3"}, {"..", "output"}, {"ü", "output_2"}} {
		if got := fileName(c[0], taken); got != c[1] {
			t.Errorf("%q: got %q, want %q", c[0], got, c[1])
		}
	}
	if got := fileName(strings.Repeat("x", 500), taken); len(got) != 100 {
		t.Errorf("a long name: got %d letters, want 100", len(got))
	}
}

func TestIntegersAreConvertedOnlyWhereTheyFit(t *testing.T) {
	for _, c := range []struct {
		v  int64
		to onnx.DType
		ok bool
	}{
		{127, onnx.Int8, true}, {128, onnx.Int8, false}, {-128, onnx.Int8, true}, {-129, onnx.Int8, false},
		{255, onnx.Uint8, true}, {-1, onnx.Uint8, false}, {math.MaxInt64, onnx.Uint64, true}, {math.MinInt64, onnx.Int32, false},
	} {
		if _, err := convert(onnx.IntTensor([]int64{c.v}, 1), c.to); (err == nil) != c.ok {
			t.Errorf("%d to %s: got %v, want fits = %v", c.v, c.to, err, c.ok)
		}
	}
}

func TestDoctorSaysWhatWasFound(t *testing.T) {
	code, out, _ := testkit.RunCommand(t, "doctor", "--json")
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	_, version, err := ort.Library()
	switch {
	case err == nil && (code != term.ExitDone || !d.ONNXRuntime.Usable || d.ONNXRuntime.Version != version):
		t.Errorf("with the library: exit %d, %s, want exit 0 and version %s", code, out, version)
	case err != nil && (code != term.ExitBadInput || d.ONNXRuntime.Usable || len(d.Advice) == 0):
		t.Errorf("without the library: exit %d, %s, want exit 2 and advice", code, out)
	}
	if d.CPU.Cores < 1 || d.CPU.Threads < 1 {
		t.Errorf("got %+v", d.CPU)
	}
	if !d.GPU.Usable && d.GPU.Error == "" {
		t.Error("no usable GPU, but no reason for it")
	}
}

func TestGPUListIsParsed(t *testing.T) {
	got, err := parseGPUs("0, NVIDIA H100 80GB HBM3, 81559, 550.54.15\n1, NVIDIA GB10, [N/A], 580.1\n")
	if err != nil || len(got) != 2 || got[0] != (gpuDevice{0, "NVIDIA H100 80GB HBM3", 81559, "550.54.15"}) || got[1].MemoryMiB != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseGPUs("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver\n"); err == nil {
		t.Error("a failure message: got no error")
	}
}

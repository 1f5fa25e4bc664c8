package testkit

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/ort"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
)

// CheckVerdict wants results that are not to be trusted, or trusted ones, or input that is refused, with a reason.
func CheckVerdict(t *testing.T, err error, dir string) {
	t.Helper()
	switch term.ExitCode(err) {
	case term.ExitBadInput:
		return
	case term.ExitDone, term.ExitNotConverged:
	default:
		t.Errorf("exit code %d: %v", term.ExitCode(err), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, rundir.FitJSON))
	if err != nil {
		t.Fatal(err)
	}
	var rec struct{ Status, Reason string }
	if err := json.Unmarshal(text, &rec); err != nil {
		t.Fatal(err)
	}
	if rec.Reason == "" || strings.Contains(rec.Reason, "NaN") || strings.Contains(rec.Reason, "Inf") {
		t.Errorf("status %s, reason %q", rec.Status, rec.Reason)
	}
}

// RunGraph runs the graph in the file on one input of the given shape.
func RunGraph(t *testing.T, path string, in []float32, shape ...int64) map[string][]float32 {
	t.Helper()
	termtest.NeedRuntime(t)
	g, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if g, err = diff.BindInput(g, g.Inputs[0].Name, shape); err != nil {
		t.Fatal(err)
	}
	s, err := ort.Open(g, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	copy(s.Input(g.Inputs[0].Name), in)
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	out := map[string][]float32{}
	for _, v := range g.Outputs {
		out[v.Name] = slices.Clone(s.Output(v.Name))
	}
	return out
}

func Near(t *testing.T, what string, got []float32, want *onnx.Tensor, tol float64) {
	t.Helper()
	if len(got) != want.Size() {
		t.Fatalf("%s: got %d numbers, want %d", what, len(got), want.Size())
	}
	if e := termtest.Relative(func(i int) float64 { return float64(got[i]) }, want); !(e <= tol) {
		t.Errorf("%s: off by %.2g of the largest element, want at most %g", what, e, tol)
	}
}

// SameTensors fails unless each tensor of PyTorch's file came back under its own name, to the bit.
func SameTensors(t *testing.T, torch, back string) {
	t.Helper()
	before, err := tensors.Read(torch)
	if err != nil {
		t.Fatal(err)
	}
	after, err := tensors.Read(back)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]*onnx.Tensor{}
	for _, w := range after {
		at[w.Name] = w.Tensor
	}
	for _, w := range before {
		if strings.HasSuffix(w.Name, "num_batches_tracked") {
			continue
		}
		if got := at[w.Name]; got == nil || !slices.Equal(got.Floats, w.Tensor.Floats) || !slices.Equal(got.Shape, w.Tensor.Shape) {
			t.Errorf("%s: %s did not come back", torch, w.Name)
		}
	}
}

func MustCopy(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Edit replaces text in a file.
func Edit(t *testing.T, path, old, new string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("no %q in %s", old, path)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(old), []byte(new), 1), 0o644); err != nil {
		t.Fatal(err)
	}
}

func MustSum(t *testing.T, path string) string {
	t.Helper()
	sum, err := disk.Sum(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// Forge writes the state of a checkpoint anew, with a sum that is right, after change.
func Forge(t *testing.T, path string, change func(state map[string]any)) {
	t.Helper()
	f, notice, err := rundir.ReadCheckpoint(path)
	if f == nil {
		t.Fatalf("%s: %q, %v", path, notice, err)
	}
	var state map[string]any
	if err := json.Unmarshal(f.State, &state); err != nil {
		t.Fatal(err)
	}
	change(state)
	c := &rundir.Checkpoint{Path: path, Key: f.Key}
	if err := c.Force(state, f.Files...); err != nil {
		t.Fatal(err)
	}
}

// Halve shortens the lists of numbers and of texts in v.
func Halve(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = Halve(v[k])
		}
	case []any:
		if len(v) > 1 {
			if _, list := v[0].(map[string]any); !list {
				return v[:len(v)/2]
			}
		}
		for i := range v {
			v[i] = Halve(v[i])
		}
	}
	return v
}

// ReadNPZ reads every array of an .npz file.
func ReadNPZ(t *testing.T, path string) map[string]*onnx.Tensor {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string]*onnx.Tensor{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		x, err := tensors.DecodeNPY(r, int64(f.UncompressedSize64))
		r.Close()
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		out[strings.TrimSuffix(f.Name, ".npy")] = x
	}
	return out
}

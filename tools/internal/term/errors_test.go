package term

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/adjoint"
	"lenskit/onnx"
	"lenskit/physics"
)

// Messages lose the names of lenskit's packages, and nothing else.
func TestMessagesDoNotNamePackages(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"physics: noise: found sigma 0", "noise: found sigma 0"},
		{"c.yaml: adjoint: model: source.decoder: decoder a.onnx: onnx: differentiate: node 3", "c.yaml: model: source.decoder: decoder a.onnx: differentiate: node 3"},
		{"onnx: load: a.onnx: is truncated", "a.onnx: is truncated"},
		{"adjoint: physics: onnx: read: samplers: x", "x"},
		{"a; samplers: lm: found 2, physics: b (onnx: c)", "a; lm: found 2, b (c)"},
		{"biophysics: x", "biophysics: x"},
		{"my physics: x", "my physics: x"},
		{`found "onnx: load: x"`, `found "onnx: load: x"`},
		{"onnx inspect: unknown flag --a", "onnx inspect: unknown flag --a"},
		{"dir/onnx: no such file", "dir/onnx: no such file"},
		{"", ""},
	} {
		if got := Plain(c.in); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

// Errors of the libraries reach the user without the names of the packages that they come from.
func TestErrorsOfLibrariesAreReportedPlainly(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.onnx")
	if err := os.WriteFile(bad, []byte("this is no model"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, load := onnx.Load(bad)
	_, noise := physics.NewNoise([]float64{1, 2}, []float64{0}, nil)
	_, model := adjoint.New(adjoint.Model{}, adjoint.Observation{W: 2, H: 1, Data: []float64{1, 2}, Sigma: []float64{0}}, adjoint.Options{Threads: 1})
	for _, c := range []struct {
		err  error
		want string
	}{
		{load, "lenskit: c.yaml: " + bad + ": "}, {noise, "lenskit: c.yaml: noise: found sigma 0"}, {model, "lenskit: c.yaml: observation: noise: found sigma 0"},
	} {
		if c.err == nil {
			t.Fatalf("no error, want %s", c.want)
		}
		var b bytes.Buffer
		Report(&b, fmt.Errorf("c.yaml: %w", c.err))
		if got := b.String(); !strings.HasPrefix(got, c.want) || packageNames.MatchString(got) {
			t.Errorf("got %q, want %q and no package", got, c.want)
		}
	}
}

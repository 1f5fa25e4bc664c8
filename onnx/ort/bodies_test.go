package ort

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx/diff"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxtest"
)

// The gradients in bodies.json are central differences of onnxruntime in float64; see bodies.py beside it.
func TestCapturedValuesHaveTheGradientsOfOnnxruntime(t *testing.T) {
	var want struct {
		Z, V     []float64
		Gradient map[string][]float64
	}
	data, err := os.ReadFile(filepath.Join("..", "testdata", "bodies.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Gradient) != 5 {
		t.Fatalf("found %d models, expected 5", len(want.Gradient))
	}
	feed := map[string]*eval.Array{"z": eval.FloatArray(want.Z, 1, 4), "grad_y": eval.FloatArray(want.V, 1, 6)}
	for name, gradient := range want.Gradient {
		t.Run(name, func(t *testing.T) {
			g := graphtest.LoadTestdata(t, "bodies_"+name+".onnx")
			if errs := diff.Unsupported(g, diff.Options{}); len(errs) > 0 {
				t.Errorf("found %v, expected that every node is differentiated", errs)
			}
			vjp, err := diff.VJP(g, diff.Options{})
			if err != nil {
				t.Fatal(err)
			}
			onnxtest.Near(t, evaltest.RunGraph(t, vjp, feed)["grad_z"].F, gradient, 2e-6)

			jac, err := diff.Jacobian(g, diff.Options{Columns: 4})
			if err != nil {
				t.Fatal(err)
			}
			feed["tangent_z"] = eval.FloatArray([]float64{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, 4, 4)
			rows := evaltest.RunGraph(t, jac, feed)["tangent_y"].F
			var got []float64
			for k := range 4 {
				got = append(got, check.Dot(rows[6*k:6*k+6], want.V))
			}
			onnxtest.Near(t, got, gradient, 2e-6)

			// onnxruntime runs the derivative too.
			s, err := Open(vjp, Options{Threads: 1})
			if errors.Is(err, ErrNoLibrary) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for k := range want.Z {
				s.Input("z")[k] = float32(want.Z[k])
			}
			for k := range want.V {
				s.Input("grad_y")[k] = float32(want.V[k])
			}
			if err := s.Run(); err != nil {
				t.Fatal(err)
			}
			got = nil
			for _, v := range s.Output("grad_z") {
				got = append(got, float64(v))
			}
			onnxtest.Near(t, got, gradient, 2e-5)
		})
	}
}

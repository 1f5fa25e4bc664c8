package ort

import (
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/onnxtest"
)

func TestDerivedGraphsInOnnxruntimeMatchPyTorch(t *testing.T) {
	for _, name := range onnxtest.DecoderNames {
		for _, exporter := range []string{"dynamo", "legacy"} {
			t.Run(name+"/"+exporter, func(t *testing.T) {
				ref := evaltest.Npz(t, check.Shared(t, "decoders/"+name+".npz"))
				g, err := onnx.Load(check.Shared(t, "decoders/"+name+"."+exporter+".onnx"))
				if err != nil {
					t.Fatal(err)
				}
				in, out := g.Inputs[0].Name, g.Outputs[0].Name
				if g, err = diff.BindInput(g, in, ref["z"].Shape); err != nil {
					t.Fatal(err)
				}
				near := func(what string, got []float32, want *eval.Array) {
					t.Helper()
					a := eval.FloatArray(nil, want.Shape...)
					for _, v := range got {
						a.F = append(a.F, float64(v))
					}
					// Two float32 programs may fall on different sides of a kink.
					if d := evaltest.ApartBy(t, a, want); !(d < 1e-4) {
						t.Errorf("%s differs by %.3g of its largest", what, d)
					}
				}
				fill := func(s *Session, name string, a *eval.Array) {
					for i, v := range a.F {
						s.Input(name)[i] = float32(v)
					}
				}
				vjp, err := diff.VJP(g, diff.Options{})
				if err != nil {
					t.Fatal(err)
				}
				s := open(t, vjp, Options{Threads: 1})
				fill(s, in, ref["z"])
				fill(s, "grad_"+out, ref["gx"])
				if err := s.Run(); err != nil {
					t.Fatal(err)
				}
				near("output", s.Output(out), ref["x64"])
				near("vjp", s.Output("grad_"+in), ref["gz64"])
				jvp, err := diff.JVP(g, diff.Options{})
				if err != nil {
					t.Fatal(err)
				}
				s = open(t, jvp, Options{Threads: 1})
				fill(s, in, ref["z"])
				fill(s, "tangent_"+in, ref["tz"])
				if err := s.Run(); err != nil {
					t.Fatal(err)
				}
				near("jvp", s.Output("tangent_"+out), ref["jvp64"])
			})
		}
	}
}

package ort

import (
	"math/rand/v2"
	"testing"

	"lenskit/onnx/diff"
	"lenskit/onnx/internal/graphtest"
)

func TestTrainingGraphRunsInOnnxruntime(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	g := graphtest.Regression(rng)
	d, err := diff.Train(g, diff.TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, d, Options{Threads: 1})
	copy(s.Input("w"), g.Init["w"].Floats)
	copy(s.Input("b"), g.Init["b"].Floats)
	for i := range s.Input("x") {
		s.Input("x")[i] = float32(rng.NormFloat64())
	}
	s.Input("learning_rate")[0] = 0.02
	state := []string{"w", "b", "m_w", "m_b", "v_w", "v_b", "step"}
	var first, last float32
	for k := range 200 {
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		if last = s.Output("loss")[0]; k == 0 {
			first = last
		}
		for _, name := range state {
			copy(s.Input(name), s.Output("new_"+name))
		}
	}
	if s.Input("step")[0] != 200 || !(last < 0.01*first) {
		t.Errorf("after %g steps: got loss %g from %g, want less than a hundredth", s.Input("step")[0], last, first)
	}
}

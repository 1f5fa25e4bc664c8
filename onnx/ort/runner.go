package ort

import (
	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/eval"
)

// SessionRunner is a Runner of onnxruntime, for graphs of float32 inputs.
func SessionRunner(opt Options) diff.Runner {
	return func(g *onnx.Graph, in map[string]*eval.Array) (map[string]*eval.Array, error) {
		s, err := Open(g, opt)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		for name, a := range in {
			if err := s.SetInput(name, a.Tensor()); err != nil {
				return nil, err
			}
		}
		if err := s.Run(); err != nil {
			return nil, err
		}
		out := map[string]*eval.Array{}
		for _, v := range g.Outputs {
			t, err := s.OutputTensor(v.Name)
			if err != nil {
				return nil, err
			}
			if out[v.Name], err = eval.ArrayOf(t); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
}

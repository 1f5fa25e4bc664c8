package ort

import (
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/internal/onnxtest"
)

// RoiAlign of set 10 begins at the corner of the region; onnxruntime 1.32 gives 3.75 5.25 9.75 11.25 for the file as it is
// and 1.5625 3 7.3125 8.75 for the same node in set 16.
func TestRoiAlignOfSet10KeepsItsCoordinates(t *testing.T) {
	needLibrary(t)
	g := &onnx.Graph{
		Opset:   map[string]int{"": 10},
		Init:    map[string]*onnx.Tensor{"r": onnx.FloatTensor([]float32{0, 0, 3, 3}, 1, 4), "b": onnx.IntTensor([]int64{0}, 1)},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}, {N: 1}, {N: 4}, {N: 4}}}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}, {N: 1}, {N: 2}, {N: 2}}}},
		Nodes: []*onnx.Node{{Op: "RoiAlign", In: []string{"x", "r", "b"}, Out: []string{"y"},
			Attr: map[string]onnx.Attr{"output_height": onnx.IntAttr(2), "output_width": onnx.IntAttr(2), "sampling_ratio": onnx.IntAttr(2)}}},
	}
	g, err := g.Upgrade(18)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(g, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range s.Input("x") {
		s.Input("x")[i] = float32(i)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	var got []float64
	for _, v := range s.Output("y") {
		got = append(got, float64(v))
	}
	onnxtest.Near(t, got, []float64{3.75, 5.25, 9.75, 11.25}, 1e-6)
}

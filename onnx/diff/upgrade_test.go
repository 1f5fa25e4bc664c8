package diff

import (
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/onnxtest"
)

// Values of onnxruntime 1.32 in float64 (value and central differences), for two groups of two channels with a scale and
// a bias by group, as operator set 18 has them.
func TestGroupNormalizationOfSet18ScalesGroups(t *testing.T) {
	for opset := 18; opset <= 20; opset++ {
		g := &onnx.Graph{
			Opset:   map[string]int{"": opset},
			Init:    map[string]*onnx.Tensor{"s": {Type: onnx.Float64, Shape: []int64{2}, Doubles: []float64{1.5, -2}}, "b": {Type: onnx.Float64, Shape: []int64{2}, Doubles: []float64{0.1, 0.2}}},
			Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float64, Shape: []onnx.Dim{{N: 1}, {N: 4}, {N: 2}}}},
			Outputs: []onnx.Value{{Name: "y", Type: onnx.Float64}},
			Nodes:   []*onnx.Node{{Op: "GroupNormalization", In: []string{"x", "s", "b"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{"num_groups": onnx.IntAttr(2)}}},
		}
		single := &onnx.Graph{Opset: g.Opset, Init: map[string]*onnx.Tensor{"s": onnx.FloatTensor([]float32{1.5, -2}, 2), "b": onnx.FloatTensor([]float32{0.1, 0.2}, 2)},
			Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: g.Inputs[0].Shape}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32}}, Nodes: g.Nodes}
		if err := checker.Graph(g); err != nil {
			t.Fatal(err)
		}
		x := eval.FloatArray([]float64{1, -2, 0.5, 3, -1, 0.25, 2, 1}, 1, 4, 2)
		onnxtest.Near(t, evaltest.Run(t, g, x), []float64{0.4158375849829682, -2.1108630948807776, -0.00527919499432275, 2.100304704892132,
			3.0536388297940276, 0.7707277659588054, -2.4253477234105048, -0.5990188723423275}, 1e-12)
		vjp, err := VJP(single, Options{Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		grad := evaltest.RunGraph(t, vjp, map[string]*eval.Array{"x": x, "grad_y": eval.FloatArray([]float64{1, 2, 3, 4, 5, 6, 7, 8}, 1, 4, 2)})["grad_x"]
		onnxtest.Near(t, grad.F, []float64{-1.3691478180806922, 0.31946556720970537, 0.45638260602813097, 0.5932996448761625,
			0.4342928580551112, 0.45212434181725786, 1.2076199594387067, -2.0940371594591056}, 2e-6)
	}
	later := &onnx.Graph{
		Opset: map[string]int{"": 17}, Init: map[string]*onnx.Tensor{"s": onnx.FloatTensor([]float32{1}, 1)}, Inputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1}, {N: 1}, {N: 2}}}}, Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32}},
		Nodes: []*onnx.Node{{Op: "GroupNormalization", In: []string{"x", "s", "s"}, Out: []string{"y"}, Attr: map[string]onnx.Attr{"num_groups": onnx.IntAttr(1)}}},
	}
	if err := checker.Graph(later); err == nil || !strings.Contains(err.Error(), "expected 18 or later") {
		t.Errorf("found %v, expected an error for operator set 17", err)
	}
}

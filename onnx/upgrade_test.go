package onnx

import (
	"strings"
	"testing"
)

// Values of onnxruntime 1.32 in float64 (value and central differences), for two groups of two channels with a scale and
// a bias by group, as operator set 18 has them.
func TestGroupNormalizationOfSet18ScalesGroups(t *testing.T) {
	for opset := 18; opset <= 20; opset++ {
		g := &Graph{
			Opset:   map[string]int{"": opset},
			Init:    map[string]*Tensor{"s": {Type: Float64, Shape: []int64{2}, Doubles: []float64{1.5, -2}}, "b": {Type: Float64, Shape: []int64{2}, Doubles: []float64{0.1, 0.2}}},
			Inputs:  []Value{{"x", Float64, []Dim{{N: 1}, {N: 4}, {N: 2}}}},
			Outputs: []Value{{Name: "y", Type: Float64}},
			Nodes:   []*Node{{Op: "GroupNormalization", In: []string{"x", "s", "b"}, Out: []string{"y"}, Attr: map[string]Attr{"num_groups": IntAttr(2)}}},
		}
		single := &Graph{Opset: g.Opset, Init: map[string]*Tensor{"s": FloatTensor([]float32{1.5, -2}, 2), "b": FloatTensor([]float32{0.1, 0.2}, 2)},
			Inputs: []Value{{"x", Float32, g.Inputs[0].Shape}}, Outputs: []Value{{Name: "y", Type: Float32}}, Nodes: g.Nodes}
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		x := FloatArray([]float64{1, -2, 0.5, 3, -1, 0.25, 2, 1}, 1, 4, 2)
		near(t, run(t, g, x), []float64{0.4158375849829682, -2.1108630948807776, -0.00527919499432275, 2.100304704892132,
			3.0536388297940276, 0.7707277659588054, -2.4253477234105048, -0.5990188723423275}, 1e-12)
		vjp, err := VJP(single, DiffOptions{Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		grad := runGraph(t, vjp, map[string]*Array{"x": x, "grad_y": FloatArray([]float64{1, 2, 3, 4, 5, 6, 7, 8}, 1, 4, 2)})["grad_x"]
		near(t, grad.F, []float64{-1.3691478180806922, 0.31946556720970537, 0.45638260602813097, 0.5932996448761625,
			0.4342928580551112, 0.45212434181725786, 1.2076199594387067, -2.0940371594591056}, 2e-6)
	}
	later := &Graph{
		Opset: map[string]int{"": 17}, Init: map[string]*Tensor{"s": FloatTensor([]float32{1}, 1)}, Inputs: []Value{{"x", Float32, []Dim{{N: 1}, {N: 1}, {N: 2}}}}, Outputs: []Value{{Name: "y", Type: Float32}},
		Nodes: []*Node{{Op: "GroupNormalization", In: []string{"x", "s", "s"}, Out: []string{"y"}, Attr: map[string]Attr{"num_groups": IntAttr(1)}}},
	}
	if err := later.Check(); err == nil || !strings.Contains(err.Error(), "expected 18 or later") {
		t.Errorf("found %v, expected an error for operator set 17", err)
	}
}

// RoiAlign of set 10 begins at the corner of the region; onnxruntime 1.32 gives 3.75 5.25 9.75 11.25 for the file as it is
// and 1.5625 3 7.3125 8.75 for the same node in set 16.
func TestRoiAlignOfSet10KeepsItsCoordinates(t *testing.T) {
	needLibrary(t)
	g := &Graph{
		Opset:   map[string]int{"": 10},
		Init:    map[string]*Tensor{"r": FloatTensor([]float32{0, 0, 3, 3}, 1, 4), "b": IntTensor([]int64{0}, 1)},
		Inputs:  []Value{{"x", Float32, []Dim{{N: 1}, {N: 1}, {N: 4}, {N: 4}}}},
		Outputs: []Value{{"y", Float32, []Dim{{N: 1}, {N: 1}, {N: 2}, {N: 2}}}},
		Nodes: []*Node{{Op: "RoiAlign", In: []string{"x", "r", "b"}, Out: []string{"y"},
			Attr: map[string]Attr{"output_height": IntAttr(2), "output_width": IntAttr(2), "sampling_ratio": IntAttr(2)}}},
	}
	g, err := g.Upgrade(18)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(g, SessionOptions{Threads: 1})
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
	near(t, got, []float64{3.75, 5.25, 9.75, 11.25}, 1e-6)
}

// Names of modes and places of operands that changed in set 20, and the form of Scan that no later set has.
func TestFormsOfSet20(t *testing.T) {
	of := func(n *Node, opset int) (*Node, error) {
		g := &Graph{Opset: map[string]int{"": opset}, Inputs: []Value{{"x", Float32, []Dim{{N: 1}, {N: 2}, {N: 3}, {N: 3}}}, {"p", Float32, []Dim{{N: 1}, {N: 2}, {N: 2}, {N: 2}}}},
			Outputs: []Value{{Name: "y", Type: Float32}}, Nodes: []*Node{n}}
		h, err := g.Upgrade(20)
		if err != nil {
			return nil, err
		}
		if err := h.Check(); err != nil {
			return nil, err
		}
		return h.Nodes[0], nil
	}
	n, err := of(&Node{Op: "GridSample", In: []string{"x", "p"}, Out: []string{"y"}, Attr: map[string]Attr{"mode": StringAttr("bicubic")}}, 16)
	if err != nil || n.Str("mode", "") != "cubic" {
		t.Errorf("found %v, %v, expected the mode cubic", n, err)
	}
	n, err = of(&Node{Op: "DFT", In: []string{"x"}, Out: []string{"y"}, Attr: map[string]Attr{"axis": IntAttr(2)}}, 17)
	if err != nil || len(n.In) != 3 || n.In[1] != "" || n.Attr["axis"].Kind != 0 {
		t.Errorf("found %v, %v, expected the axis as an operand", n, err)
	}
	body := &Graph{Inputs: []Value{{Name: "v", Type: Float32}}, Nodes: []*Node{{Op: "Neg", In: []string{"v"}, Out: []string{"w"}}}, Outputs: []Value{{Name: "w", Type: Float32}}}
	if _, err = of(&Node{Op: "Scan", In: []string{"", "x"}, Out: []string{"y"}, Attr: map[string]Attr{"num_scan_inputs": IntAttr(1), "body": {Kind: AttrGraph, Graph: body}}}, 8); err == nil {
		t.Error("Scan of operator set 8 was taken for that of set 9")
	}
}

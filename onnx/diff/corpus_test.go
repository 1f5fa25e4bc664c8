package diff

import (
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/internal/onnxtest"
)

func TestDecoderShapesResolveWithADynamicBatch(t *testing.T) {
	for _, path := range onnxtest.Decoders(t) {
		g, err := onnx.Load(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := g.Infer(); err != nil {
			t.Error(err)
			continue
		}
		out := g.Outputs[0].Shape
		if len(out) != 4 || out[0] != (onnx.Dim{N: 1, Sym: "batch"}) || out[1] != onnx.Fixed(1) || !out[2].Known() || !out[3].Known() {
			t.Errorf("%s: output %v, expected [batch 1 H W]", path, out)
		}
		for _, n := range g.Nodes {
			for _, s := range n.Out {
				for _, d := range g.Info[s].Shape {
					if !d.Known() && d.Sym != "batch" {
						t.Errorf("%s: node %q (%s): shape %v of %q", path, n.Name, n.Op, g.Info[s].Shape, s)
					}
				}
				if g.Info[s].Shape == nil || g.Info[s].Type == onnx.Undefined {
					t.Errorf("%s: node %q (%s): nothing known of %q", path, n.Name, n.Op, s)
				}
			}
		}
		h, err := BindInput(g, "z", []int64{3, g.Inputs[0].Shape[1].N})
		if err != nil {
			t.Error(err)
		} else if h.Outputs[0].Shape[0] != onnx.Fixed(3) || g.Outputs[0].Shape[0] != (onnx.Dim{N: 1, Sym: "batch"}) {
			t.Errorf("%s: output of a batch of 3: %v", path, h.Outputs[0].Shape)
		}
		if _, err := BindInput(g, "z", []int64{3, 5}); err == nil {
			t.Errorf("%s: a wrong input shape was taken", path)
		}
	}
}

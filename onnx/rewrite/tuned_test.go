package rewrite

import (
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/graphtest"
)

// sameTuned holds what g computes as sessions take it against what it computes as it is; direct tells whether its
// convolution is to be left alone.
func sameTuned(t *testing.T, g *onnx.Graph, op string, direct bool) *onnx.Graph {
	t.Helper()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	h, err := Tuned(g)
	if err != nil {
		t.Fatal(err)
	}
	if left := graphtest.CountOps(h, op) == 1; left != direct {
		t.Fatalf("left as it is: %v, expected %v", left, direct)
	}
	if err := checker.Graph(h); err != nil {
		t.Fatal(err)
	}
	evaltest.SameResults(t, g, h, 1e-12)
	return h
}

func TestSmallImagesAreTheConvolution(t *testing.T) {
	for _, c := range []struct {
		name         string
		op           string
		n, ci, co    int64
		h, w         int64
		attr         map[string]onnx.Attr
		direct, bare bool // left as it is; without bias
	}{
		{name: "halving", op: "Conv", n: 1, ci: 128, co: 512, h: 8, w: 8, attr: geometry(4, 2, 1, 1, 1, 1)},
		{name: "halving without bias", op: "Conv", n: 1, ci: 128, co: 512, h: 8, w: 8, attr: geometry(4, 2, 1, 1, 1, 1), bare: true},
		{name: "doubling", op: "ConvTranspose", n: 1, ci: 512, co: 128, h: 4, w: 4, attr: geometry(4, 2, 1, 1, 1, 1)},
		{name: "doubling without bias", op: "ConvTranspose", n: 1, ci: 512, co: 128, h: 4, w: 4, attr: geometry(4, 2, 1, 1, 1, 1), bare: true},
		{name: "a few images", op: "Conv", n: 3, ci: 130, co: 520, h: 7, w: 8, attr: geometry(4, 2, 1, 1, 1, 1)},
		{name: "a few images up", op: "ConvTranspose", n: 3, ci: 520, co: 130, h: 4, w: 3, attr: geometry(4, 2, 1, 0, 1, 1)},
		{name: "dilated", op: "Conv", n: 1, ci: 240, co: 500, h: 4, w: 4, attr: with(geometry(3, 1, 2, 2, 2, 2), "dilations", 2, 2)},
		{name: "dilated up", op: "ConvTranspose", n: 1, ci: 500, co: 240, h: 3, w: 3, attr: with(geometry(3, 1, 1, 1, 1, 1), "dilations", 2, 2)},
		{name: "with output_padding", op: "ConvTranspose", n: 1, ci: 512, co: 250, h: 4, w: 3, attr: with(geometry(3, 2, 1, 1, 1, 1), "output_padding", 1, 1)},
		{name: "stride above the kernel", op: "Conv", n: 1, ci: 520, co: 520, h: 8, w: 8, attr: geometry(2, 3, 0, 0, 0, 0)},
		{name: "two strides, pads on one side", op: "Conv", n: 1, ci: 190, co: 512, h: 5, w: 6, attr: map[string]onnx.Attr{"kernel_shape": onnx.IntsAttr(3, 4), "strides": onnx.IntsAttr(1, 2), "pads": onnx.IntsAttr(0, 1, 1, 0)}},
		{name: "few weights", op: "Conv", n: 1, ci: 64, co: 512, h: 8, w: 8, attr: geometry(4, 2, 1, 1, 1, 1), direct: true},
		{name: "many pixels", op: "Conv", n: 1, ci: 256, co: 1024, h: 10, w: 10, attr: geometry(4, 2, 1, 1, 1, 1), direct: true},
		{name: "few channels", op: "Conv", n: 1, ci: 320, co: 448, h: 8, w: 8, attr: geometry(4, 2, 1, 1, 1, 1), direct: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graphtest.ConvGraph(c.op, c.ci, c.co, c.h, c.w, c.attr)
			g.Inputs[0].Shape[0].N = c.n
			if c.bare {
				g.Nodes[0].In = g.Nodes[0].In[:2]
			}
			sameTuned(t, g, c.op, c.direct)
		})
	}
}

func TestPhasesAreTheTransposedConvolution(t *testing.T) {
	for _, c := range []struct {
		name       string
		n, ci, co  int64
		h, w       int64
		attr       map[string]onnx.Attr
		bare, relu bool
		direct     bool // left as it is
	}{
		{name: "kernel 4", n: 1, ci: 32, co: 24, h: 5, w: 8, attr: geometry(4, 2, 1, 1, 1, 1)},
		{name: "kernel 4 without bias", n: 1, ci: 32, co: 24, h: 5, w: 8, attr: geometry(4, 2, 1, 1, 1, 1), bare: true},
		{name: "before a Relu", n: 3, ci: 32, co: 24, h: 8, w: 7, attr: geometry(4, 2, 1, 1, 1, 1), relu: true},
		{name: "kernel 3 with output_padding", n: 2, ci: 16, co: 16, h: 6, w: 9, attr: with(geometry(3, 2, 1, 1, 1, 1), "output_padding", 1, 1)},
		{name: "kernel 2", n: 1, ci: 16, co: 20, h: 4, w: 4, attr: geometry(2, 2, 0, 0, 0, 0)},
		{name: "kernel 6", n: 1, ci: 16, co: 16, h: 6, w: 6, attr: geometry(6, 2, 2, 2, 2, 2), relu: true},
		{name: "two kernels", n: 1, ci: 16, co: 16, h: 6, w: 6, attr: with(geometry(4, 2, 1, 2, 1, 2), "kernel_shape", 4, 6)},
		{name: "pads on one side", n: 1, ci: 16, co: 16, h: 6, w: 6, attr: geometry(4, 2, 0, 2, 2, 0)},
		{name: "pads beyond the taps", n: 1, ci: 16, co: 16, h: 6, w: 6, attr: geometry(2, 2, 1, 1, -1, -1), direct: true},
		{name: "one tap for two parities", n: 1, ci: 16, co: 16, h: 6, w: 6, attr: with(geometry(1, 2, 0, 0, 0, 0), "output_padding", 1, 1), direct: true},
		{name: "not doubling", n: 1, ci: 16, co: 16, h: 6, w: 6, attr: geometry(3, 2, 1, 1, 1, 1), direct: true},
		{name: "stride 1", n: 1, ci: 16, co: 16, h: 6, w: 6, attr: with(geometry(3, 2, 1, 1, 1, 1), "strides", 1, 1), direct: true},
		{name: "dilated", n: 1, ci: 16, co: 16, h: 6, w: 6, attr: with(with(geometry(3, 2, 2, 2, 2, 2), "dilations", 2, 2), "output_padding", 1, 1), direct: true},
		{name: "one channel", n: 1, ci: 64, co: 1, h: 6, w: 6, attr: geometry(4, 2, 1, 1, 1, 1), direct: true},
		{name: "wide images of few channels", n: 1, ci: 16, co: 16, h: 4, w: 34, attr: geometry(4, 2, 1, 1, 1, 1), direct: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graphtest.ConvGraph("ConvTranspose", c.ci, c.co, c.h, c.w, c.attr)
			g.Inputs[0].Shape[0].N = c.n
			if c.bare {
				g.Nodes[0].In = g.Nodes[0].In[:2]
			}
			if c.relu {
				first := g.Outputs[0].Name
				g.Outputs = nil
				b := onnx.NewBuilder(g, "")
				b.Output(b.Op("Relu", first))
			}
			h := sameTuned(t, g, "ConvTranspose", c.direct)
			if want := 4; c.relu && graphtest.CountOps(h, "Relu") != want {
				t.Errorf("%d Relus, expected %d, one for each phase", graphtest.CountOps(h, "Relu"), want)
			}
		})
	}
}

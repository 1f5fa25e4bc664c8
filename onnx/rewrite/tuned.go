package rewrite

import (
	"math"
	"slices"

	"lenskit/onnx"
)

// Tuned returns g as onnxruntime is faster at on the CPU; see winograd.go, smallimage.go, phases.go and docs/decisions.
// Results differ by rounding.
func Tuned(g *onnx.Graph) (*onnx.Graph, error) {
	g, err := Winograd(g)
	if err != nil {
		return nil, err
	}
	h, fired, err := rewritten(g, []rewriteRow{
		{"convolution of a small image", []string{"Conv", "ConvTranspose"}, smallImageConv},
		{"transposed convolution by phases", []string{"ConvTranspose", "Relu"}, phaseConv},
		{"sign as a number", []string{"Cast"}, signAsSlope},
	})
	if err != nil || !fired {
		return g, err
	}
	outputNames(h)
	return h, h.Infer()
}

// signAsSlope writes x > 0 as 0 or 1, the derivative of a Relu, as one operator: a HardSigmoid so steep that it is either.
func signAsSlope(f *folder, n *onnx.Node) bool {
	p := f.before(n, 0, "Greater")
	if p == nil || n.Int("to", 0) != int64(onnx.Float32) || f.Type(p.In[0]) != onnx.Float32 {
		return false
	}
	if zero, ok := f.scalar(p, 1); !ok || zero != 0 || len(f.Shape(p.In[1])) > len(f.Shape(p.In[0])) {
		return false
	}
	f.Make(n.Out[0], "HardSigmoid", onnx.Attrs("alpha", math.MaxFloat32, "beta", 0.0), p.In[0])
	return true
}

// constConv is a Conv or ConvTranspose of images with constant weights, without groups.
type constConv struct {
	up                             bool    // ConvTranspose
	x, y                           []int64 // shapes of operand and result, [N, C, H, W]
	kernel, stride, dilation, pads []int64
}

// readConv reads the geometry of n, or returns nil where it is another or not known.
func readConv(f *folder, n *onnx.Node) *constConv {
	w := f.weights(n, 1)
	if w == nil || w.Type != onnx.Float32 || len(w.Shape) != 4 || n.Int("group", 1) != 1 || !only(n) ||
		n.Str("auto_pad", "NOTSET") != "NOTSET" || len(n.Ints("output_shape")) != 0 {
		return nil
	}
	made := f.inferred(n)
	if made == nil {
		return nil
	}
	x, ok := onnx.Known(f.Shape(n.In[0]))
	y, ok2 := onnx.Known(made.Out[0].Shape)
	if !ok || !ok2 || len(x) != 4 || len(y) != 4 || slices.Min(slices.Concat(x, y)) < 1 {
		return nil
	}
	perAxis := func(name string, count int, missing int64) []int64 {
		if v := n.Ints(name); len(v) > 0 {
			return v
		}
		return slices.Repeat([]int64{missing}, count)
	}
	c := &constConv{
		up: n.Op == "ConvTranspose", x: x, y: y, kernel: w.Shape[2:],
		stride: perAxis("strides", 2, 1), dilation: perAxis("dilations", 2, 1), pads: perAxis("pads", 4, 0),
	}
	if len(c.stride) != 2 || len(c.dilation) != 2 || len(c.pads) != 4 {
		return nil
	}
	for _, v := range slices.Concat(c.stride, c.dilation, c.pads) {
		if v < -maxTileExtent || v > maxTileExtent {
			return nil
		}
	}
	return c
}

package onnx

import (
	"maps"
	"slices"
)

// Portable writes nodes that runtimes read differently, or not at all, in a form on which they agree. f knows the
// shapes of g. Nothing is changed where these do not tell enough.
func Portable(g *Graph, f *Inferer, n *Node) {
	switch {
	case n.Op == "Resize" && n.Domain == "" && n.InName(2) != "":
		sizesForScales(g, f, n)
	case sameAndDilated(n):
		explicitPads(f, n)
	}
}

func cornersByScales(n *Node) bool {
	return n.Op == "Resize" && n.Domain == "" && n.InName(2) != "" && n.Str("coordinate_transformation_mode", "half_pixel") == "align_corners"
}

func sameAndDilated(n *Node) bool {
	auto := n.Str("auto_pad", "NOTSET")
	return n.Op == "Conv" && n.Domain == "" && (auto == "SAME_UPPER" || auto == "SAME_LOWER") &&
		slices.ContainsFunc(n.Ints("dilations"), func(d int64) bool { return d > 1 })
}

// portable does so for every node. Scales with aligned corners are left alone unless a program wrote the file that
// means them as onnxruntime does.
func (g *Graph) portable(corners bool) {
	odd := func(n *Node) bool { return corners && cornersByScales(n) || sameAndDilated(n) }
	if !slices.ContainsFunc(g.Nodes, odd) {
		return
	}
	f, err := g.Shallow().Inferred()
	if err != nil {
		return // the reader's caller will meet the error where it matters
	}
	for _, n := range g.Nodes {
		if odd(n) {
			Portable(g, f, n)
		}
	}
}

// sizesForScales gives a Resize the sizes of its result in place of scales.
//
// Where corners are aligned, the standard's reference maps element o to o·(in-1)/(in·scale-1), whether the product is
// whole or not; PyTorch, whose exporters write such scales, and onnxruntime map it to o·(in-1)/(out-1). With sizes all of
// them mean the latter. Otherwise it is done where in·scale is whole in float32, as onnxruntime multiplies, and just
// below that in float64, as onnx's shape inference does: 10·0.7.
func sizesForScales(g *Graph, f *Inferer, n *Node) {
	x, scales := f.shape(n.InName(0)), g.Init[n.InName(2)]
	if scales == nil || scales.Floats == nil || x == nil || g.Opset[""] < 18 {
		return
	}
	axes, err := NormAxes(n.Ints("axes"), len(x))
	y := f.shape(n.Out[0])
	if err != nil || len(y) != len(x) {
		return
	}
	if len(axes) == 0 {
		for i := range x {
			axes = append(axes, i)
		}
	}
	if scales.Size() != len(axes) {
		return
	}
	corners := cornersByScales(n)
	var kept, sizes []int64
	below := false
	for i, a := range axes {
		if scales.Floats[i] == 1 {
			continue
		}
		if !y[a].Known() || !x[a].Known() {
			return
		}
		s := scales.Floats[i]
		if !corners && float32(x[a].N)*s != float32(y[a].N) {
			return
		}
		below = below || float64(x[a].N)*float64(s) < float64(y[a].N)
		kept, sizes = append(kept, int64(a)), append(sizes, y[a].N)
	}
	if kept == nil || !corners && !below {
		return
	}
	name := n.Out[0] + "_sizes"
	for g.Init[name] != nil || f.Value(name).Type != Undefined {
		name += "_"
	}
	g.Init[name] = IntTensor(sizes, int64(len(sizes)))
	n.Attr = maps.Clone(n.Attr)
	n.Attr["axes"] = IntsAttr(kept...)
	n.In = []string{n.In[0], "", "", name}
}

// explicitPads writes the pads of a dilated convolution whose result is to have the extents of its operand, divided by
// the strides; onnxruntime refuses auto_pad with dilations, which PyTorch writes for padding='same'.
func explicitPads(f *Inferer, n *Node) {
	x, w := f.shape(n.InName(0)), f.shape(n.InName(1))
	if len(x) < 3 || len(w) != len(x) {
		return
	}
	spatial := len(x) - 2
	stride, dilation := n.Ints("strides"), n.Ints("dilations")
	if stride == nil {
		stride = slices.Repeat([]int64{1}, spatial)
	}
	if len(stride) != spatial || len(dilation) != spatial {
		return
	}
	pads := make([]int64, 2*spatial)
	for i := range spatial {
		d := x[2+i]
		if !w[2+i].Known() || stride[i] != 1 && !d.Known() || stride[i] < 1 {
			return
		}
		total := dilation[i] * (w[2+i].N - 1)
		if stride[i] != 1 {
			total = max(0, total+1+(d.N-1)/stride[i]*stride[i]-d.N)
		}
		pads[i], pads[spatial+i] = total/2, total-total/2
		if n.Str("auto_pad", "") == "SAME_LOWER" {
			pads[i], pads[spatial+i] = pads[spatial+i], pads[i]
		}
	}
	n.Attr = maps.Clone(n.Attr)
	delete(n.Attr, "auto_pad")
	n.Attr["pads"] = IntsAttr(pads...)
}

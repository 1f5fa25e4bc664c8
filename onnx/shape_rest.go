package onnx

import (
	"slices"
)

// The operators that lenskit neither evaluates nor differentiates, but onnxruntime runs: the sizes of their results are
// inferred so that what a graph takes can be told.

func init() {
	for op, f := range map[string]shapeFunc{
		"CumProd": likeFirst, "TensorScatter": likeFirst, "StringNormalizer": stringNormalizerShape,
		"RegexFullMatch": boolLikeFirst, "StringConcat": broadcastShape,
		"RoiAlign": regionShape, "MaxRoiPool": regionShape, "MaxUnpool": maxUnpoolShape, "CenterCropPad": centerCropPadShape,
		"DeformConv": convShape, "Det": detShape, "NonMaxSuppression": nonMaxShape, "Unique": uniqueShape,
		"MatMulInteger": matMulShape, "QLinearMatMul": matMulShape, "ConvInteger": convShape, "QLinearConv": convShape,
		"DynamicQuantizeLinear": dynamicQuantizeShape,
		"RNN":                   recurrentShape, "GRU": recurrentShape, "LSTM": recurrentShape,
		"NegativeLogLikelihoodLoss": lossShape, "SoftmaxCrossEntropyLoss": lossShape,
		"BlackmanWindow": windowShape, "HammingWindow": windowShape, "HannWindow": windowShape,
		"MelWeightMatrix": melShape, "DFT": dftShape, "STFT": stftShape, "Multinomial": multinomialShape,
		"SequenceLength": sizeShape, "OptionalHasElement": hasElementShape,
	} {
		ShapeTable[op] = f
	}
}

// typeAttr is the element type that an attribute names.
func (c *ShapeCall) typeAttr(name string, def DType) DType { return DType(c.N.Int(name, int64(def))) }

// number is the one number that operand i holds.
func (c *ShapeCall) number(i int) Dim {
	if e, ok := c.elems(i); ok && len(e) == 1 {
		return e[0]
	}
	return c.Fresh("")
}

// regionShape: a window of fixed size for each region.
func regionShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x, rois := c.arg(0), c.arg(1)
	c.set(0, c.argType(0), nil)
	if len(x) != 4 || len(rois) != 2 {
		return nil
	}
	h, w := c.N.Int("output_height", 1), c.N.Int("output_width", 1)
	if c.N.Op == "MaxRoiPool" {
		p := c.N.Ints("pooled_shape")
		if len(p) != 2 {
			return nil
		}
		h, w = p[0], p[1]
	}
	c.set(0, c.argType(0), []Dim{rois[0], x[1], Fixed(h), Fixed(w)})
	return nil
}

func maxUnpoolShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x := slices.Clone(c.arg(0))
	c.set(0, c.argType(0), nil)
	if c.has(2) {
		c.set(0, c.argType(0), c.target(2))
		return nil
	}
	if len(x) < 3 {
		return nil
	}
	win, err := c.newShapeWindow(len(x)-2, nil)
	if err != nil {
		return err
	}
	for i := range win.kernel {
		x[i+2] = c.Affine(x[i+2], win.stride[i], -win.stride[i], 1, win.kernel[i]-win.begin[i]-win.end[i])
	}
	c.set(0, c.argType(0), x)
	return nil
}

func centerCropPadShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x := slices.Clone(c.arg(0))
	c.set(0, c.argType(0), nil)
	to := c.target(1)
	if x == nil || to == nil {
		return nil
	}
	var axes []int
	if a, ok := c.N.Attr["axes"]; ok {
		var err error
		if axes, err = NormAxes(a.Ints, len(x)); err != nil {
			return err
		}
	} else {
		for i := range x {
			axes = append(axes, i)
		}
	}
	if len(axes) != len(to) {
		return nil
	}
	for i, a := range axes {
		x[a] = to[i]
	}
	c.set(0, c.argType(0), x)
	return nil
}

func detShape(c *ShapeCall) error {
	if x := c.arg(0); len(x) >= 2 {
		c.set(0, c.argType(0), slices.Clone(x[:len(x)-2]))
	} else {
		c.set(0, c.argType(0), nil)
	}
	return nil
}

func nonMaxShape(c *ShapeCall) error {
	c.set(0, Int64, []Dim{c.Fresh(""), Fixed(3)})
	return nil
}

// uniqueShape: the values, where each comes first, which one each element is, and how often each is there.
func uniqueShape(c *ShapeCall) error {
	x := slices.Clone(c.arg(0))
	c.set(0, c.argType(0), nil)
	found := []Dim{c.Fresh("")}
	c.set(1, Int64, found)
	c.set(2, Int64, []Dim{c.Fresh("")})
	c.set(3, Int64, found)
	if x == nil {
		return nil
	}
	a, ok := c.N.Attr["axis"]
	if !ok {
		c.set(0, c.argType(0), found)
		c.set(2, Int64, []Dim{c.Size(x)})
		return nil
	}
	k, err := NormAxis(a.Int, len(x))
	if err != nil {
		return err
	}
	c.set(2, Int64, []Dim{x[k]})
	x[k] = found[0]
	c.set(0, c.argType(0), x)
	return nil
}

func stringNormalizerShape(c *ShapeCall) error {
	x := slices.Clone(c.arg(0))
	if len(x) > 0 {
		x[len(x)-1] = c.Fresh("") // words may be left out
	}
	c.set(0, String, x)
	return nil
}

func dynamicQuantizeShape(c *ShapeCall) error {
	c.set(0, Uint8, c.arg(0))
	c.set(1, Float32, []Dim{})
	c.set(2, Uint8, []Dim{})
	return nil
}

// recurrentShape: the states of all times, then the last ones.
func recurrentShape(c *ShapeCall) error {
	if err := c.need(3); err != nil {
		return err
	}
	x, w, r := c.arg(0), c.arg(1), c.arg(2)
	for i := range c.Out {
		c.set(i, c.argType(0), nil)
	}
	if len(x) != 3 || len(w) != 3 || len(r) != 3 {
		return nil
	}
	for i := range c.Out {
		s := []Dim{w[0], x[1], r[2]}
		if c.N.Int("layout", 0) != 0 {
			s = []Dim{x[0], w[0], r[2]}
			if i == 0 {
				s = slices.Insert(s, 1, x[1])
			}
		} else if i == 0 {
			s = slices.Insert(s, 0, x[0])
		}
		c.set(i, c.argType(0), s)
	}
	return nil
}

func lossShape(c *ShapeCall) error {
	c.set(0, c.argType(0), []Dim{})
	if c.N.Str("reduction", "mean") == "none" {
		c.set(0, c.argType(0), c.arg(1))
	}
	c.set(1, c.argType(0), c.arg(0))
	return nil
}

func windowShape(c *ShapeCall) error {
	c.set(0, c.typeAttr("output_datatype", Float32), []Dim{c.number(0)})
	return nil
}

func melShape(c *ShapeCall) error {
	c.set(0, c.typeAttr("output_datatype", Float32), []Dim{c.Affine(c.number(1), 1, 0, 2, 1), c.number(0)})
	return nil
}

func dftShape(c *ShapeCall) error {
	x := slices.Clone(c.arg(0))
	c.set(0, c.argType(0), nil)
	axis := c.N.Int("axis", 1)
	if c.G.Opset[""] >= 20 {
		var ok bool
		if axis, ok = c.scalarInt(2); !ok {
			if c.has(2) {
				return nil
			}
			axis = -2
		}
	}
	half := c.N.Int("onesided", 0) != 0
	if len(x) < 2 || half && c.N.Int("inverse", 0) != 0 {
		return nil
	}
	a, err := NormAxis(axis, len(x))
	if err != nil {
		return err
	}
	if c.has(1) {
		x[a] = c.number(1)
	}
	if half {
		x[a] = c.Affine(x[a], 1, 0, 2, 1)
	}
	x[len(x)-1] = Fixed(2)
	c.set(0, c.argType(0), x)
	return nil
}

func stftShape(c *ShapeCall) error {
	if err := c.need(2); err != nil {
		return err
	}
	x := c.arg(0)
	c.set(0, c.argType(0), nil)
	length := c.Fresh("")
	if c.has(3) {
		length = c.number(3)
	} else if s := c.arg(2); len(s) == 1 {
		length = s[0]
	}
	step, ok := c.scalarInt(1)
	if len(x) < 2 || !ok || step < 1 {
		return nil
	}
	frames := c.Affine(c.Add(x[1], length.Neg()), 1, 0, step, 1)
	if c.N.Int("onesided", 1) != 0 {
		length = c.Affine(length, 1, 0, 2, 1)
	}
	c.set(0, c.argType(0), []Dim{x[0], frames, length, Fixed(2)})
	return nil
}

func multinomialShape(c *ShapeCall) error {
	c.set(0, c.typeAttr("dtype", Int32), nil)
	if x := c.arg(0); len(x) == 2 {
		c.set(0, c.typeAttr("dtype", Int32), []Dim{x[0], Fixed(c.N.Int("sample_size", 1))})
	}
	return nil
}

func hasElementShape(c *ShapeCall) error {
	c.set(0, Bool, []Dim{})
	return nil
}

package rewrite

import (
	"lenskit/onnx"

	"gonum.org/v1/gonum/mat"
)

// A convolution of few pixels and many channels leaves most of a vector of neighbouring pixels empty, and the transposed
// one adds its products up on a single thread. As products of matrices both run at full speed: with one image's pixels
// in a row, P the pairs of taps and pixels of the smaller image, and S the constant matrix of zeros and ones that tells
// which pixel of the larger image each pair meets,
//
//	small = weights · (large · S)     [C', C·taps] · [C·taps, pixels]
//	large = (weightsᵀ · small) · Sᵀ
//
// S has P times the pixels of the larger image, and costs little beside the weights where channels are many.

// What decides for products; measured, see docs/decisions/0009-small-images.md.
const (
	mostSmallPixels   = 16      // of the smaller image
	leastSmallWeights = 1 << 20 // fewer stay in the caches, where the direct convolution is as fast
	selectionShare    = 8       // the selection must cost less than one part in so many of the products
)

// smallImageConv writes a convolution of few pixels as products of matrices.
func smallImageConv(f *folder, n *onnx.Node) bool {
	c := readConv(f, n)
	if c == nil || c.x[0] >= leastBatch {
		return false
	}
	few, many, channels := c.y, c.x, c.y[1] // shapes of the smaller and of the larger image, channels of the former
	if c.up {
		few, many, channels = c.x, c.y, c.x[1]
	}
	pixels, larger, taps := few[2]*few[3], many[2]*many[3], c.kernel[0]*c.kernel[1]
	if max(many[2], many[3]) > maxTileExtent || pixels > mostSmallPixels || larger > channels/selectionShare ||
		c.x[1]*c.y[1]*taps < leastSmallWeights || taps > maxTileKernel*maxTileKernel {
		return false
	}
	reshape := func(v string, shape ...int64) string { return f.OpAttr("Reshape", nil, v, f.Ints(shape...)) }
	s := c.selection(few, many)
	batch, w := c.x[0], reshape(n.In[1], channels, many[1]*taps)
	var h string
	if c.up {
		h = f.OpAttr("MatMul", nil, f.OpAttr("Transpose", onnx.Attrs("perm", []int64{1, 0}), w), reshape(n.In[0], batch, channels, pixels))
		h = f.OpAttr("MatMul", nil, reshape(h, batch*many[1], taps*pixels), f.matrix(s.T()))
	} else {
		h = f.OpAttr("MatMul", nil, reshape(n.In[0], batch*many[1], larger), f.matrix(s))
		h = f.OpAttr("MatMul", nil, w, reshape(h, batch, many[1]*taps, pixels))
	}
	if n.InName(2) == "" {
		f.Make(n.Out[0], "Reshape", nil, h, f.Ints(c.y...))
	} else {
		f.Make(n.Out[0], "Add", nil, reshape(h, c.y...), reshape(n.In[2], c.y[1], 1, 1))
	}
	return true
}

// selection is S: row p has a one where pixel p of the larger image is met, columns are taps by pixels of the smaller.
func (c *constConv) selection(few, many []int64) *mat.Dense {
	pixels := few[2] * few[3]
	s := mat.NewDense(int(many[2]*many[3]), int(c.kernel[0]*c.kernel[1]*pixels), nil)
	for ky := range c.kernel[0] {
		for kx := range c.kernel[1] {
			for i := range few[2] {
				for j := range few[3] {
					y, x := c.stride[0]*i+c.dilation[0]*ky-c.pads[0], c.stride[1]*j+c.dilation[1]*kx-c.pads[1]
					if y >= 0 && y < many[2] && x >= 0 && x < many[3] {
						s.Set(int(y*many[3]+x), int((ky*c.kernel[1]+kx)*pixels+i*few[3]+j), 1)
					}
				}
			}
		}
	}
	return s
}

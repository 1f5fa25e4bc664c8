package rewrite

import (
	"lenskit/onnx"

	"gonum.org/v1/gonum/mat"
)

// A transposed convolution of stride 2 is four convolutions, one for each parity of the result's rows and columns, that
// take every other tap. onnxruntime spreads these over its threads, where it adds up the products of a transposed one on a
// single thread. The four images are put together by Concat, which interleaves their rows, and by a product with a matrix of
// zeros and ones, which does the columns.

// mostPhaseColumns is how many columns of the operand, per channel, the product with zeros and ones may have.
const mostPhaseColumns = 2

// phaseConv writes a transposed convolution that doubles its images, and the Relu after it, as convolutions of phases.
func phaseConv(f *folder, n *onnx.Node) bool {
	up, relu := n, n.Op == "Relu"
	if relu {
		up = f.before(n, 0, "ConvTranspose")
	} else if f.feedsRelu(n.Out[0]) {
		return false // the Relu's turn is next
	}
	if up == nil {
		return false
	}
	c := readConv(f, up)
	if c == nil || min(c.x[1], c.y[1]) < leastChannels || max(c.y[2], c.y[3]) > maxTileExtent ||
		c.x[3] > mostPhaseColumns*c.x[1] {
		return false
	}
	var axes [2][2]phase
	for i := range axes {
		if c.stride[i] != 2 || c.dilation[i] != 1 || c.y[2+i] != 2*c.x[2+i] {
			return false
		}
		for parity := range axes[i] {
			p, ok := phaseOf(int64(parity), c.kernel[i], c.pads[i])
			if !ok {
				return false
			}
			axes[i][parity] = p
		}
	}
	rows, columns := c.x[0]*c.y[1]*c.x[2], c.x[3]
	var parts []string
	for _, a := range axes[0] {
		for _, b := range axes[1] {
			in := append([]string{up.In[0], c.phaseWeights(f, up, a, b)}, up.In[2:]...)
			h := f.OpAttr("Conv", onnx.Attrs("kernel_shape", []int64{int64(len(a.taps)), int64(len(b.taps))},
				"pads", []int64{a.before, b.before, a.after, b.after}), in...)
			if relu {
				h = f.OpAttr("Relu", nil, h)
			}
			parts = append(parts, f.OpAttr("Reshape", nil, h, f.Ints(rows, 1, columns)))
		}
	}
	h := f.OpAttr("Concat", onnx.Attrs("axis", 1), parts...) // each row's phases: of the row above and below, left and right
	weave := mat.NewDense(int(2*columns), int(2*columns), nil)
	for j := range int(columns) {
		weave.Set(j, 2*j, 1)
		weave.Set(int(columns)+j, 2*j+1, 1)
	}
	h = f.OpAttr("MatMul", nil, f.OpAttr("Reshape", nil, h, f.Ints(2*rows, 2*columns)), f.matrix(weave))
	f.Make(n.Out[0], "Reshape", nil, h, f.Ints(c.y...))
	return true
}

// feedsRelu tells whether value is the operand of a Relu and of nothing else.
func (f *folder) feedsRelu(value string) bool {
	if f.uses[value] != 1 {
		return false
	}
	for _, m := range f.src.Nodes {
		if m.Op == "Relu" && m.Domain == "" && m.InName(0) == value {
			return true
		}
	}
	return false
}

// phase is what the results of one parity take along an axis: the taps, in the order of the pixels that they meet, and the
// padding of the operand before and after.
type phase struct {
	taps          []int64
	before, after int64
}

// phaseOf finds result 2i + parity: tap k meets pixel i + (parity+pad-k)/2.
func phaseOf(parity, kernel, pad int64) (p phase, ok bool) {
	last := kernel - 1
	if (last-parity-pad)%2 != 0 {
		last--
	}
	for k := last; k >= 0; k -= 2 {
		p.taps = append(p.taps, k)
	}
	if len(p.taps) == 0 {
		return p, false
	}
	p.before, p.after = (last-parity-pad)/2, (parity+pad-p.taps[len(p.taps)-1])/2
	return p, p.before >= 0 && p.after >= 0
}

// phaseWeights are the taps a, b of the weights [C, C', k, k], as a convolution's [C', C, …].
func (c *constConv) phaseWeights(f *folder, n *onnx.Node, a, b phase) string {
	w := f.weights(n, 1)
	ci, co := c.x[1], c.y[1]
	var v []float64
	for o := range co {
		for i := range ci {
			for _, ky := range a.taps {
				for _, kx := range b.taps {
					v = append(v, w.Float(int(((i*co+o)*c.kernel[0]+ky)*c.kernel[1]+kx)))
				}
			}
		}
	}
	return f.Tensor(like(w, v, co, ci, int64(len(a.taps)), int64(len(b.taps))))
}

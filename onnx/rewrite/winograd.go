package rewrite

import (
	"slices"

	"lenskit/onnx"

	"gonum.org/v1/gonum/mat"
)

// Over a batch, a convolution with constant weights costs less as Winograd's products of small tiles (Lavin & Gray 2016,
// arXiv:1509.09308), and these are ordinary matrix products: with images kept as [H, W, N, C],
//
//	slots = In · x          along rows, then along columns: S·T values for H
//	prod  = slots · weights one product of [T·N, C] and [C, C'] per pair of slots
//	y     = Out · prod      along rows, then along columns
//
// A transposed convolution of stride s and kernel k is s phases, each a correlation with R = k/s taps, or one less. A tile of m
// outputs of a phase takes m+R-1 slots (Toom and Cook's points) in place of m·R products. A convolution is the adjoint:
// the same matrices, transposed, from the last to the first.

// toomPoints are the finite points at which products of tiles are taken; the last point is at infinity (their choice:
// Barabasz et al. 2020, arXiv:1803.10986). Errors of float32 grow with their number: six in all keep them near 5e-6 of the
// largest value, nine have 5e-4.
var toomPoints = []float64{0, 1, -1, 0.5, -2}

// toom returns the matrices of m outputs of a correlation with r taps, y[j] = Σ_k x[j+k] g[k], by m+r-1 products:
// y = A [(G g) ∘ (B x)].
func toom(m, r int) (a, b, g *mat.Dense) {
	n := m + r - 1
	a, b, g = mat.NewDense(m, n, nil), mat.NewDense(n, n, nil), mat.NewDense(n, r, nil)
	for s := range n {
		// Row s of B has the coefficients of Lagrange's polynomial of point s, that of A the powers of the point.
		if s == n-1 {
			a.Set(m-1, s, 1)
			g.Set(s, r-1, 1)
			b.SetRow(s, productOf(toomPoints[:n-1], -1))
			continue
		}
		p := toomPoints[s]
		scale := 1.0
		for i, q := range toomPoints[:n-1] {
			if i != s {
				scale *= p - q
			}
		}
		copy(b.RawRowView(s), productOf(toomPoints[:n-1], s))
		power := 1.0
		for j := range max(m, r) {
			if j < m {
				a.Set(j, s, power)
			}
			if j < r {
				g.Set(s, j, power/scale)
			}
			power *= p
		}
	}
	return a, b, g
}

// productOf has the coefficients of Π (t - p_i) over all points but the one left out, the constant first.
func productOf(points []float64, but int) []float64 {
	c := []float64{1}
	for i, p := range points {
		if i == but {
			continue
		}
		next := make([]float64, len(c)+1)
		for k, v := range c {
			next[k] -= p * v
			next[k+1] += v
		}
		c = next
	}
	return c
}

// tiling is one axis of a transposed convolution from small to large values.
type tiling struct {
	small, large int
	slots, tiles int        // S and T
	in           *mat.Dense // [S·T, small]
	out          *mat.Dense // [large, S·T]
	taps         *mat.Dense // [S, kernel]: the weights of a slot
}

// newTiling makes the tiles of m outputs per phase.
func newTiling(small, large, kernel, stride, pad, m int) tiling {
	t := tiling{small: small, large: large}
	// Output o of phase (o+pad) mod stride is number ⌊(o+pad)/stride⌋ of its phase, counted from first.
	first := func(phase int) int { return (pad - phase + stride - 1) / stride }
	taps := func(phase int) int { return (kernel - phase + stride - 1) / stride }
	for phase := range stride {
		t.slots += m + taps(phase) - 1
		if last := large - 1 + pad - phase; last >= 0 {
			t.tiles = max(t.tiles, (last/stride-first(phase))/m+1)
		}
	}
	t.in, t.out = mat.NewDense(t.slots*t.tiles, small, nil), mat.NewDense(large, t.slots*t.tiles, nil)
	t.taps = mat.NewDense(t.slots, kernel, nil)
	slot := 0
	for phase := range stride {
		r := taps(phase)
		a, b, g := toom(m, r)
		for s := range m + r - 1 {
			for k := range r {
				t.taps.Set(slot, phase+stride*(r-1-k), g.At(s, k))
			}
			for tile := range t.tiles {
				start := first(phase) + m*tile
				row := slot*t.tiles + tile
				for k, v := range b.RawRowView(s) {
					if x := start - (r - 1) + k; x >= 0 && x < small {
						t.in.Set(row, x, v)
					}
				}
				for j := range m {
					if y := stride*(start+j) + phase - pad; y >= 0 && y < large {
						t.out.Set(y, row, a.At(j, s))
					}
				}
			}
			slot++
		}
	}
	return t
}

// bestTiling has the fewest slots.
func bestTiling(small, large, kernel, stride, pad int) (tiling, bool) {
	r := (kernel + stride - 1) / stride
	var best tiling
	for m := 2; m+r-1 <= len(toomPoints)+1; m++ {
		if t := newTiling(small, large, kernel, stride, pad, m); best.slots == 0 || t.slots*t.tiles < best.slots*best.tiles {
			best = t
		}
	}
	return best, best.slots > 0
}

// What work costs beside a multiplication within a large product; measured, see docs/decisions/0008-winograd.md.
const (
	thinProduct   = 1.3 // a multiplication of a transform
	packedWeight  = 10  // reading a weight for a product
	worthwhile    = 0.9 // tiles must cost less than this part of the convolution
	leastChannels = 16  // fewer do not fill the vectors of a product
	leastBatch    = 8   // with fewer images little is gained for ten times the rounding
)

// Bounds of what is tried: numbers in the weights of a convolution's products, taps and pixels along an axis, batch and
// channels.
const (
	maxTileWeights = 1 << 25
	maxTileKernel  = 16
	maxTileExtent  = 1 << 9
	maxTileBatch   = 1 << 16
)

// batchConv is a constConv over a batch, by tiles.
type batchConv struct {
	*constConv
	rows, cols      tiling
	before, through [2]mat.Matrix // transforms of rows and columns: of the operand, and of the products to the result
}

// readBatchConv reads the geometry of n, or returns nil where tiles do not apply.
func readBatchConv(f *folder, n *onnx.Node) *batchConv {
	base := readConv(f, n)
	if base == nil {
		return nil
	}
	x, y := base.x, base.y
	if x[0] < leastBatch || min(x[1], y[1]) < leastChannels || max(x[0], x[1], y[1]) > maxTileBatch ||
		!slices.Equal(base.dilation, []int64{1, 1}) {
		return nil
	}
	c := &batchConv{constConv: base}
	for i, axis := range []*tiling{&c.rows, &c.cols} {
		small, large := x[2+i], y[2+i]
		if !c.up {
			small, large = large, small
		}
		k, s, p := c.kernel[i], c.stride[i], c.pads[i]
		if max(small, large) > maxTileExtent || k > maxTileKernel || s < 1 || s > k || p < 0 || p >= k {
			return nil
		}
		var ok bool
		if *axis, ok = bestTiling(int(small), int(large), int(k), int(s), int(p)); !ok {
			return nil
		}
		c.before[i], c.through[i] = axis.in, axis.out
		if !c.up {
			c.before[i], c.through[i] = axis.out.T(), axis.in.T()
		}
	}
	return c
}

// cheaper tells whether tiles cost less than the convolution as it is.
func (c *batchConv) cheaper() bool {
	ci, co := float64(c.x[1]), float64(c.y[1])
	inRows, inCols, outRows, outCols := float64(c.x[2]), float64(c.x[3]), float64(c.y[2]), float64(c.y[3])
	weights := float64(c.rows.slots*c.cols.slots) * ci * co
	direct := ci * co * float64(c.rows.small*c.cols.small) * float64(c.kernel[0]*c.kernel[1])
	r, k := float64(c.rows.slots*c.rows.tiles), float64(c.cols.slots*c.cols.tiles)
	transforms := r*inCols*ci*(inRows+k) + r*outCols*co*(outRows+k)
	batch := float64(c.x[0])
	products := weights * float64(c.rows.tiles) * (batch*float64(c.cols.tiles) + packedWeight)
	return weights <= maxTileWeights && products+thinProduct*batch*transforms < worthwhile*batch*direct
}

// winogradConv writes a convolution over a batch as products of tiles, between transpositions to [H, W, N, C] and back.
func winogradConv(f *folder, n *onnx.Node) bool {
	c := readBatchConv(f, n)
	if c == nil || !c.cheaper() {
		return false
	}
	reshape := func(v string, shape ...int64) string { return f.OpAttr("Reshape", nil, v, f.Ints(shape...)) }
	x, y, batch := c.x, c.y, c.x[0]
	ci, co := x[1], y[1]
	slots, tiles := [2]int64{int64(c.rows.slots), int64(c.cols.slots)}, [2]int64{int64(c.rows.tiles), int64(c.cols.tiles)}
	rows, cols := slots[0]*tiles[0], slots[1]*tiles[1]

	// Weights [slots of rows, 1, slots of columns, C, C'] from [taps, C, C']: a constant that the runtime computes.
	last := toPixels // of [C, C', k, k], those of a ConvTranspose
	if !c.up {
		last = []int64{2, 3, 1, 0}
	}
	w := reshape(f.OpAttr("Transpose", onnx.Attrs("perm", last), n.In[1]), c.kernel[0]*c.kernel[1], ci*co)
	var taps mat.Dense
	taps.Kronecker(c.rows.taps, c.cols.taps)
	w = f.OpAttr("MatMul", nil, f.matrix(&taps), w)
	w = reshape(w, slots[0], 1, slots[1], ci, co)

	h := f.OpAttr("Transpose", onnx.Attrs("perm", toPixels), n.In[0])
	h = f.OpAttr("MatMul", nil, f.matrix(c.before[0]), reshape(h, x[2], x[3]*batch*ci))
	h = f.OpAttr("MatMul", nil, f.matrix(c.before[1]), reshape(h, rows, x[3], batch*ci))
	h = f.OpAttr("MatMul", nil, reshape(h, slots[0], tiles[0], slots[1], tiles[1]*batch, ci), w)
	h = f.OpAttr("MatMul", nil, f.matrix(c.through[1]), reshape(h, rows, cols, batch*co))
	h = f.OpAttr("MatMul", nil, f.matrix(c.through[0]), reshape(h, rows, y[3]*batch*co))
	h = reshape(h, y[2], y[3], batch, co)
	if n.InName(2) != "" {
		h = f.OpAttr("Add", nil, h, n.In[2])
	}
	f.Make(n.Out[0], "Transpose", onnx.Attrs("perm", toPixels), h)
	return true
}

// matrix makes a Float32 constant that the evaluator reads unrounded.
func (f *folder) matrix(m mat.Matrix) string {
	rows, cols := m.Dims()
	t := &onnx.Tensor{Type: onnx.Float32, Shape: []int64{int64(rows), int64(cols)}, Doubles: mat.DenseCopyOf(m).RawMatrix().Data}
	for _, v := range t.Doubles {
		t.Floats = append(t.Floats, float32(v))
	}
	return f.Tensor(t)
}

// Winograd returns g with the convolutions over a batch written as products of tiles where that costs less, and with
// images kept in the layout of these products from one to the next. Results differ by rounding.
func Winograd(g *onnx.Graph) (*onnx.Graph, error) {
	h, fired, err := rewritten(g, []rewriteRow{{"convolution over a batch", []string{"Conv", "ConvTranspose"}, winogradConv}})
	if err != nil || !fired {
		return g, err
	}
	return settleTransposes(h)
}

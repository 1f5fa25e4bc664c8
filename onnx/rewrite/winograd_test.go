package rewrite

import (
	"math"
	"math/rand/v2"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/graphtest"

	"gonum.org/v1/gonum/mat"
)

// upConvolved is a transposed convolution of one axis, or with forward false the convolution that it is the adjoint of.
func upConvolved(x, w []float64, small, large, stride, pad int, forward bool) []float64 {
	y := make([]float64, large)
	if !forward {
		y = make([]float64, small)
	}
	for i := range small {
		for k, v := range w {
			if o := stride*i + k - pad; o >= 0 && o < large {
				if forward {
					y[o] += x[i] * v
				} else {
					y[i] += x[o] * v
				}
			}
		}
	}
	return y
}

func times(m mat.Matrix, x []float64) []float64 {
	var y mat.VecDense
	y.MulVec(m, mat.NewVecDense(len(x), x))
	return y.RawVector().Data
}

// checkTiling holds one axis against the sum that defines it, in both directions.
func checkTiling(t *testing.T, rng *rand.Rand, small, large, kernel, stride, pad, m int) {
	t.Helper()
	a := newTiling(small, large, kernel, stride, pad, m)
	w := make([]float64, kernel)
	for i := range w {
		w[i] = rng.NormFloat64()
	}
	perSlot := times(a.taps, w)
	for _, forward := range []bool{true, false} {
		first, last, size := mat.Matrix(a.in), mat.Matrix(a.out), small
		if !forward {
			first, last, size = a.out.T(), a.in.T(), large
		}
		x := make([]float64, size)
		for i := range x {
			x[i] = rng.NormFloat64()
		}
		products := times(first, x)
		for i := range products {
			products[i] *= perSlot[i/a.tiles]
		}
		got, want := times(last, products), upConvolved(x, w, small, large, stride, pad, forward)
		for i := range want {
			if !(math.Abs(got[i]-want[i]) < 1e-12) {
				t.Errorf("%d to %d by kernel %d, stride %d, pad %d, tiles of %d, forward %v: value %d is %g, expected %g",
					small, large, kernel, stride, pad, m, forward, i, got[i], want[i])
				return
			}
		}
	}
}

func TestTilesAreTheConvolution(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	count := 0
	for kernel := 1; kernel <= 8; kernel++ {
		for stride := 1; stride <= kernel; stride++ {
			r := (kernel + stride - 1) / stride
			for pad := range kernel {
				for small := 1; small <= 9; small++ {
					for extra := -pad; extra < stride; extra++ { // the pad at the end, or output_padding
						large := stride*(small-1) + kernel - pad + extra
						if large < 1 {
							continue
						}
						for m := 1; m+r-2 <= len(toomPoints); m++ {
							checkTiling(t, rng, small, large, kernel, stride, pad, m)
							count++
						}
					}
				}
			}
		}
	}
	if count < 10000 {
		t.Errorf("%d cases, expected more than 10000", count)
	}
}

func FuzzTiles(f *testing.F) {
	f.Add(uint8(4), uint8(8), uint8(4), uint8(2), uint8(1), uint8(4), uint64(1))
	f.Add(uint8(7), uint8(7), uint8(3), uint8(1), uint8(1), uint8(3), uint64(2))
	f.Fuzz(func(t *testing.T, small, large, kernel, stride, pad, m uint8, seed uint64) {
		k, s, p := 1+int(kernel)%maxTileKernel, 1+int(stride)%maxTileKernel, int(pad)
		r := (k + s - 1) / s
		if small == 0 || large == 0 || s > k || p >= k || m == 0 || int(m)+r-2 > len(toomPoints) {
			return
		}
		checkTiling(t, rand.New(rand.NewPCG(seed, 1)), int(small), int(large), k, s, p, int(m))
	})
}

// geometry are the attributes of a convolution with a square kernel.
func geometry(k, s int64, pads ...int64) map[string]onnx.Attr {
	return map[string]onnx.Attr{"kernel_shape": onnx.IntsAttr(k, k), "strides": onnx.IntsAttr(s, s), "pads": onnx.IntsAttr(pads...)}
}

// with sets one more.
func with(a map[string]onnx.Attr, name string, v ...int64) map[string]onnx.Attr {
	a[name] = onnx.IntsAttr(v...)
	return a
}

func TestWinogradIsTheConvolution(t *testing.T) {
	for _, c := range []struct {
		name   string
		op     string
		h, w   int64
		attr   map[string]onnx.Attr
		direct bool // left as it is
	}{
		{"doubling", "ConvTranspose", 4, 4, geometry(4, 2, 1, 1, 1, 1), false},
		{"doubling of odd extents", "ConvTranspose", 5, 3, geometry(4, 2, 1, 1, 1, 1), false},
		{"kernel of 3 with output_padding", "ConvTranspose", 4, 8, with(geometry(3, 2, 1, 1, 1, 1), "output_padding", 1, 1), false},
		{"same extent", "ConvTranspose", 6, 6, geometry(3, 1, 1, 1, 1, 1), false},
		{"halving", "Conv", 8, 8, geometry(4, 2, 1, 1, 1, 1), false},
		{"halving with a row left over", "Conv", 15, 13, geometry(4, 2, 1, 1, 1, 1), false},
		{"kernel of 3", "Conv", 8, 4, geometry(3, 1, 1, 1, 1, 1), false},
		{"pads on one side", "Conv", 7, 8, geometry(3, 1, 2, 0, 0, 1), false},
		{"two strides", "Conv", 8, 8, map[string]onnx.Attr{"kernel_shape": onnx.IntsAttr(3, 4), "strides": onnx.IntsAttr(1, 2), "pads": onnx.IntsAttr(1, 1, 1, 1)}, false},
		{"kernel of 1", "Conv", 8, 8, geometry(1, 1, 0, 0, 0, 0), true},
		{"stride above the kernel", "ConvTranspose", 4, 4, geometry(2, 3, 0, 0, 0, 0), true},
		{"no overlap", "ConvTranspose", 4, 4, geometry(2, 2, 0, 0, 0, 0), true},
		{"dilation", "Conv", 8, 8, with(geometry(3, 1, 1, 1, 1, 1), "dilations", 2, 2), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graphtest.ConvGraph(c.op, 96, 112, c.h, c.w, c.attr)
			h, err := Winograd(g)
			if err != nil {
				t.Fatal(err)
			}
			if left := graphtest.CountOps(h, c.op) == 1; left != c.direct {
				t.Fatalf("left as it is: %v, expected %v", left, c.direct)
			}
			if c.direct {
				return
			}
			if err := checker.Graph(h); err != nil {
				t.Fatal(err)
			}
			evaltest.SameResults(t, g, h, 1e-12)
		})
	}
}

func TestWinogradNeedsABatchAndChannels(t *testing.T) {
	attr := map[string]onnx.Attr{"kernel_shape": onnx.IntsAttr(4, 4), "strides": onnx.IntsAttr(2, 2), "pads": onnx.IntsAttr(1, 1, 1, 1)}
	small := graphtest.ConvGraph("ConvTranspose", 48, 64, 4, 4, attr)
	small.Inputs[0].Shape[0].N = 1
	if h, err := Winograd(small); err != nil || graphtest.CountOps(h, "ConvTranspose") != 1 {
		t.Errorf("a single image: error %v, or tiles where the convolution is faster", err)
	}
	if h, err := Winograd(graphtest.ConvGraph("ConvTranspose", 48, 2, 4, 4, attr)); err != nil || graphtest.CountOps(h, "ConvTranspose") != 1 {
		t.Errorf("two channels: error %v, or tiles where the convolution is faster", err)
	}
}

// From one convolution to the next images stay as the products have them, whatever pointwise operators are between.
func TestTransposesMeetTheirInverse(t *testing.T) {
	attr := map[string]onnx.Attr{"kernel_shape": onnx.IntsAttr(3, 3), "pads": onnx.IntsAttr(1, 1, 1, 1)}
	for _, c := range []struct {
		name  string
		build func(b *onnx.Builder, h string) string
		want  int // transpositions of images that are left
	}{
		{"activation", func(b *onnx.Builder, h string) string { return b.Op("Relu", h) }, 2},
		{"numbers", func(b *onnx.Builder, h string) string {
			return b.Op("Mul", b.Op("Add", h, b.Scalar(0.5)), b.Tensor(onnx.FloatTensor([]float32{2}, 1, 1, 1)))
		}, 2},
		{"one number per channel", func(b *onnx.Builder, h string) string {
			v := make([]float32, 48)
			for i := range v {
				v[i] = float32(i)
			}
			return b.Op("Mul", h, b.Tensor(onnx.FloatTensor(v, 48, 1, 1)))
		}, 2},
		{"mask", func(b *onnx.Builder, h string) string {
			return b.Op("Mul", b.Op("Sigmoid", h), b.OpAttr("Cast", onnx.Attrs("to", int(onnx.Float32)), b.Op("Greater", h, b.Scalar(0))))
		}, 2},
		{"an image that comes from outside", func(b *onnx.Builder, h string) string { return b.Op("Add", h, "x") }, 2},
		{"an operator with axes", func(b *onnx.Builder, h string) string { return b.OpAttr("Softmax", onnx.Attrs("axis", 1), h) }, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := graphtest.ConvGraph("Conv", 48, 48, 8, 8, attr)
			first := g.Outputs[0].Name
			g.Outputs = nil
			b := onnx.NewBuilder(g, "")
			n := *g.Nodes[0]
			h := c.build(b, first)
			b.Output(b.OpAttr("Conv", n.Attr, h, n.In[1]))
			w, err := Winograd(g)
			if err != nil {
				t.Fatal(err)
			}
			if err := checker.Graph(w); err != nil {
				t.Fatal(err)
			}
			got := 0
			for _, m := range w.Nodes {
				if d, ok := onnx.Known(w.Info[m.InName(0)].Shape); m.Op == "Transpose" && ok && len(d) == 2 && d[0]*d[1] == 64*48*64 {
					got++
				}
			}
			if got != c.want || graphtest.CountOps(w, "Conv") != 0 {
				t.Errorf("%d transpositions of images and %d convolutions are left, expected %d and 0", got, graphtest.CountOps(w, "Conv"), c.want)
			}
			evaltest.SameResults(t, g, w, 1e-10)
			if _, again, err := rewritten(w, layoutRows); err != nil || again {
				t.Errorf("error %v, or the transpositions do not come to rest", err)
			}
		})
	}
}

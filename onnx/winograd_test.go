package onnx

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

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

// convGraph has one Conv or ConvTranspose over a batch of 64, with a bias.
func convGraph(op string, ci, co, h, w int64, attr map[string]Attr) *Graph {
	kernel := attr["kernel_shape"].Ints
	shape := []int64{ci, co}
	if op == "Conv" {
		shape = []int64{co, ci}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	normal := func(shape ...int64) *Tensor {
		t := FloatTensor(nil, shape...)
		t.Floats = make([]float32, t.Size())
		for i := range t.Floats {
			t.Floats[i] = float32(rng.NormFloat64())
		}
		return t
	}
	g := &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{"x", Float32, []Dim{{N: 64}, {N: ci}, {N: h}, {N: w}}}}}
	b := NewBuilder(g, "")
	b.Output(b.OpAttr(op, attr, "x", b.Tensor(normal(append(shape, kernel...)...)), b.Tensor(normal(co))))
	if b.Err() != nil {
		panic(b.Err())
	}
	return g
}

// geometry are the attributes of a convolution with a square kernel.
func geometry(k, s int64, pads ...int64) map[string]Attr {
	return map[string]Attr{"kernel_shape": IntsAttr(k, k), "strides": IntsAttr(s, s), "pads": IntsAttr(pads...)}
}

// with sets one more.
func with(a map[string]Attr, name string, v ...int64) map[string]Attr {
	a[name] = IntsAttr(v...)
	return a
}

func countOps(g *Graph, ops ...string) int {
	n := 0
	for _, m := range g.Nodes {
		if slices.Contains(ops, m.Op) {
			n++
		}
	}
	return n
}

func TestWinogradIsTheConvolution(t *testing.T) {
	for _, c := range []struct {
		name   string
		op     string
		h, w   int64
		attr   map[string]Attr
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
		{"two strides", "Conv", 8, 8, map[string]Attr{"kernel_shape": IntsAttr(3, 4), "strides": IntsAttr(1, 2), "pads": IntsAttr(1, 1, 1, 1)}, false},
		{"kernel of 1", "Conv", 8, 8, geometry(1, 1, 0, 0, 0, 0), true},
		{"stride above the kernel", "ConvTranspose", 4, 4, geometry(2, 3, 0, 0, 0, 0), true},
		{"no overlap", "ConvTranspose", 4, 4, geometry(2, 2, 0, 0, 0, 0), true},
		{"dilation", "Conv", 8, 8, with(geometry(3, 1, 1, 1, 1, 1), "dilations", 2, 2), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := convGraph(c.op, 96, 112, c.h, c.w, c.attr)
			h, err := g.winograd()
			if err != nil {
				t.Fatal(err)
			}
			if left := countOps(h, c.op) == 1; left != c.direct {
				t.Fatalf("left as it is: %v, expected %v", left, c.direct)
			}
			if c.direct {
				return
			}
			if err := h.Check(); err != nil {
				t.Fatal(err)
			}
			sameResults(t, g, h, 1e-12)
		})
	}
}

func TestWinogradNeedsABatchAndChannels(t *testing.T) {
	attr := map[string]Attr{"kernel_shape": IntsAttr(4, 4), "strides": IntsAttr(2, 2), "pads": IntsAttr(1, 1, 1, 1)}
	small := convGraph("ConvTranspose", 48, 64, 4, 4, attr)
	small.Inputs[0].Shape[0].N = 1
	if h, err := small.winograd(); err != nil || countOps(h, "ConvTranspose") != 1 {
		t.Errorf("a single image: error %v, or tiles where the convolution is faster", err)
	}
	if h, err := convGraph("ConvTranspose", 48, 2, 4, 4, attr).winograd(); err != nil || countOps(h, "ConvTranspose") != 1 {
		t.Errorf("two channels: error %v, or tiles where the convolution is faster", err)
	}
}

// From one convolution to the next images stay as the products have them, whatever pointwise operators are between.
func TestTransposesMeetTheirInverse(t *testing.T) {
	attr := map[string]Attr{"kernel_shape": IntsAttr(3, 3), "pads": IntsAttr(1, 1, 1, 1)}
	for _, c := range []struct {
		name  string
		build func(b *Builder, h string) string
		want  int // transpositions of images that are left
	}{
		{"activation", func(b *Builder, h string) string { return b.Op("Relu", h) }, 2},
		{"numbers", func(b *Builder, h string) string {
			return b.Op("Mul", b.Op("Add", h, b.Scalar(0.5)), b.Tensor(FloatTensor([]float32{2}, 1, 1, 1)))
		}, 2},
		{"one number per channel", func(b *Builder, h string) string {
			v := make([]float32, 48)
			for i := range v {
				v[i] = float32(i)
			}
			return b.Op("Mul", h, b.Tensor(FloatTensor(v, 48, 1, 1)))
		}, 2},
		{"mask", func(b *Builder, h string) string {
			return b.Op("Mul", b.Op("Sigmoid", h), b.OpAttr("Cast", attrs("to", int(Float32)), b.Op("Greater", h, b.Scalar(0))))
		}, 2},
		{"an image that comes from outside", func(b *Builder, h string) string { return b.Op("Add", h, "x") }, 2},
		{"an operator with axes", func(b *Builder, h string) string { return b.OpAttr("Softmax", attrs("axis", 1), h) }, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := convGraph("Conv", 48, 48, 8, 8, attr)
			first := g.Outputs[0].Name
			g.Outputs = nil
			b := NewBuilder(g, "")
			n := *g.Nodes[0]
			h := c.build(b, first)
			b.Output(b.OpAttr("Conv", n.Attr, h, n.In[1]))
			w, err := g.winograd()
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Check(); err != nil {
				t.Fatal(err)
			}
			got := 0
			for _, m := range w.Nodes {
				if d, ok := known(w.Info[m.inName(0)].Shape); m.Op == "Transpose" && ok && len(d) == 2 && d[0]*d[1] == 64*48*64 {
					got++
				}
			}
			if got != c.want || countOps(w, "Conv") != 0 {
				t.Errorf("%d transpositions of images and %d convolutions are left, expected %d and 0", got, countOps(w, "Conv"), c.want)
			}
			sameResults(t, g, w, 1e-10)
			if _, again, err := w.rewritten(layoutRows); err != nil || again {
				t.Errorf("error %v, or the transpositions do not come to rest", err)
			}
		})
	}
}

// What onnxruntime computes by tiles agrees with what it computes directly to what float32 allows. The activation has no
// kink, at which a gradient would jump with the rounding.
func TestSessionsTakeTilesOverABatch(t *testing.T) {
	needLibrary(t)
	smooth := paperDecoder(rand.New(rand.NewPCG(7, 8)))
	for _, n := range smooth.Nodes {
		if n.Op == "Relu" {
			n.Op = "Softplus"
		}
	}
	g, err := smooth.Bind(map[string]int64{"N": 32})
	if err != nil {
		t.Fatal(err)
	}
	d, err := VJP(g, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if w, err := d.winograd(); err != nil || countOps(w, "Conv", "ConvTranspose") != 2 {
		t.Fatalf("error %v, or more convolutions left than the two of the last layer", err)
	}
	sameSessions(t, d, 1e-5)
}

// sameSessions holds what onnxruntime makes of d against what it makes of d as it is, which differs by rounding.
func sameSessions(t *testing.T, d *Graph, tol float64) {
	t.Helper()
	direct, tuned := open(t, d, SessionOptions{Direct: true}), open(t, d, SessionOptions{})
	rng := rand.New(rand.NewPCG(9, 10))
	for _, v := range d.Inputs {
		for i := range direct.Input(v.Name) {
			direct.Input(v.Name)[i] = float32(rng.NormFloat64())
		}
		copy(tuned.Input(v.Name), direct.Input(v.Name))
	}
	for _, s := range []*Session{direct, tuned} {
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range d.Outputs {
		scale, worst := 0.0, 0.0
		for i, want := range direct.Output(v.Name) {
			scale = max(scale, math.Abs(float64(want)))
			worst = max(worst, math.Abs(float64(want-tuned.Output(v.Name)[i])))
		}
		if worst == 0 || !(worst <= tol*scale) {
			t.Errorf("%s differs by %g of %g, expected rounding", v.Name, worst, scale)
		}
		t.Logf("%s differs by %.1e of its largest value", v.Name, worst/scale)
	}
}

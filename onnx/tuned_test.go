package onnx

import (
	"math"
	"math/rand/v2"
	"testing"
)

// sameTuned holds what g computes as sessions take it against what it computes as it is; direct tells whether its
// convolution is to be left alone.
func sameTuned(t *testing.T, g *Graph, op string, direct bool) *Graph {
	t.Helper()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	h, err := g.tuned()
	if err != nil {
		t.Fatal(err)
	}
	if left := countOps(h, op) == 1; left != direct {
		t.Fatalf("left as it is: %v, expected %v", left, direct)
	}
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
	sameResults(t, g, h, 1e-12)
	return h
}

func TestSmallImagesAreTheConvolution(t *testing.T) {
	for _, c := range []struct {
		name         string
		op           string
		n, ci, co    int64
		h, w         int64
		attr         map[string]Attr
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
		{name: "two strides, pads on one side", op: "Conv", n: 1, ci: 190, co: 512, h: 5, w: 6, attr: map[string]Attr{"kernel_shape": IntsAttr(3, 4), "strides": IntsAttr(1, 2), "pads": IntsAttr(0, 1, 1, 0)}},
		{name: "few weights", op: "Conv", n: 1, ci: 64, co: 512, h: 8, w: 8, attr: geometry(4, 2, 1, 1, 1, 1), direct: true},
		{name: "many pixels", op: "Conv", n: 1, ci: 256, co: 1024, h: 10, w: 10, attr: geometry(4, 2, 1, 1, 1, 1), direct: true},
		{name: "few channels", op: "Conv", n: 1, ci: 320, co: 448, h: 8, w: 8, attr: geometry(4, 2, 1, 1, 1, 1), direct: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := convGraph(c.op, c.ci, c.co, c.h, c.w, c.attr)
			g.Inputs[0].Shape[0].N = c.n
			if c.bare {
				g.Nodes[0].In = g.Nodes[0].In[:2]
			}
			sameTuned(t, g, c.op, c.direct)
		})
	}
}

// The mask of a Relu is 0 at and below zero and 1 above, as Greater has it.
func TestSignsAreMasks(t *testing.T) {
	needLibrary(t)
	build := func(f func(b *Builder, x string) string) *Graph {
		g := &Graph{Opset: map[string]int{"": 18}, Inputs: []Value{{"x", Float32, []Dim{{N: 7}}}}}
		b := NewBuilder(g, "")
		b.Output(f(b, "x"))
		if b.Err() != nil {
			t.Fatal(b.Err())
		}
		return g
	}
	cast := func(b *Builder, x string) string { return b.OpAttr("Cast", attrs("to", int(Float32)), x) }
	mask := build(func(b *Builder, x string) string { return cast(b, b.Op("Greater", x, b.Scalar(0))) })
	h, err := mask.tuned()
	if err != nil || countOps(h, "HardSigmoid") != 1 || countOps(h, "Greater", "Cast") != 0 {
		t.Fatalf("error %v, or the mask takes more than one operator: %v", err, h)
	}
	s := open(t, mask, SessionOptions{})
	in := []float32{0, float32(math.Copysign(0, -1)), 1e-30, -1e-30, 3, -3, float32(math.Inf(1))}
	copy(s.Input("x"), in)
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	for i, x := range in {
		want := float32(0)
		if x > 0 {
			want = 1
		}
		if got := s.Output(mask.Outputs[0].Name)[i]; got != want {
			t.Errorf("mask of %g: got %g, expected %g", x, got, want)
		}
	}
	for name, g := range map[string]*Graph{
		"another bound": build(func(b *Builder, x string) string { return cast(b, b.Op("Greater", x, b.Scalar(1))) }),
		"a bound that broadcasts": build(func(b *Builder, x string) string {
			return cast(b, b.Op("Greater", x, b.Tensor(FloatTensor([]float32{0}, 1, 1))))
		}),
		"a mask that is used otherwise": build(func(b *Builder, x string) string {
			m := b.Op("Greater", x, b.Scalar(0))
			return b.Op("Where", m, x, cast(b, m))
		}),
	} {
		if h, err := g.tuned(); err != nil || countOps(h, "HardSigmoid") != 0 {
			t.Errorf("%s: error %v, or a mask of another meaning", name, err)
		}
	}
}

// The paper's decoder, one image: the layers of 4 x 4 pixels become products, those above four convolutions each but for the
// last one, and the session gives what the convolutions do.
func TestSessionsTakeTunedGraphs(t *testing.T) {
	needLibrary(t)
	g, err := paperDecoder(rand.New(rand.NewPCG(7, 8))).Bind(map[string]int64{"N": 1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := VJP(g, DiffOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := d.tuned()
	if err != nil {
		t.Fatal(err)
	}
	if up, down := countOps(h, "ConvTranspose"), countOps(h, "Conv"); up != 1 || down != 3+2*4 {
		t.Fatalf("%d transposed and %d other convolutions, expected 1 and 11", up, down)
	}
	sameSessions(t, d, 2e-6)
}

func TestPhasesAreTheTransposedConvolution(t *testing.T) {
	for _, c := range []struct {
		name       string
		n, ci, co  int64
		h, w       int64
		attr       map[string]Attr
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
			g := convGraph("ConvTranspose", c.ci, c.co, c.h, c.w, c.attr)
			g.Inputs[0].Shape[0].N = c.n
			if c.bare {
				g.Nodes[0].In = g.Nodes[0].In[:2]
			}
			if c.relu {
				first := g.Outputs[0].Name
				g.Outputs = nil
				b := NewBuilder(g, "")
				b.Output(b.Op("Relu", first))
			}
			h := sameTuned(t, g, "ConvTranspose", c.direct)
			if want := 4; c.relu && countOps(h, "Relu") != want {
				t.Errorf("%d Relus, expected %d, one for each phase", countOps(h, "Relu"), want)
			}
		})
	}
}

package adjoint

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
)

// tinyNetwork is a decoder of 4 latents whose images are what build makes of the hidden values h [N, 2, 8, 8], or [1, …]
// with fixed.
func tinyNetwork(t *testing.T, fixed bool, build func(b *onnx.Builder, h string) string) *onnx.Graph {
	t.Helper()
	rng := rand.New(rand.NewPCG(31, 7))
	n, rows := onnx.Dim{N: 1, Sym: "N"}, int64(-1)
	if fixed {
		n, rows = onnx.Dim{N: 1}, 1
	}
	g := &onnx.Graph{Name: "tiny", Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{n, {N: 4}}}}}
	b := onnx.NewBuilder(g, "n_")
	w := make([]float32, 4*128)
	for i := range w {
		w[i] = float32(0.5 * rng.NormFloat64())
	}
	h := b.Op("Reshape", b.Op("Tanh", b.Op("MatMul", "z", b.Tensor(onnx.FloatTensor(w, 4, 128)))), b.Ints(rows, 2, 8, 8))
	b.OutputAs("y", build(b, h))
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	return g
}

func keep(axes string) map[string]onnx.Attr { return map[string]onnx.Attr{axes: onnx.IntAttr(1)} }

// image adds up the channels.
func image(b *onnx.Builder, h string) string {
	return b.OpAttr("ReduceMean", keep("keepdims"), h, b.Ints(1))
}

func castTo(b *onnx.Builder, t onnx.DType, x string) string {
	return b.OpAttr("Cast", map[string]onnx.Attr{"to": onnx.IntAttr(int64(t))}, x)
}

var tinyNetworks = []struct {
	name  string
	mixes bool
	fixed bool
	build func(b *onnx.Builder, h string) string
}{
	{"plain", false, false, image},
	{"mean over the batch", true, false, func(b *onnx.Builder, h string) string {
		return image(b, b.Op("Mul", h, b.OpAttr("ReduceMean", keep("keepdims"), h, b.Ints(0))))
	}},
	{"normalisation over the batch", true, false, func(b *onnx.Builder, h string) string {
		v := func(x ...float32) string { return b.Tensor(onnx.FloatTensor(x, 2)) }
		return image(b, b.OpN("BatchNormalization", 3, keep("training_mode"), h, v(1, 0.5), v(0, 0.1), v(0, 0), v(1, 1))[0])
	}},
	{"coordinates beside the latents", false, true, func(b *onnx.Builder, h string) string {
		xy := make([]float32, 128)
		for i := range xy {
			xy[i] = float32(math.Sin(float64(i)))
		}
		return image(b, b.OpAttr("Concat", map[string]onnx.Attr{"axis": onnx.IntAttr(1)}, h, b.Op("Mul", h, b.Tensor(onnx.FloatTensor(xy, 1, 2, 8, 8)))))
	}},
	{"places of maxima", false, false, func(b *onnx.Builder, h string) string {
		two := onnx.IntsAttr(2, 2)
		return image(b, b.OpAttr("MaxPool", map[string]onnx.Attr{"kernel_shape": two, "strides": two}, h))
	}},
	{"float64 inside", false, false, func(b *onnx.Builder, h string) string {
		d := castTo(b, onnx.Float64, h)
		return image(b, castTo(b, onnx.Float32, b.Op("Mul", b.Op("Sin", d), d)))
	}},
	{"float64 in products", false, false, func(b *onnx.Builder, h string) string {
		d := castTo(b, onnx.Float64, h)
		return castTo(b, onnx.Float32, b.OpAttr("ReduceMean", keep("keepdims"), b.Op("Exp", b.Op("MatMul", d, d)), b.Ints(1)))
	}},
	{"float64 that onnxruntime has no operator of", false, false, func(b *onnx.Builder, h string) string {
		d := castTo(b, onnx.Float64, h)
		w := &onnx.Tensor{Type: onnx.Float64, Shape: []int64{1, 2, 3, 3}, Doubles: make([]float64, 18)}
		for i := range w.Doubles {
			w.Doubles[i] = math.Cos(float64(i))
		}
		pads := map[string]onnx.Attr{"pads": onnx.IntsAttr(1, 1, 1, 1)}
		return castTo(b, onnx.Float32, b.Op("Softplus", b.OpAttr("Conv", pads, b.Op("Mish", d), b.Tensor(w))))
	}},
	{"truth values and whole numbers", false, false, func(b *onnx.Builder, h string) string {
		mask := b.Op("Greater", h, b.Scalar(0.2))
		whole := castTo(b, onnx.Int32, b.Op("Mul", h, b.Scalar(3)))
		return image(b, b.Op("Where", mask, b.Op("Mul", h, castTo(b, onnx.Float32, whole)), b.Op("Mul", h, h)))
	}},
}

// The density of a chain that runs with others is that of the same point alone, on networks that mix a batch and on those
// that do not: the sampler's log density is that of eval but for a constant.
func TestChainsTogetherHaveTheDensityOfOneAlone(t *testing.T) {
	needRuntime(t)
	for _, c := range tinyNetworks {
		m := paperModel(tinyNetwork(t, c.fixed, c.build), "bicubic")
		p := open(t, m, flatObservation(rand.New(rand.NewPCG(9, 9)), 12, 0), Options{Threads: 2})
		notice := strings.Contains(strings.Join(p.Notices(), "\n"), "mixes the images of a batch")
		if notice != c.mixes {
			t.Errorf("%s: found notices %q, expected one of mixing: %v", c.name, p.Notices(), c.mixes)
		}
		for _, chains := range []int{1, 4, 8} {
			clones, _, err := p.Clones(chains, 2)
			if err != nil {
				t.Fatal(c.name, err)
			}
			got, at := make([]float64, chains), make([][]float64, chains)
			slope := make([][]float64, chains)
			var wait sync.WaitGroup
			for _, q := range clones {
				q.Join()
			}
			for k, q := range clones {
				at[k] = check.Normals(rand.New(rand.NewPCG(uint64(k), 3)), p.Dim())
				slope[k] = make([]float64, p.Dim())
				wait.Add(1)
				go func() {
					defer wait.Done()
					defer q.Leave()
					got[k], _ = q.LogProb(slope[k], at[k])
				}()
			}
			wait.Wait()
			for k, q := range clones {
				g := make([]float64, p.Dim())
				want := mustLogProb(t, p, g, at[k])
				check.Close(t, c.name+" log density", got[k], want, 1e-4, 1)
				for i := range g {
					check.Close(t, c.name+" gradient", slope[k][i], g[i], 1e-3, 1+math.Abs(want)*1e-2)
				}
				q.Close()
			}
		}
	}
}

// Images, gradients and Jacobians on onnxruntime are those of the float64 evaluator, and these those of differences,
// whatever the types inside and whether the network takes a batch or one image.
func TestNetworksAreTheSameOnEveryDevice(t *testing.T) {
	for _, c := range tinyNetworks {
		graph := tinyNetwork(t, c.fixed, c.build)
		var decoders []decoder
		var shape *decoderShape
		for _, device := range []string{deviceReference, "cpu"} {
			if device == "cpu" {
				needRuntime(t)
			}
			spec := &DecoderSpec{Graph: graph}
			d, err := spec.derive(Options{Device: device, Threads: 1})
			if err != nil {
				t.Fatalf("%s, %s: %v", c.name, device, err)
			}
			dec, err := newDecoder(d, Options{Device: device, Threads: 1})
			if err != nil {
				t.Fatalf("%s, %s: %v", c.name, device, err)
			}
			defer dec.close()
			decoders, shape = append(decoders, dec), d.decoderShape
		}
		n := shape.w * shape.h
		z := []float64{0.4, -0.8, 1.3, 0.1}
		eye := make([]float64, 16)
		for k := range 4 {
			eye[5*k] = 1
		}
		type result struct {
			img, gz []float64
			cols    [][]float64
		}
		gimg := check.Normals(rand.New(rand.NewPCG(4, 4)), n)
		results := make([]result, len(decoders))
		for i, dec := range decoders {
			r := &results[i]
			r.img, r.gz = make([]float64, n), make([]float64, 4)
			for range 4 {
				r.cols = append(r.cols, make([]float64, n))
			}
			if err := dec.forward(r.img, z); err != nil {
				t.Fatal(c.name, err)
			}
			if err := dec.reverse(r.gz, gimg); err != nil {
				t.Fatal(c.name, err)
			}
			if err := dec.jacobian(r.cols, eye, z); err != nil {
				t.Fatal(c.name, err)
			}
		}
		const h = 1e-5
		ref := decoders[0]
		for k := range 4 {
			at := func(d float64) []float64 {
				v := append([]float64{}, z...)
				v[k] += d
				img := make([]float64, n)
				if err := ref.forward(img, v); err != nil {
					t.Fatal(err)
				}
				return img
			}
			plus, minus := at(h), at(-h)
			dot := 0.0
			for i := range n {
				want := (plus[i] - minus[i]) / (2 * h)
				dot += want * gimg[i]
				check.Close(t, c.name+": column by the evaluator", results[0].cols[k][i], want, 1e-6, 1)
				check.Close(t, c.name+": column by onnxruntime", results[1].cols[k][i], want, 1e-4, 1)
			}
			check.Close(t, c.name+": gradient by the evaluator", results[0].gz[k], dot, 1e-6, 10)
			check.Close(t, c.name+": gradient by onnxruntime", results[1].gz[k], dot, 1e-4, 10)
		}
		for i, v := range results[0].img {
			check.Close(t, c.name+": image", results[1].img[i], v, 1e-5, 1)
		}
	}
}

func TestDecodersOfTooManyNodesAreRefused(t *testing.T) {
	g := tinyNetwork(t, false, image)
	in := g.Nodes[0].In[0]
	var chain []*onnx.Node
	for k := range MaxNodes {
		out := fmt.Sprint("chain", k)
		chain = append(chain, &onnx.Node{Op: "Relu", In: []string{in}, Out: []string{out}})
		in = out
	}
	_, err := shapeOf(&DecoderSpec{Graph: &onnx.Graph{Name: "chain", Opset: g.Opset, Init: g.Init, Inputs: g.Inputs, Outputs: g.Outputs, Nodes: append(chain, g.Nodes...)}})
	if err == nil || !strings.Contains(err.Error(), "nodes, expected at most 20480") {
		t.Errorf("found error %v, expected a refusal by the number of nodes", err)
	}
}

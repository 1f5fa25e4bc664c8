package adjoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/ort"
	"lenskit/physics"
)

// npy reads a two-dimensional float64 array of numpy.
func npy(t testing.TB, name string) *physics.Image {
	t.Helper()
	data, err := os.ReadFile(check.Shared(t, "reference/public/"+name))
	if err != nil {
		t.Fatal(err)
	}
	n := int(binary.LittleEndian.Uint16(data[8:]))
	header := string(data[10 : 10+n])
	m := regexp.MustCompile(`'descr': '<f8', 'fortran_order': False, 'shape': \((\d+), (\d+)\)`).FindStringSubmatch(header)
	if m == nil {
		t.Fatalf("%s: header %q", name, header)
	}
	h, _ := strconv.Atoi(m[1])
	w, _ := strconv.Atoi(m[2])
	img := physics.NewImage(w, h, 1)
	if err := binary.Read(bytes.NewReader(data[10+n:]), binary.LittleEndian, img.Pix); err != nil {
		t.Fatal(err)
	}
	return img
}

func readJSON(t testing.TB, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(check.Shared(t, "reference/public/"+name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// needRuntime skips a test on machines without onnxruntime.
func needRuntime(t testing.TB) {
	t.Helper()
	if _, _, err := ort.Library(); errors.Is(err, ort.ErrNoLibrary) {
		t.Skip(err)
	}
}

// convDecoder is a decoder of the paper's shape (table D2) with random weights: transposed convolutions with kernels of
// 4, from 1 x 1 to 64 x 64 when there are five of them, with batch normalisation and ReLU between and tanh at the end.
func convDecoder(t testing.TB, seed uint64, channels ...int) *onnx.Graph {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 64))
	floats := func(n int, f func() float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(f())
		}
		return v
	}
	g := &onnx.Graph{Name: "decoder", Opset: map[string]int{"": 18}}
	g.Inputs = []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{{N: 1, Sym: "N"}, {N: int64(channels[0])}, {N: 1}, {N: 1}}}}
	b := onnx.NewBuilder(g, "d_")
	x := "z"
	for i, in := range channels[:len(channels)-1] {
		out := channels[i+1]
		stride, pad, fan := int64(2), int64(1), float64(in)*4
		if i == 0 {
			stride, pad, fan = 1, 0, float64(in)
		}
		w := b.Tensor(onnx.FloatTensor(floats(in*out*16, func() float64 { return rng.NormFloat64() / math.Sqrt(fan) }), int64(in), int64(out), 4, 4))
		x = b.OpAttr("ConvTranspose", map[string]onnx.Attr{"strides": onnx.IntsAttr(stride, stride), "pads": onnx.IntsAttr(pad, pad, pad, pad), "kernel_shape": onnx.IntsAttr(4, 4)}, x, w)
		if i == len(channels)-2 {
			x = b.Op("Tanh", x)
			break
		}
		vec := func(f func() float64) string { return b.Tensor(onnx.FloatTensor(floats(out, f), int64(out))) }
		scale, bias := vec(func() float64 { return 0.5 + rng.Float64() }), vec(func() float64 { return 0.3 * rng.NormFloat64() })
		mean, variance := vec(func() float64 { return 0.3 * rng.NormFloat64() }), vec(func() float64 { return 0.5 + 1.5*rng.Float64() })
		x = b.Op("BatchNormalization", x, scale, bias, mean, variance)
		x = b.Op("Relu", x)
	}
	b.Output(x)
	if err := b.Err(); err != nil {
		t.Fatal(err)
	}
	return g
}

// priors collects scalar priors by name.
type priors = map[string]Prior

// paperModel is SPLE and shear before a decoder, with the paper's priors.
func paperModel(g *onnx.Graph, interpolation string) Model {
	return Model{Components: []Component{
		{Group: GroupLens, Name: "sple", Kind: "sple", Priors: priors{
			"r_ein": physics.Normal(1.5, 0.5).Bounded(0.1, 5), "q": physics.Normal(0.7, 0.2).Bounded(0.2, 0.999), "phi": physics.Uniform(-math.Pi/2, math.Pi/2),
			"gamma": physics.Normal(2, 0.2).Bounded(1.1, 2.9), "x": physics.Normal(0, 0.1), "y": physics.Normal(0, 0.1)}},
		{Group: GroupLens, Name: "shear", Kind: "shear", Priors: priors{"gamma1": physics.Normal(0, 0.05), "gamma2": physics.Normal(0, 0.05)}},
		{Group: GroupSource, Name: "decoder", Kind: KindDecoder, Decoder: &DecoderSpec{Graph: g, Interpolation: interpolation}, Priors: priors{
			"z": physics.Multivariate(nil, nil, 1), "iota": physics.Normal(1, 0.5), "s": physics.Normal(5, 1).Bounded(0.5, 10), "x": physics.Normal(0, 0.1), "y": physics.Normal(0, 0.1)}},
	}}
}

// flatObservation is data of pure noise.
func flatObservation(rng *rand.Rand, side int, psf float64) Observation {
	o := Observation{W: side, H: side, PixelScale: 10 / float64(side), Data: check.Normals(rng, side*side), Sigma: []float64{0.1}}
	o.PSF.Gaussian = psf
	for i := range o.Data {
		o.Data[i] *= 0.1
	}
	return o
}

func open(t testing.TB, m Model, o Observation, opt Options) *Posterior {
	t.Helper()
	p, err := New(m, o, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// index finds parameters by name.
func index(t testing.TB, p *Posterior, name string) int {
	t.Helper()
	for i, n := range p.Names() {
		if n == name {
			return i
		}
	}
	t.Fatalf("no parameter %q among %v", name, p.Names())
	return -1
}

func mustLogProb(t testing.TB, v interface {
	LogProb(grad, u []float64) (float64, error)
}, grad, u []float64) float64 {
	t.Helper()
	lp, err := v.LogProb(grad, u)
	if err != nil {
		t.Fatal(err)
	}
	return lp
}

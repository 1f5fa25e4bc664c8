package vae

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strings"

	"lenskit/onnx"
)

// architecture is a variational autoencoder without its weights.
type architecture interface {
	// params lists the parameters, trained ones and running statistics. Those of the decoder begin with "dec.".
	params() []vaeParam
	// initial are the weights that training begins with.
	initial(rng *rand.Rand) map[string]*onnx.Tensor
	// size are the number of latents and the extent of the images.
	size() (latents, width, height int)
	// opset is the version of the ONNX operators that the layers are written in.
	opset() int
	// encode appends the encoder: images x [N, 1, h, w] to mean and log standard deviation [N, L].
	encode(n *vaeNet, x string) (mu, logSigma string)
	// decode appends the decoder: latents z [N, L] to images [N, 1, h, w].
	decode(n *vaeNet, z string) string
}

// Shape is the architecture of tables D1 and D2 of Chianese et al. (2020): four strided convolutions of Channels, a
// convolution to Hidden, two linear layers to Latents, and the mirrored decoder, for images of 64 x 64.
type Shape struct {
	Latents  int   `json:"latents"`
	Channels []int `json:"channels"`
	Hidden   int   `json:"hidden"`
}

// Paper is the architecture as the paper prints it.
var Paper = Shape{Latents: 64, Channels: []int{64, 128, 256, 512}, Hidden: 4096}

// Constants of the architecture: the side of its images, LeakyReLU's slope, and BatchNorm's epsilon and momentum (those
// of torch.nn.BatchNorm2d).
const (
	vaeSide     = 64
	vaeSlope    = 0.2
	bnEpsilon   = 1e-5
	bnMomentum  = 0.1
	vaeInitStd  = 0.02
	vaeLogClamp = 10 // log σ of the encoder is kept within ±vaeLogClamp
)

// vaeParam is a parameter tensor of the network, named as PyTorch names it in Sequential containers enc and dec and
// linear layers mu and log_sigma.
type vaeParam struct {
	Name  string
	Shape []int64
	Stat  bool // a running statistic of BatchNorm: kept, not trained
	Flat  bool // a matrix [Shape[0], rest] in the training form, over the same memory
}

// params lists the network's parameters in PyTorch's order.
func (v Shape) params() []vaeParam {
	var ps []vaeParam
	add := func(name string, stat bool, shape ...int) {
		s := make([]int64, len(shape))
		for i, d := range shape {
			s[i] = int64(d)
		}
		ps = append(ps, vaeParam{Name: name, Shape: s, Stat: stat})
	}
	norm := func(name string, c int) {
		add(name+".weight", false, c)
		add(name+".bias", false, c)
		add(name+".running_mean", true, c)
		add(name+".running_var", true, c)
	}
	in, at := 1, 0
	for i, c := range v.Channels {
		add(fmt.Sprintf("enc.%d.weight", at), false, c, in, 4, 4)
		at += 2
		if i > 0 {
			norm(fmt.Sprintf("enc.%d", at-1), c)
			at++
		}
		in = c
	}
	add(fmt.Sprintf("enc.%d.weight", at), false, v.Hidden, in, 4, 4)
	// The encoder's last convolution covers its whole operand.
	ps[len(ps)-1].Flat = true
	for _, head := range []string{"mu", "log_sigma"} {
		add(head+".weight", false, v.Latents, v.Hidden)
		add(head+".bias", false, v.Latents)
	}
	in = v.Latents
	for i := len(v.Channels) - 1; i >= 0; i-- {
		at = 3 * (len(v.Channels) - 1 - i)
		add(fmt.Sprintf("dec.%d.weight", at), false, in, v.Channels[i], 4, 4)
		norm(fmt.Sprintf("dec.%d", at+1), v.Channels[i])
		in = v.Channels[i]
	}
	add(fmt.Sprintf("dec.%d.weight", 3*len(v.Channels)), false, in, 1, 4, 4)
	return ps
}

func (v Shape) size() (latents, width, height int) { return v.Latents, v.side(), v.side() }

func (v Shape) opset() int { return 18 }

// trained lists the names of the parameters that training changes.
func trained(a architecture) []string {
	var names []string
	for _, p := range a.params() {
		if !p.Stat {
			names = append(names, p.Name)
		}
	}
	return names
}

// lastConv is the name of the encoder's last convolution, whose window covers its operand.
func (v Shape) lastConv() string { return fmt.Sprintf("enc.%d.weight", 3*len(v.Channels)-1) }

// initial draws the weights of a new network: N(0, 0.02) for convolutions and linear layers, biases 0, BatchNorm 1 and 0
// (appendix D).
func (v Shape) initial(rng *rand.Rand) map[string]*onnx.Tensor {
	w := map[string]*onnx.Tensor{}
	for _, p := range v.params() {
		t := &onnx.Tensor{Type: onnx.Float32, Shape: p.Shape}
		t.Floats = make([]float32, t.Size())
		switch {
		case len(p.Shape) > 1:
			for i := range t.Floats {
				t.Floats[i] = float32(vaeInitStd * rng.NormFloat64())
			}
		case strings.HasSuffix(p.Name, ".running_var"), strings.HasSuffix(p.Name, ".weight"):
			for i := range t.Floats {
				t.Floats[i] = 1
			}
		}
		w[p.Name] = t
	}
	return w
}

// vaeNet appends the layers of a network to a graph. With train set, BatchNorm normalises by the batch's own statistics,
// which stats then names: layer -> {mean, biased variance}.
type vaeNet struct {
	*onnx.Builder
	train bool
	stats map[string][2]string
}

// newVAENet begins a graph over the weights w, which it shares.
func newVAENet(a architecture, name string, w map[string]*onnx.Tensor, inputs ...onnx.Value) *vaeNet {
	g := &onnx.Graph{Name: name, Opset: map[string]int{"": a.opset()}, Inputs: inputs, Init: map[string]*onnx.Tensor{}}
	maps.Copy(g.Init, w)
	return &vaeNet{Builder: onnx.NewBuilder(g, ""), stats: map[string][2]string{}}
}

// floatInput is an input of fixed extents.
func floatInput(name string, shape ...int64) onnx.Value {
	v := onnx.Value{Name: name, Type: onnx.Float32, Shape: []onnx.Dim{}}
	for _, d := range shape {
		v.Shape = append(v.Shape, onnx.Dim{N: d})
	}
	return v
}

// batchInput is an input with an open first extent.
func batchInput(name string, shape ...int64) onnx.Value {
	v := floatInput(name, shape...)
	v.Shape = append([]onnx.Dim{{N: 1, Sym: "N"}}, v.Shape...)
	return v
}

// norm is BatchNorm over axes 0, 2, 3 (Ioffe & Szegedy 2015).
func (n *vaeNet) norm(x, layer string) string {
	if !n.train {
		return n.OpAttr("BatchNormalization", map[string]onnx.Attr{"epsilon": onnx.FloatAttr(bnEpsilon)},
			x, layer+".weight", layer+".bias", layer+".running_mean", layer+".running_var")
	}
	axes := n.Ints(0, 2, 3)
	per := n.Ints(1, -1, 1, 1)
	mean := n.Op("ReduceMean", x, axes)
	centred := n.Op("Sub", x, mean)
	variance := n.Op("ReduceMean", n.Op("Mul", centred, centred), axes)
	n.stats[layer] = [2]string{mean, variance}
	scale := n.Op("Div", n.Op("Reshape", layer+".weight", per), n.Op("Sqrt", n.Op("Add", variance, n.exact(bnEpsilon))))
	return n.Op("Add", n.Op("Mul", centred, scale), n.Op("Reshape", layer+".bias", per))
}

// exact makes a scalar that the float64 evaluator takes unrounded.
func (n *vaeNet) exact(v float64) string {
	return n.Tensor(&onnx.Tensor{Type: onnx.Float32, Shape: []int64{}, Floats: []float32{float32(v)}, Doubles: []float64{v}})
}

func convAttr(stride, pad int64) map[string]onnx.Attr {
	return map[string]onnx.Attr{
		"kernel_shape": onnx.IntsAttr(4, 4), "strides": onnx.IntsAttr(stride, stride), "pads": onnx.IntsAttr(pad, pad, pad, pad),
	}
}

func (n *vaeNet) leaky(x string) string {
	return n.OpAttr("LeakyRelu", map[string]onnx.Attr{"alpha": {Kind: onnx.AttrFloat, Float: vaeSlope}}, x)
}

// encode appends table D1.
func (v Shape) encode(n *vaeNet, x string) (mu, logSigma string) {
	at := 0
	for i := range v.Channels {
		x = n.OpAttr("Conv", convAttr(2, 1), x, fmt.Sprintf("enc.%d.weight", at))
		at += 2
		if i > 0 {
			x = n.norm(x, fmt.Sprintf("enc.%d", at-1))
			at++
		}
		x = n.leaky(x)
	}
	last := v.lastConv()
	if n.train {
		// As a product the weights are read once, not once an image.
		x = n.OpAttr("Flatten", map[string]onnx.Attr{"axis": onnx.IntAttr(1)}, x)
		x = n.leaky(n.OpAttr("Gemm", map[string]onnx.Attr{"transB": onnx.IntAttr(1)}, x, last))
	} else {
		x = n.leaky(n.OpAttr("Conv", convAttr(1, 0), x, last))
		x = n.OpAttr("Flatten", map[string]onnx.Attr{"axis": onnx.IntAttr(1)}, x)
	}
	head := func(name string) string {
		return n.OpAttr("Gemm", map[string]onnx.Attr{"transB": onnx.IntAttr(1)}, x, name+".weight", name+".bias")
	}
	logSigma = n.Op("Clip", head("log_sigma"), n.Scalar(-vaeLogClamp), n.Scalar(vaeLogClamp))
	return head("mu"), logSigma
}

// decode appends table D2, whose images are in [-1, 1].
func (v Shape) decode(n *vaeNet, z string) string {
	x := n.Op("Reshape", z, n.Ints(-1, int64(v.Latents), 1, 1))
	for i := range v.Channels {
		stride, pad := int64(2), int64(1)
		if i == 0 {
			stride, pad = 1, 0
		}
		x = n.OpAttr("ConvTranspose", convAttr(stride, pad), x, fmt.Sprintf("dec.%d.weight", 3*i))
		x = n.Op("Relu", n.norm(x, fmt.Sprintf("dec.%d", 3*i+1)))
	}
	last := fmt.Sprintf("dec.%d", 3*len(v.Channels))
	in := []string{x, last + ".weight"}
	if n.G.Init[last+".bias"] != nil { // not in table D2, but decoders from elsewhere may have one
		in = append(in, last+".bias")
	}
	return n.Op("Tanh", n.OpAttr("ConvTranspose", convAttr(2, 1), in...))
}

// decoderGraph is the decoder with weights w: input z [N, L], output image [N, 1, h, w].
func decoderGraph(a architecture, w map[string]*onnx.Tensor) (*onnx.Graph, error) {
	latents, _, _ := a.size()
	n := newVAENet(a, "decoder", pick(w, true), batchInput("z", int64(latents)))
	n.OutputAs("image", a.decode(n, "z"))
	return n.G, n.Err()
}

// encoderGraph is the encoder with weights w: input image [N, 1, h, w], outputs mu and sigma [N, L].
func encoderGraph(a architecture, w map[string]*onnx.Tensor) (*onnx.Graph, error) {
	_, width, height := a.size()
	n := newVAENet(a, "encoder", pick(w, false), batchInput("image", 1, int64(height), int64(width)))
	mu, logSigma := a.encode(n, "image")
	n.OutputAs("mu", mu)
	n.OutputAs("sigma", n.Op("Exp", logSigma))
	return n.G, n.Err()
}

// pick are the decoder's weights, or the others.
func pick(w map[string]*onnx.Tensor, decoder bool) map[string]*onnx.Tensor {
	out := map[string]*onnx.Tensor{}
	for name, t := range w {
		if strings.HasPrefix(name, "dec.") == decoder {
			out[name] = t
		}
	}
	return out
}

// vaeObjective says what a training step minimises.
type vaeObjective struct {
	Batch, Samples int     // images a step; Monte-Carlo samples of each (M of appendix C)
	SigmaD         float64 // σ_d of eq. 1
}

// lossGraph is the negative ELBO (eq. 4) of a batch as a graph of its training form. Inputs: x [B, 1, h, w], eps
// [M·B, L] standard normal, beta (scalar weight of the KL term). Outputs: loss, reconstruction, kl (scalars, per image),
// and for each BatchNorm layer with running statistics LAYER.mean and LAYER.var, the batch's mean and unbiased variance.
func lossGraph(a architecture, w map[string]*onnx.Tensor, o vaeObjective) (*onnx.Graph, error) {
	init := map[string]*onnx.Tensor{}
	for _, p := range a.params() {
		t := w[p.Name]
		switch {
		case p.Stat:
		case p.Flat:
			flat := *t
			flat.Shape = []int64{t.Shape[0], int64(t.Size()) / t.Shape[0]}
			init[p.Name] = &flat
		default:
			init[p.Name] = t
		}
	}
	latents, width, height := a.size()
	B, M, L, W, H := int64(o.Batch), int64(o.Samples), int64(latents), int64(width), int64(height)
	n := newVAENet(a, "vae", init, floatInput("x", B, 1, H, W), floatInput("eps", M*B, L), floatInput("beta"))
	n.train = true
	mu, logSigma := a.encode(n, "x")
	sigma := n.Op("Exp", logSigma)
	// z_j = μ + ε_j σ (eq. C2)
	noise := n.Op("Mul", n.Op("Reshape", "eps", n.Ints(M, B, L)), sigma)
	z := n.Op("Reshape", n.Op("Add", noise, mu), n.Ints(M*B, L))
	image := n.Op("Reshape", a.decode(n, z), n.Ints(M, B, 1, H, W))
	r := n.Op("Sub", image, "x")
	all := map[string]onnx.Attr{"keepdims": onnx.IntAttr(0)}
	squares, half := n.terms(r, mu, sigma, logSigma)
	rec := n.Op("Mul", n.OpAttr("ReduceSum", all, squares), n.exact(0.5/(o.SigmaD*o.SigmaD*float64(M*B))))
	kl := n.Op("Mul", n.OpAttr("ReduceSum", all, half), n.exact(1/float64(B)))
	total := n.Op("Add", rec, n.Op("Mul", kl, "beta"))
	for _, out := range [][2]string{{total, "loss"}, {rec, "reconstruction"}, {kl, "kl"}} {
		n.OutputAs(out[1], out[0])
	}
	for _, p := range a.params() {
		layer, ok := strings.CutSuffix(p.Name, ".running_mean")
		if !ok || !p.Stat {
			continue
		}
		s := n.stats[layer]
		shape, ok := extents(n.Shape(n.sourceOf(s[0])))
		if !ok {
			return nil, fmt.Errorf("tools: vae: layer %s has no fixed shape", layer)
		}
		count := float64(shape[0] * shape[2] * shape[3])
		flat := n.Ints(-1)
		n.OutputAs(layer+".mean", n.Op("Reshape", s[0], flat))
		n.OutputAs(layer+".var", n.Op("Reshape", n.Op("Mul", s[1], n.exact(count/math.Max(1, count-1))), flat))
	}
	return n.G, n.Err()
}

// terms are the summands of the loss: squares of the residuals r, and the KL divergence by latent.
func (n *vaeNet) terms(r, mu, sigma, logSigma string) (squares, kl string) {
	// KL of N(μ, σ) from N(0, 1): ½ (μ² + σ² − 1 − 2 log σ), where σ² − 1 = 2 σ sinh(log σ) does not cancel at σ = 1
	spread := n.Op("Sub", n.Op("Mul", sigma, n.Op("Sinh", logSigma)), logSigma)
	return n.Op("Mul", r, r), n.Op("Add", n.Op("Mul", n.Op("Mul", mu, mu), n.exact(0.5)), spread)
}

// sourceOf is the first operand of the node that makes a value.
func (n *vaeNet) sourceOf(value string) string {
	for _, node := range n.G.Nodes {
		if node.Out[0] == value {
			return node.In[0]
		}
	}
	return ""
}

// extents are the numbers of a shape that is known.
func extents(s []onnx.Dim) ([]int64, bool) {
	out := make([]int64, len(s))
	for i, d := range s {
		if !d.Known() {
			return nil, false
		}
		out[i] = d.N
	}
	return out, s != nil
}

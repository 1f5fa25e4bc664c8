package vae

import (
	"fmt"
	"math/rand/v2"

	"lenskit/onnx"
	"lenskit/onnx/footprint"
	"lenskit/onnx/ort"
	"lenskit/tools/galaxies"
)

// vaeChecker measures a network in its inference form, BatchNorm by running statistics, over the memory of its weights.
type vaeChecker struct {
	batch, latents int
	run            *ort.Session
	x, eps         []float32
	rec, kl, image []float32
}

// newVAEChecker opens the inference form of a network over the weights w, which may change between calls.
func newVAEChecker(a architecture, w map[string]*onnx.Tensor, batch int, sigmaD float64, s ort.Options) (*vaeChecker, error) {
	latents, width, height := a.size()
	B := int64(batch)
	inputs := []onnx.Value{floatInput("x", B, 1, int64(height), int64(width)), floatInput("eps", B, int64(latents))}
	s.Bind, s.Frugal = map[string][]float32{}, true
	for _, p := range a.params() {
		inputs = append(inputs, floatInput(p.Name, p.Shape...))
		s.Bind[p.Name] = w[p.Name].Floats
	}
	n := newVAENet(a, "check", nil, inputs...)
	mu, logSigma := a.encode(n, "x")
	sigma := n.Op("Exp", logSigma)
	image := a.decode(n, n.Op("Add", mu, n.Op("Mul", sigma, "eps")))
	r := n.Op("Sub", image, "x")
	rec, kl := n.terms(r, mu, sigma, logSigma)
	sum := func(x string, axes ...int64) string {
		return n.OpAttr("ReduceSum", map[string]onnx.Attr{"keepdims": onnx.IntAttr(0)}, x, n.Ints(axes...))
	}
	n.OutputAs("reconstruction", n.Op("Mul", sum(rec, 1, 2, 3), n.exact(0.5/(sigmaD*sigmaD))))
	n.OutputAs("kl", sum(kl, 1))
	n.OutputAs("image", image)
	if err := n.Err(); err != nil {
		return nil, fmt.Errorf("tools: check graph: %w", err)
	}
	s.Room = footprint.AllRoom
	run, err := ort.Open(n.G, s)
	if err != nil {
		return nil, err
	}
	return &vaeChecker{
		batch: batch, latents: latents, run: run, x: run.Input("x"), eps: run.Input("eps"),
		rec: run.Output("reconstruction"), kl: run.Output("kl"), image: run.Output("image"),
	}, nil
}

// elbo is the mean of the two terms over the images of a set, with one sample of the latents each, the same in every call.
func (k *vaeChecker) elbo(set *galaxies.Cube) (reconstruction, kl float64, err error) {
	rng := rand.New(rand.NewPCG(0x656c626f, 1))
	pixels := set.W * set.H
	for from := 0; from < set.N; from += k.batch {
		n := min(k.batch, set.N-from)
		copy(k.x, set.Pix[from*pixels:(from+n)*pixels])
		for i := range n * k.latents {
			k.eps[i] = float32(rng.NormFloat64())
		}
		if err := k.run.Run(); err != nil {
			return 0, 0, err
		}
		for i := range n {
			reconstruction += float64(k.rec[i])
			kl += float64(k.kl[i])
		}
	}
	return reconstruction / float64(set.N), kl / float64(set.N), nil
}

// reconstructions are up to one batch of images of a set, evenly spread, and what the network makes of them by the mean
// of their latents.
func (k *vaeChecker) reconstructions(set *galaxies.Cube, count int) (originals, decoded [][]float64, err error) {
	count = min(count, k.batch, set.N)
	pixels := set.W * set.H
	for i := range count {
		copy(k.x[i*pixels:], set.Plane(i*set.N/count))
	}
	clear(k.eps)
	if err := k.run.Run(); err != nil {
		return nil, nil, err
	}
	take := func(v []float32, i int) []float64 {
		p := make([]float64, pixels)
		for j := range p {
			p[j] = float64(v[i*pixels+j])
		}
		return p
	}
	for i := range count {
		originals, decoded = append(originals, take(k.x, i)), append(decoded, take(k.image, i))
	}
	return originals, decoded, nil
}

func (k *vaeChecker) close() { k.run.Close() }

package vae

import (
	"fmt"
	"strings"

	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/footprint"
	"lenskit/onnx/ort"
	"lenskit/tools/internal/term"
)

// vaeTrainer holds a network in training: its state, the session that computes loss and gradients from it, and the
// optimiser. The parameters are bound to the session's inputs once and the gradients to its outputs; a step copies
// neither. Its methods must not run at the same time.
type vaeTrainer struct {
	net       architecture
	objective vaeObjective
	opt       adamOptions

	// The trained parameters, their gradients and Adam's moments, one parameter after the other in PyTorch's order.
	p, g, m, v []float32
	// tensors are the parameters and running statistics by name: views of p and of stats.
	tensors map[string]*onnx.Tensor
	stats   map[string][]float32
	steps   int64 // done

	run         *ort.Session
	x, eps      []float32
	beta        []float32
	loss        []float32
	rec, kl     []float32
	batchStats  []statUpdate
	parallelism int
}

// statUpdate blends a statistic of the batch into a running one.
type statUpdate struct{ running, batch []float32 }

// newVAETrainer begins training from the weights w, which are copied. Threads and device are those of the session.
func newVAETrainer(net architecture, w map[string]*onnx.Tensor, o vaeObjective, opt adamOptions, s ort.Options) (*vaeTrainer, error) {
	t := &vaeTrainer{net: net, objective: o, opt: opt, tensors: map[string]*onnx.Tensor{}, stats: map[string][]float32{}, parallelism: s.Threads}
	total := 0
	for _, p := range net.params() {
		if w[p.Name] == nil {
			return nil, fmt.Errorf("tools: train: no weights for %s", p.Name)
		}
		if !p.Stat {
			total += aligned(w[p.Name].Size())
		}
	}
	for _, dst := range []*[]float32{&t.p, &t.g, &t.m, &t.v} {
		*dst = make([]float32, total)
	}
	bind := map[string][]float32{}
	at := 0
	for _, p := range net.params() {
		n := w[p.Name].Size()
		if p.Stat {
			t.stats[p.Name] = append([]float32(nil), w[p.Name].Floats...)
			t.tensors[p.Name] = onnx.FloatTensor(t.stats[p.Name], p.Shape...)
			continue
		}
		copy(t.p[at:at+n], w[p.Name].Floats)
		t.tensors[p.Name] = onnx.FloatTensor(t.p[at:at+n:at+n], p.Shape...)
		bind[p.Name], bind["grad_"+p.Name] = t.p[at:at+n:at+n], t.g[at:at+n:at+n]
		at += aligned(n)
	}
	g, err := lossGraph(net, t.tensors, o)
	if err != nil {
		return nil, err
	}
	step, err := diff.Train(g, diff.TrainOptions{Loss: "loss", Params: trained(net), GradientsOnly: true})
	if err != nil {
		return nil, err
	}
	s.Bind, s.Frugal, s.Room = bind, true, footprint.AllRoom
	if t.run, err = ort.Open(step, s); err != nil {
		return nil, err
	}
	t.x, t.eps, t.beta = t.run.Input("x"), t.run.Input("eps"), t.run.Input("beta")
	t.loss, t.rec, t.kl = t.run.Output("loss"), t.run.Output("reconstruction"), t.run.Output("kl")
	for _, p := range net.params() {
		if p.Stat {
			t.batchStats = append(t.batchStats, statUpdate{t.stats[p.Name], t.run.Output(strings.Replace(p.Name, "running_", "", 1))})
		}
	}
	return t, nil
}

// aligned rounds a length up to whole cache lines of float32.
func aligned(n int) int { return (n + 15) &^ 15 }

// stepResult is what a step tells: its loss, which is the negative ELBO with the KL term weighted, and the two terms,
// per image.
type stepResult struct {
	Loss, Reconstruction, KL float64
	GradNorm                 float64
}

// step makes one step of training on the images x [B, 1, 64, 64] with the noise eps [M·B, L]. The result of a step whose
// loss or gradient is not finite is an error, and the state is then of no further use.
func (t *vaeTrainer) step(x, eps []float32, beta, rate float64) (stepResult, error) {
	copy(t.x, x)
	copy(t.eps, eps)
	t.beta[0] = float32(beta)
	if err := t.run.Run(); err != nil {
		return stepResult{}, err
	}
	r := stepResult{Loss: float64(t.loss[0]), Reconstruction: float64(t.rec[0]), KL: float64(t.kl[0])}
	if !term.Finite(r.Loss) {
		return r, term.Numerical("training diverged at step %d: the loss is %g", t.steps+1, r.Loss)
	}
	t.steps++
	r.GradNorm = t.opt.update(t.p, t.g, t.m, t.v, t.steps, rate, t.parallelism)
	if !term.Finite(r.GradNorm) {
		return r, term.Numerical("training diverged at step %d: the gradient's norm is %g", t.steps, r.GradNorm)
	}
	for _, s := range t.batchStats {
		for i, b := range s.batch {
			s.running[i] = (1-bnMomentum)*s.running[i] + bnMomentum*b
		}
	}
	return r, nil
}

// close frees the session; the state stays.
func (t *vaeTrainer) close() { t.run.Close() }

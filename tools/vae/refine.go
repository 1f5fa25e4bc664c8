package vae

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"sync/atomic"

	"lenskit/internal/task"
	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/footprint"
	"lenskit/onnx/ort"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"
)

// refiner finds the latents whose image comes closest to a given one: it minimises F = ½ Σ r² over the inner three
// quarters of the width, what innerRMS measures, by BFGS in coordinates in which F is round at the start. Its methods
// must not run at the same time.
type refiner struct {
	side    int
	z, goal []float32 // operands of loss; outside of the inner part goal is 0
	f, g    []float32 // its results: F and ∂F/∂z
	at, jac []float32 // operand and result of columns: ∂image/∂z, a row a latent
	loss    *ort.Session
	columns *ort.Session
}

// newRefiner opens the decoder of a bundle, whose images have side x side pixels, on one thread.
func newRefiner(b *config.Bundle, side int) (r *refiner, err error) {
	r = &refiner{side: side}
	defer func() {
		if err != nil {
			r.close()
			r, err = nil, term.AsBadInput(err)
		}
	}()
	in, out := b.Decoder.Inputs[0].Name, b.Decoder.Outputs[0].Name
	g, err := one(b)
	if err != nil {
		return r, err
	}
	session := ort.Options{Threads: 1, Room: footprint.BatchRoom}
	columns, err := diff.Jacobian(g, diff.Options{Wrt: []string{in}, Of: []string{out}, Columns: b.Latents})
	if err != nil {
		return r, err
	}
	if r.columns, err = ort.Open(columns, session); err != nil {
		return r, err
	}
	basis := r.columns.Input("tangent_" + in)
	for k := range b.Latents {
		basis[k*b.Latents+k] = 1
	}
	r.at, r.jac = r.columns.Input(in), r.columns.Output("tangent_"+out)

	g = g.Shallow() // the bundle's tensors are shared with the other refiners
	n := onnx.NewBuilder(g, "refine.")
	goal, loss, pixels := n.Reserve("goal"), n.Reserve("loss"), int64(side*side)
	g.Inputs = append(g.Inputs, onnx.Value{Name: goal, Type: onnx.Float32, Shape: []onnx.Dim{{N: pixels}}})
	g.Outputs = nil
	n = onnx.NewBuilder(g, "refine.") // knows the new input
	inner := onnx.FloatTensor(make([]float32, pixels), pixels)
	eachInner(side, func(k int) { inner.Floats[k] = 1 })
	residual := n.Op("Sub", n.Op("Mul", n.Op("Reshape", out, n.Ints(pixels)), n.Tensor(inner)), goal)
	sum := n.OpAttr("ReduceSumSquare", map[string]onnx.Attr{"keepdims": onnx.IntAttr(0)}, residual)
	n.OutputAs(loss, n.Op("Mul", sum, n.Scalar(0.5)))
	if err = n.Err(); err != nil {
		return r, err
	}
	if g, err = diff.VJP(g, diff.Options{Wrt: []string{in}, Of: []string{loss}}); err != nil {
		return r, err
	}
	if r.loss, err = ort.Open(g, session); err != nil {
		return r, err
	}
	r.loss.Input("grad_" + loss)[0] = 1
	r.z, r.goal, r.f, r.g = r.loss.Input(in), r.loss.Input(goal), r.loss.Output(loss), r.loss.Output("grad_"+in)
	return r, nil
}

// one is the decoder for one image at a time.
func one(b *config.Bundle) (*onnx.Graph, error) {
	in := b.Decoder.Inputs[0]
	shape := []int64{1, int64(b.Latents)}
	for range len(in.Shape) - 2 {
		shape = append(shape, 1)
	}
	g, err := diff.BindInput(b.Decoder, in.Name, shape)
	if err != nil {
		return nil, term.BadInput("%s: %w", b.Path, err)
	}
	return g, nil
}

func (r *refiner) close() {
	for _, s := range []*ort.Session{r.loss, r.columns} {
		if s != nil {
			s.Close()
		}
	}
}

// refine moves the latents z to a minimum of F for an image, until five steps in a row take less than a thousandth off F.
func (r *refiner) refine(image, z []float64) error {
	eachInner(r.side, func(k int) { r.goal[k] = float32(image[k]) })
	metric, err := r.metric(z)
	if err != nil {
		return err
	}
	point := make([]float64, len(z))
	move := func(u []float64) {
		metric.Push(point, u)
		for k := range point {
			point[k] += z[k]
		}
	}
	var failed error
	var done []float64 // the coordinates that f and g belong to
	run := func(u []float64) {
		if failed != nil || slices.Equal(u, done) {
			return
		}
		move(u)
		for k, v := range point {
			r.z[k] = float32(v)
		}
		failed = r.loss.Run()
		done = append(done[:0], u...)
	}
	problem := optimize.Problem{
		Func:   func(u []float64) float64 { run(u); return float64(r.f[0]) },
		Grad:   func(grad, u []float64) { run(u); metric.Pull(grad, widened(r.g)) },
		Status: func() (optimize.Status, error) { return optimize.NotTerminated, failed },
	}
	settings := &optimize.Settings{MajorIterations: 200, Converger: &optimize.FunctionConverge{Relative: 1e-3, Iterations: 5}}
	found, err := optimize.Minimize(problem, make([]float64, len(z)), settings, &optimize.BFGS{})
	switch {
	case failed != nil:
		return failed
	case found == nil:
		return err
	}
	// Where no step lowers F in float32 any more, the best point is as good as any.
	move(found.X)
	copy(z, point)
	return nil
}

// metric makes F round about z: the inverse of JᵀJ, with a thousandth of its mean diagonal added for latents that do
// nothing.
func (r *refiner) metric(z []float64) (*samplers.Metric, error) {
	for k := range r.at { // absent where the decoder is linear
		r.at[k] = float32(z[k])
	}
	if err := r.columns.Run(); err != nil {
		return nil, err
	}
	L, pixels := len(z), r.side*r.side
	var inner []int
	eachInner(r.side, func(k int) { inner = append(inner, k) })
	jac := mat.NewDense(L, len(inner), nil)
	for l := range L {
		for c, k := range inner {
			jac.Set(l, c, float64(r.jac[l*pixels+k]))
		}
	}
	hess := mat.NewSymDense(L, nil)
	hess.SymOuterK(1, jac)
	ridge := 1e-3 * mat.Trace(hess) / float64(L)
	for l := range L {
		hess.SetSym(l, l, hess.At(l, l)+ridge+math.SmallestNonzeroFloat64)
	}
	var chol mat.Cholesky
	var cov mat.SymDense
	if !chol.Factorize(hess) {
		return nil, term.Numerical("the decoder's Jacobian is not finite")
	}
	if err := chol.InverseTo(&cov); err != nil && !errors.As(err, new(mat.Condition)) {
		return nil, err
	}
	return samplers.NewMetricCov(&cov)
}

// refineAll moves each of the latents zs, the encodings of images, to where the bundle's decoder comes closest to the
// image.
func refineAll(ctx context.Context, b *config.Bundle, images, zs [][]float64, side int) error {
	var next atomic.Int64
	workers := min(runtime.GOMAXPROCS(0), len(images))
	failed := make([]error, workers)
	var g task.Group
	for w := range workers {
		g.Go(func() {
			r, err := newRefiner(b, side)
			if err != nil {
				failed[w] = err
				return
			}
			defer r.close()
			for i := int(next.Add(1)) - 1; i < len(images) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if failed[w] = r.refine(images[i], zs[i]); failed[w] != nil {
					return
				}
			}
		})
	}
	g.Wait()
	return errors.Join(append(failed, ctx.Err())...)
}

// eachInner calls f with the place of each pixel of the inner three quarters of the width of a side x side image.
func eachInner(side int, f func(k int)) {
	edge := side / 8
	for j := edge; j < side-edge; j++ {
		for i := edge; i < side-edge; i++ {
			f(j*side + i)
		}
	}
}

package adjoint

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"gonum.org/v1/gonum/mat"
)

// Hessian writes minus the second derivative of the log density at u to hess, by central differences of the gradient: with
// the cross terms between all parameters, which the Gauss-Newton matrix of LogProbHess lacks where something is integrated
// over. The steps are the widths of the density of each coordinate, the others held, times a tenth, as that matrix has them. The
// threads of the Posterior work at as many gradients at a time, each on a clone.
func (v *View) Hessian(hess *mat.SymDense, u []float64) error {
	p, dim := v.p, v.Dim()
	if hess.SymmetricDim() != dim {
		panic("adjoint: Hessian: matrix of another model")
	}
	if _, err := v.LogProbHess(make([]float64, dim), hess, u); err != nil || dim == 0 {
		return err
	}
	steps := make([]float64, dim)
	for k := range steps {
		steps[k] = hessianStep / math.Sqrt(math.Max(1, hess.At(k, k)))
	}
	rows := make([][]float64, dim)
	errs := make([]error, min(dim, max(1, p.opt.Threads)))
	var group sync.WaitGroup
	for w := range errs {
		q, err := p.Clone(1)
		if err != nil {
			errs[w] = fmt.Errorf("adjoint: Hessian: %w", err)
			break
		}
		group.Go(func() {
			defer q.Close()
			view := View{p: q, sampling: v.sampling, relaxed: v.relaxed}
			for k := w; k < dim && errs[w] == nil; k += len(errs) {
				rows[k], errs[w] = view.difference(u, k, steps[k])
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	for a := range dim {
		for b := a; b < dim; b++ {
			hess.SetSym(a, b, -0.5*(rows[a][b]+rows[b][a]))
		}
	}
	return nil
}

// hessianStep is the step of Hessian in parts of a width.
const hessianStep = 0.1

// difference is the derivative of the gradient by coordinate k.
func (v *View) difference(u []float64, k int, step float64) ([]float64, error) {
	x, g, back := slices.Clone(u), make([]float64, len(u)), make([]float64, len(u))
	x[k] = u[k] - step
	if _, err := v.LogProb(back, x); err != nil {
		return nil, fmt.Errorf("adjoint: Hessian: %w", err)
	}
	x[k] = u[k] + step
	if _, err := v.LogProb(g, x); err != nil {
		return nil, fmt.Errorf("adjoint: Hessian: %w", err)
	}
	for i := range g {
		g[i] = (g[i] - back[i]) / (2 * step)
	}
	return g, nil
}

package search

import (
	"gonum.org/v1/gonum/mat"
	"lenskit/samplers"
)

// subset is a Curved target with only some of its coordinates free.
type subset struct {
	full  samplers.Lagged
	which []int
	base  []float64
}

func (t *subset) Dim() int { return len(t.which) }

func (t *subset) part(u []float64) []float64 {
	out := make([]float64, len(t.which))
	for i, k := range t.which {
		out[i] = u[k]
	}
	return out
}

func (t *subset) whole(x []float64) []float64 {
	out := append([]float64(nil), t.base...)
	for i, k := range t.which {
		out[k] = x[i]
	}
	return out
}

func (t *subset) LogProb(grad, x []float64) (float64, error) {
	u := t.whole(x)
	if grad == nil {
		return t.full.LogProb(nil, u)
	}
	g := make([]float64, len(t.base))
	lp, err := t.full.LogProb(g, u)
	copy(grad, t.part(g))
	return lp, err
}

func (t *subset) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	return t.cut(grad, hess, func(g []float64, h *mat.SymDense) (float64, error) { return t.full.LogProbHess(g, h, t.whole(x)) })
}

func (t *subset) LogProbHessFrom(grad []float64, hess *mat.SymDense, x, origin []float64) (float64, error) {
	return t.cut(grad, hess, func(g []float64, h *mat.SymDense) (float64, error) {
		return t.full.LogProbHessFrom(g, h, t.whole(x), t.whole(origin))
	})
}

// cut takes the free coordinates' part of a gradient and a curvature.
func (t *subset) cut(grad []float64, hess *mat.SymDense, whole func(g []float64, h *mat.SymDense) (float64, error)) (float64, error) {
	g, h := make([]float64, len(t.base)), mat.NewSymDense(len(t.base), nil)
	lp, err := whole(g, h)
	copy(grad, t.part(g))
	for i, a := range t.which {
		for j := i; j < len(t.which); j++ {
			hess.SetSym(i, j, h.At(a, t.which[j]))
		}
	}
	return lp, err
}

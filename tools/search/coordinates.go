package search

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
)

// coordinates are those of theta, at most 5 from the origin so that no search starts on a bound.
func coordinates(p *adjoint.Posterior, theta []float64) ([]float64, error) {
	u := make([]float64, p.Dim())
	if err := p.U(u, theta); err != nil {
		return nil, err
	}
	for k, v := range u {
		u[k] = math.Max(-5, math.Min(5, v))
	}
	return u, nil
}

// namedTheta is the named parameters at coordinates u.
func namedTheta(p *adjoint.Posterior, u []float64) config.Named {
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, u)
	out := config.Named{}
	for k, name := range p.Names() {
		out[name] = theta[k]
	}
	return out
}

// LaidOut is the parameters of a posterior as the first of named that has them says; the others, and those that are fixed,
// stand at the origin.
func LaidOut(p *adjoint.Posterior, named ...config.Named) []float64 {
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, make([]float64, p.Dim()))
	for k, name := range p.Names() {
		for _, n := range named {
			if v, ok := n[name]; ok && p.Free()[k] >= 0 {
				theta[k] = v
				break
			}
		}
	}
	return theta
}

func coordinatesOf(p *adjoint.Posterior, match func(q *adjoint.Param) bool) []int {
	var out []int
	for k := range p.Params() {
		if f := p.Free()[k]; f >= 0 && match(&p.Params()[k]) {
			out = append(out, f)
		}
	}
	return out
}

func isSource(q *adjoint.Param) bool { return q.Group == adjoint.GroupSource }

func isLens(q *adjoint.Param) bool { return q.Group == adjoint.GroupLens }

// skyOf is the sky among the named parameters of a model, 0 where that has none.
func skyOf(post *adjoint.Posterior, named config.Named) float64 {
	for _, q := range post.Params() {
		if q.Role == physics.RoleSky {
			return named[q.Name]
		}
	}
	return 0
}

// isEinsteinRadius tells whether a parameter is the Einstein radius of a galaxy's mass profile.
func isEinsteinRadius(q *adjoint.Param) bool { return q.Role == physics.RoleEinsteinRadius }

// clampToPriors moves values on or beyond a bound of their prior inside by a thousandth of its range.
func clampToPriors(post *adjoint.Posterior, cfg *config.Config, theta []float64) {
	bounds := map[string]*config.Prior{}
	for _, c := range cfg.Components() {
		for i := range c.Params {
			if !c.Params[i].Vector {
				bounds[c.Key(c.Params[i].Name)] = &c.Params[i].Prior
			}
		}
	}
	for k, name := range post.Names() {
		p := bounds[name]
		if p == nil || p.IsFixed() {
			continue
		}
		lo, hi := p.Support()
		margin := 1e-3 * (hi - lo)
		if math.IsInf(margin, 0) {
			margin = 1e-3 * math.Abs(p.B)
		}
		theta[k] = math.Max(lo+margin, math.Min(hi-margin, theta[k]))
		if p.Family == physics.FamilyLogNormal {
			theta[k] = math.Max(theta[k], math.Exp(p.A-5*p.B))
		}
	}
}

// OffBounds is a curvature in which a coordinate without any, as one has whose parameter sits on its bound, is apart from the
// others and as wide as its prior: it must not take the errors of the others with it. One whose curvature is no number stays.
func OffBounds(hess *mat.SymDense) *mat.SymDense {
	h := mat.NewSymDense(hess.SymmetricDim(), nil)
	h.CopySym(hess)
	for i := range h.SymmetricDim() {
		if v := h.At(i, i); v > leastCurvature || math.IsNaN(v) {
			continue
		}
		for j := range h.SymmetricDim() {
			h.SetSym(i, j, 0)
		}
		h.SetSym(i, i, 1)
	}
	return h
}

// BoundSigma is the share of its value below which the uncertainty of a parameter is no measurement: it sits on a bound.
const BoundSigma = 1e-9

// leastCurvature of a coordinate, whose prior has about 1 within its bounds.
const leastCurvature = 1e-9

// newtonGain is by how much a full Newton step is expected to raise a log density; beyond all numbers where that cannot be
// told.
func newtonGain(t samplers.Curved, u []float64) float64 {
	grad, hess := make([]float64, len(u)), mat.NewSymDense(len(u), nil)
	if _, err := t.LogProbHess(grad, hess, u); err != nil {
		return math.MaxFloat64
	}
	m, _, err := samplers.NewMetricHess(OffBounds(hess), 1e-10)
	if err != nil {
		return math.MaxFloat64
	}
	m.Pull(grad, slices.Clone(grad))
	gain := 0.5 * floats.Dot(grad, grad)
	if !term.Finite(gain) {
		return math.MaxFloat64
	}
	return gain
}

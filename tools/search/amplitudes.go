package search

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/tools/observation"
)

// fitAmplitudes sets the free amplitudes (of profiles, decoders and the sky) among theta to their least-squares values, where these lie
// within reach standard deviations of the centres of their priors. only, unless nil, selects among them.
func fitAmplitudes(p *adjoint.Posterior, theta []float64, reach float64, only func(q *adjoint.Param) bool) {
	var which []int
	for k := range p.Params() {
		if q := &p.Params()[k]; p.Free()[k] >= 0 && q.Role.IsAmplitude() && (only == nil || only(q)) {
			which = append(which, k)
		}
	}
	noise := p.Noise()
	n := len(noise.Data)
	zero := append([]float64(nil), theta...)
	for _, k := range which {
		zero[k] = 0
	}
	base := make([]float64, n)
	if len(which) == 0 || p.ModelImage(base, zero) != nil {
		return
	}
	cols := make([][]float64, len(which))
	for c, k := range which {
		one := append([]float64(nil), zero...)
		one[k] = 1
		cols[c] = make([]float64, n)
		if p.ModelImage(cols[c], one) != nil {
			return
		}
		for i := range cols[c] {
			cols[c][i] = (cols[c][i] - base[i]) * noise.Weight[i]
		}
	}
	a := mat.NewSymDense(len(which), nil)
	b := mat.NewVecDense(len(which), nil)
	for c := range cols {
		for d := c; d < len(cols); d++ {
			v := 0.0
			for i, x := range cols[c] {
				v += x * cols[d][i]
			}
			if c == d {
				v = v*(1+1e-9) + 1e-300
			}
			a.SetSym(c, d, v)
		}
		v := 0.0
		for i, x := range cols[c] {
			v += x * (noise.Data[i] - base[i]) * noise.Weight[i]
		}
		b.SetVec(c, v)
	}
	if slices.ContainsFunc(which, func(k int) bool { return p.Params()[k].Role == physics.RoleTermAmplitude }) {
		positiveAmplitudes(p, theta, which, a, b)
		return
	}
	var chol mat.Cholesky
	var x mat.VecDense
	if !chol.Factorize(a) || chol.SolveVecTo(&x, b) != nil {
		return
	}
	old := append([]float64(nil), theta...)
	u := make([]float64, p.Dim())
	for c, k := range which {
		theta[k] = x.AtVec(c)
		// beyond that an amplitude is no help: the start's shape is wrong
		if p.U(u, theta) != nil || math.Abs(u[p.Free()[k]]) > reach {
			theta[k] = old[k]
		}
	}
}

// positiveAmplitudes sets amplitudes, those of expansions among them, to the best that are not negative. Those that end at
// zero are set to what their priors hold least likely.
func positiveAmplitudes(p *adjoint.Posterior, theta []float64, which []int, a *mat.SymDense, b *mat.VecDense) {
	x, free := make([]float64, len(which)), -1
	for c, k := range which {
		if p.Params()[k].Role == physics.RoleSky {
			free = c
		}
	}
	observation.NonNegative(x, a, b, free)
	least := make([]float64, len(theta))
	u := make([]float64, p.Dim())
	for i := range u {
		u[i] = -3
	}
	p.Theta(least, u)
	for c, k := range which {
		if theta[k] = x[c]; c != free {
			theta[k] = math.Max(x[c], least[k])
		}
	}
}

package sample

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"
	"lenskit/adjoint"
	"lenskit/internal/stats"
	"lenskit/physics"
	"lenskit/samplers"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
)

// reparametrisation is a change of coordinates u = Φ(v) that takes out of the posterior what curvature is known beforehand, so that a
// linear metric does for the rest. A decoder's amplitude ι and latents z can make up for each other, and so can its
// latents for the width and the place of the source, over ranges in which the posterior is a thin curved sheet. With η
// the coordinates that are not latents, Φ leaves η alone and has
//
//	u_z = (v_z + q(η)) ι₀/ι(η)
//
// with the ratio of amplitudes for each decoder whose Scale is set, and q the second-order term of the latents that
// are most probable given η. The first makes a linear decoder's image linear in v, as ι (μ + W z) = ι μ + W (ι z); the
// second has determinant 1. Φ is smooth and invertible whatever q is; the density of v is that of u times |∂u/∂v|.
type reparametrisation struct {
	Eta    []int // coordinates that are not latents
	Latent []int // those that are
	Scale  []amplitude
	Quad   *quadratic `json:",omitempty"`
}

// amplitude is a decoder whose latents are scaled.
type amplitude struct {
	Name  int // of ι among the named parameters
	Free  int // its coordinate
	Z     []int
	Iota0 float64
}

// quadratic is q(η) = ½ Σ B_ij t_i t_j with t = W (η − η₀).
type quadratic struct {
	Centre []float64
	W      []float64 // m×m
	B      []float64 // for each i ≤ j a row of latents; off-diagonal pairs counted once
}

// newReparametrisation is the identity, with the decoders that could be scaled.
func newReparametrisation(post *adjoint.Posterior) (b *reparametrisation, amps []amplitude) {
	b = &reparametrisation{}
	params, free := post.Params(), post.Free()
	for i, f := range free {
		switch {
		case f < 0:
		case params[i].Role == physics.RoleLatent:
			b.Latent = append(b.Latent, f)
		default:
			b.Eta = append(b.Eta, f)
		}
	}
	for i, f := range free {
		p := &params[i]
		if p.Role != physics.RoleAmplitude || f < 0 {
			continue
		}
		a := amplitude{Name: i, Free: f}
		for k, q := range params {
			if q.Role == physics.RoleLatent && q.Group == p.Group && q.Component == p.Component && free[k] >= 0 {
				a.Z = append(a.Z, free[k])
			}
		}
		if len(a.Z) > 0 {
			amps = append(amps, a)
		}
	}
	return b, amps
}

// check says why b, from a file, cannot be of post's coordinates.
func (b *reparametrisation) check(post *adjoint.Posterior) error {
	if b == nil {
		return errors.New("found no coordinates")
	}
	n, names := post.Dim(), len(post.Names())
	inside := func(list []int, n int) bool {
		return !slices.ContainsFunc(list, func(i int) bool { return i < 0 || i >= n })
	}
	ok := len(b.Eta)+len(b.Latent) == n && inside(b.Eta, n) && inside(b.Latent, n)
	for _, a := range b.Scale {
		ok = ok && inside([]int{a.Name}, names) && inside([]int{a.Free}, n) && inside(a.Z, n) && a.Iota0 > 0
	}
	if q, m := b.Quad, len(b.Eta); q != nil {
		ok = ok && len(q.Centre) == m && len(q.W) == m*m && len(q.B) == m*(m+1)/2*len(b.Latent)
	}
	if !ok {
		return fmt.Errorf("found coordinates of another posterior than one of %d parameters", n)
	}
	return nil
}

// reparametrisedPosterior is the density of v. Like the posterior it serves one goroutine at a time.
type reparametrisedPosterior struct {
	*reparametrisation
	post    *adjoint.Posterior
	view    *adjoint.View
	u, gu   []float64
	t, gt   []float64
	q       []float64
	rate    []float64 // d ln ι / du of each scaled decoder
	shrink  []float64 // ι₀/ι
	hess    *mat.SymDense
	columns *mat.Dense
	origin  []float64 // u where decoders' Jacobians are computed
}

func (b *reparametrisation) target(post *adjoint.Posterior) *reparametrisedPosterior {
	n, m, k := post.Dim(), len(b.Eta), len(b.Scale)
	f := func(k int) []float64 { return make([]float64, k) }
	return &reparametrisedPosterior{reparametrisation: b, post: post, view: post.Sampling(), u: f(n), gu: f(n), t: f(m), gt: f(m), q: f(len(b.Latent)), rate: f(k), shrink: f(k)}
}

// Dim is the number of coordinates.
func (b *reparametrisedPosterior) Dim() int { return b.post.Dim() }

// Join and Leave tell the posteriors whose networks run together with this one's.
func (b *reparametrisedPosterior) Join() { b.post.Join() }

func (b *reparametrisedPosterior) Leave() { b.post.Leave() }

// push writes u = Φ(v) and returns log |∂u/∂v|.
func (b *reparametrisedPosterior) push(u, v []float64) float64 {
	copy(u, v)
	if q := b.Quad; q != nil {
		q.place(b.t, v, b.Eta)
		q.shift(b.q, b.t)
		for i, k := range b.Latent {
			u[k] += b.q[i]
		}
	}
	det := 0.0
	for i := range b.Scale {
		a := &b.Scale[i]
		iota, slope, _ := b.post.Scalar(a.Name, v[a.Free])
		b.shrink[i], b.rate[i] = a.Iota0/iota, slope/iota
		for _, k := range a.Z {
			u[k] *= b.shrink[i]
		}
		det += float64(len(a.Z)) * math.Log(b.shrink[i])
	}
	return det
}

// pull writes v = Φ⁻¹(u).
func (b *reparametrisedPosterior) pull(v, u []float64) {
	copy(v, u)
	for i := range b.Scale {
		a := &b.Scale[i]
		iota, _, _ := b.post.Scalar(a.Name, u[a.Free])
		for _, k := range a.Z {
			v[k] *= iota / a.Iota0
		}
	}
	if q := b.Quad; q != nil {
		q.place(b.t, u, b.Eta)
		q.shift(b.q, b.t)
		for i, k := range b.Latent {
			v[k] -= b.q[i]
		}
	}
}

// LogProb is the log density of v.
func (b *reparametrisedPosterior) LogProb(grad, v []float64) (float64, error) {
	det := b.push(b.u, v)
	if math.IsNaN(det) || math.IsInf(det, 0) {
		return math.Inf(-1), nil
	}
	var gu []float64
	if grad != nil {
		gu = b.gu
	}
	lp, err := b.view.LogProb(gu, b.u)
	if err != nil || grad == nil {
		return lp + det, err
	}
	b.back(grad, b.gu)
	for i := range b.Scale {
		grad[b.Scale[i].Free] -= float64(len(b.Scale[i].Z)) * b.rate[i]
	}
	return lp + det, nil
}

// back writes (∂u/∂v)ᵀ g at the point last pushed, whose u is in b.u.
func (b *reparametrisedPosterior) back(grad, g []float64) {
	copy(grad, g)
	for i := range b.Scale {
		a := &b.Scale[i]
		s := 0.0
		for _, k := range a.Z {
			s += g[k] * b.u[k]
			grad[k] *= b.shrink[i]
		}
		grad[a.Free] -= s * b.rate[i]
	}
	if q := b.Quad; q != nil {
		for i, k := range b.Latent {
			b.q[i] = grad[k]
		}
		q.shiftAdj(b.gt, b.q, b.t)
		m := len(b.Eta)
		for j, k := range b.Eta {
			for i := range m {
				grad[k] += q.W[i*m+j] * b.gt[i]
			}
		}
	}
}

// LogProbHess is LogProb with the Gauss-Newton matrix of v.
func (b *reparametrisedPosterior) LogProbHess(grad []float64, hess *mat.SymDense, v []float64) (float64, error) {
	return b.LogProbHessFrom(grad, hess, v, v)
}

// LogProbHessFrom is LogProbHess with the decoders' Jacobians computed at origin.
func (b *reparametrisedPosterior) LogProbHessFrom(grad []float64, hess *mat.SymDense, v, origin []float64) (float64, error) {
	n := b.Dim()
	if b.hess == nil {
		b.hess, b.columns, b.origin = mat.NewSymDense(n, nil), mat.NewDense(n, n, nil), make([]float64, n)
	}
	b.push(b.origin, origin)
	det := b.push(b.u, v)
	if math.IsNaN(det) || math.IsInf(det, 0) {
		return math.Inf(-1), nil
	}
	lp, err := b.view.LogProbHessFrom(b.gu, b.hess, b.u, b.origin)
	if err != nil {
		return lp, err
	}
	b.back(grad, b.gu)
	for i := range b.Scale {
		grad[b.Scale[i].Free] -= float64(len(b.Scale[i].Z)) * b.rate[i]
	}
	// Jᵀ H J: back on the columns of H and on the rows of what comes out
	row, out := make([]float64, n), make([]float64, n)
	for i := range n {
		for j := range n {
			row[j] = b.hess.At(i, j)
		}
		b.back(out, row)
		b.columns.SetRow(i, out)
	}
	for j := range n {
		mat.Col(row, j, b.columns)
		b.back(out, row)
		for i := 0; i <= j; i++ {
			hess.SetSym(i, j, out[i])
		}
	}
	return lp + det, nil
}

// place writes t = W (η − η₀).
func (q *quadratic) place(t, v []float64, eta []int) {
	m := len(eta)
	for i := range m {
		t[i] = 0
		for j, k := range eta {
			t[i] += q.W[i*m+j] * (v[k] - q.Centre[j])
		}
	}
}

// shift writes q.
func (q *quadratic) shift(dst, t []float64) {
	clear(dst)
	row := q.B
	for i := range t {
		for j := i; j < len(t); j++ {
			f := 0.5 * t[i] * t[j]
			for k, b := range row[:len(dst)] {
				dst[k] += f * b
			}
			row = row[len(dst):]
		}
	}
}

// shiftAdj writes (∂q/∂t)ᵀ g.
func (q *quadratic) shiftAdj(gt, g, t []float64) {
	clear(gt)
	row := q.B
	for i := range t {
		for j := i; j < len(t); j++ {
			s := 0.0
			for k, b := range row[:len(g)] {
				s += b * g[k]
			}
			gt[i] += 0.5 * s * t[j]
			gt[j] += 0.5 * s * t[i]
			row = row[len(g):]
		}
	}
}

// quadReach is where, in standard deviations of η, the second-order term is measured.
const quadReach = 1.0

// measureQuad finds q at the Gaussian g of the coordinates that b has without it: at η₀ ± h along each of the widths of
// η, and of each two, the latents that are most probable are found by Newton's steps with the curvature of the centre;
// what the Gaussian foresaw is taken off, and the part even in h is q.
func (b *reparametrisation) measureQuad(post *adjoint.Posterior, notes *journal, g *samplers.Gaussian, hess *mat.SymDense) (*quadratic, samplers.Tally, error) {
	withoutQuad := reparametrisation{Eta: b.Eta, Latent: b.Latent, Scale: b.Scale}
	target := noted{withoutQuad.target(post), notes}
	var tally samplers.Tally
	m, n := len(b.Eta), len(b.Latent)
	cov := g.Metric.Cov()
	etaCov, cross := mat.NewSymDense(m, nil), mat.NewDense(n, m, nil)
	for i, a := range b.Eta {
		for j := i; j < m; j++ {
			etaCov.SetSym(i, j, cov.At(a, b.Eta[j]))
		}
		for k, z := range b.Latent {
			cross.Set(k, i, cov.At(z, a))
		}
	}
	zz := mat.NewSymDense(n, nil)
	for i, a := range b.Latent {
		for j := i; j < n; j++ {
			zz.SetSym(i, j, hess.At(a, b.Latent[j]))
		}
	}
	var eigen mat.EigenSym
	var chol mat.Cholesky
	if !eigen.Factorize(etaCov, true) || !chol.Factorize(zz) {
		return nil, tally, term.Numerical("the curvature of the posterior is not positive definite")
	}
	values := eigen.Values(nil)
	var axes mat.Dense
	eigen.VectorsTo(&axes)
	q := &quadratic{W: make([]float64, m*m), B: make([]float64, m*(m+1)/2*n)}
	width := make([]float64, m)
	for i := range m {
		q.Centre = append(q.Centre, g.Mean[b.Eta[i]])
		width[i] = math.Sqrt(math.Max(values[i], 1e-300))
		for j := range m {
			q.W[i*m+j] = axes.At(j, i) / width[i]
		}
	}
	// the latents that the Gaussian foresees, by t
	var slope mat.Dense // Σ_zη E diag(1/width): as Σ_zη Σ_ηη⁻¹ E diag(width)
	slope.Mul(cross, &axes)
	v, grad := make([]float64, target.Dim()), make([]float64, target.Dim())
	step := mat.NewVecDense(n, nil)
	// residue is what the most probable latents at t are off the Gaussian's
	residue := func(out []float64, t func(i int) float64) (bool, error) {
		copy(v, g.Mean)
		for i := range m {
			ti := t(i)
			if ti == 0 {
				continue
			}
			for j, k := range b.Eta {
				v[k] += axes.At(j, i) * width[i] * ti
			}
			for j, k := range b.Latent {
				v[k] += slope.At(j, i) / width[i] * ti
			}
		}
		clear(out)
		for range 2 {
			tally.Evaluations++
			lp, err := target.LogProb(grad, v)
			if err != nil && !samplers.Recoverable(err) {
				return false, err
			}
			if err != nil || math.IsInf(lp, 0) || math.IsNaN(lp) {
				return false, nil
			}
			for j, k := range b.Latent {
				step.SetVec(j, grad[k])
			}
			if err := chol.SolveVecTo(step, step); err != nil {
				return false, nil
			}
			for j, k := range b.Latent {
				out[j] += step.AtVec(j)
				v[k] += step.AtVec(j)
			}
		}
		return FiniteAll(out), nil
	}
	up, down := make([]float64, n), make([]float64, n)
	row := func(i, j int) []float64 {
		at := 0
		for a := range i {
			at += m - a
		}
		at = (at + j - i) * n
		return q.B[at : at+n]
	}
	for i := range m {
		for j := i; j < m; j++ {
			place := func(sign float64) func(k int) float64 {
				return func(k int) float64 {
					if k == i || k == j {
						return sign * quadReach
					}
					return 0
				}
			}
			ok1, err := residue(up, place(1))
			if err != nil {
				return nil, tally, err
			}
			ok2, err := residue(down, place(-1))
			if err != nil {
				return nil, tally, err
			}
			if !ok1 || !ok2 {
				continue
			}
			for k, r := range row(i, j) {
				r = (up[k] + down[k]) / (quadReach * quadReach)
				row(i, j)[k] = r
			}
		}
	}
	// of two at a time: ½B_ii + B_ij·½·2 + ½B_jj; the rows count an off-diagonal pair once, with weight ½
	for i := range m {
		for j := i + 1; j < m; j++ {
			r, a, c := row(i, j), row(i, i), row(j, j)
			for k := range r {
				r[k] -= a[k] + c[k]
			}
		}
	}
	return q, tally, nil
}

// Steps from the maximum of the named parameters' density to that of the coordinates', and how it is probed.
const (
	centreSteps  = 12
	centreGain   = 0.01
	probes       = 15
	maxQuadratic = 60 // coordinates that are not latents up to which a second-order term is measured
	nearGaussian = 3  // misfit up to which no other coordinates are tried
)

// approximation is the posterior in coordinates in which it is nearly a Gaussian.
type approximation struct {
	coords *reparametrisation
	normal *samplers.Gaussian
	top    *samplers.Result
	// misfit is by how much the log density at a draw of the Gaussian is typically off the Gaussian's, 0 at best.
	misfit float64
	spread float64 // of starts: the Gaussian's draws, drawn to its centre where the posterior has no room for them
	tally  samplers.Tally
}

// chooseCoordinates finds coordinates for sampling, from the named parameters at a maximum: those of the prior where the density is like a
// Gaussian in them; otherwise these or with scaled latents, whichever is better, and then with a second-order term if that is better still.
// The evaluations are noted.
func chooseCoordinates(p *problem.Problem, ctx context.Context, notes *journal, theta []float64, rng *rand.Rand) (*approximation, error) {
	u := make([]float64, p.Post.Dim())
	if err := p.Post.U(u, theta); err != nil {
		return nil, term.BadInput("%s: %w", p.Config.File, err)
	}
	identity, amps := newReparametrisation(p.Post)
	best, err := probe(p, ctx, notes, identity, u, rng)
	if err != nil || best.misfit <= nearGaussian {
		return best, err
	}
	tally := best.tally
	try := func(b *reparametrisation) error {
		r, err := probe(p, ctx, notes, b, u, rng)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			return nil // the others will do
		}
		tally.Evaluations += r.tally.Evaluations
		tally.Hessians += r.tally.Hessians
		if r.misfit < best.misfit {
			best = r
		}
		return nil
	}
	if len(amps) > 0 {
		scaled := *identity
		for _, a := range amps {
			a.Iota0 = theta[a.Name]
			if a.Iota0 > 0 {
				scaled.Scale = append(scaled.Scale, a)
			}
		}
		if len(scaled.Scale) > 0 {
			if err := try(&scaled); err != nil {
				return nil, err
			}
		}
	}
	if m := len(identity.Eta); m > 0 && m <= maxQuadratic && len(identity.Latent) > 0 {
		q, cost, err := best.coords.measureQuad(p.Post, notes, best.normal, best.top.Hess)
		tally.Evaluations += cost.Evaluations
		if err != nil {
			return nil, err
		}
		b := *best.coords
		b.Quad = q
		if err := try(&b); err != nil {
			return nil, err
		}
	}
	best.tally = tally
	return best, nil
}

// probe approximates the density of b's coordinates by a Gaussian at its maximum, sought from the coordinates u, and
// tells how good that is.
func probe(p *problem.Problem, ctx context.Context, notes *journal, b *reparametrisation, u []float64, rng *rand.Rand) (*approximation, error) {
	t := noted{b.target(p.Post), notes}
	v := make([]float64, len(u))
	t.pull(v, u)
	top, err := samplers.LevenbergMarquardt(ctx, t, samplers.NewLMState(v), samplers.LMOptions{Steps: centreSteps, TolGain: centreGain}, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, term.Numerical("%s: %w", p.Config.File, err)
	}
	g, err := samplers.Laplace(top.X, top.Hess, 0)
	if err != nil {
		return nil, term.Numerical("%s: %w", p.Config.File, err)
	}
	r := &approximation{coords: b, normal: g, top: top, tally: top.Tally}
	eps, x, away := make([]float64, len(u)), make([]float64, len(u)), make([]float64, 0, probes)
	// shrinking the draws tells how near the centre the posterior is still the Gaussian's
	for r.spread = 1; ; r.spread /= 2 {
		away = away[:0]
		for range probes {
			norm := 0.0
			for i := range eps {
				eps[i] = rng.NormFloat64()
				norm += eps[i] * eps[i]
			}
			g.Metric.Push(x, eps)
			for i := range x {
				x[i] = g.Mean[i] + r.spread*x[i]
			}
			lp, err := t.LogProb(nil, x)
			r.tally.Evaluations++
			if err != nil && !samplers.Recoverable(err) {
				return nil, err
			}
			off := math.Inf(1)
			if err == nil && !math.IsNaN(lp) {
				off = math.Abs(top.LogProb - lp - 0.5*r.spread*r.spread*norm)
			}
			away = append(away, off)
		}
		off := stats.Percentile(away, 0.5)
		if r.spread == 1 {
			r.misfit = off
			if finite := slices.DeleteFunc(slices.Clone(away), func(v float64) bool { return math.IsInf(v, 0) }); len(finite) <= probes/2 {
				r.misfit = math.Inf(1)
			}
		}
		if off <= float64(len(u)) || r.spread < 1.0/32 {
			return r, nil
		}
	}
}

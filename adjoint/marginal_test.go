package adjoint

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/samplers"
)

var _ samplers.Target = (*Marginal)(nil)

func openMarginal(t testing.TB, m Model, o Observation, opt Options) *Marginal {
	t.Helper()
	p, err := NewMarginal(m, o, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// denseMarginal is what a Marginal computes, from dense matrices alone: each column of A is the model image with one
// coefficient or amplitude at 1 and all others at 0.
type denseMarginal struct {
	a       *mat.Dense    // used pixels x unknowns: coefficients, then columns of amplitudes
	h       *mat.SymDense // precision of their prior; 0 for amplitudes that are not Gaussian
	logDetH float64
	mean    []float64 // of their prior
	base    []float64 // what the model gives without
	d, w    []float64 // data and 1/(sσ)
}

// newDenseMarginal draws the columns by the chain of the whole image, which knows nothing of the inversion.
func newDenseMarginal(t *testing.T, p *Marginal, theta []float64) *denseMarginal {
	t.Helper()
	if err := p.scene.set(theta); err != nil {
		t.Fatal(err)
	}
	v := p.inv
	all := v.n + len(v.columns)
	x := make([]float64, all)
	draw := func() []float64 {
		for i, l := range v.pixelised {
			l.splines.SetCoefficients(x[v.first[i]:v.first[i+1]])
		}
		values := slices.Clone(theta)
		for k, c := range v.columns {
			values[c.at] = x[v.n+k]
		}
		for u, l := range v.units {
			if err := l.light.Set(v.params(u, values)); err != nil {
				t.Fatal(err)
			}
		}
		img, err := p.draw()
		if err != nil {
			t.Fatal(err)
		}
		var out []float64
		for i, used := range p.noise.Used {
			if used {
				out = append(out, img.Model.Pix[i])
			}
		}
		return out
	}
	m := &denseMarginal{base: draw(), mean: make([]float64, all), h: mat.NewSymDense(all, nil)}
	s := 1.0
	if p.like.scaleAt >= 0 {
		s = theta[p.like.scaleAt]
	}
	for i, used := range p.noise.Used {
		if used {
			m.d, m.w = append(m.d, p.noise.Data[i]), append(m.w, p.noise.Weight[i]/s)
		}
	}
	m.a = mat.NewDense(len(m.d), all, nil)
	for k := range x {
		x[k] = 1
		col := draw()
		x[k] = 0
		for i := range col {
			m.a.Set(i, k, col[i]-m.base[i])
		}
	}
	for i, l := range v.pixelised {
		if err := l.splines.Prepare(); err != nil {
			t.Fatal(err)
		}
		n := l.splines.Len()
		h := make([]float64, n*n)
		l.splines.AddPrecision(h, n, 1)
		part := mat.NewSymDense(n, nil)
		for a := range n {
			for b := range a + 1 {
				part.SetSym(a, b, h[a*n+b])
				m.h.SetSym(v.first[i]+a, v.first[i]+b, h[a*n+b])
			}
		}
		var chol mat.Cholesky
		if !chol.Factorize(part) {
			t.Fatal("a prior is not positive definite")
		}
		m.logDetH += chol.LogDet()
	}
	for k, c := range v.columns {
		if c.gaussian {
			m.h.SetSym(v.n+k, v.n+k, c.weight)
			m.mean[v.n+k] = c.mean
			m.logDetH += math.Log(c.weight)
		}
	}
	return m
}

// solve is the posterior of the unknowns in `with`, the others being at x: their mean and covariance, and the evidence.
func (m *denseMarginal) solve(t *testing.T, with []int, x []float64) (mean []float64, cov *mat.SymDense, logZ float64) {
	t.Helper()
	r := make([]float64, len(m.d))
	held := map[int]bool{}
	for k := range x {
		held[k] = true
	}
	for _, k := range with {
		held[k] = false
	}
	for i := range r {
		r[i] = (m.d[i] - m.base[i]) * m.w[i]
		for k, v := range x {
			if held[k] {
				r[i] -= m.a.At(i, k) * v * m.w[i]
			}
		}
	}
	n := len(with)
	a := mat.NewDense(len(r), n, nil)
	for i := range r {
		for j, k := range with {
			a.Set(i, j, m.a.At(i, k)*m.w[i])
		}
	}
	s := mat.NewSymDense(n, nil)
	s.SymOuterK(1, a.T())
	b := mat.NewVecDense(n, nil)
	b.MulVec(a.T(), mat.NewVecDense(len(r), r))
	for i, k := range with {
		for j, l := range with[:i+1] {
			s.SetSym(i, j, s.At(i, j)+m.h.At(k, l))
		}
		for _, l := range with {
			b.SetVec(i, b.AtVec(i)+m.h.At(k, l)*m.mean[l])
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(s) {
		t.Fatal("the dense system is singular")
	}
	y := mat.NewVecDense(n, nil)
	if err := chol.SolveVecTo(y, b); err != nil {
		t.Log(err)
	}
	mean = y.RawVector().Data
	cov = mat.NewSymDense(n, nil)
	if err := chol.InverseTo(cov); err != nil {
		t.Log(err)
	}
	var fit mat.VecDense
	fit.MulVec(a, y)
	for i, v := range r {
		e := v - fit.AtVec(i)
		logZ += -0.5*e*e + math.Log(m.w[i]) - logSqrt2Pi
	}
	for i, k := range with {
		for j, l := range with {
			logZ -= 0.5 * (mean[i] - m.mean[k]) * m.h.At(k, l) * (mean[j] - m.mean[l])
		}
	}
	return mean, cov, logZ + 0.5*(m.logDetH-chol.LogDet())
}

// oddMarginal has all at once: nested grids, an envelope, a mean, amplitudes of both kinds, a sky, a factor of the noise, a
// mask and a noise map.
func oddMarginal(t *testing.T) *Marginal {
	amp, logAmp, scale, sky := physics.Normal(0.3, 0.5), physics.LogNormal(-1, 0.3), physics.LogNormal(0.2, 0.2), physics.Normal(0.02, 0.05)
	m := pixelisedModel(PixelisedSpec{Grids: []physics.SplineGrid{{Half: 0.9, N: 6}, {X: 0.1, Half: 0.35, N: 5}}, Components: 2},
		Component{Group: GroupSource, Name: "mean", Kind: "sersic", Priors: sersicPriors(&logAmp, 0.2, 0.1)},
		Component{Group: GroupLensLight, Name: "mge", Kind: "mge", Amplitudes: AmplitudesNonNegative, Priors: mgePriors(0.01)},
		Component{Group: GroupLensLight, Name: "light", Kind: "sersic", Amplitudes: AmplitudesGaussian, Priors: sersicPriors(&amp, 0.4, 0)},
		Component{Group: GroupSource, Name: "knot", Kind: "gaussian", Amplitudes: AmplitudesGaussian, Priors: priors{"amp": physics.Normal(0.01, 0.02), "sigma": physics.LogNormal(-2.5, 0.1),
			"e1": physics.Fixed(0.1), "e2": physics.Fixed(0), "center_x": physics.Fixed(0.08), "center_y": physics.Fixed(0.03)}})
	m.NoiseScale, m.Sky = &scale, &sky
	o := arcsObservation(t, 18, func(o *Observation) {
		o.Sigma, o.Mask = make([]float64, o.W*o.H), make([]bool, o.W*o.H)
		for i := range o.Sigma {
			o.Sigma[i], o.Mask[i] = 0.04+0.01*float64(i%5), i%13 != 2
		}
	})
	return openMarginal(t, m, o, Options{Device: deviceReference, Threads: 2})
}

// pointOf is a point away from the medians of the priors.
func pointOf(p *Posterior, size float64) (u, theta []float64) {
	u = check.Normals(rand.New(rand.NewPCG(73, 1)), p.Dim())
	for i := range u {
		u[i] *= size
	}
	theta = make([]float64, len(p.Names()))
	p.Theta(theta, u)
	return u, theta
}

func TestConditionalAgainstDense(t *testing.T) {
	p := oddMarginal(t)
	_, theta := pointOf(p.Posterior, 0.3)
	m := newDenseMarginal(t, p, theta)
	e, err := p.Eval(theta, false)
	if err != nil {
		t.Fatal(err)
	}
	v := p.inv
	x := make([]float64, v.n+len(v.columns))
	var with []int
	for k := range v.n {
		with = append(with, k)
	}
	for k, c := range v.columns {
		if c.gaussian {
			with = append(with, v.n+k)
		}
		x[v.n+k] = v.amp[k]
	}
	mean, cov, logZ := m.solve(t, with, x)
	check.Close(t, "log evidence", e.LogLikelihood, logZ, 1e-10, 1)

	c, err := p.Conditional(theta)
	if err != nil {
		t.Fatal(err)
	}
	s := &c.Sources[0]
	for k := range s.Mean {
		check.Close(t, fmt.Sprintf("coefficient %d", k), s.Mean[k], mean[k], 1e-8, 0.1)
		check.Close(t, fmt.Sprintf("deviation of coefficient %d", k), s.SD[k], math.Sqrt(cov.At(k, k)), 1e-8, 0)
	}
	solved, deviation, err := p.Amplitudes(theta)
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range c.columns {
		check.Close(t, p.Names()[at], c.Theta[at], mean[v.n+i], 1e-8, 0.1)
		check.Close(t, "deviation of "+p.Names()[at], deviation[at], math.Sqrt(cov.At(v.n+i, v.n+i)), 1e-8, 0)
		deviation[at] = 0
	}
	if !equal(solved, c.Theta) || !equal(deviation, make([]float64, len(theta))) {
		t.Errorf("amplitudes: found %v with other deviations %v, expected %v", solved, deviation, c.Theta)
	}
	// no amplitude that is not to be negative can be improved upon: the best evidence falls with those that are positive and does
	// not rise with the others
	best := func(k int, by float64) float64 {
		y := slices.Clone(x)
		y[v.n+k] += by
		_, _, z := m.solve(t, with, y)
		return z
	}
	for k := range v.nFree {
		h := 1e-3 * (x[v.n+k] + 0.01)
		slope := (best(k, h) - best(k, -h)) / (2 * h)
		if x[v.n+k] > 0 && math.Abs(slope)*h > 1e-5 || x[v.n+k] == 0 && slope*h > 1e-9 || x[v.n+k] < 0 {
			t.Errorf("amplitude %d at %g: the evidence has the slope %g", k, x[v.n+k], slope)
		}
	}

	// the picture of the source, its deviation, the model
	img := s.Image(s.Mean, 9, 8, 0.2, 0.03, 0.02)
	sd := c.Deviation([]int{0}, 9, 8, 0.2, 0.03, 0.02)
	for _, k := range []int{30, 31, 40} {
		b := make([]float64, v.n)
		for n := range b {
			one := make([]float64, v.n)
			one[n] = 1
			b[n] = s.Image(one, 9, 8, 0.2, 0.03, 0.02).Pix[k]
		}
		value, square := 0.0, 0.0
		for i := range b {
			value += b[i] * mean[i]
			for j := range b {
				square += b[i] * b[j] * cov.At(i, j)
			}
		}
		check.Close(t, "source", img.Pix[k], value, 1e-8, 0.1)
		check.Close(t, "deviation of the source", sd.Pix[k], math.Sqrt(square), 1e-8, 0)
	}
	all, err := p.Images(theta)
	if err != nil {
		t.Fatal(err)
	}
	for k := range v.n {
		x[k] = mean[k]
	}
	for i, at := range with[v.n:] {
		x[at] = mean[v.n+i]
	}
	at := 0
	for i, used := range p.noise.Used {
		if !used {
			continue
		}
		want := m.base[at]
		for k, c := range x {
			want += m.a.At(at, k) * c
		}
		check.Close(t, "model", all.Model.Pix[i], want, 1e-8, 0.1)
		check.Close(t, "residual", all.Residual.Pix[i], (m.d[at]-want)*p.noise.Weight[i], 1e-7, 1)
		at++
	}
}

func TestConditionalDraws(t *testing.T) {
	p := oddMarginal(t)
	_, theta := pointOf(p.Posterior, 0.3)
	m := newDenseMarginal(t, p, theta)
	c, err := p.Conditional(theta)
	if err != nil {
		t.Fatal(err)
	}
	v := p.inv
	x := make([]float64, v.n+len(v.columns))
	var with []int
	for k := range v.n {
		with = append(with, k)
	}
	for k, col := range v.columns {
		if col.gaussian {
			with = append(with, v.n+k)
		}
		x[v.n+k] = v.amp[k]
	}
	mean, cov, _ := m.solve(t, with, x)
	const draws = 4000
	rng := rand.New(rand.NewPCG(74, 1))
	// along random directions, and along coefficients and amplitudes themselves
	var dirs [][]float64
	for range 10 {
		dirs = append(dirs, check.Normals(rng, len(with)))
	}
	for _, k := range []int{0, 20, v.n - 1, v.n, v.n + 1} {
		e := make([]float64, len(with))
		e[k] = 1
		dirs = append(dirs, e)
	}
	sum, square := make([]float64, len(dirs)), make([]float64, len(dirs))
	s := [][]float64{make([]float64, v.n)}
	for range draws {
		th := slices.Clone(c.Theta)
		c.Draw(s, th, rng)
		for i, d := range dirs {
			y := 0.0
			for k := range with {
				if k < v.n {
					y += d[k] * (s[0][k] - mean[k])
				} else {
					y += d[k] * (th[c.columns[k-v.n]] - mean[k])
				}
			}
			sum[i] += y
			square[i] += y * y
		}
	}
	for i, d := range dirs {
		want := mat.Inner(mat.NewVecDense(len(d), d), cov, mat.NewVecDense(len(d), d))
		// five of the standard deviations of a mean and of a variance of so many draws
		if got := sum[i] / draws; math.Abs(got) > 5*math.Sqrt(want/draws) {
			t.Errorf("direction %d: mean %g, expected 0 to %g", i, got, math.Sqrt(want/draws))
		}
		if got := square[i] / draws; math.Abs(got/want-1) > 5*math.Sqrt(2.0/draws) {
			t.Errorf("direction %d: variance %g, want %g", i, got, want)
		}
	}
	// the same seed, the same draw
	again := [][]float64{make([]float64, v.n)}
	th1, th2 := slices.Clone(c.Theta), slices.Clone(c.Theta)
	c.Draw(s, th1, rand.New(rand.NewPCG(1, 1)))
	c.Draw(again, th2, rand.New(rand.NewPCG(1, 1)))
	if !equal(s[0], again[0]) || !equal(th1, th2) {
		t.Error("draws of the same seed differ")
	}
}

// The Gauss-Newton matrix of the lens and shapes against one from dense matrices, with columns by differences.
func TestMarginalGaussNewton(t *testing.T) {
	p := oddMarginal(t)
	u, theta := pointOf(p.Posterior, 0.2)
	hess := mat.NewSymDense(p.Dim(), nil)
	if _, err := p.LogProbHess(make([]float64, p.Dim()), hess, u); err != nil {
		t.Fatal(err)
	}
	c, err := p.Conditional(theta)
	if err != nil {
		t.Fatal(err)
	}
	m := newDenseMarginal(t, p, theta)
	v := p.inv
	// the model image with coefficients and amplitudes held
	image := func(u []float64) []float64 {
		th := make([]float64, len(theta))
		p.Theta(th, u)
		if err := p.scene.set(th); err != nil {
			t.Fatal(err)
		}
		v.pixelised[0].splines.SetCoefficients(c.Sources[0].Mean)
		for k, col := range v.columns {
			th[col.at] = c.Theta[col.at]
			_ = k
		}
		for i, l := range v.units {
			if err := l.light.Set(v.params(i, th)); err != nil {
				t.Fatal(err)
			}
		}
		img, err := p.draw()
		if err != nil {
			t.Fatal(err)
		}
		var out []float64
		for i, used := range p.noise.Used {
			if used {
				out = append(out, img.Model.Pix[i]*p.noise.Weight[i]/theta[p.like.scaleAt])
			}
		}
		return out
	}
	hyper := func(k int) bool {
		name := p.Names()[nameOf(p.Posterior, k)]
		return strings.HasPrefix(name, "source.pixels.") || name == noiseScale
	}
	dim := p.Dim()
	cols := make([][]float64, dim)
	for k := range cols {
		const h = 1e-4
		x := slices.Clone(u)
		x[k] += h
		up := image(x)
		x[k] -= 2 * h
		down := image(x)
		for i := range up {
			cols[k] = append(cols[k], (up[i]-down[i])/(2*h))
		}
	}
	// unknowns: all but amplitudes at zero
	var with []int
	for k := range v.n {
		with = append(with, k)
	}
	for k, col := range v.columns {
		if col.gaussian || c.Theta[col.at] > 0 {
			with = append(with, v.n+k)
		}
	}
	_, cov, _ := m.solve(t, with, make([]float64, v.n+len(v.columns)))
	back := make([][]float64, dim)
	for k, col := range cols {
		for _, j := range with {
			s := 0.0
			for i, x := range col {
				s += x * m.a.At(i, j) * m.w[i]
			}
			back[k] = append(back[k], s)
		}
	}
	for a := range dim {
		for b := range a + 1 {
			if hyper(a) || hyper(b) {
				continue
			}
			want := check.Dot(cols[a], cols[b]) - mat.Inner(mat.NewVecDense(len(with), back[a]), cov, mat.NewVecDense(len(with), back[b]))
			if a == b {
				want++
			}
			scale := math.Sqrt(hess.At(a, a) * hess.At(b, b))
			check.Close(t, fmt.Sprintf("%s, %s", p.Names()[nameOf(p.Posterior, a)], p.Names()[nameOf(p.Posterior, b)]), hess.At(a, b), want, 1e-5, scale)
		}
	}
}

// The information about the prior's parameters against dense matrices: ½ tr(C⁻¹∂C C⁻¹∂C) with C the covariance of the data.
func TestMarginalInformation(t *testing.T) {
	m := pixelisedModel(PixelisedSpec{Grids: []physics.SplineGrid{{Half: 0.9, N: 5}, {X: 0.1, Half: 0.35, N: 4}}, Components: 2, Smoothness: 2})
	for _, c := range m.Components[:2] {
		for k, prior := range c.Priors {
			s, err := compile(prior)
			if err != nil {
				t.Fatal(err)
			}
			v, _ := s.push(0.1)
			c.Priors[k] = physics.Fixed(v)
		}
	}
	p := openMarginal(t, m, arcsObservation(t, 14, nil), Options{Device: deviceReference})
	u, theta := pointOf(p.Posterior, 0.3)
	hess := mat.NewSymDense(p.Dim(), nil)
	if _, err := p.LogProbHess(make([]float64, p.Dim()), hess, u); err != nil {
		t.Fatal(err)
	}
	covariance := func(u []float64) *mat.SymDense {
		th := make([]float64, len(theta))
		p.Theta(th, u)
		d := newDenseMarginal(t, p, th)
		var chol mat.Cholesky
		chol.Factorize(d.h)
		var half mat.Dense
		n := len(d.d)
		if err := chol.SolveTo(&half, d.a.T()); err != nil {
			t.Log(err)
		}
		var full mat.Dense
		full.Mul(d.a, &half)
		out := mat.NewSymDense(n, nil)
		for i := range n {
			for j := range i + 1 {
				v := full.At(i, j)
				if i == j {
					v += 1 / (d.w[i] * d.w[i])
				}
				out.SetSym(i, j, v)
			}
		}
		return out
	}
	var chol mat.Cholesky
	chol.Factorize(covariance(u))
	x := make([]*mat.Dense, p.Dim())
	for k := range x {
		const h = 1e-4
		y := slices.Clone(u)
		y[k] += h
		up := covariance(y)
		y[k] -= 2 * h
		var d mat.Dense
		d.Sub(up, covariance(y))
		d.Scale(1/(2*h), &d)
		x[k] = new(mat.Dense)
		if err := chol.SolveTo(x[k], &d); err != nil {
			t.Log(err)
		}
	}
	for a := range x {
		for b := range a + 1 {
			var prod mat.Dense
			prod.Mul(x[a], x[b])
			want := 0.5 * mat.Trace(&prod)
			if a == b {
				want++
			}
			scale := math.Sqrt(hess.At(a, a) * hess.At(b, b))
			check.Close(t, fmt.Sprintf("%s, %s", p.Names()[nameOf(p.Posterior, a)], p.Names()[nameOf(p.Posterior, b)]), hess.At(a, b), want, 1e-5, scale)
		}
	}
}

func TestHessianByDifferences(t *testing.T) {
	p := oddMarginal(t)
	u, _ := pointOf(p.Posterior, 0.2)
	dim := p.Dim()
	hess := mat.NewSymDense(dim, nil)
	if err := p.Sampling().Hessian(hess, u); err != nil {
		t.Fatal(err)
	}
	// second differences of the value along some directions
	rng := rand.New(rand.NewPCG(75, 1))
	for range 3 {
		d := check.Normals(rng, dim)
		norm := math.Sqrt(check.Dot(d, d))
		at := func(s float64) float64 {
			x := slices.Clone(u)
			for i := range x {
				x[i] += s * d[i] / norm
			}
			return mustLogProb(t, p, nil, x)
		}
		const h = 2e-3
		second := -(at(h) - 2*at(0) + at(-h)) / (h * h)
		v := mat.NewVecDense(dim, d)
		check.Close(t, "curvature", mat.Inner(v, hess, v)/(norm*norm), second, 3e-3, 1)
	}
	one := mat.NewSymDense(dim, nil)
	q, err := p.Clone(1)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := q.Sampling().Hessian(one, u); err != nil {
		t.Fatal(err)
	}
	if !mat.Equal(one, hess) {
		t.Error("the Hessian hangs on the number of threads")
	}
}

// The images of draws of the source have the mean and the standard deviation that are told of it.
func TestImagesOfDraws(t *testing.T) {
	amp := physics.Normal(0.3, 0.5)
	m := pixelisedModel(PixelisedSpec{Grids: []physics.SplineGrid{{Half: 0.9, N: 6}, {X: 0.1, Half: 0.35, N: 5}}, Components: 1},
		Component{Group: GroupLensLight, Name: "light", Kind: "sersic", Amplitudes: AmplitudesGaussian, Priors: sersicPriors(&amp, 0.4, 0)})
	p := openMarginal(t, m, arcsObservation(t, 18, nil), Options{})
	_, theta := pointOf(p.Posterior, 0.3)
	c, err := p.Conditional(theta)
	if err != nil {
		t.Fatal(err)
	}
	top, err := p.Images(theta)
	if err != nil {
		t.Fatal(err)
	}
	src := top.Source
	all := make([]int, len(c.Sources))
	for i := range all {
		all[i] = i
	}
	sd := c.Deviation(all, src.W, src.H, src.Scale, top.SourceX, top.SourceY)
	const draws = 400
	rng := rand.New(rand.NewPCG(9, 1))
	sum, square := make([]float64, len(src.Pix)), make([]float64, len(src.Pix))
	for range draws {
		img, err := p.DrawImages(theta, rng)
		if err != nil {
			t.Fatal(err)
		}
		if img.SourceX != top.SourceX || img.Source.W != src.W || img.Source.Scale != src.Scale {
			t.Fatal("the frame of the source moves from draw to draw")
		}
		for k, v := range img.Source.Pix {
			d := v - src.Pix[k]
			sum[k] += d
			square[k] += d * d
		}
	}
	for k := 0; k < len(sum); k += 97 {
		if sd.Pix[k] == 0 {
			continue
		}
		check.Close(t, "mean", sum[k]/draws, 0, 5*sd.Pix[k]/math.Sqrt(draws), 1)
		check.Close(t, "standard deviation", math.Sqrt(square[k]/draws), sd.Pix[k], 5/math.Sqrt(2*draws), 0)
	}
}

func TestMock(t *testing.T) {
	p := oddMarginal(t)
	_, theta := pointOf(p.Posterior, 0.3)
	_, s, drawn, err := p.Mock(theta, nil, rand.New(rand.NewPCG(3, 1)))
	if err != nil {
		t.Fatal(err)
	}
	img, again, _, err := p.Mock(theta, nil, rand.New(rand.NewPCG(3, 1)))
	if err != nil || !equal(s[0], again[0]) {
		t.Fatal("mocks of the same seed differ", err)
	}
	m := newDenseMarginal(t, p, theta)
	at := 0
	for i, used := range p.noise.Used {
		if !used {
			continue
		}
		want := m.base[at]
		for k, c := range s[0] {
			want += m.a.At(at, k) * c
		}
		for k, c := range p.inv.columns {
			want += m.a.At(at, len(s[0])+k) * drawn[c.at]
		}
		check.Close(t, "mock", img.Model.Pix[i], want, 1e-9, 0.1)
		at++
	}
	held := make([]bool, len(theta))
	for _, c := range p.inv.columns {
		held[c.at] = true
	}
	if _, _, drawn, err = p.Mock(theta, held, rand.New(rand.NewPCG(3, 1))); err != nil || !equal(drawn, theta) {
		t.Errorf("parameters that are held move: found %v, expected %v, %v", drawn, theta, err)
	}
}

func TestMarginalRefuses(t *testing.T) {
	grids := []physics.SplineGrid{{Half: 0.5, N: 5}}
	o := arcsObservation(t, 12, nil)
	nonneg := Component{Group: GroupLensLight, Name: "mge", Kind: "mge", Amplitudes: AmplitudesNonNegative, Priors: mgePriors(0)}
	bounded := physics.Normal(1, 1).Bounded(0, 3)
	normal := physics.Normal(1, 1)
	for _, c := range []struct {
		name, want string
		change     func(m *Model, o *Observation)
	}{
		{"grid", "1 along a side", func(m *Model, _ *Observation) {
			m.Components[2].Pixelised.Grids = []physics.SplineGrid{{Half: 1, N: 1}}
		}},
		{"width", "half-width of -1", func(m *Model, _ *Observation) {
			m.Components[2].Pixelised.Grids = []physics.SplineGrid{{Half: -1, N: 5}}
		}},
		{"smoothness", "smoothness 5", func(m *Model, _ *Observation) { m.Components[2].Pixelised.Smoothness = 5 }},
		{"zeros", "envelope of zeros", func(m *Model, _ *Observation) { m.Components[2].Pixelised.Image = physics.NewImage(4, 4, 1) }},
		{"negative", "found -1 in pixel 3 of the envelope", func(m *Model, _ *Observation) {
			m.Components[2].Pixelised.Image = physics.NewImage(4, 4, 1)
			m.Components[2].Pixelised.Image.Pix[3] = -1
		}},
		{"group", "in the group lens_light", func(m *Model, _ *Observation) { m.Components[2].Group = GroupLensLight }},
		{"student", "Student's t", func(m *Model, _ *Observation) { m.StudentT = 4 }},
		{"amplitudes alone", "expected a pixelised source beside them", func(m *Model, _ *Observation) { m.Components = append(m.Components[:2:2], nonneg) }},
		{"amplitudes", `found amplitudes "positive"`, func(m *Model, _ *Observation) {
			m.Components = append(m.Components, nonneg)
			m.Components[3].Amplitudes = "positive"
		}},
		{"prior of what is solved for", "expected none: the amplitude is solved for", func(m *Model, _ *Observation) {
			m.Components = append(m.Components, Component{Group: GroupLensLight, Name: "l", Kind: "sersic", Amplitudes: AmplitudesNonNegative, Priors: sersicPriors(&normal, 1, 0)})
		}},
		{"bounded", "without bounds", func(m *Model, _ *Observation) {
			m.Components = append(m.Components, Component{Group: GroupLensLight, Name: "l", Kind: "sersic", Amplitudes: AmplitudesGaussian, Priors: sersicPriors(&bounded, 1, 0)})
		}},
		{"no amplitudes", "which has none that could be solved for", func(m *Model, _ *Observation) {
			m.Components = append(m.Components, Component{Group: GroupLensLight, Name: "l", Kind: KindPixels, Pixels: &PixelsSpec{Image: physics.NewImage(2, 2, 1)}, Amplitudes: AmplitudesGaussian,
				Priors: priors{"iota": physics.Fixed(1), "s": physics.Fixed(1), "x": physics.Fixed(0), "y": physics.Fixed(0)}})
		}},
		{"no source", "no pixelised source", func(m *Model, _ *Observation) { m.Components = m.Components[:2] }},
		{"too many", "splines in all", func(m *Model, _ *Observation) {
			m.Components[2].Pixelised.Grids = []physics.SplineGrid{{Half: 1, N: 128}}
		}},
	} {
		m := pixelisedModel(PixelisedSpec{Grids: append([]physics.SplineGrid(nil), grids...)})
		obs := o
		c.change(&m, &obs)
		p, err := NewMarginal(m, obs, Options{Device: deviceReference})
		if err == nil {
			p.Close()
			t.Errorf("%s: no error", c.name)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: found %q, expected it to tell %q", c.name, err, c.want)
		}
	}
}

// Points at which the evidence cannot be computed are rejections in one line, and the next point is none the worse.
func TestMarginalRejects(t *testing.T) {
	m := pixelisedModel(PixelisedSpec{Grids: []physics.SplineGrid{{Half: 0.8, N: 5}, {Half: 0.8, N: 5}}, Components: 1})
	p := openMarginal(t, m, arcsObservation(t, 14, nil), Options{Device: deviceReference})
	u, theta := pointOf(p.Posterior, 0.2)
	grad := make([]float64, p.Dim())
	before := mustLogProb(t, p, grad, u)
	for name, change := range map[string]func(theta []float64){
		"NaN":         func(th []float64) { th[0] = math.NaN() },
		"no length":   func(th []float64) { th[index(t, p.Posterior, "source.pixels.length_1")] = 0 },
		"no sigma":    func(th []float64) { th[index(t, p.Posterior, "source.pixels.sigma_1")] = -1 },
		"tiny length": func(th []float64) { th[index(t, p.Posterior, "source.pixels.length_1")] = 1e-200 },
		"singular": func(th []float64) {
			th[index(t, p.Posterior, "source.pixels.sigma_1")], th[index(t, p.Posterior, "source.pixels.sigma_2")] = 1e20, 1e20
		},
		"no radius":     func(th []float64) { th[index(t, p.Posterior, "source.pixels.envelope_radius_1")] = 0 },
		"infinite fall": func(th []float64) { th[index(t, p.Posterior, "source.pixels.envelope_fall_1")] = math.Inf(1) },
	} {
		th := slices.Clone(theta)
		change(th)
		_, err := p.Eval(th, true)
		var r interface{ Recoverable() bool }
		if err == nil || !errors.As(err, &r) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: found %v, expected a rejection", name, err)
		}
	}
	after := make([]float64, p.Dim())
	if lp := mustLogProb(t, p, after, u); lp != before || !equal(grad, after) {
		t.Error("the density is another after rejections")
	}
}

// Nothing hangs on the number of threads, a clone agrees, and a step allocates nothing.
func TestMarginalSteps(t *testing.T) {
	p := oddMarginal(t)
	u, _ := pointOf(p.Posterior, 0.2)
	grad, other := make([]float64, p.Dim()), make([]float64, p.Dim())
	lp := mustLogProb(t, p, grad, u)
	for _, threads := range []int{1, 3} {
		q, err := p.Clone(threads)
		if err != nil {
			t.Fatal(err)
		}
		if mustLogProb(t, q, other, u) != lp || !equal(other, grad) {
			t.Errorf("with %d threads the density or its gradient is another", threads)
		}
		q.Close()
	}
	x := slices.Clone(u)
	k := 0
	step := func() {
		k++
		x[0] = u[0] + 0.01*float64(k%2)
		mustLogProb(t, p, grad, x)
	}
	step()
	step()
	if n := testing.AllocsPerRun(10, step); n > 0 {
		t.Errorf("a step allocates %g times", n)
	}
}

// Rays on the knots of a grid and outside of all, a mask that leaves few pixels, a grid that nothing reaches.
func TestMarginalHardPoints(t *testing.T) {
	m := pixelisedModel(PixelisedSpec{Grids: []physics.SplineGrid{{Half: 0.8, N: 8}, {X: 50, Half: 0.2, N: 4}}})
	// without a deflection to speak of the rays, 0.1 apart, meet the knots, 0.2 apart
	for _, c := range m.Components[:2] {
		for k := range c.Priors {
			c.Priors[k] = physics.Fixed(0)
		}
	}
	m.Components[0] = Component{Group: GroupLens, Name: "epl", Kind: "shear", Priors: priors{"gamma1": physics.Normal(0, 0.1), "gamma2": physics.Normal(0, 0.1)}}
	o := Observation{W: 20, H: 20, PixelScale: 0.1, Data: check.Normals(rand.New(rand.NewPCG(76, 1)), 400), Sigma: []float64{1}}
	o.Mask = make([]bool, 400)
	for i := range o.Mask {
		o.Mask[i] = i%3 == 0 || i < 40
	}
	p := openMarginal(t, m, o, Options{Device: deviceReference})
	u := make([]float64, p.Dim())
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, u)
	d := newDenseMarginal(t, p, theta)
	var with []int
	for k := range p.inv.n {
		with = append(with, k)
	}
	_, cov, want := d.solve(t, with, make([]float64, p.inv.n))
	e, err := p.Eval(theta, true)
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "log evidence", e.LogLikelihood, want, 1e-11, 1)
	checkGradient(t, p.Posterior, u, 1e-6)
	// what no ray reaches stays as the prior has it
	c, err := p.Conditional(theta)
	if err != nil {
		t.Fatal(err)
	}
	for k := 64; k < p.inv.n; k++ {
		check.Close(t, "unseen coefficient", c.Sources[0].Mean[k], 0, 0, 1e-300)
		check.Close(t, "its deviation", c.Sources[0].SD[k], math.Sqrt(cov.At(k, k)), 1e-9, 0)
	}
}

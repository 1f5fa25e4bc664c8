package samplers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
)

// model is a posterior of the collection as a target, with its parameters on their natural scale.
type model interface {
	Target
	names() []string
	natural(dst, u []float64)
}

// posteriors are the rows of the collection: file, data and how the target is built from it.
var posteriors = []struct {
	name, data string
	build      func(d modelData) model
	// accept is the target acceptance; the reference draws were made with 0.95 and 0.99 where it is not 0.8.
	accept float64
}{
	{"arK-arK", "arK", newAR, 0.8},
	{"arma-arma11", "arma", newARMA, 0.8},
	{"earnings-earn_height", "earnings", func(d modelData) model {
		return newRegression(d.vec("earn"), columns(ones(d.vec("earn")), d.vec("height")), nil, nil, flatSigma)
	}, 0.8},
	{"earnings-logearn_height", "earnings", func(d modelData) model {
		return newRegression(apply(math.Log, d.vec("earn")), columns(ones(d.vec("earn")), d.vec("height")), nil, nil, flatSigma)
	}, 0.8},
	{"eight_schools-eight_schools_noncentered", "eight_schools", newSchools, 0.95},
	{"gp_pois_regr-gp_regr", "gp_pois_regr", newGP, 0.99},
	{"kidiq-kidscore_momhsiq", "kidiq", func(d modelData) model {
		return newRegression(d.vec("kid_score"), columns(ones(d.vec("kid_score")), d.vec("mom_hs"), d.vec("mom_iq")), nil, nil, cauchySigma(2.5))
	}, 0.8},
	{"kidiq-kidscore_momiq", "kidiq", func(d modelData) model {
		return newRegression(d.vec("kid_score"), columns(ones(d.vec("kid_score")), d.vec("mom_iq")), nil, nil, cauchySigma(2.5))
	}, 0.8},
	{"kilpisjarvi_mod-kilpisjarvi", "kilpisjarvi_mod", func(d modelData) model {
		m := newRegression(d.vec("y"), columns(ones(d.vec("y")), d.vec("x")), []float64{d.num("pmualpha"), d.num("pmubeta")}, []float64{d.num("psalpha"), d.num("psbeta")}, flatSigma)
		m.labels = []string{"alpha", "beta", "sigma"}
		return m
	}, 0.8},
	{"low_dim_gauss_mix-low_dim_gauss_mix", "low_dim_gauss_mix", newMixture, 0.8},
	{"mesquite-logmesquite", "mesquite", func(d modelData) model {
		l := func(k string) []float64 { return apply(math.Log, d.vec(k)) }
		return newRegression(l("weight"), columns(ones(d.vec("weight")), l("diam1"), l("diam2"), l("canopy_height"), l("total_height"), l("density"), d.vec("group")), nil, nil, flatSigma)
	}, 0.8},
	{"nes2000-nes", "nes2000", newNES, 0.8},
	{"sblrc-blr", "sblrc", func(d modelData) model {
		x := d.rows("X")
		sd := []float64{10, 10, 10, 10, 10}
		return newRegression(d.vec("y"), x, make([]float64, 5), sd, normalSigma(10))
	}, 0.8},
}

// TestGradientsOfPosteriorCollection holds the targets' gradients against differences.
func TestGradientsOfPosteriorCollection(t *testing.T) {
	for _, p := range posteriors {
		m := p.build(loadModelData(t, p.data))
		rng := rand.New(rand.NewPCG(1, 2))
		for k := 0; k < 3; k++ {
			u := make([]float64, m.Dim())
			for i := range u {
				u[i] = 0.5 * (2*rng.Float64() - 1)
			}
			checkGradient(t, p.name, m, u, 1e-6)
		}
	}
}

// TestPosteriorCollection samples every posterior from Stan's random starts with Stan's settings and compares mean and
// standard deviation with 10 000 reference draws.
func TestPosteriorCollection(t *testing.T) {
	if testing.Short() {
		t.Skip("the statistics need all draws")
	}
	seeds, draws, n := []uint64{1, 2, 3}, 3000, 4
	for _, p := range posteriors {
		t.Run(p.name, func(t *testing.T) {
			data := loadModelData(t, p.data)
			ref := loadReference(t, p.name)
			for _, seed := range seeds {
				opt := Options{Draws: draws, TargetAccept: p.accept}
				chains, err := NewChains(n, func(int) (Target, error) { return p.build(data), nil }, uniformStart, nil, opt, seed)
				if err != nil {
					t.Fatal(err)
				}
				m := p.build(data)
				rec := newNaturalTrace(m, n)
				if err := Sample(context.Background(), chains, rec); err != nil {
					t.Fatal(err)
				}
				bad, grads := 0, 0
				for _, c := range chains {
					bad += c.Counts().Divergences
					grads += c.Counts().Gradients
				}
				if bad > 0 {
					t.Errorf("seed %d: %d divergences, Stan has none", seed, bad)
				}
				least, worstMean, worstSD, rhat := math.Inf(1), 0.0, 0.0, 0.0
				for k, name := range m.names() {
					want, ok := ref[name]
					if !ok {
						t.Fatalf("no reference for %s", name)
					}
					s := Summarize(name, rec.draws(k))
					z := math.Abs(s.Mean-want.mean) / math.Hypot(s.MCSEMean, want.mcse)
					sd := math.Abs(s.SD/want.sd - 1)
					report(t, fmt.Sprintf("seed %d: %s: mean %.6g, reference %.6g, in errors", seed, name, s.Mean, want.mean), z, 3, 4)
					report(t, fmt.Sprintf("seed %d: %s: sd %.6g, reference %.6g, relative", seed, name, s.SD, want.sd), sd, 0.04, 0.05)
					least, rhat = math.Min(least, math.Min(s.ESSBulk, s.ESSTail)), math.Max(rhat, s.RHat)
					worstMean, worstSD = math.Max(worstMean, z), math.Max(worstSD, sd)
				}
				report(t, fmt.Sprintf("seed %d: R̂", seed), rhat, 1.02, 1.05)
				t.Logf("seed %d: mean %.1f errors, sd %.1f %%, least ESS %.0f, R̂ %.3f, %d gradients", seed, worstMean, 100*worstSD, least, rhat, grads)
			}
		})
	}
}

// uniformStart is Stan's: each unconstrained parameter uniform in (-2, 2).
func uniformStart(x []float64, rng *rand.Rand) {
	for i := range x {
		x[i] = 4*rng.Float64() - 2
	}
}

// naturalTrace keeps draws on the natural scale.
type naturalTrace struct {
	m      model
	chains [][][]float64 // chain, parameter, draw
}

func newNaturalTrace(m model, chains int) *naturalTrace {
	r := &naturalTrace{m: m, chains: make([][][]float64, chains)}
	for i := range r.chains {
		r.chains[i] = make([][]float64, len(m.names()))
	}
	return r
}

func (r *naturalTrace) Record(d Draw) error {
	if d.Warmup {
		return nil
	}
	v := make([]float64, len(r.m.names()))
	r.m.natural(v, d.Point.X)
	c := r.chains[d.Chain.ID()]
	for k, x := range v {
		c[k] = append(c[k], x)
	}
	return nil
}

func (r *naturalTrace) draws(k int) [][]float64 {
	var out [][]float64
	for _, c := range r.chains {
		out = append(out, c[k])
	}
	return out
}

type refValue struct{ mean, sd, mcse float64 }

func loadReference(t *testing.T, name string) map[string]refValue {
	f, err := os.Open(check.Shared(t, "data/posteriordb/"+name+".summary.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]refValue{}
	lines := bufio.NewScanner(f)
	var head []string
	for lines.Scan() {
		row := strings.Split(lines.Text(), ",")
		if head == nil {
			head = row
			continue
		}
		v := map[string]float64{}
		for i, h := range head[1:] {
			v[h], _ = strconv.ParseFloat(row[i+1], 64)
		}
		out[row[0]] = refValue{v["mean"], v["sd"], v["mcse_mean_if_iid"]}
	}
	return out
}

// modelData is a data file of the collection.
type modelData map[string]json.RawMessage

func loadModelData(t *testing.T, name string) modelData {
	text, err := os.ReadFile(check.Shared(t, "data/posteriordb/"+name+".data.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d modelData
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d modelData) get(key string, v any) {
	if err := json.Unmarshal(d[key], v); err != nil {
		panic(key + ": " + err.Error())
	}
}

func (d modelData) vec(key string) (v []float64)    { d.get(key, &v); return }
func (d modelData) rows(key string) (v [][]float64) { d.get(key, &v); return }
func (d modelData) num(key string) (v float64)      { d.get(key, &v); return }

func ones(v []float64) []float64 { return apply(func(float64) float64 { return 1 }, v) }

func apply(f func(float64) float64, v []float64) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = f(x)
	}
	return out
}

// columns are the rows of the matrix with the given columns.
func columns(cols ...[]float64) [][]float64 {
	out := make([][]float64, len(cols[0]))
	for i := range out {
		for _, c := range cols {
			out[i] = append(out[i], c[i])
		}
	}
	return out
}

// sigmaPrior is the log density of σ and its derivative.
type sigmaPrior func(s float64) (lp, d float64)

func flatSigma(float64) (float64, float64) { return 0, 0 }

func cauchySigma(scale float64) sigmaPrior {
	return func(s float64) (float64, float64) {
		r := s / scale
		return -math.Log1p(r * r), -2 * r / scale / (1 + r*r)
	}
}

func normalSigma(scale float64) sigmaPrior {
	return func(s float64) (float64, float64) { return -0.5 * s * s / scale / scale, -s / scale / scale }
}

// regression is y ~ N(X β, σ) in (β, log σ), β ~ N(mean, sd) or flat. |y − Xβ|² = rss + |R(β − β̂)|².
type regression struct {
	n        float64
	r        *mat.Dense
	best     []float64
	rss      float64
	mean, sd []float64
	sigma    sigmaPrior
	labels   []string
}

func newRegression(y []float64, x [][]float64, mean, sd []float64, sigma sigmaPrior) *regression {
	n, p := len(y), len(x[0])
	xm := mat.NewDense(n, p, nil)
	for i, row := range x {
		xm.SetRow(i, row)
	}
	var qr mat.QR
	qr.Factorize(xm)
	var r, beta, fit mat.Dense
	qr.RTo(&r)
	if err := qr.SolveTo(&beta, false, mat.NewDense(n, 1, y)); err != nil {
		if _, ok := err.(mat.Condition); !ok {
			panic(err)
		}
	}
	fit.Mul(xm, &beta)
	g := &regression{n: float64(n), r: mat.DenseCopyOf(r.Slice(0, p, 0, p)), mean: mean, sd: sd, sigma: sigma}
	for i := range y {
		d := y[i] - fit.At(i, 0)
		g.rss += d * d
	}
	for k := 0; k < p; k++ {
		g.best = append(g.best, beta.At(k, 0))
		g.labels = append(g.labels, fmt.Sprintf("beta[%d]", k+1))
	}
	g.labels = append(g.labels, "sigma")
	return g
}

func (g *regression) Dim() int        { return len(g.best) + 1 }
func (g *regression) names() []string { return g.labels }
func (g *regression) natural(dst, u []float64) {
	copy(dst, u)
	dst[len(dst)-1] = math.Exp(u[len(u)-1])
}

func (g *regression) LogProb(grad, u []float64) (float64, error) {
	p := len(g.best)
	sigma := math.Exp(u[p])
	v := math.Exp(-2 * u[p])
	ss := g.rss
	for k := range grad {
		grad[k] = 0
	}
	for i := 0; i < p; i++ {
		s := 0.0
		for j := i; j < p; j++ {
			s += g.r.At(i, j) * (u[j] - g.best[j])
		}
		ss += s * s
		if grad != nil {
			for j := i; j < p; j++ {
				grad[j] -= v * s * g.r.At(i, j)
			}
		}
	}
	lp, d := g.sigma(sigma)
	lp += -0.5*ss*v - g.n*u[p] + u[p]
	if grad != nil {
		grad[p] = ss*v - g.n + 1 + d*sigma
	}
	for k := range g.mean {
		z := (u[k] - g.mean[k]) / g.sd[k]
		lp -= 0.5 * z * z
		if grad != nil {
			grad[k] -= z / g.sd[k]
		}
	}
	return lp, nil
}

func newAR(d modelData) model {
	y, k := d.vec("y"), int(d.num("K"))
	var x [][]float64
	for t := k; t < len(y); t++ {
		row := []float64{1}
		for j := 1; j <= k; j++ {
			row = append(row, y[t-j])
		}
		x = append(x, row)
	}
	sd := make([]float64, k+1)
	for i := range sd {
		sd[i] = 10
	}
	m := newRegression(y[k:], x, make([]float64, k+1), sd, cauchySigma(2.5))
	m.labels = []string{"alpha"}
	for j := 1; j <= k; j++ {
		m.labels = append(m.labels, fmt.Sprintf("beta[%d]", j))
	}
	m.labels = append(m.labels, "sigma")
	return m
}

func newNES(d modelData) model {
	age := func(a float64) []float64 {
		return apply(func(v float64) float64 {
			if v == a {
				return 1
			}
			return 0
		}, d.vec("age_discrete"))
	}
	y := d.vec("partyid7")
	return newRegression(y, columns(ones(y), d.vec("real_ideo"), d.vec("race_adj"), age(2), age(3), age(4), d.vec("educ1"), d.vec("gender"), d.vec("income")), nil, nil, flatSigma)
}

// arma is the ARMA(1,1) series in (μ, φ, θ, log σ).
type arma struct{ y []float64 }

func newARMA(d modelData) model { return arma{d.vec("y")} }

func (arma) Dim() int        { return 4 }
func (arma) names() []string { return []string{"mu", "phi", "theta", "sigma"} }
func (arma) natural(dst, u []float64) {
	copy(dst, u)
	dst[3] = math.Exp(u[3])
}

func (a arma) LogProb(grad, u []float64) (float64, error) {
	mu, phi, theta, sigma := u[0], u[1], u[2], math.Exp(u[3])
	v := 1 / (sigma * sigma)
	// e_t and its derivatives by μ, φ, θ.
	e := a.y[0] - mu - phi*mu
	de := [3]float64{-(1 + phi), -mu, 0}
	ss := e * e
	ds := [3]float64{2 * e * de[0], 2 * e * de[1], 0}
	for t := 1; t < len(a.y); t++ {
		prev := e
		e = a.y[t] - (mu + phi*a.y[t-1] + theta*prev)
		de = [3]float64{-1 - theta*de[0], -a.y[t-1] - theta*de[1], -prev - theta*de[2]}
		ss += e * e
		for k := range ds {
			ds[k] += 2 * e * de[k]
		}
	}
	n := float64(len(a.y))
	prior, d := cauchySigma(2.5)(sigma)
	lp := -0.5*ss*v - n*u[3] + u[3] + prior - mu*mu/200 - phi*phi/8 - theta*theta/8
	if grad != nil {
		for k := range ds {
			grad[k] = -0.5 * v * ds[k]
		}
		grad[0] -= mu / 100
		grad[1] -= phi / 4
		grad[2] -= theta / 4
		grad[3] = ss*v - n + 1 + d*sigma
	}
	return lp, nil
}

// schools is the non-centred hierarchy in (t_1…t_J, μ, log τ).
type schools struct{ y, sigma []float64 }

func newSchools(d modelData) model { return schools{d.vec("y"), d.vec("sigma")} }

func (s schools) Dim() int { return len(s.y) + 2 }
func (s schools) names() []string {
	var out []string
	for j := range s.y {
		out = append(out, fmt.Sprintf("theta[%d]", j+1))
	}
	return append(out, "mu", "tau")
}
func (s schools) natural(dst, u []float64) {
	j := len(s.y)
	mu, tau := u[j], math.Exp(u[j+1])
	for i := range s.y {
		dst[i] = mu + tau*u[i]
	}
	dst[j], dst[j+1] = mu, tau
}

func (s schools) LogProb(grad, u []float64) (float64, error) {
	j := len(s.y)
	mu, tau := u[j], math.Exp(u[j+1])
	prior, d := cauchySigma(5)(tau)
	lp := prior + u[j+1] - mu*mu/50
	gmu, gtau := -mu/25, d
	for i, y := range s.y {
		v := 1 / (s.sigma[i] * s.sigma[i])
		r := y - mu - tau*u[i]
		lp -= 0.5*u[i]*u[i] + 0.5*r*r*v
		if grad != nil {
			grad[i] = -u[i] + r*v*tau
		}
		gmu += r * v
		gtau += r * v * u[i]
	}
	if grad != nil {
		grad[j], grad[j+1] = gmu, gtau*tau+1
	}
	return lp, nil
}

// mixture is two normals in (μ1, log(μ2−μ1), log σ1, log σ2, logit θ).
type mixture struct{ y []float64 }

func newMixture(d modelData) model { return mixture{d.vec("y")} }

func (mixture) Dim() int        { return 5 }
func (mixture) names() []string { return []string{"mu[1]", "mu[2]", "sigma[1]", "sigma[2]", "theta"} }
func (mixture) natural(dst, u []float64) {
	dst[0], dst[1] = u[0], u[0]+math.Exp(u[1])
	dst[2], dst[3] = math.Exp(u[2]), math.Exp(u[3])
	dst[4] = 1 / (1 + math.Exp(-u[4]))
}

func (m mixture) LogProb(grad, u []float64) (float64, error) {
	var p [5]float64
	m.natural(p[:], u)
	var g [5]float64 // by the natural parameters
	lp := -(p[0]*p[0]+p[1]*p[1]+p[2]*p[2]+p[3]*p[3])/8 + 4*math.Log(p[4]) + 4*math.Log1p(-p[4])
	for k := 0; k < 4; k++ {
		g[k] = -p[k] / 4
	}
	g[4] = 4/p[4] - 4/(1-p[4])
	lw1, lw2 := math.Log(p[4])-u[2], math.Log1p(-p[4])-u[3]
	for _, y := range m.y {
		z1, z2 := (y-p[0])/p[2], (y-p[1])/p[3]
		a, b := lw1-0.5*z1*z1, lw2-0.5*z2*z2
		l := logAddExp(a, b)
		lp += l
		r1, r2 := math.Exp(a-l), math.Exp(b-l)
		g[0] += r1 * z1 / p[2]
		g[1] += r2 * z2 / p[3]
		g[2] += r1 * (z1*z1 - 1) / p[2]
		g[3] += r2 * (z2*z2 - 1) / p[3]
		g[4] += r1/p[4] - r2/(1-p[4])
	}
	// Jacobians: μ2 − μ1, σ1, σ2, θ(1−θ).
	lp += u[1] + u[2] + u[3] + math.Log(p[4]) + math.Log1p(-p[4])
	if grad != nil {
		grad[0] = g[0] + g[1]
		grad[1] = g[1]*(p[1]-p[0]) + 1
		grad[2] = g[2]*p[2] + 1
		grad[3] = g[3]*p[3] + 1
		grad[4] = g[4]*p[4]*(1-p[4]) + 1 - 2*p[4]
	}
	return lp, nil
}

// gp is the Gaussian process in (log ρ, log α, log σ).
type gp struct{ x, y []float64 }

func newGP(d modelData) model { return gp{d.vec("x"), d.vec("y")} }

func (gp) Dim() int        { return 3 }
func (gp) names() []string { return []string{"rho", "alpha", "sigma"} }
func (gp) natural(dst, u []float64) {
	for i, v := range u {
		dst[i] = math.Exp(v)
	}
}

func (p gp) LogProb(grad, u []float64) (float64, error) {
	rho, alpha, sigma := math.Exp(u[0]), math.Exp(u[1]), math.Exp(u[2])
	n := len(p.x)
	k := mat.NewSymDense(n, nil)
	for i := range p.x {
		for j := i; j < n; j++ {
			d := p.x[i] - p.x[j]
			k.SetSym(i, j, alpha*alpha*math.Exp(-0.5*d*d/rho/rho))
		}
		k.SetSym(i, i, k.At(i, i)+sigma)
	}
	var c mat.Cholesky
	if !c.Factorize(k) {
		return 0, fmt.Errorf("covariance is not positive definite: %w", ErrRecoverable)
	}
	w := mat.NewVecDense(n, nil)
	if err := c.SolveVecTo(w, mat.NewVecDense(n, p.y)); err != nil {
		return 0, fmt.Errorf("%v: %w", err, ErrRecoverable)
	}
	lp := -0.5*mat.Dot(w, mat.NewVecDense(n, p.y)) - 0.5*c.LogDet()
	lp += 24*u[0] - 4*rho - alpha*alpha/8 - sigma*sigma/2 + u[0] + u[1] + u[2]
	if grad == nil {
		return lp, nil
	}
	var inv mat.SymDense
	if err := c.InverseTo(&inv); err != nil {
		return 0, fmt.Errorf("%v: %w", err, ErrRecoverable)
	}
	// ½ tr((wwᵀ − K⁻¹) ∂K).
	grad[0], grad[1], grad[2] = 24-4*rho+1, -alpha*alpha/4+1, -sigma*sigma+1
	for i := range p.x {
		for j := range p.x {
			d := p.x[i] - p.x[j]
			f := 0.5 * (w.AtVec(i)*w.AtVec(j) - inv.At(i, j))
			kij := alpha * alpha * math.Exp(-0.5*d*d/rho/rho)
			grad[0] += f * kij * d * d / rho / rho
			grad[1] += f * 2 * kij
			if i == j {
				grad[2] += f * sigma
			}
		}
	}
	return lp, nil
}

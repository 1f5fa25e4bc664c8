package samplers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"lenskit/internal/check"
)

// sampleAll runs n chains of a target and fails on any error.
func sampleAll(t testing.TB, n int, target func(int) (Target, error), start func([]float64, *rand.Rand), m *Metric, opt Options, seed uint64) ([]*Chain, *Trace) {
	t.Helper()
	chains, err := NewChains(n, target, start, m, opt, seed)
	if err != nil {
		t.Fatal(err)
	}
	var trace Trace
	if err := Sample(context.Background(), chains, &trace); err != nil {
		t.Fatal(err)
	}
	return chains, &trace
}

// harmonic is -½ Σ x².
type harmonic int

func (h harmonic) Dim() int { return int(h) }
func (h harmonic) LogProb(grad, x []float64) (float64, error) {
	lp := 0.0
	for i, v := range x {
		lp -= 0.5 * v * v
		if grad != nil {
			grad[i] = -v
		}
	}
	return lp, nil
}

// quartic is -¼ Σ x⁴ - ½ Σ x², a density whose leapfrog is not exactly solvable.
type quartic int

func (q quartic) Dim() int { return int(q) }
func (q quartic) LogProb(grad, x []float64) (float64, error) {
	lp := 0.0
	for i, v := range x {
		lp -= 0.25*v*v*v*v + 0.5*v*v
		if grad != nil {
			grad[i] = -v*v*v - v
		}
	}
	return lp, nil
}

func testPoint(t Target, m *Metric, seed uint64, twoStage bool) (*flow, *phasePoint) {
	n := t.Dim()
	rng := rand.New(rand.NewPCG(seed, 0))
	l := &flow{target: t, metric: m, tally: new(Tally), twoStage: twoStage, dx: make([]float64, n)}
	p := newPhasePoint(n)
	copy(p.X, check.Normals(rng, n))
	p.LogProb, _ = t.LogProb(p.Grad, p.X)
	m.Pull(p.f, p.Grad)
	p.refresh(rng)
	return l, p
}

func TestEnergyErrorIsOfSecondOrder(t *testing.T) {
	diag, _ := NewMetricDiag([]float64{1, 0.5, 2})
	for _, two := range []bool{false, true} {
		for _, m := range []*Metric{NewMetric(3), diag} {
			var errs []float64
			for _, eps := range []float64{0.04, 0.02, 0.01, 0.005} {
				l, p := testPoint(quartic(3), m, 1, two)
				h0, worst := p.energy(), 0.0
				for i := 0; i < int(1/eps+0.5); i++ {
					if _, err := l.step(p, eps); err != nil {
						t.Fatal(err)
					}
					worst = math.Max(worst, math.Abs(p.energy()-h0))
				}
				errs = append(errs, worst)
			}
			for i := 1; i < len(errs); i++ {
				if order := math.Log2(errs[i-1] / errs[i]); math.Abs(order-2) > 0.1 {
					t.Errorf("two-stage %t: energy errors %.3g: order %.3f, expected 2", two, errs, order)
				}
			}
		}
	}
}

func TestIntegratorsAreReversibleAndFollowTheOscillator(t *testing.T) {
	for _, two := range []bool{false, true} {
		q := newQuadratic(20, 1e6, rand.New(rand.NewPCG(2, 0)))
		m, _, _ := NewMetricHess(q.h, 0)
		l, p := testPoint(q, m, 3, two)
		x0, w0 := cloneFloats(p.X), cloneFloats(p.w)
		for i := 0; i < 100; i++ {
			l.step(p, 0.1)
		}
		for i := range p.w {
			p.w[i] = -p.w[i]
		}
		for i := 0; i < 100; i++ {
			l.step(p, 0.1)
		}
		scale := math.Sqrt(check.Dot(x0, x0))
		for i := range x0 {
			check.Close(t, "position", p.X[i], x0[i], 1e-10, scale)
			check.Close(t, "momentum", -p.w[i], w0[i], 1e-9, scale)
		}

		// x(t) = x₀ cos t + w₀ sin t.
		l, p = testPoint(harmonic(2), NewMetric(2), 4, two)
		x0, w0 = cloneFloats(p.X), cloneFloats(p.w)
		const eps = 1e-3
		for i := 1; i <= 5000; i++ {
			l.step(p, eps)
		}
		s, c := math.Sincos(5000 * eps)
		for i := range x0 {
			check.Close(t, "oscillator", p.X[i], x0[i]*c+w0[i]*s, 2e-6, 1)
		}
	}
}

func TestStepsDoNotAllocate(t *testing.T) {
	q := newQuadratic(30, 1e4, rand.New(rand.NewPCG(2, 0)))
	m, _, _ := NewMetricHess(q.h, 0)
	for _, two := range []bool{false, true} {
		l, p := testPoint(q, m, 3, two)
		if a := testing.AllocsPerRun(50, func() { l.step(p, 0.1) }); a != 0 {
			t.Errorf("two-stage %t: %v allocations", two, a)
		}
	}
	for _, method := range []Method{NUTS, HMC} {
		c, err := NewChain(q, q.mean, m, Options{Method: method, Warmup: 20}, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		step := func() {
			if _, err := c.Step(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		for c.Warming() {
			step()
		}
		if a := testing.AllocsPerRun(100, step); a != 0 {
			t.Errorf("%s: %v allocations a draw", method, a)
		}
	}
}

// gaussianScores are the worst errors of mean and standard deviation over all parameters, in Monte Carlo errors.
func gaussianScores(t testing.TB, q *quadratic, m *Metric, trace *Trace) (worstMean, worstSD float64) {
	sd := make([]float64, q.Dim())
	m.Variances(sd)
	for k := range sd {
		s := Summarize("", trace.Draws(k))
		want := math.Sqrt(sd[k])
		worstMean = math.Max(worstMean, math.Abs(s.Mean-q.mean[k])/s.MCSEMean)
		worstSD = math.Max(worstSD, math.Abs(s.SD-want)/s.MCSESD)
	}
	return
}

// report fails beyond fail and logs beyond alert, so that rare bad luck is seen but stops nobody.
func report(t testing.TB, what string, got, alert, fail float64) {
	t.Helper()
	switch {
	case !(got <= fail):
		t.Errorf("%s: %.3g, must be below %.3g", what, got, fail)
	case got > alert:
		t.Logf("alert: %s: %.3g, expected below %.3g", what, got, alert)
	}
}

func TestGaussianMomentsInHundredDimensions(t *testing.T) {
	if testing.Short() {
		t.Skip("the statistics need all draws")
	}
	for _, c := range []struct {
		method      Method
		alert, fail float64 // gradients per effective draw
	}{{NUTS, 12, 20}, {HMC, 5, 8}} {
		method := c.method
		q := newQuadratic(100, 1e6, rand.New(rand.NewPCG(7, 0)))
		m, _, err := NewMetricHess(q.h, 0)
		if err != nil {
			t.Fatal(err)
		}
		g := &Gaussian{Mean: q.mean, Metric: m}
		target := func(int) (Target, error) {
			c := *q
			c.d, c.g = make([]float64, 100), make([]float64, 100)
			return &c, nil
		}
		chains, trace := sampleAll(t, 4, target, StartNear(g, 1), m, Options{Method: method, Warmup: 50, Draws: 1000}, 1)
		worstMean, worstSD := gaussianScores(t, q, m, trace)
		report(t, string(method)+": worst of 100 means, in errors", worstMean, 3.7, 5)
		report(t, string(method)+": worst of 100 deviations, in errors", worstSD, 3.7, 5)
		ess, rhat, grads := math.Inf(1), 0.0, 0
		for k := 0; k < 100; k++ {
			ess = math.Min(ess, ESSBulk(trace.Draws(k)))
			rhat = math.Max(rhat, RHat(trace.Draws(k)))
		}
		for _, c := range chains {
			grads += c.Counts().Gradients
			if c.Counts().Divergences > 0 {
				t.Errorf("%s: %d divergences on a Gaussian", method, c.Counts().Divergences)
			}
		}
		report(t, string(method)+": R̂", rhat, 1.012, 1.03)
		report(t, string(method)+": gradients per effective draw", float64(grads)/ess, c.alert, c.fail)
		t.Logf("%s: %.1f gradients per effective draw (ESS %.0f of 4000), worst mean %.2f, sd %.2f errors, step %.2f", method, float64(grads)/ess, ess, worstMean, worstSD, chains[0].StepSize())
	}
}

// funnel is Neal's: v ~ N(0, 3), x_i ~ N(0, e^{v/2}).
type funnel int

func (f funnel) Dim() int { return int(f) }
func (f funnel) LogProb(grad, x []float64) (float64, error) {
	v, n := x[0], float64(len(x)-1)
	e, ss := math.Exp(-v), 0.0
	for _, y := range x[1:] {
		ss += y * y
	}
	if grad != nil {
		grad[0] = -v/9 + 0.5*ss*e - 0.5*n
		for i, y := range x[1:] {
			grad[i+1] = -y * e
		}
	}
	return -v*v/18 - 0.5*ss*e - 0.5*n*v, nil
}

func TestFunnelReportsDivergences(t *testing.T) {
	checkGradient(t, "funnel", funnel(10), check.Normals(rand.New(rand.NewPCG(1, 1)), 10), 1e-6)
	chains, trace := sampleAll(t, 4, func(int) (Target, error) { return funnel(10), nil }, func(x []float64, rng *rand.Rand) { copy(x, check.Normals(rng, 10)) }, nil, Options{}, 3)
	bad := 0
	var counts []Counts
	var energy [][]float64
	for i, c := range chains {
		bad += c.Counts().Divergences
		counts = append(counts, c.Counts())
		var e []float64
		for _, in := range trace.Chains()[i].Info {
			e = append(e, in.Energy)
		}
		energy = append(energy, e)
		for _, d := range c.Divergences() {
			if len(d.X) != 10 || !(d.Error > 1000) {
				t.Errorf("divergence %+v", d)
			}
		}
	}
	if bad == 0 {
		t.Error("no divergence was reported")
	}
	text := strings.Join(Verdict([]Summary{Summarize("v", trace.Draws(0))}, counts, energy), "\n")
	if !strings.Contains(text, fmt.Sprintf("%d of 4000 draws diverged", bad)) {
		t.Errorf("verdict: %s", text)
	}
	t.Logf("%d divergences\n%s", bad, text)
}

// edge is a half-normal beyond 2, sampled as u = log(x-2) with its Jacobian: the density's mode lies on the border.
type edge struct{}

func (edge) Dim() int { return 1 }
func (edge) LogProb(grad, u []float64) (float64, error) {
	e := math.Exp(u[0])
	x := 2 + e
	if grad != nil {
		grad[0] = -x*e + 1
	}
	return -0.5*x*x + u[0], nil
}

func TestBoundedParameterAtItsEdge(t *testing.T) {
	_, trace := sampleAll(t, 4, func(int) (Target, error) { return edge{}, nil }, StartAt([]float64{0}), nil, Options{TargetAccept: 0.9, Draws: 2000}, 5)
	draws := trace.Draws(0)
	for _, c := range draws {
		for i, u := range c {
			c[i] = 2 + math.Exp(u)
		}
	}
	// Mean and variance of N(0,1) beyond 2: λ = φ(2)/Q(2), 1 + 2λ - λ².
	lambda := math.Exp(-2) / math.Sqrt(2*math.Pi) / (0.5 * math.Erfc(math.Sqrt2))
	s := Summarize("x", draws)
	report(t, "mean, in errors", math.Abs(s.Mean-lambda)/s.MCSEMean, 3, 4.5)
	report(t, "sd, in errors", math.Abs(s.SD-math.Sqrt(1+2*lambda-lambda*lambda))/s.MCSESD, 3, 4.5)
	report(t, "R̂", s.RHat, 1.01, 1.02)
	if s.Q5 <= 2 {
		t.Errorf("5%% quantile %g is beyond the border", s.Q5)
	}
}

// TestHardBorderRejectsWithoutBias samples a half-normal that fails recoverably beyond its border.
func TestHardBorderRejectsWithoutBias(t *testing.T) {
	chains, trace := sampleAll(t, 4, func(int) (Target, error) { return halfNormal{}, nil }, StartAt([]float64{1}), nil, Options{Draws: 4000, TargetAccept: 0.9}, 5)
	s := Summarize("x", trace.Draws(0))
	report(t, "mean, in errors", math.Abs(s.Mean-math.Sqrt(2/math.Pi))/s.MCSEMean, 3, 4.5)
	report(t, "sd, in errors", math.Abs(s.SD-math.Sqrt(1-2/math.Pi))/s.MCSESD, 3, 4.5)
	n := 0
	for _, c := range chains {
		n += c.Counts().Rejections["x: found #, expected # or more: point rejected"]
	}
	if n == 0 {
		t.Errorf("no rejection was counted: %v", chains[0].Counts())
	}
}

type halfNormal struct{}

func (halfNormal) Dim() int { return 1 }
func (halfNormal) LogProb(grad, x []float64) (float64, error) {
	if x[0] < 0 {
		return 0, fmt.Errorf("x: found %g, expected 0 or more: %w", x[0], ErrRecoverable)
	}
	return harmonic(1).LogProb(grad, x)
}

// TestChainResumesToTheBit interrupts a chain between draws and in the middle of trajectories, at every point of the
// warm-up and after it, sends the state through JSON, and compares with an undisturbed run.
func TestChainResumesToTheBit(t *testing.T) {
	q := newQuadratic(5, 1e3, rand.New(rand.NewPCG(1, 0)))
	given, _, _ := NewMetricHess(q.h, 0)
	for _, c := range []struct {
		name   string
		metric *Metric
		opt    Options
	}{
		{"nuts", nil, Options{Warmup: 60, Draws: 30}},
		{"nuts dense", given, Options{Warmup: 60, Draws: 30, Adapt: AdaptDense}},
		{"hmc", given, Options{Method: HMC, Warmup: 20, Draws: 30}},
		{"funnel", nil, Options{Warmup: 60, Draws: 60}},
	} {
		var target Target = q
		if c.name == "funnel" {
			target = funnel(5)
		}
		start := make([]float64, 5)
		whole, err := NewChain(target, start, c.metric, c.opt, 11, 2)
		if err != nil {
			t.Fatal(err)
		}
		var want Trace
		if err := Sample(context.Background(), []*Chain{whole}, &want); err != nil {
			t.Fatal(err)
		}
		var got Trace
		chain, err := NewChain(target, start, c.metric, c.opt, 11, 2)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(8, 8))
		reach, last := 40, -1
		for cuts := 0; ; cuts++ {
			if reach *= 2; chain.Iteration() != last { // else the trajectory is longer
				reach = 40
			}
			last = chain.Iteration()
			ctx, cancel := context.WithCancel(context.Background())
			stop := &stopping{Target: target, cancel: cancel, left: 1 + rng.IntN(reach)}
			state := chain.Save()
			if chain, err = ResumeChain(stop, *viaJSON(t, &state)); err != nil {
				t.Fatal(err)
			}
			err = Sample(ctx, []*Chain{chain}, &got)
			cancel()
			if err == nil {
				if cuts < 5 {
					t.Errorf("%s: only %d interruptions", c.name, cuts)
				}
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(got.Chains(), want.Chains()) {
			t.Errorf("%s: the resumed chain differs", c.name)
		}
		a, b := chain.Save(), whole.Save()
		if !reflect.DeepEqual(viaJSON(t, &a), viaJSON(t, &b)) {
			t.Errorf("%s: the resumed state differs:\n%+v\n%+v", c.name, a, b)
		}
	}
}

// stopping cancels its context after some evaluations.
type stopping struct {
	Target
	cancel context.CancelFunc
	left   int
}

func (s *stopping) LogProb(grad, x []float64) (float64, error) {
	if s.left--; s.left == 0 {
		s.cancel()
	}
	return s.Target.LogProb(grad, x)
}

func TestChainsOfOneSeedDifferAndRepeat(t *testing.T) {
	run := func() *Trace {
		_, trace := sampleAll(t, 3, func(int) (Target, error) { return harmonic(4), nil }, StartAt(make([]float64, 4)), nil, Options{Warmup: 100, Draws: 50}, 4)
		return trace
	}
	a, b := run().Chains(), run().Chains()
	if !reflect.DeepEqual(a, b) {
		t.Error("two runs of one seed differ")
	}
	if reflect.DeepEqual(a[0].X, a[1].X) || reflect.DeepEqual(a[1].X, a[2].X) {
		t.Error("two chains are the same")
	}
}

func TestStanStagesMatchTheManual(t *testing.T) {
	for warmup, want := range map[int][]int{
		1000: {75, 25, 50, 100, 200, 500, 50},
		500:  {75, 25, 50, 300, 50},
		200:  {75, 25, 50, 50},
		150:  {75, 25, 50},
		100:  {15, 75, 10},
		19:   {19},
		0:    nil,
	} {
		var got []int
		for _, s := range StanStages(warmup) {
			got = append(got, s.Draws)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d draws: got %v, want %v", warmup, got, want)
		}
	}
}

func TestDenseWarmupFindsTheCovariance(t *testing.T) {
	q := newQuadratic(6, 1e4, rand.New(rand.NewPCG(7, 0)))
	want, _, _ := NewMetricHess(q.h, 0)
	chains, _ := sampleAll(t, 1, func(int) (Target, error) { return q, nil }, StartAt(q.mean), nil, Options{Adapt: AdaptDense, Draws: 10}, 2)
	a, b := chains[0].Metric().Cov(), want.Cov()
	for i := 0; i < 6; i++ {
		for j := 0; j < 6; j++ {
			report(t, "covariance", math.Abs(a.At(i, j)-b.At(i, j))/math.Sqrt(b.At(i, i)*b.At(j, j)), 0.25, 0.5)
		}
	}
}

// TestKnownMetricYieldsOnlyToEvidence estimates metrics in 40 dimensions from 200 draws of a chain's kind.
func TestKnownMetricYieldsOnlyToEvidence(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	q := newQuadratic(40, 1e5, rng)
	known, _, _ := NewMetricHess(q.h, 0)
	for _, wide := range []float64{1, 5} {
		m, scratch := newMoments(40, true), make([]float64, 40)
		for i := 0; i < 200; i++ {
			u := check.Normals(rng, 40)
			u[7] *= wide
			known.Push(u, u)
			m.add(u, scratch)
		}
		got := m.metric(known)
		// The estimate in the known metric's coordinates: A⁻¹ A'A'ᵀ A⁻ᵀ has the widths wanted.
		for k := 0; k < 40; k++ {
			e := make([]float64, 40)
			e[k] = 1
			known.solveTrans(e, e)
			got.Pull(e, e)
			sd, want := math.Sqrt(check.Dot(e, e)), 1.0
			if k == 7 {
				want = wide
			}
			if !(sd > want/1.4 && sd < want*1.4) {
				t.Errorf("width %g: coordinate %d: got %.3g, want %.3g", wide, k, sd, want)
			}
		}
	}
}

func TestRunErrors(t *testing.T) {
	ctx := context.Background()
	if _, err := NewChain(harmonic(2), []float64{1, math.Inf(1)}, nil, Options{}, 1, 0); err == nil || !strings.Contains(err.Error(), "parameter 1 is +Inf") {
		t.Errorf("got %v", err)
	}
	if _, err := NewChain(halfNormal{}, []float64{-1}, nil, Options{}, 1, 0); err == nil || !strings.Contains(err.Error(), "start: x: found -1") {
		t.Errorf("got %v", err)
	}
	if _, err := NewChain(harmonic(2), []float64{1, 1}, NewMetric(3), Options{}, 1, 0); err == nil || !strings.Contains(err.Error(), "found 3 parameters, expected 2") {
		t.Errorf("got %v", err)
	}
	for _, x := range [][]float64{{1}, {1, 1, 1}} { // too few and too many numbers
		if _, err := NewChains(1, func(int) (Target, error) { return harmonic(2), nil }, StartAt(x), nil, Options{}, 1); err == nil || !strings.Contains(err.Error(), "parameter 0 is NaN") {
			t.Errorf("started at %v: got %v", x, err)
		}
	}
	if _, err := NewChains(0, func(int) (Target, error) { return harmonic(2), nil }, StartAt([]float64{1, 1}), nil, Options{}, 1); err == nil || !strings.Contains(err.Error(), "chains: found 0, expected at least 1") {
		t.Errorf("got %v", err)
	}
	for _, o := range []Options{{Method: "gibbs"}, {Integrator: "euler"}, {Draws: -1}, {TargetAccept: 1}, {StepSize: -1}, {MaxDepth: 50}, {Jitter: 2}, {Trajectory: math.Inf(1)}, {Adapt: "all"}, {MaxEnergyError: -1}, {Steps: -3}, {Stages: []Stage{{Draws: -1}}}} {
		if _, err := NewChain(harmonic(1), []float64{1}, nil, o, 1, 0); err == nil || !strings.HasPrefix(err.Error(), "samplers: options: ") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
	// A density that never falls off, and one whose gradient is wrong everywhere.
	for want, target := range map[string]Target{"too large": flat{}, "small enough": lying{}} {
		c, err := NewChain(target, []float64{0}, nil, Options{}, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := Sample(ctx, []*Chain{c}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	// The recorder's error ends all chains and is the only cause told.
	full := errors.New("disk full")
	chains, err := NewChains(2, func(int) (Target, error) { return harmonic(1), nil }, StartAt([]float64{0}), nil, Options{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = Sample(ctx, chains, RecorderFunc(func(d Draw) error {
		if d.Chain.ID() == 1 && d.Iteration == 10 {
			return full
		}
		return nil
	}))
	if !errors.Is(err, full) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	bad := chains[0].Save()
	bad.RNG = []byte("x")
	if _, err := ResumeChain(harmonic(1), bad); err == nil {
		t.Error("accepted a broken state")
	}
}

type flat struct{}

func (flat) Dim() int { return 1 }
func (flat) LogProb(grad, x []float64) (float64, error) {
	if grad != nil {
		grad[0] = 0
	}
	return 0, nil
}

type lying struct{}

func (lying) Dim() int { return 1 }
func (lying) LogProb(grad, x []float64) (float64, error) {
	if grad != nil {
		grad[0] = 1
	}
	if x[0] == 0 {
		return 0, nil
	}
	return math.Inf(-1), nil
}

// TestChainsInStepShareTheirStepSize stops chains that run in step again and again: all of them step by the median of what
// they found, and make the draws of an undisturbed run.
func TestChainsInStepShareTheirStepSize(t *testing.T) {
	target := func(int) (Target, error) { return newQuadratic(5, 1e3, rand.New(rand.NewPCG(1, 0))), nil }
	given, _, _ := NewMetricHess(newQuadratic(5, 1e3, rand.New(rand.NewPCG(1, 0))).h, 0)
	const n = 5
	begin := func() []*Chain {
		chains, err := NewChains(n, target, StartAt(make([]float64, 5)), given, Options{Method: HMC, Warmup: 20, Draws: 30}, 11)
		if err != nil {
			t.Fatal(err)
		}
		return chains
	}
	whole := begin()
	var want Trace
	if err := SampleInStep(context.Background(), whole, 2, &want); err != nil {
		t.Fatal(err)
	}
	var found []float64
	for _, c := range whole {
		if found = append(found, c.s.Averaging.mean()); c.StepSize() != whole[0].StepSize() {
			t.Errorf("chain %d steps by %v, chain 0 by %v", c.ID(), c.StepSize(), whole[0].StepSize())
		}
	}
	if slices.Sort(found); whole[0].StepSize() != found[n/2] || found[0] == found[n-1] {
		t.Errorf("steps by %v, expected the median of %v, which differ", whole[0].StepSize(), found)
	}
	parts := begin()
	var got Trace
	rng := rand.New(rand.NewPCG(8, 8))
	for stops := 0; ; stops++ {
		ctx, cancel := context.WithCancel(context.Background())
		var left atomic.Int64
		left.Store(int64(1 + rng.IntN(60)))
		err := SampleInStep(ctx, parts, 2, RecorderFunc(func(d Draw) error {
			if left.Add(-1) == 0 {
				cancel()
			}
			return got.Record(d)
		}))
		cancel()
		if err == nil {
			if stops < 3 {
				t.Errorf("stopped %d times, expected more", stops)
			}
			break
		}
		for i, c := range parts {
			state := c.Save()
			q, _ := target(i)
			if parts[i], err = ResumeChain(q, *viaJSON(t, &state)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !reflect.DeepEqual(got.Chains(), want.Chains()) {
		t.Error("the draws of the stopped chains differ")
	}
}

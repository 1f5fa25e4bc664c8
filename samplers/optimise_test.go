package samplers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
)

func TestLMClimbsRosenbrocksValley(t *testing.T) {
	for _, start := range [][]float64{{-1.2, 1}, {0, 0}, {5, -5}, {-30, 40}} {
		r, err := LevenbergMarquardt(context.Background(), rosenbrock(), NewLMState(start), LMOptions{TolGain: 1e-20}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != Converged || math.Hypot(r.X[0]-1, r.X[1]-1) > 1e-8 || r.Iterations > 80 {
			t.Errorf("from %v: %s (%s) at %v after %d steps", start, r.Status, r.Reason, r.X, r.Iterations)
		}
	}
}

func TestLMSolvesQuadraticsOfAnyConditionInFewSteps(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		for _, cond := range []float64{1, 1e3, 1e6, 1e9} {
			rng := rand.New(rand.NewPCG(seed, 0))
			q := newQuadratic(30, cond, rng)
			r, err := LevenbergMarquardt(context.Background(), q, NewLMState(check.Normals(rng, 30)), LMOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != Converged || r.LogProb < -2e-6 || r.Iterations > 15 {
				t.Errorf("seed %d, condition %g: %s at log p %g after %d steps (%s)", seed, cond, r.Status, r.LogProb, r.Iterations, r.Reason)
			}
		}
	}
}

func TestLMStepDoesNotAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	q := newQuadratic(76, 1e6, rng)
	w, s := newLMWork(76), NewLMState(check.Normals(rng, 76))
	s.LogProb, _ = q.LogProbHess(w.grad, w.hess, s.X)
	s.Damping, s.Growth = 1e3, 2
	ctx, opt := context.Background(), LMOptions{}.defaults()
	if a := testing.AllocsPerRun(5, func() {
		w.rescale(s.Scale)
		w.newtonGain()
		if ok, err := w.climb(ctx, q, s, opt); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func TestLMAtTheMaximumTakesNoStep(t *testing.T) {
	q := newQuadratic(10, 1e4, rand.New(rand.NewPCG(1, 0)))
	r, err := LevenbergMarquardt(context.Background(), q, NewLMState(q.mean), LMOptions{}, nil)
	if err != nil || r.Status != Converged || r.Iterations != 0 || r.Hessians != 1 || r.Gain != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestLMStallsHonestlyOnARoughDensity(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	q := rough{newQuadratic(10, 100, rng)}
	start := check.Normals(rng, 10)
	first, _ := q.LogProb(nil, start)
	r, err := LevenbergMarquardt(context.Background(), q, NewLMState(start), LMOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != Stalled || r.Gain < 1e-6 || r.LogProb <= first {
		t.Errorf("got %s at %g from %g, gain %g (%s)", r.Status, r.LogProb, first, r.Gain, r.Reason)
	}
}

func TestLMGoesAroundRejectedPoints(t *testing.T) {
	// The first full step lands at x1 - x0² = -9, where the density fails in one of three ways.
	far := func(x []float64) bool { return x[1]-x[0]*x[0] < -8 }
	for _, c := range []struct {
		reason string
		err    error
	}{
		{"q1: found #, expected less than #", rangeError(3)},
		{"ray #: point rejected", fmt.Errorf("ray 17: %w", ErrRecoverable)},
		{"log density is NaN", nil},
	} {
		l := rosenbrock()
		f := l.f
		l.bad = func(x []float64) error {
			if far(x) {
				return c.err
			}
			return nil
		}
		l.f = func(r, jac, x []float64) {
			f(r, jac, x)
			if far(x) {
				r[0] = math.NaN()
			}
		}
		r, err := LevenbergMarquardt(context.Background(), l, NewLMState([]float64{-2, 5}), LMOptions{Damping: 1e-9}, nil)
		if err != nil || r.Status != Converged || r.Rejections[c.reason] == 0 || r.Rejections[c.reason] != r.Rejected() {
			t.Errorf("%s: %+v, %v", c.reason, r, err)
		}
	}
}

func TestSearchesPassOnFatalErrorsAndBadStarts(t *testing.T) {
	boom := errors.New("disk on fire")
	l := rosenbrock()
	l.bad = func(x []float64) error {
		if x[0] > -1 {
			return boom
		}
		return nil
	}
	start := []float64{-1.2, 1}
	if _, err := LevenbergMarquardt(context.Background(), l, NewLMState(start), LMOptions{}, nil); !errors.Is(err, boom) {
		t.Errorf("lm: got %v", err)
	}
	if _, err := Adam(context.Background(), l, NewAdamState(start), nil, AdamOptions{Rate: 1}, nil); !errors.Is(err, boom) {
		t.Errorf("adam: got %v", err)
	}
	l.bad = func([]float64) error { return rangeError(7) }
	if _, err := LevenbergMarquardt(context.Background(), l, NewLMState(start), LMOptions{}, nil); err == nil || !strings.Contains(err.Error(), "samplers: lm: start: q1: found 7") {
		t.Errorf("lm: got %v", err)
	}
	l.bad = nil
	if _, err := Adam(context.Background(), l, NewAdamState([]float64{1, math.NaN()}), nil, AdamOptions{}, nil); err == nil || !strings.Contains(err.Error(), "parameter 1 is NaN") {
		t.Errorf("adam: got %v", err)
	}
	if _, err := Adam(context.Background(), l, NewAdamState([]float64{1}), nil, AdamOptions{}, nil); err == nil || !strings.Contains(err.Error(), "found 1 parameters, expected 2") {
		t.Errorf("adam: got %v", err)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for _, o := range []interface{ Validate() error }{
		AdamOptions{Rate: -1}, AdamOptions{Beta1: 1}, AdamOptions{Beta2: 2}, AdamOptions{Final: 3}, AdamOptions{Decay: "linear"}, AdamOptions{Steps: -1}, AdamOptions{Rate: math.NaN()},
		LMOptions{Steps: -1}, LMOptions{Damping: math.NaN()}, LMOptions{TolGain: -1}, LMOptions{TolStep: -1}, LMOptions{Patience: -1},
	} {
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), "samplers: ") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
	if err := (AdamOptions{}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (LMOptions{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestAdamInWhitenedCoordinatesIgnoresTheCondition(t *testing.T) {
	for _, cond := range []float64{1, 1e6} {
		rng := rand.New(rand.NewPCG(3, 0))
		q := newQuadratic(20, cond, rng)
		m, floored, err := NewMetricHess(q.h, 0)
		if err != nil || floored != 0 {
			t.Fatal(floored, err)
		}
		start := make([]float64, 20)
		m.Push(start, check.Normals(rng, 20))
		for i := range start {
			start[i] = q.mean[i] + 3*start[i]
		}
		r, err := Adam(context.Background(), q, NewAdamState(start), m, AdamOptions{Steps: 400, Rate: 0.3, Beta2: 0.99, Final: 0.01}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.LogProb < -1e-3 {
			t.Errorf("condition %g: log p %g after %d steps", cond, r.LogProb, r.Iterations)
		}
	}
}

func TestAdamPolishesWhereLMStalls(t *testing.T) {
	better := 0
	for seed := uint64(0); seed < 10; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		q := rough{newQuadratic(10, 100, rng)}
		lm, err := LevenbergMarquardt(context.Background(), q, NewLMState(check.Normals(rng, 10)), LMOptions{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, _, err := NewMetricHess(lm.Hess, 0)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Adam(context.Background(), q, NewAdamState(lm.X), m, AdamOptions{Steps: 400, Rate: 0.3, Beta2: 0.99}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.LogProb < lm.LogProb {
			t.Errorf("seed %d: the best point fell from %g to %g", seed, lm.LogProb, r.LogProb)
		}
		if r.LogProb > lm.LogProb+0.1 {
			better++
		}
	}
	if better < 8 {
		t.Errorf("Adam raised log p by 0.1 for %d of 10 ends of LM, expected at least 8", better)
	}
}

func TestAdamStopsWhenNothingIsGained(t *testing.T) {
	r, err := Adam(context.Background(), rosenbrock(), NewAdamState([]float64{-1.2, 1}), nil, AdamOptions{Steps: 20000, Rate: 0.05, Decay: NoDecay, Window: 500, Tol: 1e-9}, nil)
	if err != nil || r.Status != Converged || r.Iterations >= 20000 || math.Hypot(r.X[0]-1, r.X[1]-1) > 0.05 {
		t.Errorf("got %s (%s) at %v, %v", r.Status, r.Reason, r.X, err)
	}
}

func TestAdamStaysOutOfRejectedRegions(t *testing.T) {
	q := newQuadratic(3, 1, rand.New(rand.NewPCG(3, 0)))
	q.mean = []float64{4, 0, 0} // beyond the border at 2.5
	b := bounded{q}
	r, err := Adam(context.Background(), b, NewAdamState(make([]float64, 3)), nil, AdamOptions{Steps: 500, Rate: 0.2, Decay: ExponentialDecay}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.X[0] >= 2.5 || r.X[0] < 2.4 || r.Rejected() == 0 || r.Rejections["q1: found #, expected less than #"] != r.Rejected() {
		t.Errorf("got %v, %s (%s), rejections %v", r.X, r.Status, r.Reason, r.Rejections)
	}
}

type bounded struct{ *quadratic }

func (b bounded) LogProb(grad, x []float64) (float64, error) {
	if x[0] >= 2.5 {
		return 0, rangeError(x[0])
	}
	return b.quadratic.LogProb(grad, x)
}

// TestSearchesResumeToTheBit interrupts after each step, sends the state through JSON and compares with one run.
func TestSearchesResumeToTheBit(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	target := rough{newQuadratic(8, 1e4, rng)}
	start := check.Normals(rng, 8)
	metric, _, _ := NewMetricHess(target.h, 0)
	stop := errors.New("enough")

	adam := AdamOptions{Steps: 60, Rate: 0.2}
	whole, err := Adam(context.Background(), target, NewAdamState(start), metric, adam, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := NewAdamState(start)
	for {
		r, err := Adam(context.Background(), target, s, metric, adam, func(*AdamState) error { return stop })
		if err == nil {
			if !reflect.DeepEqual(r, whole) {
				t.Errorf("adam: got %+v, want %+v", r, whole)
			}
			break
		}
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
		s = viaJSON(t, s)
	}

	lmResumes(t, target, start, func(cancel context.CancelFunc) Curved { return cancelling{target, cancel} })
	curved := newLagged()
	lmResumes(t, curved, []float64{-1.2, 1, 0.5}, func(cancel context.CancelFunc) Curved { return cancellingLagged{curved, cancel} })
}

// lmResumes stops a climb after every step, and in the middle of every step.
func lmResumes(t *testing.T, target Curved, start []float64, cancelling func(context.CancelFunc) Curved) {
	t.Helper()
	stop := errors.New("enough")
	lm := LMOptions{Steps: 30}
	wholeLM, err := LevenbergMarquardt(context.Background(), target, NewLMState(start), lm, nil)
	if err != nil {
		t.Fatal(err)
	}
	ls := NewLMState(start)
	for {
		r, err := LevenbergMarquardt(context.Background(), target, ls, lm, func(*LMState) error { return stop })
		if err == nil {
			if !reflect.DeepEqual(r, wholeLM) {
				t.Errorf("lm: got %+v, want %+v", r, wholeLM)
			}
			break
		}
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
		ls = viaJSON(t, ls)
	}

	// Cancelled in the middle of a step, at each evaluation in turn.
	ls = NewLMState(start)
	for {
		ctx, cancel := context.WithCancel(context.Background())
		r, err := LevenbergMarquardt(ctx, cancelling(cancel), ls, lm, nil)
		cancel()
		if err == nil {
			if !reflect.DeepEqual(r, wholeLM) {
				t.Errorf("lm cancelled: got %+v, want %+v", r, wholeLM)
			}
			break
		}
		if r == nil || r.Status != Interrupted {
			t.Fatal(r, err)
		}
		ls = viaJSON(t, ls)
	}
}

// lagged is a curved valley whose matrix may be had from another point; it counts those that are not.
type lagged struct {
	*leastSquares
	whole *int
}

func newLagged() lagged {
	return lagged{newLeastSquares(3, 3, func(r, jac, x []float64) {
		for i := range 3 {
			next := (i + 1) % 3
			r[i] = 5*(x[i]-1) + 0.3*math.Sin(2*x[next])*x[i] - 0.3*math.Sin(2)
			clear(jac[3*i : 3*i+3])
			jac[3*i+i] = 5 + 0.3*math.Sin(2*x[next])
			jac[3*i+next] = 0.6 * math.Cos(2*x[next]) * x[i]
		}
	}), new(int)}
}

func (l lagged) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	*l.whole++
	return l.leastSquares.LogProbHess(grad, hess, x)
}

func (l lagged) LogProbHessFrom(grad []float64, hess *mat.SymDense, x, origin []float64) (float64, error) {
	if _, err := l.leastSquares.LogProbHess(make([]float64, len(x)), hess, origin); err != nil {
		return 0, err
	}
	return l.LogProb(grad, x)
}

type cancellingLagged struct {
	lagged
	cancel context.CancelFunc
}

func (c cancellingLagged) LogProb(grad, x []float64) (float64, error) {
	if grad == nil {
		c.cancel()
	}
	return c.lagged.LogProb(grad, x)
}

func TestLMKeepsSlowPartsOfTheCurvature(t *testing.T) {
	l := newLagged()
	start := []float64{-1.2, 1, 0.5}
	want, err := LevenbergMarquardt(context.Background(), l.leastSquares, NewLMState(start), LMOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := LevenbergMarquardt(context.Background(), l, NewLMState(start), LMOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want.Status != Converged || got.Status != Converged {
		t.Fatalf("status %v and %v, expected both converged", want.Status, got.Status)
	}
	for i := range want.X {
		check.Close(t, "maximum", got.X[i], want.X[i], 1e-3, 1)
	}
	hess := mat.NewSymDense(3, nil)
	if _, err := l.leastSquares.LogProbHess(make([]float64, 3), hess, got.X); err != nil {
		t.Fatal(err)
	}
	if !mat.Equal(hess, got.Hess) {
		t.Error("the curvature returned is not that of the maximum")
	}
	if *l.whole >= got.Hessians || *l.whole >= want.Hessians {
		t.Errorf("%d whole matrices of %d, and of %d without keeping any; expected fewer", *l.whole, got.Hessians, want.Hessians)
	}
}

// cancelling cancels its context at each evaluation.
type cancelling struct {
	rough
	cancel context.CancelFunc
}

func (c cancelling) LogProb(grad, x []float64) (float64, error) {
	if grad == nil {
		c.cancel()
	}
	return c.rough.LogProb(grad, x)
}

func viaJSON[T any](t *testing.T, v *T) *T {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := new(T)
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMetricIsTheInverseOfTheCurvature(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	q := newQuadratic(12, 1e5, rng)
	m, floored, err := NewMetricHess(q.h, 0)
	if err != nil || floored != 0 {
		t.Fatal(floored, err)
	}
	mc, err := NewMetricCov(m.Cov())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Metric{m, mc} {
		// Aᵀ H A = I.
		for k := 0; k < 12; k++ {
			u, x, hx := make([]float64, 12), make([]float64, 12), make([]float64, 12)
			u[k] = 1
			m.Push(x, u)
			for i := range x {
				x[i] += q.mean[i]
			}
			if _, err := q.LogProb(hx, x); err != nil {
				t.Fatal(err)
			}
			m.Pull(hx, hx)
			for i := range hx {
				check.Close(t, "AᵀHA", -hx[i], u[i], 1e-8, 1)
			}
		}
	}
	diag, err := NewMetricDiag([]float64{1, 2, 0.5})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Metric{m, diag, NewMetric(4)} {
		u, v := check.Normals(rng, m.N), check.Normals(rng, m.N)
		au, atv := make([]float64, m.N), make([]float64, m.N)
		m.Push(au, u)
		m.Pull(atv, v)
		check.Close(t, "⟨Au,v⟩ = ⟨u,Aᵀv⟩", check.Dot(au, v), check.Dot(u, atv), 1e-12, 1)
		m.Solve(au, au)
		for i := range u {
			check.Close(t, "A⁻¹A", au[i], u[i], 1e-8, 1)
		}
		vars := make([]float64, m.N)
		m.Variances(vars)
		for i, c := range vars {
			check.Close(t, "variance", c, m.Cov().At(i, i), 1e-12, 0)
		}
		if err := viaJSON(t, m).Validate(); err != nil {
			t.Error(err)
		}
		if a := testing.AllocsPerRun(10, func() { m.Push(au, u); m.Pull(atv, v) }); a != 0 {
			t.Errorf("%v allocations", a)
		}
	}
}

func TestMetricRefusesNonsense(t *testing.T) {
	q := newQuadratic(3, 1, rand.New(rand.NewPCG(1, 0)))
	q.h.SetSym(1, 1, 0)
	if _, _, err := NewMetricHess(q.h, 0); err == nil || !strings.Contains(err.Error(), "diagonal element 1: found 0") {
		t.Errorf("got %v", err)
	}
	if _, err := NewMetricDiag([]float64{1, math.Inf(1)}); err == nil {
		t.Error("accepted an infinite deviation")
	}
	if _, err := NewMetricCov(q.h); err == nil {
		t.Error("accepted a covariance with a zero variance")
	}
	for _, m := range []Metric{{N: 2, SD: []float64{1}}, {N: 2, SD: []float64{1, -1}}, {N: 2, Lower: []float64{1, 0, math.NaN(), 1}}, {N: 2, Lower: []float64{1}}} {
		if m.Validate() == nil {
			t.Errorf("accepted %+v", m)
		}
	}
}

func TestLaplaceIsExactForAGaussian(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	q := newQuadratic(6, 1e6, rng)
	g, err := Laplace(q.mean, q.h, 0)
	if err != nil {
		t.Fatal(err)
	}
	checkGradient(t, "gaussian", g, g.Mean, 1e-7)
	const draws = 20000
	sigma, x := make([]float64, 6), make([]float64, 6)
	g.Sigma(sigma)
	sum, sq := make([]float64, 6), make([]float64, 6)
	for k := 0; k < draws; k++ {
		g.Draw(x, rng)
		a, _ := g.LogProb(nil, x)
		b, _ := q.LogProb(nil, x)
		check.Close(t, "log density", a, b-g.LogEvidence(0), 1e-7, 1)
		for i, v := range x {
			d := (v - q.mean[i]) / sigma[i]
			sum[i] += d
			sq[i] += d * d
		}
	}
	for i := range sum {
		if math.Abs(sum[i]/draws) > 5/math.Sqrt(draws) || math.Abs(sq[i]/draws-1) > 5*math.Sqrt(2./draws) {
			t.Errorf("parameter %d: mean %g, variance %g in units of sigma", i, sum[i]/draws, sq[i]/draws)
		}
	}
}

func TestReasonsHideNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"lens q1: found -1.5e-07, expected 0 to 1.": "lens q1: found #, expected # to #",
		"z.12 is 3": "z.# is #",
	} {
		if got := reason(in); got != want {
			t.Errorf("reason(%q) = %q, want %q", in, got, want)
		}
	}
	var c Tally
	for i := 0; i < 1000; i++ {
		c.reject(strings.Repeat("x", i))
	}
	if len(c.Rejections) > maxReasons+1 || c.Rejected() != 1000 {
		t.Errorf("%d reasons for %d rejections", len(c.Rejections), c.Rejected())
	}
}

// TestLMStoppedBetweenTrialsGoesOnWithThem: a stop where the curvature was just renewed among the trials of a step must not
// bring up the question whether the climb is at its end.
func TestLMStoppedBetweenTrialsGoesOnWithThem(t *testing.T) {
	l := newLagged()
	s := NewLMState([]float64{-1.2, 1, 0.5})
	if _, err := LevenbergMarquardt(context.Background(), l, s, LMOptions{Steps: 2}, nil); err != nil {
		t.Fatal(err)
	}
	s.Trying = true
	easy := LMOptions{Steps: 30, TolGain: 1e6}
	r, err := LevenbergMarquardt(context.Background(), l, s.Clone(), easy, nil)
	if err != nil || r.Iterations != 3 {
		t.Errorf("got %d steps (%v), want the third", r.Iterations, err)
	}
	s.Trying = false
	if r, err = LevenbergMarquardt(context.Background(), l, s, easy, nil); err != nil || r.Iterations != 2 || r.Status != Converged {
		t.Errorf("got %d steps, %s (%v), want none more", r.Iterations, r.Status, err)
	}
}

package samplers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
)

// uncrossed is a parabola whose own curvature lacks the cross terms.
type uncrossed struct{ *quadratic }

func (q uncrossed) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	lp, err := q.quadratic.LogProbHess(grad, hess, x)
	for i := range x {
		for j := range i {
			hess.SetSym(i, j, 0)
		}
	}
	return lp, err
}

func TestBFGSLearnsTheCurvatureThatTheTargetLacks(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		q := newQuadratic(12, 1e3, rng)
		r, err := BFGS(context.Background(), uncrossed{q}, NewBFGSState(check.Normals(rng, 12)), BFGSOptions{TolStep: 1e-6, Reach: 10}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != Converged || r.LogProb < -1e-9 || r.Hessians != 1 || r.Iterations > 60 {
			t.Errorf("seed %d: %s at log p %g after %d steps (%s)", seed, r.Status, r.LogProb, r.Iterations, r.Reason)
		}
	}
	q := newQuadratic(12, 1e6, rand.New(rand.NewPCG(6, 0)))
	if r, err := BFGS(context.Background(), q, NewBFGSState(make([]float64, 12)), BFGSOptions{Reach: 100}, nil); err != nil || r.Iterations != 1 || r.LogProb < -1e-12 {
		t.Errorf("with all of the curvature: %+v, %v", r, err)
	}
}

func TestBFGSClimbsRosenbrocksValley(t *testing.T) {
	for _, start := range [][]float64{{-1.2, 1}, {0, 0}, {5, -5}} {
		r, err := BFGS(context.Background(), rosenbrock(), NewBFGSState(start), BFGSOptions{TolStep: 1e-9, Steps: 200, Reach: 10}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != Converged || math.Hypot(r.X[0]-1, r.X[1]-1) > 1e-8 {
			t.Errorf("from %v: %s (%s) at %v after %d steps", start, r.Status, r.Reason, r.X, r.Iterations)
		}
	}
}

// fenced is a parabola of width 1 around 0 that cannot be computed where x exceeds the fence.
type fenced struct{ fence float64 }

func (f fenced) Dim() int { return 1 }

func (f fenced) LogProb(grad, x []float64) (float64, error) {
	if x[0] > f.fence {
		return 0, fmt.Errorf("%w: beyond the fence", ErrRecoverable)
	}
	if grad != nil {
		grad[0] = -x[0]
	}
	return -0.5 * x[0] * x[0], nil
}

// LogProbHess has a curvature that is far too small: steps are too long.
func (f fenced) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	hess.SetSym(0, 0, 0.01)
	return f.LogProb(grad, x)
}

func TestBFGSShortensStepsToWhatCanBeComputed(t *testing.T) {
	r, err := BFGS(context.Background(), fenced{0.5}, NewBFGSState([]float64{-3}), BFGSOptions{Reach: 1e3}, nil)
	if err != nil || r.Status != Converged || math.Abs(r.X[0]) > 0.1 || r.Rejected() == 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	// the maximum lies behind the fence: nothing is gained at it, and that is said
	r, err = BFGS(context.Background(), fenced{-1}, NewBFGSState([]float64{-3}), BFGSOptions{Reach: 1e3, Steps: 40}, nil)
	if err != nil || r.Status == Converged || r.X[0] > -1 || r.X[0] < -1.1 || r.Gain < 0.3 {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err = BFGS(context.Background(), fenced{0}, NewBFGSState([]float64{1}), BFGSOptions{}, nil); err == nil {
		t.Error("a start that cannot be computed is taken")
	}
}

// halting cancels its context at each evaluation.
type halting struct {
	uncrossed
	cancel context.CancelFunc
}

func (s halting) LogProb(grad, x []float64) (float64, error) {
	s.cancel()
	return s.uncrossed.LogProb(grad, x)
}

func TestBFGSResumesToTheBit(t *testing.T) {
	q := uncrossed{newQuadratic(8, 1e3, rand.New(rand.NewPCG(5, 0)))}
	start := check.Normals(rand.New(rand.NewPCG(6, 0)), 8)
	whole, err := BFGS(context.Background(), q, NewBFGSState(start), BFGSOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	for _, within := range []bool{false, true} {
		s := NewBFGSState(start)
		for n := 0; ; n++ {
			ctx, cancel := context.WithCancel(context.Background())
			var target Curved = q
			watch := func(*BFGSState) error { return stop }
			if within && n%2 == 0 {
				target = halting{q, cancel}
			}
			r, err := BFGS(ctx, target, s, BFGSOptions{}, watch)
			cancel()
			if err == nil {
				if !reflect.DeepEqual(r, whole) {
					t.Errorf("within steps %v: got %+v, want %+v", within, r, whole)
				}
				break
			}
			if n > 200 || !errors.Is(err, stop) && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			s = viaJSON(t, s)
		}
	}
}

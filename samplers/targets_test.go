package samplers

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
)

// leastSquares is log p = -½|r(x)|² with its Gauss-Newton matrix.
type leastSquares struct {
	dim, rows int
	f         func(r []float64, jac []float64, x []float64) // jac is rows×dim, row-major
	bad       func(x []float64) error
	r, jac    []float64
}

func newLeastSquares(dim, rows int, f func(r, jac, x []float64)) *leastSquares {
	return &leastSquares{dim: dim, rows: rows, f: f, r: make([]float64, rows), jac: make([]float64, rows*dim)}
}

func (l *leastSquares) Dim() int { return l.dim }

func (l *leastSquares) LogProb(grad, x []float64) (float64, error) {
	if l.bad != nil {
		if err := l.bad(x); err != nil {
			return 0, err
		}
	}
	l.f(l.r, l.jac, x)
	lp := 0.0
	for i := range grad {
		grad[i] = 0
	}
	for k, r := range l.r {
		lp -= 0.5 * r * r
		for i := range grad {
			grad[i] -= r * l.jac[k*l.dim+i]
		}
	}
	return lp, nil
}

func (l *leastSquares) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	lp, err := l.LogProb(grad, x)
	for i := 0; i < l.dim; i++ {
		for j := i; j < l.dim; j++ {
			s := 0.0
			for k := range l.r {
				s += l.jac[k*l.dim+i] * l.jac[k*l.dim+j]
			}
			hess.SetSym(i, j, s)
		}
	}
	return lp, err
}

// rosenbrock is Rosenbrock's valley as least squares; its maximum is (1, 1).
func rosenbrock() *leastSquares {
	return newLeastSquares(2, 2, func(r, jac, x []float64) {
		r[0], r[1] = 10*(x[1]-x[0]*x[0]), 1-x[0]
		jac[0], jac[1] = -20*x[0], 10
		jac[2], jac[3] = -1, 0
	})
}

// quadratic is -½ (x-m)ᵀ H (x-m) with H = Q diag(λ) Qᵀ, λ from 1 to cond in equal ratios, Q random.
type quadratic struct {
	mean []float64
	h    *mat.SymDense
	d, g []float64
}

func newQuadratic(dim int, cond float64, rng *rand.Rand) *quadratic {
	var qr mat.QR
	qr.Factorize(mat.NewDense(dim, dim, check.Normals(rng, dim*dim)))
	var q mat.Dense
	qr.QTo(&q)
	h := mat.NewSymDense(dim, nil)
	for k := 0; k < dim; k++ {
		l := 1.0
		if dim > 1 {
			l = math.Pow(cond, float64(k)/float64(dim-1))
		}
		for i := 0; i < dim; i++ {
			for j := i; j < dim; j++ {
				h.SetSym(i, j, h.At(i, j)+l*q.At(i, k)*q.At(j, k))
			}
		}
	}
	return &quadratic{mean: check.Normals(rng, dim), h: h, d: make([]float64, dim), g: make([]float64, dim)}
}

func (q *quadratic) Dim() int { return len(q.mean) }

func (q *quadratic) LogProb(grad, x []float64) (float64, error) {
	for i := range x {
		q.d[i] = x[i] - q.mean[i]
	}
	blas64.Symv(-1, q.h.RawSymmetric(), vector(q.d), 0, vector(q.g))
	lp := 0.5 * blas64.Dot(vector(q.d), vector(q.g))
	if grad != nil {
		copy(grad, q.g)
	}
	return lp, nil
}

func (q *quadratic) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	hess.CopySym(q.h)
	return q.LogProb(grad, x)
}

// rough is a bowl with kinks and ripples whose curvature matrix knows only the bowl.
type rough struct{ *quadratic }

func (q rough) LogProb(grad, x []float64) (float64, error) {
	lp, err := q.quadratic.LogProb(grad, x)
	for i, v := range x {
		c := 3 * float64(i%3+1)
		p := math.Mod(c*(v-q.mean[i])+1000, 2) - 1 // saw tooth, kinks at its ends
		lp -= 0.3 * math.Abs(p)
		if grad != nil {
			grad[i] -= 0.3 * c * math.Copysign(1, p)
		}
	}
	return lp, err
}

func (q rough) LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error) {
	hess.CopySym(q.h)
	return q.LogProb(grad, x)
}

// rangeError is recoverable by its method, without wrapping ErrRecoverable.
type rangeError float64

func (e rangeError) Error() string {
	return fmt.Sprintf("q1: found %v, expected less than 2.5", float64(e))
}
func (e rangeError) Recoverable() bool { return true }

// checkGradient compares a target's gradient with central differences along random directions.
func checkGradient(t *testing.T, name string, target Target, x []float64, tol float64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(9, 9))
	grad := make([]float64, target.Dim())
	if _, err := target.LogProb(grad, x); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for k := 0; k < 5; k++ {
		v := check.Normals(rng, len(x))
		want := check.Directional(func(x []float64) float64 {
			lp, err := target.LogProb(nil, x)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return lp
		}, x, v, 1e-4)
		check.Close(t, name+" gradient", check.Dot(grad, v), want, tol, math.Sqrt(check.Dot(grad, grad)))
	}
}

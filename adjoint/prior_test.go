package adjoint

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
	"lenskit/physics"
)

var inf = math.Inf(1)

var scalarPriors = map[string]Prior{
	"normal":                     physics.Normal(1.5, 0.5),
	"normal, bounded":            physics.Normal(0.7, 0.2).Bounded(0.2, 0.999),
	"normal, bounded below":      physics.Normal(1, 3).Bounded(0, inf),
	"normal, bounded above":      physics.Normal(1, 3).Bounded(-inf, 0.5),
	"normal, far lower tail":     physics.Normal(0, 1).Bounded(-12, -10),
	"normal, far upper tail":     physics.Normal(0, 1).Bounded(20, inf),
	"normal, narrow bounds":      physics.Normal(0, 1).Bounded(3, 3+1e-6),
	"normal, bounds far outside": physics.Normal(0, 1).Bounded(-1e3, 1e3),
	"uniform":                    physics.Uniform(-1.5, 4),
	"uniform, bounded":           physics.Uniform(-1.5, 4).Bounded(0, inf),
	"lognormal":                  physics.LogNormal(0.3, 0.8),
	"lognormal, bounded":         physics.LogNormal(0.3, 0.8).Bounded(0.5, 3),
	"lognormal, bounded below":   physics.LogNormal(0.3, 0.8).Bounded(0.5, inf),
}

func TestPriorsAreNormalised(t *testing.T) {
	for name, p := range scalarPriors {
		s, err := compile(p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// all but 1e-14 of the mass lies between the ends
		mass := 0.0
		for k := range 200 {
			a, _ := s.push(-7.9 + 15.8*float64(k)/200)
			b, _ := s.push(-7.9 + 15.8*float64(k+1)/200)
			if a == b {
				continue
			}
			mass += quad.Fixed(func(x float64) float64 {
				l, _ := s.logp(math.Min(math.Max(x, a), b))
				return math.Exp(l)
			}, a, b, 20, quad.Legendre{}, 0)
		}
		check.Close(t, name+": mass", mass, 1, 1e-8, 0)
	}
}

func TestPriorCoordinateIsAStandardNormal(t *testing.T) {
	for name, p := range scalarPriors {
		s, err := compile(p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before := math.Inf(-1)
		for u := -8.0; u <= 8; u += 0.5 {
			theta, slope := s.push(u)
			lp, dlp := s.logp(theta)
			if theta < before || !(slope > 0) || !finite(theta) || !finite(dlp) {
				t.Fatalf("%s at u = %g: θ = %g after %g, slope %g, dlogp %g", name, u, theta, before, slope, dlp)
			}
			before = theta
			// p(θ) dθ/du = φ(u)
			check.Close(t, name+": log density of u", lp+math.Log(slope), -0.5*u*u-logSqrt2Pi, 1e-9, 1)
			if math.Abs(u) <= 4 {
				tol := 1e-7
				h := 1e-4
				a, _ := s.push(u + h)
				b, _ := s.push(u - h)
				a2, _ := s.push(u + 2*h)
				b2, _ := s.push(u - 2*h)
				// the rounding of θ itself limits the difference
				limit := 1e-15 * math.Abs(theta) / h
				fd := (8*(a-b) - (a2 - b2)) / (12 * h)
				if math.Abs(fd-slope) > tol*slope+10*limit {
					t.Errorf("%s at u = %g: slope %g, finite difference %g", name, u, slope, fd)
				}
				d := 1e-5 * slope
				l1, _ := s.logp(theta + d)
				l0, _ := s.logp(theta - d)
				if !math.IsInf(l1, 0) && !math.IsInf(l0, 0) && d > 1e-9*math.Abs(theta) {
					check.Close(t, name+": dlogp", (l1-l0)/(2*d), dlp, 1e-4, 1e-4/slope)
				}
				if back := s.pull(theta); math.Abs(back-u) > 1e-8+1e-15*math.Abs(theta)/slope*10 {
					t.Errorf("%s: u = %g comes back as %g", name, u, back)
				}
			}
		}
		for _, u := range []float64{-40, 40, -1e300, 1e300} {
			if theta, slope := s.push(u); math.IsNaN(theta) || math.IsNaN(slope) {
				t.Errorf("%s at u = %g: θ = %g, slope %g", name, u, theta, slope)
			}
		}
	}
}

func TestTruncatedTailsAreAccurate(t *testing.T) {
	// An exponential law is the limit of a normal one beyond a far bound: θ − 30 is close to −ln Q(u)/30.
	s, err := compile(physics.Normal(0, 1).Bounded(30, inf))
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []float64{-8, -5, 0, 5, 8} {
		theta, _ := s.push(u)
		_, q := tails(u)
		// Q(θ) = Q(30) Q(u), by the continued fraction of Mills' ratio
		logQ := func(x float64) float64 {
			r := x
			for k := 60; k > 0; k-- {
				r = x + float64(k)/r
			}
			return -0.5*x*x - math.Log(r)
		}
		check.Close(t, "log tail", logQ(theta), logQ(30)+math.Log(q), 1e-13, 0)
	}
}

func TestPriorSupport(t *testing.T) {
	for name, c := range map[string]struct {
		p     Prior
		theta float64
		u     float64 // NaN: outside
	}{
		"on a lower bound": {physics.Uniform(0, 1), 0, -8},
		"on an upper one":  {physics.Normal(0, 1).Bounded(-1, 1), 1, 8},
		"below":            {physics.Normal(0, 1).Bounded(-1, 1), -1.001, math.NaN()},
		"above":            {physics.Uniform(0, 1), 1.001, math.NaN()},
		"zero, lognormal":  {physics.LogNormal(0, 1), 0, math.NaN()},
		"nan":              {physics.Uniform(0, 1), math.NaN(), math.NaN()},
		"far, unbounded":   {physics.Normal(0, 1), 30, 30},
	} {
		s, err := compile(c.p)
		if err != nil {
			t.Fatal(err)
		}
		if u := s.pull(c.theta); u != c.u && !(math.IsNaN(u) && math.IsNaN(c.u)) {
			t.Errorf("%s: u = %g, want %g", name, u, c.u)
		}
		if lp, d := s.logp(c.theta); math.IsNaN(c.u) && (!math.IsInf(lp, -1) || d != 0) {
			t.Errorf("%s: log density %g with slope %g outside the support", name, lp, d)
		}
	}
	for name, p := range map[string]Prior{
		"no width":          physics.Normal(0, 0),
		"nan mean":          physics.Normal(math.NaN(), 1),
		"bounds reversed":   physics.Normal(0, 1).Bounded(1, -1),
		"bounds unreached":  physics.Normal(0, 1).Bounded(50, 60),
		"uniform, reversed": physics.Uniform(1, 0),
		"uniform, infinite": physics.Uniform(0, inf),
		"lognormal below 0": physics.LogNormal(0, 1).Bounded(-2, -1),
		"unknown":           {Family: "cauchy"},
		"empty":             {},
	} {
		if _, err := compile(p); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestMultivariatePrior(t *testing.T) {
	const n = 5
	rng := rand.New(rand.NewPCG(1, 7))
	a := mat.NewDense(n, n, check.Normals(rng, n*n))
	var cov mat.SymDense
	cov.SymOuterK(0.3, a)
	for i := range n {
		cov.SetSym(i, i, cov.At(i, i)+0.1)
	}
	mean := check.Normals(rng, n)
	for name, p := range map[string]Prior{"covariance": physics.Multivariate(mean, &cov, 9), "identity": physics.Multivariate(mean, nil, 9)} {
		m, err := newMultivariate(p, n)
		if err != nil {
			t.Fatal(err)
		}
		full := mat.NewSymDense(n, nil)
		for i := range n {
			full.SetSym(i, i, 9)
		}
		if p.Cov != nil {
			full.ScaleSym(9, &cov)
		}
		u, z, back := check.Normals(rng, n), make([]float64, n), make([]float64, n)
		m.push(z, u)
		m.pull(back, z)
		for i := range u {
			check.Close(t, name+": round trip", back[i], u[i], 1e-12, 1)
		}
		// density and gradient against the textbook formula
		var chol mat.Cholesky
		chol.Factorize(full)
		var w mat.VecDense
		d := make([]float64, n)
		for i := range d {
			d[i] = z[i] - mean[i]
		}
		if err := chol.SolveVecTo(&w, mat.NewVecDense(n, d)); err != nil {
			t.Fatal(err)
		}
		want := -0.5*check.Dot(d, w.RawVector().Data) - 0.5*chol.LogDet() - n*logSqrt2Pi
		check.Close(t, name+": log density", m.logp(u), want, 1e-12, 1)
		g := append([]float64(nil), u...)
		m.pullAdj(g)
		for i := range g {
			check.Close(t, name+": gradient", g[i], w.AtVec(i), 1e-11, 1)
		}
		// L Lᵀ is the covariance, its columns and its adjoint belong to it
		col, row := make([]float64, n), make([]float64, n)
		for i := range n {
			for j := range n {
				s := 0.0
				for k := range n {
					m.column(col, k)
					s += col[i] * col[j]
				}
				check.Close(t, name+": covariance", s, full.At(i, j), 1e-12, 1)
			}
		}
		e := []float64{0, 0, 1, 0, 0}
		m.pushAdj(row, e)
		for k := range n {
			m.column(col, k)
			check.Close(t, name+": adjoint", row[k], col[2], 1e-15, 0)
		}
	}
	bad := mat.NewSymDense(n, nil) // singular
	for name, p := range map[string]Prior{
		"singular":     physics.Multivariate(mean, bad, 1),
		"short mean":   physics.Multivariate(mean[:3], &cov, 1),
		"small cov":    physics.Multivariate(mean, mat.NewSymDense(2, []float64{1, 0, 0, 1}), 1),
		"scale":        physics.Multivariate(mean, &cov, -1),
		"nan in mean":  physics.Multivariate([]float64{0, 0, math.NaN(), 0, 0}, &cov, 1),
		"infinite cov": physics.Multivariate(mean, mat.NewSymDense(5, []float64{inf, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}), 1),
	} {
		if _, err := newMultivariate(p, n); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

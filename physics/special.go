package physics

import "math"

// nfwF is F(x) = arccosh(1/x)/√(1-x²) for x < 1, arccos(1/x)/√(x²-1) for x > 1 and 1 at 1 (Wright & Brainerd 2000), and
// k(x) = (1-F)/(x²-1), the shape of the NFW convergence, 1/3 at 1.
func nfwF(x float64) (f, k float64) {
	m := (1 - x) * (1 + x)
	if math.Abs(m) < 0.1 {
		// With m = 1-x²: F = Σ mⁿ/(2n+1), k = Σ mⁿ/(2n+3).
		for n := 16; n >= 0; n-- {
			k = k*m + 1/float64(2*n+3)
		}
		return 1 + m*k, k
	}
	if m > 0 {
		w := math.Sqrt(m)
		f = (math.Log1p(w) - math.Log(x)) / w
	} else {
		w := math.Sqrt(-m)
		f = math.Atan(w) / w
	}
	return f, (f - 1) / m
}

// nfwG is g(x) = ln(x/2) + F(x), the shape of the mass inside x, without cancellation at small x; F and k as in nfwF.
func nfwG(x float64) (g, f, k float64) {
	f, k = nfwF(x)
	if x > 0.5 {
		return math.Log(0.5*x) + f, f, k
	}
	// ln(x/2)(1 - 1/w) + ln((1+w)/2)/w with w = √(1-x²) and 1-w = x²/(1+w)
	w := math.Sqrt((1 - x) * (1 + x))
	d := x * x / (1 + w)
	return (math.Log1p(-0.5*d) - d*math.Log(0.5*x)) / w, f, k
}

// nfwG1 is g(1) = 1 - ln 2.
const nfwG1 = 1 - math.Ln2

// tnfwM is the shape m(x, τ) of the mass inside x of the truncated NFW halo ρ ∝ 1/(x(1+x)²) τ²/(τ²+x²) (Baltz, Marshall
// & Oguri 2009, eq. A8), which tends to g(x) as τ → ∞; its derivative by τ; and m'(x)/(2x), the shape of the convergence.
func tnfwM(x, tau float64) (m, mTau, kappa float64) {
	g, f, k := nfwG(x)
	t2, x2 := tau*tau, x*x
	rt := math.Sqrt(t2 + x2)
	l := math.Log(x / (rt + tau))
	lt := math.Log(tau)
	c := (t2-1)/rt + rt*(1+1/t2)
	var b, bTau float64
	if x < 1 {
		// The same sums as below with F = g - ln(x/2), √(τ²+x²) = τ + ρ and L = ln(x/2) - ln τ - ℓ, so that what is left
		// is of order x².
		rho := x2 / (rt + tau)
		ell := math.Log1p(rho / (2 * tau))
		lam := -math.Log(0.5 * x)
		b = lam*(2*x2-rho*(t2-1)/tau) + (t2-1+2*x2)*g - math.Pi*rho - (t2-1)/tau*(rho*lt+rt*ell)
		cd := rho * (1 + 1/t2 - (t2-1)/(tau*rt))
		bTau = 2*tau*g + math.Pi*rho/rt - cd*(lam+lt) - c*ell
	} else {
		b = (t2-1+2*x2)*f + tau*math.Pi + (t2-1)*lt + rt*(-math.Pi+(t2-1)/tau*l)
		bTau = 2*tau*f + math.Pi*(1-tau/rt) + 2*tau*lt + c*l
	}
	n := t2 / ((t2 + 1) * (t2 + 1))
	m = n * b
	mTau = n * (bTau + b*(2/tau-4*tau/(t2+1)))
	kappa = n * (f + 0.5*(t2+1)*k + 0.5/rt*(-math.Pi+(t2-1)/tau*l))
	return m, mTau, kappa
}

package physics

import (
	"math"
	"math/cmplx"
	"testing"

	"gonum.org/v1/gonum/integrate/quad"
)

func TestNFWMatchesReference(t *testing.T) {
	reference(t, "nfw.csv", func(t *testing.T, tab refTable) {
		// The table loses digits to cancellation at small r/r_s.
		lensTableTest(t, tab, "nfw", []string{"Rs", "alpha_Rs", "center_x", "center_y"}, alphaColumns, 1e-10, 1e-8)
	})
}

func TestEllipticalPotentialNFWMatchesReference(t *testing.T) {
	reference(t, "nfw_ellipse_potential.csv", func(t *testing.T, tab refTable) {
		lensTableTest(t, tab, "nfw_ellipse_potential", []string{"Rs", "alpha_Rs", "e1", "e2", "center_x", "center_y"}, alphaColumns, 1e-10, 0)
	})
}

func TestEllipticalNFWMatchesReference(t *testing.T) {
	reference(t, "nfw_ellipse_cse.csv", func(t *testing.T, tab refTable) {
		// The table is a fit of 44 ellipsoids, good to about 1e-4.
		lensTableTest(t, tab, "nfw_ellipse_cse", []string{"Rs", "alpha_Rs", "e1", "e2", "center_x", "center_y"}, alphaColumns, 1e-4, 1e-4)
	})
}

// confocalIntegral is ᾱ = 2 ∫_0^R κ(m) m dm/√(ζ² - K m²) (Bourassa & Kantowski 1975) by quadrature, about the origin.
func confocalIntegral(kappa func(m float64) float64, e1, e2, x, y float64) (ax, ay float64) {
	c := newConfocal(e1, e2)
	r2, _ := c.at(x, y)
	r := math.Sqrt(r2)
	zeta := complex(x, y)
	part := func(v float64, im bool) float64 {
		m := r * v * v * v
		root := cmplx.Sqrt(zeta*zeta - c.k*complex(m*m, 0))
		if real(root*cmplx.Conj(zeta)) < 0 {
			root = -root
		}
		f := complex(2*kappa(m)*m*3*r*v*v, 0) / root
		if im {
			return imag(f)
		}
		return real(f)
	}
	ax = quad.Fixed(func(v float64) float64 { return part(v, false) }, 0, 1, 300, quad.Legendre{}, 0)
	ay = -quad.Fixed(func(v float64) float64 { return part(v, true) }, 0, 1, 300, quad.Legendre{}, 0)
	return ax, ay
}

// Deflections of the elliptical profiles against the integral over their convergence, from round to axis ratio 0.1.
func TestEllipticalProfilesAreTheIntegralOfTheirConvergence(t *testing.T) {
	for _, c := range []struct {
		kind string
		p    []float64 // with e1, e2 at 2, 3
		tol  float64
	}{
		{"nie", []float64{1.3, 0.2, 0, 0, 0, 0}, 1e-12},
		{"nie", []float64{1.3, 1e-3, 0, 0, 0, 0}, 1e-9},
		{"nfw_ellipse_cse", []float64{2, 0.8, 0, 0, 0, 0}, 2e-9},
		{"nfw_ellipse_cse", []float64{0.01, 0.8, 0, 0, 0, 0}, 2e-9},
		{"nfw_ellipse_cse", []float64{50, 0.8, 0, 0, 0, 0}, 2e-9},
		{"epl", []float64{1.2, 2.1, 0, 0, 0, 0}, 1e-9},
	} {
		l, err := NewLens(c.kind)
		if err != nil {
			t.Fatal(err)
		}
		var w worst
		n := 0
		for _, e := range [][2]float64{{0, 0}, {1e-9, 0}, {0.01, -0.01}, {0.024, 0}, {0.026, 0}, {0.1, 0.2}, {-0.5, 0.3}, {0.8, 0.15}} {
			c.p[2], c.p[3] = e[0], e[1]
			mustSet(t, l, c.p)
			for _, at := range [][2]float64{{1, 0}, {0, 1}, {-0.7, 0.2}, {0.01, -0.02}, {3, 4}, {-0.3, -2}} {
				x, y := at[0:1], at[1:2]
				kappa := func(m float64) float64 {
					k := []float64{0}
					// On the major axis R = √q m·…: take the profile where R² = |u|²/(1-f²) is m².
					f := math.Hypot(e[0], e[1])
					s := m * math.Sqrt((1+f)/(1-f))
					phi := math.Atan2(e[1], e[0]) / 2
					l.Convergence(k, []float64{s * math.Cos(phi)}, []float64{s * math.Sin(phi)})
					return k[0]
				}
				wx, wy := confocalIntegral(kappa, e[0], e[1], at[0], at[1])
				ax, ay := []float64{0}, []float64{0}
				l.Deflect(ax, ay, x, y)
				w.see(math.Hypot(ax[0]-wx, ay[0]-wy)/math.Hypot(wx, wy), n)
				n++
			}
		}
		w.check(t, c.kind, c.tol)
	}
}

// The round NFW and the elliptical forms at e = 0 are one profile; so are sis, sie and nie without a core, and tnfw with
// its truncation far out.
func TestProfilesMeetInTheirLimits(t *testing.T) {
	x := []float64{1e-3, 0.5, -0.2, 3, 0, -20, 0.004}
	y := []float64{0, 0.2, 1.3, -4, 2, 7, -0.001}
	deflect := func(kind string, p ...float64) (ax, ay []float64) {
		l, err := NewLens(kind)
		if err != nil {
			t.Fatal(err)
		}
		mustSet(t, l, p)
		ax, ay = make([]float64, len(x)), make([]float64, len(x))
		l.Deflect(ax, ay, x, y)
		return ax, ay
	}
	for _, c := range []struct {
		what   string
		a, b   string
		pa, pb []float64
		tol    float64
	}{
		{"elliptical convergence", "nfw", "nfw_ellipse_cse", []float64{1.5, 0.7, 0.1, 0}, []float64{1.5, 0.7, 0, 0, 0.1, 0}, 1e-9},
		{"elliptical potential", "nfw", "nfw_ellipse_potential", []float64{1.5, 0.7, 0.1, 0}, []float64{1.5, 0.7, 0, 0, 0.1, 0}, 1e-14},
		{"no truncation", "nfw", "tnfw", []float64{1.5, 0.7, 0.1, 0}, []float64{1.5, 0.7, 1e7, 0.1, 0}, 1e-4},
		{"round", "sis", "sie", []float64{1.5, 0.1, 0}, []float64{1.5, 0, 0, 0.1, 0}, 1e-14},
		{"no core", "sie", "nie", []float64{1.5, 0.2, -0.4, 0.1, 0}, []float64{1.5, 1e-13, 0.2, -0.4, 0.1, 0}, 1e-10},
	} {
		ax, ay := deflect(c.a, c.pa...)
		bx, by := deflect(c.b, c.pb...)
		var w worst
		for i := range x {
			w.see(math.Hypot(ax[i]-bx[i], ay[i]-by[i])/math.Hypot(ax[i], ay[i]), i)
		}
		w.check(t, c.what, c.tol)
	}
}

// The shapes of the truncated NFW against integrals of its density.
func TestTruncatedNFWIsTheIntegralOfItsDensity(t *testing.T) {
	var wk, wm, wt worst
	n := 0
	for _, tau := range []float64{0.3, 1, 2.5, 20} {
		for _, x := range []float64{1e-4, 0.01, 0.3, 0.9, 0.99, 1, 1.01, 1.2, 5, 40} {
			// κ shape: ¼ ∫ ρ dz over all z = x sinh v.
			sigma := func(x float64) float64 {
				return 0.5 * quad.Fixed(func(v float64) float64 {
					r := x * math.Cosh(v)
					return r / (r * (1 + r) * (1 + r)) * tau * tau / (tau*tau + r*r)
				}, 0, 30, 400, quad.Legendre{}, 0)
			}
			// m = 2 ∫ κ x dx, x = x w³
			mass := 2 * quad.Fixed(func(w float64) float64 { return sigma(x*w*w*w) * x * x * 3 * w * w * w * w * w }, 0, 1, 40, quad.Legendre{}, 0)
			m, mTau, k := tnfwM(x, tau)
			s := sigma(x)
			wk.see(math.Abs(k-s)/s, n)
			wm.see(math.Abs(m-mass)/mass, n)
			const h = 1e-3
			at := func(t float64) float64 { v, _, _ := tnfwM(x, t); return v }
			d := (8*(at(tau+h*tau)-at(tau-h*tau)) - (at(tau+2*h*tau) - at(tau-2*h*tau))) / (12 * h * tau)
			wt.see(math.Abs(mTau-d)/(math.Abs(d)+m/tau), n)
			n++
		}
	}
	wk.check(t, "convergence", 1e-9)
	wm.check(t, "mass", 1e-8)
	wt.check(t, "derivative by truncation", 1e-8)
}

// A multipole of an isothermal lens has the potential r a/(1-m²) cos(m(φ-φ_m)) of the literature.
func TestMultipoleOfAnIsothermalLens(t *testing.T) {
	for m, kind := range map[int]string{3: "multipole3", 4: "multipole4"} {
		l, err := NewLens(kind)
		if err != nil {
			t.Fatal(err)
		}
		const a, phiM, thetaE = 0.03, 0.7, 1.4
		mm := float64(m)
		mustSet(t, l, []float64{thetaE, 2, a * math.Cos(mm*phiM), a * math.Sin(mm*phiM), 0, 0})
		for _, at := range [][2]float64{{0.3, 0.4}, {-2, 0.1}, {0.2, -1.5}} {
			r, phi := math.Hypot(at[0], at[1]), math.Atan2(at[1], at[0])
			// α = ∂_r ψ r̂ + ∂_φ ψ φ̂/r with ψ = θ_E r a/(1-m²) cos m(φ-φ_m)
			s := thetaE * a / (1 - mm*mm)
			dr, dphi := s*math.Cos(mm*(phi-phiM)), -s*mm*math.Sin(mm*(phi-phiM))
			wx, wy := dr*at[0]/r-dphi*at[1]/r, dr*at[1]/r+dphi*at[0]/r
			ax, ay := []float64{0}, []float64{0}
			l.Deflect(ax, ay, at[0:1], at[1:2])
			if d := math.Hypot(ax[0]-wx, ay[0]-wy); !(d < 1e-15) {
				t.Errorf("%s at %v: got (%g, %g), want (%g, %g)", kind, at, ax[0], ay[0], wx, wy)
			}
		}
	}
}

package physics

import (
	"encoding/csv"
	"math"
	"math/cmplx"
	"os"
	"strconv"
	"testing"

	"lenskit/internal/check"

	"gonum.org/v1/gonum/integrate/quad"
)

// refTable is a CSV of numbers, column by column.
type refTable map[string][]float64

func readTable(t *testing.T, path string) refTable {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 2 {
		t.Fatalf("%s: found %d lines, expected a header and rows", path, len(rows))
	}
	tab := refTable{}
	for k, name := range rows[0] {
		for _, row := range rows[1:] {
			v, err := strconv.ParseFloat(row[k], 64)
			if err != nil {
				t.Fatal(err)
			}
			tab[name] = append(tab[name], v)
		}
	}
	return tab
}

// reference reads a shared table and a small stored extract of it; both are asserted.
func reference(t *testing.T, name string, f func(t *testing.T, tab refTable)) {
	t.Helper()
	t.Run("stored", func(t *testing.T) { f(t, readTable(t, "testdata/"+name)) })
	t.Run("shared", func(t *testing.T) { f(t, readTable(t, check.Shared(t, "reference/public/"+name))) })
}

// row gathers the named columns of row i.
func (r refTable) row(i int, names ...string) []float64 {
	p := make([]float64, len(names))
	for k, name := range names {
		p[k] = r[name][i]
	}
	return p
}

func (r refTable) len() int {
	for _, v := range r {
		return len(v)
	}
	return 0
}

// worst keeps the largest value and fails when it is above tol.
type worst struct {
	v   float64
	row int
}

func (w *worst) see(v float64, row int) {
	if !(v <= w.v) {
		w.v, w.row = v, row
	}
}

func (w *worst) check(t *testing.T, what string, tol float64) {
	t.Helper()
	t.Logf("%s: worst %.2g (row %d), tolerance %g", what, w.v, w.row, tol)
	if !(w.v <= tol) {
		t.Errorf("%s: worst %.3g at row %d, tolerance %g", what, w.v, w.row, tol)
	}
}

// lensTableTest compares a lens with the columns of a table: deflection relative to its size and, where kappaTol > 0,
// convergence relative to its size.
func lensTableTest(t *testing.T, tab refTable, kind string, params []string, alpha [2]string, tol, kappaTol float64) {
	l, err := NewLens(kind)
	if err != nil {
		t.Fatal(err)
	}
	var wa, wk worst
	for i := range tab.len() {
		mustSet(t, l, tab.row(i, params...))
		ax, ay, k := []float64{0}, []float64{0}, []float64{0}
		x, y := tab["x"][i:i+1], tab["y"][i:i+1]
		l.Deflect(ax, ay, x, y)
		l.Convergence(k, x, y)
		wx, wy := tab[alpha[0]][i], tab[alpha[1]][i]
		wa.see(math.Hypot(ax[0]-wx, ay[0]-wy)/math.Hypot(wx, wy), i)
		if kappaTol > 0 {
			wk.see(math.Abs(k[0]-tab["kappa"][i])/math.Abs(tab["kappa"][i]), i)
		}
	}
	wa.check(t, kind+" deflection", tol)
	if kappaTol > 0 {
		wk.check(t, kind+" convergence", kappaTol)
	}
}

var alphaColumns = [2]string{"alpha_x", "alpha_y"}

func TestPowerLawMatchesReference(t *testing.T) {
	reference(t, "epl.csv", func(t *testing.T, tab refTable) {
		mp := [2]string{"alpha_x_mp", "alpha_y_mp"}
		lensTableTest(t, tab, "epl", []string{"theta_E", "gamma", "e1", "e2", "center_x", "center_y"}, mp, 1e-10, 1e-10)
		for i, v := range tab["theta_E"] {
			tab["r_ein"] = append(tab["r_ein"], v/math.Sqrt(tab["q"][i]))
		}
		lensTableTest(t, tab, "sple", []string{"r_ein", "q", "phi", "gamma", "center_x", "center_y"}, mp, 1e-10, 1e-10)
	})
}

func TestSIEMatchesReference(t *testing.T) {
	reference(t, "sie.csv", func(t *testing.T, tab refTable) {
		// The table's own convergence carries errors of up to 9e-4.
		lensTableTest(t, tab, "sie", []string{"theta_E", "e1", "e2", "center_x", "center_y"}, alphaColumns, 1e-8, 1e-3)
	})
}

func TestSISMatchesReference(t *testing.T) {
	reference(t, "sis.csv", func(t *testing.T, tab refTable) {
		lensTableTest(t, tab, "sis", []string{"theta_E", "center_x", "center_y"}, alphaColumns, 1e-10, 1e-8)
	})
}

func TestPointMassMatchesReference(t *testing.T) {
	reference(t, "point_mass.csv", func(t *testing.T, tab refTable) {
		lensTableTest(t, tab, "point_mass", []string{"theta_E", "center_x", "center_y"}, alphaColumns, 1e-10, 0)
	})
}

func TestShearMatchesReference(t *testing.T) {
	reference(t, "shear.csv", func(t *testing.T, tab refTable) {
		for i := range tab.len() {
			tab["x"][i] -= tab["ra_0"][i]
			tab["y"][i] -= tab["dec_0"][i]
		}
		lensTableTest(t, tab, "shear", []string{"gamma1", "gamma2"}, alphaColumns, 1e-10, 0)
	})
}

// Every derivative of epl_grad.csv, as a 2-vector relative to its own length plus what it is a sum of: |α| for γ, q and φ
// (on the Einstein ring ∂α/∂γ nearly vanishes), κ for positions (along a radius of an isothermal lens ∂α/∂r does).
func TestPowerLawDerivativesMatchReference(t *testing.T) {
	reference(t, "epl_grad.csv", func(t *testing.T, tab refTable) {
		names := []string{"theta_E", "gamma", "q", "phi", "center_x", "center_y", "x", "y"}
		worsts := make([]worst, len(names))
		sple, epl := newSPLE(), newEPL()
		jx, jy := planes(1, 6), planes(1, 6)
		sx, sy := planes(1, 6), planes(1, 6)
		for i := range tab.len() {
			v := tab.row(i, "theta_E", "gamma", "q", "phi", "center_x", "center_y")
			thetaE, gamma, q, phi := v[0], v[1], v[2], v[3]
			f, rq := (1-q)/(1+q), math.Sqrt(q)
			e := cmplx.Rect(f, 2*phi)
			x, y := tab["x"][i:i+1], tab["y"][i:i+1]
			mustSet(t, epl, []float64{thetaE, gamma, real(e), imag(e), v[4], v[5]})
			epl.DeflectJac(jx, jy, x, y)
			mustSet(t, sple, []float64{thetaE / rq, q, phi, gamma, v[4], v[5]})
			sple.DeflectJac(sx, sy, x, y)
			gp := make([]float64, 6)
			gxx, gxy, gyx, gyy := []float64{0}, []float64{0}, []float64{0}, []float64{0}
			sple.DeflectVJP(gp, gxx, gxy, []float64{1}, []float64{0}, x, y)
			sple.DeflectVJP(gp, gyx, gyy, []float64{0}, []float64{1}, x, y)

			var eq, ephi, sq complex128
			de := cmplx.Rect(-2/((1+q)*(1+q)), 2*phi)
			col := func(jx, jy [][]float64, k int) complex128 { return complex(jx[k][0], jy[k][0]) }
			eq = col(jx, jy, 2)*complex(real(de), 0) + col(jx, jy, 3)*complex(imag(de), 0)
			ephi = col(jx, jy, 2)*complex(-2*imag(e), 0) + col(jx, jy, 3)*complex(2*real(e), 0)
			// At fixed θ_E = √q r_ein: ∂/∂q|θ_E = ∂/∂q - r_ein/(2q) ∂/∂r_ein.
			sq = col(sx, sy, 1) - col(sx, sy, 0)*complex(thetaE/rq/(2*q), 0)
			got := [][]complex128{
				{col(jx, jy, 0), col(sx, sy, 0) / complex(rq, 0)},
				{col(jx, jy, 1), col(sx, sy, 3)},
				{eq, sq},
				{ephi, col(sx, sy, 2)},
				{col(jx, jy, 4), col(sx, sy, 4)},
				{col(jx, jy, 5), col(sx, sy, 5)},
				{complex(gxx[0], gyx[0])},
				{complex(gxy[0], gyy[0])},
			}
			ax, ay, kappa := []float64{0}, []float64{0}, []float64{0}
			epl.Deflect(ax, ay, x, y)
			epl.Convergence(kappa, x, y)
			size := math.Hypot(ax[0], ay[0])
			sizes := []float64{0, size, size, size, kappa[0], kappa[0], kappa[0], kappa[0]}
			for k, name := range names {
				want := complex(tab["d_alpha_x_d_"+name][i], tab["d_alpha_y_d_"+name][i])
				for _, g := range got[k] {
					worsts[k].see(cmplx.Abs(g-want)/(cmplx.Abs(want)+sizes[k]), i)
				}
			}
		}
		for k, name := range names {
			worsts[k].check(t, "derivative by "+name, 1e-8)
		}
	})
}

// The Schramm integrals of Chianese et al. (2020), eqs A1 to A4, by Gauss-Legendre quadrature, with ω³ in A2's
// numerator; ρ' = ρ v^(1/(3-γ)) takes out the singularity of ρ' κ(ρ') at 0.
func schramm(x, y, rEin, q, gamma float64) (ax, ay float64) {
	rho := math.Sqrt(x*x + y*y/(q*q))
	p := 3 - gamma
	integrand := func(v, pow float64) float64 {
		r2 := rho * rho * math.Pow(v, 2/p)
		a := r2*(1-q*q) + y*y - x*x
		delta := math.Sqrt(a*a + 4*x*x*y*y)
		sum := delta + x*x + y*y
		w2 := (sum + r2*(1-q*q)) / (sum - r2*(1-q*q))
		return math.Pow(w2, pow/2) / (x*x + w2*w2*y*y)
	}
	// ρ' κ dρ' = (3-γ)/2 r_ein^(γ-1) ρ'^(2-γ) dρ' = ½ r_ein^(γ-1) ρ^(3-γ) dv
	s := q * math.Pow(rEin, gamma-1) * math.Pow(rho, p)
	// v = w³ smooths what is left at v = 0.
	f := func(pow float64) float64 {
		return quad.Fixed(func(w float64) float64 { return 3 * w * w * integrand(w*w*w, pow) }, 0, 1, 400, quad.Legendre{}, 0)
	}
	return s * x * f(1), s * y * f(3)
}

func TestPowerLawIsThePapersIntegral(t *testing.T) {
	l := newSPLE()
	alpha := func(r, q, gamma, x, y float64) (float64, float64) {
		mustSet(t, l, []float64{r, q, 0, gamma, 0, 0})
		ax, ay := []float64{0}, []float64{0}
		l.Deflect(ax, ay, []float64{x}, []float64{y})
		return ax[0], ay[0]
	}
	t.Run("quadrature", func(t *testing.T) {
		var w worst
		n := 0
		for _, q := range []float64{0.2, 0.45, 0.8, 1} {
			for _, gamma := range []float64{1.2, 1.6, 2, 2.3} {
				for _, at := range [][2]float64{{0.4, 0.9}, {-1.3, 0.2}, {2, -1.1}, {-0.1, -0.6}} {
					ax, ay := alpha(1.3, q, gamma, at[0], at[1])
					bx, by := schramm(at[0], at[1], 1.3, q, gamma)
					w.see(math.Hypot(ax-bx, ay-by)/math.Hypot(bx, by), n)
					n++
				}
			}
		}
		w.check(t, "sple against A1 to A4", 1e-9)
	})
	reference(t, "epl_integral.csv", func(t *testing.T, tab refTable) {
		var w worst
		for i := range tab.len() {
			v := tab.row(i, "r_Ein_paper", "q", "gamma", "x_lens", "y_lens", "alpha_x_A1", "alpha_y_A2")
			ax, ay := alpha(v[0], v[1], v[2], v[3], v[4])
			w.see(math.Hypot(ax-v[5], ay-v[6])/math.Hypot(v[5], v[6]), i)
		}
		w.check(t, "sple against stored A1, A2", 1e-10)
	})
}

func lightTableTest(t *testing.T, tab refTable, kind string, params []string, tol float64) {
	l, err := NewLight(kind)
	if err != nil {
		t.Fatal(err)
	}
	tab["zero"] = make([]float64, tab.len())
	var w worst
	for i := range tab.len() {
		mustSet(t, l, tab.row(i, params...))
		dst := []float64{0}
		l.Brightness(dst, tab["x"][i:i+1], tab["y"][i:i+1])
		// Beyond the profile's edge both are 0; 1e-300 lets them agree.
		want := tab["surface_brightness"][i]
		w.see(math.Abs(dst[0]-want)/(math.Abs(want)+1e-300), i)
	}
	w.check(t, kind, tol)
}

func TestSersicMatchesReference(t *testing.T) {
	reference(t, "sersic.csv", func(t *testing.T, tab refTable) {
		lightTableTest(t, tab, "sersic", []string{"amp", "R_sersic", "n_sersic", "zero", "zero", "center_x", "center_y"}, 1e-10)
	})
}

func TestEllipticalSersicMatchesReference(t *testing.T) {
	reference(t, "sersic_ellipse.csv", func(t *testing.T, tab refTable) {
		lightTableTest(t, tab, "sersic", []string{"amp", "R_sersic", "n_sersic", "e1", "e2", "center_x", "center_y"}, 1e-10)
	})
}

func TestCoreSersicMatchesReference(t *testing.T) {
	reference(t, "core_sersic.csv", func(t *testing.T, tab refTable) {
		lightTableTest(t, tab, "core_sersic", []string{"amp", "R_sersic", "n_sersic", "Rb", "gamma", "alpha", "e1", "e2",
			"center_x", "center_y"}, 1e-10)
	})
}

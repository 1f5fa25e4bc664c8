package physics

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
)

// drawParams draws parameters well inside their ranges.
func drawParams(rng *rand.Rand, params []Param) []float64 {
	p := make([]float64, len(params))
	for i, q := range params {
		lo, hi := !math.IsInf(q.Lo, -1), !math.IsInf(q.Hi, 1)
		switch {
		case lo && hi:
			p[i] = q.Lo + (q.Hi-q.Lo)*(0.2+0.6*rng.Float64())
		case lo:
			p[i] = q.Lo + 0.4 + 1.5*rng.Float64()
		default:
			p[i] = 0.4 * rng.NormFloat64()
		}
	}
	return p
}

func planes(n, k int) [][]float64 {
	v := make([][]float64, k)
	for i := range v {
		v[i] = make([]float64, n)
	}
	return v
}

// eachLens and eachLight run a test over the tables, so that a new row brings its tests.
func eachLens(t *testing.T, f func(t *testing.T, kind string, l Lens, rng *rand.Rand)) {
	for i, kind := range LensKinds() {
		t.Run(kind, func(t *testing.T) {
			l, err := NewLens(kind)
			if err != nil {
				t.Fatal(err)
			}
			f(t, kind, l, rand.New(rand.NewPCG(uint64(i), 11)))
		})
	}
}

func eachLight(t *testing.T, f func(t *testing.T, kind string, l Light, rng *rand.Rand)) {
	for i, kind := range LightKinds() {
		t.Run(kind, func(t *testing.T) {
			l, err := NewLight(kind)
			if err != nil {
				t.Fatal(err)
			}
			f(t, kind, l, rand.New(rand.NewPCG(uint64(i), 12)))
		})
	}
}

func mustSet(t testing.TB, l interface{ Set([]float64) error }, p []float64) {
	t.Helper()
	if err := l.Set(p); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownKindListsTheKnown(t *testing.T) {
	_, err := NewLens("eplx")
	if err == nil || !strings.Contains(err.Error(), `"eplx"`) || !strings.Contains(err.Error(), "sple, epl") {
		t.Errorf("got %v", err)
	}
	_, err = NewLight("sersik")
	if err == nil || !strings.Contains(err.Error(), `"sersik"`) || !strings.Contains(err.Error(), "sersic, core_sersic") {
		t.Errorf("got %v", err)
	}
}

// The directional derivative of Σ g·α(x, y; p) along a random (dp, dx, dy) is what DeflectVJP says.
func TestLensGradient(t *testing.T) {
	eachLens(t, func(t *testing.T, kind string, l Lens, rng *rand.Rand) {
		const n = 70
		params := l.Params()
		for range 12 {
			p := drawParams(rng, params)
			at := append(append(slices.Clone(p), check.Normals(rng, n)...), check.Normals(rng, n)...)
			// Rays keep away from the centre, where central differences see the singularity.
			for i := len(p); i < len(at); i++ {
				at[i] += math.Copysign(1.5, at[i])
			}
			g := check.Normals(rng, 2*n)
			f := func(v []float64) float64 {
				mustSet(t, l, v[:len(p)])
				ax, ay := make([]float64, n), make([]float64, n)
				l.Deflect(ax, ay, v[len(p):len(p)+n], v[len(p)+n:])
				return check.Dot(ax, g[:n]) + check.Dot(ay, g[n:])
			}
			mustSet(t, l, p)
			grad := make([]float64, len(at))
			x, y := at[len(p):len(p)+n], at[len(p)+n:]
			l.DeflectVJP(grad[:len(p)], grad[len(p):len(p)+n], grad[len(p)+n:], g[:n], g[n:], x, y)
			closeAlong(t, fmt.Sprintf("%s p=%v", kind, p), f, at, grad, len(p), rng, 10)
		}
	})
}

// closeAlong holds grad, the gradient of f at a point, against differences of f: along each of the first n coordinates
// alone, then along everything.
func closeAlong(t *testing.T, what string, f func([]float64) float64, at, grad []float64, n int, rng *rand.Rand, scale float64) {
	t.Helper()
	for k := range n + 1 {
		v := make([]float64, len(at))
		if k < n {
			v[k] = 1
		} else {
			v = check.Normals(rng, len(at))
		}
		check.Close(t, fmt.Sprintf("%s direction %d", what, k), check.Dot(grad, v), check.Directional(f, at, v, 3e-4), 1e-7, scale)
	}
}

func TestLightGradient(t *testing.T) {
	eachLight(t, func(t *testing.T, kind string, l Light, rng *rand.Rand) {
		const n = 70
		params := l.Params()
		for range 12 {
			p := drawParams(rng, params)
			at := append(append(slices.Clone(p), check.Normals(rng, n)...), check.Normals(rng, n)...)
			for i := len(p); i < len(at); i++ {
				at[i] += math.Copysign(1, at[i])
			}
			g := check.Normals(rng, n)
			f := func(v []float64) float64 {
				mustSet(t, l, v[:len(p)])
				dst := make([]float64, n)
				l.Brightness(dst, v[len(p):len(p)+n], v[len(p)+n:])
				return check.Dot(dst, g)
			}
			mustSet(t, l, p)
			grad := make([]float64, len(at))
			l.BrightnessVJP(grad[:len(p)], grad[len(p):len(p)+n], grad[len(p)+n:], g, at[len(p):len(p)+n], at[len(p)+n:])
			closeAlong(t, fmt.Sprintf("%s p=%v", kind, p), f, at, grad, len(p), rng, 1)
		}
	})
}

// Jac's columns, contracted with g, are VJP's parameter gradient; nil columns are left out; nil gx, gy are allowed.
func TestLensJacobianAgreesWithVJP(t *testing.T) {
	eachLens(t, func(t *testing.T, kind string, l Lens, rng *rand.Rand) {
		const n = 131
		np := len(l.Params())
		for range 6 {
			p := drawParams(rng, l.Params())
			mustSet(t, l, p)
			x, y := check.Normals(rng, n), check.Normals(rng, n)
			gax, gay := check.Normals(rng, n), check.Normals(rng, n)
			gp, none := make([]float64, np), make([]float64, np)
			gx, gy := make([]float64, n), make([]float64, n)
			l.DeflectVJP(gp, gx, gy, gax, gay, x, y)
			l.DeflectVJP(none, nil, nil, gax, gay, x, y)
			jx, jy := planes(n, np), planes(n, np)
			l.DeflectJac(jx, jy, x, y)
			for k := range np {
				scale := math.Sqrt((check.Dot(jx[k], jx[k]) + check.Dot(jy[k], jy[k])) * 2 * n)
				check.Close(t, kind+" gp "+l.Params()[k].Name, check.Dot(jx[k], gax)+check.Dot(jy[k], gay), gp[k], 1e-12, scale)
				if none[k] != gp[k] {
					t.Errorf("%s: gp[%d] = %g without position gradients, %g with", kind, k, none[k], gp[k])
				}
				ox, oy := make([][]float64, np), make([][]float64, np)
				ox[k], oy[k] = make([]float64, n), make([]float64, n)
				l.DeflectJac(ox, oy, x, y)
				if !slices.Equal(ox[k], jx[k]) || !slices.Equal(oy[k], jy[k]) {
					t.Errorf("%s: column %d alone differs from the same column among all", kind, k)
				}
			}
		}
	})
}

func TestLightJacobianAgreesWithVJP(t *testing.T) {
	eachLight(t, func(t *testing.T, kind string, l Light, rng *rand.Rand) {
		const n = 131
		np := len(l.Params())
		for range 6 {
			p := drawParams(rng, l.Params())
			mustSet(t, l, p)
			x, y, g := check.Normals(rng, n), check.Normals(rng, n), check.Normals(rng, n)
			gp, none := make([]float64, np), make([]float64, np)
			gx, gy := make([]float64, n), make([]float64, n)
			l.BrightnessVJP(gp, gx, gy, g, x, y)
			l.BrightnessVJP(none, nil, nil, g, x, y)
			jp, jx, jy := planes(n, np), make([]float64, n), make([]float64, n)
			l.BrightnessJac(jp, jx, jy, x, y)
			for k := range np {
				check.Close(t, kind+" gp "+l.Params()[k].Name, check.Dot(jp[k], g), gp[k], 1e-12, math.Sqrt(check.Dot(jp[k], jp[k])*n))
				if none[k] != gp[k] {
					t.Errorf("%s: gp[%d] = %g without position gradients, %g with", kind, k, none[k], gp[k])
				}
			}
			for i := range n {
				check.Close(t, kind+" gx", jx[i]*g[i], gx[i], 1e-14, 1)
				check.Close(t, kind+" gy", jy[i]*g[i], gy[i], 1e-14, 1)
			}
			l.BrightnessJac(make([][]float64, np), nil, nil, x, y)
		}
	})
}

// Deflect, VJP and brightness add to what is there; rays do not influence one another.
func TestProfilesAddAndRaysAreIndependent(t *testing.T) {
	const n = 133
	eachLens(t, func(t *testing.T, kind string, l Lens, rng *rand.Rand) {
		mustSet(t, l, drawParams(rng, l.Params()))
		x, y := check.Normals(rng, n), check.Normals(rng, n)
		ax, ay, k := make([]float64, n), make([]float64, n), make([]float64, n)
		l.Deflect(ax, ay, x, y)
		l.Convergence(k, x, y)
		for i := range n {
			bx, by, bk := []float64{0}, []float64{0}, []float64{0}
			l.Deflect(bx, by, x[i:i+1], y[i:i+1])
			l.Convergence(bk, x[i:i+1], y[i:i+1])
			check.Close(t, kind+" alone x", bx[0], ax[i], 1e-13, math.Hypot(ax[i], ay[i]))
			check.Close(t, kind+" alone y", by[0], ay[i], 1e-13, math.Hypot(ax[i], ay[i]))
			check.Close(t, kind+" alone kappa", bk[0], k[i], 1e-14, 0)
			bx[0], by[0] = 3, 4
			l.Deflect(bx, by, x[i:i+1], y[i:i+1])
			check.Close(t, kind+" adds x", bx[0], 3+ax[i], 1e-12, 1)
			check.Close(t, kind+" adds y", by[0], 4+ay[i], 1e-12, 1)
		}
	})
	eachLight(t, func(t *testing.T, kind string, l Light, rng *rand.Rand) {
		mustSet(t, l, drawParams(rng, l.Params()))
		x, y := check.Normals(rng, n), check.Normals(rng, n)
		b := make([]float64, n)
		l.Brightness(b, x, y)
		for i := range n {
			one := []float64{3}
			l.Brightness(one, x[i:i+1], y[i:i+1])
			check.Close(t, kind+" adds", one[0], 3+b[i], 1e-13, 1)
		}
	})
}

// κ is half the divergence of α and α has no curl.
func TestConvergenceIsHalfTheDivergence(t *testing.T) {
	eachLens(t, func(t *testing.T, kind string, l Lens, rng *rand.Rand) {
		const n = 40
		np := len(l.Params())
		for range 5 {
			mustSet(t, l, drawParams(rng, l.Params()))
			x, y := check.Normals(rng, n), check.Normals(rng, n)
			one, zero := make([]float64, n), make([]float64, n)
			for i := range one {
				one[i] = 1
			}
			gp := make([]float64, np)
			xx, xy, yx, yy := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
			l.DeflectVJP(gp, xx, xy, one, zero, x, y)
			l.DeflectVJP(gp, yx, yy, zero, one, x, y)
			k := make([]float64, n)
			l.Convergence(k, x, y)
			for i := range n {
				size := math.Abs(xx[i]) + math.Abs(xy[i]) + math.Abs(yy[i])
				check.Close(t, kind+" kappa", k[i], (xx[i]+yy[i])/2, 1e-10, size)
				check.Close(t, kind+" curl", xy[i], yx[i], 1e-12, size)
			}
		}
	})
}

// hardRays are the centre, its neighbourhood, the axes and far away.
func hardRays(cx, cy float64) (x, y []float64) {
	for _, r := range []float64{0, 1e-300, 1e-13, 1e-9, 1e-5, 1, 1e4} {
		for _, u := range [][2]float64{{1, 0}, {0, 1}, {-1, 0}, {0, -1}, {0.6, 0.8}} {
			x = append(x, cx+r*u[0])
			y = append(y, cy+r*u[1])
		}
	}
	return x, y
}

func finite(t *testing.T, what string, vs ...[]float64) {
	t.Helper()
	for _, v := range vs {
		for i, a := range v {
			if math.IsNaN(a) || math.IsInf(a, 0) {
				t.Errorf("%s: element %d is %g", what, i, a)
				return
			}
		}
	}
}

// hardParams puts the parameters at what is hard: round, flat, slopes near the ends of their ranges.
func hardParams(rng *rand.Rand, params []Param) [][]float64 {
	var all [][]float64
	base := drawParams(rng, params)
	for i, q := range params {
		if strings.HasPrefix(q.Name, "center") || q.Name == "x" || q.Name == "y" {
			base[i] = 0
		}
	}
	all = append(all, base)
	round := slices.Clone(base)
	for i, q := range params {
		switch q.Name {
		case "e1", "e2", "gamma1", "gamma2":
			round[i] = 0
		case "q":
			round[i] = 1
		}
	}
	all = append(all, round)
	for i, q := range params {
		var values []float64
		switch {
		case q.Name == "q":
			values = []float64{0.2, 0.02, 1 - 1e-9, 1}
		case q.Name == "e1" || q.Name == "e2":
			values = []float64{2. / 3, -0.9, 1e-9, 1e-200}
		case !math.IsInf(q.Lo, -1) && !math.IsInf(q.Hi, 1):
			values = []float64{q.Lo + 1e-6, q.Lo + 0.02, q.Hi - 0.02, q.Hi - 1e-6}
		case !math.IsInf(q.Lo, -1):
			values = []float64{q.Lo + 1e-3, q.Lo + 30}
		}
		for _, v := range values {
			for _, from := range [][]float64{base, round} {
				p := slices.Clone(from)
				p[i] = v
				if q.Name == "e1" || q.Name == "e2" {
					for k, o := range params {
						if (o.Name == "e1" || o.Name == "e2") && k != i {
							p[k] = 0
						}
					}
				}
				all = append(all, p)
			}
		}
	}
	return all
}

func TestHardPointsStayFinite(t *testing.T) {
	eachLens(t, func(t *testing.T, kind string, l Lens, rng *rand.Rand) {
		np := len(l.Params())
		for _, p := range hardParams(rng, l.Params()) {
			mustSet(t, l, p)
			x, y := hardRays(0, 0)
			n := len(x)
			ax, ay, k := make([]float64, n), make([]float64, n), make([]float64, n)
			l.Deflect(ax, ay, x, y)
			l.Convergence(k, x, y)
			gp, gx, gy := make([]float64, np), make([]float64, n), make([]float64, n)
			l.DeflectVJP(gp, gx, gy, ay, ax, x, y)
			jx, jy := planes(n, np), planes(n, np)
			l.DeflectJac(jx, jy, x, y)
			what := fmt.Sprintf("%s p=%v", kind, p)
			finite(t, what+" deflection", ax, ay)
			finite(t, what+" kappa", k)
			finite(t, what+" gradient", gp, gx, gy)
			finite(t, what+" jacobian", jx...)
			finite(t, what+" jacobian", jy...)
		}
	})
	eachLight(t, func(t *testing.T, kind string, l Light, rng *rand.Rand) {
		np := len(l.Params())
		for _, p := range hardParams(rng, l.Params()) {
			mustSet(t, l, p)
			x, y := hardRays(0, 0)
			n := len(x)
			b, one := make([]float64, n), make([]float64, n)
			for i := range one {
				one[i] = 1
			}
			l.Brightness(b, x, y)
			gp, gx, gy := make([]float64, np), make([]float64, n), make([]float64, n)
			l.BrightnessVJP(gp, gx, gy, one, x, y)
			jp := planes(n, np)
			l.BrightnessJac(jp, gx, gy, x, y)
			what := fmt.Sprintf("%s p=%v", kind, p)
			finite(t, what+" brightness", b)
			finite(t, what+" gradient", gp, gx, gy)
			finite(t, what+" jacobian", jp...)
		}
	})
}

// A value outside its range is ErrRange and leaves the profile as it was; so does another number of values, which is another error.
func TestOutOfRangeIsRefusedAndKeepsTheOldParameters(t *testing.T) {
	bad := func(q Param) []float64 {
		v := []float64{math.NaN(), math.Inf(1), math.Inf(-1)}
		if !math.IsInf(q.Lo, -1) {
			v = append(v, q.Lo, q.Lo-0.5)
		}
		if !math.IsInf(q.Hi, 1) {
			v = append(v, q.Hi, q.Hi+0.5)
		}
		return v
	}
	refused := func(t *testing.T, kind string, l interface{ Set([]float64) error }, params []Param, p []float64) {
		for _, w := range [][]float64{nil, p[1:], append(slices.Clone(p), 1)} {
			want := fmt.Sprintf("%s: found %d parameters, expected %d", kind, len(w), len(p))
			if err := l.Set(w); err == nil || errors.Is(err, ErrRange) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s with %d parameters: got error %v", kind, len(w), err)
			}
		}
		for i, q := range params {
			for _, v := range bad(q) {
				w := slices.Clone(p)
				w[i] = v
				err := l.Set(w)
				if !errors.Is(err, ErrRange) || !strings.Contains(err.Error(), kind+": "+q.Name) {
					t.Errorf("%s %s = %g: got error %v", kind, q.Name, v, err)
				}
			}
			if q.Name == "e2" {
				w := slices.Clone(p)
				w[i-1], w[i] = 0.8, 0.8
				if err := l.Set(w); !errors.Is(err, ErrRange) {
					t.Errorf("%s |e| > 1: got error %v", kind, err)
				}
			}
		}
	}
	x, y := []float64{0.3, -1.1}, []float64{0.7, 0.2}
	eachLens(t, func(t *testing.T, kind string, l Lens, rng *rand.Rand) {
		p := drawParams(rng, l.Params())
		mustSet(t, l, p)
		before, after := planes(2, 2), planes(2, 2)
		l.Deflect(before[0], before[1], x, y)
		refused(t, kind, l, l.Params(), p)
		l.Deflect(after[0], after[1], x, y)
		if !slices.Equal(before[0], after[0]) || !slices.Equal(before[1], after[1]) {
			t.Errorf("%s: a refused Set changed the lens", kind)
		}
	})
	eachLight(t, func(t *testing.T, kind string, l Light, rng *rand.Rand) {
		p := drawParams(rng, l.Params())
		mustSet(t, l, p)
		before, after := make([]float64, 2), make([]float64, 2)
		l.Brightness(before, x, y)
		refused(t, kind, l, l.Params(), p)
		l.Brightness(after, x, y)
		if !slices.Equal(before, after) {
			t.Errorf("%s: a refused Set changed the light", kind)
		}
	})
	for _, thetaE := range []float64{1e-200, 1e200} {
		if err := newEPL().Set([]float64{thetaE, 2, 0, 0, 0, 0}); !errors.Is(err, ErrRange) {
			t.Errorf("epl theta_E = %g: got error %v", thetaE, err)
		}
	}
	for _, q := range []float64{-0.5, 0, 1e-4, 1.01} {
		if err := newSPLE().Set([]float64{1, q, 0, 2, 0, 0}); !errors.Is(err, ErrRange) {
			t.Errorf("sple q = %g: got error %v", q, err)
		}
	}
}

func TestProfilesDoNotAllocate(t *testing.T) {
	const n = 150
	eachLens(t, func(t *testing.T, kind string, l Lens, rng *rand.Rand) {
		np := len(l.Params())
		p := drawParams(rng, l.Params())
		mustSet(t, l, p)
		x, y := check.Normals(rng, n), check.Normals(rng, n)
		v := planes(n, 4)
		gp := make([]float64, np)
		jx, jy := planes(n, np), planes(n, np)
		if a := testing.AllocsPerRun(5, func() {
			if l.Set(p) != nil {
				t.Error("set refused")
			}
			l.Deflect(v[0], v[1], x, y)
			l.DeflectVJP(gp, v[2], v[3], v[0], v[1], x, y)
			l.DeflectJac(jx, jy, x, y)
			l.Convergence(v[0], x, y)
		}); a != 0 {
			t.Errorf("%s: %g allocations", kind, a)
		}
	})
	eachLight(t, func(t *testing.T, kind string, l Light, rng *rand.Rand) {
		np := len(l.Params())
		p := drawParams(rng, l.Params())
		mustSet(t, l, p)
		x, y := check.Normals(rng, n), check.Normals(rng, n)
		v := planes(n, 3)
		gp := make([]float64, np)
		jp := planes(n, np)
		if a := testing.AllocsPerRun(5, func() {
			if l.Set(p) != nil {
				t.Error("set refused")
			}
			l.Brightness(v[0], x, y)
			l.BrightnessVJP(gp, v[1], v[2], v[0], x, y)
			l.BrightnessJac(jp, v[1], v[2], x, y)
		}); a != 0 {
			t.Errorf("%s: %g allocations", kind, a)
		}
	})
}

// The brightness of a Linear profile is its columns times its linear parameters.
func TestLinearParametersSpanTheBrightness(t *testing.T) {
	eachLight(t, func(t *testing.T, kind string, l Light, rng *rand.Rand) {
		lin, ok := l.(Linear)
		if !ok {
			t.Skipf("%s has no linear parameters", kind)
		}
		const n = 50
		p := drawParams(rng, l.Params())
		mustSet(t, l, p)
		x, y := check.Normals(rng, n), check.Normals(rng, n)
		b, sum := make([]float64, n), make([]float64, n)
		l.Brightness(b, x, y)
		jp := make([][]float64, len(p))
		for _, k := range lin.LinearParams() {
			jp[k] = make([]float64, n)
		}
		l.BrightnessJac(jp, nil, nil, x, y)
		for _, k := range lin.LinearParams() {
			for i := range sum {
				sum[i] += p[k] * jp[k][i]
			}
		}
		for i := range b {
			check.Close(t, kind, sum[i], b[i], 1e-13, 1e-13)
		}
	})
}

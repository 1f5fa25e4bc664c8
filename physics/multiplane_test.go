package physics

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"lenskit/internal/check"
)

// planeRef is a case of testdata/multiplane.json.
type planeRef struct {
	Name        string
	OmegaM      float64 `json:"omega_m"`
	OmegaLambda float64 `json:"omega_lambda"`
	Sources     []float64
	Lenses      []struct {
		Kind     string
		Redshift float64
		Params   map[string]float64
	}
	Rays []struct {
		Source, X, Y, Kappa float64
		BetaX               float64 `json:"beta_x"`
		BetaY               float64 `json:"beta_y"`
	}
}

func planeRefs(t *testing.T) []planeRef {
	t.Helper()
	data, err := os.ReadFile("testdata/multiplane.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []planeRef }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

// open lays the case out; values are the lenses' parameters.
func (r *planeRef) open(t *testing.T) (m *MultiPlane, lenses []Lens, values [][]float64) {
	t.Helper()
	var at []float64
	for _, c := range r.Lenses {
		l, err := NewLens(c.Kind)
		if err != nil {
			t.Fatal(err)
		}
		var p []float64
		for _, q := range l.Params() {
			p = append(p, c.Params[q.Name])
		}
		mustSet(t, l, p)
		lenses, values, at = append(lenses, l), append(values, p), append(at, c.Redshift)
	}
	m, err := NewMultiPlane(Cosmology{70, r.OmegaM, r.OmegaLambda}, lenses, at, r.Sources)
	if err != nil {
		t.Fatal(err)
	}
	return m, lenses, values
}

func TestMultiPlaneAgreesWithTheRecursionInManyDigits(t *testing.T) {
	rays := 0
	for _, r := range planeRefs(t) {
		m, _, _ := r.open(t)
		for _, ray := range r.Rays {
			var ax, ay, kappa [1]float64
			m.Deflect(ax[:], ay[:], kappa[:], []float64{ray.X}, []float64{ray.Y}, m.SourcePlane(slices.Index(r.Sources, ray.Source)))
			const tol = 1e-12
			check.Close(t, r.Name+": β_x", ray.X-ax[0], ray.BetaX, tol, 1)
			check.Close(t, r.Name+": β_y", ray.Y-ay[0], ray.BetaY, tol, 1)
			check.Close(t, r.Name+": κ", kappa[0], ray.Kappa, tol, 1)
			rays++
		}
	}
	if rays < 20 {
		t.Errorf("%d rays were compared", rays)
	}
}

// Lenses of one redshift deflect as their sum, also through the machinery of several planes.
func TestMultiPlaneReducesToOnePlane(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 1))
	const n = 3000
	var lenses []Lens
	var at []float64
	for _, kind := range LensKinds() {
		l, err := NewLens(kind)
		if err != nil {
			t.Fatal(err)
		}
		mustSet(t, l, drawParams(rng, l.Params()))
		lenses, at = append(lenses, l), append(at, 0.5)
	}
	m, err := NewMultiPlane(FlatCosmology(70, 0.3), lenses, at, []float64{2})
	if err != nil {
		t.Fatal(err)
	}
	if SeveralPlanes(at, []float64{2, 2}) || !SeveralPlanes(at, []float64{2, 3}) || !SeveralPlanes([]float64{1, 2}, nil) || SeveralPlanes(nil, []float64{2, 3}) {
		t.Error("SeveralPlanes is wrong")
	}
	x, y := check.Normals(rng, n), check.Normals(rng, n)
	got, want := planes(n, 3), planes(n, 3)
	m.Deflect(got[0], got[1], got[2], x, y, 0)
	for _, l := range lenses {
		l.Deflect(want[0], want[1], x, y)
		l.Convergence(want[2], x, y)
	}
	for k := range want {
		for i := range x {
			check.Close(t, "α_x, α_y or κ", got[k][i], want[k][i], 1e-13, 10)
		}
	}
}

// Each lens deflects what lies behind it, in the measure of the distances.
func TestMultiPlaneWeights(t *testing.T) {
	c := FlatCosmology(70, 0.3)
	far, _ := NewLens("sis")
	near, _ := NewLens("sis")
	mustSet(t, near, []float64{0.5, 0, 0})
	mustSet(t, far, []float64{1, 0, 0})
	m, err := NewMultiPlane(c, []Lens{far, near}, []float64{1, 0.4}, []float64{2.5, 0.7, 1})
	if err != nil {
		t.Fatal(err)
	}
	if m.LensPlanes() != 2 || m.SourcePlanes() != 3 || m.LensPlane(0) != 1 || m.SourcePlane(0) != 2 || m.SourcePlane(1) != 0 {
		t.Fatalf("planes %d, %d, lens %d, sources %d, %d", m.LensPlanes(), m.SourcePlanes(), m.LensPlane(0), m.SourcePlane(0), m.SourcePlane(1))
	}
	d := c.AngularDiameterDistance
	for s, z := range []float64{2.5, 0.7, 1} {
		var ax, ay [1]float64
		m.Deflect(ax[:], ay[:], nil, []float64{3}, []float64{0}, m.SourcePlane(s))
		want := 0.5 * d(0.4, z) / d(0, z) * d(0, 2.5) / d(0.4, 2.5) // a source in the plane of the far lens is not deflected by it
		if z == 2.5 {
			want += 1 // both deflect outwards of the axis alike
		}
		check.Close(t, "deflection", ax[0], want, 1e-13, 1)
	}
}

// The derivative of Σ g·β by parameters and places is what ShootVJP says, and a lens left out changes nothing else.
func TestMultiPlaneGradient(t *testing.T) {
	for _, r := range planeRefs(t) {
		m, lenses, values := r.open(t)
		rng := rand.New(rand.NewPCG(42, 1))
		const n = 40
		targets := m.LensPlanes() + m.SourcePlanes()
		work, bx, by := m.NewWork(n), planes(n, targets), planes(n, targets)
		g := planes(n, 2*m.SourcePlanes())
		for k := range g {
			g[k] = check.Normals(rng, n)
		}
		var at []float64
		for _, p := range values {
			at = append(at, p...)
		}
		np := len(at)
		at = append(append(at, check.Normals(rng, n)...), check.Normals(rng, n)...)
		f := func(v []float64) float64 {
			k := 0
			for i, l := range lenses {
				mustSet(t, l, v[k:k+len(values[i])])
				k += len(values[i])
			}
			copy(bx[0], v[np:np+n])
			copy(by[0], v[np+n:])
			m.Shoot(bx, by, work)
			s := 0.0
			for k := range m.SourcePlanes() {
				s += check.Dot(g[2*k], bx[m.LensPlanes()+k]) + check.Dot(g[2*k+1], by[m.LensPlanes()+k])
			}
			return s
		}
		var gbx, gby [][]float64
		for k := range m.SourcePlanes() {
			gbx, gby = append(gbx, g[2*k]), append(gby, g[2*k+1])
		}
		f(at)
		grad := make([]float64, len(at))
		gp, k := make([][]float64, len(lenses)), 0
		for i := range lenses {
			gp[i] = grad[k : k+len(values[i])]
			k += len(values[i])
		}
		vjp := func(gp [][]float64, gx, gy []float64) {
			m.ShootVJP(gp, gx, gy, gbx, gby, work, bx, by)
		}
		vjp(gp, grad[np:np+n], grad[np+n:])
		for range 20 {
			v := check.Normals(rng, len(at))
			got, scale := 0.0, 0.0
			for i := range v {
				got += grad[i] * v[i]
				scale += math.Abs(grad[i] * v[i])
			}
			check.Close(t, r.Name, got, check.Directional(f, at, v, 1e-5), 1e-8, scale)
		}
		f(at)
		for i := range lenses {
			alone := make([][]float64, len(lenses))
			alone[i] = make([]float64, len(values[i]))
			vjp(alone, nil, nil)
			for k := range alone[i] {
				check.Close(t, r.Name+": one lens's gradient", alone[i][k], gp[i][k], 1e-13, 1)
			}
		}
		places := planes(n, 2)
		vjp(nil, places[0], places[1])
		for k := range n {
			check.Close(t, r.Name+": gradient of places alone", places[0][k], grad[np+k], 1e-13, 1)
			check.Close(t, r.Name+": gradient of places alone", places[1][k], grad[np+n+k], 1e-13, 1)
		}
		if a := testing.AllocsPerRun(5, func() {
			m.Shoot(bx, by, work)
			m.ShootVJP(gp, places[0], places[1], gbx, gby, work, bx, by)
		}); a != 0 {
			t.Errorf("%s: %g allocations", r.Name, a)
		}
	}
}

func TestMultiPlaneRefuses(t *testing.T) {
	flat := FlatCosmology(70, 0.3)
	l, _ := NewLens("sis")
	for _, c := range []struct {
		what            string
		cosmology       Cosmology
		lenses, sources []float64
	}{
		{"no source", flat, []float64{0.5}, nil},
		{"no lens", flat, nil, []float64{1}},
		{"a source in front", flat, []float64{0.5, 0.7}, []float64{2, 0.4}},
		{"a source beside the nearest lens", flat, []float64{0.5, 0.7}, []float64{2, 0.5}},
		{"a lens behind", flat, []float64{0.5, 2.5}, []float64{2, 1}},
		{"a lens beside the last source", flat, []float64{0.5, 2}, []float64{2, 1}},
		{"a negative redshift", flat, []float64{-0.5, 0.5}, []float64{2}},
		{"a redshift of 0", flat, []float64{0, 0.5}, []float64{2}},
		{"NaN", flat, []float64{math.NaN(), 0.5}, []float64{2}},
		{"infinity", flat, []float64{0.5, 0.6}, []float64{math.Inf(1)}},
		{"a closed universe", Cosmology{70, 0.8, 0.8}, []float64{0.5, 0.6}, []float64{2}},
	} {
		lenses := make([]Lens, len(c.lenses))
		for i := range lenses {
			lenses[i] = l
		}
		if _, err := NewMultiPlane(c.cosmology, lenses, c.lenses, c.sources); err == nil {
			t.Errorf("%s was taken", c.what)
		}
	}
}

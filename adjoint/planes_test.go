package adjoint

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
	"lenskit/physics"
)

// planesModel has lenses in front of, beside and behind the main lens, a source between the planes and a decoder
// behind them all. freeze fixes the lenses of those names.
func planesModel(t testing.TB, freeze ...string) Model {
	m := paperModel(smallDecoder(t), "bicubic")
	m.Components[0].Redshift, m.Components[1].Redshift, m.Components[2].Redshift = 0.5, 0.5, 2.5
	halo := func(thetaE, x, y float64) priors {
		return priors{"theta_E": physics.LogNormal(math.Log(thetaE), 0.2), "center_x": physics.Normal(x, 0.1), "center_y": physics.Normal(y, 0.1)}
	}
	sersic := func(amp, x float64) priors {
		return priors{"amp": physics.LogNormal(math.Log(amp), 0.3), "r_sersic": physics.LogNormal(-0.5, 0.2), "n": physics.Uniform(0.8, 3),
			"e1": physics.Normal(0, 0.2).Bounded(-0.5, 0.5), "e2": physics.Fixed(0.1), "center_x": physics.Normal(x, 0.1), "center_y": physics.Normal(0, 0.1)}
	}
	m.Components = append(m.Components,
		Component{Group: GroupSource, Name: "between", Kind: "sersic", Redshift: 0.9, Priors: sersic(0.7, 0.3)},
		Component{Group: GroupLens, Name: "behind", Kind: "sis", Redshift: 1.2, Priors: halo(0.2, 0.4, -0.3)},
		Component{Group: GroupLens, Name: "front", Kind: "sis", Redshift: 0.2, Priors: halo(0.1, -1.1, 0.8)},
		Component{Group: GroupLensLight, Name: "light", Kind: "sersic", Priors: sersic(1, 0)})
	m.Cosmology = physics.Cosmology{H0: 70, OmegaM: 0.3, OmegaLambda: 0.6}
	for _, name := range freeze {
		for i := range m.Components {
			c := &m.Components[i]
			if c.Group != GroupLens || c.Name != name {
				continue
			}
			for key, p := range c.Priors {
				if s, err := compile(p); err == nil {
					v, _ := s.push(0.3)
					c.Priors[key] = physics.Fixed(v)
				}
			}
		}
	}
	return m
}

// Gradient and Gauss-Newton columns through three lens planes, with different lenses held fixed.
func TestGradientThroughSeveralPlanes(t *testing.T) {
	for _, freeze := range [][]string{nil, {"front"}, {"behind"}, {"sple", "shear"}, {"front", "sple", "shear"}, {"front", "behind", "shear"}} {
		p := open(t, planesModel(t, freeze...), richObservation(24, 2), Options{Device: "reference"})
		if p.scene.lensPlanes() != 3 || p.scene.sourcePlanes() != 2 {
			t.Fatalf("%d lens planes and %d source planes", p.scene.lensPlanes(), p.scene.sourcePlanes())
		}
		d := p.Dim()
		u := check.Normals(rand.New(rand.NewPCG(51, 1)), d)
		for i := range u {
			u[i] *= 0.5
		}
		grad, plain, hess := make([]float64, d), make([]float64, d), mat.NewSymDense(d, nil)
		if _, err := p.Sampling().LogProbHess(grad, hess, u); err != nil {
			t.Fatal(err)
		}
		mustLogProb(t, p, plain, u)
		for k := range u {
			if grad[k] != plain[k] {
				t.Errorf("%v: gradient %d is %v, want %v", freeze, k, grad[k], plain[k])
			}
			e := make([]float64, d)
			e[k] = 1
			fd := check.Directional(func(x []float64) float64 { return mustLogProb(t, p, nil, x) }, u, e, 1e-4)
			check.Close(t, fmt.Sprintf("%v: coordinate %d", freeze, k), grad[k], fd, 2e-6, 1)
		}
		cols := imageColumns(t, p, u, 1e-4)
		for a := range d {
			for b := range a + 1 {
				want := check.Dot(cols[a], cols[b])
				if a == b {
					want++ // the prior's
				}
				scale := math.Sqrt(check.Dot(cols[a], cols[a]) * check.Dot(cols[b], cols[b]))
				if got := hess.At(a, b); math.Abs(got-want) > 1e-6*(scale+1) {
					t.Fatalf("%v: element (%d, %d) is %g, want %g", freeze, a, b, got, want)
				}
			}
		}
	}
}

// The gradient by name knows the fixed parameters of all planes.
func TestGradientOfFixedLensesInSeveralPlanes(t *testing.T) {
	p := open(t, planesModel(t, "front", "behind", "sple"), richObservation(24, 1), Options{Device: "reference"})
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, make([]float64, p.Dim()))
	e, err := p.Eval(theta, true)
	if err != nil {
		t.Fatal(err)
	}
	for k, name := range p.Names() {
		if !strings.HasPrefix(name, "lens.") {
			continue
		}
		dir := make([]float64, len(theta))
		dir[k] = 1
		fd := check.Directional(func(x []float64) float64 {
			e, err := p.Eval(x, false)
			if err != nil {
				t.Fatal(err)
			}
			return e.LogLikelihood
		}, theta, dir, 1e-4)
		check.Close(t, name, e.GradLikelihood[k], fd, 2e-6, 1)
	}
}

// imageColumns are ∂(model/σ)/∂u by differences.
func imageColumns(t *testing.T, p *Posterior, u []float64, h float64) [][]float64 {
	theta := make([]float64, len(p.Names()))
	x := append([]float64(nil), u...)
	cols := make([][]float64, len(u))
	for k := range cols {
		at := func(s float64) []float64 {
			x[k] = u[k] + s*h
			img := make([]float64, p.obs.W*p.obs.H)
			p.Theta(theta, x)
			if err := p.ModelImage(img, theta); err != nil {
				t.Fatal(err)
			}
			x[k] = u[k]
			return img
		}
		a, b, a2, b2 := at(1), at(-1), at(2), at(-2)
		cols[k] = make([]float64, len(a))
		for i := range a {
			cols[k][i] = (8*(a[i]-b[i]) - (a2[i] - b2[i])) / (12 * h) * p.noise.Weight[i]
		}
	}
	return cols
}

// Redshifts that put all lenses into one plane and all sources into another change nothing, not a bit.
func TestOneRedshiftForAllIsTheSinglePlane(t *testing.T) {
	plain := planesModel(t, "behind")
	same := planesModel(t, "behind")
	for i := range plain.Components {
		plain.Components[i].Redshift = 0
		switch c := &same.Components[i]; c.Group {
		case GroupLens:
			c.Redshift = 0.5
		case GroupSource:
			c.Redshift = 2
		}
	}
	same.Cosmology = physics.Cosmology{}
	var lp [2]float64
	var grad [2][]float64
	for i, m := range []Model{plain, same} {
		p := open(t, m, richObservation(24, 1), Options{Device: "reference"})
		if p.scene.multi != nil {
			t.Fatal("several planes were laid out")
		}
		grad[i] = make([]float64, p.Dim())
		lp[i] = mustLogProb(t, p, grad[i], check.Normals(rand.New(rand.NewPCG(52, 1)), p.Dim()))
	}
	if lp[0] != lp[1] {
		t.Errorf("log density %v, want %v", lp[1], lp[0])
	}
	for k := range grad[0] {
		if grad[0][k] != grad[1][k] {
			t.Errorf("gradient %d is %v, want %v", k, grad[1][k], grad[0][k])
		}
	}
}

// A lens plane without mass and one of mass have the images of the one alone.
func TestMasslessPlanesChangeNothing(t *testing.T) {
	m := paperModel(smallDecoder(t), "bicubic")
	alone := open(t, m, richObservation(24, 1), Options{Device: "reference"})
	m.Components[0].Redshift, m.Components[1].Redshift, m.Components[2].Redshift = 0.5, 0.5, 2.5
	for _, z := range []float64{0.2, 1} {
		m.Components = append(m.Components, Component{Group: GroupLens, Name: fmt.Sprint("empty", z*10), Kind: "shear", Redshift: z,
			Priors: priors{"gamma1": physics.Fixed(0), "gamma2": physics.Fixed(0)}})
	}
	m.Cosmology = physics.FlatCosmology(70, 0.3)
	p := open(t, m, richObservation(24, 1), Options{Device: "reference"})
	u := check.Normals(rand.New(rand.NewPCG(53, 1)), p.Dim())
	g, want := make([]float64, p.Dim()), make([]float64, p.Dim())
	check.Close(t, "log density", mustLogProb(t, p, g, u), mustLogProb(t, alone, want, u), 1e-13, 1)
	for k := range g {
		check.Close(t, fmt.Sprintf("gradient %d", k), g[k], want[k], 1e-11, 1)
	}
}

func TestSeveralPlanesDoNotAllocate(t *testing.T) {
	needRuntime(t)
	p := open(t, planesModel(t), richObservation(32, 1), Options{Threads: 2})
	u, grad := check.Normals(rand.New(rand.NewPCG(54, 1)), p.Dim()), make([]float64, p.Dim())
	if n := testing.AllocsPerRun(10, func() { u[0] += 1e-3; mustLogProb(t, p, grad, u) }); n != 0 {
		t.Errorf("%v allocations in a step", n)
	}
}

// The picture of sources in several planes shows each as it is, unlensed.
func TestImagesOfSeveralPlanes(t *testing.T) {
	m := planesModel(t)
	m.Components = append(m.Components[:2:2], m.Components[3:]...) // without the decoder
	m.Components = append(m.Components, Component{Group: GroupSource, Name: "last", Kind: "sersic", Redshift: 2.5, Priors: m.Components[2].Priors})
	p := open(t, m, richObservation(24, 1), Options{})
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, make([]float64, p.Dim()))
	img, err := p.Images(theta)
	if err != nil {
		t.Fatal(err)
	}
	model := make([]float64, len(img.Model.Pix))
	if err := p.ModelImage(model, theta); err != nil {
		t.Fatal(err)
	}
	for i, used := range p.Noise().Used {
		if used {
			check.Close(t, "model", img.Model.Pix[i], model[i], 1e-12, 1)
		}
	}
	// two equal sources have twice the brightness of one where neither is lensed
	one, err := physics.NewLight("sersic")
	if err != nil {
		t.Fatal(err)
	}
	at := index(t, p, "source.last.amp")
	if err := one.Set(theta[at : at+7]); err != nil {
		t.Fatal(err)
	}
	s := img.Source
	var v [1]float64
	one.Brightness(v[:], []float64{img.SourceX + (30-0.5*float64(s.W-1))*s.Scale}, []float64{img.SourceY + (70-0.5*float64(s.H-1))*s.Scale})
	check.Close(t, "source", s.At(30, 70), 2*v[0], 1e-12, 0)
}

func TestModelRefusesRedshifts(t *testing.T) {
	for _, c := range []struct {
		want string
		edit func(m *Model)
	}{
		{"found 5 redshifts, expected one for each of 6", func(m *Model) { m.Components[0].Redshift = 0 }},
		{"found a redshift, expected none: it is not lensed", func(m *Model) { m.Components[len(m.Components)-1].Redshift = 0.5 }},
		{"found redshift -1, expected more than 0", func(m *Model) { m.Components[0].Redshift = -1 }},
		{"found a source at redshift 0.1", func(m *Model) { m.Components[2].Redshift = 0.1 }},
		{"cosmology: H0: found 0", func(m *Model) { m.Cosmology = physics.Cosmology{} }},
	} {
		m := planesModel(t)
		c.edit(&m)
		p, err := New(m, richObservation(24, 1), Options{Device: "reference"})
		if err == nil {
			p.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

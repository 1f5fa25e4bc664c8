package search

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"
	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/lensing"
	"lenskit/tools/observation"
	"lenskit/tools/problem"
)

// defaults are the settings of a config that says nothing of them.
func defaults() *Settings {
	set := DefaultSettings()
	return &set
}

// knots is a source of three knots of different widths, which no profile follows.
func knots(x, y float64) float64 {
	sum := 0.0
	for _, k := range [][4]float64{{0.25, -0.1, 0.08, 0.3}, {0.05, 0.1, 0.12, 0.15}, {0.4, 0.1, 0.15, 0.1}} {
		sum += k[3] * math.Exp(-0.5*(math.Pow(x-k[0], 2)+math.Pow(y-k[1], 2))/(k[2]*k[2]))
	}
	return sum
}

// galaxyWithKnots is a galaxy before the image of knots behind an isothermal sphere of 1.2 arcsec.
func galaxyWithKnots(t *testing.T) *observation.Observation {
	t.Helper()
	galaxy, o := testkit.GalaxyWithArc(t)
	lens := testkit.Isothermal(t)
	rng := rand.New(rand.NewPCG(11, 12))
	for k, v := range galaxy {
		x, y := o.Place(k%o.W, k/o.W)
		u, w := lens.Source([]float64{x}, []float64{y})
		o.Data[k] = v + knots(u[0], w[0]) + 0.01*rng.NormFloat64()
	}
	if err := o.Weigh(); err != nil {
		t.Fatal(err)
	}
	return o
}

// The galaxy's light, of which the profiles follow what they can, and a source of any shape must not hide the radius.
func TestEvidenceOfAPixelisedSourceTellsTheRadius(t *testing.T) {
	f, err := newInversion(galaxyWithKnots(t), nil, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	at := func(radius float64) float64 {
		l, err := physics.NewLens("sis")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Set([]float64{radius, 0, 0}); err != nil {
			t.Fatal(err)
		}
		best := math.Inf(-1)
		for strength := 0.0; strength < 12; strength++ {
			e, _ := f.evidence(lensing.Sum{l}, 0.25, 0, strength)
			best = math.Max(best, e)
		}
		return best
	}
	right := at(1.2)
	for _, radius := range []float64{0.6, 1.1, 1.17, 1.23, 1.3, 1.8} {
		if wrong := at(radius); wrong > right-3 {
			t.Errorf("an Einstein radius of %.2f arcsec has the evidence %.1f, the true one of 1.2 has %.1f", radius, wrong, right)
		}
	}
}

// With nothing but noise in the image the evidence is largest where the source is held at zero.
func TestEvidenceOfAPixelisedSourceFallsWithItsFreedom(t *testing.T) {
	galaxy, o := testkit.GalaxyWithArc(t)
	rng := rand.New(rand.NewPCG(13, 14))
	for k, v := range galaxy {
		o.Data[k] = v + 0.01*rng.NormFloat64()
	}
	if err := o.Weigh(); err != nil {
		t.Fatal(err)
	}
	f, err := newInversion(o, nil, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	free, _ := f.evidence(testkit.Isothermal(t), 0, 0, 5)
	held, _ := f.evidence(testkit.Isothermal(t), 0, 0, 25)
	if free > held-10 {
		t.Errorf("the evidence of a pixelised source is %.1f, of one held at zero %.1f", free, held)
	}
}

func TestLaplacianIsDarkAllAround(t *testing.T) {
	m := laplacianSquared(3)
	flat, out := mat.NewVecDense(9, nil), mat.NewVecDense(9, nil)
	for k := range 9 {
		flat.SetVec(k, 1)
	}
	out.MulVec(m, flat)
	// the Laplacian of a flat source is 2 at corners, 1 at edges, 0 within: 4·4 + 4·1
	check.Close(t, "sum of squares", mat.Dot(flat, out), 20, 1e-12, 1)
}

// knotsProblem is the image of galaxyWithKnots with a lens of the given type before a Sersic profile.
func knotsProblem(t *testing.T, lens string) *problem.Problem {
	t.Helper()
	o := galaxyWithKnots(t)
	dir := t.TempDir()
	if err := fits.Write(filepath.Join(dir, "a.fits"), fits.Out{Bitpix: -64, Axes: []int{o.W, o.H}, Pix: o.Data}); err != nil {
		t.Fatal(err)
	}
	configPath := "data: {image: a.fits, noise: 0.01, pixel_scale: 0.08, mask: {annulus: [0.2, 3.2]}}\nlens: [{type: " + lens + "}]\nsource: [{type: sersic}]\nlens_light: [{type: sersic}]\n"
	if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(configPath), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(filepath.Join(dir, "c.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := problem.New(cfg, adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// A lens distorted until a simple source fits must not hide the one of the same radius as its priors have it.
func TestLensOfThePriorsIsTriedBesideADistortedOne(t *testing.T) {
	p := knotsProblem(t, "sie")
	c := newClimber(&Search{Problem: p, Saved: &Record{}, Save: func() error { return nil }})
	distorted := Found{Theta: config.Named{}, From: arcsStage}
	for name, k := range p.Index {
		theta := LaidOut(p.Post)
		distorted.Theta[name] = theta[k]
	}
	for name, v := range map[string]float64{"theta_E": 1.35, "e1": 0.3, "e2": -0.4, "center_x": 0.2, "center_y": 0.2} {
		distorted.Theta["lens.sie."+name] = v
	}
	distorted.Theta["source.sersic.center_x"], distorted.Theta["source.sersic.center_y"] = 0.8, 0.4
	ends, err := c.invert(context.Background(), p.Config, p.Obs, []Found{distorted})
	if err != nil {
		t.Fatal(err)
	}
	got := ends[0].Theta
	check.Close(t, "Einstein radius", got["lens.sie.theta_E"], 1.2, 0.02, 1)
	for _, name := range []string{"e1", "e2", "center_x", "center_y"} {
		check.Close(t, name, got["lens.sie."+name], 0, 0.06, 1)
	}
	again, err := c.invert(context.Background(), p.Config, p.Obs, []Found{distorted})
	if err != nil || !maps.Equal(ends[0].Theta, again[0].Theta) {
		t.Errorf("what is saved gives another lens (%v)", err)
	}
}

// Where a pixelised source has another Einstein radius than the maximum, halfway is given, or that of the pixelised source where the
// two are far apart.
func TestRadiusIsHeldBetweenThoseOfTwoSources(t *testing.T) {
	p := knotsProblem(t, "sis")
	at := func(radius float64) *StageEnd {
		theta := make([]float64, len(p.Post.Names()))
		p.Post.Theta(theta, make([]float64, p.Post.Dim()))
		theta[p.Index["lens.sis.theta_E"]] = radius
		u, err := coordinates(p.Post, theta)
		if err != nil {
			t.Fatal(err)
		}
		return &StageEnd{U: u}
	}
	for _, c := range []struct{ pixelised, want float64 }{{1.1 * 1.05, 1.1 * math.Sqrt(1.05)}, {1.6, 1.6}} {
		climber := newClimber(&Search{Problem: p, Saved: &Record{}, Save: func() error { return nil }})
		end, err := climber.between(context.Background(), p.Post, at(1.1), at(c.pixelised), &Lensed{Radius: 1.1, Pixelised: term.JSONFloat(c.pixelised)})
		if err != nil {
			t.Fatal(err)
		}
		check.Close(t, "radius", namedTheta(p.Post, end.U)["lens.sis.theta_E"], c.want, 1e-9, 1)
		if from, err := p.Post.MAP().LogProb(nil, at(1.1).U); err != nil || end.LogProb < from+100 {
			t.Errorf("the rest has climbed from %.1f to %.1f only (%v)", from, end.LogProb, err)
		}
	}
}

// A source seen once may be light that is not lensed: it goes after those seen more than once, whatever its evidence.
func TestLensesThatMultiplyGoFirst(t *testing.T) {
	p := knotsProblem(t, "sis")
	climber := newClimber(&Search{Problem: p, Saved: &Record{}})
	f, err := newInversion(p.Obs, nil, nil, defaults())
	if err != nil {
		t.Fatal(err)
	}
	var found []Found
	for _, c := range []struct {
		radius float64
		want   bool
	}{{0.1, false}, {1.2, true}} {
		b := Found{Theta: config.Named{"lens.sis.theta_E": c.radius, "lens.sis.center_x": 0, "lens.sis.center_y": 0,
			"source.sersic.center_x": 0.25, "source.sersic.center_y": 0}, LogProb: -100 * c.radius}
		if b.Multiple, err = climber.multiplies(f, b.Theta); err != nil || b.Multiple != c.want {
			t.Errorf("an Einstein radius of %.1f arcsec shows the source more than once: %t (%v), want %t", c.radius, b.Multiple, err, c.want)
		}
		found = append(found, b)
	}
	if out, err := keepRivals(context.Background(), climber, found); err != nil || len(out) != 2 || !out[0].Multiple || out[1].Multiple {
		t.Errorf("rivals are %+v (%v)", out, err)
	}
}

// The error of profiles that a config states is taken where the light of the lens is measured, where what stands out of it is
// looked for, and where the verdict weighs an image.
func TestErrorOfTheLightIsThatOfTheSettings(t *testing.T) {
	p := knotsProblem(t, "sis")
	type seen struct {
		mge   []float64
		more  bool
		value float64
	}
	with := func(share float64) (out seen) {
		s := &Search{Problem: p, Settings: *defaults(), Saved: &Record{}}
		s.Settings.LightError = share
		m, err := newClimber(s).lensMGE()
		if err != nil {
			t.Fatal(err)
		}
		img, err := p.Post.Images(LaidOut(p.Post))
		if err != nil {
			t.Fatal(err)
		}
		out.mge, out.more = m.light, showsMore(m.obs, m.light, &s.Settings)
		out.value, _ = s.aperture(p.Post, img, make([]float64, len(img.Model.Pix)), lensing.Image{X: 1.2})
		return out
	}
	small, usual, large := with(0), with(defaults().LightError), with(10)
	if !small.more || !usual.more || large.more {
		t.Errorf("arcs stand out of the light with an error of 0, the default and ten times the light: %t, %t, %t", small.more, usual.more, large.more)
	}
	if slices.Equal(small.mge, usual.mge) {
		t.Error("the light is measured alike without an error of profiles and with it")
	}
	if a, b, c := math.Abs(small.value), math.Abs(usual.value), math.Abs(large.value); !(a > b && b > c) {
		t.Errorf("signal to noise of an image is %g, %g and %g as the error rises", a, b, c)
	}
}

package tools

import (
	"context"
	"io"
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
	"lenskit/samplers"
)

// isothermal is a singular isothermal sphere with an Einstein radius of 1.2 arcsec.
func isothermal(t *testing.T) lensSum {
	t.Helper()
	l, err := physics.NewLens("sis")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Set([]float64{1.2, 0, 0}); err != nil {
		t.Fatal(err)
	}
	return lensSum{l}
}

// singularSphere is a singular isothermal sphere of Einstein radius 1.2 at the origin.
func singularSphere(t *testing.T) lensSum {
	t.Helper()
	l, err := physics.NewLens("sis")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Set([]float64{1.2, 0, 0}); err != nil {
		t.Fatal(err)
	}
	return lensSum{l}
}

func TestImagesOfAnIsothermalSphere(t *testing.T) {
	lens := singularSphere(t)
	// within the Einstein radius: β ± θ_E, magnified by θ_E/β ± 1 (Narayan & Bartelmann 1996, §3.1)
	images := lens.imagesOf(0.3, 0, 3, 3, 0.02)
	if len(images) != 2 {
		t.Fatalf("got %d images of a point within the Einstein radius, want 2: %v", len(images), images)
	}
	for _, p := range images {
		want, mu := 1.5, 5.0
		if p.X < 0 {
			want, mu = -0.9, 3
		}
		check.Close(t, "x", p.X, want, 0.01, 1)
		check.Close(t, "y", p.Y, 0, 0.02, 1)
		check.Close(t, "magnification", p.Magnification, mu, 0.1, 1)
	}
	if images := lens.imagesOf(1.4, 0, 3, 3, 0.02); len(images) != 1 {
		t.Errorf("got %d images of a point outside, want 1: %v", len(images), images)
	}
}

func TestEinsteinRadiusIsThatOfTheMass(t *testing.T) {
	check.Close(t, "radius", singularSphere(t).einsteinRadius(5), 1.2, 1e-6, 1)
	check.Close(t, "radius beyond the image", singularSphere(t).einsteinRadius(1), 1, 1e-9, 1)
}

func TestNonNegativeKeepsWhatIsPositive(t *testing.T) {
	// unconstrained, the solution is (2, -1, -3)
	a := mat.NewSymDense(3, []float64{2, 0.5, 0, 0.5, 1, 0, 0, 0, 1})
	b := mat.NewVecDense(3, []float64{3.5, 0, -3})
	x := make([]float64, 3)
	nonNegative(x, a, b, 2)
	check.Close(t, "positive", x[0], 1.75, 1e-3, 1)
	check.Close(t, "held at zero", x[1], 0, 0, 1)
	check.Close(t, "free", x[2], -3, 1e-3, 1)
}

// galaxyWithArc is an elliptical galaxy, and the same with an arc.
func galaxyWithArc(t *testing.T) (galaxy []float64, o *observation) {
	t.Helper()
	const n = 81
	light, err := physics.NewLight("sersic")
	if err != nil {
		t.Fatal(err)
	}
	if err := light.Set([]float64{0.5, 1.2, 3, 0.15, -0.1, 0.03, -0.02}); err != nil {
		t.Fatal(err)
	}
	o = &observation{W: n, H: n, Scale: 0.08, Sigma: []float64{0.01}, Data: make([]float64, n*n), Mask: make([]bool, n*n)}
	x, y := make([]float64, n*n), make([]float64, n*n)
	rng := rand.New(rand.NewPCG(7, 8))
	for k := range x {
		x[k], y[k] = o.place(k%n, k/n)
		r, phi := math.Hypot(x[k], y[k]), math.Atan2(y[k], x[k])
		o.Mask[k] = r > 0.2 && r < 3.2
		o.Data[k] = 0.3*math.Exp(-0.5*math.Pow((r-1.3)/0.12, 2)-0.5*phi*phi) + 0.01*rng.NormFloat64()
	}
	galaxy = make([]float64, n*n)
	light.Brightness(galaxy, x, y)
	for k, v := range galaxy {
		o.Data[k] += v
	}
	return galaxy, o
}

func TestSmoothLightLeavesTheArc(t *testing.T) {
	galaxy, o := galaxyWithArc(t)
	fit, image, err := o.smoothLight(o.brightCentre())
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "centre x", fit.x0, 0.03, 0.02, 1)
	check.Close(t, "centre y", fit.y0, -0.02, 0.02, 1)
	worst := 0.0
	for k, v := range galaxy {
		if o.Mask[k] {
			worst = math.Max(worst, math.Abs(image[k]-v)/(0.01+0.04*v))
		}
	}
	if worst > 3 {
		t.Errorf("the smooth light is off by %.1f times 0.01 and 4 %% of the galaxy, want at most 3", worst)
	}
	at := 40*o.W + 40 + int(math.Round(1.3/o.Scale))
	if left := o.Data[at] - image[at]; left < 0.2 {
		t.Errorf("%.3f of the arc's 0.3 is left", left)
	}
}

func TestFractionOfTheLightIsAddedToTheNoise(t *testing.T) {
	o := &observation{W: 4, H: 1, Scale: 1, Data: []float64{10, 10, 10, math.NaN()}, Sigma: []float64{0.3, 0.3, 1e8, 0.3}}
	o.addFraction(0.04)
	for k, want := range []float64{0.5, 0.5, 1e8, 0.3} {
		check.Close(t, "sigma", o.Sigma[k], want, 1e-12, 1)
	}
}

func TestBareConfigReadsBackTheSame(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.fits")
	if err := writeFITS(image, fitsOut{Axes: []int{8, 8}, Pix: make([]float64, 64)}); err != nil {
		t.Fatal(err)
	}
	c, err := bareConfig(bareImage{Image: image, Noise: "0.1", PixelScale: 0.05, Neighbours: true})
	if err != nil {
		t.Fatal(err)
	}
	c.scalePriors(2)
	want := c.text(dir)
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.text(dir); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// fitGalaxy fits a power law, a simple source and the light of a galaxy to the image of a galaxy with what else shines.
func fitGalaxy(t *testing.T, shines func(x, y float64) float64) *fitRecord {
	t.Helper()
	galaxy, o := galaxyWithArc(t)
	rng := rand.New(rand.NewPCG(9, 10))
	for k, v := range galaxy {
		x, y := o.place(k%o.W, k/o.W)
		o.Data[k] = v + shines(x, y) + 0.01*rng.NormFloat64()
	}
	dir := t.TempDir()
	if err := writeFITS(filepath.Join(dir, "a.fits"), fitsOut{Bitpix: -64, Axes: []int{o.W, o.H}, Pix: o.Data}); err != nil {
		t.Fatal(err)
	}
	config := `data: {image: a.fits, noise: {sigma: 0.01, fraction: 0.01}, pixel_scale: 0.08, mask: {annulus: [0.2, 3.2]}}
lens: [{type: sie}]
source: [{type: sersic, priors: {n: {fixed: 1}}}]
lens_light: [{type: sersic}]
`
	if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	opt := FitOptions{Input: filepath.Join(dir, "c.yaml"), Output: filepath.Join(dir, "fit"), Search: searchOptions{Seed: 1}}
	if err := Fit(context.Background(), opt, io.Discard, newProgress(io.Discard, true)); err != nil && exitCode(err) != exitNotConverged {
		t.Fatal(err)
	}
	rec, err := readFitRecord(opt.Output)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// einsteinOf is the parameter lens.sie.theta_E of a fit.
func einsteinOf(rec *fitRecord) float64 {
	return rec.Parameters.values[slices.Index(rec.Parameters.names, "lens.sie.theta_E")]
}

func TestLensThatShinesIsFound(t *testing.T) {
	lens := isothermal(t)
	rec := fitGalaxy(t, func(x, y float64) float64 {
		u, v := lens.source([]float64{x}, []float64{y})
		return 0.3 * math.Exp(-(math.Hypot(u[0]-0.25, v[0]+0.1)-0.1)/0.1)
	})
	if e := einsteinOf(rec); rec.Status != statusConverged || math.Abs(e/1.2-1) > 0.01 {
		t.Errorf("got θ_E %.4f, %s: %s, want 1.2, converged", e, rec.Status, rec.Reason)
	}
}

func TestGalaxyBesideAGalaxyIsNotCalledALens(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	rec := fitGalaxy(t, func(x, y float64) float64 { return 0.5 * math.Exp(-math.Hypot(x-1.5, y-0.8)/0.15) })
	if rec.Status != statusNotConverged {
		t.Errorf("got θ_E %.4f, %s, lensing %+v, want a fit that is not converged", einsteinOf(rec), rec.Status, rec.Lensing)
	}
}

// The mass of a bare image's lens is looked for where its light is.
func TestBareLensFollowsItsLight(t *testing.T) {
	const n = 81
	o := &observation{W: n, H: n, Scale: 0.08, Sigma: []float64{0.01}, Data: make([]float64, n*n), Mask: make([]bool, n*n)}
	light, err := physics.NewLight("sersic")
	if err != nil {
		t.Fatal(err)
	}
	if err := light.Set([]float64{0.5, 1.2, 3, 0.2, -0.1, 0.05, -0.03}); err != nil {
		t.Fatal(err)
	}
	x, y := make([]float64, n*n), make([]float64, n*n)
	for k := range x {
		x[k], y[k] = o.place(k%n, k/n)
		r := math.Hypot(x[k], y[k])
		o.Mask[k] = r > 0.2 && r < 3.2
	}
	light.Brightness(o.Data, x, y)
	dir := t.TempDir()
	image := filepath.Join(dir, "a.fits")
	if err := writeFITS(image, fitsOut{Axes: []int{n, n}, Pix: o.Data}); err != nil {
		t.Fatal(err)
	}
	c, err := bareConfig(bareImage{Image: image, Noise: "0.01", PixelScale: 0.08})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.followLight(o); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"center_x": 0.05, "center_y": -0.03, "e1": 0.2, "e2": -0.1}
	for _, p := range c.Lens[0].Params {
		if v, ok := want[p.Name]; ok {
			check.Close(t, p.Name, p.Prior.A, v, 0.02, 1)
		}
	}
}

// TestTheBasinOfTheFreeSourceIsHeldThoughARivalIsBetter: where the lens of the free source is put away at middle size, its
// Einstein radius is the one that is held all the same, not a rival's.
func TestTheBasinOfTheFreeSourceIsHeldThoughARivalIsBetter(t *testing.T) {
	p := knotsProblem(t, "sis")
	p.Config.Data.Noise.Fraction = 1e-6 // as of an image whose χ² does not count
	at := func(radius, logProb float64) *stageEnd {
		theta := make([]float64, len(p.Post.Names()))
		p.Post.Theta(theta, make([]float64, p.Post.Dim()))
		theta[p.index["lens.sis.theta_E"]] = radius
		u, err := coordinates(p.Post, theta)
		if err != nil {
			t.Fatal(err)
		}
		return &stageEnd{U: u, LogProb: logProb, Status: samplers.Converged}
	}
	free, rival := at(1.7, -1000), at(1.1, 0)
	s := &search{p: p, opt: searchOptions{}.defaults(), run: adjoint.Options{Threads: 1}, saved: &searchRecord{Done: map[string]*stageEnd{}}, save: func() error { return nil }}
	for key, end := range map[string]*stageEnd{"basin 1: everything": free, "basin 2: everything": rival,
		"basin 1: full size": rival, "basin 1: polish": rival, "basin 1: last steps": rival} {
		s.saved.Done[key] = end
	}
	s.free = namedTheta(p.Post, free.U)
	res, err := s.refine(context.Background(), p.Post, []basin{{theta: s.free}, {theta: namedTheta(p.Post, rival.U)}})
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "radius", namedTheta(p.Post, res.U)["lens.sis.theta_E"], 1.7, 1e-9, 1)
}

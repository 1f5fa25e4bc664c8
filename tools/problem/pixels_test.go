package problem

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/observation"
)

// ring writes an image of a Gaussian of 0.1 arcsec at (0.05, -0.02), seen through an isothermal sphere of 1.2 arcsec, with
// noise, and a config of it with keys for its source.
func ring(t *testing.T, bright float64, keys string) *config.Config {
	t.Helper()
	const n, scale, sigma = 64, 0.08, 0.02
	dir := t.TempDir()
	x, y := make([]float64, n*n), make([]float64, n*n)
	for k := range x {
		x[k], y[k] = (float64(k%n)-0.5*(n-1))*scale, (float64(k/n)-0.5*(n-1))*scale
	}
	bx, by := testkit.Isothermal(t).Source(x, y)
	pix := check.Normals(rand.New(rand.NewPCG(3, 1)), n*n)
	for k := range pix {
		pix[k] = sigma*pix[k] + bright*math.Exp(-0.5*(math.Pow(bx[k]-0.05, 2)+math.Pow(by[k]+0.02, 2))/0.01)
	}
	if err := fits.Write(filepath.Join(dir, "a.fits"), fits.Out{Bitpix: -64, Axes: []int{n, n}, Pix: pix}); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]float64{"negative.fits": -1, "zeros.fits": 0, "light.fits": 1} {
		if err := fits.Write(filepath.Join(dir, name), fits.Out{Bitpix: -64, Axes: []int{2, 2}, Pix: []float64{0, v, v, 0}}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "c.yaml")
	text := "data: {image: a.fits, noise: 0.02, pixel_scale: 0.08, psf: {gaussian: 0.08}}\nlens: [{type: sis, priors: {theta_E: {normal: [1.2, 0.1]}}}]\nsource: [{type: pixels" + keys + "}]\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The grids of a source that states none hold what the arcs map to, the fine one as fine as the PSF calls for; what is
// written has them, and is the same problem.
func TestGridsAreLaidOutFromTheArcs(t *testing.T) {
	p, err := New(ring(t, 1, ""), adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	grids := p.Config.Source[0].Pixels.Grids
	if len(grids) != 2 {
		t.Fatalf("found %d grids", len(grids))
	}
	for k, g := range grids {
		check.Close(t, "x", g.X, 0.05, 0.1, 1)
		check.Close(t, "y", g.Y, -0.02, 0.1, 1)
		// the Gaussian has fallen to 2.5 times the smoothed noise at three of its widths, to a fifth at two; twelve nodes
		// two fine steps apart make 1.4 arcsec
		if lo, hi := []float64{0.25, 0.15}[k], []float64{0.71, 0.4}[k]; g.Half < lo || g.Half > hi {
			t.Errorf("grid %d: half-width %g, expected %g to %g", k+1, g.Half, lo, hi)
		}
	}
	if step := 0.7 * math.Hypot(0.08, 0.08/math.Sqrt(12)); grids[1].Step() > step+1e-12 {
		t.Errorf("the fine grid's step is %g, expected at most %g", grids[1].Step(), step)
	}
	if len(p.Notices()) != 0 {
		t.Errorf("found notices %q", p.Notices())
	}
	for i, name := range []string{"length_1", "length_2"} {
		if q := p.Config.Source[0].Params[2*i+1]; q.Name != name || math.Abs(q.Prior.A-math.Log(4*grids[i].Step())) > 1e-12 {
			t.Errorf("%s: found prior %+v for steps of %g", q.Name, q.Prior, grids[i].Step())
		}
	}
	again, err := config.Parse(p.Config.File, []byte(p.Config.Text(p.Config.Dir)))
	if err != nil {
		t.Fatal(err)
	}
	q, err := New(again, adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if q.Config.Text(".") != p.Config.Text(".") {
		t.Errorf("found\n%s\nexpected\n%s", q.Config.Text("."), p.Config.Text("."))
	}
}

func TestABoxThatLosesLightIsTold(t *testing.T) {
	p, err := New(ring(t, 1, ", grids: [{x: 0.15, half_width: 0.12, nodes: 12}]"), adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// of a Gaussian of 0.1, x within -0.2 to 2.2 and y within 1.4 to 1.0 widths around its centre hold 0.404·0.761
	lens, err := p.Config.Deflection("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "missed", Missed(p.arcs, lens, p.Config.Source[0].Pixels.Grids), 1-0.404*0.761, 0.2, 1)
	if n := p.Notices(); len(n) != 1 || !strings.Contains(n[0], "% of the arcs' light maps outside of them") {
		t.Errorf("found notices %q", n)
	}
}

func TestPixelsThatCannotBeAreRefused(t *testing.T) {
	for _, row := range []struct {
		bright     float64
		keys, want string
	}{
		{0, "", "source.pixels.grids: is missing, and a.fits shows no arcs"},
		{1, ", grids: [{half_width: 1, nodes: 80}, {half_width: 1, nodes: 50}]", "source.pixels.grids: found 8900 splines in all, expected at most 8192: fewer nodes along a side"},
		{1, ", envelope: {image: negative.fits}", "negative.fits: pixel (1, 0), counted from 0, is -1, expected finite numbers from 0"},
		{1, ", envelope: {image: zeros.fits}", "zeros.fits: found zeros alone, expected some light"},
		{1, ", envelope: {image: none.fits}", "source.pixels.envelope"},
		{1, ", envelope: {model: none}", "source.pixels.envelope"},
	} {
		_, err := New(ring(t, row.bright, row.keys), adjoint.Options{Threads: 1})
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", row.keys, err, row.want)
		}
	}
	p, err := New(ring(t, 1, ", envelope: {image: light.fits}"), adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// five matrices of n x n numbers
	n := p.Config.Source[0].Pixels.Grids[0].Len() + p.Config.Source[0].Pixels.Grids[1].Len()
	if err := p.checkSplines(40*n*n - 1); err == nil || !strings.Contains(err.Error(), "GB of memory are free: fewer nodes along a side") {
		t.Errorf("memory: got %v", err)
	}
	for _, free := range []int{0, 40 * n * n} {
		if err := p.checkSplines(free); err != nil {
			t.Errorf("memory: %v", err)
		}
	}
	if b := p.Marginal().Bytes(); b < 3*8*n*n || b > 100<<20 {
		t.Errorf("the posterior takes %d bytes with %d splines", b, n)
	}
	if last := p.Inputs[len(p.Inputs)-1]; filepath.Base(last.Path) != "light.fits" || last.SHA256 == "" {
		t.Errorf("inputs: found %+v", p.Inputs)
	}
}

// Without lens light or arcs there are none; the light of a lens is taken off where the model has some.
func TestArcsAreWhatTheLensDoesNotHave(t *testing.T) {
	_, o := testkit.GalaxyWithArc(t)
	a, err := o.Arcs(true, 0.02, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.X) == 0 {
		t.Fatal("found no arcs beside a galaxy")
	}
	all, err := o.Arcs(false, 0.02, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(all.X) <= len(a.X) {
		t.Errorf("found %d pixels of arcs, and %d with the galaxy", len(a.X), len(all.X))
	}
	dark := &observation.Observation{W: 50, H: 50, Scale: 0.05, Sigma: []float64{1}, Data: check.Normals(rand.New(rand.NewPCG(5, 1)), 2500)}
	if err := dark.Weigh(); err != nil {
		t.Fatal(err)
	}
	if a, err := dark.Arcs(false, 0.02, 0); err != nil || len(a.X) != 0 {
		t.Errorf("found %d pixels of arcs in noise, %v", len(a.X), err)
	}
	if r := (&observation.Observation{Scale: 0.12, PSF: physics.PSFSpec{Gaussian: 0.1}}).Resolution(); math.Abs(r-math.Hypot(0.1, 0.12/math.Sqrt(12))) > 1e-15 {
		t.Errorf("resolution %g", r)
	}
}

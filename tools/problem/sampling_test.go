package problem

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/tools/config"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/observation"
)

// cuspMock simulates a compact de Vaucouleurs source behind a lens that shines, with 8 x 8 rays in each pixel, and returns its
// config with another supersampling.
func cuspMock(t *testing.T, dir, noise, psf string) func(supersampling string) *Problem {
	model := termtest.WriteText(t, filepath.Join(dir, "model.yaml"), `
data: {size: [90, 80], pixel_scale: 0.05, noise: %s, psf: %s, supersampling: 8}
lens: [{type: sie, priors: {theta_E: {fixed: 1.2}, e1: {fixed: 0.1}, e2: {fixed: 0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
source: [{type: sersic, priors: {amp: {fixed: 1}, r_sersic: {fixed: 0.1}, n: {fixed: 4}, e1: {fixed: 0.1}, e2: {fixed: 0}, center_x: {fixed: 0.053}, center_y: {fixed: 0.071}}}]
lens_light: [{type: sersic, priors: {amp: {fixed: 0.3}, r_sersic: {fixed: 0.5}, n: {fixed: 3}, e1: {fixed: 0.1}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
`, noise, psf)
	testkit.MustRun(t, "mock", model, "-o", filepath.Join(dir, "mock.fits"), "--seed", "1", "--quiet")
	text, err := os.ReadFile(filepath.Join(dir, "mock.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return func(supersampling string) *Problem {
		path := termtest.WriteText(t, filepath.Join(dir, "c.yaml"), "%s", regexp.MustCompile(`\n  supersampling: .*`).ReplaceAllString(string(text), "\n  supersampling: "+supersampling))
		c, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(c, adjoint.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
}

// Adaptive supersampling draws a compact source as 8 x 8 rays everywhere do, within the noise, with a few of them.
func TestAdaptiveSupersamplingFollowsTheLight(t *testing.T) {
	for _, row := range []struct {
		noise, psf      string
		worst, one, all float64 // error in units of the noise of adaptive sampling at the most, of one ray at the least; rays at the most
	}{
		{"2", "{gaussian: 0.045}", 0.5, 4, 3},
		{"{exposure: 2, background: 1}", "{gaussian: 0.045}", 0.5, 4, 3},
		{"2", "{gaussian: 0.07, supersampling: 2}", 0.6, 0.9, 6},
	} {
		open := cuspMock(t, t.TempDir(), row.noise, row.psf)
		image := func(p *Problem) []float64 {
			theta, err := p.Start("", nil)
			if err != nil {
				t.Fatal(err)
			}
			img, err := p.Post.Images(theta)
			if err != nil {
				t.Fatal(err)
			}
			return img.Model.Pix
		}
		fine := image(open("8"))
		error := func(p *Problem) (worst float64) {
			for k, v := range image(p) {
				worst = math.Max(worst, math.Abs(v-fine[k])*p.Post.Noise().Weight[k])
			}
			return worst
		}
		least := "1"
		if strings.Contains(row.psf, "supersampling") {
			least = "2"
		}
		p := open("{adaptive: 8}")
		got, one, rays := error(p), error(open(least)), p.meanRays()
		t.Logf("noise %s, PSF %s: error %.2f σ with %.2f rays a pixel, %.2f σ with %s", row.noise, row.psf, got, rays, one, least)
		if got > row.worst || one < row.one || rays > row.all {
			t.Errorf("noise %s, PSF %s: error %.2f σ with %.2f rays a pixel, %.2f σ with %s; want at most %g with %g", row.noise, row.psf, got, rays, one, least, row.worst, row.all)
		}
		if want := fmt.Sprintf("supersampling: %.3g rays a pixel, up to 8 x 8", rays); !slices.Contains(p.Notices(), want) {
			t.Errorf("got notices %q, want %q", p.Notices(), want)
		}
		if c, err := p.Obs.Coarsen(2); err != nil || c.Rays != nil {
			t.Errorf("an image of larger pixels keeps the rays of the smaller ones (%v)", err)
		}
	}
}

// Rays are chosen from the image alone: a mask changes none, bad pixels get those of what is around them, and noise by itself asks for none.
func TestRaysAreChosenFromTheImage(t *testing.T) {
	open := cuspMock(t, t.TempDir(), "0.1", "none")
	p := open("{adaptive: 4}")
	o, d := *p.Obs, p.Config.Data
	o.Mask = make([]bool, len(o.Data))
	o.Mask[0] = true
	peak := 0
	for k, v := range o.Data {
		if v > o.Data[peak] {
			peak = k
		}
	}
	if err := o.Weigh(); err != nil {
		t.Fatal(err)
	}
	o.ChooseRays(&d)
	if !slices.Equal(o.Rays, p.Obs.Rays) || o.Rays[peak] != 4 || o.Rays[0] != 1 {
		t.Errorf("rays are %v with a mask, want %v", o.Rays, p.Obs.Rays)
	}
	o.Data = slices.Clone(o.Data)
	o.Data[peak] = math.NaN()
	if err := o.Weigh(); err != nil {
		t.Fatal(err)
	}
	if o.ChooseRays(&d); o.Rays[peak] != 4 {
		t.Errorf("a bad pixel at the peak has %d rays along its side, want 4", o.Rays[peak])
	}
	empty := &observation.Observation{W: 90, H: 80, Scale: 0.05, Sigma: []float64{1}, Data: check.Normals(rand.New(rand.NewPCG(71, 1)), 7200)}
	empty.ChooseRays(&d)
	if n := (&Problem{Obs: empty}).meanRays(); n > 1.6 {
		t.Errorf("noise alone gets %g rays a pixel", n)
	}
	c := &config.DataConfig{Supersampling: 4, Tolerance: 0.1} // a mock to be
	if empty.ChooseRays(c); !slices.Equal(empty.Rays, []int{4}) {
		t.Errorf("without an image: got %v", empty.Rays)
	}
}

package coolest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/problem"
	"lenskit/tools/run"
)

// A pixelised source is written as its image with the errors beside it, and read back as the same splines: the likelihood of
// the config that comes of it is that of the run.
func TestPixelisedSourcesGoToCOOLESTAndBack(t *testing.T) {
	dir := t.TempDir()
	coolestRun(t, dir, `
data: {size: [24, 24], pixel_scale: 0.15, noise: 0.05, psf: {gaussian: 0.1}}
lens: [{type: sie, priors: {theta_E: {normal: [1, 0.1], truth: 1}}}]
source: [{type: pixels, grids: [{x: 0.1, half_width: 0.6, nodes: 9}], smoothness: 2, envelope: 1}]
`)
	job, out := filepath.Join(dir, "run"), filepath.Join(dir, "out")
	if code, _, msg := testkit.RunCommand(t, "export-coolest", job, "-o", out, "--own-pixels", "--quiet"); code != 0 {
		t.Fatal(msg)
	}
	for file, plane := range map[string]string{"source.fits": "SOURCE", "source_sd.fits": "SOURCE_SD"} {
		got, err := fits.Read(filepath.Join(out, file))
		if err != nil {
			t.Fatal(err)
		}
		want, err := fits.Read(filepath.Join(job, rundir.FitFITS) + "[" + plane + "]")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Pix, want.Pix) || slices.Max(want.Pix) <= 0 {
			t.Errorf("%s is not the run's %s, or dark", file, plane)
		}
	}
	path := filepath.Join(out, rundir.FileCOOLEST)
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	ran, err := config.Load(filepath.Join(job, rundir.ConfigYAML))
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Source[0].Pixels, ran.Source[0].Pixels
	if !slices.Equal(a.Grids, b.Grids) || a.Smoothness != 2 || a.Components != 1 {
		t.Errorf("got %+v, want %+v", a, b)
	}
	rec, err := run.ReadRecord(job)
	if err != nil {
		t.Fatal(err)
	}
	var lnL [2]float64
	for i, cfg := range []*config.Config{c, ran} {
		p, err := problem.New(cfg, adjoint.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		theta, err := p.Start("", nil)
		if err != nil {
			t.Fatal(err)
		}
		if name := "source.pixels.length_1"; i == 0 {
			want, _ := rec.Parameters.Get(name)
			check.Close(t, name, theta[p.Index[name]], want, 0, 0)
		}
		e, err := p.Post.Eval(theta, false)
		if err != nil {
			t.Fatal(err)
		}
		lnL[i] = e.LogLikelihood
	}
	check.Close(t, "log likelihood", lnL[0], lnL[1], 1e-9, 1)

	// what anybody may have written there is refused
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{"source: [{type: pixel}]": `meta.lenskit_source: `, "lens: [{type: sis}]": "found no source of type pixels"} {
		all["meta"].(map[string]any)["lenskit_source"] = source
		if text, err = json.Marshal(all); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}

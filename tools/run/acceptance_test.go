package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/search"
)

// fitted is what a table tells of one fit.
type fitted struct {
	rec    *Record
	values map[string]float64
	sigma  map[string]float64
}

func runFitOf(t *testing.T, configPath string, seed uint64) fitted {
	t.Helper()
	dir := t.TempDir()
	if b := os.Getenv("LENSKIT_BUNDLE"); b != "" {
		cfg, err := config.Load(configPath)
		if err != nil {
			t.Fatal(err)
		}
		for i := range cfg.Source {
			if cfg.Source[i].Type == "decoder" {
				if cfg.Source[i].Model, err = filepath.Abs(b); err != nil {
					t.Fatal(err)
				}
			}
		}
		configPath = filepath.Join(dir, "config.yaml")
		if err := cfg.Save(configPath); err != nil {
			t.Fatal(err)
		}
	}
	err := Fit(context.Background(), Options{Input: configPath, Output: filepath.Join(dir, "fit"), Search: search.Options{Seed: seed}}, io.Discard, term.NewProgress(io.Discard, true))
	if err != nil && term.ExitCode(err) != term.ExitNotConverged {
		t.Fatalf("%s: %v", configPath, err)
	}
	rec, err := ReadRecord(filepath.Join(dir, "fit"))
	if err != nil {
		t.Fatal(err)
	}
	f := fitted{rec, map[string]float64{}, map[string]float64{}}
	for i, n := range rec.Parameters.Names {
		f.values[n] = rec.Parameters.Values[i]
		f.sigma[n] = rec.Uncertainties.Values[i]
	}
	return f
}

// enoughSignal is the S/N (eq. 24) below which a draw is no lens that anyone would model, by noise: those below it are
// drawn again.
var enoughSignal = map[float64]float64{0.333: 35, 0.1: 120, 0.0333: 350}

// signalToNoise is eqs. 24 and 25 of Chianese et al. (2020): the light in the pixels that stand above the noise once the
// image is blurred by 0.16 arcsec.
func signalToNoise(t *testing.T, path string, sigma, scale float64) float64 {
	t.Helper()
	img, err := fits.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	w, h, pix, err := img.Plane()
	if err != nil {
		t.Fatal(err)
	}
	psf, _, err := physics.NewPSF(physics.PSFSpec{Gaussian: 0.16}, w, h, scale, nil)
	if err != nil {
		t.Fatal(err)
	}
	smooth := make([]float64, len(pix))
	psf.Blur(smooth, pix)
	n, sum := 0, 0.0
	for i, v := range smooth {
		if v >= sigma {
			n++
			sum += pix[i]
		}
	}
	return sum / (sigma * math.Sqrt(float64(max(1, n))))
}

// TestAcceptancePaperMocks fits twenty mocks in the paper's set-up at medium noise, and five each at low and high, their
// lenses and sources drawn from priors of sensible widths.
func TestAcceptancePaperMocks(t *testing.T) {
	termtest.Acceptance(t)
	text, err := os.ReadFile(filepath.Join(check.Root(), "testdata", "paper_prior.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("| seed | noise | S/N | θ_E error % | γ error | χ²/N | status | seconds |\n|---|---|---|---|---|---|---|---|")
	for _, noise := range []float64{0.333, 0.1, 0.0333} {
		seeds, good := 20, 0
		if noise != 0.1 {
			seeds = 5
		}
		for seed, done := 0, 0; done < seeds; seed++ {
			dir := t.TempDir()
			configPath := filepath.Join(dir, "config.yaml")
			if err := os.WriteFile(configPath, []byte(strings.Replace(string(text), "noise: 0.1", fmt.Sprintf("noise: %g", noise), 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			testkit.MustRun(t, "mock", configPath, "--draw", "--seed", fmt.Sprint(seed+1), "-o", filepath.Join(dir, "mock.fits"), "--quiet")
			cfg, err := config.Load(filepath.Join(dir, "mock.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			sn := signalToNoise(t, filepath.Join(dir, "mock.fits"), noise, cfg.Data.PixelScale)
			if sn < enoughSignal[noise] {
				continue
			}
			done++
			truth := map[string]float64{}
			for _, c := range cfg.Components() {
				for i := range c.Params {
					if p := &c.Params[i]; len(p.Prior.Truth) == 1 {
						truth[c.Key(p.Name)] = p.Prior.Truth[0]
					}
				}
			}
			f := runFitOf(t, filepath.Join(dir, "mock.yaml"), uint64(seed+1))
			e := termtest.Einstein(f.values["lens.sple.q"], f.values["lens.sple.r_ein"])/termtest.Einstein(truth["lens.sple.q"], truth["lens.sple.r_ein"]) - 1
			n := float64(f.rec.Pixels)
			chi := float64(f.rec.ReducedChi2)
			fmt.Printf("| %d | %g | %.0f | %+.2f | %+.3f | %.4f | %s | %.0f |\n", seed+1, noise, sn, 100*e, f.values["lens.sple.gamma"]-truth["lens.sple.gamma"], chi, f.rec.Status, f.rec.Seconds)
			if math.Abs(e) < 0.01 && math.Abs(chi-1) < 3*math.Sqrt(2/n) {
				good++
			}
		}
		fmt.Printf("noise %g: %d of %d within 1 %% in θ_E and 3 standard deviations in χ²\n", noise, good, seeds)
		if noise == 0.1 && good < 19 {
			t.Errorf("%d of 20 at medium noise, expected at least 19", good)
		}
	}
}

// TestAcceptanceRealGalaxies fits the mocks that lenstronomy made of real galaxies.
func TestAcceptanceRealGalaxies(t *testing.T) {
	termtest.Acceptance(t)
	root := filepath.Dir(check.Shared(t, "data/mocks/lenstronomy/00/config.yaml"))
	systems, err := filepath.Glob(filepath.Join(filepath.Dir(root), "*", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("| system | noise | θ_E error % | pull | γ error | pull | q error | χ²/N | seconds | status |\n|---|---|---|---|---|---|---|---|---|---|")
	near, gamma, wrong := 0, 0, 0
	for _, config := range systems {
		raw, err := os.ReadFile(filepath.Join(filepath.Dir(config), "truth.json"))
		if err != nil {
			t.Fatal(err)
		}
		var truth struct {
			Lens  map[string]float64
			Noise float64
		}
		if err := json.Unmarshal(raw, &truth); err != nil {
			t.Fatal(err)
		}
		f := runFitOf(t, config, 1)
		q, r := f.values["lens.sple.q"], f.values["lens.sple.r_ein"]
		want := termtest.Einstein(truth.Lens["q"], truth.Lens["r_ein"])
		e := termtest.Einstein(q, r)/want - 1
		// σ of θ_E without the correlation of q and r_ein
		s := math.Hypot(f.sigma["lens.sple.r_ein"]/r, 0.5*f.sigma["lens.sple.q"]/q)
		dg := f.values["lens.sple.gamma"] - truth.Lens["gamma"]
		fmt.Printf("| %s | %g | %+.2f | %+.1f | %+.3f | %+.1f | %+.3f | %.4f | %.0f | %s |\n", filepath.Base(filepath.Dir(config)), truth.Noise, 100*e, e/s,
			dg, dg/f.sigma["lens.sple.gamma"], q-truth.Lens["q"], float64(f.rec.ReducedChi2), f.rec.Seconds, strings.TrimPrefix(f.rec.Status+": "+f.rec.Reason, Converged+": every check passed"))
		if math.Abs(e) < 0.01 {
			near++
		}
		if math.Abs(dg) < 0.1 {
			gamma++
		}
		if math.Abs(e) > 0.03 && f.rec.Status == Converged {
			wrong++
		}
	}
	fmt.Printf("θ_E within 1 %%: %d, γ within 0.1: %d of %d; off by more than 3 %% and called converged: %d\n", near, gamma, len(systems), wrong)
	if wrong > 0 {
		t.Errorf("%d misses called converged", wrong)
	}
}

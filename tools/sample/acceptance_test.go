package sample

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/run"
	"lenskit/tools/search"
)

// TestAcceptanceSamplers prints the table of docs/notes/0006: ways to sample the posterior of a lens at high
// signal to noise, one chain of 500 draws after 50 of warm-up each.
//
//	LENSKIT_ACCEPTANCE=1 go test ./tools/sample -run AcceptanceSamplers -v -timeout 60m
//
// LENSKIT_MOCK names another of the shared mocks than 02, or a config; LENSKIT_LOOKUP asks for one look-up alone.
func TestAcceptanceSamplers(t *testing.T) {
	termtest.Acceptance(t)
	mock := os.Getenv("LENSKIT_MOCK")
	if mock == "" {
		mock = "02"
	}
	configPath := mock
	if !strings.HasSuffix(mock, ".yaml") {
		configPath = check.Shared(t, "data/mocks/lenstronomy/"+mock+"/config.yaml")
	}
	lookups := []string{"bilinear", "bicubic"}
	if l := os.Getenv("LENSKIT_LOOKUP"); l != "" {
		lookups = []string{l}
	}
	ways := []struct {
		name string
		opt  samplers.Options
	}{
		{"hmc, the default", samplers.Options{Method: samplers.HMC, Trajectory: trajectoryLength, Jitter: trajectoryJitter}},
		{"hmc, π/2", samplers.Options{Method: samplers.HMC}},
		{"hmc, 2.8", samplers.Options{Method: samplers.HMC, Trajectory: 2.8, Jitter: trajectoryJitter}},
		{"hmc, leapfrog, 3 to 7 steps", samplers.Options{Method: samplers.HMC, Integrator: samplers.Leapfrog, Steps: 5, Jitter: 0.4}},
		{"nuts", samplers.Options{Method: samplers.NUTS}},
		{"nuts, accept 0.65", samplers.Options{Method: samplers.NUTS, TargetAccept: 0.65}},
	}
	fmt.Println("| look-up | coordinates | way | accept | divergences | step | gradients/draw | ESS of slowest lens parameter | tail | gradients/ESS | of slowest of all | ESS/s | seconds |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, lookup := range lookups {
		dir := t.TempDir()
		cfg, err := config.Load(configPath)
		if err != nil {
			t.Fatal(err)
		}
		for i := range cfg.Source {
			cfg.Source[i].Interpolation = lookup
		}
		own := filepath.Join(dir, "config.yaml")
		if err := cfg.Save(own); err != nil {
			t.Fatal(err)
		}
		fit := filepath.Join(dir, "fit")
		if err := run.Fit(context.Background(), run.Options{Input: own, Output: fit, Search: search.Options{Seed: 1}}, io.Discard, term.NewProgress(io.Discard, true)); err != nil && term.ExitCode(err) != term.ExitNotConverged {
			t.Fatal(err)
		}
		p, err := openProblem(filepath.Join(fit, rundir.ConfigYAML), adjoint.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rec, err := run.ReadRecord(fit)
		if err != nil {
			t.Fatal(err)
		}
		at := &maximum{dir: fit, fit: rec}
		theta, err := at.theta(p)
		if err != nil {
			t.Fatal(err)
		}
		g, err := chooseCoordinates(p, context.Background(), forgetful(context.Background()), theta, (&Settings{Seed: 1}).stream(3))
		if err != nil {
			t.Fatal(err)
		}
		identity, _ := newReparametrisation(p.Post)
		u := make([]float64, p.Post.Dim())
		if err := p.Post.U(u, theta); err != nil {
			t.Fatal(err)
		}
		direct, err := probe(p, context.Background(), forgetful(context.Background()), identity, u, (&Settings{Seed: 1}).stream(3))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s: misfit of the Gaussian in plain coordinates %.4g\n", lookup, direct.misfit)
		for _, way := range ways {
			way.opt.Warmup, way.opt.Draws = 50, 500
			target := g.coords.target(p.Post)
			chains, err := samplers.NewChains(1, func(int) (samplers.Target, error) { return target, nil }, samplers.StartNear(g.normal, g.spread), g.normal.Metric, way.opt, 1)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			var trace samplers.Trace
			if err := samplers.Sample(context.Background(), chains, &trace); err != nil {
				t.Fatal(err)
			}
			took := time.Since(begun).Seconds()
			d := trace.Chains()[0]
			lens, tail, all := math.Inf(1), math.Inf(1), math.Inf(1)
			accept, gradients := 0.0, 0
			for _, in := range d.Info {
				accept += in.AcceptStat / float64(len(d.Info))
				gradients += in.Leapfrogs
			}
			named := make([][]float64, len(d.X))
			for i, v := range d.X {
				target.push(target.u, v)
				named[i] = make([]float64, len(theta))
				p.Post.Theta(named[i], target.u)
			}
			for k, n := range p.Post.Names() {
				if p.Post.Free()[k] < 0 {
					continue
				}
				v := make([]float64, len(named))
				for i := range v {
					v[i] = named[i][k]
				}
				e := samplers.ESSBulk([][]float64{v})
				all = math.Min(all, e)
				if len(n) > 5 && n[:5] == "lens." {
					lens, tail = math.Min(lens, e), math.Min(tail, samplers.ESSTail([][]float64{v}))
				}
			}
			fmt.Printf("| %s | %s | %s | %.2f | %d | %.2f | %.1f | %.0f | %.0f | %.1f | %.1f | %.1f | %.1f |\n", lookup, g.describe(), way.name, accept,
				chains[0].Counts().Divergences, chains[0].StepSize(), float64(gradients)/500, lens, tail, float64(gradients)/lens, float64(gradients)/all, lens/took, took)
		}
		p.Close()
	}
}

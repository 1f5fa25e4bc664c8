package sample_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"lenskit/tools/mock"
	"lenskit/tools/run"
	"lenskit/tools/sample"
	"lenskit/tools/search"
)

const model = `
data: {size: 32, pixel_scale: 0.15, noise: 0.05, psf: {gaussian: 0.15}}
lens: [{type: sis, priors: {theta_E: {truth: 1.2}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
source: [{type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}}}]
`

// Fit a lens, draw from its posterior, and read the summary and the draws.
func ExampleFitAndSample() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "lens.yaml"), []byte(model), 0o666); err != nil {
		panic(err)
	}
	ctx := context.Background()
	made, err := mock.Simulate(ctx, mock.Options{Config: filepath.Join(dir, "lens.yaml"), Output: filepath.Join(dir, "mock.fits"), Seed: 1}, nil)
	if err != nil {
		panic(err)
	}
	fit := run.Options{Input: made.Config, Output: filepath.Join(dir, "fit"), Search: search.Options{Starts: 8, Seed: 1}}
	if err := sample.FitAndSample(ctx, fit, sample.Settings{Warmup: 20, Draws: 50, Chains: 2, Seed: 1}, io.Discard, nil); err != nil {
		panic(err)
	}
	sum, err := sample.ReadSummary(fit.Output)
	if err != nil {
		panic(err)
	}
	radius, _ := sum.Parameters.Get("lens.sis.theta_E")
	draws, err := sample.ReadDraws(fit.Output)
	if err != nil {
		panic(err)
	}
	all, _ := draws.Get("lens.sis.theta_E")
	fmt.Printf("θ_E = %.2f arcsec of %d draws\n", radius.Mean, len(all))
	// Output: θ_E = 1.20 arcsec of 100 draws
}

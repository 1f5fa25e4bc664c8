package coolest_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"lenskit/tools/config"
	"lenskit/tools/coolest"
	"lenskit/tools/mock"
	"lenskit/tools/run"
	"lenskit/tools/search"
)

const model = `
data: {size: 32, pixel_scale: 0.15, noise: 0.05, psf: {gaussian: 0.15}}
lens: [{type: sis, priors: {theta_E: {truth: 1.2}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
source: [{type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}}}]
`

// Write a fit as a COOLEST template, and read that in place of a config.
func ExampleExport() {
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
	if err := run.Fit(ctx, fit, io.Discard, nil); err != nil {
		panic(err)
	}
	files, _, err := coolest.Export(coolest.Options{Dir: fit.Output, LensRedshift: math.NaN(), SourceRedshift: math.NaN()})
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		fmt.Println(filepath.Base(file))
	}
	cfg, err := config.Load(files[0])
	if err != nil {
		panic(err)
	}
	fmt.Println(cfg.Lens[0].Type)
	// Output:
	// coolest.json
	// data.fits
	// noise.fits
	// mask.fits
	// epl
}

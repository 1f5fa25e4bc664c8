package run_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"lenskit/tools/mock"
	"lenskit/tools/run"
	"lenskit/tools/search"
)

const model = `
data: {size: 32, pixel_scale: 0.15, noise: 0.05, psf: {gaussian: 0.15}}
lens: [{type: sis, priors: {theta_E: {truth: 1.2}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
source: [{type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}}}]
`

// Fit a lens and read the record of what was found.
func ExampleFit() {
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
	fit := filepath.Join(dir, "fit")
	err = run.Fit(ctx, run.Options{Input: made.Config, Output: fit, Search: search.Options{Starts: 8, Seed: 1}}, io.Discard, nil)
	if err != nil && !errors.Is(err, run.ErrNotConverged) { // else there is a record, which tells why
		panic(err)
	}
	rec, err := run.ReadRecord(fit)
	if err != nil {
		panic(err)
	}
	radius, _ := rec.Parameters.Get("lens.sis.theta_E")
	fmt.Printf("%s: θ_E = %.2f arcsec\n", rec.Status, radius)
	// Output: converged: θ_E = 1.20 arcsec
}

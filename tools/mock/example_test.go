package mock_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"lenskit/tools/config"
	"lenskit/tools/mock"
)

// Simulate an image, with its noise, of a model. The config written beside it fits it and states the truth.
func ExampleSimulate() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	model := filepath.Join(dir, "lens.yaml")
	err = os.WriteFile(model, []byte(`
data: {size: 48, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens: [{type: sis, priors: {theta_E: {truth: 1.2}}}]
source: [{type: sersic}]
`), 0o666)
	if err != nil {
		panic(err)
	}
	made, err := mock.Simulate(context.Background(), mock.Options{Config: model, Output: filepath.Join(dir, "mock.fits"), Seed: 1}, nil)
	if err != nil {
		panic(err)
	}
	truth, err := config.ReadParams(made.Truth)
	if err != nil {
		panic(err)
	}
	fmt.Println(filepath.Base(made.Image), filepath.Base(made.Config), truth["lens.sis.theta_E"])
	// Output: mock.fits mock.yaml 1.2
}

package vae_test

import (
	"context"
	"fmt"
	"io"

	"lenskit/tools/vae"
)

// Make a decoder bundle of a training run, with weights for PyTorch beside it. Training needs onnxruntime, so this example is
// compiled and not run.
func ExampleExport() {
	opt := vae.ExportOptions{Input: "vae-run", Bundle: "models/mine", Torch: "mine.safetensors", Licence: "CC BY 4.0"}
	if err := vae.Export(opt, io.Discard, nil); err != nil {
		panic(err)
	}
}

// Draw what a bundle makes of a cube of galaxies, into a folder. Compiled and not run, like the one above.
func ExamplePlot() {
	made, numbers, err := vae.Plot(context.Background(), vae.PlotOptions{Bundle: "models/mine", Data: "held.fits", Output: "out/mine"})
	if err != nil {
		panic(err)
	}
	fmt.Println(made, numbers)
}

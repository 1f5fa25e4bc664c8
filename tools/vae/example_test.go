package vae_test

import (
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

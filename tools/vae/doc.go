// Package vae trains variational autoencoders of galaxies (Kingma & Welling 2014; Chianese et al. 2020) through onnxruntime,
// takes and gives PyTorch weights, makes decoder bundles and tells what they can draw.
//
//	err := vae.Train(ctx, options, os.Stdout, nil) // into the folder vae-run
//	err = vae.Export(vae.ExportOptions{Input: "vae-run", Bundle: "models/mine"}, os.Stdout, nil)
package vae

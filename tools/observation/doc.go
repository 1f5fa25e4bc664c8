// Package observation is an image as a fit sees it: pixels, noise, mask, PSF, rays per pixel, neighbours of the lens, coarser
// views, the multi-Gaussian expansion of the galaxy's light.
//
//	cfg, err := config.Load("lens.yaml")
//	obs, err := observation.Read(cfg)
//	obs.Noise.Weight[k] // 1/σ of a pixel, 0 where it is not used
package observation

// Package observation is an image as a fit sees it: pixels, noise, mask, PSF, rays per pixel, neighbours of the lens, coarser
// views, the smooth light of the galaxy.
//
//	cfg, err := config.Load("lens.yaml")
//	obs, err := observation.Read(cfg)
package observation

// Package coolest writes and reads COOLEST, the standard of strong lensing models (Galan et al. 2023). Importing it lets
// config.Load take a template in place of a config.
//
//	unknown := math.NaN() // redshifts that the config does not state
//	files, notices, err := coolest.Export(coolest.Options{Dir: "fit", LensRedshift: unknown, SourceRedshift: unknown})
//	cfg, err := config.Load("fit/coolest/coolest.json")
package coolest

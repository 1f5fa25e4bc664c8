// Package lensing tells what a lens does at fixed parameters: critical curves and caustics, images of a point, the Einstein
// radius of a sum of profiles or of planes.
//
// A Sum is made of physics.Lens values; lengths are in arcsec.
//
//	lens, _ := physics.NewLens("sie")
//	lens.Set([]float64{1.2, 0.1, 0, 0, 0}) // theta_E, e1, e2, center_x, center_y
//	critical, caustics := lensing.Sum{lens}.Curves(3, 3)
package lensing

// Package physics holds the native half of a lens model: mass and light profiles, image lookup, point-spread functions
// and noise, each forward map next to its hand-written adjoint.
//
//	θ grid ──Lens.Deflect──▶ β = θ − α(θ) ──Light.Brightness──▶ I(β) ──PSF.Blur──▶ model ──Noise──▶ log likelihood
//
// A source without a shape of its own is a Pixelised, with the Gaussian prior of its splines; Inversion has the linear algebra by
// which it is solved for.
//
// Lengths are in arcsec, angles in radians counter-clockwise from +x (x right, y up). Pixel (i, j) of a W x H image is
// at ((i-(W-1)/2)Δ, (j-(H-1)/2)Δ) and stored at index j·W+i; row 0 is the lowest y. Pixel values are surface brightness.
//
// Forward methods write or add as they say; reverse methods always add into the caller's adjoints. Nothing allocates
// after construction and Set.
//
//	lens, err := physics.NewLens("sie")
//	err = lens.Set([]float64{1.2, 0.1, 0, 0, 0}) // theta_E, e1, e2, center_x, center_y
//	lens.Deflect(ax, ay, x, y)
package physics

import "errors"

// ErrRange marks parameters outside the range in which a profile is defined: a sampler rejects the point and goes on.
var ErrRange = errors.New("parameter out of range")

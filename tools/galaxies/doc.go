// Package galaxies has sets of images of galaxies to train decoders with: drawn ones, prepared and real ones (COSMOS), and the
// linear decoders of their principal components.
//
//	set, bad, err := galaxies.ReadCube("galaxies.fits") // bad pixels are 0
//	model, err := galaxies.PrincipalComponents(ctx, set, 64, 1, nil)
//	err = model.Write("models/mine", galaxies.Card{Name: "mine", File: "galaxies.fits", Data: set, Latents: 64, Seed: 1, Kept: model.Kept})
package galaxies

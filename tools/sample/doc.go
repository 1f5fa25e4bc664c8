// Package sample draws from the posterior of a fit: coordinates in which it is nearly normal, chains that stop and go on to the
// bit, their diagnostics, moments of the images, corner and trace figures.
//
//	err := sample.Sample(ctx, sample.Options{Input: "fit", Output: "fit"}, io.Discard, nil)
package sample

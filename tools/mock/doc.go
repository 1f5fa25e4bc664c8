// Package mock simulates images of a config's model, with its noise, and writes the config that fits them.
//
//	made, err := mock.Simulate(ctx, mock.Options{Config: "lens.yaml", Output: "mock.fits", Seed: 1}, nil)
package mock

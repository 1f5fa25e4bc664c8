package adjoint_test

import (
	"context"
	"fmt"
	"math"

	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/samplers"
)

// The Einstein radius of an image that the model itself has drawn, found by climbing the log posterior.
func Example() {
	zero := physics.Fixed(0)
	model := adjoint.Model{Components: []adjoint.Component{
		{Group: adjoint.GroupLens, Name: "halo", Kind: "sis", Priors: map[string]adjoint.Prior{
			"theta_E": physics.Normal(1.1, 0.2), "center_x": zero, "center_y": zero}},
		{Group: adjoint.GroupSource, Name: "disc", Kind: "sersic", Priors: map[string]adjoint.Prior{
			"amp": physics.Fixed(1), "r_sersic": physics.Fixed(0.3), "n": physics.Fixed(1), "e1": zero, "e2": zero,
			"center_x": physics.Fixed(0.1), "center_y": zero}},
	}}
	obs := adjoint.Observation{W: 32, H: 32, PixelScale: 0.15, Data: make([]float64, 32*32), Sigma: []float64{0.05}, PSF: physics.PSFSpec{Gaussian: 0.15}}
	blank, err := adjoint.New(model, obs, adjoint.Options{})
	if err != nil {
		panic(err)
	}
	defer blank.Close()
	theta := make([]float64, len(blank.Names()))
	blank.Theta(theta, []float64{0.5}) // half a standard deviation above the prior's mean
	if err := blank.ModelImage(obs.Data, theta); err != nil {
		panic(err)
	}
	post, err := adjoint.New(model, obs, adjoint.Options{})
	if err != nil {
		panic(err)
	}
	defer post.Close()
	res, err := samplers.LevenbergMarquardt(context.Background(), post.MAP(), samplers.NewLMState([]float64{0}), samplers.LMOptions{}, nil)
	if err != nil {
		panic(err)
	}
	post.Theta(theta, res.X)
	fmt.Printf("%s = %.2f arcsec\n", post.Names()[0], theta[0])
	// Output: lens.halo.theta_E = 1.20 arcsec
}

// A source without a shape of its own: what is free of it is the prior of its splines, which are integrated over.
func ExampleNewMarginal() {
	model := adjoint.Model{Components: []adjoint.Component{
		{Group: adjoint.GroupLens, Name: "sis", Kind: "sis", Priors: map[string]adjoint.Prior{
			"theta_E": physics.Normal(1, 0.1), "center_x": physics.Fixed(0), "center_y": physics.Fixed(0)}},
		{Group: adjoint.GroupSource, Name: "pixels", Kind: adjoint.KindPixelised,
			Pixelised: &adjoint.PixelisedSpec{Grids: []physics.SplineGrid{{Half: 0.5, N: 12}}},
			Priors:    map[string]adjoint.Prior{"sigma_1": physics.LogNormal(0, 1), "length_1": physics.LogNormal(-1.5, 0.5)}},
	}}
	obs := adjoint.Observation{W: 30, H: 30, PixelScale: 0.1, Data: make([]float64, 900), Sigma: []float64{0.1}}
	for i := range obs.Data { // a ring
		r := math.Hypot(float64(i%30)-14.5, float64(i/30)-14.5) * obs.PixelScale
		obs.Data[i] = math.Exp(-50 * (r - 1.05) * (r - 1.05))
	}
	post, err := adjoint.NewMarginal(model, obs, adjoint.Options{})
	if err != nil {
		panic(err)
	}
	defer post.Close()
	res, err := samplers.LevenbergMarquardt(context.Background(), post.MAP(), samplers.NewLMState(make([]float64, post.Dim())), samplers.LMOptions{}, nil)
	if err != nil {
		panic(err)
	}
	theta := make([]float64, len(post.Names()))
	post.Theta(theta, res.X)
	given, err := post.Conditional(theta)
	if err != nil {
		panic(err)
	}
	fmt.Println(post.Names())
	fmt.Printf("theta_E = %.2f\n", theta[0])
	fmt.Println(len(given.Sources[0].Mean), "coefficients")
	// Output:
	// [lens.sis.theta_E lens.sis.center_x lens.sis.center_y source.pixels.sigma_1 source.pixels.length_1]
	// theta_E = 1.05
	// 144 coefficients
}

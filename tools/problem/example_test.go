package problem_test

import (
	"fmt"
	"math"

	"lenskit/adjoint"
	"lenskit/tools/config"
	"lenskit/tools/problem"
)

// The log posterior of a config at its start, and its gradient by the names of the parameters.
func Example() {
	cfg, err := config.Parse("lens.yaml", []byte(`
data: {size: 40, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens: [{type: sis, priors: {theta_E: {normal: [1.2, 0.1]}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
source: [{type: sersic, priors: {n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}}}]
`))
	if err != nil {
		panic(err)
	}
	p, err := problem.New(cfg, adjoint.Options{})
	if err != nil {
		panic(err)
	}
	defer p.Close()
	theta, err := p.Start("", nil)
	if err != nil {
		panic(err)
	}
	e, err := p.Post.Eval(theta, true)
	if err != nil {
		panic(err)
	}
	slope, _ := p.Named(e.Grad).Get("lens.sis.theta_E")
	theta[p.Index["lens.sis.theta_E"]] += 1e-4
	after, err := p.Post.Eval(theta, false)
	if err != nil {
		panic(err)
	}
	foreseen := 1e-4 * slope
	fmt.Printf("the log posterior changed by what its gradient says: %t\n", math.Abs(after.LogPosterior()-e.LogPosterior()-foreseen) < 0.01*math.Abs(foreseen))
	// Output:
	// the log posterior changed by what its gradient says: true
}

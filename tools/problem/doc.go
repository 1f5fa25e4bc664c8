// Package problem joins a config and its files into a posterior: names, starts, priors, and the adjoint.Posterior that an
// optimiser or a sampler runs on. Bare makes the config of an image that comes without one.
//
//	p, err := problem.New(cfg, adjoint.Options{})
//	defer p.Close()
//	e, err := p.Post.Eval(theta, true) // log posterior and gradient
package problem

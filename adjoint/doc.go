// Package adjoint is a lens model as one differentiable log density. A Posterior takes unconstrained coordinates to
// physical parameters, these to a model image and that to a log likelihood, and goes the same way back for the exact
// gradient:
//
//	u ──priors──▶ θ ──┬─ latents ── decoder ──▶ source image ─┐
//	                  │                                       ▼
//	                  └─ profiles ─ α(θ) ─▶ rays ─▶ β ──▶ lookup ──▶ PSF ──▶ model ──▶ log likelihood
//
// Each free scalar parameter has a coordinate u in which its prior is a standard normal, θ = F⁻¹(Φ(u)), and so have
// the latents, z = μ + L u with L Lᵀ their covariance. A Posterior shows two densities over u. MAP is the density of the
// named parameters themselves, p(d|θ) p(θ) at θ(u), whose maximum is the maximum a posteriori; Sampling is the density
// of u, p(d|θ) p(θ) |dθ/du|, whose draws are draws of θ.
//
// A source may have no shape of its own: the splines of a pixelised source have a Gaussian prior and are integrated over, and so
// may be the amplitudes of a light. Then the log likelihood is the evidence, and its gradient, as exact, takes another way:
//
//	β ──▶ L (splines at rays) ──▶ F = Lᵀ Bᵀ C⁻¹ B L ──▶ S = F + H ──▶ ŝ, ln|S| ──▶ ln Z
//
// Marginal is such a Posterior, with what the source is at given parameters.
//
// Physics is computed in float64. The decoder runs in float32 through onnxruntime, or in float64 on the device
// "reference"; decode.go alone converts.
//
// Everything is laid out by New: a log density with its gradient allocates nothing. Results on the device "reference",
// and everything outside the decoder, do not depend on the number of threads: work is cut into a number of tiles that
// hangs on the image alone, and sums are taken in their order.
//
//	post, err := adjoint.New(model, obs, adjoint.Options{})
//	defer post.Close()
//	e, err := post.Eval(theta, true) // log posterior and gradient at named parameters
//	res, err := samplers.LevenbergMarquardt(ctx, post.MAP(), samplers.NewLMState(make([]float64, post.Dim())), samplers.LMOptions{}, nil)
package adjoint

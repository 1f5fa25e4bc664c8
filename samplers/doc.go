// Package samplers finds maxima of log densities and draws from them. It knows only a Target: a function that returns
// log p(x) and writes ∇ log p(x), in float64, over all of ℝᴰ.
//
// Most callers need two calls: LevenbergMarquardt (or Adam) for the maximum, and Sample for draws.
//
//	Target ──Adam, LevenbergMarquardt──▶ Result{X, Hess} ──NewMetricHess──▶ *Metric
//	   │                                      │                               │
//	   │                                   Laplace ──▶ *Gaussian ◀── Variational
//	   │                                                 │  Importance: weights and k̂
//	   └──NewChain(target, x, metric, options)──Sample──▶ Recorder: Trace, StanCSV ──Summarize, Verdict──▶ words
//
// Conventions: everything is maximised; x has no bounds (transform before, with the Jacobian); a Metric is a linear
// change of coordinates x = A u with A Aᵀ ≈ the posterior covariance, which is the inverse mass matrix of Stan; the
// momentum kept is the whitened one, Aᵀp, so that it is always drawn from N(0, I).
//
// Run state lives in plain exported structs (AdamState, LMState, ChainState) of finite numbers that encoding/json and
// encoding/gob keep to the bit: a run stopped anywhere and continued from its state gives the same numbers.
//
// A point at which the target fails with a recoverable error (see ErrRecoverable), or has a log density or gradient that
// is not finite, is rejected and counted by reason in Tally; at the start of a run it is an error.
//
//	target := func(chain int) (samplers.Target, error) { return density{}, nil }
//	chains, err := samplers.NewChains(4, target, samplers.StartAt(x), nil, samplers.Options{}, 1)
//	var trace samplers.Trace
//	err = samplers.Sample(ctx, chains, &trace)
//	summary := samplers.Summarize("x2", trace.Draws(1))
package samplers

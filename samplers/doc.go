// Package samplers finds maxima of log densities and draws from them. It knows only a Target.
package samplers

import "errors"

// ErrRecoverable marks a point at which the density cannot be computed: the point is rejected and the run goes on.
var ErrRecoverable = errors.New("point rejected")

package lensing

import (
	"lenskit/physics"
)

// deflector deflects rays.
type deflector interface {
	Deflect(ax, ay, x, y []float64)
	Convergence(kappa, x, y []float64)
}

// Sum is the lenses of a config at fixed parameters, whose deflections add up.
type Sum []deflector

// ToPlane is the way through several lens planes to a source plane.
type ToPlane struct {
	Planes *physics.MultiPlane
	Plane  int
}

func (p ToPlane) Deflect(ax, ay, x, y []float64) { p.Planes.Deflect(ax, ay, nil, x, y, p.Plane) }

func (p ToPlane) Convergence(kappa, x, y []float64) {
	p.Planes.Deflect(make([]float64, len(x)), make([]float64, len(x)), kappa, x, y, p.Plane)
}

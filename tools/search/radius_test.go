package search

import (
	"context"
	"slices"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/samplers"
)

// TestTheLensOfThePixelisedSourceIsHeldThoughARivalIsBetter: where the lens of the pixelised source is put away at middle size, its
// Einstein radius is the one that is held all the same, not a rival's.
func TestTheLensOfThePixelisedSourceIsHeldThoughARivalIsBetter(t *testing.T) {
	p := knotsProblem(t, "sis")
	p.Config.Data.Noise.Fraction = 1e-6 // as of an image whose χ² does not count
	at := func(radius, logProb float64) *StageEnd {
		theta := make([]float64, len(p.Post.Names()))
		p.Post.Theta(theta, make([]float64, p.Post.Dim()))
		theta[p.Index["lens.sis.theta_E"]] = radius
		u, err := coordinates(p.Post, theta)
		if err != nil {
			t.Fatal(err)
		}
		return &StageEnd{U: u, LogProb: logProb, Status: samplers.Converged}
	}
	free, rival := at(1.7, -1000), at(1.1, 0)
	c := newClimber(&Search{Problem: p, Compute: adjoint.Options{Threads: 1}, Saved: &Record{}, Save: func() error { return nil }})
	defer c.close()
	for key, end := range map[string]*StageEnd{"basin 1: everything": free, "basin 2: everything": rival,
		"basin 1: full size": rival, "basin 1: polish": rival, "basin 1: last steps": rival} {
		c.Saved.Done[key] = end
	}
	pixelised := namedTheta(p.Post, free.U)
	radius := new(Lensed).radiusOf(c.Search, pixelised)
	res, err := c.find(context.Background(), fromLensLight[slices.IndexFunc(fromLensLight, func(s Stage) bool { return s.Name == decoderStage }):],
		[]Found{{Theta: pixelised, Radius: radius}, {Theta: namedTheta(p.Post, rival.U), Radius: radius}})
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "radius", namedTheta(p.Post, res.U)["lens.sis.theta_E"], 1.7, 1e-9, 1)
}

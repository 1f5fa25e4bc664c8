package search

import (
	"math"

	"lenskit/tools/config"
)

// deflectionDistance is how far two lenses are from each other: the rms difference of their deflections in arcsec over the inner half of the
// used part of the image. Parameters would not do: an angle and half a turn more, or the axis ratio of a round lens, tell nothing.
func (s *Search) deflectionDistance(a, b config.Named) (float64, error) {
	const n = 16
	half := 0.5 * max(s.Problem.Obs.HalfSides())
	x, y := make([]float64, n*n), make([]float64, n*n)
	for k := range x {
		x[k] = half * (2*(float64(k%n)+0.5)/n - 1)
		y[k] = half * (2*(float64(k/n)+0.5)/n - 1)
	}
	var ax, ay [2][]float64
	for i, v := range []config.Named{a, b} {
		ax[i], ay[i] = make([]float64, n*n), make([]float64, n*n)
		lens, err := s.Problem.Config.Deflection("", v, nil)
		if err != nil {
			return 0, err
		}
		for _, l := range lens {
			l.Deflect(ax[i], ay[i], x, y)
		}
	}
	sum := 0.0
	for k := range x {
		dx, dy := ax[0][k]-ax[1][k], ay[0][k]-ay[1][k]
		sum += dx*dx + dy*dy
	}
	return math.Sqrt(sum / (n * n)), nil
}

// distinct are those found whose lenses differ, of the same ones the first.
func (s *Search) distinct(found []Found) ([]Found, error) {
	var out []Found
	for _, b := range found {
		same, err := s.among(out, b, s.Settings.SameLens)
		if err != nil {
			return nil, err
		}
		if !same {
			out = append(out, b)
		}
	}
	return out, nil
}

// among tells whether a lens is nearer than so many arcsec of deflection to one found.
func (s *Search) among(found []Found, b Found, near float64) (bool, error) {
	for _, o := range found {
		if d, err := s.deflectionDistance(o.Theta, b.Theta); d < near || err != nil {
			return err == nil, err
		}
	}
	return false, nil
}

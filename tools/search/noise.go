package search

import (
	"math"
	"slices"

	"lenskit/tools/observation"
)

// withLightError is the noise of each pixel with the error of profiles added, a fraction of the lens's light.
func withLightError(o *observation.Observation, light []float64, set *Settings) []float64 {
	sigma := o.Sigmas()
	for i, v := range light {
		sigma[i] = math.Hypot(sigma[i], set.LightError*v)
	}
	return sigma
}

// withModelErrors is the observation with the errors of simple models added to the noise: fractions of the lens's light and of
// what lies above it.
func withModelErrors(o *observation.Observation, light []float64, set *Settings) (*observation.Observation, error) {
	sigma := withLightError(o, light, set)
	for i, v := range light {
		if arc := o.Data[i] - v; arc > 0 {
			sigma[i] = math.Hypot(sigma[i], set.ArcError*arc)
		}
	}
	return o.With(o.Data, sigma)
}

// subtracted is the observation with light taken off the data.
func subtracted(o *observation.Observation, light []float64) (*observation.Observation, error) {
	data := slices.Clone(o.Data)
	for i, v := range light {
		data[i] -= v
	}
	return o.With(data, o.Sigma)
}

package search

import (
	"math"
	"slices"

	"lenskit/tools/observation"
)

// withModelErrors is the observation with the errors of simple models added to the noise: fractions of the lens's light and of
// what lies above it.
func withModelErrors(o *observation.Observation, light []float64, set *Settings) *observation.Observation {
	out := *o
	out.Sigma = o.Sigmas()
	for i, v := range light {
		out.Sigma[i] = math.Hypot(out.Sigma[i], set.LightError*v)
		if arc := o.Data[i] - v; arc > 0 {
			out.Sigma[i] = math.Hypot(out.Sigma[i], set.ArcError*arc)
		}
	}
	return &out
}

// withData is the observation with other data.
func withData(o *observation.Observation, data []float64) *observation.Observation {
	out := *o
	out.Data = data
	return &out
}

// subtracted is the observation with light taken off the data.
func subtracted(o *observation.Observation, light []float64) *observation.Observation {
	data := slices.Clone(o.Data)
	for i, v := range light {
		data[i] -= v
	}
	return withData(o, data)
}

// Package stats has the quantiles that the packages of lenskit share.
package stats

import (
	"math"
	"slices"
)

// Quantile is that of numbers in rising order, by linear interpolation between the order statistics: type 7 of Hyndman & Fan
// (1996). p is from 0 to 1. It is NaN when there are none.
func Quantile(order []float64, p float64) float64 {
	if len(order) == 0 {
		return math.NaN()
	}
	h := p * float64(len(order)-1)
	i := int(h)
	if i+1 >= len(order) {
		return order[len(order)-1]
	}
	return order[i] + (h-float64(i))*(order[i+1]-order[i])
}

// Percentile is the value below which a fraction f of the finite values lies, one of them; 0 when there are none. They may come in
// any order and stay so.
func Percentile(v []float64, f float64) float64 {
	s := make([]float64, 0, len(v))
	for _, x := range v {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			s = append(s, x)
		}
	}
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[int(math.Round(f*float64(len(s)-1)))]
}

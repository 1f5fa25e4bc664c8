package stats

import (
	"math"
	"slices"
	"testing"
)

// The values are those of Python's statistics.quantiles(v, n=20, method="inclusive").
func TestQuantileInterpolatesBetweenOrderStatistics(t *testing.T) {
	v := []float64{-3.5, 0.25, 1, 2.5, 2.5, 7, 11.75}
	for p, want := range map[float64]float64{0: -3.5, 0.05: -2.375, 0.3: 0.85, 0.5: 2.5, 0.75: 4.75, 0.95: 10.325, 1: 11.75} {
		if got := Quantile(v, p); math.Abs(got-want) > 1e-14 {
			t.Errorf("%g: got %v, want %v", p, got, want)
		}
	}
	if got := Quantile([]float64{4}, 0.3); got != 4 {
		t.Errorf("of one number: got %v", got)
	}
	if got := Quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("of none: got %v", got)
	}
}

func TestPercentileIsOneOfTheFiniteValues(t *testing.T) {
	v := []float64{7, math.NaN(), -3.5, math.Inf(1), 2.5, 1, math.Inf(-1), 11.75}
	was := slices.Clone(v)
	for f, want := range map[float64]float64{0: -3.5, 0.12: -3.5, 0.13: 1, 0.5: 2.5, 0.74: 7, 1: 11.75} {
		if got := Percentile(v, f); got != want {
			t.Errorf("%g: got %v, want %v", f, got, want)
		}
	}
	if got := Percentile([]float64{math.NaN()}, 0.5); got != 0 {
		t.Errorf("of none: got %v", got)
	}
	for k := range v {
		if v[k] != was[k] && !math.IsNaN(was[k]) {
			t.Error("the values were moved")
		}
	}
}

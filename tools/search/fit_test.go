package search

import (
	"testing"

	"gonum.org/v1/gonum/mat"
	"lenskit/internal/check"
	"lenskit/samplers"
)

// TestErrorsDoNotHangOnAParameterOnItsBound: a coordinate without curvature leaves the others' errors as they are.
func TestErrorsDoNotHangOnAParameterOnItsBound(t *testing.T) {
	for _, none := range []float64{0, -1e-12, 1e-27} {
		h := mat.NewSymDense(3, []float64{4, 1e-14, 1, 1e-14, none, 0, 1, 0, 2})
		g, err := samplers.Laplace(make([]float64, 3), OffBounds(h), 0)
		if err != nil {
			t.Fatalf("curvature %g: %v", none, err)
		}
		cov := g.Metric.Cov()
		check.Close(t, "variance of the first", cov.At(0, 0), 2.0/7, 1e-12, 0)
		check.Close(t, "variance of the third", cov.At(2, 2), 4.0/7, 1e-12, 0)
		check.Close(t, "variance on the bound", cov.At(1, 1), 1, 1e-12, 0)
	}
	if h := mat.NewSymDense(2, []float64{2, 1, 1, 3}); !mat.Equal(OffBounds(h), h) {
		t.Error("a curvature in order is changed")
	}
}

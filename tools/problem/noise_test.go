package problem

import (
	"math/rand/v2"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/config"
	"lenskit/tools/observation"
)

func TestResidualsAreStandardised(t *testing.T) {
	p := &Problem{Config: &config.Config{StudentT: 4}, Index: map[string]int{"noise.scale": 0}}
	rng := rand.New(rand.NewPCG(43, 1))
	o := &observation.Observation{W: 50000, H: 1, Sigma: []float64{1}}
	r, _ := o.Simulate(make([]float64, 50000), true, 1.7, 4, rng)
	p.Standardise(r, []float64{1.7})
	sum := 0.0
	for _, v := range r {
		sum += v * v
	}
	check.Close(t, "mean square", sum/50000, 1, 0.03, 0)
	one := []float64{1e6}
	if p.Standardise(one, []float64{1}); one[0] > 20 {
		t.Errorf("an outlier counts %g", one[0])
	}
}

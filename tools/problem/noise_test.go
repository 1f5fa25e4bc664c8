package problem

import (
	"math/rand/v2"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/tools/config"
	"lenskit/tools/observation"
)

func TestResidualsAreStandardised(t *testing.T) {
	cfg, err := config.Parse("c.yaml", []byte("data: {size: 8, pixel_scale: 0.1, noise: 1}\nlens: [{type: sis}]\nsource: [{type: sersic}]\nlikelihood: {student_t: {nu: 4}}\nnoise_scale: {lognormal: [0, 1]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(cfg, adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	at := func(scale float64) []float64 {
		theta, err := p.Start("", config.Named{"noise.scale": scale})
		if err != nil {
			t.Fatal(err)
		}
		return theta
	}
	rng := rand.New(rand.NewPCG(43, 1))
	o := &observation.Observation{W: 50000, H: 1, Sigma: []float64{1}}
	r, _ := o.Simulate(make([]float64, 50000), true, 1.7, 4, rng)
	p.Standardise(r, at(1.7))
	sum := 0.0
	for _, v := range r {
		sum += v * v
	}
	check.Close(t, "mean square", sum/50000, 1, 0.03, 0)
	one := []float64{1e6}
	if p.Standardise(one, at(1)); one[0] > 20 {
		t.Errorf("an outlier counts %g", one[0])
	}
}

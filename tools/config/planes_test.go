package config

import (
	"math"
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/tools/internal/termtest"
)

func TestCosmologyIsFlatUnlessOmegaLambdaIsGiven(t *testing.T) {
	for text, want := range map[string]physics.Cosmology{
		"":                                     {H0: 70, OmegaM: 0.3, OmegaLambda: 0.7},
		"cosmology:":                           {H0: 70, OmegaM: 0.3, OmegaLambda: 0.7},
		"cosmology: {Omega_m: 0.25}":           {H0: 70, OmegaM: 0.25, OmegaLambda: 0.75},
		"cosmology: {H0: 50, Omega_lambda: 0}": {H0: 50, OmegaM: 0.3, OmegaLambda: 0},
	} {
		c, err := Parse("c.yaml", []byte("lens: [{type: sis}]\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		if c.Cosmology != want {
			t.Errorf("%q: got %+v, want %+v", text, c.Cosmology, want)
		}
	}
}

// Light of a source between the lenses is deflected by the nearer one alone, by its share of the distances.
func TestDeflectionToEachSource(t *testing.T) {
	c, err := Parse("c.yaml", []byte(termtest.PlanesConfig))
	if err != nil {
		t.Fatal(err)
	}
	d := c.Cosmology.AngularDiameterDistance
	w := d(0.5, 0.8) * d(0, 2.25) / (d(0, 0.8) * d(0.5, 2.25))
	for _, s := range []struct {
		from         *Component
		alpha, kappa float64
	}{{&c.Source[1], w, w / 4}, {&c.Source[0], 1.5, 1.5 / 4}, {nil, 1.5, 1.5 / 4}} {
		lens, err := c.Deflection("", nil, s.from)
		if err != nil {
			t.Fatal(err)
		}
		ax, ay := lens.Source([]float64{2}, []float64{0})
		check.Close(t, "α_x", 2-ax[0], s.alpha, 1e-13, 1)
		check.Close(t, "α_y", -ay[0], 0, 1e-13, 1)
		var kappa [1]float64
		for _, l := range lens {
			l.Convergence(kappa[:], []float64{2}, []float64{0})
		}
		// tangential derivative of the far one: where the ray crosses it, θ_E/r times that of the ray there
		want := s.kappa
		if s.alpha == 1.5 {
			b := d(0.5, 0.9) * d(0, 2.25) / (d(0, 0.9) * d(0.5, 2.25))
			want = 0.5 * (0.5 + 0.5/math.Abs(2-b-1)*(1-b/2))
		}
		check.Close(t, "κ", kappa[0], want, 1e-13, 1)
	}
}

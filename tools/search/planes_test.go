package search

import (
	"strings"
	"testing"

	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/termtest"
)

func TestRedshiftsSurviveInTheConfigWritten(t *testing.T) {
	c, err := config.Parse("c.yaml", []byte(termtest.PlanesConfig))
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Parse("c.yaml", []byte(c.Text(".")))
	if err != nil {
		t.Fatal(err)
	}
	if !again.SeveralPlanes() || again.Cosmology != (physics.Cosmology{H0: 67.5, OmegaM: 0.3, OmegaLambda: 0.65}) {
		t.Errorf("got %+v", again.Cosmology)
	}
	for i, z := range []float64{0.9, 0.5, 2.25, 0.8} {
		if got := again.Components()[i].Redshift; got != z {
			t.Errorf("component %d: got redshift %g, want %g", i, got, z)
		}
	}
	// what the search puts in place of decoders stands where they stood
	dec := strings.Replace(termtest.PlanesConfig, "type: sersic, redshift", "type: decoder, redshift", 1)
	if c, err = config.Parse("c.yaml", []byte(dec)); err != nil {
		t.Fatal(err)
	}
	if s := simplified(c, 1, defaults()); s.Source[0].Type != "sersic" || s.Source[0].Redshift != 2.25 || s.Cosmology != c.Cosmology {
		t.Errorf("got %+v", s.Source[0])
	}
}

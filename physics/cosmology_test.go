package physics

import (
	"math"
	"testing"

	"lenskit/internal/check"
)

// Distances agree with astropy's, which testdata/cosmology.py stored.
func TestDistancesOfFlatAndOpenUniverses(t *testing.T) {
	tab := readTable(t, "testdata/cosmology.csv")
	for i := range tab["z1"] {
		v := tab.row(i, "h0", "omega_m", "omega_lambda", "z1", "z2")
		c := Cosmology{v[0], v[1], v[2]}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		const tol = 1e-12
		check.Close(t, "E", c.E(v[4]), tab["e"][i], tol, 0)
		check.Close(t, "comoving distance", c.ComovingDistance(v[3], v[4]), tab["comoving"][i], tol, 0)
		check.Close(t, "angular diameter distance", c.AngularDiameterDistance(v[3], v[4]), tab["angular"][i], tol, 0)
	}
}

// Without a cosmological constant the distances are known in closed form (Mattig 1958).
func TestDistancesInClosedForm(t *testing.T) {
	for _, om := range []float64{1, 0.3, 0.1} {
		c := Cosmology{70, om, 0}
		for _, z := range []float64{0.01, 0.5, 3, 50} {
			want := c.HubbleDistance() * 2 * (2 - om + om*z - (2-om)*math.Sqrt(1+om*z)) / (om * om * (1 + z))
			check.Close(t, "transverse distance", c.TransverseDistance(0, z), want, 1e-10, 0) // the closed form cancels
		}
	}
}

func TestCosmologyRefusesClosedAndEmptyUniverses(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []Cosmology{{70, 0.3, 0.71}, {70, 1.1, 0}, {70, 0, 0.7}, {70, -0.1, 0.7}, {0, 0.3, 0.7}, {70, 0.3, -0.1},
		{nan, 0.3, 0.7}, {inf, 0.3, 0.7}, {70, nan, 0.7}, {70, inf, 0.7}, {70, 0.3, nan}, {70, 0.3, inf}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	if c := FlatCosmology(70, 0.315); c.Validate() != nil || c.curvature() != 0 {
		t.Errorf("%+v is not flat", c)
	}
}

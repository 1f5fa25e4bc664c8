package lensing

import (
	"math"
	"testing"

	"lenskit/physics"
)

// A lens steeper than isothermal, or as steep, has one critical curve, a shallower one a second around its centre.
func TestCriticalCurvesOfPowerLaws(t *testing.T) {
	for _, c := range []struct {
		gamma float64
		want  int
	}{{1.7, 2}, {2, 1}, {2.0267, 1}, {2.3, 1}} {
		for _, at := range [][2]float64{{0, 0}, {-0.0095, 0.0101}, {0.013, 0.0071}} {
			l, err := physics.NewLens("epl")
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Set([]float64{1.468, c.gamma, 0.025, 0.065, at[0], at[1]}); err != nil {
				t.Fatal(err)
			}
			critical, caustics := Sum{l}.Curves(5, 5)
			if len(critical) != c.want || len(caustics) != c.want {
				t.Errorf("gamma %v at %v: %d critical curves, want %d", c.gamma, at, len(critical), c.want)
			}
			if lo, hi := bounds(critical[0]); math.Abs(hi.X-lo.X-2*1.468) > 0.2 {
				t.Errorf("gamma %v at %v: the outer curve is %v wide", c.gamma, at, hi.X-lo.X)
			}
		}
	}
}

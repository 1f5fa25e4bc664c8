package search

import (
	"math"
	"math/rand/v2"
	"testing"

	"lenskit/internal/check"
)

// Against sums over a grid: a Gaussian cut at both ends, and a curvature of zero, where the tail is exponential.
func TestTailLimitHoldsItsShare(t *testing.T) {
	for _, c := range []struct{ g, h, at, room float64 }{
		{-3, 2, 0.3, math.Inf(1)}, {0, 5, 0, math.Inf(1)}, {1, 4, 0.2, 1.5}, {-2, 0, 0.7, math.Inf(1)}, {-0.5, 0, 0, 2}, {-40, 0.1, 0.01, 1}, {-20, 3, 0.1, math.Inf(1)},
	} {
		got := tailLimit(c.g, c.h, c.at, c.room)
		end := math.Min(c.room, 20)
		below, all := 0.0, 0.0
		const n = 400000
		for k := range n {
			x := (float64(k) + 0.5) / n * end
			p := math.Exp(c.g*(x-c.at) - 0.5*c.h*(x-c.at)*(x-c.at))
			all += p
			if x < got {
				below += p
			}
		}
		check.Close(t, "share", below/all, 0.95, 2e-3, 0)
	}
}

// TestDrawsThatPileUpHaveALimit: quantiles of half a Gaussian and of an exponential density, by their distribution functions;
// a Gaussian two standard deviations off, and draws without a bound, have none.
func TestDrawsThatPileUpHaveALimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	draws := func(f func() float64) []float64 {
		v := make([]float64, 40000)
		for i := range v {
			v[i] = f()
		}
		return v
	}
	zero := [2]float64{0, math.Inf(1)}
	half := draws(func() float64 { return math.Abs(rng.NormFloat64()) })
	l := PiledUp(half, zero)
	if l == nil || l.Upper == nil {
		t.Fatalf("half a Gaussian: got %+v", l)
	}
	check.Close(t, "half a Gaussian", float64(*l.Upper), 1.95996, 0.03, 0)
	l = PiledUp(draws(func() float64 { return 1 - 0.1*rng.ExpFloat64() }), [2]float64{0.2, 1})
	if l == nil || l.Lower == nil {
		t.Fatalf("an exponential below 1: got %+v", l)
	}
	check.Close(t, "an exponential", float64(*l.Lower), 1-0.1*math.Log(20), 0.01, 0)
	off := draws(func() float64 {
		for {
			if v := 2 + rng.NormFloat64(); v > 0 {
				return v
			}
		}
	})
	if l := PiledUp(off, zero); l != nil {
		t.Errorf("a Gaussian two standard deviations off: got %v", l)
	}
	if l := PiledUp(half, [2]float64{math.Inf(-1), math.Inf(1)}); l != nil {
		t.Errorf("without a bound: got %v", l)
	}
}

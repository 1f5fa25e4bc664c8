package tools

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lenskit/adjoint"
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

// boundModel has a perturber without mass.
const boundModel = `
data: {size: 40, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2}, e1: {fixed: 0.1}, e2: {fixed: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
  - {type: sis, name: perturber, priors: {theta_E: {truth: 0.0001, uniform: [0, 0.3]}, center_x: {fixed: 0.9}, center_y: {fixed: 0.8}}}
source:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0.05}, center_y: {fixed: 0.1}}}
`

// TestAParameterOnItsBoundHasALimit: the limit of a perturber that is not there holds 95 % of the posterior, by a sum over a
// grid of the free parameters.
func TestAParameterOnItsBoundHasALimit(t *testing.T) {
	dir := t.TempDir()
	const name = "lens.perturber.theta_E"
	found := false
	for seed := uint64(1); seed < 6 && !found; seed++ { // noise of which the perturber does not make use
		config := testMock(t, dir, boundModel, "--seed", strconv.FormatUint(seed, 10))
		out := filepath.Join(dir, "fit")
		var told strings.Builder
		Fit(context.Background(), FitOptions{Input: config, Output: out, Search: searchOptions{Seed: 1, Starts: 4}}, &told, newProgress(io.Discard, true))
		rec, err := readFitRecord(out)
		if err != nil {
			t.Fatal(err)
		}
		l := rec.Limits[name]
		if l == nil {
			continue
		}
		found = true
		if l.Upper == nil || l.Lower != nil || l.Level != 0.95 {
			t.Fatalf("got %+v", l)
		}
		if !regexp.MustCompile(`lens\.perturber\.theta_E +0 \(on a bound\), < 0\.0\d+ \(95 %\)`).MatchString(told.String()) {
			t.Errorf("no limit in\n%s", told.String())
		}
		cfg, err := loadConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newProblem(cfg, adjoint.Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		centre := slices.Clone(rec.Parameters.values)
		sigma := rec.Uncertainties.values
		at := p.index[name]
		var rest []int
		for i, f := range p.Post.Free() {
			if f >= 0 && i != at {
				rest = append(rest, i)
			}
		}
		if len(rest) != 3 {
			t.Fatalf("%d other free parameters", len(rest))
		}
		var mass []float64
		const steps = 24
		most := 4 * float64(*l.Upper)
		for k := range steps {
			theta := slices.Clone(centre)
			theta[at] = (float64(k) + 0.5) / steps * most
			sum := 0.0
			// the valley is narrow: a grid over ± 6 standard deviations of the others
			const side = 9
			for n := range side * side * side {
				for a, i := range rest {
					step := n
					for range a {
						step /= side
					}
					theta[i] = centre[i] + sigma[i]*12*(float64(step%side)/(side-1)-0.5)
				}
				if e, err := p.Post.Eval(theta, false); err == nil {
					sum += math.Exp(e.LogPosterior() - float64(rec.LogPosterior))
				}
			}
			mass = append(mass, sum)
		}
		all, below := 0.0, 0.0
		for k, m := range mass {
			all += m
			x0, x1 := float64(k)/steps*most, float64(k+1)/steps*most
			below += m * math.Min(1, math.Max(0, (float64(*l.Upper)-x0)/(x1-x0)))
		}
		if share := below / all; math.Abs(share-0.95) > 0.03 {
			t.Errorf("%.3f of the posterior lie below the limit %.4g, want 0.95 (%.3g)", share, float64(*l.Upper), mass)
		}
	}
	if !found {
		t.Error("no mock in which the perturber ends at zero")
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
	l := piledUp(half, zero)
	if l == nil || l.Upper == nil {
		t.Fatalf("half a Gaussian: got %+v", l)
	}
	check.Close(t, "half a Gaussian", float64(*l.Upper), 1.95996, 0.03, 0)
	l = piledUp(draws(func() float64 { return 1 - 0.1*rng.ExpFloat64() }), [2]float64{0.2, 1})
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
	if l := piledUp(off, zero); l != nil {
		t.Errorf("a Gaussian two standard deviations off: got %v", l)
	}
	if l := piledUp(half, [2]float64{math.Inf(-1), math.Inf(1)}); l != nil {
		t.Errorf("without a bound: got %v", l)
	}
}

package run

import (
	"context"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lenskit/adjoint"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/problem"
	"lenskit/tools/search"
)

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
		configPath := testkit.TestMock(t, dir, boundModel, "--seed", strconv.FormatUint(seed, 10))
		out := filepath.Join(dir, "fit")
		var told strings.Builder
		Fit(context.Background(), Options{Input: configPath, Output: out, Search: search.Options{Seed: 1, Starts: 4}}, &told, term.NewProgress(io.Discard, true))
		rec, err := ReadRecord(out)
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
		cfg, err := config.Load(configPath)
		if err != nil {
			t.Fatal(err)
		}
		p, err := problem.New(cfg, adjoint.Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		centre := slices.Clone(rec.Parameters.Values)
		sigma := rec.Uncertainties.Values
		at := p.Index[name]
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

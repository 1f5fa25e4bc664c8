package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
)

// An angle takes the copy that its prior holds likeliest, within its bounds, and nothing else moves.
func TestAnglesEndAtTheirLikeliestCopies(t *testing.T) {
	for _, c := range []struct {
		prior    string
		at, want float64
	}{
		{"{normal: [0, 1]}", 2.5, 2.5 - math.Pi},
		{"{normal: [0, 1]}", -1.5, -1.5},
		{"{normal: [0, 1]}", 1.5, 1.5},
		{"{normal: [0, 1]}", 30, 30 - 10*math.Pi},
		{"{normal: [7, 1]}", 0.5, 0.5 + 2*math.Pi},
		{"{normal: [0, 1e4]}", 3e4, 3e4 - math.Pi*math.Round(3e4/math.Pi)},
		{"{normal: [0, 1], bounds: [0, 3.2]}", 2.5, 2.5}, // the copy is out of bounds
		{"{uniform: [-10, 10]}", 2.5, 2.5},               // none is likelier
		{"{lognormal: [0, 0.5]}", 6.5, 6.5 - 2*math.Pi},
		{"{normal: [1, 0.5], bounds: [-1.5, 4.5]}", -1, math.Pi - 1},
	} {
		t.Run(fmt.Sprint(c.prior, c.at), func(t *testing.T) {
			cfg, err := parseConfig("c.yaml", fmt.Appendf(nil, "data: {size: 8, pixel_scale: 0.1, noise: 1}\nlens: [{type: sple, priors: {phi: %s, gamma: {fixed: 2}}}, {type: shear}]\nsource: [{type: sersic}]\n", c.prior))
			if err != nil {
				t.Fatal(err)
			}
			p, err := newProblem(cfg, adjoint.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			u := make([]float64, p.Post.Dim())
			for i := range u {
				u[i] = 0.1 * float64(i%7)
			}
			theta := make([]float64, len(p.Post.Names()))
			p.Post.Theta(theta, u)
			k := p.index["lens.sple.phi"]
			f := p.Post.Free()[k]
			theta[k] = c.at
			w := make([]float64, len(u))
			if err := p.Post.U(w, theta); err != nil {
				t.Fatal(err)
			}
			u[f] = w[f]
			got := p.likeliestAngles(u)
			if (got == nil) != (c.want == c.at) {
				t.Fatalf("got %v, want a change: %v", got, c.want != c.at)
			}
			if got == nil {
				return
			}
			p.Post.Theta(theta, got)
			check.Close(t, "phi", theta[k], c.want, 1e-6, 1)
			for i := range u {
				if i != f && got[i] != u[i] {
					t.Errorf("coordinate %d went from %v to %v", i, u[i], got[i])
				}
			}
		})
	}
}

// A fit that starts, and would end, half a turn off ends as one that starts at the likeliest angle: same angle, error and log posterior.
func TestFitsHalfATurnOffEndAtTheLikeliestAngle(t *testing.T) {
	dir := t.TempDir()
	model := func(data, init string) []byte {
		return fmt.Appendf(nil, `data: {%s, pixel_scale: 0.1, noise: 0.05}
lens: [{type: sple, priors: {r_ein: {truth: 1.3, init: 1.3}, q: {truth: 0.7, init: 0.7}, phi: {truth: -0.8, init: %s}, gamma: {fixed: 2}, x: {fixed: 0}, y: {fixed: 0}}}]
source: [{type: sersic, priors: {amp: {lognormal: [0, 1], truth: 1, init: 1}, r_sersic: {truth: 0.25, init: 0.25}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {truth: 0.05, init: 0.05}, center_y: {truth: 0.08, init: 0.08}}}]
`, data, init)
	}
	sim := filepath.Join(dir, "sim.yaml")
	if err := os.WriteFile(sim, model("size: 40", "-0.8"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := Run(context.Background(), []string{"lenskit", "mock", sim, "-o", filepath.Join(dir, "mock.fits"), "--quiet"}, &out, &errs); code != 0 {
		t.Fatal(errs.String())
	}
	fit := func(name, init string) (rec fitRecord) {
		t.Helper()
		path := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(path, model(`image: "mock.fits[0]"`, init), 0o644); err != nil {
			t.Fatal(err)
		}
		opt := FitOptions{Input: path, Output: filepath.Join(dir, name), Search: searchOptions{Seed: 1}}
		if err := Fit(context.Background(), opt, io.Discard, newProgress(io.Discard, true)); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, name, "fit.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &rec); err != nil {
			t.Fatal(err)
		}
		return rec
	}
	near, far := fit("near", "-0.8"), fit("far", "2.3416")
	for i, name := range near.Parameters.names {
		check.Close(t, name, far.Parameters.values[i], near.Parameters.values[i], 1e-4, 1)
		check.Close(t, "error of "+name, far.Uncertainties.values[i], near.Uncertainties.values[i], 1e-3, 1)
	}
	check.Close(t, "log posterior", float64(far.LogPosterior), float64(near.LogPosterior), 1e-3, 1)
}

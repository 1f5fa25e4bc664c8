package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/internal/term"
	"lenskit/tools/run"
	"lenskit/tools/search"
)

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
	fit := func(name, init string) (rec run.Record) {
		t.Helper()
		path := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(path, model(`image: "mock.fits[0]"`, init), 0o644); err != nil {
			t.Fatal(err)
		}
		opt := run.Options{Input: path, Output: filepath.Join(dir, name), Search: search.Options{Seed: 1}}
		if err := run.Fit(context.Background(), opt, io.Discard, term.NewProgress(io.Discard, true)); err != nil {
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
	for i, name := range near.Parameters.Names {
		check.Close(t, name, far.Parameters.Values[i], near.Parameters.Values[i], 1e-4, 1)
		check.Close(t, "error of "+name, far.Uncertainties.Values[i], near.Uncertainties.Values[i], 1e-3, 1)
	}
	check.Close(t, "log posterior", float64(far.LogPosterior), float64(near.LogPosterior), 1e-3, 1)
}

package run

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"lenskit/adjoint"
	"lenskit/tools/config"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/problem"
	"lenskit/tools/search"
)

// TestARecordIsConvergedOnlyWithoutDoubts: and the doubts that a record adds to those of the search are raised.
func TestARecordIsConvergedOnlyWithoutDoubts(t *testing.T) {
	dir := t.TempDir()
	path := testkit.FitTestMock(t, dir)
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := problem.New(cfg, adjoint.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	curved := func(value float64) *mat.SymDense {
		h := mat.NewSymDense(p.Post.Dim(), nil)
		for i := range p.Post.Dim() {
			h.SetSym(i, i, value)
		}
		return h
	}
	radius := p.Post.Free()[p.Index["lens.sie.theta_E"]]
	found := func(change func(r *search.Result)) func() *Record {
		return func() *Record {
			r := &search.Result{U: make([]float64, p.Post.Dim()), Hess: curved(1)}
			change(r)
			rec, _, err := RecordOf(p, r)
			if err != nil {
				t.Fatal(err)
			}
			return rec
		}
	}
	doubt := func(k search.DoubtKind) search.Doubt { return search.NewDoubt(k, math.NaN(), math.NaN(), "words") }
	for name, c := range map[string]struct {
		rec    func() *Record
		status string
		codes  []string
		reason string
	}{
		"no doubt":     {found(func(r *search.Result) {}), Converged, nil, "every check passed"},
		"undetermined": {found(func(r *search.Result) { r.Hess = curved(math.NaN()) }), NotConverged, []string{"not_finite", "undetermined"}, "the curvature at the maximum is not finite; also: the data do not determine lens.sie.theta_E"},
		"on a bound":   {found(func(r *search.Result) { r.U[radius] = 40 }), NotConverged, []string{"on_bound"}, "lens.sie.theta_E sits on a bound of its prior"},
		"one of the search": {found(func(r *search.Result) { r.Doubts = search.Doubts{doubt(search.NotFinite)}; r.U[radius] = 40 }), NotConverged, []string{"not_finite", "on_bound"},
			"words; also: lens.sie.theta_E sits on a bound of its prior"},
		"given up": {found(func(r *search.Result) {
			r.Doubts, r.GivenUp = search.Doubts{doubt(search.NotFinite)}, true
			r.U[radius] = 40
		}), NotConverged, []string{"not_finite"}, "words"},
		"failed": {func() *Record { rec, _ := failed(p, errors.New("not to be computed")); return rec }, Failed, []string{"not_computed"}, "not to be computed"},
	} {
		rec := c.rec()
		var codes []string
		for _, d := range rec.Doubts {
			codes = append(codes, d.Code)
		}
		if rec.Status != c.status || rec.Reason != c.reason || !slices.Equal(codes, c.codes) {
			t.Errorf("%s: got %s, %q, %v, want %s, %q, %v", name, rec.Status, rec.Reason, codes, c.status, c.reason, c.codes)
		}
		text, err := json.Marshal(rec)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if strings.Contains(string(text), `"doubts":null`) {
			t.Errorf("%s: doubts are null", name)
		}
	}
}

// TestASourceHeldBelowTheNoiseEndsInAVerdict: with its amplitude fixed and its shape free the search goes to its end, where
// what a verdict looks at is no number.
func TestASourceHeldBelowTheNoiseEndsInAVerdict(t *testing.T) {
	dir := t.TempDir()
	testkit.TestMock(t, dir, `
data: {size: 48, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens: [{type: sis, priors: {theta_E: {truth: 1.2}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
source: [{type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0.1}, center_y: {fixed: 0}}}]
lens_light: [{type: sersic, priors: {amp: {truth: 1}, r_sersic: {fixed: 0.6}, n: {fixed: 2}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
`)
	text := `
data: {image: mock.fits, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens: [{type: sis, priors: {theta_E: {init: 1.2}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
source: [{type: sersic, priors: {amp: {fixed: 1e-300}, r_sersic: {init: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0.1}, center_y: {fixed: 0}}}]
lens_light: [{type: sersic, priors: {amp: {init: 1}, r_sersic: {fixed: 0.6}, n: {fixed: 2}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
`
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	fit := Options{Input: path, Output: filepath.Join(dir, "fit"), Search: search.Options{Seed: 1}}
	err := Fit(context.Background(), fit, io.Discard, term.NewProgress(io.Discard, true))
	if term.ExitCode(err) != term.ExitNotConverged {
		t.Fatalf("got %v", err)
	}
	rec, err := ReadRecord(fit.Output)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Lensing == nil || term.Finite(float64(rec.Lensing.Explained)) || !slices.ContainsFunc(rec.Doubts, func(d search.Doubt) bool { return d.Code == "source_dark" }) {
		t.Errorf("got %+v, %+v", rec.Lensing, rec.Doubts)
	}
}

// TestAnOlderRecordIsRead: one without doubts.
func TestAnOlderRecordIsRead(t *testing.T) {
	dir := t.TempDir()
	text := `{"status": "not_converged", "reason": "words", "parameters": {"sky": 1}, "uncertainties": {"sky": 0.1}}`
	if err := os.WriteFile(filepath.Join(dir, rundir.FitJSON), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	rec, err := ReadRecord(dir)
	if err != nil || rec.Reason != "words" || rec.Doubts != nil {
		t.Errorf("got %+v, %v", rec, err)
	}
}

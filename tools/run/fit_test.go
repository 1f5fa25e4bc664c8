package run

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/search"
)

func TestAStoppedFitSavesItselfAndEndsWhereAnUnstoppedOneDoes(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	fit := func(ctx context.Context, out string) error {
		opt := Options{Input: config, Output: filepath.Join(dir, out), Search: search.Options{Starts: 8, Seed: 3}}
		return Fit(ctx, opt, io.Discard, term.NewProgress(io.Discard, true))
	}
	if err := fit(context.Background(), "whole"); err != nil {
		t.Fatal(err)
	}
	stops := 0
	for wait := 100 * time.Millisecond; ; wait += wait / 8 {
		ctx, cancel := context.WithTimeoutCause(context.Background(), wait, term.Stopped{Signal: syscall.SIGTERM})
		err := fit(ctx, "parts")
		cancel()
		if err == nil {
			break
		}
		if term.ExitCode(err) != term.ExitInterrupted {
			t.Fatalf("got exit code %d: %v", term.ExitCode(err), err)
		}
		if _, err := os.Stat(filepath.Join(dir, "parts", rundir.CheckpointName)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "parts", rundir.FitJSON)); err == nil {
			t.Fatal("a stopped fit has written results")
		}
		if stops++; stops > 40 {
			t.Fatal("does not get on")
		}
	}
	a, err := ReadRecord(filepath.Join(dir, "whole"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := ReadRecord(filepath.Join(dir, "parts"))
	if err != nil {
		t.Fatal(err)
	}
	a.Seconds, b.Seconds, a.Sum, b.Sum = 0, 0, "", ""
	if !reflect.DeepEqual(a, b) {
		t.Errorf("after %d stops: got %+v, want %+v", stops, b, a)
	}
	t.Logf("stopped %d times", stops)
}

func TestRecordKeepsTheOrderOfItsParameters(t *testing.T) {
	r := Record{Parameters: term.OrderedValues{Names: []string{"z.2", "z.10", "a"}, Values: []float64{1, 0.1, 1e-300}}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var s Record
	if err := json.Unmarshal(b, &s); err != nil || !reflect.DeepEqual(s.Parameters, r.Parameters) {
		t.Errorf("got %+v, %v", s.Parameters, err)
	}
}

// TestAParameterOnItsBoundIsCalledThat: an axis held below its truth ends on its bound, the text says so, and what the config
// fixes is called fixed.
func TestAParameterOnItsBoundIsCalledThat(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	held := regexp.MustCompile(`theta_E: \{[^}]*\}`).ReplaceAllString(string(text), "theta_E: {uniform: [0.5, 1.1]}")
	if held == string(text) {
		t.Fatalf("no theta_E in\n%s", text)
	}
	if err := os.WriteFile(config, []byte(held), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = Fit(context.Background(), Options{Input: config, Output: filepath.Join(dir, "fit"), Search: search.Options{Starts: 4, Seed: 3}}, &out, term.NewProgress(io.Discard, true))
	if err == nil || !strings.Contains(err.Error(), "lens.sie.theta_E sits on a bound of its prior") {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{`lens\.sie\.theta_E +1\.1 \(on a bound\)`, `lens\.sie\.center_x +0 \(fixed\)`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}

// TestAStopByTheLimitOfStepsIsADoubt: one step of either optimiser from a start ten standard deviations off is not an end.
func TestAStopByTheLimitOfStepsIsADoubt(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	begin := strings.NewReplacer("theta_E: {", "theta_E: {init: 1.23, ", "e1: {", "e1: {init: 0.05, ", "e2: {", "e2: {init: 0, ", "amp: {", "amp: {init: 0.7, ", "r_sersic: {", "r_sersic: {init: 0.4, ",
		"center_x: {normal", "center_x: {init: 0.1, normal", "center_y: {normal", "center_y: {init: 0.1, normal").Replace(string(text))
	if err := os.WriteFile(config, []byte(begin), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, optimizer := range []string{"adam", "lm"} {
		opt := Options{Input: config, Output: filepath.Join(dir, optimizer), Search: search.Options{Optimizer: optimizer, Iterations: 1, Seed: 3}}
		err := Fit(context.Background(), opt, io.Discard, term.NewProgress(io.Discard, true))
		if optimizer == "lm" && err == nil {
			continue // the polish between its stages may have found the end
		}
		if term.ExitCode(err) != term.ExitNotConverged || !strings.Contains(err.Error(), "limit of steps") {
			t.Errorf("%s: got %v", optimizer, err)
		}
		rec, err := ReadRecord(opt.Output)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(rec.Doubts, func(d search.Doubt) bool { return d.Code == "out_of_steps" && d.Value > d.Limit }) {
			t.Errorf("%s: got %+v", optimizer, rec.Doubts)
		}
	}
}

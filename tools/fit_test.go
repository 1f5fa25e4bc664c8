package tools

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
	"lenskit/internal/disk"
	"lenskit/samplers"
)

func TestAStoppedFitSavesItselfAndEndsWhereAnUnstoppedOneDoes(t *testing.T) {
	dir := t.TempDir()
	config := fitTestMock(t, dir)
	fit := func(ctx context.Context, out string) error {
		opt := FitOptions{Input: config, Output: filepath.Join(dir, out), Search: searchOptions{Starts: 8, Seed: 3}}
		return Fit(ctx, opt, io.Discard, newProgress(io.Discard, true))
	}
	if err := fit(context.Background(), "whole"); err != nil {
		t.Fatal(err)
	}
	stops := 0
	for wait := 100 * time.Millisecond; ; wait += wait / 8 {
		ctx, cancel := context.WithTimeoutCause(context.Background(), wait, stopped{syscall.SIGTERM})
		err := fit(ctx, "parts")
		cancel()
		if err == nil {
			break
		}
		if exitCode(err) != exitInterrupted {
			t.Fatalf("got exit code %d: %v", exitCode(err), err)
		}
		if _, err := os.Stat(filepath.Join(dir, "parts", fileCheckpoint)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "parts", fileFitJSON)); err == nil {
			t.Fatal("a stopped fit has written results")
		}
		if stops++; stops > 40 {
			t.Fatal("does not get on")
		}
	}
	a, err := readFitRecord(filepath.Join(dir, "whole"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := readFitRecord(filepath.Join(dir, "parts"))
	if err != nil {
		t.Fatal(err)
	}
	a.Seconds, b.Seconds, a.sum, b.sum = 0, 0, "", ""
	if !reflect.DeepEqual(a, b) {
		t.Errorf("after %d stops: got %+v, want %+v", stops, b, a)
	}
	t.Logf("stopped %d times", stops)
}

func TestACheckpointOfAnotherRunIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	a, err := newCheckpoint(dir, "one", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.force(map[string]int{"x": 1}); err != nil {
		t.Fatal(err)
	}
	var v map[string]int
	if found, notice, err := a.load(&v); !found || notice != "" || err != nil || v["x"] != 1 {
		t.Errorf("own checkpoint: got %v, %q, %v", found, notice, err)
	}
	b, err := newCheckpoint(dir, "one", 2)
	if err != nil {
		t.Fatal(err)
	}
	if found, notice, err := b.load(&v); found || notice == "" || err != nil {
		t.Errorf("another run's: got %v, %q, %v", found, notice, err)
	}
	if err := os.WriteFile(a.path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if found, notice, err := a.load(&v); found || notice == "" || err != nil {
		t.Errorf("a damaged one: got %v, %q, %v", found, notice, err)
	}
}

func TestAFileIsWrittenWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	fault := errors.New("fault")
	err := writeAtomic(path, func(w io.Writer) error {
		io.WriteString(w, "new")
		return fault
	})
	if !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("got %q, want the old file", b)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("left %v", list)
	}
	for _, taken := range []string{os.DevNull, dir} {
		if err := writeAtomic(taken, func(io.Writer) error { return nil }); err == nil || exitCode(err) != exitBadInput {
			t.Errorf("in place of %s: got %v, want bad input", taken, err)
		}
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Fatalf("%s is %v, %v", os.DevNull, info, err)
	}
	if err := error(&disk.WriteError{Path: "x", Err: syscall.ENOSPC}); err.Error() != "x: cannot be written: the disk is full" {
		t.Errorf("got %v", err)
	}
}

func TestRecordKeepsTheOrderOfItsParameters(t *testing.T) {
	r := fitRecord{Parameters: orderedValues{[]string{"z.2", "z.10", "a"}, []float64{1, 0.1, 1e-300}}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var s fitRecord
	if err := json.Unmarshal(b, &s); err != nil || !reflect.DeepEqual(s.Parameters, r.Parameters) {
		t.Errorf("got %+v, %v", s.Parameters, err)
	}
}

// TestErrorsDoNotHangOnAParameterOnItsBound: a coordinate without curvature leaves the others' errors as they are.
func TestErrorsDoNotHangOnAParameterOnItsBound(t *testing.T) {
	for _, none := range []float64{0, -1e-12, 1e-27} {
		h := mat.NewSymDense(3, []float64{4, 1e-14, 1, 1e-14, none, 0, 1, 0, 2})
		g, err := samplers.Laplace(make([]float64, 3), offBounds(h), 0)
		if err != nil {
			t.Fatalf("curvature %g: %v", none, err)
		}
		cov := g.Metric.Cov()
		check.Close(t, "variance of the first", cov.At(0, 0), 2.0/7, 1e-12, 0)
		check.Close(t, "variance of the third", cov.At(2, 2), 4.0/7, 1e-12, 0)
		check.Close(t, "variance on the bound", cov.At(1, 1), 1, 1e-12, 0)
	}
	if h := mat.NewSymDense(2, []float64{2, 1, 1, 3}); !mat.Equal(offBounds(h), h) {
		t.Error("a curvature in order is changed")
	}
}

// TestAParameterOnItsBoundIsCalledThat: an axis held below its truth ends on its bound, the text says so, and what the config
// fixes is called fixed.
func TestAParameterOnItsBoundIsCalledThat(t *testing.T) {
	dir := t.TempDir()
	config := fitTestMock(t, dir)
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
	err = Fit(context.Background(), FitOptions{Input: config, Output: filepath.Join(dir, "fit"), Search: searchOptions{Starts: 4, Seed: 3}}, &out, newProgress(io.Discard, true))
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
	config := fitTestMock(t, dir)
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
		opt := FitOptions{Input: config, Output: filepath.Join(dir, optimizer), Search: searchOptions{Optimizer: optimizer, Iterations: 1, Seed: 3}}
		err := Fit(context.Background(), opt, io.Discard, newProgress(io.Discard, true))
		if optimizer == "lm" && err == nil {
			continue // the polish between its stages may have found the end
		}
		if exitCode(err) != exitNotConverged || !strings.Contains(err.Error(), "limit of steps") {
			t.Errorf("%s: got %v", optimizer, err)
		}
	}
}

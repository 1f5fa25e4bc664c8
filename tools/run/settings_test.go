package run

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/search"
)

// TestAConfigChangesTheSearch: two settings that a config states stand in fit.json beside the others and in the config that the
// fit leaves, and the climbs take another course.
func TestAConfigChangesTheSearch(t *testing.T) {
	dir := t.TempDir()
	path := testkit.FitTestMock(t, dir)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "own.yaml")
	if err := os.WriteFile(own, []byte(string(text)+"search: {draw_steps: 3, draw_reach: 1}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fit := func(config, name string) *Record {
		out := filepath.Join(dir, name)
		opt := Options{Input: config, Output: out, Search: search.Options{Starts: 6, Seed: 3}}
		if err := Fit(context.Background(), opt, io.Discard, term.NewProgress(io.Discard, true)); err != nil && term.ExitCode(err) != term.ExitNotConverged {
			t.Fatal(err)
		}
		rec, err := ReadRecord(out)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	usual, other := fit(path, "usual"), fit(own, "other")
	want := search.DefaultSettings().WithoutPixels() // there is no source of type pixels
	if *usual.Settings != want {
		t.Errorf("without a word of the config: %+v", usual.Settings)
	}
	if want.DrawSteps, want.DrawReach = 3, 1; *other.Settings != want {
		t.Errorf("fit.json has %+v", other.Settings)
	}
	if reflect.DeepEqual(usual.Starts, other.Starts) || usual.Iterations == other.Iterations {
		t.Errorf("both took %d steps, and the starts ended at %v and %v", usual.Iterations, usual.Starts, other.Starts)
	}
	for name, want := range map[string]bool{"usual": false, "other": true} {
		left, err := os.ReadFile(filepath.Join(dir, name, rundir.ConfigYAML))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(string(left), "search:\n  draw_steps: 3\n  draw_reach: 1\n") != want || strings.Contains(string(left), "search") != want {
			t.Errorf("%s: the fit leaves\n%s", name, left)
		}
	}
	twice := fit(filepath.Join(dir, "other", rundir.ConfigYAML), "twice")
	if !reflect.DeepEqual(other.Starts, twice.Starts) || *twice.Settings != want {
		t.Errorf("the config that is left goes another way: %v, %v", other.Starts, twice.Starts)
	}
}

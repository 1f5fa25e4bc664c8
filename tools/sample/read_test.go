package sample

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"lenskit/samplers"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

func TestASummaryReadsBack(t *testing.T) {
	want := Summary{Chains: 2, Draws: 3, Seed: math.MaxUint64, Parameters: Summaries{
		{Name: "z", Mean: 1, SD: 2, Q5: 3, Q50: 4, Q95: 5, MCSEMean: 6, MCSESD: 7, ESSBulk: 8, ESSTail: 9, RHat: math.NaN()},
		{Name: "a", Mean: -1e-300},
	}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, rundir.SummaryJSON), text, 0o666); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSummary(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !math.IsNaN(got.Parameters[0].RHat) {
		t.Errorf("null: got %v, want NaN", got.Parameters[0].RHat)
	}
	got.Parameters[0].RHat, want.Parameters[0].RHat = 0, 0
	if !reflect.DeepEqual(got.Parameters, want.Parameters) || got.Chains != 2 || got.Seed != want.Seed {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if s, ok := got.Parameters.Get("a"); !ok || s.Mean != -1e-300 {
		t.Errorf("a: got %+v, %v", s, ok)
	}
	if s, ok := got.Parameters.Get("b"); ok || s != (samplers.Summary{}) {
		t.Errorf("b: got %+v, %v", s, ok)
	}
	for _, bad := range []string{"", "{", `{"parameters": [1]}`, `{"parameters": {"a": 1}}`, `{"parameters": {"a": {"mean": "x"}}}`} {
		if err := os.WriteFile(filepath.Join(dir, rundir.SummaryJSON), []byte(bad), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSummary(dir); term.ExitCode(err) != term.ExitBadInput {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	if _, err := ReadSummary(t.TempDir()); term.ExitCode(err) != term.ExitBadInput {
		t.Errorf("no file: got %v", err)
	}
}

func TestDrawsOfAFolderAreReadByName(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"samples_1.csv": "lp__,a,b\n-1,1,2\n-2,3,4\n", "samples_2.csv": "lp__,a,b\n-3,5,6\n-4,7,8\n", "other.csv": "lp__,c\n-1,1\n",
		rundir.SummaryJSON: `{"chains": 2, "files": {"samples_2.csv": "x", "samples_1.csv": "x", "corner.png": "x"}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	d, err := ReadDraws(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := d.Get("b"); !ok || !reflect.DeepEqual(got, []float64{2, 4, 6, 8}) {
		t.Errorf("b: got %v, %v", got, ok)
	}
	if got, ok := d.Get("c"); ok {
		t.Errorf("c: got %v", got)
	}
	if d, err = ReadDraws(dir, "other.csv"); err != nil || !reflect.DeepEqual(d.Names, []string{"c"}) {
		t.Errorf("other.csv: got %+v, %v", d, err)
	}
	if _, err := ReadDraws(t.TempDir()); term.ExitCode(err) != term.ExitBadInput {
		t.Errorf("an empty folder: got %v", err)
	}
}

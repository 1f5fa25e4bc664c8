package coolest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
)

// A COOLEST file is written of a record that is whole, or not at all.
func TestRecordsOfOthersAreNotExported(t *testing.T) {
	dir := t.TempDir()
	testkit.SurveyMocks(t, dir, 1)
	run := filepath.Join(dir, "run")
	if code, _, msg := testkit.RunCommand(t, "fit", filepath.Join(dir, "m1.yaml"), "-o", run, "--starts", "6", "--quiet"); code != 0 {
		t.Fatal(msg)
	}
	path := filepath.Join(run, rundir.FitJSON)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		change func(rec, parameters map[string]any)
		want   string
	}{
		{func(rec, p map[string]any) { p["lens.sie.theta_E"] = "NaN" }, "fit.json: "},
		{func(rec, p map[string]any) { p["lens.sie.theta_E"] = nil }, "fit.json: lens.sie.theta_E: found null, expected a number"},
		{func(rec, p map[string]any) { delete(p, "lens.sie.theta_E") }, "fit.json: has no parameter lens.sie.theta_E, expected the fit of the model in"},
		{func(rec, p map[string]any) { delete(p, "source.sersic.n") }, "fit.json: has no parameter source.sersic.n"},
		{func(rec, p map[string]any) { p["lens.sie.theta_E"] = json.RawMessage("1e999") }, "fit.json: "},
		{func(rec, p map[string]any) { rec["parameters"] = []int{1, 2} }, "fit.json: "},
		{func(rec, p map[string]any) { delete(rec, "parameters") }, "fit.json: has no parameters"},
		{func(rec, p map[string]any) { delete(rec, "reduced_chi2") }, "fit.json: reduced_chi2 is missing, expected a number"},
		{func(rec, p map[string]any) { rec["status"] = "\x1b[2J" }, "fit.json: status: found"},
		{func(rec, p map[string]any) { p["\x1b[2J"] = 1 }, "expected the name of a parameter"},
	} {
		var rec map[string]any
		if err := json.Unmarshal(text, &rec); err != nil {
			t.Fatal(err)
		}
		c.change(rec, rec["parameters"].(map[string]any))
		changed, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, changed, 0o644); err != nil {
			t.Fatal(err)
		}
		code, stdout, msg := testkit.RunCommand(t, "export-coolest", run)
		if code != term.ExitBadInput || stdout != "" || !strings.Contains(msg, c.want) || strings.Count(msg, "\n") != 1 || strings.Contains(msg, "\x1b") {
			t.Errorf("%d: got %d, %q, %q, want %q", i, code, stdout, msg, c.want)
		}
		if _, err := os.Stat(filepath.Join(run, "coolest")); err == nil {
			t.Errorf("%d: a refused export left a folder", i)
		}
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, msg := testkit.RunCommand(t, "export-coolest", run, "--quiet"); code != 0 {
		t.Errorf("the record itself: got %d, %q", code, msg)
	}
}

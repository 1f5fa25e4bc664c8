package tools

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/testkit"
)

// TestARecordWithoutDoubtsIsRead: what an earlier version has fitted is drawn, sampled and exported.
func TestARecordWithoutDoubtsIsRead(t *testing.T) {
	dir := t.TempDir()
	fit := filepath.Join(dir, "fit")
	if err := quickFit(t, testkit.FitTestMock(t, dir), fit); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(fit, rundir.FitJSON)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rec map[string]json.RawMessage
	if err := json.Unmarshal(text, &rec); err != nil {
		t.Fatal(err)
	}
	if string(rec["doubts"]) != "[]" {
		t.Errorf("a converged fit has the doubts %s", rec["doubts"])
	}
	delete(rec, "doubts")
	if text, err = json.Marshal(rec); err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	testkit.MustRun(t, "plot", fit, "--quiet")
	testkit.MustRun(t, "export-coolest", fit, "-o", filepath.Join(dir, "coolest"), "--quiet")
	testkit.MustRun(t, "sample", fit, "--sampler", "laplace", "--draws", "20", "--quiet")
}

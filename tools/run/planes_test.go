package run

import (
	"math"
	"path/filepath"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/config"
	"lenskit/tools/internal/testkit"
)

// The example is simulated and found again.
func TestExampleOfTwoPlanesIsRecovered(t *testing.T) {
	if testing.Short() {
		t.Skip("fits an image of 120 x 120 pixels")
	}
	dir := t.TempDir()
	mock, run := filepath.Join(dir, "mock.fits"), filepath.Join(dir, "run")
	if code, _, msg := testkit.RunCommand(t, "mock", filepath.Join(check.Root(), "examples", "two_planes.yaml"), "-o", mock); code != 0 {
		t.Fatalf("mock: got exit code %d: %s", code, msg)
	}
	if code, _, msg := testkit.RunCommand(t, "fit", filepath.Join(dir, "mock.yaml"), "-o", run); code != 0 {
		t.Fatalf("fit: got exit code %d: %s", code, msg)
	}
	rec, err := ReadRecord(run)
	if err != nil {
		t.Fatal(err)
	}
	truth, err := config.ReadParams(filepath.Join(dir, "mock.truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range rec.Parameters.Names {
		if got, sigma := rec.Parameters.Values[i], rec.Uncertainties.Values[i]; !(math.Abs(got-truth[name]) < 4*sigma) {
			t.Errorf("%s: got %g ± %g, want %g", name, got, sigma, truth[name])
		}
	}
}

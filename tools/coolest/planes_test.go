package coolest

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/tools/internal/rundir"
)

func TestCOOLESTTakesRedshiftsFromTheConfig(t *testing.T) {
	dir := t.TempDir()
	coolestRun(t, dir, `
data: {size: 24, pixel_scale: 0.25, noise: 0.05}
lens: [{type: sis, redshift: 0.25, priors: {theta_E: {truth: 1.6}}}]
source: [{type: sersic, redshift: 1.5, priors: {amp: {truth: 1}}}]
`)
	out := filepath.Join(dir, "out")
	if _, _, err := Export(Options{Dir: filepath.Join(dir, "run"), Output: out, LensRedshift: math.NaN(), SourceRedshift: math.NaN()}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, rundir.FileCOOLEST))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"redshift": 0.25`, `"redshift": 1.5`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the template lacks %s", want)
		}
	}
}

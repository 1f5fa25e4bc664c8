package sample

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/run"
	"lenskit/tools/search"
)

// TestModelsThatLeaveLittleToFit: nothing free is refused in a line, by sample too; one parameter, or amplitudes only, are
// fitted; a source fixed below the noise is called that.
func TestModelsThatLeaveLittleToFit(t *testing.T) {
	lens := "theta_E: {fixed: 1.2}, e1: {fixed: 0.1}, e2: {fixed: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}"
	shape := "r_sersic: {fixed: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0.05}, center_y: {fixed: 0.1}"
	for name, c := range map[string]struct {
		lens, source string
		code         int
		says         string
	}{
		"nothing":          {lens, "amp: {fixed: 1}, " + shape, term.ExitBadInput, "nothing to fit: every parameter is fixed"},
		"one parameter":    {strings.Replace(lens, "fixed: 1.2", "uniform: [0.5, 2]", 1), "amp: {fixed: 1}, " + shape, term.ExitDone, ""},
		"the source's amp": {lens, shape, term.ExitDone, ""},
		"below the noise":  {strings.Replace(lens, "fixed: 1.2", "uniform: [0.5, 2]", 1), "amp: {fixed: 1e-5}, " + shape, term.ExitNotConverged, "below the noise"},
	} {
		dir := t.TempDir()
		testkit.TestMock(t, dir, fmt.Sprintf("data: {size: 40, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}\nlens: [{type: sie, priors: {%s}}]\nsource: [{type: sersic, priors: {amp: {fixed: 1}, %s}}]\n", lens, shape))
		config := filepath.Join(dir, "c.yaml")
		text := fmt.Sprintf("data: {image: mock.fits, noise: 0.05, pixel_scale: 0.1, psf: {gaussian: 0.1}}\nlens: [{type: sie, priors: {%s}}]\nsource: [{type: sersic, priors: {%s}}]\n", c.lens, c.source)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		fit := run.Options{Input: config, Output: filepath.Join(dir, "fit"), Search: search.Options{Seed: 1, Starts: 4}}
		err := run.Fit(context.Background(), fit, io.Discard, term.NewProgress(io.Discard, true))
		if term.ExitCode(err) != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got exit code %d, %v", name, term.ExitCode(err), err)
		}
		testkit.CheckVerdict(t, err, fit.Output)
		if c.code == term.ExitBadInput {
			err := Sample(context.Background(), Options{Input: config, Output: fit.Output}, io.Discard, term.NewProgress(io.Discard, true))
			if term.ExitCode(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("sample: got exit code %d, %v", term.ExitCode(err), err)
			}
		}
	}
}

package run

import (
	"bytes"
	"strings"
	"testing"

	"lenskit/tools/internal/term"
)

// No line of a fit's table is wider than a terminal, whatever its numbers.
func TestTheTableOfAFitOfHugeNumbersIsNarrow(t *testing.T) {
	names := []string{"source.sersic.amp", "lens_light.sersic.amp", "sky"}
	rec := &Record{
		Status: Converged, LogPosterior: -3.25e70, ReducedChi2: 8.1e66, Pixels: 1600,
		Parameters:    term.OrderedValues{Names: names, Values: []float64{1.5e60, -2.5e33, 7e90}},
		Uncertainties: term.OrderedValues{Names: names, Values: []float64{12, 3e20, 0}},
	}
	var b bytes.Buffer
	if err := rec.print(&b, "out"); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if len(line) > 90 {
			t.Errorf("%d bytes: %s", len(line), line)
		}
	}
	for _, want := range []string{"log posterior -3.25e+70, χ²/N 8.1e+66", "1.5e+60 ± 12", "-2.5e+33 ± 3e+20", "7e+90 (fixed)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("found no %q in\n%s", want, b.String())
		}
	}
}

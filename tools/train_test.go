package tools

import (
	"strings"
	"testing"

	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
)

func TestTrainingNamesBadOptions(t *testing.T) {
	dir := t.TempDir()
	for _, c := range [][2]string{
		{"--batch 1", "--batch"}, {"--rate 0", "--rate"}, {"--channels 1,2", "channels"}, {"--channels a,b,c,d", "--channels"},
		{"--schedule step", "--schedule"}, {"--hold 2", "--hold"}, {"--sigma -1", "--sigma"}, {"--samples 0", "--samples"}, {"--device tpu", "--device"},
	} {
		code, _, stderr := testkit.RunCommand(t, append([]string{"train-vae", "none.fits", "-o", dir}, strings.Fields(c[0])...)...)
		if code != term.ExitBadInput || !strings.Contains(stderr, c[1]) {
			t.Errorf("%s: exit %d: %s", c[0], code, stderr)
		}
	}
	if code, _, stderr := testkit.RunCommand(t, "train-vae", "none.fits", "-o", dir); code != term.ExitBadInput || !strings.Contains(stderr, "none.fits") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

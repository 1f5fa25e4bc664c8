package tools

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
)

func TestPreparingNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	cubePath := filepath.Join(dir, "cube.fits")
	if err := fits.Write(cubePath, fits.Out{Axes: []int{64, 64, 2}, Pix: make([]float64, 2*4096)}); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(dir, "short.csv")
	os.WriteFile(short, []byte("id,peak_snr\na,3\n"), 0o644)
	words := filepath.Join(dir, "words.csv")
	os.WriteFile(words, []byte("id,peak_snr\na,3\nb,many\n"), 0o644)
	for _, c := range []struct{ args, want string }{
		{cubePath, "no image is left"},
		{cubePath + " --catalog " + short, "found 1 rows, expected 2"},
		{cubePath + " --catalog " + words, "line 3: peak_snr"},
		{cubePath + " --hold 0.2", "--held"},
		{dir + " --catalog " + short, "--catalog goes with a cube"},
		{cubePath + " --size 4", "--size"},
	} {
		code, _, stderr := testkit.RunCommand(t, append([]string{"dataset", "prepare", "-o", filepath.Join(dir, "out.fits")}, strings.Fields(c.args)...)...)
		if code != term.ExitBadInput || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit %d: %s", c.args, code, stderr)
		}
	}
}

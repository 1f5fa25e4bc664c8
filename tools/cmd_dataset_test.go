package tools

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/onnx/ort"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
)

func TestLinearBundleEncodesAndDecodes(t *testing.T) {
	if _, _, err := ort.Library(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	data, model := filepath.Join(dir, "d.fits"), filepath.Join(dir, "model")
	testkit.MustRun(t, "dataset", "synth", "-o", data, "--count", "120", "--size", "16", "--quiet")
	testkit.MustRun(t, "dataset", "bundle", data, "-o", model, "--latents", "24", "--quiet")
	b, err := config.LoadBundle(model)
	if err != nil {
		t.Fatal(err)
	}
	if b.Latents != 24 || b.Encoder == nil {
		t.Errorf("got %d latents, encoder %v, want 24 and one", b.Latents, b.Encoder != nil)
	}
	var got struct {
		Images int
		RMS    map[string]float64
	}
	out := testkit.MustRun(t, "dataset", "check", data, "--model", model, "--json", "-o", filepath.Join(dir, "sheet.png"))
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Images != 120 || !(got.RMS["mean"] > 0.001 && got.RMS["mean"] < 0.05) {
		t.Errorf("got %+v, want 120 images and a mean rms between 0.001 and 0.05", got)
	}
	card, err := os.ReadFile(filepath.Join(model, "card.md"))
	if err != nil || !strings.Contains(string(card), "lenskit dataset synth --count 120 --size 16 --seed 1 -o d.fits") {
		t.Errorf("card.md lacks the command that drew the images: %v\n%s", err, card)
	}
}

func TestDatasetCommandsRefuseBadInput(t *testing.T) {
	dir := t.TempDir()
	flat := filepath.Join(dir, "flat.fits")
	if err := fits.Write(flat, fits.Out{Axes: []int{4, 4, 3}, Pix: make([]float64, 48)}); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text.fits")
	if err := os.WriteFile(text, []byte("no FITS"), 0o644); err != nil {
		t.Fatal(err)
	}
	line := filepath.Join(dir, "line.fits")
	if err := fits.Write(line, fits.Out{Axes: []int{4}, Pix: make([]float64, 4)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"synth", "-o", filepath.Join(dir, "x.fits"), "--count", "0"}, "--count is 0, expected 1 to"},
		{[]string{"synth", "-o", filepath.Join(dir, "x.fits"), "--size", "8"}, "--size is 8, expected 16 to 512"},
		{[]string{"synth"}, "-o is missing, expected the FILE to write"},
		{[]string{"show", text, "-o", filepath.Join(dir, "x.png")}, "text.fits"},
		{[]string{"show", line, "-o", filepath.Join(dir, "x.png")}, "expected a cube of images"},
		{[]string{"bundle", flat, "-o", filepath.Join(dir, "m"), "--latents", "99"}, "--latents is 99, expected 1 to 3"},
		{[]string{"bundle", flat, "-o", filepath.Join(dir, "m"), "--latents", "2"}, "only 0 independent components"},
		{[]string{"check", flat, "--model", filepath.Join(dir, "none")}, "none"},
	} {
		code, _, err := testkit.RunCommand(t, append([]string{"dataset"}, c.args...)...)
		if code != term.ExitBadInput || !strings.Contains(err, c.want) {
			t.Errorf("dataset %s: exit %d, %q, want exit 2 and %q", strings.Join(c.args, " "), code, err, c.want)
		}
	}
	for _, left := range []string{"x.fits", "x.png", "m/decoder.onnx"} {
		if _, err := os.Stat(filepath.Join(dir, left)); err == nil {
			t.Errorf("%s was written in spite of an error", left)
		}
	}
}

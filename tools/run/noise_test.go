package run

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
	"lenskit/tools/search"
)

// Noise ten times what the config says, without any lens in it, must not pass as a converged fit.
func TestNoiseAloneIsNotCalledConverged(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 6))
	if err := fits.Write(filepath.Join(dir, "noise.fits"), fits.Out{Axes: []int{32, 32}, Pix: check.Normals(rng, 32*32)}); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "c.yaml")
	text := "data: {image: noise.fits, noise: 0.1, pixel_scale: 0.1}\nlens: [{type: sis}]\nsource: [{type: sersic}]\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	err := Fit(context.Background(), Options{Input: config, Output: filepath.Join(dir, "fit"), Search: search.Options{Seed: 1, Starts: 8}}, io.Discard, term.NewProgress(io.Discard, true))
	if term.ExitCode(err) != term.ExitNotConverged || !strings.Contains(err.Error(), "χ²") {
		t.Errorf("got %v, want a fit that is not converged because of χ²", err)
	}
}

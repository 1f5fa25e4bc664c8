package vae

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/tools/internal/testkit"
)

func TestRealGalaxyCatalogCuts(t *testing.T) {
	dir := t.TempDir()
	out := testkit.MustRun(t, "dataset", "cosmos", filepath.Join("..", "galaxies", "testdata", "real_galaxy_catalog.fits"), "-o", dir, "--test", "0.25", "--validation", "0.25", "--json", "--quiet")
	var got struct {
		Galaxies, Test, Validation, Train int
		Left                              map[string]int `json:"left_out"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Galaxies != 10 || got.Test != 1 || got.Validation != 1 || got.Train != 2 {
		t.Errorf("got %+v", got)
	}
	for why, n := range map[string]int{"no good Sersic fit": 3, "smaller than 64 pixels": 1, "too faint": 1, "too bright": 1} {
		if got.Left[why] != n {
			t.Errorf("%s: %d galaxies, want %d", why, got.Left[why], n)
		}
	}
	for _, name := range []string{"train", "test", "validation"} {
		c, err := trainingCube(filepath.Join(dir, name+".fits"), vaeSide, vaeSide)
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.N {
			p := c.Plane(i)
			if c.W != 64 || slices.Max(p) != 1 || slices.Index(p, 1)%64 < 28 || slices.Index(p, 1)%64 > 35 {
				t.Errorf("%s: image %d is not a centred galaxy with peak 1", name, i)
			}
		}
	}
	// Without the fits the three stay that only they exclude.
	lone := t.TempDir()
	for _, f := range []string{"real_galaxy_catalog.fits", "real_galaxy_images.fits"} {
		data, err := os.ReadFile(filepath.Join("..", "galaxies", "testdata", f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lone, f), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, out, stderr := testkit.RunCommand(t, "dataset", "cosmos", filepath.Join(lone, "real_galaxy_catalog.fits"), "-o", filepath.Join(lone, "out"), "--test", "0", "--validation", "0")
	if code != 0 || !strings.Contains(out, "7 images") || !strings.Contains(stderr, "no galaxy is left out for its Sersic fit") {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
}

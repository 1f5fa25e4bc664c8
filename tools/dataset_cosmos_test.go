package tools

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRealGalaxyCatalogCuts(t *testing.T) {
	dir := t.TempDir()
	out := mustRun(t, "dataset", "cosmos", filepath.Join("testdata", "real_galaxy_catalog.fits"), "-o", dir, "--test", "0.25", "--validation", "0.25", "--json", "--quiet")
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
			p := c.plane(i)
			if c.W != 64 || slices.Max(p) != 1 || slices.Index(p, 1)%64 < 28 || slices.Index(p, 1)%64 > 35 {
				t.Errorf("%s: image %d is not a centred galaxy with peak 1", name, i)
			}
		}
	}
	// Without the fits the three stay that only they exclude.
	lone := t.TempDir()
	for _, f := range []string{"real_galaxy_catalog.fits", "real_galaxy_images.fits"} {
		data, err := os.ReadFile(filepath.Join("testdata", f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lone, f), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, out, stderr := runCommand(t, "dataset", "cosmos", filepath.Join(lone, "real_galaxy_catalog.fits"), "-o", filepath.Join(lone, "out"), "--test", "0", "--validation", "0")
	if code != 0 || !strings.Contains(out, "7 images") || !strings.Contains(stderr, "no galaxy is left out for its Sersic fit") {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
}

func TestTablesNameWhatIsWrong(t *testing.T) {
	path := filepath.Join("testdata", "real_galaxy_catalog.fits")
	tab, err := readTable(path)
	if err != nil {
		t.Fatal(err)
	}
	if tab.rows != 10 {
		t.Errorf("got %d rows, want 10", tab.rows)
	}
	if id, err := tab.first("ident"); err != nil || id[3] != 103 {
		t.Errorf("got %v (%v)", id, err)
	}
	if band, err := tab.texts("BAND"); err != nil || band[9] != "F814W" {
		t.Errorf("got %q (%v)", band, err)
	}
	if _, err := tab.first("nothing"); err == nil || !strings.Contains(err.Error(), "gal_hdu") {
		t.Errorf("got %v, want the names of the columns", err)
	}
	if _, err := tab.first("BAND"); err == nil {
		t.Error("a column of text was read as numbers")
	}
	if _, err := readTable(filepath.Join("testdata", "real_galaxy_images.fits")); exitCode(err) != exitBadInput {
		t.Errorf("got %v, want bad input", err)
	}
}

func FuzzReadTable(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "real_galaxy_catalog.fits"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:5760])
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "table.fits")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		tab, err := readTable(path)
		if err != nil {
			if exitCode(err) != exitBadInput {
				t.Fatalf("exit code %d: %v", exitCode(err), err)
			}
			return
		}
		for name := range tab.columns {
			tab.numbers(name)
			tab.texts(name)
		}
	})
}

package fits

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/tools/internal/term"
)

func TestTablesNameWhatIsWrong(t *testing.T) {
	path := filepath.Join("..", "..", "galaxies", "testdata", "real_galaxy_catalog.fits")
	tab, err := ReadTable(path)
	if err != nil {
		t.Fatal(err)
	}
	if tab.Rows != 10 {
		t.Errorf("got %d rows, want 10", tab.Rows)
	}
	if id, err := tab.First("ident"); err != nil || id[3] != 103 {
		t.Errorf("got %v (%v)", id, err)
	}
	if band, err := tab.Texts("BAND"); err != nil || band[9] != "F814W" {
		t.Errorf("got %q (%v)", band, err)
	}
	if _, err := tab.First("nothing"); err == nil || !strings.Contains(err.Error(), "gal_hdu") {
		t.Errorf("got %v, want the names of the columns", err)
	}
	if _, err := tab.First("BAND"); err == nil {
		t.Error("a column of text was read as numbers")
	}
	if _, err := ReadTable(filepath.Join("..", "..", "galaxies", "testdata", "real_galaxy_images.fits")); term.ExitCode(err) != term.ExitBadInput {
		t.Errorf("got %v, want bad input", err)
	}
}

func FuzzReadTable(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("..", "..", "galaxies", "testdata", "real_galaxy_catalog.fits"))
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
		tab, err := ReadTable(path)
		if err != nil {
			if term.ExitCode(err) != term.ExitBadInput {
				t.Fatalf("exit code %d: %v", term.ExitCode(err), err)
			}
			return
		}
		for name := range tab.columns {
			tab.Numbers(name)
			tab.Texts(name)
		}
	})
}

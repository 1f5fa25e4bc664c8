package fits

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lenskit/internal/check"
)

// Values in testdata/tiles/expected.json are astropy 8.0.2's, see make.py there.
func TestTileCompressedImagesAreReadAsAstropyReadsThem(t *testing.T) {
	raw, err := os.ReadFile("testdata/tiles/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var files map[string]struct {
		Kind          string
		Axes          []int
		NaN           int
		Sum, Weighted float64
		First         []*float64
		Last          float64
	}
	if err := json.Unmarshal(raw, &files); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for name, want := range files {
		kinds[want.Kind] = true
		m, err := Read(filepath.Join("testdata/tiles", name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.Equal(m.Axes, want.Axes) {
			t.Errorf("%s: got axes %v, want %v", name, m.Axes, want.Axes)
		}
		sum, weighted, size, nan := 0.0, 0.0, 0.0, 0
		for i, v := range m.Pix {
			if math.IsNaN(v) {
				nan++
				continue
			}
			sum, weighted, size = sum+v, weighted+v*float64(i+1), size+math.Abs(v)*float64(i+1)
		}
		if nan != want.NaN {
			t.Errorf("%s: got %d NaN, want %d", name, nan, want.NaN)
		}
		check.Close(t, name+": sum", sum, want.Sum, 1e-13, size/float64(len(m.Pix)))
		check.Close(t, name+": weighted sum", weighted, want.Weighted, 1e-13, size)
		for i, w := range want.First {
			if w != nil && m.Pix[i] != *w || w == nil && !math.IsNaN(m.Pix[i]) {
				t.Errorf("%s: pixel %d is %v, want %v", name, i, m.Pix[i], *w)
			}
		}
		if v := m.Pix[len(m.Pix)-1]; v != want.Last {
			t.Errorf("%s: last pixel is %v, want %v", name, v, want.Last)
		}
		if m.Header.Text("OBJECT") != "tile test" || m.Header.Has("ZIMAGE") || m.Header.Has("TFORM1") || m.Header.Text("XTENSION") != "IMAGE" {
			t.Errorf("%s: header %v", name, m.Header)
		}
	}
	if len(kinds) != 6 {
		t.Errorf("got %v", kinds)
	}
}

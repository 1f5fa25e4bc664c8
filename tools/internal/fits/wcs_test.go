package fits

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lenskit/internal/check"
)

// cardsOf are cards as a file has them.
func cardsOf(values map[string]any) []Key {
	var out []Key
	for key, v := range values {
		switch v := v.(type) {
		case string:
			out = append(out, Key{key, v, "as given"})
		case float64:
			s := strconv.FormatFloat(v, 'G', -1, 64)
			out = append(out, Key{key, rawValue("= " + s + " / as given"), ""})
		}
	}
	return out
}

// Scales and angles in testdata/wcs.json are astropy 8.0.2's, from positions of neighbouring pixels, see wcs.py there.
func TestSkyCoordinatesAreAstropysAndAreKept(t *testing.T) {
	raw, err := os.ReadFile("testdata/wcs.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string]struct {
		Header      map[string]any
		Scale, X, Y float64
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for name, c := range cases {
		dir := t.TempDir()
		write := func(file string, cards []Key) Header {
			path := filepath.Join(dir, file)
			if err := Write(path, Out{Axes: []int{41, 31}, Pix: make([]float64, 41*31), Cards: cards}); err != nil {
				t.Fatal(err)
			}
			m, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			return m.Header
		}
		for key := range c.Header {
			if strings.HasPrefix(key, "NAXIS") {
				delete(c.Header, key)
			}
		}
		in := write("in.fits", cardsOf(c.Header))
		w, ok := SkyWCS(in)
		if !ok {
			t.Errorf("%s: no sky coordinates", name)
			continue
		}
		check.Close(t, name+": scale", w.Scale(), c.Scale, 2e-6, 0)
		if name == "tan" || name == "lonpole" || name == "pc" || name == "crota" {
			for i, want := range []float64{c.X, c.Y} {
				if d := math.Remainder(w.EastOfNorth(float64(i)*math.Pi/2)-want, math.Pi); math.Abs(d) > 1e-6 {
					t.Errorf("%s: axis %d is at %g east of north, want %g", name, i+1, w.EastOfNorth(float64(i)*math.Pi/2), want)
				}
			}
		}
		out := write("out.fits", CopyWCS(in))
		for key := range c.Header {
			if a, b := in[key], out[key]; !strings.EqualFold(a.Value, b.Value) || a.isText != b.isText || !out.Has(key) {
				t.Errorf("%s: %s was %q and became %q", name, key, a.Value, b.Value)
			}
		}
	}
}

// A text of IRAF's polynomials goes on from card to card, so that a blank at a card's end counts.
func TestLongTextsOfSkyCoordinatesAreKeptToTheBlank(t *testing.T) {
	line := "= 'wtype=tnx axtype=ra lngcor = \"3. 4. 4. 2. -0.1 0.1 -0.1 0.1 1E-4 12 '"
	cards := append(GridWCS(3, 3, 0.1, 0, 0), Key{"WAT1_001", rawValue(line), ""})
	path := filepath.Join(t.TempDir(), "a.fits")
	if err := Write(path, Out{Axes: []int{3, 3}, Pix: make([]float64, 9), Cards: cards}); err != nil {
		t.Fatal(err)
	}
	m, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range CopyWCS(m.Header) {
		if raw, ok := c.Value.(rawValue); c.Name == "WAT1_001" && ok && strings.TrimRight(string(raw), " ") == line {
			return
		}
	}
	t.Errorf("got %v", CopyWCS(m.Header))
}

package fits

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/internal/term"
)

// astropyHDU is what astropy read of one HDU.
type astropyHDU struct {
	HDU   int      `json:"hdu"`
	Type  string   `json:"type"`
	Shape []int    `json:"shape_c_order"`
	NaN   int      `json:"nan"`
	Sum   string   `json:"sum"`
	Min   *string  `json:"min"`
	Max   *string  `json:"max"`
	First []string `json:"first"`
	DType string   `json:"dtype"`
}

// refusals are the files that lenskit does not read as images, with a part of the reason it gives.
var refusals = map[string]string{
	"FITSio__2008_03_11_203150.fits":        "holds no image: found a binary table",
	"FITSio__IUElwp25637mxlo.fits":          "holds no image: found a binary table",
	"FITSio__vizier.fits":                   "holds no image: found a text table",
	"astropy__ascii_i4-i20.fits":            "holds no image: found a text table",
	"astropy__btable.fits":                  "holds no image: found a binary table",
	"astropy__chandra_time.fits":            "holds no image: found a binary table",
	"astropy__group.fits":                   "holds no image: found random groups",
	"astropy__history_header.fits":          "holds no image: found an array without pixels",
	"astropy__memtest.fits":                 "holds no image: found a binary table",
	"astropy__o4sp040b0_raw.fits":           "holds 2 images, expected a choice: found 1 SCI,1 (62 x 44), 4 SCI,2 (62 x 44)",
	"astropy__test0.fits":                   "holds 4 images, expected a choice",
	"fitsio__file-img2-bitpix+16.fits":      "holds 2 images, expected a choice: found 0 (50 x 50), 1 (50 x 50)",
	"fitsio__file-img2-bitpix+32.fits":      "holds 2 images, expected a choice",
	"fitsio__file-img2-bitpix-32.fits":      "holds 2 images, expected a choice",
	"fitsio__file-img2-bitpix-64.fits":      "holds 2 images, expected a choice",
	"astropy__random_groups.fits":           "holds no image: found",
	"astropy__stddata.fits":                 "holds no image: found a binary table",
	"astropy__table.fits":                   "holds no image: found a binary table",
	"astropy__tdim.fits":                    "holds no image: found a binary table",
	"astropy__theap-gap.fits":               "holds no image: found a binary table",
	"astropy__variable_length_table.fits":   "holds no image: found a binary table",
	"astropy__verify.fits":                  "holds no image: found an array without pixels",
	"astropy__vla_logical_all_zero.fits":    "holds no image: found a binary table",
	"astropy__vla_logical_null.fits":        "holds no image: found a binary table",
	"astropy__vla_logical_pre_fix.fits":     "holds no image: found a binary table",
	"astropy__zerowidth.fits":               "holds no image: found a binary table",
	"cfitsio__iter_a.fit":                   "holds no image: found a binary table",
	"cfitsio__iter_c.fit":                   "holds no image: found a binary table",
	"crafted__bitpix_7.fits":                "found BITPIX = 7, expected 8, 16, 32, 64, -32 or -64",
	"crafted__empty.fits":                   "is empty",
	"crafted__naxis_huge.fits":              "is truncated",
	"crafted__naxis_missing.fits":           "missing keyword NAXIS2",
	"crafted__naxis_negative.fits":          "expected a length of 0 or more",
	"crafted__naxis_zero_len.fits":          "holds no image: found an array without pixels",
	"crafted__one_byte.fits":                "is not a FITS file",
	"crafted__simple_f.fits":                "found SIMPLE = F, expected T",
	"crafted__trunc_header.fits":            "HDU 0 is truncated: found 0 bytes",
	"fitsio__file001.fits":                  "holds no image: found a text table",
	"fitsio__issue-38.fits":                 "holds no image: found an array without pixels",
	"nom-tam-fits__bt12.fits":               "holds no image: found a binary table",
	"nom-tam-fits__bt12.fits.fz":            "holds no image: found a binary table",
	"nom-tam-fits__issue49test.fits":        "holds no image: found a binary table",
	"nom-tam-fits__rp600245n00_im1.fits.Z":  "is packed with compress",
	"nom-tam-fits__testBinaryTable.fits.fz": "holds no image: found a binary table",
	"nom-tam-fits__test_i10.fits":           "holds no image: found a text table",
}

func TestOddFITSFilesAreReadAsAstropyReadsThemOrRefusedWithAReason(t *testing.T) {
	list := check.Shared(t, "data/fits_odd/astropy_reading.json")
	raw, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	var files []struct {
		File string
		HDUs []astropyHDU
	}
	if err := json.Unmarshal(raw, &files); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(f.File, func(t *testing.T) {
			path := filepath.Join(filepath.Dir(list), f.File)
			img, err := Read(path)
			if want, ok := refusals[f.File]; ok {
				if err == nil || !strings.Contains(err.Error(), want) || term.ExitCode(err) != term.ExitBadInput || strings.Contains(err.Error(), "\n") {
					t.Fatalf("got error %v (exit %d), want one line with %q and exit 2", err, term.ExitCode(err), want)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			seen := img == nil
			for _, h := range f.HDUs {
				if h.Shape == nil || h.Type == "GroupsHDU" || h.Type == "_NonstandardHDU" || h.First == nil || len(h.First) == 0 {
					continue
				}
				got, err := Read(path + "[" + strconv.Itoa(h.HDU) + "]")
				if err != nil {
					t.Fatalf("HDU %d: %v", h.HDU, err)
				}
				compareHDU(t, got, h)
				if img != nil && img.HDU == h.HDU {
					seen = true
				}
			}
			if !seen {
				t.Errorf("read HDU %d, in which astropy finds no image", img.HDU)
			}
		})
	}
}

func compareHDU(t *testing.T, got *Image, want astropyHDU) {
	t.Helper()
	if len(got.Axes) != len(want.Shape) {
		t.Fatalf("HDU %d: got axes %v, want C-order shape %v", want.HDU, got.Axes, want.Shape)
	}
	for i, a := range got.Axes {
		if a != want.Shape[len(want.Shape)-1-i] {
			t.Fatalf("HDU %d: got axes %v, want C-order shape %v", want.HDU, got.Axes, want.Shape)
		}
	}
	sum, lo, hi, nan := 0.0, math.Inf(1), math.Inf(-1), 0
	for _, v := range got.Pix {
		if math.IsNaN(v) {
			nan++
		} else if !math.IsInf(v, 0) {
			sum, lo, hi = sum+v, min(lo, v), max(hi, v)
		}
	}
	tol := 1e-12
	if want.DType == "float32" || want.DType == ">f4" {
		tol = 1e-6
	}
	scale := 0.0
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if want.Min != nil && want.Max != nil {
		scale = math.Max(math.Abs(number(*want.Min)), math.Abs(number(*want.Max)))
		check.Close(t, "min", lo, number(*want.Min), tol, 0)
		check.Close(t, "max", hi, number(*want.Max), tol, 0)
	}
	if nan != want.NaN {
		t.Errorf("HDU %d: got %d NaN, want %d", want.HDU, nan, want.NaN)
	}
	check.Close(t, "sum", sum, number(want.Sum), tol, scale)
	for i, s := range want.First {
		w := number(s)
		if g := got.Pix[i]; g != w && !(math.IsNaN(g) && math.IsNaN(w)) {
			check.Close(t, "first values", g, w, tol, 0)
		}
	}
}

func TestFITSWrittenIsReadBackExactly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.fits")
	a := []float64{1, -2.5, 1e-300, math.Pi, math.Inf(1), 0}
	b := make([]float64, 2*3*4)
	for i := range b {
		b[i] = float64(i) / 8
	}
	err := Write(path,
		Out{},
		Out{Name: "DATA", Bitpix: -64, Axes: []int{3, 2}, Pix: a, Cards: append(GridWCS(3, 2, 0.05, 0, 0), Key{"NOTE", "it's", "a quote"}, Key{"TINY", 1.2345678901234567e-20, ""})},
		Out{Name: "CUBE", Axes: []int{2, 3, 4}, Pix: b})
	if err != nil {
		t.Fatal(err)
	}
	img, err := Read(path + "[DATA]")
	if err != nil {
		t.Fatal(err)
	}
	if img.Name != "DATA" || img.HDU != 1 || len(img.Axes) != 2 || img.Axes[0] != 3 {
		t.Fatalf("got HDU %d %q of %v", img.HDU, img.Name, img.Axes)
	}
	for i, v := range a {
		if img.Pix[i] != v {
			t.Errorf("pixel %d: got %g, want %g", i, img.Pix[i], v)
		}
	}
	if s := img.Header.Text("NOTE"); s != "it's" {
		t.Errorf("got %q", s)
	}
	if v, err := img.Header.Number("TINY", 0); v != 1.2345678901234567e-20 || err != nil {
		t.Errorf("got %g, %v", v, err)
	}
	w, ok := SkyWCS(img.Header)
	if !ok {
		t.Fatal("no pixel scale found in the header")
	}
	check.Close(t, "pixel scale", w.Scale(), 0.05, 1e-14, 0)
	cube, err := Read(path + "[cube]")
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range b {
		if cube.Pix[i] != v {
			t.Fatalf("cube value %d: got %g, want %g", i, cube.Pix[i], v)
		}
	}
	if _, _, _, err := cube.Plane(); err == nil || !strings.Contains(err.Error(), "found an array of 2 x 3 x 4, expected an image of two axes") {
		t.Errorf("got %v", err)
	}
	if _, err := Read(path + "[CUBO]"); err == nil || !strings.Contains(err.Error(), `found DATA, CUBE: did you mean "CUBE"?`) {
		t.Errorf("got %v", err)
	}
}

func TestFITSIsReadFromFilesAlone(t *testing.T) {
	for _, path := range []string{os.DevNull, t.TempDir()} {
		if _, err := Read(path); err == nil || term.ExitCode(err) != term.ExitBadInput {
			t.Errorf("%s: got %v, want bad input", path, err)
		}
	}
}

func TestPositionAngleRunsFromNorthThroughEast(t *testing.T) {
	// East to the left, north up: the +y axis is north, the -x axis is east.
	w := WCS{Cd: [2][2]float64{{-0.05, 0}, {0, 0.05}}}
	check.Close(t, "+y", math.Sin(w.EastOfNorth(math.Pi/2)), 0, 1e-15, 1)
	check.Close(t, "-x", w.EastOfNorth(math.Pi), math.Pi/2, 1e-15, 0)
	check.Close(t, "135 degrees", w.EastOfNorth(3*math.Pi/4), math.Pi/4, 1e-15, 0)
}

func FuzzFITS(f *testing.F) {
	card := func(lines ...string) []byte {
		s := ""
		for _, l := range append(lines, "END") {
			s += l + strings.Repeat(" ", 80-len(l))
		}
		return []byte(s + strings.Repeat(" ", (Block-len(s)%Block)%Block))
	}
	good := card("SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2", "NAXIS1  =                    2", "NAXIS2  =                    3", "BZERO   =              32768.0")
	f.Add(append(good, make([]byte, 12)...))
	f.Add(append(append(good, make([]byte, Block)...), card("XTENSION= 'IMAGE   '", "BITPIX  =                  -64", "NAXIS   =                    1", "NAXIS1  =  9223372036854775807")...))
	f.Add(card("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                  999", "NAXIS1  = 'quote''s /"))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Add([]byte("BZh9"))
	path := filepath.Join(f.TempDir(), "fuzz.fits")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		img, err := Read(path)
		var bad *term.Failure
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("error without an exit code: %v", err)
		}
		if img == nil {
			return
		}
		SkyWCS(img.Header)
		CopyWCS(img.Header)
		img.Plane()
		n := 1
		for _, a := range img.Axes {
			n *= a
		}
		if n != len(img.Pix) {
			t.Fatalf("axes %v, %d pixels", img.Axes, len(img.Pix))
		}
	})
}

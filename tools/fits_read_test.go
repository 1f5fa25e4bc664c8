package tools

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/disk"
)

// rawFITS is a file of one image whose data are these bytes.
func rawFITS(data []byte, cards ...string) []byte {
	return append(append(rawHeader(cards...), data...), make([]byte, (fitsBlock-len(data)%fitsBlock)%fitsBlock)...)
}

func rawHeader(cards ...string) []byte {
	s := ""
	for _, l := range append(cards, "END") {
		s += fmt.Sprintf("%-80s", l)
	}
	return []byte(s + strings.Repeat(" ", (fitsBlock-len(s)%fitsBlock)%fitsBlock))
}

// Values are the nearest float64 to zero + scale * stored, worked out with Python's integers and fractions.
func TestIntegersOfAllTypesAreScaledToTheNearest(t *testing.T) {
	for _, c := range []struct {
		bitpix      int
		scale, zero string
		data        string
		want        []float64
	}{
		{8, "1", "-128", "\x00\x80\xff", []float64{-128, 0, 127}},
		{8, "0.5", "3", "\x00\x01\xff", []float64{3, 3.5, 130.5}},
		{16, "1", "32768", "\x80\x00\x00\x00\x7f\xff", []float64{0, 32768, 65535}},
		{32, "1", "2147483648", "\x80\x00\x00\x00\x7f\xff\xff\xff", []float64{0, 4294967295}},
		{64, "1", "9223372036854775808", "\x80\x00\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x63\x7f\xff\xff\xff\xff\xff\xff\xff\x80\x20\x00\x00\x00\x00\x00\x01\x80\x20\x00\x00\x00\x00\x00\x03", []float64{0, 99, 18446744073709551615, 9007199254740992, 9007199254740996}},
		{64, "1", "9.223372036854775808E18", "\x80\x00\x00\x00\x00\x00\x00\x01", []float64{1}},
		{64, "2", "1", "\x00\x00\x00\x00\x00\x00\x00\x05\xff\xff\xff\xff\xff\xff\xff\xff", []float64{11, -1}},
		{64, "1", "0", "\x7f\xff\xff\xff\xff\xff\xff\xff", []float64{9223372036854775807}},
	} {
		path := filepath.Join(t.TempDir(), "a.fits")
		n := len(c.want)
		raw := rawFITS([]byte(c.data), "SIMPLE  =                    T", fmt.Sprintf("BITPIX  = %d", c.bitpix), "NAXIS   = 1", fmt.Sprintf("NAXIS1  = %d", n), "BSCALE  = "+c.scale, "BZERO   = "+c.zero)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := fitsRequest{sum: true}.read(path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.Pix, c.want) {
			t.Errorf("%d bits, scale %s, zero %s: got %v, want %v", c.bitpix, c.scale, c.zero, m.Pix, c.want)
		}
		if m.SHA256 != disk.SumOf(raw) {
			t.Errorf("got sum %s", m.SHA256)
		}
		// the same numbers in a table
		form := map[int]string{8: "B", 16: "I", 32: "J", 64: "K"}[c.bitpix]
		table := rawFITS(nil, "SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 0")
		table = append(table, rawFITS([]byte(c.data), "XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", fmt.Sprintf("NAXIS1  = %d", len(c.data)), "NAXIS2  = 1", "PCOUNT  = 0", "GCOUNT  = 1",
			"TFIELDS = 1", fmt.Sprintf("TFORM1  = '%d%s'", n, form), "TTYPE1  = 'N'", "TSCAL1  = "+c.scale, "TZERO1  = "+c.zero)...)
		if err := os.WriteFile(path, table, 0o600); err != nil {
			t.Fatal(err)
		}
		tab, err := readTable(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tab.numbers("n"); err != nil || !slices.Equal(got[0], c.want) {
			t.Errorf("table of %s: got %v, %v, want %v", form, got, err, c.want)
		}
	}
}

func TestOneOfSeveralImagesIsAChoice(t *testing.T) {
	dir := t.TempDir()
	file := func(names ...string) string { // a name may have a version: SCI,2; "" is without a name, "-" without pixels
		var out []fitsOut
		for k, n := range names {
			name, version, _ := strings.Cut(n, ",")
			if n == "-" {
				out = append(out, fitsOut{})
				continue
			}
			o := fitsOut{Name: name, Axes: []int{3, 2}, Pix: []float64{float64(k), 0, 0, 0, 0, 0}}
			if version != "" {
				o.Cards = []fitsKey{{"EXTVER", int(version[0] - '0'), ""}}
			}
			out = append(out, o)
		}
		path := filepath.Join(dir, "f.fits")
		if err := writeFITS(path, out...); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		names  []string
		ext    string
		role   fitsRole
		want   int    // HDU
		notice string // a part of it, or of the error
	}{
		{[]string{""}, "", roleImage, 0, ""},
		{[]string{"-", "ERR"}, "", roleImage, 1, ""},
		{[]string{"-", "SCI", "ERR", "DQ"}, "", roleImage, 1, "holds 3 images: HDU 1, SCI is taken"},
		{[]string{"-", "SCI", "ERR", "DQ"}, "", roleNoise, 2, "holds 3 images: HDU 2, ERR is taken"},
		{[]string{"", "NOISE", "PSF", "MODEL"}, "", roleImage, 0, "HDU 0, without a name is taken"},
		{[]string{"", "NOISE", "PSF"}, "", rolePSF, 2, "HDU 2, PSF is taken"},
		{[]string{"", "NOISE", "DQ"}, "", roleMask, -1, "holds 3 images, expected a choice: found 0 (3 x 2), 1 NOISE,1 (3 x 2), 2 DQ,1 (3 x 2)"},
		{[]string{"", ""}, "", roleImage, -1, "found 0 (3 x 2), 1 (3 x 2)"},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "", roleImage, -1, "found 1 SCI,1 (3 x 2), 2 ERR,1 (3 x 2), 3 SCI,2"},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "sci", roleImage, -1, "names 2 images, expected one"},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "sci,2", roleImage, 3, ""},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "SCI, 1", roleImage, 1, ""},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "SCI,3", roleImage, -1, "no such extension: found 0 (an array without pixels), 1 SCI,1"},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "4", roleImage, 4, ""},
		{[]string{"-", "SCI"}, "0", roleImage, -1, "is not an image: found an array without pixels"},
		{[]string{"-", "SCI"}, "SCI,1", roleImage, 1, ""},
	} {
		ref := file(c.names...)
		if c.ext != "" {
			ref += "[" + c.ext + "]"
		}
		m, err := fitsRequest{role: c.role}.read(ref)
		switch {
		case c.want < 0:
			if err == nil || exitCode(err) != exitBadInput || !strings.Contains(err.Error(), c.notice) {
				t.Errorf("%v[%s]: got %v, want %q", c.names, c.ext, err, c.notice)
			}
		case err != nil:
			t.Errorf("%v[%s]: %v", c.names, c.ext, err)
		case m.HDU != c.want || m.Pix[0] != float64(c.want) || (c.notice == "") != (m.Notice == "") || !strings.Contains(m.Notice, c.notice):
			t.Errorf("%v[%s]: got HDU %d, %q, want %d, %q", c.names, c.ext, m.HDU, m.Notice, c.want, c.notice)
		}
	}
}

func TestPackedFilesAreReadWhereverTheyAreAsked(t *testing.T) {
	for _, kind := range []string{"gz", "bz2", "xz"} {
		path := "testdata/packed/small.fits." + kind
		hdus, data, err := openFITS(path)
		if err != nil {
			t.Fatal(err)
		}
		defer data.Close()
		for _, k := range []int{1, 0, 1} { // forwards and back
			m, err := hdus[k].read(data)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			for i, v := range m.Pix {
				want := float64(i/50*1000 + i%50)
				if k == 1 {
					want = float64(i%50) + 0.5
				}
				if v != want {
					t.Fatalf("%s: HDU %d: pixel %d is %g, want %g", path, k, i, v, want)
				}
			}
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := fitsRequest{sum: true}.read(path + "[0]")
		if err != nil || m.SHA256 != disk.SumOf(raw) {
			t.Errorf("%s: got sum %s, %v", path, m.SHA256, err)
		}
		cut := filepath.Join(t.TempDir(), "cut")
		if err := os.WriteFile(cut, raw[:len(raw)*3/4], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readFITS(cut + "[1]"); err == nil || !strings.Contains(err.Error(), "damaged ") {
			t.Errorf("%s cut: got %v", path, err)
		}
	}
	if _, err := readFITS("testdata/packed/wide.fits.xz"); err == nil || !strings.Contains(err.Error(), "xz window of 1.61 GB, expected at most 64 MB") {
		t.Errorf("got %v", err)
	}
}

// Files that claim more than they should take are refused by their header.
func TestFilesThatClaimTooMuchAreRefusedUnread(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.fits")
	for _, c := range []struct {
		bitpix, w, h int
		want         string
	}{
		{8, 14000, 14000, "1.57 GB in memory, expected at most 464 MB of a file of 196 MB"},
		{8, 1000000, 1000000, "expected at most 4.29 GB"},
		{-64, 100000, 100000, "expected at most 4.29 GB"},
	} {
		size := int64(c.w) * int64(c.h) * int64(abs(c.bitpix)) / 8
		if err := os.WriteFile(path, rawHeader("SIMPLE  =                    T", fmt.Sprintf("BITPIX  = %d", c.bitpix), "NAXIS   = 2", fmt.Sprintf("NAXIS1  = %d", c.w), fmt.Sprintf("NAXIS2  = %d", c.h)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, fitsBlock+size); err != nil {
			t.Skip(err) // no sparse files here
		}
		if _, err := readFITS(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d x %d: got %v", c.w, c.h, err)
		}
	}
	head := rawFITS(nil, "SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 0")
	rows := append(slices.Clone(head), rawHeader("XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 1", "NAXIS2  = 100000000", "PCOUNT  = 0", "GCOUNT  = 1", "TFIELDS = 1", "TFORM1  = 'B'", "TTYPE1  = 'N'")...)
	if err := os.WriteFile(path, rows, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readTable(path); err == nil || !strings.Contains(err.Error(), "found 0 bytes of data, expected 100000000") {
		t.Errorf("got %v", err)
	}
	os.Truncate(path, int64(len(rows))+1e8)
	if _, err := readTable(path); err == nil || !strings.Contains(err.Error(), "found 100000000 rows of 1 bytes, expected at most 1048576 rows") {
		t.Errorf("got %v", err)
	}
}

// observed is the observation of a config's data section beside some FITS files.
func observed(t *testing.T, data string, files map[string]fitsOut) (*observation, error) {
	t.Helper()
	dir := t.TempDir()
	for name, f := range files {
		if err := writeFITS(filepath.Join(dir, name), f); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte("data: {"+data+"}\nlens: [{type: sis}]\nsource: [{type: sersic}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	return c.observe()
}

func flatImage(w, h int, value float64, cards ...fitsKey) fitsOut {
	return fitsOut{Bitpix: -64, Axes: []int{w, h}, Pix: slices.Repeat([]float64{value}, w*h), Cards: cards}
}

func TestObservationsBeyondReasonAreNamed(t *testing.T) {
	scale := func(v float64) []fitsKey { return []fitsKey{{"CDELT1", v, ""}, {"CDELT2", v, ""}} }
	huge := flatImage(20, 20, 1)
	huge.Pix[3*20+7] = 1e300
	for _, c := range []struct {
		data  string
		image fitsOut
		want  string // of the error; "notice: " of a notice; "" for neither
	}{
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, scale(0.05)...), "the image's header says 180 arcsec per pixel (CDELT1 and CDELT2, in degrees where no CUNIT tells): expected 1e-05 to 60"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, scale(1)...), "says 3600 arcsec per pixel"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, scale(1e-12)...), "says 3.6e-09 arcsec per pixel"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1), "is missing, and the image's header tells none"},
		{"image: a.fits, noise: 1, pixel_scale: 1e-9", flatImage(20, 20, 1), "data.pixel_scale: found 1e-09 arcsec per pixel, expected 1e-05 to 60"},
		{"image: a.fits, noise: 1, pixel_scale: 180", flatImage(20, 20, 1), "data.pixel_scale: found 180 arcsec per pixel"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1", flatImage(20, 20, 1, scale(1)...), "notice: the config says 0.1 arcsec per pixel, the image's header 3600: 0.1 is used"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1", flatImage(20, 20, 1), ""},
		{"image: a.fits, noise: 1, pixel_scale: 0.1", flatImage(2049, 2048, 1), "a.fits is 2049 x 2048 pixels, expected at most 4194304 in all"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1", huge, "pixel (7, 3), counted from 0, is 1e+300"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1, mask: {box: [1, 1], center: [0, 0.5]}", huge, ""},
		{"image: a.fits, noise: 1e-200, pixel_scale: 0.1", flatImage(20, 20, 1), "pixel (0, 0), counted from 0, is 1 with a noise of 1e-200"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, fitsKey{"CTYPE1", "RA---TPV", ""}, fitsKey{"CTYPE2", "DEC--TPV", ""}, fitsKey{"CD1_1", -1e-4, ""}, fitsKey{"CD2_2", 1e-4, ""}, fitsKey{"PV1_1", 1.05, ""}),
			"its pixels are not square"},
		{"image: a.fits, noise: 1", flatImage(20, 20, 1, fitsKey{"CTYPE1", "RA---TPV", ""}, fitsKey{"CTYPE2", "DEC--TPV", ""}, fitsKey{"CD1_1", -1e-4, ""}, fitsKey{"CD2_2", 1e-4, ""}, fitsKey{"PV1_1", 1.05, ""}, fitsKey{"PV2_1", 1.05, ""}),
			"notice: says 0.378 arcsec per pixel at the image's centre, and 0.36 by its linear terms"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1, psf: {file: a.fits}", flatImage(21, 21, 1, scale(0.05/3600)...), "notice: the PSF's header says 0.05 arcsec per pixel: 0.1 is used (supersampling: 2 would take the header's)"},
		{"image: a.fits, noise: 1, pixel_scale: 0.1, psf: {file: a.fits, supersampling: 2}", flatImage(21, 21, 1, scale(0.05/3600)...), "notice: the image's header 0.05"},
	} {
		o, err := observed(t, c.data, map[string]fitsOut{"a.fits": c.image})
		notice, isNotice := strings.CutPrefix(c.want, "notice: ")
		switch {
		case !isNotice && c.want != "":
			if err == nil || exitCode(err) != exitBadInput || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %q", c.data, err, c.want)
			}
		case err != nil:
			t.Errorf("%s: %v", c.data, err)
		case !strings.Contains(strings.Join(o.Notices, "; "), notice) || !isNotice && len(o.Notices) > 0:
			t.Errorf("%s: got notices %q, want %q", c.data, o.Notices, notice)
		case strings.Contains(c.data, "supersampling") && strings.Contains(strings.Join(o.Notices, ";"), "PSF's header"):
			t.Errorf("%s: got notices %q", c.data, o.Notices)
		}
	}
	small, err := observed(t, "image: a.fits, noise: 1, pixel_scale: 0.1", map[string]fitsOut{"a.fits": flatImage(7, 20, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := small.fittable(&config{Data: dataConfig{Image: "a.fits"}}); err == nil || !strings.Contains(err.Error(), "a.fits is 7 x 20 pixels, expected sides of at least 8 for a fit") {
		t.Errorf("got %v", err)
	}
	// a mask is not spoken of where none was given
	_, err = bareObserved(t, flatImage(30, 30, 1), bareImage{Noise: "1", PSF: "none", PixelScale: 59})
	if err == nil || strings.Contains(err.Error(), "mask") || !strings.Contains(err.Error(), "none of 30 x 30 pixels, which are 1770 x 1770 arcsec, lies between 0.2 and 3.5 arcsec from the centre") {
		t.Errorf("got %v", err)
	}
}

func bareObserved(t *testing.T, image fitsOut, b bareImage) (*observation, error) {
	t.Helper()
	b.Image = filepath.Join(t.TempDir(), "a.fits")
	if err := writeFITS(b.Image, image); err != nil {
		t.Fatal(err)
	}
	c, err := bareConfig(b)
	if err != nil {
		return nil, err
	}
	return c.observe()
}

func FuzzTiles(f *testing.F) {
	names, err := filepath.Glob("testdata/tiles/*.fits")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	path := filepath.Join(f.TempDir(), "fuzz.fits")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !bytes.Contains(raw, []byte("ZIMAGE")) {
			return
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := readFITS(path)
		if err != nil {
			if exitCode(err) != exitBadInput {
				t.Fatalf("exit %d: %v", exitCode(err), err)
			}
			return
		}
		n := 1
		for _, a := range m.Axes {
			n *= a
		}
		if n != len(m.Pix) {
			t.Fatalf("axes %v, %d pixels", m.Axes, len(m.Pix))
		}
	})
}

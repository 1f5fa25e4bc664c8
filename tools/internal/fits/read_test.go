package fits

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/disk"
	"lenskit/tools/internal/term"
)

// rawFITS is a file of one image whose data are these bytes.
func rawFITS(data []byte, cards ...string) []byte {
	return append(append(rawHeader(cards...), data...), make([]byte, (Block-len(data)%Block)%Block)...)
}

func rawHeader(cards ...string) []byte {
	s := ""
	for _, l := range append(cards, "END") {
		s += fmt.Sprintf("%-80s", l)
	}
	return []byte(s + strings.Repeat(" ", (Block-len(s)%Block)%Block))
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
		m, err := Request{Sum: true}.Read(path)
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
		tab, err := ReadTable(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tab.Numbers("n"); err != nil || !slices.Equal(got[0], c.want) {
			t.Errorf("table of %s: got %v, %v, want %v", form, got, err, c.want)
		}
	}
}

func TestOneOfSeveralImagesIsAChoice(t *testing.T) {
	dir := t.TempDir()
	file := func(names ...string) string { // a name may have a version: SCI,2; "" is without a name, "-" without pixels
		var out []Out
		for k, n := range names {
			name, version, _ := strings.Cut(n, ",")
			if n == "-" {
				out = append(out, Out{})
				continue
			}
			o := Out{Name: name, Axes: []int{3, 2}, Pix: []float64{float64(k), 0, 0, 0, 0, 0}}
			if version != "" {
				o.Cards = []Key{{"EXTVER", int(version[0] - '0'), ""}}
			}
			out = append(out, o)
		}
		path := filepath.Join(dir, "f.fits")
		if err := Write(path, out...); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		names  []string
		ext    string
		role   Role
		want   int    // HDU
		notice string // a part of it, or of the error
	}{
		{[]string{""}, "", RoleImage, 0, ""},
		{[]string{"-", "ERR"}, "", RoleImage, 1, ""},
		{[]string{"-", "SCI", "ERR", "DQ"}, "", RoleImage, 1, "holds 3 images: HDU 1, SCI is taken"},
		{[]string{"-", "SCI", "ERR", "DQ"}, "", RoleNoise, 2, "holds 3 images: HDU 2, ERR is taken"},
		{[]string{"", "NOISE", "PSF", "MODEL"}, "", RoleImage, 0, "HDU 0, without a name is taken"},
		{[]string{"", "NOISE", "PSF"}, "", RolePSF, 2, "HDU 2, PSF is taken"},
		{[]string{"", "NOISE", "DQ"}, "", RoleMask, -1, "holds 3 images, expected a choice: found 0 (3 x 2), 1 NOISE,1 (3 x 2), 2 DQ,1 (3 x 2)"},
		{[]string{"", ""}, "", RoleImage, -1, "found 0 (3 x 2), 1 (3 x 2)"},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "", RoleImage, -1, "found 1 SCI,1 (3 x 2), 2 ERR,1 (3 x 2), 3 SCI,2"},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "sci", RoleImage, -1, "names 2 images, expected one"},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "sci,2", RoleImage, 3, ""},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "SCI, 1", RoleImage, 1, ""},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "SCI,3", RoleImage, -1, "no such extension: found 0 (an array without pixels), 1 SCI,1"},
		{[]string{"-", "SCI,1", "ERR,1", "SCI,2", "ERR,2"}, "4", RoleImage, 4, ""},
		{[]string{"-", "SCI"}, "0", RoleImage, -1, "is not an image: found an array without pixels"},
		{[]string{"-", "SCI"}, "SCI,1", RoleImage, 1, ""},
	} {
		ref := file(c.names...)
		if c.ext != "" {
			ref += "[" + c.ext + "]"
		}
		m, err := Request{Role: c.role}.Read(ref)
		switch {
		case c.want < 0:
			if err == nil || term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), c.notice) {
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
		hdus, data, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer data.Close()
		for _, k := range []int{1, 0, 1} { // forwards and back
			m, err := hdus[k].Read(data)
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
		m, err := Request{Sum: true}.Read(path + "[0]")
		if err != nil || m.SHA256 != disk.SumOf(raw) {
			t.Errorf("%s: got sum %s, %v", path, m.SHA256, err)
		}
		cut := filepath.Join(t.TempDir(), "cut")
		if err := os.WriteFile(cut, raw[:len(raw)*3/4], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(cut + "[1]"); err == nil || !strings.Contains(err.Error(), "damaged ") {
			t.Errorf("%s cut: got %v", path, err)
		}
	}
	if _, err := Read("testdata/packed/wide.fits.xz"); err == nil || !strings.Contains(err.Error(), "xz window of 1.61 GB, expected at most 64 MB") {
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
		size := int64(c.w) * int64(c.h) * int64(Abs(c.bitpix)) / 8
		if err := os.WriteFile(path, rawHeader("SIMPLE  =                    T", fmt.Sprintf("BITPIX  = %d", c.bitpix), "NAXIS   = 2", fmt.Sprintf("NAXIS1  = %d", c.w), fmt.Sprintf("NAXIS2  = %d", c.h)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, Block+size); err != nil {
			t.Skip(err) // no sparse files here
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d x %d: got %v", c.w, c.h, err)
		}
	}
	head := rawFITS(nil, "SIMPLE  =                    T", "BITPIX  = 8", "NAXIS   = 0")
	rows := append(slices.Clone(head), rawHeader("XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 1", "NAXIS2  = 100000000", "PCOUNT  = 0", "GCOUNT  = 1", "TFIELDS = 1", "TFORM1  = 'B'", "TTYPE1  = 'N'")...)
	if err := os.WriteFile(path, rows, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTable(path); err == nil || !strings.Contains(err.Error(), "found 0 bytes of data, expected 100000000") {
		t.Errorf("got %v", err)
	}
	os.Truncate(path, int64(len(rows))+1e8)
	if _, err := ReadTable(path); err == nil || !strings.Contains(err.Error(), "found 100000000 rows of 1 bytes, expected at most 1048576 rows") {
		t.Errorf("got %v", err)
	}
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
		m, err := Read(path)
		if err != nil {
			if term.ExitCode(err) != term.ExitBadInput {
				t.Fatalf("exit %d: %v", term.ExitCode(err), err)
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

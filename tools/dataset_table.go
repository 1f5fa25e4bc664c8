package tools

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// fitsTable is the first binary table of a FITS file. Column names are in lower case.
type fitsTable struct {
	path    string
	rows    int
	width   int // bytes of a row
	data    []byte
	columns map[string]fitsColumn
}

// fitsColumn is where a column stands in a row: count elements of a type letter of the standard, scaled.
type fitsColumn struct {
	at, count   int
	letter      byte
	scale, zero float64
}

// fitsTypes are the bytes of an element by type letter; bits (X) are counted apart.
var fitsTypes = map[byte]int{'L': 1, 'B': 1, 'I': 2, 'J': 4, 'K': 8, 'E': 4, 'D': 8, 'A': 1, 'C': 8, 'M': 16, 'P': 8, 'Q': 16}

var fitsForm = regexp.MustCompile(`^(\d*)([LXBIJKAEDCMPQ])`)

// fitsMaxColumns is the standard's limit.
const fitsMaxColumns = 999

// readTable reads the first binary table of a FITS file.
func readTable(path string) (*fitsTable, error) {
	hdus, data, err := openFITS(path)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	for i := range hdus {
		h := &hdus[i]
		if v := h.header.text("XTENSION"); v != "BINTABLE" && v != "A3DTABLE" || h.isTiled() {
			continue
		}
		t, err := h.table(path, data)
		if err != nil {
			return nil, badInput("%s: HDU %d: %w", path, h.index, err)
		}
		return t, nil
	}
	return nil, badInput("%s: holds no binary table", path)
}

// table reads the HDU's rows.
func (h *fitsHDU) table(path string, r io.ReaderAt) (*fitsTable, error) {
	if len(h.axes) != 2 {
		return nil, fmt.Errorf("found a table of %d axes, expected 2", len(h.axes))
	}
	t := &fitsTable{path: path, width: h.axes[0], rows: h.axes[1], columns: map[string]fitsColumn{}}
	if t.width < 1 {
		return nil, fmt.Errorf("found rows of %d bytes", t.width)
	}
	size := times(int64(t.width), int64(t.rows))
	if size > h.left || size > fitsMaxUnpacked {
		return nil, fmt.Errorf("found %d bytes of data, expected %d for %d rows", h.left, size, t.rows)
	}
	fields, err := h.header.needed("TFIELDS")
	if err != nil {
		return nil, err
	}
	if fields < 0 || fields > fitsMaxColumns {
		return nil, fmt.Errorf("found TFIELDS = %d, expected 0 to %d", fields, fitsMaxColumns)
	}
	at := 0
	for k := 1; k <= int(fields); k++ {
		n := strconv.Itoa(k)
		form := h.header.text("TFORM" + n)
		m := fitsForm.FindStringSubmatch(form)
		if m == nil {
			return nil, fmt.Errorf("found TFORM%d = %q, expected a count and a type", k, form)
		}
		c := fitsColumn{at: at, count: 1, letter: m[2][0]}
		if m[1] != "" {
			if c.count, err = strconv.Atoi(m[1]); err != nil || c.count > t.width*8 {
				return nil, fmt.Errorf("found TFORM%d = %q in rows of %d bytes", k, form, t.width)
			}
		}
		if c.scale, err = h.header.number("TSCAL"+n, 1); err != nil {
			return nil, err
		}
		if c.zero, err = h.header.number("TZERO"+n, 0); err != nil {
			return nil, err
		}
		if c.letter == 'X' {
			at += (c.count + 7) / 8
		} else {
			at += c.count * fitsTypes[c.letter]
		}
		if at > t.width {
			return nil, fmt.Errorf("column %d ends at byte %d of rows of %d bytes", k, at, t.width)
		}
		name := strings.ToLower(strings.TrimSpace(h.header.text("TTYPE" + n)))
		if _, twice := t.columns[name]; !twice {
			t.columns[name] = c
		}
	}
	t.data = make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(r, h.start, size), t.data); err != nil {
		return nil, err
	}
	return t, nil
}

// column finds a column by its name in any letter case.
func (t *fitsTable) column(name string, letters string) (fitsColumn, error) {
	c, ok := t.columns[strings.ToLower(name)]
	if !ok {
		var names []string
		for n := range t.columns {
			names = append(names, n)
		}
		slices.Sort(names)
		return c, badInput("%s: has no column %s: found %s", t.path, name, strings.Join(names, ", "))
	}
	if !strings.ContainsRune(letters, rune(c.letter)) {
		return c, badInput("%s: column %s is of type %c, expected one of %s", t.path, name, c.letter, letters)
	}
	return c, nil
}

// has tells whether there is a column.
func (t *fitsTable) has(name string) bool { _, ok := t.columns[strings.ToLower(name)]; return ok }

// numbers reads a column of numbers or truth values: for each row its elements.
func (t *fitsTable) numbers(name string) ([][]float64, error) {
	c, err := t.column(name, "LBIJKED")
	if err != nil {
		return nil, err
	}
	out := make([][]float64, t.rows)
	size := fitsTypes[c.letter]
	for i := range out {
		out[i] = make([]float64, c.count)
		for k := range out[i] {
			b := t.data[i*t.width+c.at+k*size:]
			var v float64
			switch c.letter {
			case 'L':
				if b[0] == 'T' || b[0] == 1 {
					v = 1
				}
			case 'B':
				v = float64(b[0])
			case 'I':
				v = float64(int16(binary.BigEndian.Uint16(b)))
			case 'J':
				v = float64(int32(binary.BigEndian.Uint32(b)))
			case 'K':
				v = float64(int64(binary.BigEndian.Uint64(b)))
			case 'E':
				v = float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
			case 'D':
				v = math.Float64frombits(binary.BigEndian.Uint64(b))
			}
			out[i][k] = c.zero + c.scale*v
		}
	}
	return out, nil
}

// first is the first element of each row of a column of numbers.
func (t *fitsTable) first(name string) ([]float64, error) {
	v, err := t.numbers(name)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(v))
	for i := range v {
		if len(v[i]) == 0 {
			return nil, badInput("%s: column %s is empty", t.path, name)
		}
		out[i] = v[i][0]
	}
	return out, nil
}

// texts reads a column of strings.
func (t *fitsTable) texts(name string) ([]string, error) {
	c, err := t.column(name, "A")
	if err != nil {
		return nil, err
	}
	out := make([]string, t.rows)
	for i := range out {
		b := t.data[i*t.width+c.at : i*t.width+c.at+c.count]
		s, _, _ := strings.Cut(string(b), "\x00")
		out[i] = strings.TrimRight(s, " ")
	}
	return out, nil
}

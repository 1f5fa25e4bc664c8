package fits

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lenskit/internal/disk"
	"lenskit/tools/internal/term"
)

// Table is the first binary table of a FITS file. Column names are in lower case.
type Table struct {
	path    string
	Rows    int
	width   int // bytes of a row
	data    []byte
	columns map[string]fitsColumn
}

// fitsColumn is where a column stands in a row: count elements of a type letter of the standard, scaled.
type fitsColumn struct {
	at, count int
	letter    byte
	scaling   fitsScaling
}

// fitsTypes are the bytes of an element by type letter; bits (X) are counted apart.
var fitsTypes = map[byte]int{'L': 1, 'B': 1, 'I': 2, 'J': 4, 'K': 8, 'E': 4, 'D': 8, 'A': 1, 'C': 8, 'M': 16, 'P': 8, 'Q': 16}

var fitsForm = regexp.MustCompile(`^(\d*)([LXBIJKAEDCMPQ])`)

// Limits on tables: the columns are the standard's.
const (
	fitsMaxColumns  = 999
	fitsMaxRows     = 1 << 20
	fitsMaxTable    = 256 << 20 // bytes
	fitsMaxElements = 16 << 20  // numbers of a column
)

// ReadTable reads the first binary table of a FITS file.
func ReadTable(path string) (*Table, error) {
	hdus, data, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	for i := range hdus {
		h := &hdus[i]
		if v := h.Header.Text("XTENSION"); v != "BINTABLE" && v != "A3DTABLE" || h.isTiled() {
			continue
		}
		t, err := h.table(path, data)
		if err != nil {
			return nil, term.BadInput("%s: HDU %d: %w", path, h.Index, err)
		}
		return t, nil
	}
	return nil, term.BadInput("%s: holds no binary table", path)
}

// table reads the HDU's rows.
func (h *HDU) table(path string, r io.ReaderAt) (*Table, error) {
	if len(h.axes) != 2 {
		return nil, fmt.Errorf("found a table of %d axes, expected 2", len(h.axes))
	}
	t := &Table{path: path, width: h.axes[0], Rows: h.axes[1], columns: map[string]fitsColumn{}}
	if t.width < 1 {
		return nil, fmt.Errorf("found rows of %d bytes", t.width)
	}
	if v := h.Header.Text("ZTABLE"); v == "T" {
		return nil, fmt.Errorf("is a compressed table, which is not read: funpack unpacks it")
	}
	size := times(int64(t.width), int64(t.Rows))
	if size > h.left {
		return nil, fmt.Errorf("found %d bytes of data, expected %d for %d rows", h.left, size, t.Rows)
	}
	if t.Rows > fitsMaxRows || size > fitsMaxTable {
		return nil, fmt.Errorf("found %d rows of %d bytes, expected at most %d rows and %s", t.Rows, t.width, fitsMaxRows, disk.Size(fitsMaxTable))
	}
	fields, err := h.Header.needed("TFIELDS")
	if err != nil {
		return nil, err
	}
	if fields < 0 || fields > fitsMaxColumns {
		return nil, fmt.Errorf("found TFIELDS = %d, expected 0 to %d", fields, fitsMaxColumns)
	}
	at := 0
	for k := 1; k <= int(fields); k++ {
		n := strconv.Itoa(k)
		form := h.Header.Text("TFORM" + n)
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
		if c.scaling.scale, err = h.Header.Number("TSCAL"+n, 1); err != nil {
			return nil, err
		}
		if c.scaling.zero, err = h.Header.Number("TZERO"+n, 0); err != nil {
			return nil, err
		}
		if strings.ContainsRune("BIJK", rune(c.letter)) {
			if c.scaling.blank, c.scaling.hasBlank, err = h.Header.integer("TNULL" + n); err != nil {
				return nil, err
			}
		}
		if c.letter == 'X' {
			at += (c.count + 7) / 8
		} else {
			at += c.count * fitsTypes[c.letter]
		}
		if at > t.width {
			return nil, fmt.Errorf("column %d ends at byte %d of rows of %d bytes", k, at, t.width)
		}
		name := strings.ToLower(strings.TrimSpace(h.Header.Text("TTYPE" + n)))
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
func (t *Table) column(name string, letters string) (fitsColumn, error) {
	c, ok := t.columns[strings.ToLower(name)]
	if !ok {
		var names []string
		for n := range t.columns {
			names = append(names, n)
		}
		slices.Sort(names)
		return c, term.BadInput("%s: has no column %s: found %s", t.path, name, strings.Join(names, ", "))
	}
	if !strings.ContainsRune(letters, rune(c.letter)) {
		return c, term.BadInput("%s: column %s is of type %c, expected one of %s", t.path, name, c.letter, letters)
	}
	return c, nil
}

// Has tells whether there is a column.
func (t *Table) Has(name string) bool { _, ok := t.columns[strings.ToLower(name)]; return ok }

// Numbers reads a column of numbers or truth values: for each row its elements.
func (t *Table) Numbers(name string) ([][]float64, error) {
	c, err := t.column(name, "LBIJKED")
	if err != nil {
		return nil, err
	}
	if times(int64(t.Rows), int64(c.count)) > fitsMaxElements {
		return nil, term.BadInput("%s: column %s has %d rows of %d numbers, expected at most %d in all", t.path, name, t.Rows, c.count, fitsMaxElements)
	}
	all := make([]float64, t.Rows*c.count)
	out := make([][]float64, t.Rows)
	size := fitsTypes[c.letter]
	for i := range out {
		out[i] = all[i*c.count : (i+1)*c.count : (i+1)*c.count]
		raw := t.data[i*t.width+c.at:][:c.count*size]
		switch c.letter {
		case 'L':
			for k, b := range raw {
				if b == 'T' || b == 1 {
					out[i][k] = 1
				}
			}
		case 'E', 'D':
			c.scaling.decode(out[i], raw, -8*size)
		default:
			c.scaling.decode(out[i], raw, 8*size)
		}
	}
	return out, nil
}

// First is the first element of each row of a column of numbers.
func (t *Table) First(name string) ([]float64, error) {
	v, err := t.Numbers(name)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(v))
	for i := range v {
		if len(v[i]) == 0 {
			return nil, term.BadInput("%s: column %s is empty", t.path, name)
		}
		out[i] = v[i][0]
	}
	return out, nil
}

// Texts reads a column of strings.
func (t *Table) Texts(name string) ([]string, error) {
	c, err := t.column(name, "A")
	if err != nil {
		return nil, err
	}
	out := make([]string, t.Rows)
	for i := range out {
		b := t.data[i*t.width+c.at : i*t.width+c.at+c.count]
		s, _, _ := strings.Cut(string(b), "\x00")
		out[i] = strings.TrimRight(s, " ")
	}
	return out, nil
}

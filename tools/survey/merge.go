package survey

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lenskit/internal/disk"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// surveyTable is the catalogue of a survey: a row per lens, NaN where a lens has no such parameter.
type surveyTable struct {
	rows    []Standing // without their parameters
	entries []tableEntry
	params  []string // parameters of any lens, in the order in which they were met
}

// tableEntry is what a lens has in the columns of parameters.
type tableEntry struct {
	columns       []int32
	values, sigma []float64
	eastOfNorth   term.OrderedValues
}

// mostParameters is the number of columns of a FITS table (standard 4.0, §7.3.1), less those of surveyNumbers and the first
// three, for two to a parameter.
const mostParameters = (999 - 3 - len(surveyNumbers)) / 2

// longestColumn is the length of a column's name that leaves room in a card for _error and the quotes (§4.2.1.1); that of a longer
// one ends in some digits of its SHA-256.
const longestColumn = 68 - len("_error")

// number is column k of surveyNumbers in row i.
func (t *surveyTable) number(i, k int) float64 {
	if t.rows[i].Rec == nil {
		return math.NaN()
	}
	return t.rows[i].Rec.numbers[k]
}

// table gathers the results of all lenses; the latents of decoders, which the config of each run tells, only when asked for. Where
// a config cannot be read, none of the lens's parameters is known for a latent.
func (s *Survey) table(ctx context.Context, latents bool) (*surveyTable, error) {
	t := &surveyTable{rows: make([]Standing, len(s.Lenses)), entries: make([]tableEntry, len(s.Lenses))}
	at := map[string]int32{}
	for i := range t.rows {
		if err := stoppedOr(ctx, nil); err != nil {
			return nil, err
		}
		r := s.standing(i + 1)
		if r.Rec != nil {
			sigma := map[string]float64{}
			for k, n := range r.Rec.Uncertainties.Names {
				sigma[n] = r.Rec.Uncertainties.Values[k]
			}
			e := &t.entries[i]
			e.eastOfNorth = r.Rec.EastOfNorth
			var cfg *config.Config
			if !latents {
				cfg, _ = config.Load(filepath.Join(s.folder(i+1), rundir.ConfigYAML))
			}
			for k, n := range r.Rec.Parameters.Names {
				if cfg != nil && cfg.IsLatent(n) {
					continue
				}
				c, ok := at[n]
				if !ok {
					if len(t.params) == mostParameters {
						return nil, term.WithHint(term.BadInput("%s: its lenses have more than %d parameters between them, expected as many as a table has columns for", s.dir, mostParameters),
							"lenses of one kind whose lens and source have one name share columns; --latents adds those of decoders")
					}
					c = int32(len(t.params))
					at[n], t.params = c, append(t.params, n)
				}
				v, ok := sigma[n]
				if !ok {
					v = math.NaN()
				}
				e.columns, e.values, e.sigma = append(e.columns, c), append(e.values, r.Rec.Parameters.Values[k]), append(e.sigma, v)
			}
		}
		r.forget()
		t.rows[i] = r
	}
	return t, nil
}

// fill writes the values and uncertainties of lens i, by turns, into a row of all columns.
func (t *surveyTable) fill(row []float64, i int) {
	for k := range row {
		row[k] = math.NaN()
	}
	e := &t.entries[i]
	for k, c := range e.columns {
		row[2*c], row[2*c+1] = e.values[k], e.sigma[k]
	}
}

// writeCSV writes the table: index, name, status, reason, numbers, and each parameter with its uncertainty; what is not
// known is empty.
func (t *surveyTable) writeCSV(path string) error {
	return rundir.WriteAtomic(path, func(w io.Writer) error {
		c := csv.NewWriter(w)
		row := []string{"index", "name", "status", "reason"}
		row = append(row, surveyNumbers[:]...)
		for _, p := range t.params {
			row = append(row, p, p+"_error")
		}
		c.Write(row)
		text := func(v float64) string {
			if math.IsNaN(v) {
				return ""
			}
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
		values := make([]float64, 2*len(t.params))
		for i, r := range t.rows {
			row = []string{strconv.Itoa(r.Index), r.Name, r.State, r.Message}
			for k := range surveyNumbers {
				row = append(row, text(t.number(i, k)))
			}
			t.fill(values, i)
			for _, v := range values {
				row = append(row, text(v))
			}
			c.Write(row)
		}
		c.Flush()
		return c.Error()
	})
}

// writeJSON writes the table as a list of objects, like fit.json of each lens without its particulars.
func (t *surveyTable) writeJSON(path string) error {
	return rundir.WriteAtomic(path, func(w io.Writer) error {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("  ", "  ")
		before := "[\n  "
		for i := range t.rows {
			b.Reset()
			b.WriteString(before)
			if err := e.Encode(t.object(i)); err != nil {
				return err
			}
			if _, err := w.Write(bytes.TrimRight(b.Bytes(), "\n")); err != nil {
				return err
			}
			before = ",\n  "
		}
		_, err := io.WriteString(w, "\n]\n")
		return err
	})
}

// object is row i as JSON has it.
func (t *surveyTable) object(i int) map[string]any {
	r, e := &t.rows[i], &t.entries[i]
	o := map[string]any{"index": r.Index, "name": r.Name, "status": r.State}
	if r.Message != "" {
		o["reason"] = r.Message
	}
	if r.Rec != nil {
		for k, n := range surveyNumbers {
			o[n] = term.JSONFloat(t.number(i, k))
		}
		names := make([]string, len(e.columns))
		for k, c := range e.columns {
			names[k] = t.params[c]
		}
		o["parameters"], o["uncertainties"] = term.OrderedValues{Names: names, Values: e.values}, term.OrderedValues{Names: names, Values: e.sigma}
		if len(e.eastOfNorth.Names) > 0 {
			o["position_angles_east_of_north"] = e.eastOfNorth
		}
	}
	return o
}

// writeFITS writes the table as a binary table LENSES after an empty primary HDU (FITS standard 4.0, §7.3): index as a
// 32-bit integer, name and status as text, all else as 64-bit floats.
func (t *surveyTable) writeFITS(path string) error {
	nameW, stateW := 1, 1
	for _, r := range t.rows {
		nameW, stateW = max(nameW, len(r.Name)), max(stateW, len(r.State))
	}
	names := []string{"index", "name", "status"}
	forms := []string{"1J", fmt.Sprintf("%dA", nameW), fmt.Sprintf("%dA", stateW)}
	for _, n := range surveyNumbers {
		names, forms = append(names, n), append(forms, "1D")
	}
	for _, p := range t.params {
		if len(p) > longestColumn {
			p = p[:longestColumn-9] + "_" + disk.SumOf([]byte(p))[:8]
		}
		names, forms = append(names, p, p+"_error"), append(forms, "1D", "1D")
	}
	row := 4 + nameW + stateW + 8*(len(names)-3)
	var b bytes.Buffer
	card := func(key, value string) { fmt.Fprintf(&b, "%-80.80s", fmt.Sprintf("%-8s= %20s", key, value)) }
	quoted := func(key, value string) { fmt.Fprintf(&b, "%-80s", fmt.Sprintf("%-8s= '%-8s'", key, value)) }
	pad := func() { b.WriteString(strings.Repeat(" ", (fits.Block-b.Len()%fits.Block)%fits.Block)) }
	card("SIMPLE", "T")
	card("BITPIX", "8")
	card("NAXIS", "0")
	card("EXTEND", "T")
	fmt.Fprintf(&b, "%-80s", "END")
	pad()
	quoted("XTENSION", "BINTABLE")
	for _, c := range []struct {
		key   string
		value int
	}{{"BITPIX", 8}, {"NAXIS", 2}, {"NAXIS1", row}, {"NAXIS2", len(t.rows)}, {"PCOUNT", 0}, {"GCOUNT", 1}, {"TFIELDS", len(names)}} {
		card(c.key, strconv.Itoa(c.value))
	}
	quoted("EXTNAME", "LENSES")
	for i := range names {
		quoted(fmt.Sprintf("TTYPE%d", i+1), names[i])
		quoted(fmt.Sprintf("TFORM%d", i+1), forms[i])
	}
	fmt.Fprintf(&b, "%-80s", "END")
	pad()
	text := func(s string, width int) { b.WriteString(s + strings.Repeat("\x00", width-len(s))) }
	values := make([]float64, 2*len(t.params))
	return rundir.WriteAtomic(path, func(w io.Writer) error {
		written := 0
		for i, r := range t.rows {
			binary.Write(&b, binary.BigEndian, int32(r.Index))
			text(r.Name, nameW)
			text(r.State, stateW)
			for k := range surveyNumbers {
				binary.Write(&b, binary.BigEndian, t.number(i, k))
			}
			t.fill(values, i)
			binary.Write(&b, binary.BigEndian, values)
			if i == len(t.rows)-1 {
				b.Write(make([]byte, (fits.Block-(written+b.Len())%fits.Block)%fits.Block))
			}
			n, err := b.WriteTo(w)
			if err != nil {
				return err
			}
			written += int(n)
		}
		return nil
	})
}

// MergeOptions says what Merge writes.
type MergeOptions struct {
	Dir     string
	Output  string // base of the files' names; "": DIR/catalog
	Latents bool   // the latents of decoders, too
}

// Merge writes the results of all lenses of a survey as CSV, JSON and FITS tables and contact sheets of those that
// have results. It returns the files and how the lenses stand.
func Merge(ctx context.Context, opt MergeOptions) (made []string, rows []Standing, err error) {
	s, err := Open(opt.Dir)
	if err != nil {
		return nil, nil, err
	}
	base := opt.Output
	if base == "" {
		base = filepath.Join(opt.Dir, "catalog")
	} else if info, err := os.Stat(base); err == nil && info.IsDir() {
		base = filepath.Join(base, "catalog")
	}
	for _, end := range []string{".csv", ".json", ".fits", ".png"} {
		base = strings.TrimSuffix(base, end)
	}
	for i, path := range []string{opt.Output, base, base + ".csv", base + ".json", base + ".fits", base + ".png"} {
		if info, err := os.Stat(path); i < 2 && (err != nil || info.IsDir()) {
			continue // not written itself; a device or a pipe is no base of names
		}
		if err := disk.CheckTarget(path); err != nil {
			return nil, nil, err
		}
	}
	if err := rundir.Prepare(filepath.Dir(base)); err != nil {
		return nil, nil, err
	}
	t, err := s.table(ctx, opt.Latents)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range []struct {
		end   string
		write func(path string) error
	}{
		{".csv", t.writeCSV},
		{".json", t.writeJSON},
		{".fits", t.writeFITS},
	} {
		if err := f.write(base + f.end); err != nil {
			return made, nil, err
		}
		made = append(made, base+f.end)
	}
	sheets, err := s.contactSheets(ctx, base, t.rows)
	return append(made, sheets...), t.rows, err
}

package tools

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// surveyTable is the catalogue of a survey: a row per lens, NaN where a lens has no such parameter.
type surveyTable struct {
	rows   []standing
	params []string // parameters of any lens, in the order in which they were met
	values [][]float64
	errors [][]float64
}

// surveyNumbers are the columns of numbers beside the parameters.
var surveyNumbers = []struct {
	name string
	get  func(r *fitRecord) float64
}{
	{"log_posterior", func(r *fitRecord) float64 { return float64(r.LogPosterior) }},
	{"chi2", func(r *fitRecord) float64 { return float64(r.Chi2) }},
	{"pixels", func(r *fitRecord) float64 { return float64(r.Pixels) }},
	{"reduced_chi2", func(r *fitRecord) float64 { return float64(r.ReducedChi2) }},
	{"evaluations", func(r *fitRecord) float64 { return float64(r.Evaluations) }},
	{"seconds", func(r *fitRecord) float64 { return float64(r.Seconds) }},
}

// number is column k of surveyNumbers in row i.
func (t *surveyTable) number(i, k int) float64 {
	if t.rows[i].rec == nil {
		return math.NaN()
	}
	return surveyNumbers[k].get(t.rows[i].rec)
}

// table gathers the results of all lenses; the latents of decoders only when asked for.
func (s *survey) table(latents bool) *surveyTable {
	t := &surveyTable{rows: s.all()}
	at := map[string]int{}
	for i := range t.rows {
		r := t.rows[i].rec
		if r == nil {
			continue
		}
		for _, n := range r.Parameters.names {
			if _, ok := at[n]; !ok && (latents || !isLatent(n)) {
				at[n] = len(t.params)
				t.params = append(t.params, n)
			}
		}
	}
	fill := func(v orderedValues) []float64 {
		out := make([]float64, len(t.params))
		for k := range out {
			out[k] = math.NaN()
		}
		for k, n := range v.names {
			if j, ok := at[n]; ok {
				out[j] = v.values[k]
			}
		}
		return out
	}
	for i := range t.rows {
		var p, e orderedValues
		if r := t.rows[i].rec; r != nil {
			p, e = r.Parameters, r.Uncertainties
		}
		t.values, t.errors = append(t.values, fill(p)), append(t.errors, fill(e))
	}
	return t
}

// writeCSV writes the table: index, name, status, reason, numbers, and each parameter with its uncertainty; what is not
// known is empty.
func (t *surveyTable) writeCSV(path string) error {
	return writeAtomic(path, func(w io.Writer) error {
		c := csv.NewWriter(w)
		row := []string{"index", "name", "status", "reason"}
		for _, n := range surveyNumbers {
			row = append(row, n.name)
		}
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
		for i, r := range t.rows {
			row = []string{strconv.Itoa(r.Index), r.Name, r.State, r.Message}
			for k := range surveyNumbers {
				row = append(row, text(t.number(i, k)))
			}
			for k := range t.params {
				row = append(row, text(t.values[i][k]), text(t.errors[i][k]))
			}
			c.Write(row)
		}
		c.Flush()
		return c.Error()
	})
}

// objects is the table as a list of objects, like fit.json of each lens without its particulars.
func (t *surveyTable) objects() []map[string]any {
	out := make([]map[string]any, 0, len(t.rows))
	for i, r := range t.rows {
		o := map[string]any{"index": r.Index, "name": r.Name, "status": r.State}
		if r.Message != "" {
			o["reason"] = r.Message
		}
		if r.rec != nil {
			for k, n := range surveyNumbers {
				o[n.name] = jsonFloat(t.number(i, k))
			}
			o["parameters"], o["uncertainties"] = t.known(i, t.values), t.known(i, t.errors)
			if r.rec.EastOfNorth != nil {
				o["position_angles_east_of_north"] = r.rec.EastOfNorth
			}
		}
		out = append(out, o)
	}
	return out
}

// known are the parameters that lens i has.
func (t *surveyTable) known(i int, from [][]float64) orderedValues {
	var o orderedValues
	has := map[string]bool{}
	for _, n := range t.rows[i].rec.Parameters.names {
		has[n] = true
	}
	for k, n := range t.params {
		if has[n] {
			o.names, o.values = append(o.names, n), append(o.values, from[i][k])
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
		names, forms = append(names, n.name), append(forms, "1D")
	}
	for _, p := range t.params {
		names, forms = append(names, p, p+"_error"), append(forms, "1D", "1D")
	}
	row := 4 + nameW + stateW + 8*(len(names)-3)
	var b bytes.Buffer
	card := func(key, value string) { fmt.Fprintf(&b, "%-80.80s", fmt.Sprintf("%-8s= %20s", key, value)) }
	quoted := func(key, value string) {
		fmt.Fprintf(&b, "%-80.80s", fmt.Sprintf("%-8s= '%-8s'", key, strings.ReplaceAll(value, "'", "''")))
	}
	pad := func(fill string) { b.WriteString(strings.Repeat(fill, (fitsBlock-b.Len()%fitsBlock)%fitsBlock)) }
	card("SIMPLE", "T")
	card("BITPIX", "8")
	card("NAXIS", "0")
	card("EXTEND", "T")
	fmt.Fprintf(&b, "%-80s", "END")
	pad(" ")
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
	pad(" ")
	text := func(s string, width int) { b.WriteString(s + strings.Repeat("\x00", width-len(s))) }
	for i, r := range t.rows {
		binary.Write(&b, binary.BigEndian, int32(r.Index))
		text(r.Name, nameW)
		text(r.State, stateW)
		for k := range surveyNumbers {
			binary.Write(&b, binary.BigEndian, t.number(i, k))
		}
		for k := range t.params {
			binary.Write(&b, binary.BigEndian, []float64{t.values[i][k], t.errors[i][k]})
		}
	}
	pad("\x00")
	return writeAtomic(path, func(w io.Writer) error {
		_, err := b.WriteTo(w)
		return err
	})
}

// SurveyMergeOptions says what MergeSurvey writes.
type SurveyMergeOptions struct {
	Dir     string
	Output  string // base of the files' names; "": DIR/catalog
	Latents bool   // the latents of decoders, too
}

// MergeSurvey writes the results of all lenses of a survey as CSV, JSON and FITS tables and a contact sheet. It returns
// the files and how the lenses stand.
func MergeSurvey(opt SurveyMergeOptions) (made []string, rows []standing, err error) {
	s, err := openSurvey(opt.Dir)
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
	if err := prepareFolder(filepath.Dir(base)); err != nil {
		return nil, nil, err
	}
	t := s.table(opt.Latents)
	for _, f := range []struct {
		end   string
		write func(path string) error
	}{
		{".csv", t.writeCSV},
		{".json", func(path string) error { return writeJSON(path, t.objects()) }},
		{".fits", t.writeFITS},
	} {
		if err := f.write(base + f.end); err != nil {
			return made, nil, err
		}
		made = append(made, base+f.end)
	}
	sheets, err := s.contactSheets(base, t.rows)
	return append(made, sheets...), t.rows, err
}

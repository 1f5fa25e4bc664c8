package samplers

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"lenskit/internal/disk"
)

// stanStats are the columns before the parameters, in Stan's order.
var stanStats = [...]string{"lp__", "accept_stat__", "stepsize__", "treedepth__", "n_leapfrog__", "divergent__", "energy__"}

// StanColumn is the column of a parameter in a Stan CSV: trailing numbers are array indices, every other dot becomes an
// underscore, for readers take what follows a dot as an index. "source.decoder.z.7" becomes "source_decoder_z.7".
func StanColumn(name string) string {
	parts := strings.Split(name, ".")
	end := len(parts)
	for end > 1 && isIndex(parts[end-1]) {
		end--
	}
	return strings.Join(append([]string{strings.Join(parts[:end], "_")}, parts[end:]...), ".")
}

func isIndex(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && s == strconv.Itoa(n)
}

// StanCSV is a Recorder that appends a chain's draws to a file in CmdStan's CSV format, one write per draw, so that a
// killed run leaves whole lines: comments with the settings and the true parameter names, the columns, the tuned step
// size and inverse mass matrix, then the draws after the warm-up with all their digits. ArviZ reads it with
// from_cmdstan. lp__ and energy__ are of the sampler's own coordinates, as in Stan.
type StanCSV struct {
	file      *os.File
	sum       hash.Hash // SHA-256 of what is written
	transform func(dst, x []float64) error
	names     []string
	values    []float64
	rows      int
	line      []byte
}

// CreateStanCSV begins a file for a chain. names are the parameters' and transform computes them from the sampler's x;
// nil writes x itself.
func CreateStanCSV(path string, c *Chain, names []string, transform func(dst, x []float64) error) (*StanCSV, error) {
	if err := checkNames(names); err != nil {
		return nil, err
	}
	if transform == nil && len(names) != len(c.s.Point.X) {
		return nil, fmt.Errorf("samplers: stan csv: found %d names, expected %d", len(names), len(c.s.Point.X))
	}
	if err := disk.CheckTarget(path); err != nil {
		return nil, err
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, &disk.WriteError{Path: path, Err: err}
	}
	w := &StanCSV{file: f, sum: sha256.New(), transform: transform, names: names, values: make([]float64, len(names))}
	if err := w.write(stanHeader(c, names)); err != nil {
		f.Close()
		return nil, err
	}
	return w, nil
}

// ErrChanged marks a file that does not hold the draws it should.
var ErrChanged = errors.New("samplers: stan csv: other draws than were written")

// ResumeStanCSV goes on with a file of which the first rows draws hold, whose Sum was sum then; what follows them is cut
// off. It is an ErrChanged, and the file stays as it is, when it has fewer whole rows, other columns or another sum.
func ResumeStanCSV(path string, rows int, sum string, names []string, transform func(dst, x []float64) error) (*StanCSV, error) {
	if err := checkNames(names); err != nil {
		return nil, err
	}
	r, _, err := disk.Open(path)
	if err != nil {
		return nil, err
	}
	end, err := findRow(r, rows, stanColumns(names))
	w := &StanCSV{sum: sha256.New(), transform: transform, names: names, values: make([]float64, len(names)), rows: rows}
	if err == nil {
		if _, err = r.Seek(0, io.SeekStart); err == nil {
			_, err = io.CopyN(w.sum, r, end)
		}
	}
	if err == nil && w.Sum() != sum {
		err = fmt.Errorf("found the SHA-256 %.12s… of %d draws, expected %.12s…", w.Sum(), rows, sum)
	}
	r.Close()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrChanged, path, err)
	}
	if w.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, &disk.WriteError{Path: path, Err: err}
	}
	if err = w.file.Truncate(end); err == nil {
		_, err = w.file.Seek(end, io.SeekStart)
	}
	if err != nil {
		w.file.Close()
		return nil, &disk.WriteError{Path: path, Err: err}
	}
	return w, nil
}

// write appends to the file.
func (w *StanCSV) write(p []byte) error {
	if _, err := w.file.Write(p); err != nil {
		return &disk.WriteError{Path: w.file.Name(), Err: err}
	}
	w.sum.Write(p)
	return nil
}

// Record appends a draw; draws of the warm-up are left out.
func (w *StanCSV) Record(d Draw) error {
	if d.Warmup {
		return nil
	}
	if w.transform == nil {
		copy(w.values, d.Point.X)
	} else if err := w.transform(w.values, d.Point.X); err != nil {
		return fmt.Errorf("samplers: stan csv: draw %d: %w", d.Iteration, err)
	}
	w.line = w.line[:0]
	if w.rows == 0 {
		w.line = appendAdaptation(w.line, d.Info.StepSize, d.Chain.Metric())
	}
	divergent := 0.0
	if d.Info.Divergent {
		divergent = 1
	}
	for _, v := range [...]float64{d.Point.LogProb, d.Info.AcceptStat, d.Info.StepSize, float64(d.Info.TreeDepth), float64(d.Info.Leapfrogs), divergent, d.Info.Energy} {
		w.line = append(strconv.AppendFloat(w.line, v, 'g', -1, 64), ',')
	}
	for _, v := range w.values {
		w.line = append(strconv.AppendFloat(w.line, v, 'g', -1, 64), ',')
	}
	w.line[len(w.line)-1] = '\n'
	if err := w.write(w.line); err != nil {
		return err
	}
	w.rows++
	return nil
}

// Rows is the number of draws in the file.
func (w *StanCSV) Rows() int { return w.rows }

// Sum is the SHA-256 of what is written, in hexadecimal.
func (w *StanCSV) Sum() string { return hex.EncodeToString(w.sum.Sum(nil)) }

// Sync brings what was written to the disk; call it before saving the state that counts the rows.
func (w *StanCSV) Sync() error {
	if err := w.file.Sync(); err != nil {
		return &disk.WriteError{Path: w.file.Name(), Err: err}
	}
	return nil
}

// Close closes the file.
func (w *StanCSV) Close() error { return w.file.Close() }

func checkNames(names []string) error {
	if len(names) == 0 {
		return errors.New("samplers: stan csv: found no parameters")
	}
	seen := map[string]string{}
	for _, n := range names {
		if n == "" || strings.ContainsAny(n, ", \t\r\n\"#=") || strings.HasSuffix(n, "__") {
			return fmt.Errorf("samplers: stan csv: name %q: found a character that a column cannot hold", n)
		}
		if other, twice := seen[StanColumn(n)]; twice {
			return fmt.Errorf("samplers: stan csv: %q and %q would share a column", other, n)
		}
		seen[StanColumn(n)] = n
	}
	return nil
}

func stanColumns(names []string) string {
	cols := append([]string(nil), stanStats[:]...)
	for _, n := range names {
		cols = append(cols, StanColumn(n))
	}
	return strings.Join(cols, ",")
}

// stanHeader are the comments, in the words and order of CmdStan, and the line of columns.
func stanHeader(c *Chain, names []string) []byte {
	o := c.s.Options
	var b bytes.Buffer
	engine := string(o.Method)
	if o.Method == HMC {
		engine = "static"
	}
	metric := "unit_e"
	switch {
	case o.Adapt == AdaptDense || o.Adapt == AdaptNone && c.s.Metric.Lower != nil:
		metric = "dense_e"
	case o.Adapt == AdaptDiagonal || c.s.Metric.SD != nil:
		metric = "diag_e"
	}
	fmt.Fprintf(&b, "# method = sample\n#   sample\n#     num_samples = %d\n#     num_warmup = %d\n#     save_warmup = false\n#     thin = 1\n", o.Draws, max(o.Warmup, 0))
	fmt.Fprintf(&b, "#     adapt\n#       engaged = %t\n#       delta = %s\n", o.Warmup > 0, float(o.TargetAccept))
	fmt.Fprintf(&b, "#     algorithm = hmc\n#       hmc\n#         engine = %s\n#           %s\n", engine, engine)
	if o.Method == HMC {
		if o.Steps > 0 {
			fmt.Fprintf(&b, "#             steps = %d\n", o.Steps)
		} else {
			fmt.Fprintf(&b, "#             int_time = %s\n", float(o.Trajectory))
		}
		fmt.Fprintf(&b, "#             jitter = %s\n", float(math.Max(0, o.Jitter)))
	} else {
		fmt.Fprintf(&b, "#             max_depth = %d\n", o.MaxDepth)
	}
	fmt.Fprintf(&b, "#         metric = %s\n# id = %d\n# random\n#   seed = %d\n# parameter_names = %s\n", metric, c.s.ID+1, c.s.Seed, strings.Join(names, ","))
	b.WriteString(stanColumns(names) + "\n")
	return b.Bytes()
}

func float(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func appendAdaptation(line []byte, step float64, m *Metric) []byte {
	line = append(line, "# Adaptation terminated\n# Step size = "+float(step)+"\n"...)
	row := func(v []float64) {
		line = append(line, "# "...)
		for i, x := range v {
			if i > 0 {
				line = append(line, ", "...)
			}
			line = strconv.AppendFloat(line, x, 'g', -1, 64)
		}
		line = append(line, '\n')
	}
	if m.Lower == nil {
		line = append(line, "# Diagonal elements of inverse mass matrix:\n"...)
		v := make([]float64, m.N)
		m.Variances(v)
		row(v)
		return line
	}
	line = append(line, "# Elements of inverse mass matrix:\n"...)
	cov := m.Cov()
	v := make([]float64, m.N)
	for i := range v {
		for j := range v {
			v[j] = cov.At(i, j)
		}
		row(v)
	}
	return line
}

// findRow is the offset behind the given number of draws, or behind the line of columns when that is 0.
func findRow(r io.Reader, rows int, columns string) (int64, error) {
	in := bufio.NewReader(r)
	at, end, seen, found := int64(0), int64(0), 0, false
	for seen < rows || !found {
		line, err := in.ReadString('\n')
		if err != nil {
			if err == io.EOF {
				return 0, fmt.Errorf("found %d whole draws, expected %d", seen, rows)
			}
			return 0, err
		}
		at += int64(len(line))
		text := strings.TrimRight(line, "\r\n")
		switch {
		case text == "" || text[0] == '#':
			continue
		case !found:
			if text != columns {
				return 0, fmt.Errorf("found columns %.60q…, expected %.60q…", text, columns)
			}
			found = true
		default:
			seen++
		}
		end = at
	}
	return end, nil
}

// StanDraws is the content of a Stan CSV file.
type StanDraws struct {
	Names    []string          // of the parameters; the columns' when the file does not tell
	X        [][]float64       // one row per draw
	LogProb  []float64         // NaN where the file has no lp__
	Info     []Info            // zero where the file has no such column
	Settings map[string]string // "key = value" of the comments
}

// Column gathers parameter k.
func (d *StanDraws) Column(k int) []float64 {
	v := make([]float64, len(d.X))
	for i, x := range d.X {
		v[i] = x[k]
	}
	return v
}

// Limits of ReadStanCSV: bytes of a line, settings in comments, and bytes that the draws take beyond those of the text.
const (
	maxStanLine     = 16 << 20
	maxStanSettings = 10_000
	maxStanMore     = 128 << 20
)

// ReadStanCSV reads a Stan CSV, of StanCSV or of Stan itself. A last line without its end, still being written, is left
// out; warm-up draws, when the comments say that they were saved, too.
func ReadStanCSV(r io.Reader) (*StanDraws, error) {
	in := bufio.NewReader(r)
	size, taken := 0, 0 // of the text and of the draws
	d := &StanDraws{Settings: map[string]string{}}
	stat := make([]int, 0, 8) // per column: index into stanStats, -1 another statistic, -2 a parameter
	for number := 1; ; number++ {
		line, err := readLine(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("samplers: stan csv: line %d: %w", number, err)
		}
		size += len(line)
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case line[0] == '#':
			if key, value, ok := strings.Cut(strings.Trim(line, "# \t"), "="); ok && len(d.Settings) < maxStanSettings {
				d.Settings[strings.TrimSpace(key)] = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "(Default)"))
			}
		case len(stat) == 0:
			for _, col := range strings.Split(line, ",") {
				kind := -2
				if strings.HasSuffix(col, "__") {
					kind = -1
					for k, s := range stanStats {
						if s == col {
							kind = k
						}
					}
				} else {
					d.Names = append(d.Names, col)
				}
				stat = append(stat, kind)
			}
		default:
			if taken += 8*len(stat) + 160; taken > size+maxStanMore {
				return nil, fmt.Errorf("samplers: stan csv: line %d: found %d draws of %d columns, expected fewer", number, len(d.X)+1, len(stat))
			}
			if err := d.addRow(line, stat); err != nil {
				return nil, fmt.Errorf("samplers: stan csv: line %d: %w", number, err)
			}
		}
	}
	if len(stat) == 0 {
		return nil, errors.New("samplers: stan csv: found no line of columns")
	}
	if names := strings.Split(d.Settings["parameter_names"], ","); len(names) == len(d.Names) {
		same := true
		for i, n := range names {
			same = same && StanColumn(n) == d.Names[i]
		}
		if same {
			d.Names = names
		}
	}
	if s := d.Settings["save_warmup"]; s == "1" || s == "true" {
		n, _ := strconv.Atoi(d.Settings["num_warmup"])
		if thin, err := strconv.Atoi(d.Settings["thin"]); err == nil && thin > 1 {
			n /= thin
		}
		n = max(0, min(n, len(d.X)))
		d.X, d.LogProb, d.Info = d.X[n:], d.LogProb[n:], d.Info[n:]
	}
	return d, nil
}

// readLine reads a line with its end; io.EOF where the text ends before it does.
func readLine(in *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxStanLine {
			return "", fmt.Errorf("found a line of more than %d bytes", maxStanLine)
		}
		if err != bufio.ErrBufferFull {
			return string(line), err
		}
	}
}

func (d *StanDraws) addRow(line string, stat []int) error {
	fields := strings.Split(line, ",")
	if len(fields) != len(stat) {
		return fmt.Errorf("found %d fields, expected %d", len(fields), len(stat))
	}
	x := make([]float64, 0, len(d.Names))
	lp := math.NaN()
	var in Info
	for i, f := range fields {
		v, err := strconv.ParseFloat(strings.TrimSpace(f), 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("field %d: found %.40q, expected a number", i+1, f)
		}
		switch stat[i] {
		case -2:
			x = append(x, v)
		case 0:
			lp = v
		case 1:
			in.AcceptStat = v
		case 2:
			in.StepSize = v
		case 3:
			in.TreeDepth = int(v)
		case 4:
			in.Leapfrogs = int(v)
		case 5:
			in.Divergent = v != 0
		case 6:
			in.Energy = v
		}
	}
	d.X, d.LogProb, d.Info = append(d.X, x), append(d.LogProb, lp), append(d.Info, in)
	return nil
}

package survey

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"lenskit/internal/disk"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/search"
)

// A survey is a folder with survey.json (how to fit), manifest.csv (what: a line per lens), a job script, logs, and a
// folder for each lens, that of a run with a survey-status.json. Lenses are numbered from 1 in the order of the manifest.

// Files of a survey.
const (
	fileLensStatus = "survey-status.json"
	folderLogs     = "logs"
)

// Survey is a planned survey.
type Survey struct {
	dir    string
	Plan   surveyPlan
	Lenses []surveyLens
}

// surveyPlan is survey.json.
type surveyPlan struct {
	Lenses  int            `json:"lenses"`
	PerTask int            `json:"lenses_per_task"`
	Search  search.Options `json:"options"`
	Device  string         `json:"device"`
	Created string         `json:"created_by"`
	Files   rundir.Sums    `json:"files,omitempty"` // the SHA-256 of the manifest and the job scripts as plan wrote them
}

// tasks is the number of array tasks.
func (p *surveyPlan) tasks() int { return (p.Lenses + p.PerTask - 1) / p.PerTask }

// surveyLens is a line of the manifest. Paths are relative to the survey's folder, or absolute.
type surveyLens struct {
	Name       string
	Config     string
	Image      string // in place of Config, with what follows
	Noise, PSF string // a number or a FITS path
	PixelScale float64
	line       int
}

var manifestColumns = []string{"name", "config", "image", "noise", "psf", "pixel_scale"}

// lensName is what a lens may be called: its name is that of its folder.
var lensName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+_.,=@-]{0,199}$`)

// takenNames are what a lens may not be called: the survey's own files and folders.
var takenNames = regexp.MustCompile(`^(logs|survey\.(json|sbatch|pbs|lsf|sge)|manifest\.csv|catalog(-[0-9]+)?\.(csv|json|fits|png))$`)

// Bounds of what a survey is read from.
const (
	longestPlan = 1 << 20
	longestList = 1 << 30
	longestPath = 4096
	mostPerTask = 1000000
)

// Open reads survey.json and the manifest.
func Open(dir string) (*Survey, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, term.BadInput("%s: %s", dir, term.Reason(err))
	} else if !info.IsDir() {
		return nil, term.BadInput("%s: is a file, expected the folder of a survey", dir)
	}
	s := &Survey{dir: dir}
	path := filepath.Join(dir, rundir.FileSurvey)
	text, err := disk.Read(path, longestPlan)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, term.WithHint(term.BadInput("%s: is not the folder of a survey: it has no %s", dir, rundir.FileSurvey), "lenskit survey plan LIST -o %s makes one", dir)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &s.Plan); err != nil {
		return nil, term.BadInput("%s: %s", path, term.JSONReason(err))
	}
	if err := s.Plan.check(func(name string) string { return path + ": " + planKeys[name] }); err != nil {
		return nil, err
	}
	path = filepath.Join(dir, rundir.FileManifest)
	if s.Lenses, err = readLensList(path); err != nil {
		return nil, err
	}
	if s.Plan.Lenses != len(s.Lenses) {
		return nil, term.BadInput("%s: found %d lenses, %s says %d: plan the survey again", path, len(s.Lenses), rundir.FileSurvey, s.Plan.Lenses)
	}
	return s, nil
}

// planKeys are the keys of what a plan's check names.
var planKeys = map[string]string{"Optimizer": "options.Optimizer", "Iterations": "options.Iterations", "Starts": "options.Starts", "Device": "device", "Per-Task": "lenses_per_task"}

// check holds the plan against the limits of its parts; place is where one of them stands, for messages.
func (p *surveyPlan) check(place func(name string) string) error {
	if err := p.Search.Check(place); err != nil {
		return err
	}
	switch {
	case !slices.Contains([]string{"cpu", "cuda", "reference"}, p.Device):
		return term.BadInput("%s: found %q, expected cpu, cuda or reference", place("Device"), p.Device)
	case p.PerTask < 1 || p.PerTask > mostPerTask:
		return term.BadInput("%s: found %d, expected 1 to %d lenses", place("Per-Task"), p.PerTask, mostPerTask)
	}
	return nil
}

// readLensList reads a CSV file with a header among the columns of a manifest. A lens without a name gets that of its
// file.
func readLensList(path string) ([]surveyLens, error) {
	f, size, err := disk.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > longestList {
		return nil, term.BadInput("%s: found %s, expected a list of at most %s", path, disk.Size(size), disk.Size(longestList))
	}
	return parseLensList(path, io.LimitReader(f, longestList))
}

func parseLensList(path string, in io.Reader) ([]surveyLens, error) {
	r := csv.NewReader(in)
	r.TrimLeadingSpace, r.Comment = true, '#'
	var columns []string
	var out []surveyLens
	for {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			var p *csv.ParseError
			if errors.As(err, &p) {
				return nil, term.BadInput("%s:%d:%d: %v", path, p.Line, p.Column, p.Err)
			}
			return nil, term.BadInput("%s: %s", path, term.OneLine(err.Error()))
		}
		if columns == nil {
			if columns, err = lensColumns(path, r, row); err != nil {
				return nil, err
			}
			continue
		}
		l := surveyLens{}
		l.line, _ = r.FieldPos(0)
		for i, c := range columns {
			v := strings.TrimSpace(row[i])
			switch c {
			case "name":
				l.Name = v
			case "config":
				l.Config = v
			case "image":
				l.Image = v
			case "noise":
				l.Noise = v
			case "psf":
				l.PSF = v
			case "pixel_scale":
				if v == "" {
					continue
				}
				if l.PixelScale, err = strconv.ParseFloat(v, 64); err != nil || !(l.PixelScale > 0) || l.PixelScale > 1e6 {
					_, col := r.FieldPos(i)
					return nil, term.BadInput("%s:%d:%d: pixel_scale: found %q, expected arcsec per pixel above 0", path, l.line, col, v)
				}
			}
		}
		if err := l.check(path); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, term.BadInput("%s: has no lenses, expected a CSV file with columns among %s", path, strings.Join(manifestColumns, ", "))
	}
	return out, nameLenses(path, out)
}

// lensColumns checks the header of a list.
func lensColumns(path string, r *csv.Reader, row []string) ([]string, error) {
	var columns []string
	for i, c := range row {
		c = strings.TrimSpace(strings.TrimPrefix(c, "\ufeff"))
		line, col := r.FieldPos(i)
		switch {
		case !slices.Contains(manifestColumns, c):
			return nil, term.BadInput("%s:%d:%d: unknown column %q%s", path, line, col, c, config.ExpectedKeys(c, manifestColumns))
		case slices.Contains(columns, c):
			return nil, term.BadInput("%s:%d:%d: column %q stands here a second time", path, line, col, c)
		}
		columns = append(columns, c)
	}
	if !slices.Contains(columns, "config") && !slices.Contains(columns, "image") {
		return nil, term.BadInput("%s:1: found columns %s, expected config or image among them", path, strings.Join(columns, ", "))
	}
	return columns, nil
}

func (l *surveyLens) check(path string) error {
	for _, c := range []struct{ name, text string }{{"name", l.Name}, {"config", l.Config}, {"image", l.Image}, {"noise", l.Noise}, {"psf", l.PSF}} {
		if len(c.text) > longestPath || strings.ContainsFunc(c.text, unicode.IsControl) {
			return term.BadInput("%s:%d: %s: found \"%s\", expected at most %d bytes without control characters", path, l.line, c.name, term.Shown(c.text), longestPath)
		}
	}
	for _, c := range []struct{ name, text string }{{"noise", l.Noise}, {"psf", l.PSF}} {
		if v, err := strconv.ParseFloat(c.text, 64); err == nil && !(v > 0 && v <= 1e300) {
			return term.BadInput("%s:%d: %s: found \"%s\", expected a standard deviation above 0 or a FITS path", path, l.line, c.name, term.Shown(c.text))
		}
	}
	switch {
	case l.Config == "" && l.Image == "":
		return term.BadInput("%s:%d: has neither config nor image, expected one of them", path, l.line)
	case l.Config != "" && (l.Image != "" || l.Noise != "" || l.PSF != "" || l.PixelScale != 0):
		return term.BadInput("%s:%d: has a config and a value for image, noise, psf or pixel_scale, which a config says itself", path, l.line)
	}
	return nil
}

// input is the lens's file.
func (l *surveyLens) input() string {
	if l.Config != "" {
		return l.Config
	}
	return l.Image
}

// nameLenses gives every lens a name of its own: of its file, with the folder's before it where that is not enough.
func nameLenses(path string, lenses []surveyLens) error {
	given := map[string]int{}
	for i := range lenses {
		l := &lenses[i]
		if l.Name == "" {
			continue
		}
		if !lensName.MatchString(l.Name) || takenNames.MatchString(l.Name) {
			return term.BadInput("%s:%d: name: found \"%s\", expected the name of a folder of at most 200 letters, digits and + _ . , = @ -, not %s or a file of the survey", path, l.line, term.Shown(l.Name), folderLogs)
		}
		if k, ok := given[l.Name]; ok {
			return term.BadInput("%s:%d: name: %q stands already in line %d, expected a name of its own", path, l.line, l.Name, lenses[k].line)
		}
		given[l.Name] = i
	}
	for depth := 1; depth <= 3; depth++ {
		wanted := map[string]int{}
		for i := range lenses {
			if lenses[i].Name == "" {
				wanted[lensFileName(lenses[i].input(), depth)]++
			}
		}
		for i := range lenses {
			if lenses[i].Name != "" {
				continue
			}
			n := lensFileName(lenses[i].input(), depth)
			if _, taken := given[n]; wanted[n] == 1 && !taken && lensName.MatchString(n) && !takenNames.MatchString(n) {
				lenses[i].Name = n
				given[n] = i
			}
		}
	}
	for _, l := range lenses {
		if l.Name == "" {
			return term.BadInput("%s:%d: no name of its own can be made of %s, expected a name", path, l.line, l.input())
		}
	}
	return nil
}

// lensFileName is the last parts of a path, joined by _, without extension.
func lensFileName(path string, parts int) string {
	path, _ = fits.SplitExtension(path)
	for _, end := range []string{".gz", ".bz2", ".fz"} {
		path = strings.TrimSuffix(path, end)
	}
	path = strings.TrimSuffix(path, filepath.Ext(path))
	all := strings.Split(strings.Trim(filepath.ToSlash(filepath.Clean(path)), "/"), "/")
	name := strings.Join(all[max(0, len(all)-parts):], "_")
	return strings.Map(func(r rune) rune {
		if r < 0x80 && lensName.MatchString("a"+string(r)) {
			return r
		}
		return '_'
	}, name)
}

// manifest is the list of the lenses as it stands in the survey's folder.
func (s *Survey) manifest() string {
	var b strings.Builder
	c := csv.NewWriter(&b)
	c.Write(manifestColumns)
	for _, l := range s.Lenses {
		scale := ""
		if l.PixelScale > 0 {
			scale = strconv.FormatFloat(l.PixelScale, 'g', -1, 64)
		}
		c.Write([]string{l.Name, l.Config, l.Image, l.Noise, l.PSF, scale})
	}
	c.Flush()
	return b.String()
}

// stays tells whether an entry of a list is no path that may be moved.
func stays(p string) bool {
	return p == "" || p == "none" || filepath.IsAbs(p) || config.LooksNumeric(p)
}

// path is an entry of the manifest as seen from the current folder.
func (s *Survey) path(p string) string {
	if stays(p) {
		return p
	}
	return filepath.Join(s.dir, filepath.FromSlash(p))
}

// movedPath rewrites an entry given relative to folder from for the manifest of a survey in dir.
func movedPath(p, from, dir string) string {
	if stays(p) {
		return p
	}
	a, err1 := filepath.Abs(filepath.Join(from, p))
	b, err2 := filepath.Abs(dir)
	if err1 != nil || err2 != nil {
		return p
	}
	r, err := filepath.Rel(b, a)
	if err != nil {
		return a
	}
	return filepath.ToSlash(r)
}

// TaskVariables are the variables in which batch systems tell an array task its number: Slurm, PBS Professional, Torque,
// LSF, and SGE with its kin. Outside of an array LSF says 0 and SGE undefined.
var TaskVariables = []string{"SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "PBS_ARRAYID", "LSB_JOBINDEX", "SGE_TASK_ID"}

// threadVariables are those in which they tell the number of processors of a task.
var threadVariables = []string{"SLURM_CPUS_PER_TASK", "NCPUS", "PBS_NUM_PPN", "LSB_DJOB_NUMPROC", "NSLOTS"}

// taskNumber finds the number of the array task in the environment.
func taskNumber(getenv func(string) string) (task int, variable string, err error) {
	for _, name := range TaskVariables {
		v := getenv(name)
		if v == "" || v == "undefined" || name == "LSB_JOBINDEX" && v == "0" {
			continue
		}
		task, err := strconv.Atoi(v)
		if err != nil {
			return 0, name, term.BadInput("%s: found %q, expected the number of an array task", name, v)
		}
		return task, name, nil
	}
	return 0, "", term.WithHint(term.BadInput("survey run: --index is missing, and no batch system tells the number of an array task"), "variables looked for: %s", strings.Join(TaskVariables, ", "))
}

// taskThreads is the number of processors that the batch system gives to the task, 0 where it tells none.
func taskThreads(getenv func(string) string) int {
	for _, name := range threadVariables {
		if n, err := strconv.Atoi(getenv(name)); err == nil && n > 0 && n <= 4096 {
			return n
		}
	}
	return 0
}

// parseIndices reads 3, 1-5 or 1,4-6 as numbers from 1 to n.
func parseIndices(text string, n int) ([]int, error) {
	var out []int
	for _, part := range strings.Split(text, ",") {
		lo, hi, ranged := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.Atoi(lo)
		b := a
		if err == nil && ranged {
			b, err = strconv.Atoi(hi)
		}
		if err != nil || a > b {
			return nil, term.BadInput("--index: found %q, expected a number such as 3, or numbers such as 1-5,8", text)
		}
		if a < 1 || b > n {
			return nil, term.BadInput("--index: found %q, expected numbers from 1 to %d", text, n)
		}
		for i := a; i <= b; i++ {
			out = append(out, i)
		}
	}
	return out, nil
}

// IndicesText is the inverse of parseIndices.
func IndicesText(v []int) string {
	var out []string
	for i := 0; i < len(v); {
		j := i
		for j+1 < len(v) && v[j+1] == v[j]+1 {
			j++
		}
		if j > i {
			out = append(out, fmt.Sprintf("%d-%d", v[i], v[j]))
		} else {
			out = append(out, strconv.Itoa(v[i]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

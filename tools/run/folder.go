package run

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lenskit/internal/disk"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
	"lenskit/tools/search"
)

// The folder of a run holds one fit and draws from the posterior of that fit, never parts of two. fit.json and summary.json
// record which files are theirs, with their sums, and the latter the fit that the draws are of; a checkpoint names the
// files of the run under way. What else stands where results go is moved aside.

// Names of the files of a fit, and of those of draws beside the chains' own.
var (
	FitFiles    = []string{rundir.FitJSON, rundir.FitFITS, rundir.FitPNG, rundir.GridsPNG, rundir.ConfigYAML}
	SampleFiles = []string{rundir.SummaryJSON, rundir.SamplesFITS, rundir.CornerPNG, rundir.TracePNG, rundir.MomentsPNG}
)

// AsWritten is an error where the images in dir are not those that the record of the fit sums up.
func (r *Record) AsWritten(dir string) error {
	want, path := r.Files[rundir.FitFITS], filepath.Join(dir, rundir.FitFITS)
	if want == "" { // of an earlier version
		return nil
	}
	got, err := disk.Sum(path)
	if err == nil && got != want {
		err = term.WithHint(term.BadInput("%s: has changed since the fit that %s records", path, rundir.FitJSON), "the fit's command writes it anew")
	}
	return err
}

// Same tells whether rec, in dir, is the record of a fit of this very problem with these options by this version.
func Same(p *problem.Problem, dir string, rec *Record, opt search.Options) bool {
	if rec.Versions["lenskit"] != term.Version() || !IsOf(p, dir, rec) {
		return false
	}
	want, err1 := json.Marshal(opt.Defaults())
	have, err2 := json.Marshal(rec.Options)
	return err1 == nil && err2 == nil && term.SameJSON(want, have)
}

// IsOf tells whether rec, in dir, is the record of a fit of this problem. Grids that the problem's config has left out are those
// that the fit has laid out.
func IsOf(p *problem.Problem, dir string, rec *Record) bool {
	path := filepath.Join(dir, rundir.ConfigYAML)
	text, err := os.ReadFile(path)
	if err != nil || !rundir.Recorded(p.Inputs, rec.Inputs) {
		return false
	}
	if string(text) == p.Config.Text(dir) {
		return true
	}
	of, err := config.Parse(path, text)
	return err == nil && p.Config.HasPixels() && string(text) == p.WithGridsOf(of).Text(dir)
}

// makeRoom moves aside what must not stand beside the results of a fit of this problem: another fit and all draws. Files
// that the fit reads stay; a result must not take the place of one.
func makeRoom(p *problem.Problem, dir string, opt search.Options) (notice string, err error) {
	var old []string
	rec, err := ReadRecord(dir)
	same := err == nil && Same(p, dir, rec, opt)
	for _, name := range FitFiles {
		path := filepath.Join(dir, name)
		if !rundir.Exists(path) {
			continue
		}
		for _, in := range p.Inputs {
			if in, _ := fits.SplitExtension(in.Path); rundir.SameFile(in, path) {
				return "", term.BadInput("%s: is read by the fit and would be replaced by its result, expected another folder for that", path)
			}
		}
		if !same && !rundir.SameFile(p.Config.File, path) {
			old = append(old, name)
		}
	}
	if draws, err := DrawnIn(dir); err != nil { // a record that cannot be read tells no names
		old = append(old, SampleFiles...)
	} else if draws != nil {
		old = append(append(old, draws.Names...), SampleFiles...)
	}
	reads := []string{p.Config.File}
	for _, in := range p.Inputs {
		reads = append(reads, in.Path)
	}
	old = append(old, ExportAside(dir, reads...)...)
	path := filepath.Join(dir, rundir.CheckpointName)
	f, _, err := rundir.ReadCheckpoint(path)
	if err != nil {
		return "", err
	}
	if f != nil {
		old = append(append(old, rundir.CheckpointName), LocalNames(f.Files)...)
	}
	return rundir.MoveAside(dir, old, "files of another run")
}

// FitStopped tells whether dir holds the checkpoint of a fit.
func FitStopped(dir string) bool {
	f, _, err := rundir.ReadCheckpoint(filepath.Join(dir, rundir.CheckpointName))
	if err != nil || f == nil {
		return false
	}
	var state map[string]json.RawMessage
	if json.Unmarshal(f.State, &state) != nil {
		return false
	}
	_, ok := state["Done"] // of a search.Record
	return ok
}

// ExportAside names the COOLEST folder in dir, unless the run reads files of it; "" where there is none.
func ExportAside(dir string, reads ...string) []string {
	out := filepath.Join(dir, rundir.FolderCOOLEST)
	if !rundir.Exists(filepath.Join(out, rundir.FileCOOLEST)) {
		return nil
	}
	for _, path := range reads {
		if file, _ := fits.SplitExtension(path); rundir.SameFile(filepath.Dir(file), out) {
			return nil
		}
	}
	return []string{rundir.FolderCOOLEST}
}

// LocalNames are those of names that are of files in a folder itself.
func LocalNames(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return name == "" || name != filepath.Base(name) || !filepath.IsLocal(name)
	})
}

// Drawn is what summary.json tells of the files beside it. Records of earlier versions do not tell the last four.
type Drawn struct {
	Chains        int             `json:"chains"`
	Approximation json.RawMessage `json:"approximation"`
	Inputs        []rundir.Input  `json:"inputs"`
	Files         rundir.Sums     `json:"files"`
	FitSum        string          `json:"fit_sha256"`
	ConfigSum     string          `json:"config_sha256"`
	Names         []string        `json:"-"` // of the chains' files
}

// DrawnIn reads summary.json; nil where there is none that can be read.
func DrawnIn(dir string) (*Drawn, error) {
	path := filepath.Join(dir, rundir.SummaryJSON)
	if !rundir.Exists(path) {
		return nil, nil
	}
	data, err := disk.Read(path, term.MaxRecord)
	if err != nil {
		return nil, err
	}
	d := &Drawn{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, term.BadInput("%s: %s", path, term.JSONReason(err))
	}
	if d.Files == nil {
		chains := d.Chains
		if d.Approximation != nil {
			chains = 1
		}
		for i := range min(max(chains, 1), 1000) {
			d.Names = append(d.Names, filepath.Base(rundir.ChainFile(dir, i, chains)))
		}
		return d, nil
	}
	for name := range d.Files {
		if strings.HasSuffix(name, ".csv") {
			d.Names = append(d.Names, name)
		}
	}
	d.Names = LocalNames(d.Names)
	slices.SortFunc(d.Names, func(a, b string) int { // samples_10 after samples_9
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return d, nil
}

// Check says why the draws are not of the fit and the config that stand in dir beside them.
func (d *Drawn) Check(dir string) error {
	path := filepath.Join(dir, rundir.SummaryJSON)
	fit, config := filepath.Join(dir, rundir.FitJSON), filepath.Join(dir, rundir.ConfigYAML)
	redraw := func(err error) error { return term.WithHint(err, "lenskit sample draws anew and moves these aside") }
	if rundir.Exists(fit) {
		rec, err := ReadRecord(dir)
		if err != nil {
			return err
		}
		if d.FitSum != "" && d.FitSum != rec.Sum || d.FitSum == "" && !rundir.Recorded(d.Inputs, rec.Inputs) {
			return redraw(term.BadInput("%s: found draws of another fit, expected those of %s", path, fit))
		}
	}
	if d.ConfigSum != "" && rundir.Exists(config) {
		sum, err := disk.Sum(config)
		if err != nil {
			return err
		}
		if sum != d.ConfigSum {
			return redraw(term.BadInput("%s: has changed since the draws were made, expected the SHA-256 that %s tells", config, path))
		}
	}
	for _, name := range LocalNames(slices.Sorted(maps.Keys(d.Files))) {
		if sum, err := disk.Sum(filepath.Join(dir, name)); err != nil {
			return err
		} else if sum != d.Files[name] {
			return redraw(term.BadInput("%s: has changed since it was written, expected the SHA-256 that %s tells", filepath.Join(dir, name), path))
		}
	}
	return nil
}

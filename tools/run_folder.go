package tools

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lenskit/internal/disk"
)

// The folder of a run holds one fit and draws from the posterior of that fit, never parts of two. fit.json and summary.json
// record which files are theirs, with their sums, and the latter the fit that the draws are of; a checkpoint names the
// files of the run under way. What else stands where results go is moved aside.

// Names of the files of a fit, and of those of draws beside the chains' own.
var (
	fitFiles    = []string{fileFitJSON, fileFitFITS, fileFitPNG, fileConfig}
	sampleFiles = []string{fileSummary, fileSamplesFITS, fileCorner, fileTrace, fileMoments}
)

// fileSums are SHA-256 sums by file name.
type fileSums map[string]string

// sumFiles are the sums of files in dir.
func sumFiles(dir string, names ...string) (fileSums, error) {
	out := fileSums{}
	for _, name := range names {
		sum, err := disk.Sum(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		out[name] = sum
	}
	return out, nil
}

// hold tells whether the files are in dir as they were.
func (f fileSums) hold(dir string) bool {
	for name, sum := range f {
		if got, err := disk.Sum(filepath.Join(dir, name)); err != nil || got != sum {
			return false
		}
	}
	return len(f) > 0
}

// asWritten is an error where the images in dir are not those that the record of the fit sums up.
func (r *fitRecord) asWritten(dir string) error {
	want, path := r.Files[fileFitFITS], filepath.Join(dir, fileFitFITS)
	if want == "" { // of an earlier version
		return nil
	}
	got, err := disk.Sum(path)
	if err == nil && got != want {
		err = withHint(badInput("%s: has changed since the fit that %s records", path, fileFitJSON), "the fit's command writes it anew")
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// moveAside moves files out of the way of results to a new folder in dir, and tells so; of none of them is there, it does
// nothing.
func moveAside(dir string, names []string, why string) (notice string, err error) {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !exists(filepath.Join(dir, name)) })
	if len(names) == 0 {
		return "", nil
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for n := 1; ; n++ {
		to := filepath.Join(dir, fmt.Sprintf("before-%d", n))
		err := os.Mkdir(to, 0o777)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		for i := 0; i < len(names) && err == nil; i++ {
			err = os.Rename(filepath.Join(dir, names[i]), filepath.Join(to, names[i]))
		}
		if err != nil {
			return "", &disk.WriteError{Path: to, Err: err}
		}
		list := strings.Join(names, ", ")
		if len(names) > 8 {
			list = fmt.Sprintf("%s and %d more files", strings.Join(names[:6], ", "), len(names)-6)
		}
		return fmt.Sprintf("%s: %s: %s moved to %s", dir, why, list, to), nil
	}
}

// same tells whether rec, in dir, is the record of a fit of this very problem with these options by this version.
func (p *problem) same(dir string, rec *fitRecord, opt searchOptions) bool {
	if rec.Versions["lenskit"] != version() || !p.isOf(dir, rec) {
		return false
	}
	want, err1 := json.Marshal(opt.defaults())
	have, err2 := json.Marshal(rec.Options)
	return err1 == nil && err2 == nil && sameJSON(want, have)
}

// isOf tells whether rec, in dir, is the record of a fit of this problem.
func (p *problem) isOf(dir string, rec *fitRecord) bool {
	text, err := os.ReadFile(filepath.Join(dir, fileConfig))
	return err == nil && string(text) == p.Config.text(dir) && recorded(p.Inputs, rec.Inputs)
}

// recorded tells whether inputs are among those of a record, by their sums.
func recorded(inputs, rec []input) bool {
	sums := map[string]bool{}
	for _, in := range rec {
		sums[in.SHA256] = true
	}
	return !slices.ContainsFunc(inputs, func(in input) bool { return !sums[in.SHA256] })
}

// makeRoom moves aside what must not stand beside the results of a fit of this problem: another fit and all draws. Files
// that the fit reads stay; a result must not take the place of one.
func (p *problem) makeRoom(dir string, opt searchOptions) (notice string, err error) {
	var old []string
	rec, err := readFitRecord(dir)
	same := err == nil && p.same(dir, rec, opt)
	for _, name := range fitFiles {
		path := filepath.Join(dir, name)
		if !exists(path) {
			continue
		}
		for _, in := range p.Inputs {
			if in, _ := splitExtension(in.Path); sameFile(in, path) {
				return "", badInput("%s: is read by the fit and would be replaced by its result, expected another folder for that", path)
			}
		}
		if !same && !sameFile(p.Config.file, path) {
			old = append(old, name)
		}
	}
	if draws, err := drawsIn(dir); err != nil { // a record that cannot be read tells no names
		old = append(old, sampleFiles...)
	} else if draws != nil {
		old = append(append(old, draws.names...), sampleFiles...)
	}
	reads := []string{p.Config.file}
	for _, in := range p.Inputs {
		reads = append(reads, in.Path)
	}
	old = append(old, exportAside(dir, reads...)...)
	path := filepath.Join(dir, fileCheckpoint)
	f, _, err := readCheckpoint(path)
	if err != nil {
		return "", err
	}
	if f != nil {
		old = append(append(old, fileCheckpoint), localNames(f.Files)...)
	}
	return moveAside(dir, old, "files of another run")
}

// fitStopped tells whether dir holds the checkpoint of a fit.
func fitStopped(dir string) bool {
	f, _, err := readCheckpoint(filepath.Join(dir, fileCheckpoint))
	if err != nil || f == nil {
		return false
	}
	var state map[string]json.RawMessage
	if json.Unmarshal(f.State, &state) != nil {
		return false
	}
	_, ok := state["Done"] // of a searchRecord
	return ok
}

// exportAside names the COOLEST folder in dir, unless the run reads files of it; "" where there is none.
func exportAside(dir string, reads ...string) []string {
	out := filepath.Join(dir, folderCOOLEST)
	if !exists(filepath.Join(out, fileCOOLEST)) {
		return nil
	}
	for _, path := range reads {
		if file, _ := splitExtension(path); sameFile(filepath.Dir(file), out) {
			return nil
		}
	}
	return []string{folderCOOLEST}
}

// localNames are those of names that are of files in a folder itself.
func localNames(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return name == "" || name != filepath.Base(name) || !filepath.IsLocal(name)
	})
}

// drawnRecord is what summary.json tells of the files beside it. Records of earlier versions do not tell the last four.
type drawnRecord struct {
	Chains        int             `json:"chains"`
	Approximation json.RawMessage `json:"approximation"`
	Inputs        []input         `json:"inputs"`
	Files         fileSums        `json:"files"`
	FitSum        string          `json:"fit_sha256"`
	ConfigSum     string          `json:"config_sha256"`
	names         []string        // of the chains' files
}

// drawsIn reads summary.json; nil where there is none that can be read.
func drawsIn(dir string) (*drawnRecord, error) {
	path := filepath.Join(dir, fileSummary)
	if !exists(path) {
		return nil, nil
	}
	data, err := disk.Read(path, maxRecord)
	if err != nil {
		return nil, err
	}
	d := &drawnRecord{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, badInput("%s: %s", path, jsonReason(err))
	}
	if d.Files == nil {
		chains := d.Chains
		if d.Approximation != nil {
			chains = 1
		}
		for i := range min(max(chains, 1), 1000) {
			d.names = append(d.names, filepath.Base(samplesFile(dir, i, chains)))
		}
		return d, nil
	}
	for name := range d.Files {
		if strings.HasSuffix(name, ".csv") {
			d.names = append(d.names, name)
		}
	}
	d.names = localNames(d.names)
	slices.SortFunc(d.names, func(a, b string) int { // samples_10 after samples_9
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return d, nil
}

// maxRecord is the size up to which the JSON records of a run are read.
const maxRecord = 1 << 30

// check says why the draws are not of the fit and the config that stand in dir beside them.
func (d *drawnRecord) check(dir string) error {
	path := filepath.Join(dir, fileSummary)
	fit, config := filepath.Join(dir, fileFitJSON), filepath.Join(dir, fileConfig)
	redraw := func(err error) error { return withHint(err, "lenskit sample draws anew and moves these aside") }
	if exists(fit) {
		rec, err := readFitRecord(dir)
		if err != nil {
			return err
		}
		if d.FitSum != "" && d.FitSum != rec.sum || d.FitSum == "" && !recorded(d.Inputs, rec.Inputs) {
			return redraw(badInput("%s: found draws of another fit, expected those of %s", path, fit))
		}
	}
	if d.ConfigSum != "" && exists(config) {
		sum, err := disk.Sum(config)
		if err != nil {
			return err
		}
		if sum != d.ConfigSum {
			return redraw(badInput("%s: has changed since the draws were made, expected the SHA-256 that %s tells", config, path))
		}
	}
	for _, name := range localNames(slices.Sorted(maps.Keys(d.Files))) {
		if sum, err := disk.Sum(filepath.Join(dir, name)); err != nil {
			return err
		} else if sum != d.Files[name] {
			return redraw(badInput("%s: has changed since it was written, expected the SHA-256 that %s tells", filepath.Join(dir, name), path))
		}
	}
	return nil
}

// clear moves aside what must not stand beside the draws of this run: another fit, the draws of another, and what another
// run that was stopped has left.
func (r *sampling) clear() (notice string, err error) {
	var old []string
	if !sameFile(r.dir, r.at.dir) {
		config := filepath.Join(r.dir, fileConfig)
		if exists(filepath.Join(r.dir, fileFitJSON)) {
			if rec, err := readFitRecord(r.dir); err != nil || rec.sum != r.at.fit.sum {
				old = append(old, fitFiles...)
			}
		} else if sum, err := disk.Sum(config); err == nil && sum != r.config {
			old = append(old, fileConfig)
		}
	}
	if draws, err := drawsIn(r.dir); err != nil {
		old = append(old, sampleFiles...)
	} else if draws != nil && (draws.FitSum != "" && draws.FitSum != r.at.fit.sum || draws.check(r.dir) != nil) {
		old = append(append(old, draws.names...), sampleFiles...)
	}
	if len(old) > 0 { // what was exported is of those
		old = append(old, exportAside(r.dir)...)
	}
	f, _, err := readCheckpoint(r.check.path)
	if err != nil {
		return "", err
	}
	if f != nil && f.Key != r.check.key {
		old = append(append(old, fileCheckpoint), localNames(f.Files)...)
	}
	return moveAside(r.dir, old, "files of another run")
}

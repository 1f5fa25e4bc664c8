package sample

import (
	"path/filepath"

	"lenskit/internal/disk"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/run"
)

// clear moves aside what must not stand beside the draws of this run: another fit, the draws of another, and what another
// run that was stopped has left.
func (r *sampling) clear() (notice string, err error) {
	var old []string
	if !rundir.SameFile(r.dir, r.at.dir) {
		config := filepath.Join(r.dir, rundir.ConfigYAML)
		if rundir.Exists(filepath.Join(r.dir, rundir.FitJSON)) {
			if rec, err := run.ReadRecord(r.dir); err != nil || rec.Sum != r.at.fit.Sum {
				old = append(old, run.FitFiles...)
			}
		} else if sum, err := disk.Sum(config); err == nil && sum != r.config {
			old = append(old, rundir.ConfigYAML)
		}
	}
	if draws, err := run.DrawnIn(r.dir); err != nil {
		old = append(old, run.SampleFiles...)
	} else if draws != nil && (draws.FitSum != "" && draws.FitSum != r.at.fit.Sum || draws.Check(r.dir) != nil) {
		old = append(append(old, draws.Names...), run.SampleFiles...)
	}
	if len(old) > 0 { // what was exported is of those
		old = append(old, run.ExportAside(r.dir)...)
	}
	f, _, err := rundir.ReadCheckpoint(r.check.Path)
	if err != nil {
		return "", err
	}
	if f != nil && f.Key != r.check.Key {
		old = append(append(old, rundir.CheckpointName), run.LocalNames(f.Files)...)
	}
	return rundir.MoveAside(r.dir, old, "files of another run")
}

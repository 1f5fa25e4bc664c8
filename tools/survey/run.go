package survey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lenskit/adjoint"
	"lenskit/internal/disk"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
	"lenskit/tools/run"
)

// LensStatus is survey-status.json of a lens: how its last run stands. Whether a run that is said to be running lives, the
// lock of the lens's folder tells.
type LensStatus struct {
	State   string `json:"state"` // running, done, failed or interrupted
	Exit    int    `json:"exit_code"`
	Message string `json:"message,omitempty"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Task    string `json:"task,omitempty"`   // variable=value of the batch system
	Values  string `json:"values,omitempty"` // of an image without a config, as the manifest gave them
	Folder  string `json:"folder,omitempty"` // in which the command was given, for the relative paths of its record
	Started string `json:"started"`
	Ended   string `json:"ended,omitempty"`
}

// States of the last run of a lens.
const (
	stateRunning     = "running"
	stateDone        = "done"
	stateFailed      = "failed"
	stateInterrupted = "interrupted"
)

// RunOptions says which lenses of a survey Run fits.
type RunOptions struct {
	Dir     string
	Index   string // lenses, such as 3 or 1-5; "": those of the array task
	Threads int    // 0: what the batch system gives, else all
	Force   bool   // fit again what is done
	JSON    bool
	Getenv  func(string) string // nil: os.Getenv
}

// SurveyRan is a lens that Run has seen to.
type SurveyRan struct {
	Index  int    `json:"index"`
	Name   string `json:"name"`
	Status string `json:"status"` // of the fit, or state of the run
	Exit   int    `json:"exit_code"`
	Before bool   `json:"was_done,omitempty"`
}

// Run fits one lens of a survey, or several in turn. It returns the error of the one lens; of several, the first one
// of the worst kind, after all were tried. A nil pr is silent.
func Run(ctx context.Context, opt RunOptions, stdout io.Writer, pr *term.Progress) error {
	pr = pr.OrSilent()
	if opt.Getenv == nil {
		opt.Getenv = os.Getenv
	}
	s, err := Open(opt.Dir)
	if err != nil {
		return err
	}
	indices, task, err := s.which(&opt)
	if err != nil {
		return err
	}
	if opt.Threads == 0 {
		opt.Threads = taskThreads(opt.Getenv)
	}
	out := stdout
	if opt.JSON {
		out = io.Discard
	}
	var worst error
	var ran []SurveyRan
	for _, i := range indices {
		if err := stoppedOr(ctx, nil); err != nil {
			if worse(err, worst) {
				worst = err
			}
			break
		}
		r, err := s.runLens(ctx, i, task, opt, out, pr)
		r.Exit = term.ExitCode(err)
		ran = append(ran, r)
		if worse(err, worst) {
			worst = err
		}
		if err != nil && len(indices) > 1 {
			pr.Say("%s: %s", r.Name, term.OneLine(err.Error()))
		}
	}
	if opt.JSON {
		if err := rundir.EncodeJSON(stdout, ran); err != nil {
			return err
		}
	}
	return worst
}

// which lists the lenses to be fitted, and tells the array task, if it is one.
func (s *Survey) which(opt *RunOptions) (indices []int, task string, err error) {
	if opt.Index != "" {
		indices, err = parseIndices(opt.Index, len(s.Lenses))
		return indices, "", err
	}
	n, variable, err := taskNumber(opt.Getenv)
	if err != nil {
		return nil, "", err
	}
	if n < 1 || n > s.Plan.tasks() {
		return nil, "", term.BadInput("%s: found %d, expected an array task from 1 to %d", variable, n, s.Plan.tasks())
	}
	for i := (n-1)*s.Plan.PerTask + 1; i <= min(n*s.Plan.PerTask, len(s.Lenses)); i++ {
		indices = append(indices, i)
	}
	return indices, fmt.Sprintf("%s=%d", variable, n), nil
}

// worse tells whether error a tells of a worse end than b: interrupted, unexpected, bad input, numerical, not converged.
func worse(a, b error) bool {
	rank := map[int]int{term.ExitDone: 0, term.ExitNotConverged: 1, term.ExitNumerical: 2, term.ExitBadInput: 3, term.ExitUnexpected: 4, term.ExitInterrupted: 5}
	return rank[term.ExitCode(a)] > rank[term.ExitCode(b)]
}

// folder is the folder of lens i.
func (s *Survey) folder(i int) string { return filepath.Join(s.dir, s.Lenses[i-1].Name) }

// fitOptions are those of lens i.
func (s *Survey) fitOptions(i, threads int) run.Options {
	l := &s.Lenses[i-1]
	opt := run.Options{Input: s.path(l.Config), Output: s.folder(i), Search: s.Plan.Search, Compute: adjoint.Options{Threads: threads, Device: s.Plan.Device}}
	if l.Image != "" {
		opt.Bare = problem.BareOptions{Image: s.path(l.Image), Noise: s.path(l.Noise), PSF: s.path(l.PSF), PixelScale: l.PixelScale}
		opt.Input = opt.Bare.Image
	}
	return opt
}

// runLens fits lens i, unless that is done. While it does it is the owner of the lens's folder.
func (s *Survey) runLens(ctx context.Context, i int, task string, opt RunOptions, stdout io.Writer, pr *term.Progress) (ran SurveyRan, err error) {
	l, dir := &s.Lenses[i-1], s.folder(i)
	fit := s.fitOptions(i, opt.Threads)
	look := func() (*lensBefore, error) {
		if opt.Force {
			return &lensBefore{}, nil
		}
		return s.before(ctx, l, &fit)
	}
	done := func(rec *LensRecord) (SurveyRan, error) {
		ran.Status, ran.Before = rec.Status, true
		if err := rec.verdict(dir); err != nil {
			return ran, err
		}
		pr.Say("%s: done before", l.Name)
		return ran, nil
	}
	ran = SurveyRan{Index: i, Name: l.Name, Status: stateFailed}
	was, err := look()
	if err != nil {
		return ran, stoppedOr(ctx, err)
	}
	if was.rec != nil && was.told {
		return done(was.rec)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return ran, term.BadInput("%s: %s", dir, term.Reason(err))
	}
	release, err := disk.Lock(dir)
	if err != nil {
		var b *disk.Busy
		if errors.As(err, &b) {
			ran.Status = stateRunning
		}
		return ran, err
	}
	release = sync.OnceFunc(release)
	defer release()
	term.GuardOf(ctx).OnExit(release)
	// another run may have ended since
	if was, err = look(); err != nil {
		return ran, stoppedOr(ctx, err)
	}
	st := LensStatus{State: stateRunning, PID: os.Getpid(), Task: task, Values: l.values(), Started: time.Now().UTC().Format(time.RFC3339)}
	st.Host, _ = os.Hostname()
	st.Folder, _ = os.Getwd()
	path := filepath.Join(dir, fileLensStatus)
	if was.rec != nil { // of a run that was killed before it could say so
		if was.status != nil && was.status.Folder != "" {
			st.Folder = was.status.Folder
		}
		if _, err := os.Stat(filepath.Join(dir, rundir.FitPNG)); err != nil {
			if err := run.Draw(dir); err != nil {
				return ran, err
			}
		}
		st.end(stateDone, was.rec.verdict(dir))
		if err := rundir.WriteJSON(path, &st); err != nil {
			return ran, err
		}
		return done(was.rec)
	}
	if was.amiss != "" {
		pr.Warn("%s: %s: fitting again", l.Name, term.OneLine(was.amiss))
	}
	if err := rundir.WriteJSON(path, &st); err != nil {
		return ran, err
	}
	var told sync.Once // how it ended
	term.GuardOf(ctx).OnExit(func() {
		told.Do(func() {
			st.end(stateInterrupted, stoppedOr(ctx, nil))
			rundir.WriteJSON(path, &st)
			release()
		})
	})
	fit.Locked = true
	err = run.Fit(ctx, fit, stdout, pr)
	told.Do(func() {})
	state := stateFailed
	switch term.ExitCode(err) {
	case term.ExitDone, term.ExitNotConverged:
		state, ran.Status = stateDone, run.Converged
		if rec, rerr := ReadLensRecord(dir); rerr == nil {
			ran.Status = rec.Status
		}
	case term.ExitInterrupted:
		state, ran.Status = stateInterrupted, stateInterrupted
	}
	st.end(state, err)
	if werr := rundir.WriteJSON(path, &st); err == nil {
		err = werr
	}
	return ran, err
}

// end notes how a run has ended.
func (st *LensStatus) end(state string, err error) {
	st.State, st.Exit, st.Ended = state, term.ExitCode(err), time.Now().UTC().Format(time.RFC3339)
	if err != nil {
		st.Message = term.OneLine(err.Error())
	}
}

// verdict is the error of a fit whose results are not to be trusted.
func (r *LensRecord) verdict(dir string) error {
	if r.Status == run.Converged {
		return nil
	}
	return term.NotConverged("%s: %s: %s", dir, strings.ReplaceAll(r.Status, "_", " "), term.OneLine(r.Reason))
}

// stoppedOr is err, or where ctx is done the error of a run that was told to stop before it had anything to save.
func stoppedOr(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return term.Interrupted("%v: run the same command again", context.Cause(ctx))
}

// lensBefore is what a run finds in the folder of a lens.
type lensBefore struct {
	rec    *LensRecord // of results that are complete and still right
	told   bool        // by the status of the last run, too
	amiss  string      // with results that are not
	status *LensStatus // of the last run; nil where there was none
}

// before looks whether a lens is done: it has the files of a fit, its inputs and options are as they were, and its last run
// did not end in between.
func (s *Survey) before(ctx context.Context, l *surveyLens, fit *run.Options) (*lensBefore, error) {
	dir := fit.Output
	rec, err := ReadLensRecord(dir)
	var r *disk.ReadError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &lensBefore{}, nil
	case errors.As(err, &r): // a new one could not be put in its place
		return nil, err
	case err != nil:
		return &lensBefore{amiss: err.Error()}, nil
	}
	st, _ := readLensStatus(dir)
	folder := ""
	if st != nil {
		folder = st.Folder
	}
	if amiss, err := s.changed(ctx, fit, rec, folder); amiss != "" || err != nil {
		return &lensBefore{amiss: amiss}, err
	}
	if st != nil && st.Values != "" && st.Values != l.values() {
		return &lensBefore{amiss: "noise, psf or pixel_scale in " + rundir.FileManifest + " has changed since it was fitted"}, nil
	}
	if missing := lacksFile(dir, rundir.ConfigYAML, rundir.FitFITS); missing != "" {
		return &lensBefore{amiss: missing + " is missing"}, nil
	}
	out := &lensBefore{rec: rec, status: st, told: st != nil && st.State == stateDone && lacksFile(dir, rundir.FitPNG) == ""}
	if st != nil && (st.State == stateRunning || st.State == stateInterrupted) && lacksFile(dir, rundir.CheckpointName) == "" {
		out = &lensBefore{amiss: "its last run did not end"}
	}
	return out, nil
}

// lacksFile is the first of the files that dir does not have, "" where it has all.
func lacksFile(dir string, files ...string) string {
	for _, name := range files {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

// Bounds of what is summed to see whether it has changed.
const (
	longestInput = 64 << 30
	mostInputs   = 1000
)

// changed tells what of a lens differs from what its fit was made of, "" where nothing does. Relative paths of the record are
// those of a command given in folder.
func (s *Survey) changed(ctx context.Context, fit *run.Options, rec *LensRecord, folder string) (string, error) {
	path, _ := fits.SplitExtension(fit.Input)
	own, err := disk.SumUntil(ctx, path, longestInput)
	found := errors.Is(err, fs.ErrNotExist) // what was fitted stays
	if err != nil && !found {
		return "", err
	}
	if n := len(rec.Inputs); n == 0 || n > mostInputs {
		return fmt.Sprintf("%s names %d inputs", rundir.FitJSON, n), nil
	}
	for _, in := range rec.Inputs {
		found = found || in.SHA256 == own
		path := in.Path
		if !filepath.IsAbs(path) {
			if _, err := os.Stat(filepath.Join(folder, path)); err == nil {
				path = filepath.Join(folder, path)
			}
		}
		sum, err := disk.SumUntil(ctx, path, longestInput)
		switch {
		case ctx.Err() != nil:
			return "", err
		case err == nil && sum != in.SHA256, err != nil && !errors.Is(err, fs.ErrNotExist):
			return in.Path + " has changed since it was fitted", nil
		}
	}
	if !found {
		return path + " has changed since it was fitted", nil
	}
	if want, err := json.Marshal(fit.Search.Defaults()); err == nil && !term.SameJSON(want, rec.Options) {
		return "options of the survey have changed since it was fitted", nil
	}
	return "", nil
}

// values are what the manifest says of an image in numbers.
func (l *surveyLens) values() string {
	if l.Image == "" {
		return ""
	}
	return fmt.Sprintf("noise %s, psf %s, pixel_scale %g", l.Noise, l.PSF, l.PixelScale)
}

// Standings of a lens beside those of its last run and of its fit.
const (
	standingPending = "pending"
	standingLost    = "lost" // its run was killed, or files of it are gone
)

// Standing is how a lens stands: converged, not_converged, failed, running, interrupted, lost or pending.
type Standing struct {
	Index   int         `json:"index"`
	Name    string      `json:"name"`
	State   string      `json:"state"`
	Message string      `json:"message,omitempty"`
	Rec     *LensRecord `json:"-"`
}

// Standings are all states in the order in which they are told of.
var Standings = []string{run.Converged, run.NotConverged, stateFailed, stateRunning, stateInterrupted, standingLost, standingPending}

// standing finds how lens i stands. One whose files cannot be read, or are nobody's, has failed.
func (s *Survey) standing(i int) Standing {
	dir := s.folder(i)
	out := Standing{Index: i, Name: s.Lenses[i-1].Name, State: standingPending}
	st, err := readLensStatus(dir)
	if err == nil && st != nil && st.State == stateRunning {
		if disk.Working(dir) != nil {
			out.State, out.Message = stateRunning, fmt.Sprintf("on %s, since %s", term.Shown(st.Host), term.Shown(st.Started))
			return out
		}
		st, err = readLensStatus(dir) // it may have ended since
	}
	switch {
	case err != nil:
		out.State, out.Message = stateFailed, term.OneLine(err.Error())
		return out
	case st != nil && st.State == stateRunning:
		out.State, out.Message = standingLost, fmt.Sprintf("on %s, where it began %s", term.Shown(st.Host), term.Shown(st.Started))
		return out
	case st != nil && st.State != stateDone:
		out.State, out.Message = st.State, term.OneLine(st.Message)
		return out
	}
	rec, err := ReadLensRecord(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return out
	case err != nil:
		out.State, out.Message = stateFailed, term.OneLine(err.Error())
		return out
	}
	if missing := lacksFile(dir, rundir.ConfigYAML, rundir.FitFITS, rundir.FitPNG); missing != "" {
		out.State, out.Message = standingLost, missing+" is missing"
		return out
	}
	out.Rec, out.State = rec, rec.Status
	if rec.Status != run.Converged {
		out.Message = term.OneLine(rec.Reason)
	}
	return out
}

// All finds how all lenses stand, without their parameters.
func (s *Survey) All(ctx context.Context) ([]Standing, error) {
	out := make([]Standing, len(s.Lenses))
	for i := range out {
		if ctx.Err() != nil {
			return nil, stoppedOr(ctx, nil)
		}
		out[i] = s.standing(i + 1)
		out[i].forget()
	}
	return out, nil
}

// forget lets go of what no table of standings needs.
func (r *Standing) forget() {
	if r.Rec != nil {
		r.Rec = &LensRecord{Status: r.Rec.Status, numbers: r.Rec.numbers}
	}
}

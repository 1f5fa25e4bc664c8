package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"lenskit/adjoint"
)

// lensStatus is survey-status.json of a lens: how its last run stands. While the run lasts the file is touched, so that a
// run that was killed shows.
type lensStatus struct {
	State   string `json:"state"` // running, done, failed or interrupted
	Exit    int    `json:"exit_code"`
	Message string `json:"message,omitempty"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Task    string `json:"task,omitempty"` // variable=value of the batch system
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

// A running lens's status is touched so often, and the run is taken for dead when it was not touched for so long.
const (
	surveyBeat = 20 * time.Second
	surveyDead = 3 * time.Minute
)

// SurveyRunOptions says which lenses of a survey RunSurvey fits.
type SurveyRunOptions struct {
	Dir     string
	Index   string // lenses, such as 3 or 1-5; "": those of the array task
	Threads int    // 0: what the batch system gives, else all
	Force   bool   // fit again what is done
	JSON    bool
	Getenv  func(string) string
}

// surveyRan is a lens that RunSurvey has seen to.
type surveyRan struct {
	Index  int    `json:"index"`
	Name   string `json:"name"`
	Status string `json:"status"` // of the fit, or state of the run
	Exit   int    `json:"exit_code"`
	Before bool   `json:"was_done,omitempty"`
}

// RunSurvey fits one lens of a survey, or several in turn. It returns the error of the one lens; of several, the first one
// of the worst kind, after all were tried.
func RunSurvey(ctx context.Context, opt SurveyRunOptions, stdout io.Writer, pr *progress) error {
	s, err := openSurvey(opt.Dir)
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
	var ran []surveyRan
	for _, i := range indices {
		r, err := s.runLens(ctx, i, task, opt, out, pr)
		r.Exit = exitCode(err)
		ran = append(ran, r)
		if worse(err, worst) {
			worst = err
		}
		if r.Exit == exitInterrupted {
			break
		}
		if err != nil && len(indices) > 1 {
			pr.say("%s: %v", r.Name, err)
		}
	}
	if opt.JSON {
		if err := encodeJSON(stdout, ran); err != nil {
			return err
		}
	}
	return worst
}

// which lists the lenses to be fitted, and tells the array task, if it is one.
func (s *survey) which(opt *SurveyRunOptions) (indices []int, task string, err error) {
	if opt.Index != "" {
		indices, err = parseIndices(opt.Index, len(s.lenses))
		return indices, "", err
	}
	n, variable, err := taskNumber(opt.Getenv)
	if err != nil {
		return nil, "", err
	}
	if n < 1 || n > s.plan.tasks() {
		return nil, "", badInput("%s: found %d, expected an array task from 1 to %d", variable, n, s.plan.tasks())
	}
	for i := (n-1)*s.plan.PerTask + 1; i <= min(n*s.plan.PerTask, len(s.lenses)); i++ {
		indices = append(indices, i)
	}
	return indices, fmt.Sprintf("%s=%d", variable, n), nil
}

// worse tells whether error a tells of a worse end than b: interrupted, unexpected, bad input, numerical, not converged.
func worse(a, b error) bool {
	rank := map[int]int{exitDone: 0, exitNotConverged: 1, exitNumerical: 2, exitBadInput: 3, exitUnexpected: 4, exitInterrupted: 5}
	return rank[exitCode(a)] > rank[exitCode(b)]
}

// folder is the folder of lens i.
func (s *survey) folder(i int) string { return filepath.Join(s.dir, s.lenses[i-1].Name) }

// fitOptions are those of lens i.
func (s *survey) fitOptions(i, threads int) FitOptions {
	l := &s.lenses[i-1]
	opt := FitOptions{Input: s.path(l.Config), Output: s.folder(i), Search: s.plan.Search, Compute: adjoint.Options{Threads: threads, Device: s.plan.Device}}
	if l.Image != "" {
		opt.Bare = bareImage{Image: s.path(l.Image), Noise: s.path(l.Noise), PSF: s.path(l.PSF), PixelScale: l.PixelScale}
		opt.Input = opt.Bare.Image
	}
	return opt
}

// runLens fits lens i, unless that is done.
func (s *survey) runLens(ctx context.Context, i int, task string, opt SurveyRunOptions, stdout io.Writer, pr *progress) (surveyRan, error) {
	l, dir := &s.lenses[i-1], s.folder(i)
	ran := surveyRan{Index: i, Name: l.Name, Status: stateFailed}
	fit := s.fitOptions(i, opt.Threads)
	if rec, err := readFitRecord(dir); err == nil && !opt.Force {
		changed := s.changed(&fit, rec)
		if changed == "" {
			ran.Status, ran.Before = rec.Status, true
			if rec.Status == statusConverged {
				pr.say("%s: done before", l.Name)
				return ran, nil
			}
			return ran, notConverged("%s: %s: %s", dir, strings.ReplaceAll(rec.Status, "_", " "), rec.Reason)
		}
		pr.say("%s: %s since it was fitted: fitting again", l.Name, changed)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return ran, badInput("%s: %s", dir, reason(err))
	}
	st := lensStatus{State: stateRunning, PID: os.Getpid(), Task: task, Started: time.Now().UTC().Format(time.RFC3339)}
	st.Host, _ = os.Hostname()
	if other, age := readLensStatus(dir); other != nil && other.State == stateRunning && age < surveyDead && (other.PID != st.PID || other.Host != st.Host) {
		ran.Status = stateRunning
		return ran, badInput("%s: process %d on %s is at it, or was until %d s ago: expected one run at a time", dir, other.PID, other.Host, int(age.Seconds()))
	}
	path := filepath.Join(dir, fileLensStatus)
	if err := writeJSON(path, &st); err != nil {
		return ran, err
	}
	stop := beat(path)
	err := Fit(ctx, fit, stdout, pr)
	stop()
	st.Exit, st.Ended = exitCode(err), time.Now().UTC().Format(time.RFC3339)
	switch st.Exit {
	case exitDone, exitNotConverged:
		st.State, ran.Status = stateDone, statusConverged
		if rec, rerr := readFitRecord(dir); rerr == nil {
			ran.Status = rec.Status
		}
	case exitInterrupted:
		st.State, ran.Status = stateInterrupted, stateInterrupted
	default:
		st.State = stateFailed
	}
	if err != nil {
		st.Message = oneLine(err.Error())
	}
	if werr := writeJSON(path, &st); err == nil {
		err = werr
	}
	return ran, err
}

// changed tells what of a lens differs from what its fit was made of, "" where nothing does.
func (s *survey) changed(fit *FitOptions, rec *fitRecord) string {
	path, _ := splitExtension(fit.Input)
	own, err := hashFile(path)
	found := err != nil || len(rec.Inputs) == 0
	for _, in := range rec.Inputs {
		found = found || in.SHA256 == own
		if sum, err := hashFile(in.Path); err == nil && sum != in.SHA256 {
			return in.Path + " has changed"
		}
	}
	if !found {
		return path + " has changed"
	}
	want, err1 := json.Marshal(fit.Search.defaults())
	have, err2 := json.Marshal(rec.Options)
	var a, b any
	if err1 == nil && err2 == nil && json.Unmarshal(want, &a) == nil && json.Unmarshal(have, &b) == nil && !reflect.DeepEqual(a, b) {
		return "options of the survey have changed"
	}
	return ""
}

// beat touches a file until it is stopped.
func beat(path string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(surveyBeat)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-t.C:
				os.Chtimes(path, now, now)
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// readLensStatus reads the status of the last run and how long ago it was touched; nil where there is none.
func readLensStatus(dir string) (*lensStatus, time.Duration) {
	path := filepath.Join(dir, fileLensStatus)
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0
	}
	var st lensStatus
	if json.Unmarshal(text, &st) != nil {
		return nil, 0
	}
	return &st, max(0, time.Since(info.ModTime()))
}

// Standings of a lens beside those of its last run and of its fit.
const (
	standingPending = "pending"
	standingLost    = "lost" // its run was killed
)

// standing is how a lens stands: converged, not_converged, failed, running, interrupted, lost or pending.
type standing struct {
	Index   int    `json:"index"`
	Name    string `json:"name"`
	State   string `json:"state"`
	Message string `json:"message,omitempty"`
	rec     *fitRecord
}

// standings are all states in the order in which they are told of.
var standings = []string{statusConverged, statusNotConverged, stateFailed, stateRunning, stateInterrupted, standingLost, standingPending}

// standing finds how lens i stands.
func (s *survey) standing(i int) (standing, error) {
	out := standing{Index: i, Name: s.lenses[i-1].Name, State: standingPending}
	dir := s.folder(i)
	st, age := readLensStatus(dir)
	switch {
	case st != nil && st.State == stateRunning && age > surveyDead:
		out.State, out.Message = standingLost, fmt.Sprintf("on %s, gone since %s", st.Host, time.Now().Add(-age).UTC().Format(time.RFC3339))
		return out, nil
	case st != nil && st.State == stateRunning:
		out.State, out.Message = stateRunning, fmt.Sprintf("on %s, since %s", st.Host, st.Started)
		return out, nil
	case st != nil && st.State != stateDone:
		out.State, out.Message = st.State, st.Message
		return out, nil
	}
	if _, err := os.Stat(filepath.Join(dir, fileFitJSON)); errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	rec, err := readFitRecord(dir)
	if err != nil {
		return out, err
	}
	out.rec, out.State = rec, rec.Status
	if rec.Status != statusConverged {
		out.Message = rec.Reason
	}
	return out, nil
}

// all finds how all lenses stand. A lens whose results cannot be read has failed.
func (s *survey) all() []standing {
	out := make([]standing, len(s.lenses))
	for i := range out {
		st, err := s.standing(i + 1)
		if err != nil {
			st.State, st.Message = stateFailed, oneLine(err.Error())
		}
		out[i] = st
	}
	return out
}

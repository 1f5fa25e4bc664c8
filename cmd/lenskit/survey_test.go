//go:build linux || darwin

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// surveyModel is a lens that is fitted in about a second.
const surveyModel = `
data: {size: 24, pixel_scale: 0.2, noise: 0.05, psf: {gaussian: 0.2}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}}}
`

// lenskit runs the command in dir and returns how it ended and what it said.
func lenskit(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command("lenskit", args...)
	var out, msg bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &msg
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), msg.String()
}

// planned makes a mock and a survey of it, once for each name, in a folder.
func planned(t *testing.T, names ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.txt"), []byte(surveyModel), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, msg := lenskit(t, dir, "mock", "model.txt", "-o", "m.fits", "--quiet"); code != 0 {
		t.Fatal(msg)
	}
	for _, name := range names {
		if code, _, msg := lenskit(t, dir, "survey", "plan", "m.yaml", "-o", name, "--starts", "6"); code != 0 {
			t.Fatal(msg)
		}
	}
	return dir
}

// lensFiles are the files of a lens; of those that tell the time, only the names.
func lensFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range list {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		switch e.Name() {
		case "survey-status.json":
			text = nil
		case "fit.json":
			var rec map[string]any
			if err := json.Unmarshal(text, &rec); err != nil {
				t.Fatal(err)
			}
			delete(rec, "seconds")
			if text, err = json.Marshal(rec); err != nil {
				t.Fatal(err)
			}
		}
		all[e.Name()] = string(text)
	}
	return all
}

// A run that is killed at any moment goes on at once, and leaves the files of one that was not.
func TestAKilledSurveyRunEndsAsAnyOther(t *testing.T) {
	moments := []string{"m/survey-status.json", "m/config.yaml", "m/fit.fits", "m/fit.png", "m/fit.json", "m/.fit.json.lenskit-tmp", "m/.survey-status.json.lenskit-tmp"}
	if testing.Short() {
		moments = moments[4:5]
	}
	names := []string{"whole"}
	for i := range moments {
		names = append(names, fmt.Sprintf("s%d", i))
	}
	dir := planned(t, names...)
	if code, _, msg := lenskit(t, dir, "survey", "run", "whole", "--index", "1"); code != 0 {
		t.Fatal(msg)
	}
	whole := lensFiles(t, filepath.Join(dir, "whole", "m"))
	for i, moment := range moments {
		s := names[i+1]
		cmd := exec.Command("lenskit", "survey", "run", s, "--index", "1", "--quiet")
		cmd.Dir = dir
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for waiting := true; waiting; {
			if _, err := os.Lstat(filepath.Join(dir, s, moment)); err == nil {
				cmd.Process.Kill()
				<-ended
				break
			}
			select {
			case <-ended: // its moment was too short to be seen
				waiting = false
			default:
				time.Sleep(100 * time.Microsecond)
			}
		}
		_, state, _ := lenskit(t, dir, "survey", "status", s)
		code, _, msg := lenskit(t, dir, "survey", "run", s, "--index", "1", "--quiet")
		if _, last, _ := lenskit(t, dir, "survey", "status", s); code != 0 || !strings.Contains(last, "1 lens: 1 converged") {
			t.Errorf("killed at %s (%q): then %d, %q, %q", moment, state, code, msg, last)
		}
		got := lensFiles(t, filepath.Join(dir, s, "m"))
		for name, text := range whole {
			if mine, ok := got[name]; !ok || mine != text {
				t.Errorf("killed at %s: %s is not that of an uninterrupted run", moment, name)
			}
		}
		if len(got) != len(whole) {
			t.Errorf("killed at %s: %d files, want %d", moment, len(got), len(whole))
		}
	}
}

func TestOneOfTwoSurveyRunsRuns(t *testing.T) {
	names := []string{"s0", "s1", "s2"}
	dir := planned(t, names...)
	for _, s := range names {
		var runs [2]*exec.Cmd
		var said [2]bytes.Buffer
		for k := range runs {
			runs[k] = exec.Command("lenskit", "survey", "run", s, "--index", "1", "--quiet")
			runs[k].Dir, runs[k].Stderr = dir, &said[k]
			if err := runs[k].Start(); err != nil {
				t.Fatal(err)
			}
		}
		ran := 0
		for k, r := range runs {
			r.Wait()
			switch code := r.ProcessState.ExitCode(); {
			case code == 0:
				ran++
			case code != 2 || !strings.Contains(said[k].String(), "is at work here") || strings.Count(said[k].String(), "\n") != 1:
				t.Errorf("%s: got %d, %q", s, code, said[k].String())
			}
		}
		if ran != 1 {
			t.Errorf("%s: %d runs fitted the lens, want 1", s, ran)
		}
	}
}

func TestASurveyRunThatSumsFilesCanBeStopped(t *testing.T) {
	dir := planned(t, "s")
	if code, _, msg := lenskit(t, dir, "survey", "run", "s", "--index", "1"); code != 0 {
		t.Fatal(msg)
	}
	path := filepath.Join(dir, "s", "m", "fit.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// 60 GB that take no room
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 60e9); err != nil {
		t.Skip(err)
	}
	changed := strings.Replace(string(text), `"inputs": [`, fmt.Sprintf(`"inputs": [{"path": %q, "sha256": "00"},`, large), 1)
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("lenskit", "survey", "run", "s", "--index", "1")
	var said bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	cmd.Process.Signal(syscall.SIGTERM)
	begun := time.Now()
	cmd.Wait()
	if took := time.Since(begun); cmd.ProcessState.ExitCode() != 75 || took > 2*time.Second || strings.Count(said.String(), "\n") != 1 || !strings.Contains(said.String(), "run the same command again") {
		t.Errorf("got %d after %v, %q", cmd.ProcessState.ExitCode(), took, said.String())
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != changed {
		t.Error("a run that was stopped has changed fit.json")
	}
}

// The record of a fit tells what was used, not what stands there when it ends.
func TestAConfigThatIsEditedWhileItsFitRunsIsFittedAgain(t *testing.T) {
	dir := planned(t, "s")
	config := filepath.Join(dir, "m.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("lenskit", "survey", "run", "s", "--index", "1")
	cmd.Dir = dir
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	lines.Scan() // the first stage of the search is done
	edited := strings.Replace(string(text), "data:", "# edited\ndata:", 1)
	if err := os.WriteFile(config, []byte(edited), 0o644); err != nil || edited == string(text) {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"m.yaml has changed since it was fitted: fitting again", "m: done before"} {
		if code, _, msg := lenskit(t, dir, "survey", "run", "s", "--index", "1"); code != 0 || !strings.Contains(msg, want) {
			t.Errorf("run %d: got %d, %q, want %q", i+2, code, msg, want)
		}
	}
}

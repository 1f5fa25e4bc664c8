//go:build linux || darwin

package survey

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lenskit/internal/disk"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/search"
)

// giveFile writes a file of a test.
func giveFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// doneSurvey plans a survey of n lenses with configs that cannot be fitted, m1.yaml and so on beside its folder, and gives each
// the files of a fit: whoever takes one of them for not done ends with exit code 2.
func doneSurvey(t *testing.T, n int) (dir, out string) {
	t.Helper()
	noTask(t)
	dir = t.TempDir()
	out = filepath.Join(dir, "s")
	args := []string{"survey", "plan"}
	for i := 1; i <= n; i++ {
		config := filepath.Join(dir, fmt.Sprintf("m%d.yaml", i))
		giveFile(t, config, fmt.Sprintf("lens: [{type: nosuch}] # %d\n", i))
		args = append(args, config)
	}
	if code, _, msg := testkit.RunCommand(t, append(args, "-o", out)...); code != 0 {
		t.Fatal(msg)
	}
	for i := 1; i <= n; i++ {
		giveFit(t, dir, out, i, nil)
	}
	return dir, out
}

// giveFit gives lens i the files of a fit, with some keys of its record changed; a nil value takes a key away.
func giveFit(t *testing.T, dir, out string, i int, change map[string]any) {
	t.Helper()
	config := filepath.Join(dir, fmt.Sprintf("m%d.yaml", i))
	sum, err := disk.Sum(config)
	if err != nil {
		t.Fatal(err)
	}
	rec := map[string]any{"status": "converged", "reason": "every check passed", "parameters": map[string]any{"lens.sie.theta_E": 1.2},
		"uncertainties": map[string]any{"lens.sie.theta_E": 0.01}, "log_posterior": 10.5, "chi2": 100, "pixels": 98, "reduced_chi2": 1.02, "evaluations": 70, "seconds": 2.5,
		"options": search.Options{Seed: 1}.Defaults(), "inputs": []rundir.Input{{Path: config, SHA256: sum}}}
	for k, v := range change {
		if rec[k] = v; v == nil {
			delete(rec, k)
		}
	}
	text, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	lens := filepath.Join(out, fmt.Sprintf("m%d", i))
	giveFile(t, filepath.Join(lens, rundir.FitJSON), string(text))
	for _, name := range []string{rundir.ConfigYAML, rundir.FitFITS, rundir.FitPNG} {
		giveFile(t, filepath.Join(lens, name), "x")
	}
	giveFile(t, filepath.Join(lens, fileLensStatus), `{"state": "done"}`)
}

// quick runs a command that must not take long whatever it finds.
func quick(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	begun := time.Now()
	code, stdout, stderr = testkit.RunCommand(t, args...)
	if time.Since(begun) > 5*time.Second {
		t.Errorf("%q: took %v", args, time.Since(begun))
	}
	if code == term.ExitBadInput && (strings.Count(stderr, "\n") != 1 || len(stderr) > 2000) {
		t.Errorf("%q: got %q, want one line", args, stderr)
	}
	if strings.ContainsAny(stdout+stderr, "\x1b\a\r") {
		t.Errorf("%q: control characters in %q, %q", args, stdout, stderr)
	}
	return code, stdout, stderr
}

func TestALensIsDoneOnlyWithAllItsFiles(t *testing.T) {
	dir := t.TempDir()
	noTask(t)
	testkit.SurveyMocks(t, dir, 1)
	out := filepath.Join(dir, "s")
	if code, _, msg := testkit.RunCommand(t, "survey", "plan", filepath.Join(dir, "m1.yaml"), "-o", out, "--starts", "6"); code != 0 {
		t.Fatal(msg)
	}
	run := func() (int, string) {
		code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--index", "1")
		return code, msg
	}
	if code, msg := run(); code != 0 {
		t.Fatal(msg)
	}
	lens := filepath.Join(out, "m1")
	files := func() map[string]string {
		list, err := os.ReadDir(lens)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, e := range list {
			if e.IsDir() { // what was there before and is nobody's
				continue
			}
			text, err := os.ReadFile(filepath.Join(lens, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if all[e.Name()] = string(text); e.Name() == fileLensStatus || e.Name() == rundir.FitJSON {
				all[e.Name()] = "" // they tell when and how long
			}
		}
		return all
	}
	whole := files()
	running := `{"state": "running", "host": "nowhere", "pid": 1, "started": "2026-01-01T00:00:00Z"}`
	for name, c := range map[string]struct {
		spoil func()
		state string // that status tells before the next run
		says  string // what the next run says
	}{
		"no fit.png":         {func() { os.Remove(filepath.Join(lens, rundir.FitPNG)) }, "lost", "done before"},
		"no fit.fits":        {func() { os.Remove(filepath.Join(lens, rundir.FitFITS)) }, "lost", "fit.fits is missing: fitting again"},
		"no config.yaml":     {func() { os.Remove(filepath.Join(lens, rundir.ConfigYAML)) }, "lost", "config.yaml is missing: fitting again"},
		"fit.json cut short": {func() { os.Truncate(filepath.Join(lens, rundir.FitJSON), 99) }, "failed", "fitting again"},
		"no status":          {func() { os.Remove(filepath.Join(lens, fileLensStatus)) }, "converged", "done before"},
		"status running":     {func() { giveFile(t, filepath.Join(lens, fileLensStatus), running) }, "lost", "done before"},
		"status interrupted": {func() { giveFile(t, filepath.Join(lens, fileLensStatus), `{"state": "interrupted"}`) }, "interrupted", "done before"},
		"running, no fit.png": {func() {
			giveFile(t, filepath.Join(lens, fileLensStatus), running)
			os.Remove(filepath.Join(lens, rundir.FitPNG))
		}, "lost", "done before"},
		"running, a checkpoint": {func() {
			giveFile(t, filepath.Join(lens, fileLensStatus), running)
			giveFile(t, filepath.Join(lens, rundir.CheckpointName), "{}")
		}, "lost", "did not end: fitting again"},
	} {
		c.spoil()
		if _, got, _ := testkit.RunCommand(t, "survey", "status", out, "--indices", c.state); got != "1\n" {
			t.Errorf("%s: before: %q is not %s", name, got, c.state)
		}
		if code, msg := run(); code != 0 || !strings.Contains(msg, c.says) {
			t.Errorf("%s: got %d, %q, want %q", name, code, msg, c.says)
		}
		if _, got, _ := testkit.RunCommand(t, "survey", "status", out, "--indices", "converged"); got != "1\n" {
			t.Errorf("%s: afterwards it is not converged", name)
		}
		got := files()
		for f := range whole {
			if text, ok := got[f]; !ok || text != whole[f] {
				t.Errorf("%s: %s is not as it was", name, f)
			}
		}
		if len(got) != len(whole) {
			t.Errorf("%s: found %d files, want %d", name, len(got), len(whole))
		}
	}
}

func TestAFolderTellsWhetherItsRunLives(t *testing.T) {
	_, out := doneSurvey(t, 1)
	lens := filepath.Join(out, "m1")
	host, _ := os.Hostname()
	lock := filepath.Join(lens, ".lenskit-lock")
	year := 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		host        string
		pid         int
		age         time.Duration
		running     bool
		code, lines int
	}{
		"killed a moment ago on this host":  {host, 1 << 22, 0, false, term.ExitDone, 1},
		"killed here, its time years ahead": {host, 1 << 22, -5 * year, false, term.ExitDone, 1},
		"at work on another host":           {"elsewhere.example", 1, time.Minute, true, term.ExitInterrupted, 1},
		"killed on another host":            {"elsewhere.example", 1, time.Hour, false, term.ExitDone, 1},
		"another host's, years ahead":       {"elsewhere.example", 1, -5 * year, false, term.ExitDone, 1},
	} {
		giveFile(t, filepath.Join(lens, fileLensStatus), fmt.Sprintf(`{"state": "running", "host": %q, "pid": %d, "started": "2030-01-01T00:00:00Z"}`, c.host, c.pid))
		giveFile(t, lock, fmt.Sprintf(`{"pid": %d, "host": %q}`, c.pid, c.host))
		for _, path := range []string{lock, filepath.Join(lens, fileLensStatus)} {
			when := time.Now().Add(-c.age)
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
		state := "lost"
		if c.running {
			state = "running"
		}
		if _, stdout, _ := quick(t, "survey", "status", out); !strings.Contains(stdout, "1 "+state) {
			t.Errorf("%s: got %q, want %s", name, stdout, state)
		}
		code, _, msg := quick(t, "survey", "run", out, "--index", "1")
		if code != c.code || strings.Count(msg, "\n") != c.lines || c.running && !strings.Contains(msg, "is at work here") {
			t.Errorf("%s: got %d, %q, want %d", name, code, msg, c.code)
		}
	}
	os.Remove(lock)
	// one that this process holds
	giveFile(t, filepath.Join(lens, fileLensStatus), `{"state": "running"}`)
	release, err := disk.Lock(lens)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, msg := quick(t, "survey", "run", out, "--index", "1"); code != term.ExitBadInput || !strings.Contains(msg, "is at work here") {
		t.Errorf("of this process: got %d, %q", code, msg)
	}
	release()
	if code, _, msg := quick(t, "survey", "run", out, "--index", "1"); code != term.ExitDone {
		t.Errorf("released: got %d, %q", code, msg)
	}
}

// A folder that somebody handed over may name anything and hold anything in place of a file.
func TestSpecialFilesOfASurveyAreNotRead(t *testing.T) {
	dir, out := doneSurvey(t, 1)
	fifo, folder := filepath.Join(dir, "fifo"), filepath.Join(dir, "folder")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Skip(err)
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, special := range []string{fifo, folder, "/dev/zero", "/dev/random"} {
		if info, err := os.Stat(special); err != nil || info.Mode().IsRegular() {
			continue
		}
		giveFit(t, dir, out, 1, map[string]any{"inputs": []rundir.Input{{Path: special, SHA256: strings.Repeat("0", 64)}, {Path: filepath.Join(dir, "m1.yaml"), SHA256: ""}}})
		if code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--index", "1"); code != term.ExitBadInput || !strings.Contains(msg, special+" has changed since it was fitted: fitting again") {
			t.Errorf("%s in a record: got %d, %q", special, code, msg)
		}
		for _, name := range []string{"m1/fit.json", "m1/survey-status.json", "survey.json", "manifest.csv"} {
			giveFit(t, dir, out, 1, nil)
			path := filepath.Join(out, name)
			if err := os.Rename(path, path+".kept"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(special, path); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"run", out, "--index", "1"}, {"status", out}, {"merge", out}} {
				code, stdout, msg := quick(t, append([]string{"survey"}, args...)...)
				if want := name + ": is "; args[0] == "run" && code == term.ExitDone && name == "m1/survey-status.json" {
					t.Errorf("%s for %s: run: got %d", special, name, code)
				} else if args[0] != "merge" && !strings.Contains(stdout+msg, want) && !strings.Contains(msg, "cannot be written") {
					t.Errorf("%s for %s: %q: got %d, %q, %q", special, name, args, code, stdout, msg)
				}
			}
			if err := os.Rename(path+".kept", path); err != nil {
				t.Fatal(err)
			}
		}
		// as the config of a lens that is done, and of one that is not
		list := "name,config,image,noise,psf,pixel_scale\nm1," + special + ",,,,\n"
		giveFile(t, filepath.Join(out, rundir.FileManifest), list)
		for _, gone := range []bool{false, true} {
			if gone {
				os.Remove(filepath.Join(out, "m1", rundir.FitJSON))
			}
			if code, _, msg := quick(t, "survey", "run", out, "--index", "1"); code != term.ExitBadInput || !strings.Contains(msg, special+": is ") {
				t.Errorf("%s as config: got %d, %q", special, code, msg)
			}
		}
		giveFile(t, filepath.Join(out, rundir.FileManifest), strings.ReplaceAll(list, special, filepath.Join(dir, "m1.yaml")))
	}
}

func TestWhatHasChangedIsFittedAgain(t *testing.T) {
	dir, out := doneSurvey(t, 1)
	config := filepath.Join(dir, "m1.yaml")
	old, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	sum := disk.SumOf(old)
	data := filepath.Join(dir, "data")
	giveFile(t, data, "data")
	giveFile(t, data+"\x1b[2J\n", "data")
	many := slices.Repeat([]rundir.Input{{Path: config, SHA256: sum}}, mostInputs+1)
	for name, c := range map[string]struct {
		record map[string]any
		config string
		want   string // "": done
	}{
		"nothing":                   {nil, "", ""},
		"the config":                {nil, "lens: [{type: other}]\n", "m1.yaml has changed since it was fitted: fitting again"},
		"the config while it ran":   {map[string]any{"inputs": []rundir.Input{{Path: config, SHA256: disk.SumOf([]byte("as used"))}}}, "", "m1.yaml has changed since it was fitted: fitting again"},
		"an image":                  {map[string]any{"inputs": []rundir.Input{{Path: config, SHA256: sum}, {Path: data, SHA256: sum}}}, "", "data has changed since it was fitted"},
		"an image that is gone":     {map[string]any{"inputs": []rundir.Input{{Path: config, SHA256: sum}, {Path: data + "2", SHA256: sum}}}, "", ""},
		"the options":               {map[string]any{"options": search.Options{Seed: 2}.Defaults()}, "", "options of the survey have changed"},
		"a record without options":  {map[string]any{"options": nil}, "", "options of the survey have changed"},
		"a record without inputs":   {map[string]any{"inputs": nil}, "", "fit.json names 0 inputs: fitting again"},
		"a record of other inputs":  {map[string]any{"inputs": []rundir.Input{{Path: "", SHA256: "00"}}}, "", "m1.yaml has changed since it was fitted"},
		"a record of many inputs":   {map[string]any{"inputs": many}, "", "fit.json names 1001 inputs"},
		"a record with no text":     {map[string]any{"inputs": "none"}, "", `inputs: found "none", expected a list of paths and sums: fitting again`},
		"a name that acts on a tty": {map[string]any{"inputs": []rundir.Input{{Path: data + "\x1b[2J\n", SHA256: sum}}}, "", "has changed"},
	} {
		if c.config == "" {
			c.config = string(old)
		}
		giveFile(t, config, string(old))
		giveFit(t, dir, out, 1, c.record)
		giveFile(t, config, c.config)
		code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--index", "1")
		if c.want == "" && (code != 0 || !strings.Contains(msg, "done before")) || c.want != "" && (code != term.ExitBadInput || !strings.Contains(msg, c.want)) || strings.Contains(msg, "\x1b") {
			t.Errorf("%s: got %d, %q, want %q", name, code, msg, c.want)
		}
	}
}

// A record of relative paths tells of changes wherever the command is given.
func TestRelativeInputsAreFoundFromAnyFolder(t *testing.T) {
	dir, out := doneSurvey(t, 1)
	sum, err := disk.Sum(filepath.Join(dir, "m1.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	giveFile(t, filepath.Join(dir, "image"), "as it was")
	giveFit(t, dir, out, 1, map[string]any{"inputs": []rundir.Input{{Path: "m1.yaml", SHA256: sum}, {Path: "image", SHA256: disk.SumOf([]byte("as it was"))}}})
	status, err := json.Marshal(LensStatus{State: stateRunning, Folder: dir})
	if err != nil {
		t.Fatal(err)
	}
	giveFile(t, filepath.Join(out, "m1", fileLensStatus), string(status))
	t.Chdir(t.TempDir())
	for range 2 { // the first mends the status, and keeps the folder
		if code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--index", "1"); code != 0 {
			t.Errorf("got %d, %q", code, msg)
		}
	}
	giveFile(t, filepath.Join(dir, "image"), "as it is")
	if code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--index", "1"); code != term.ExitBadInput || !strings.Contains(msg, "image has changed since it was fitted: fitting again") {
		t.Errorf("got %d, %q", code, msg)
	}
}

func TestNumbersOfTheManifestAreInputsToo(t *testing.T) {
	noTask(t)
	dir := t.TempDir()
	testkit.SurveyMocks(t, dir, 1)
	out := filepath.Join(dir, "s")
	if code, _, msg := testkit.RunCommand(t, "survey", "plan", filepath.Join(dir, "m1.fits"), "--noise", "0.05", "--psf", "none", "-o", out); code != 0 {
		t.Fatal(msg)
	}
	s, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := disk.Sum(filepath.Join(dir, "m1.fits"))
	if err != nil {
		t.Fatal(err)
	}
	giveFile(t, filepath.Join(dir, "m1.yaml"), "")
	giveFit(t, dir, out, 1, map[string]any{"inputs": []rundir.Input{{Path: "m1.fits", SHA256: sum}}})
	status, err := json.Marshal(LensStatus{State: stateDone, Values: s.Lenses[0].values()})
	if err != nil {
		t.Fatal(err)
	}
	giveFile(t, filepath.Join(out, "m1", fileLensStatus), string(status))
	fit := s.fitOptions(1, 0)
	if was, err := s.before(t.Context(), &s.Lenses[0], &fit); err != nil || was.rec == nil || !was.told {
		t.Errorf("got %+v, %v", was, err)
	}
	s.Lenses[0].Noise = "0.06"
	if was, err := s.before(t.Context(), &s.Lenses[0], &fit); err != nil || was.rec != nil || !strings.Contains(was.amiss, "noise, psf or pixel_scale in manifest.csv has changed") {
		t.Errorf("got %+v, %v", was, err)
	}
}

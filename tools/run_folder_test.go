package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lenskit/internal/disk"
	"lenskit/tools/coolest"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/run"
	"lenskit/tools/sample"
	"lenskit/tools/search"
)

func quickFit(t *testing.T, config, out string) error {
	t.Helper()
	return run.Fit(context.Background(), run.Options{Input: config, Output: out, Search: search.Options{Starts: 4, Seed: 3}}, io.Discard, term.NewProgress(io.Discard, true))
}

// drawTo draws from the posterior of a fit into a folder.
func drawTo(ctx context.Context, fit, out string, opt sample.Settings) error {
	return sample.Sample(ctx, sample.Options{Input: fit, Output: out, Sampling: opt}, io.Discard, term.NewProgress(io.Discard, true))
}

var fewDraws = sample.Settings{Warmup: 10, Draws: 20, Chains: 2, Seed: 1}

// folder tells the names in dir, without those of folders.
func folder(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list {
		if !f.IsDir() {
			names = append(names, f.Name())
		}
	}
	return names
}

// A folder holds one fit and draws of that fit; what is not of it is moved aside, never drawn, and files of someone's own
// stay as they are.
func TestRunsInOneFolderAreNeverMixed(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	other := filepath.Join(dir, "other.yaml")
	testkit.MustCopy(t, config, other)
	testkit.Edit(t, other, "noise: 0.05", "noise: 0.06")
	run := filepath.Join(dir, "run")
	if err := quickFit(t, config, run); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(run, "samples_mine.csv")
	for _, path := range []string{mine, filepath.Join(run, "samples.csv")} {
		if err := os.WriteFile(path, []byte("my own"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	whole := []string{rundir.ConfigYAML, rundir.CornerPNG, rundir.FitFITS, rundir.FitJSON, rundir.FitPNG, rundir.MomentsPNG, "samples.csv", rundir.SamplesFITS, "samples_1.csv", "samples_2.csv", "samples_mine.csv", rundir.SummaryJSON, rundir.TracePNG}
	for range 2 { // the draws of the same fit take the place of those before
		if err := drawTo(context.Background(), run, "", fewDraws); err != nil {
			t.Fatal(err)
		}
		if got := folder(t, run); !slices.Equal(got, whole) || rundir.Exists(filepath.Join(run, "before-1")) {
			t.Fatalf("got %v, want %v", got, whole)
		}
	}
	if made, err := sample.Plot(run, false); err != nil || len(made) != 4 {
		t.Fatalf("got %v, %v", made, err)
	}

	// another fit
	if err := quickFit(t, other, run); err != nil {
		t.Fatal(err)
	}
	want := []string{rundir.ConfigYAML, rundir.FitFITS, rundir.FitJSON, rundir.FitPNG, "samples.csv", "samples_mine.csv"}
	if got := folder(t, run); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	old := filepath.Join(run, "before-1")
	if got := folder(t, old); len(got) != len(whole)-2 {
		t.Errorf("moved aside: %v", got)
	}
	if text, _ := os.ReadFile(mine); string(text) != "my own" {
		t.Errorf("a file of someone's own is now %q", text)
	}
	if made, err := sample.Plot(run, false); err != nil || len(made) != 1 {
		t.Errorf("drawn: %v, %v", made, err)
	}

	// draws of the fit before, brought back by hand
	for _, name := range []string{rundir.SummaryJSON, rundir.SamplesFITS, "samples_1.csv", "samples_2.csv"} {
		testkit.MustCopy(t, filepath.Join(old, name), filepath.Join(run, name))
	}
	if made, err := sample.Plot(run, false); term.ExitCode(err) != term.ExitBadInput || made != nil || !strings.Contains(err.Error(), "draws of another fit") {
		t.Errorf("draws of another fit: got %v, %v", made, err)
	}
	if _, _, err := coolest.Export(coolest.Options{Dir: run}); term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), "draws of another fit") {
		t.Errorf("draws of another fit: got %v", err)
	}
	if err := drawTo(context.Background(), run, "", fewDraws); err != nil {
		t.Fatal(err)
	}
	if got := folder(t, filepath.Join(run, "before-2")); len(got) != 4 {
		t.Errorf("moved aside: %v", got)
	}

	// into the folder of another fit
	first, third := filepath.Join(dir, "first"), filepath.Join(dir, "third")
	if err := quickFit(t, config, first); err != nil {
		t.Fatal(err)
	}
	if err := drawTo(context.Background(), first, third, fewDraws); err != nil {
		t.Fatal(err)
	}
	if err := drawTo(context.Background(), run, third, fewDraws); err != nil {
		t.Fatal(err)
	}
	if a, _ := disk.Sum(filepath.Join(third, rundir.ConfigYAML)); a != testkit.MustSum(t, filepath.Join(run, rundir.ConfigYAML)) {
		t.Error("the config is not that of the draws")
	}
	if got := folder(t, filepath.Join(third, "before-1")); !slices.Contains(got, rundir.ConfigYAML) || !slices.Contains(got, "samples_1.csv") {
		t.Errorf("moved aside: %v", got)
	}

	// what is changed by hand is no longer of the run
	testkit.Edit(t, filepath.Join(run, "samples_2.csv"), "0", "1")
	if _, err := sample.Plot(run, false); term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), "samples_2.csv: has changed") {
		t.Errorf("an edited file of draws: got %v", err)
	}
	testkit.Edit(t, filepath.Join(run, rundir.ConfigYAML), "noise: 0.06", "noise: 0.07")
	if err := drawTo(context.Background(), run, "", fewDraws); term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), "config.yaml: has changed since the fit") {
		t.Errorf("an edited config: got %v", err)
	}
}

// Folders whose records tell nothing of their files, as those of earlier versions, are drawn, sampled and fitted.
func TestFoldersWithoutSumsAreRead(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	config := testkit.FitTestMock(t, dir)
	if err := quickFit(t, config, run); err != nil {
		t.Fatal(err)
	}
	if err := drawTo(context.Background(), run, "", fewDraws); err != nil {
		t.Fatal(err)
	}
	for file, keys := range map[string][]string{rundir.FitJSON: {"files"}, rundir.SummaryJSON: {"files", "fit_sha256", "config_sha256"}} {
		path := filepath.Join(run, file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var rec map[string]json.RawMessage
		if err := json.Unmarshal(text, &rec); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(rec, func(k string, _ json.RawMessage) bool { return slices.Contains(keys, k) })
		if err := rundir.WriteJSON(path, rec); err != nil {
			t.Fatal(err)
		}
	}
	if made, err := sample.Plot(run, false); err != nil || len(made) != 4 {
		t.Errorf("drawn: %v, %v", made, err)
	}
	if _, _, err := coolest.Export(coolest.Options{Dir: run}); err != nil {
		t.Error(err)
	}
	if err := drawTo(context.Background(), run, "", fewDraws); err != nil {
		t.Error(err)
	}
	if got := folder(t, filepath.Join(run, "before-1")); !slices.Contains(got, "samples_1.csv") {
		t.Errorf("moved aside: %v", got)
	}
}

func TestAFolderHasOneRunAtATime(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	config := testkit.FitTestMock(t, dir)
	if err := quickFit(t, config, run); err != nil {
		t.Fatal(err)
	}
	release, err := disk.Lock(run)
	if err != nil {
		t.Fatal(err)
	}
	works := map[string]func() error{
		"fit":    func() error { return quickFit(t, config, run) },
		"sample": func() error { return drawTo(context.Background(), run, "", fewDraws) },
		"plot":   func() error { _, err := sample.Plot(run, false); return err },
		"export": func() error { _, _, err := coolest.Export(coolest.Options{Dir: run}); return err },
	}
	for name, work := range works {
		err := work()
		var b *disk.Busy
		if term.ExitCode(err) != term.ExitBadInput || !errors.As(err, &b) || !strings.Contains(err.Error(), run) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	release()
	// of an owner elsewhere one may hope that it ends
	text, _ := json.Marshal(disk.Owner{PID: 1, Host: "elsewhere.example", Start: "1"})
	lock := filepath.Join(run, ".lenskit-lock")
	if err := os.WriteFile(lock, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, work := range works {
		if err := work(); term.ExitCode(err) != term.ExitInterrupted {
			t.Errorf("%s beside an owner elsewhere: got %v", name, err)
		}
	}
	os.Remove(lock)
	for name, work := range works {
		if err := work(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rundir.Exists(lock) {
		t.Error("the lock is still there")
	}
}

// The sum of the config is that of what was read, whatever becomes of the file.
func TestTheRecordIsOfTheConfigThatWasRead(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	job := filepath.Join(dir, "run")
	sum := testkit.MustSum(t, config)
	done := make(chan error)
	go func() { done <- quickFit(t, config, job) }()
	for deadline := time.Now().Add(time.Minute); !rundir.Exists(filepath.Join(job, ".lenskit-lock")); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the fit does not begin")
		}
	}
	testkit.Edit(t, config, "noise: 0.05", "noise: 0.5")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	rec, err := run.ReadRecord(job)
	if err != nil || rec.Inputs[0] != (rundir.Input{Path: config, SHA256: sum}) {
		t.Errorf("got %+v (%v), want the sum %s", rec.Inputs[0], err, sum)
	}
}

// A config that stands where that of the run goes is kept as it was written.
func TestAConfigInItsRunsFolderIsKept(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, rundir.ConfigYAML)
	testkit.MustCopy(t, testkit.FitTestMock(t, dir), config)
	testkit.Edit(t, config, "data:", "# mine\ndata:")
	sum := testkit.MustSum(t, config)
	if err := quickFit(t, config, dir); err != nil {
		t.Fatal(err)
	}
	if got := testkit.MustSum(t, filepath.Join(dir, "before-1", rundir.ConfigYAML)); got != sum {
		t.Error("the config moved aside is another")
	}
	if err := os.Rename(filepath.Join(dir, "mock.fits"), filepath.Join(dir, rundir.FitFITS)); err != nil {
		t.Fatal(err)
	}
	testkit.Edit(t, config, "mock.fits", rundir.FitFITS)
	sum = testkit.MustSum(t, filepath.Join(dir, rundir.FitFITS))
	if err := quickFit(t, config, dir); term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), "is read by the fit") {
		t.Errorf("an image in the place of a result: got %v", err)
	}
	if testkit.MustSum(t, filepath.Join(dir, rundir.FitFITS)) != sum {
		t.Error("the image was replaced")
	}
}

// No bit of a checkpoint may differ unnoticed.
func TestEveryBitOfACheckpointCounts(t *testing.T) {
	c, err := rundir.NewCheckpoint(t.TempDir(), "one")
	if err != nil {
		t.Fatal(err)
	}
	type state struct {
		Done map[string]*search.StageEnd
		Big  float64
	}
	want := state{map[string]*search.StageEnd{"a": {U: []float64{1.5, -2e-300, 3}, LogProb: 1}, "b <&>": nil}, 1e300}
	if err := c.Force(want, "samples_1.csv"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	load := func(damaged []byte) (state, bool, string) {
		t.Helper()
		if err := os.WriteFile(c.Path, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		var got state
		found, notice, err := c.Load(&got)
		if err != nil {
			t.Fatal(err)
		}
		return got, found, notice
	}
	for i := range text[:len(text)-1] {
		for bit := range 8 {
			damaged := bytes.Clone(text)
			damaged[i] ^= 1 << bit
			got, found, notice := load(damaged)
			// names of keys in JSON may be written large
			if found && !reflect.DeepEqual(got, want) || !found && !strings.HasSuffix(notice, "): starting afresh") {
				t.Fatalf("bit %d of byte %d (%q): got %+v, %v, %q", bit, i, damaged[max(0, i-10):min(len(text), i+10)], got, found, notice)
			}
		}
	}
	for _, damaged := range []string{"", "{", "null", "[]", string(text[:len(text)/2]), string(text) + "x", strings.Replace(string(text), "1.5", "1e999", 1),
		strings.Replace(string(text), "1.5", "15", 1), strings.Replace(string(text), "1.5,", "", 1), `{"key":"` + c.Key + `","state":{}}`, "\x89PNG"} {
		if _, found, notice := load([]byte(damaged)); found || !strings.Contains(notice, c.Path+": cannot be read (") || !strings.HasSuffix(notice, "): starting afresh") {
			t.Errorf("%.40q: got %v, %q", damaged, found, notice)
		}
	}
	if _, found, _ := load(text); !found {
		t.Error("the checkpoint as it was written is not read")
	}
}

// countdown is a context that is cancelled once it has been asked so often whether it is.
type countdown struct {
	context.Context
	mu   sync.Mutex
	left int
}

func (c *countdown) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// A stopped fit whose checkpoint has lists of other lengths, under a sum that is right, ends as if it had not been stopped.
func TestLengthsInACheckpointOfAFitAreChecked(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	whole, job := filepath.Join(dir, "whole"), filepath.Join(dir, "run")
	if err := quickFit(t, config, whole); err != nil {
		t.Fatal(err)
	}
	opt := run.Options{Input: config, Output: job, Search: search.Options{Starts: 4, Seed: 3}}
	stops := 0
	for ; ; stops++ {
		err := run.Fit(&countdown{Context: context.Background(), left: 20 * (stops + 1)}, opt, io.Discard, term.NewProgress(io.Discard, true))
		if err == nil {
			break
		}
		if term.ExitCode(err) != term.ExitInterrupted {
			t.Fatal(err)
		}
		testkit.Forge(t, filepath.Join(job, rundir.CheckpointName), func(state map[string]any) { testkit.Halve(state) })
	}
	a, err1 := run.ReadRecord(whole)
	b, err2 := run.ReadRecord(job)
	if err1 != nil || err2 != nil || !reflect.DeepEqual(a.Parameters, b.Parameters) || stops == 0 {
		t.Errorf("after %d stops: got %+v, want %+v (%v, %v)", stops, b.Parameters, a.Parameters, err1, err2)
	}
}

// Whatever is wrong with what a stopped run of sampling left, its draws are those of a run that was not stopped.
func TestDamageOfStoppedSamplingIsNoticed(t *testing.T) {
	dir := t.TempDir()
	fit := filepath.Join(dir, "fit")
	if err := quickFit(t, testkit.FitTestMock(t, dir), fit); err != nil {
		t.Fatal(err)
	}
	whole, stoppedAt := filepath.Join(dir, "whole"), filepath.Join(dir, "stopped")
	opt := sample.Settings{Warmup: 20, Draws: 400, Chains: 2, Seed: 4}
	if err := drawTo(context.Background(), fit, whole, opt); err != nil {
		t.Fatal(err)
	}
	for rows := 0; rows < 20; {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { // until there are draws
			for path := rundir.ChainFile(stoppedAt, 1, 2); ctx.Err() == nil; time.Sleep(time.Millisecond) {
				if text, err := os.ReadFile(path); err == nil && bytes.Count(text, []byte("\n")) > 60 {
					cancel()
				}
			}
		}()
		err := drawTo(ctx, fit, stoppedAt, opt)
		cancel()
		if term.ExitCode(err) != term.ExitInterrupted {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(rundir.ChainFile(stoppedAt, 0, 2)); err == nil {
			rows = bytes.Count(text, []byte("\n")) - 30
		}
	}
	flip := func(name string, share float64) func(dir string) {
		return func(dir string) {
			path := filepath.Join(dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text[int(share*float64(len(text)))] ^= 4
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	lengths := func(key string) func(dir string) {
		return func(dir string) {
			testkit.Forge(t, filepath.Join(dir, rundir.CheckpointName), func(state map[string]any) { state[key] = testkit.Halve(state[key]) })
		}
	}
	for name, damage := range map[string]func(dir string){
		"nothing": nil, "a bit early": flip(rundir.CheckpointName, 0.2), "a bit late": flip(rundir.CheckpointName, 0.9), "an edited draw": flip("samples_1.csv", 0.6),
		"shorter chains": lengths("Chains"), "shorter coordinates": lengths("Bend"), "fewer rows": lengths("Rows"), "fewer sums": lengths("Sums"),
		"a file less": func(dir string) { os.Remove(filepath.Join(dir, "samples_2.csv")) },
		"a cut file":  func(dir string) { os.Truncate(filepath.Join(dir, "samples_2.csv"), 900) },
	} {
		run := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.CopyFS(run, os.DirFS(stoppedAt)); err != nil {
			t.Fatal(err)
		}
		if damage != nil {
			damage(run)
		}
		var said strings.Builder
		err := sample.Sample(context.Background(), sample.Options{Input: fit, Output: run, Sampling: opt}, io.Discard, term.NewProgress(&said, false))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if afresh := strings.Contains(said.String(), "cannot be read (") && strings.Contains(said.String(), "): starting afresh"); afresh != (damage != nil) {
			t.Errorf("%s: said %q", name, &said)
		}
		for chain := range 2 {
			if a, b := termtest.DrawLines(t, rundir.ChainFile(whole, chain, 2)), termtest.DrawLines(t, rundir.ChainFile(run, chain, 2)); a != b {
				t.Errorf("%s: chain %d differs", name, chain)
			}
		}
	}
}

// One changed byte of the images is noticed before they are drawn or exported.
func TestImagesThatHaveChangedAreNotDrawn(t *testing.T) {
	dir := t.TempDir()
	testkit.SurveyMocks(t, dir, 1)
	run := filepath.Join(dir, "run")
	if code, _, msg := testkit.RunCommand(t, "fit", filepath.Join(dir, "m1.yaml"), "-o", run, "--starts", "4"); code != 0 && code != term.ExitNotConverged {
		t.Fatal(msg)
	}
	path := filepath.Join(run, rundir.FitFITS)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"plot", run}, {"export-coolest", run, "--lens-redshift", "0.3", "--source-redshift", "1"}} {
		if code, _, msg := testkit.RunCommand(t, args...); code != term.ExitBadInput || !strings.Contains(msg, "fit.fits: has changed since the fit") {
			t.Errorf("%s: exit %d: %s", args[0], code, msg)
		}
	}
}

func TestAConfigWithoutAnImageIsNotFitted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("data: {size: 20, pixel_scale: 0.1, noise: 1}\nlens: [{type: sis}]\nsource: [{type: sersic}]\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, msg := testkit.RunCommand(t, "fit", path, "-o", filepath.Join(t.TempDir(), "o")); code != term.ExitBadInput || !strings.Contains(msg, "data: has no image to fit") {
		t.Errorf("exit %d: %s", code, msg)
	}
}

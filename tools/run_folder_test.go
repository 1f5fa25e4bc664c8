package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
)

func quickFit(t *testing.T, config, out string) error {
	t.Helper()
	return Fit(context.Background(), FitOptions{Input: config, Output: out, Search: searchOptions{Starts: 4, Seed: 3}}, io.Discard, newProgress(io.Discard, true))
}

// drawTo draws from the posterior of a fit into a folder.
func drawTo(ctx context.Context, fit, out string, opt samplingOptions) error {
	return Sample(ctx, SampleOptions{Input: fit, Output: out, Sampling: opt}, io.Discard, newProgress(io.Discard, true))
}

var fewDraws = samplingOptions{Warmup: 10, Draws: 20, Chains: 2, Seed: 1}

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

func mustCopy(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// edit replaces text in a file.
func edit(t *testing.T, path, old, new string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("no %q in %s", old, path)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(old), []byte(new), 1), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A folder holds one fit and draws of that fit; what is not of it is moved aside, never drawn, and files of someone's own
// stay as they are.
func TestRunsInOneFolderAreNeverMixed(t *testing.T) {
	dir := t.TempDir()
	config := fitTestMock(t, dir)
	other := filepath.Join(dir, "other.yaml")
	mustCopy(t, config, other)
	edit(t, other, "noise: 0.05", "noise: 0.06")
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
	whole := []string{fileConfig, fileCorner, fileFitFITS, fileFitJSON, fileFitPNG, fileMoments, "samples.csv", fileSamplesFITS, "samples_1.csv", "samples_2.csv", "samples_mine.csv", fileSummary, fileTrace}
	for range 2 { // the draws of the same fit take the place of those before
		if err := drawTo(context.Background(), run, "", fewDraws); err != nil {
			t.Fatal(err)
		}
		if got := folder(t, run); !slices.Equal(got, whole) || exists(filepath.Join(run, "before-1")) {
			t.Fatalf("got %v, want %v", got, whole)
		}
	}
	if made, err := Plot(run); err != nil || len(made) != 4 {
		t.Fatalf("got %v, %v", made, err)
	}

	// another fit
	if err := quickFit(t, other, run); err != nil {
		t.Fatal(err)
	}
	want := []string{fileConfig, fileFitFITS, fileFitJSON, fileFitPNG, "samples.csv", "samples_mine.csv"}
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
	if made, err := Plot(run); err != nil || len(made) != 1 {
		t.Errorf("drawn: %v, %v", made, err)
	}

	// draws of the fit before, brought back by hand
	for _, name := range []string{fileSummary, fileSamplesFITS, "samples_1.csv", "samples_2.csv"} {
		mustCopy(t, filepath.Join(old, name), filepath.Join(run, name))
	}
	if made, err := Plot(run); exitCode(err) != exitBadInput || made != nil || !strings.Contains(err.Error(), "draws of another fit") {
		t.Errorf("draws of another fit: got %v, %v", made, err)
	}
	if _, _, err := ExportCOOLEST(CoolestOptions{Dir: run}); exitCode(err) != exitBadInput || !strings.Contains(err.Error(), "draws of another fit") {
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
	if a, _ := disk.Sum(filepath.Join(third, fileConfig)); a != mustSum(t, filepath.Join(run, fileConfig)) {
		t.Error("the config is not that of the draws")
	}
	if got := folder(t, filepath.Join(third, "before-1")); !slices.Contains(got, fileConfig) || !slices.Contains(got, "samples_1.csv") {
		t.Errorf("moved aside: %v", got)
	}

	// what is changed by hand is no longer of the run
	edit(t, filepath.Join(run, "samples_2.csv"), "0", "1")
	if _, err := Plot(run); exitCode(err) != exitBadInput || !strings.Contains(err.Error(), "samples_2.csv: has changed") {
		t.Errorf("an edited file of draws: got %v", err)
	}
	edit(t, filepath.Join(run, fileConfig), "noise: 0.06", "noise: 0.07")
	if err := drawTo(context.Background(), run, "", fewDraws); exitCode(err) != exitBadInput || !strings.Contains(err.Error(), "config.yaml: has changed since the fit") {
		t.Errorf("an edited config: got %v", err)
	}
}

func mustSum(t *testing.T, path string) string {
	t.Helper()
	sum, err := disk.Sum(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// Folders whose records tell nothing of their files, as those of earlier versions, are drawn, sampled and fitted.
func TestFoldersWithoutSumsAreRead(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	config := fitTestMock(t, dir)
	if err := quickFit(t, config, run); err != nil {
		t.Fatal(err)
	}
	if err := drawTo(context.Background(), run, "", fewDraws); err != nil {
		t.Fatal(err)
	}
	for file, keys := range map[string][]string{fileFitJSON: {"files"}, fileSummary: {"files", "fit_sha256", "config_sha256"}} {
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
		if err := writeJSON(path, rec); err != nil {
			t.Fatal(err)
		}
	}
	if made, err := Plot(run); err != nil || len(made) != 4 {
		t.Errorf("drawn: %v, %v", made, err)
	}
	if _, _, err := ExportCOOLEST(CoolestOptions{Dir: run}); err != nil {
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
	config := fitTestMock(t, dir)
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
		"plot":   func() error { _, err := Plot(run); return err },
		"export": func() error { _, _, err := ExportCOOLEST(CoolestOptions{Dir: run}); return err },
	}
	for name, work := range works {
		err := work()
		var b *disk.Busy
		if exitCode(err) != exitBadInput || !errors.As(err, &b) || !strings.Contains(err.Error(), run) {
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
		if err := work(); exitCode(err) != exitInterrupted {
			t.Errorf("%s beside an owner elsewhere: got %v", name, err)
		}
	}
	os.Remove(lock)
	for name, work := range works {
		if err := work(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if exists(lock) {
		t.Error("the lock is still there")
	}
}

// The sum of the config is that of what was read, whatever becomes of the file.
func TestTheRecordIsOfTheConfigThatWasRead(t *testing.T) {
	dir := t.TempDir()
	config := fitTestMock(t, dir)
	run := filepath.Join(dir, "run")
	sum := mustSum(t, config)
	done := make(chan error)
	go func() { done <- quickFit(t, config, run) }()
	for deadline := time.Now().Add(time.Minute); !exists(filepath.Join(run, ".lenskit-lock")); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the fit does not begin")
		}
	}
	edit(t, config, "noise: 0.05", "noise: 0.5")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	rec, err := readFitRecord(run)
	if err != nil || rec.Inputs[0] != (input{config, sum}) {
		t.Errorf("got %+v (%v), want the sum %s", rec.Inputs[0], err, sum)
	}
}

// A config that stands where that of the run goes is kept as it was written.
func TestAConfigInItsRunsFolderIsKept(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, fileConfig)
	mustCopy(t, fitTestMock(t, dir), config)
	edit(t, config, "data:", "# mine\ndata:")
	sum := mustSum(t, config)
	if err := quickFit(t, config, dir); err != nil {
		t.Fatal(err)
	}
	if got := mustSum(t, filepath.Join(dir, "before-1", fileConfig)); got != sum {
		t.Error("the config moved aside is another")
	}
	if err := os.Rename(filepath.Join(dir, "mock.fits"), filepath.Join(dir, fileFitFITS)); err != nil {
		t.Fatal(err)
	}
	edit(t, config, "mock.fits", fileFitFITS)
	sum = mustSum(t, filepath.Join(dir, fileFitFITS))
	if err := quickFit(t, config, dir); exitCode(err) != exitBadInput || !strings.Contains(err.Error(), "is read by the fit") {
		t.Errorf("an image in the place of a result: got %v", err)
	}
	if mustSum(t, filepath.Join(dir, fileFitFITS)) != sum {
		t.Error("the image was replaced")
	}
}

// No bit of a checkpoint may differ unnoticed.
func TestEveryBitOfACheckpointCounts(t *testing.T) {
	c, err := newCheckpoint(t.TempDir(), "one")
	if err != nil {
		t.Fatal(err)
	}
	type state struct {
		Done map[string]*stageEnd
		Big  float64
	}
	want := state{map[string]*stageEnd{"a": {U: []float64{1.5, -2e-300, 3}, LogProb: 1}, "b <&>": nil}, 1e300}
	if err := c.force(want, "samples_1.csv"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	load := func(damaged []byte) (state, bool, string) {
		t.Helper()
		if err := os.WriteFile(c.path, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		var got state
		found, notice, err := c.load(&got)
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
		strings.Replace(string(text), "1.5", "15", 1), strings.Replace(string(text), "1.5,", "", 1), `{"key":"` + c.key + `","state":{}}`, "\x89PNG"} {
		if _, found, notice := load([]byte(damaged)); found || !strings.Contains(notice, c.path+": cannot be read (") || !strings.HasSuffix(notice, "): starting afresh") {
			t.Errorf("%.40q: got %v, %q", damaged, found, notice)
		}
	}
	if _, found, _ := load(text); !found {
		t.Error("the checkpoint as it was written is not read")
	}
}

// forge writes the state of a checkpoint anew, with a sum that is right, after change.
func forge(t *testing.T, path string, change func(state map[string]any)) {
	t.Helper()
	f, notice, err := readCheckpoint(path)
	if f == nil {
		t.Fatalf("%s: %q, %v", path, notice, err)
	}
	var state map[string]any
	if err := json.Unmarshal(f.State, &state); err != nil {
		t.Fatal(err)
	}
	change(state)
	c := &checkpoint{path: path, key: f.Key}
	if err := c.force(state, f.Files...); err != nil {
		t.Fatal(err)
	}
}

// halve shortens the lists of numbers and of texts in v.
func halve(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = halve(v[k])
		}
	case []any:
		if len(v) > 1 {
			if _, list := v[0].(map[string]any); !list {
				return v[:len(v)/2]
			}
		}
		for i := range v {
			v[i] = halve(v[i])
		}
	}
	return v
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
	config := fitTestMock(t, dir)
	whole, run := filepath.Join(dir, "whole"), filepath.Join(dir, "run")
	if err := quickFit(t, config, whole); err != nil {
		t.Fatal(err)
	}
	opt := FitOptions{Input: config, Output: run, Search: searchOptions{Starts: 4, Seed: 3}}
	stops := 0
	for ; ; stops++ {
		err := Fit(&countdown{Context: context.Background(), left: 20 * (stops + 1)}, opt, io.Discard, newProgress(io.Discard, true))
		if err == nil {
			break
		}
		if exitCode(err) != exitInterrupted {
			t.Fatal(err)
		}
		forge(t, filepath.Join(run, fileCheckpoint), func(state map[string]any) { halve(state) })
	}
	a, err1 := readFitRecord(whole)
	b, err2 := readFitRecord(run)
	if err1 != nil || err2 != nil || !reflect.DeepEqual(a.Parameters, b.Parameters) || stops == 0 {
		t.Errorf("after %d stops: got %+v, want %+v (%v, %v)", stops, b.Parameters, a.Parameters, err1, err2)
	}
}

// Whatever is wrong with what a stopped run of sampling left, its draws are those of a run that was not stopped.
func TestDamageOfStoppedSamplingIsNoticed(t *testing.T) {
	dir := t.TempDir()
	fit := filepath.Join(dir, "fit")
	if err := quickFit(t, fitTestMock(t, dir), fit); err != nil {
		t.Fatal(err)
	}
	whole, stoppedAt := filepath.Join(dir, "whole"), filepath.Join(dir, "stopped")
	opt := samplingOptions{Warmup: 20, Draws: 400, Chains: 2, Seed: 4}
	if err := drawTo(context.Background(), fit, whole, opt); err != nil {
		t.Fatal(err)
	}
	for rows := 0; rows < 20; {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { // until there are draws
			for path := samplesFile(stoppedAt, 1, 2); ctx.Err() == nil; time.Sleep(time.Millisecond) {
				if text, err := os.ReadFile(path); err == nil && bytes.Count(text, []byte("\n")) > 60 {
					cancel()
				}
			}
		}()
		err := drawTo(ctx, fit, stoppedAt, opt)
		cancel()
		if exitCode(err) != exitInterrupted {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(samplesFile(stoppedAt, 0, 2)); err == nil {
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
			forge(t, filepath.Join(dir, fileCheckpoint), func(state map[string]any) { state[key] = halve(state[key]) })
		}
	}
	for name, damage := range map[string]func(dir string){
		"nothing": nil, "a bit early": flip(fileCheckpoint, 0.2), "a bit late": flip(fileCheckpoint, 0.9), "an edited draw": flip("samples_1.csv", 0.6),
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
		err := Sample(context.Background(), SampleOptions{Input: fit, Output: run, Sampling: opt}, io.Discard, newProgress(&said, false))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if afresh := strings.Contains(said.String(), "cannot be read (") && strings.Contains(said.String(), "): starting afresh"); afresh != (damage != nil) {
			t.Errorf("%s: said %q", name, &said)
		}
		for chain := range 2 {
			if a, b := drawLines(t, samplesFile(whole, chain, 2)), drawLines(t, samplesFile(run, chain, 2)); a != b {
				t.Errorf("%s: chain %d differs", name, chain)
			}
		}
	}
}

// Coordinates that were being looked for when the run was stopped are gone on with: no evaluation is made twice.
func TestNotedEvaluationsAreNotMadeAgain(t *testing.T) {
	p, theta := sampleTestProblem(t)
	made := 0
	run := func(data []byte, stop int) (*rounded, []byte, error) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		here := 0
		notes := &journal{ctx: ctx, data: data, tell: func() error {
			made++
			if here++; here == stop {
				cancel()
			}
			return nil
		}}
		g, err := p.round(ctx, notes, theta, (&samplingOptions{Warmup: 10, Draws: 20, Chains: 2, Seed: 1}).stream(3))
		return g, notes.Data(), err
	}
	want, whole, err := run(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	once := made
	made = 0
	var data []byte
	for stops := 0; ; stops++ {
		g, noted, err := run(data, 1+stops%7)
		data = noted
		if err != nil {
			continue
		}
		if made != once || !bytes.Equal(data, whole) {
			t.Errorf("after %d stops %d evaluations were made, want %d", stops, made, once)
		}
		if !reflect.DeepEqual(g.bend, want.bend) || !reflect.DeepEqual(g.normal, want.normal) || g.misfit != want.misfit || !reflect.DeepEqual(g.tally, want.tally) {
			t.Errorf("after %d stops the coordinates are others", stops)
		}
		break
	}
	// what does not fit is computed anew
	data = append(fmt.Appendf(nil, "%s", whole[:len(whole)/3]), 9, 9, 9)
	if g, noted, err := run(data, 0); err != nil || !bytes.Equal(noted, whole) || !reflect.DeepEqual(g.normal, want.normal) {
		t.Errorf("a journal with an end of its own: %v", err)
	}
}

// One changed byte of the images is noticed before they are drawn or exported.
func TestImagesThatHaveChangedAreNotDrawn(t *testing.T) {
	dir := t.TempDir()
	surveyMocks(t, dir, 1)
	run := filepath.Join(dir, "run")
	if code, _, msg := runCommand(t, "fit", filepath.Join(dir, "m1.yaml"), "-o", run, "--starts", "4"); code != 0 && code != exitNotConverged {
		t.Fatal(msg)
	}
	path := filepath.Join(run, fileFitFITS)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"plot", run}, {"export-coolest", run, "--lens-redshift", "0.3", "--source-redshift", "1"}} {
		if code, _, msg := runCommand(t, args...); code != exitBadInput || !strings.Contains(msg, "fit.fits: has changed since the fit") {
			t.Errorf("%s: exit %d: %s", args[0], code, msg)
		}
	}
}

func TestAConfigWithoutAnImageIsNotFitted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("data: {size: 20, pixel_scale: 0.1, noise: 1}\nlens: [{type: sis}]\nsource: [{type: sersic}]\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, msg := runCommand(t, "fit", path, "-o", filepath.Join(t.TempDir(), "o")); code != exitBadInput || !strings.Contains(msg, "data: has no image to fit") {
		t.Errorf("exit %d: %s", code, msg)
	}
}

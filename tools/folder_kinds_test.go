package tools

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/tools/coolest"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/run"
	"lenskit/tools/search"
	"lenskit/tools/survey"
)

// write makes files in dir.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A folder that holds results of one kind is refused for those of another, and stays as it is.
func TestFoldersHoldResultsOfOneKind(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	cube := filepath.Join(dir, "cube.fits")
	testkit.MustRun(t, "dataset", "synth", "--count", "40", "--size", "64", "-o", cube, "--quiet")
	commands := map[string][]string{
		"a fit or its draws": {"fit", config},
		"a training run":     {"train-vae", cube, "--epochs", "1"},
		"a decoder bundle":   {"export-vae", filepath.Join("vae", "testdata", "vae_small.pt")},
		"a linear bundle":    {"dataset", "bundle", cube, "--latents", "2"},
		"a survey":           {"survey", "plan", config},
	}
	for _, row := range []struct {
		holds string
		files map[string]string
		marks string
	}{
		{"a fit or its draws", map[string]string{rundir.FitJSON: "{}"}, "fit.json"},
		{"a fit or its draws", map[string]string{rundir.SummaryJSON: "{}"}, "summary.json"},
		{"a training run", map[string]string{rundir.FileTrainBest: "b", rundir.FileTrainLog: "l"}, "best.safetensors and training.csv"},
		{"a training run", map[string]string{rundir.FileTrainState: "s"}, "checkpoint.safetensors"},
		{"a decoder bundle", map[string]string{rundir.FileDecoder: "d", rundir.FileCard: "c"}, "decoder.onnx and card.md"},
		{"a survey", map[string]string{rundir.FileSurvey: "{}", rundir.FileManifest: "m"}, "survey.json and manifest.csv"},
	} {
		for name, args := range commands {
			if name == row.holds || row.holds == "a decoder bundle" && name == "a linear bundle" {
				continue
			}
			out := t.TempDir()
			write(t, out, row.files)
			code, _, msg := testkit.RunCommand(t, append(append([]string{}, args...), "-o", out)...)
			if want := out + ": holds " + row.holds + " (" + row.marks + ")"; code != term.ExitBadInput || !strings.Contains(msg, want) {
				t.Errorf("%s into the folder of %s: got %d, %q", name, row.holds, code, msg)
			}
			if got := folder(t, out); len(got) != len(row.files) {
				t.Errorf("%s into the folder of %s left %v", name, row.holds, got)
			}
		}
	}
}

// A bundle takes the place of another of the same weights; any other is moved aside with its figures, which is said even
// when quiet.
func TestABundleIsNotMixedWithAnother(t *testing.T) {
	dir := t.TempDir()
	cube, out := filepath.Join(dir, "cube.fits"), filepath.Join(dir, "out")
	testkit.MustRun(t, "dataset", "synth", "--count", "40", "--size", "64", "-o", cube, "--quiet")
	weights := filepath.Join("vae", "testdata", "vae_small.pt")
	export := []string{"export-vae", weights, "-o", out, "--quiet"}
	for range 2 {
		if code, _, msg := testkit.RunCommand(t, export...); code != 0 || msg != "" {
			t.Fatalf("got %d, %q", code, msg)
		}
	}
	if rundir.Exists(filepath.Join(out, "before-1")) {
		t.Fatal("a bundle of the same weights was moved aside")
	}
	write(t, out, map[string]string{rundir.FilePrior: "of other data", "mine.txt": "my own", rundir.FileVAENumbers: "{}"})
	code, _, msg := testkit.RunCommand(t, export...) // without a prior of its own
	if code != 0 || !strings.Contains(msg, "prior.json moved to "+filepath.Join(out, "before-1")) {
		t.Errorf("got %d, %q", code, msg)
	}
	bundle := []string{"dataset", "bundle", cube, "--latents", "2", "-o", out, "--quiet"}
	for i := range 2 {
		code, _, msg = testkit.RunCommand(t, bundle...)
		if said := strings.Contains(msg, "files of another bundle: "); code != 0 || said != (i == 0) {
			t.Errorf("time %d: got %d, %q", i+1, code, msg)
		}
	}
	if got := strings.Join(folder(t, filepath.Join(out, "before-2")), " "); got != "card.md decoder.onnx encoder.onnx vae.json" {
		t.Errorf("moved aside: %s", got)
	}
	if got := strings.Join(folder(t, out), " "); got != "card.md decoder.onnx encoder.onnx mine.txt prior.json" {
		t.Errorf("left: %s", got)
	}
}

// What was edited in the folder of a survey, or is someone's own, is not written over by another plan.
func TestAPlanSparesWhatItHasNotWritten(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.yaml": "lens: []\n", "b.yaml": "lens: []\n"})
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	for _, row := range []struct {
		name   string
		before map[string]string // in the folder before the first plan
		edit   string            // file to which a line is added after it
		moved  string
	}{
		{name: "another plan"},
		{name: "an edited script", edit: "survey.sbatch", moved: "survey.sbatch"},
		{name: "an edited list", edit: rundir.FileManifest, moved: rundir.FileManifest},
		{name: "a damaged record", edit: rundir.FileSurvey, moved: "manifest.csv survey.json survey.sbatch"},
		{name: "someone's list", before: map[string]string{rundir.FileManifest: "my,own\n"}, moved: rundir.FileManifest},
		{name: "someone's survey.json", before: map[string]string{rundir.FileSurvey: `{"questions": 3}`}, moved: rundir.FileSurvey},
		{name: "someone's script", before: map[string]string{"survey.sbatch": "my own\n"}, moved: "survey.sbatch"},
	} {
		out := filepath.Join(t.TempDir(), "survey")
		write(t, out, row.before)
		if row.before == nil {
			if code, _, msg := testkit.RunCommand(t, "survey", "plan", a, "-o", out, "--quiet"); code != 0 || msg != "" {
				t.Fatalf("%s: got %d, %q", row.name, code, msg)
			}
		}
		if row.edit != "" {
			f, err := os.OpenFile(filepath.Join(out, row.edit), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString("# mine\n")
			f.Close()
		}
		code, _, msg := testkit.RunCommand(t, "survey", "plan", a, b, "-o", out, "--quiet", "--time", "3:00")
		if code != 0 || (row.moved == "") != (msg == "") || !strings.Contains(msg, strings.ReplaceAll(row.moved, " ", ", ")) {
			t.Errorf("%s: got %d, %q", row.name, code, msg)
		}
		if row.moved != "" {
			if got := strings.Join(folder(t, filepath.Join(out, "before-1")), " "); got != row.moved {
				t.Errorf("%s: moved aside: %s", row.name, got)
			}
		}
		if s, err := survey.Open(out); err != nil || len(s.Lenses) != 2 || !s.Plan.Files.Hold(out) {
			t.Errorf("%s: got %+v, %v", row.name, s, err)
		}
	}
}

func TestAPlanRefusesFilesWithNothingInThem(t *testing.T) {
	for name, text := range map[string]string{"empty.yaml": "", "blank.yaml": " \n\n", "comment.yaml": "# to be written\n---\n", "empty.fits": "", "bom.yaml": "\ufeff\n"} {
		dir := t.TempDir()
		write(t, dir, map[string]string{name: text})
		out := filepath.Join(dir, "survey")
		code, _, msg := testkit.RunCommand(t, "survey", "plan", filepath.Join(dir, name), "-o", out)
		if code != term.ExitBadInput || !strings.Contains(msg, name+": is empty, expected a config or an image") || strings.Count(msg, "\n") != 1 || rundir.Exists(out) {
			t.Errorf("%s: got %d, %q", name, code, msg)
		}
	}
}

// A table goes beside no device and in the place of no folder.
func TestMergeWritesBesideFilesOnly(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a.yaml": "lens: []\n", "taken.csv/x": "", "file": "my own"})
	survey := filepath.Join(dir, "survey")
	testkit.MustRun(t, "survey", "plan", filepath.Join(dir, "a.yaml"), "-o", survey)
	for _, row := range []struct {
		out, want string
		code      int
	}{
		{"/dev/zero", "/dev/zero: cannot be written: is not a regular file (is a device)", term.ExitBadInput},
		{filepath.Join(dir, "taken"), "taken.csv: cannot be written: is a folder", term.ExitBadInput},
		{filepath.Join(dir, "file"), "", 0},
		{filepath.Join(dir, "new.fits"), "", 0},
		{dir, "", 0},
	} {
		code, _, msg := testkit.RunCommand(t, "survey", "merge", survey, "-o", row.out)
		if code != row.code || !strings.Contains(msg, row.want) {
			t.Errorf("%s: got %d, %q, want %d, %q", row.out, code, msg, row.code, row.want)
		}
	}
	for _, name := range []string{"taken.json", "taken.fits"} {
		if rundir.Exists(filepath.Join(dir, name)) {
			t.Errorf("%s was written", name)
		}
	}
	if rundir.Exists("/dev/zero.csv") {
		t.Error("/dev/zero.csv was written")
	}
}

// What export-coolest left in the folder of a run goes with the fit, and one with draws goes with those.
func TestAnExportGoesWithItsRun(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	other := filepath.Join(dir, "other.yaml")
	testkit.MustCopy(t, config, other)
	testkit.Edit(t, other, "noise: 0.05", "noise: 0.06")
	job := filepath.Join(dir, "run")
	export, aside := filepath.Join(job, rundir.FolderCOOLEST, rundir.FileCOOLEST), func(n string) string {
		return filepath.Join(job, "before-"+n, rundir.FolderCOOLEST, rundir.FileCOOLEST)
	}
	step := func(name string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	exported := func() {
		t.Helper()
		_, _, err := coolest.Export(coolest.Options{Dir: job})
		step("export", err)
	}
	step("fit", quickFit(t, config, job))
	exported()
	step("sample", drawTo(context.Background(), job, "", fewDraws))
	if !rundir.Exists(export) {
		t.Error("the export of the fit that was sampled is gone")
	}
	exported() // with the draws
	step("sample again", drawTo(context.Background(), job, "", fewDraws))
	if rundir.Exists(export) || !rundir.Exists(aside("1")) {
		t.Error("the export of draws stays beside others")
	}
	exported()
	var msg strings.Builder
	step("another fit", run.Fit(context.Background(), run.Options{Input: other, Output: job, Search: search.Options{Starts: 4, Seed: 3}}, &strings.Builder{}, term.NewProgress(&msg, true)))
	if rundir.Exists(export) || !rundir.Exists(aside("2")) || !strings.Contains(msg.String(), "coolest") {
		t.Errorf("the export of a fit stays beside another: %q", msg.String())
	}
}

// What of someone's was lost or moved is said even when quiet, and that a fit was stopped.
func TestLossesAreToldWhenQuiet(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	run := filepath.Join(dir, "run")
	fit := []string{"fit", config, "-o", run, "--starts", "4", "--quiet"}
	write(t, run, map[string]string{rundir.CheckpointName: "{damaged", rundir.FitPNG: "my own"})
	code, _, msg := testkit.RunCommand(t, fit...)
	if code != 0 || !strings.Contains(msg, "checkpoint: cannot be read (") || !strings.Contains(msg, "fit.png moved to ") || strings.Count(msg, "\n") != 2 {
		t.Errorf("fit: got %d, %q", code, msg)
	}
	if code, _, msg := testkit.RunCommand(t, fit...); code != 0 || msg != "" {
		t.Errorf("the same fit again: got %d, %q", code, msg)
	}
	write(t, run, map[string]string{rundir.CheckpointName: "{damaged", rundir.SummaryJSON: "{damaged"})
	code, _, msg = testkit.RunCommand(t, "sample", run, "--warmup", "5", "--draws", "10", "--chains", "1", "--quiet")
	if code != 0 || !strings.Contains(msg, "checkpoint: cannot be read (") || !strings.Contains(msg, "summary.json moved to ") {
		t.Errorf("sample: got %d, %q", code, msg)
	}
}

func TestSamplingTellsOfAFitThatWasStopped(t *testing.T) {
	dir := t.TempDir()
	config := testkit.FitTestMock(t, dir)
	stopped := func(job string, opt search.Options) {
		t.Helper()
		ctx, stop := context.WithCancelCause(context.Background())
		stop(context.Canceled)
		err := run.Fit(ctx, run.Options{Input: config, Output: job, Search: opt}, &strings.Builder{}, term.NewProgress(&strings.Builder{}, true))
		if term.ExitCode(err) != term.ExitInterrupted || !rundir.Exists(filepath.Join(job, rundir.CheckpointName)) {
			t.Fatalf("got %v", err)
		}
	}
	few := []string{"--warmup", "5", "--draws", "10", "--chains", "1"}
	// its folder alone
	run := filepath.Join(dir, "alone")
	stopped(run, search.Options{Starts: 4, Seed: 3})
	code, _, msg := testkit.RunCommand(t, append([]string{"sample", run}, few...)...)
	if code != term.ExitBadInput || !strings.Contains(msg, run+": the fit was stopped before it was done") || rundir.Exists(filepath.Join(run, rundir.SummaryJSON)) {
		t.Errorf("its folder: got %d, %q", code, msg)
	}
	// its config
	code, _, msg = testkit.RunCommand(t, append([]string{"sample", config, "-o", run}, few...)...)
	if code != 0 || strings.Count(msg, run+": the fit was stopped before it was done: it is made first\n") != 1 {
		t.Errorf("its config: got %d, %q", code, msg)
	}
	// after a fit that was done
	run = filepath.Join(dir, "after")
	if err := quickFit(t, config, run); err != nil {
		t.Fatal(err)
	}
	stopped(run, search.Options{Starts: 4, Seed: 3})
	code, _, msg = testkit.RunCommand(t, append([]string{"sample", run}, few...)...)
	if code != 0 || strings.Count(msg, run+": a later fit was stopped before it was done: the draws are of the one before\n") != 1 {
		t.Errorf("after a fit: got %d, %q", code, msg)
	}
	// and not of one that was not
	if code, _, msg = testkit.RunCommand(t, append([]string{"sample", run}, few...)...); code != 0 || strings.Contains(msg, "stopped") {
		t.Errorf("a whole fit: got %d, %q", code, msg)
	}
}

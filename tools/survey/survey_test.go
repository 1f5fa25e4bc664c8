package survey

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"image/png"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
)

// noTask takes the variables of batch systems out of the environment of a test.
func noTask(t *testing.T) {
	for _, v := range slices.Concat(TaskVariables, threadVariables) {
		t.Setenv(v, "")
	}
}

func TestASurveyIsPlannedRunToldAndMerged(t *testing.T) {
	noTask(t)
	dir := t.TempDir()
	testkit.SurveyMocks(t, dir, 3)
	list := filepath.Join(dir, "list.csv")
	if err := os.WriteFile(list, []byte("name,config\nfirst,m1.yaml\n,m2.yaml\nbad name,m3.yaml\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "survey")
	if code, _, msg := testkit.RunCommand(t, "survey", "plan", list, "-o", out); code != term.ExitBadInput || !strings.Contains(msg, `list.csv:4: name: found "bad name"`) {
		t.Fatalf("got %d, %q", code, msg)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a refused plan left a folder")
	}
	// the third lens has a config that breaks when it is read
	if err := os.WriteFile(filepath.Join(dir, "broken.yaml"), []byte("lens: [{type: nosuch}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, []byte("name,config\nfirst,m1.yaml\n,m2.yaml\n,broken.yaml\nlast,m3.yaml\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, msg := testkit.RunCommand(t, "survey", "plan", list, "-o", out, "--starts", "6", "--cpus", "1")
	if code != 0 || !strings.Contains(stdout, "4 lenses in 4 tasks: sbatch") {
		t.Fatalf("got %d, %q, %q", code, stdout, msg)
	}
	if text, err := os.ReadFile(filepath.Join(out, "survey.sbatch")); err != nil || !strings.Contains(string(text), "#SBATCH --array=1-4\n") || !strings.Contains(string(text), " survey run "+out) {
		t.Errorf("got script %q, %v", text, err)
	}
	if code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--index", "1", "--quiet"); code != 0 {
		t.Fatalf("lens 1: got %d: %s", code, msg)
	}
	t.Setenv("SLURM_ARRAY_TASK_ID", "2")
	if code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--quiet"); code != 0 {
		t.Fatalf("lens 2: got %d: %s", code, msg)
	}
	t.Setenv("SLURM_ARRAY_TASK_ID", "")
	t.Setenv("LSB_JOBINDEX", "3")
	if code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--quiet"); code != term.ExitBadInput || !strings.Contains(msg, "nosuch") {
		t.Errorf("a broken config: got %d: %s", code, msg)
	}
	t.Setenv("LSB_JOBINDEX", "0") // no array
	if code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--quiet"); code != term.ExitBadInput || !strings.Contains(msg, "--index is missing") {
		t.Errorf("no index: got %d: %s", code, msg)
	}
	code, stdout, _ = testkit.RunCommand(t, "survey", "status", out)
	if code != 0 || !strings.HasSuffix(stdout, "4 lenses: 2 converged, 1 failed, 1 pending\n") {
		t.Errorf("status: got %d, %q", code, stdout)
	}
	if _, stdout, _ = testkit.RunCommand(t, "survey", "status", out, "--indices", "failed,pending"); stdout != "3-4\n" {
		t.Errorf("--indices: got %q", stdout)
	}
	// Once more: nothing is done again.
	before, err := os.ReadFile(filepath.Join(out, "first", rundir.FitJSON))
	if err != nil {
		t.Fatal(err)
	}
	if code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--index", "1-2"); code != 0 || strings.Count(msg, "done before") != 2 {
		t.Errorf("run again: got %d, %q", code, msg)
	}
	if after, _ := os.ReadFile(filepath.Join(out, "first", rundir.FitJSON)); string(after) != string(before) {
		t.Error("a lens that was done was fitted again")
	}
	checkCatalog(t, out)
	// A changed image is fitted again.
	other, err := os.ReadFile(filepath.Join(dir, "m3.fits"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "m1.fits"), other, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, msg := testkit.RunCommand(t, "survey", "run", out, "--index", "1"); code != 0 || !strings.Contains(msg, "has changed since it was fitted") {
		t.Errorf("a changed image: got %d, %q", code, msg)
	}
	if after, _ := os.ReadFile(filepath.Join(out, "first", rundir.FitJSON)); string(after) == string(before) {
		t.Error("a lens whose image had changed was not fitted again")
	}
}

// checkCatalog merges a survey of which the first two lenses of four are done.
func checkCatalog(t *testing.T, out string) {
	t.Helper()
	if code, _, msg := testkit.RunCommand(t, "survey", "merge", out); code != 0 {
		t.Fatalf("merge: %s", msg)
	}
	f, err := os.Open(filepath.Join(out, "catalog.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	col := slices.Index(rows[0], "lens.sie.theta_E")
	if len(rows) != 5 || col < 0 || rows[0][col+1] != "lens.sie.theta_E_error" {
		t.Fatalf("got %d rows, columns %q", len(rows), rows[0])
	}
	for i, want := range [][]string{{"1", "first", "converged"}, {"2", "m2", "converged"}, {"3", "broken", "failed"}, {"4", "last", "pending"}} {
		if !slices.Equal(rows[i+1][:3], want) {
			t.Errorf("row %d: got %q, want %q", i+1, rows[i+1][:3], want)
		}
		v, err := strconv.ParseFloat(rows[i+1][col], 64)
		s, _ := strconv.ParseFloat(rows[i+1][col+1], 64)
		if i < 2 && (err != nil || math.Abs(v-1.2) > 6*s || !(s > 0 && s < 0.05)) || i >= 2 && rows[i+1][col] != "" {
			t.Errorf("row %d: got theta_E %q ± %q", i+1, rows[i+1][col], rows[i+1][col+1])
		}
	}
	text, err := os.ReadFile(filepath.Join(out, "catalog.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Name, Status  string
		Parameters    map[string]float64
		Uncertainties map[string]float64
	}
	if err := json.Unmarshal(text, &list); err != nil || len(list) != 4 || list[1].Name != "m2" || list[1].Parameters["lens.sie.theta_E"] == 0 || list[3].Parameters != nil {
		t.Errorf("catalog.json: got %+v, %v", list, err)
	}
	p, err := os.Open(filepath.Join(out, "catalog.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if img, err := png.Decode(p); err != nil || img.Bounds().Dx() < 1000 {
		t.Errorf("contact sheet: %v", err)
	}
	hdus, data, err := fits.Open(filepath.Join(out, "catalog.fits"))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	if len(hdus) != 2 || hdus[1].Describe() != "a binary table" || hdus[1].Header.Text("NAXIS2") != "4" || data.Size()%fits.Block != 0 {
		t.Errorf("catalog.fits: got %d HDUs, %d bytes", len(hdus), data.Size())
	}
}

// TestLatentsAreLeftOutByTheirRole: the config of a run tells which parameters are latents of decoders, whatever its components are
// called; where no config can be read all stay.
func TestLatentsAreLeftOutByTheirRole(t *testing.T) {
	dir, out := doneSurvey(t, 2)
	for i := 1; i <= 2; i++ {
		giveFit(t, dir, out, i, map[string]any{"parameters": map[string]any{"lens.z.theta_E": 1.2, "source.z.z.1": 0.3, "source.z.iota": 2}})
	}
	giveFile(t, filepath.Join(out, "m1", rundir.ConfigYAML), "data: {size: 8, pixel_scale: 0.1, noise: 1}\nlens: [{type: sie, name: z}]\nsource: [{type: decoder, name: z}]\n")
	for _, c := range []struct {
		lenses string
		want   []string
		flags  []string
	}{
		{"both", []string{"lens.z.theta_E", "source.z.iota", "source.z.z.1"}, []string{"--latents"}},
		{"one of a config that cannot be read", []string{"lens.z.theta_E", "source.z.iota", "source.z.z.1"}, nil},
		{"configs", []string{"lens.z.theta_E", "source.z.iota"}, nil},
	} {
		if c.lenses == "configs" {
			text, err := os.ReadFile(filepath.Join(out, "m1", rundir.ConfigYAML))
			if err != nil {
				t.Fatal(err)
			}
			giveFile(t, filepath.Join(out, "m2", rundir.ConfigYAML), string(text))
		}
		if code, _, msg := testkit.RunCommand(t, append([]string{"survey", "merge", out, "--quiet"}, c.flags...)...); code != 0 {
			t.Fatal(msg)
		}
		text, err := os.ReadFile(filepath.Join(out, "catalog.json"))
		if err != nil {
			t.Fatal(err)
		}
		var rows []struct{ Parameters map[string]float64 }
		if err := json.Unmarshal(text, &rows); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(rows[1].Parameters)); !slices.Equal(got, c.want) {
			t.Errorf("%s: the second lens has %v, want %v", c.lenses, got, c.want)
		}
		if _, ok := rows[0].Parameters["source.z.z.1"]; ok != (len(c.flags) > 0) {
			t.Errorf("%s: the first lens has its latent: %t", c.lenses, ok)
		}
	}
}

func TestImagesWithoutAListAreALensEach(t *testing.T) {
	dir := t.TempDir()
	testkit.SurveyMocks(t, dir, 2)
	sub := filepath.Join(dir, "other")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "m1.fits"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sub, "m1.fits"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "s")
	code, _, msg := testkit.RunCommand(t, "survey", "plan", filepath.Join(dir, "m*.fits"), filepath.Join(sub, "m1.fits"), "--noise", "0.05", "--pixel-scale", "0.2", "-o", out,
		"--per-task", "2", "--at-once", "5", "--scheduler", "pbs")
	if code != 0 {
		t.Fatal(msg)
	}
	s, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Lenses) != 3 || s.Lenses[1].Name != "m2" || s.Lenses[2].Name != "other_m1" || s.Lenses[2].Image != filepath.Join(sub, "m1.fits") || s.Lenses[2].PixelScale != 0.2 || s.Plan.tasks() != 2 {
		t.Errorf("got %+v", s.Lenses)
	}
	if text, err := os.ReadFile(filepath.Join(out, "survey.pbs")); err != nil || !strings.Contains(string(text), "#PBS -J 1-2%5\n") {
		t.Errorf("got script %q, %v", text, err)
	}
	// other lenses do not take the place of these
	if code, _, msg := testkit.RunCommand(t, "survey", "plan", filepath.Join(dir, "m2.yaml"), "-o", out); code != term.ExitBadInput || !strings.Contains(msg, "holds a survey of other lenses") {
		t.Errorf("got %d, %q", code, msg)
	}
}

func TestBadListsOfLensesAreRefusedAtTheirLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "has no lenses"},
		{"config\n", "has no lenses"},
		{"name,noise\na,1\n", "l.csv:1: found columns name, noise, expected config or image"},
		{"config,pixelscale\na,1\n", `l.csv:1:8: unknown column "pixelscale"`},
		{"config,config\na,1\n", "a second time"},
		{"image,pixel_scale\na.fits,-1\n", `l.csv:2:8: pixel_scale: found "-1"`},
		{"image,config\na.fits,b.yaml\n", "l.csv:2: has a config and a value for image"},
		{"image,config\n,\n", "l.csv:2: has neither config nor image"},
		{"name,config\na,x\na,y\n", `l.csv:3: name: "a" stands already in line 2`},
		{"name,config\nlogs,x\n", "not logs"},
		{"name,config\n../a,x\n", "expected the name of a folder"},
		{"config\nx.yaml\nx.yaml\n", "no name of its own can be made of x.yaml"},
		{"config\nx,y\n", "l.csv:2:1: wrong number of fields"},
	} {
		_, err := parseLensList("l.csv", strings.NewReader(c.text))
		if err == nil || term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

func TestBadSurveyCommandsAreRefused(t *testing.T) {
	noTask(t)
	dir := t.TempDir()
	testkit.SurveyMocks(t, dir, 1)
	config, out := filepath.Join(dir, "m1.yaml"), filepath.Join(dir, "s")
	if code, _, msg := testkit.RunCommand(t, "survey", "plan", config, "-o", out); code != 0 {
		t.Fatal(msg)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"plan"}, "--output is missing"},
		{[]string{"plan", "-o", out}, "found no list"},
		{[]string{"plan", filepath.Join(dir, "none*"), "-o", out}, "no such file"},
		{[]string{"plan", config, "-o", out, "--noise", "1"}, "describe images"},
		{[]string{"plan", config, "-o", out, "--time", "2h"}, `--time: found "2h"`},
		{[]string{"plan", config, "-o", out, "--scheduler", "cron"}, `--scheduler: found "cron"`},
		{[]string{"plan", config, "-o", out, "--per-task", "0"}, "--per-task: found 0"},
		{[]string{"plan", config, "-o", filepath.Join(dir, "a b"), "--scheduler", "pbs"}, "has the character ' '"},
		{[]string{"plan", config, "-o", out, "--device", "abacus"}, `--device: found "abacus"`},
		{[]string{"plan", config, "-o", out, "--starts", "100001"}, "--starts: found 100001, expected 0 to 100000"},
		{[]string{"plan", config, "-o", out, "--per-task", "9000000000000000000"}, "--per-task: found 9000000000000000000, expected 1 to 1000000"},
		{[]string{"plan", config, "-o", out, "--time", "1:+5"}, `--time: found "1:+5"`},
		{[]string{"plan", "/dev/null", "-o", out}, "is not a regular file"},
		{[]string{"run", dir, "--index", "1"}, "is not the folder of a survey"},
		{[]string{"run", filepath.Join(dir, "none"), "--index", "1"}, "no such file"},
		{[]string{"run", out, "--index", "2"}, "expected numbers from 1 to 1"},
		{[]string{"run", out, "--index", "one"}, `--index: found "one"`},
		{[]string{"status", out, "--indices", "done"}, `unknown state "done"`},
		{[]string{"merge", dir}, "is not the folder of a survey"},
	} {
		code, stdout, msg := testkit.RunCommand(t, append([]string{"survey"}, c.args...)...)
		if code != term.ExitBadInput || stdout != "" || !strings.Contains(msg, c.want) {
			t.Errorf("%q: got %d, %q, %q, want %q", c.args, code, stdout, msg, c.want)
		}
	}
}

func TestIndicesReadBackAsTheyWereWritten(t *testing.T) {
	for _, v := range [][]int{{1}, {1, 2, 3}, {1, 3, 4, 9}, {2, 4}} {
		got, err := parseIndices(IndicesText(v), 9)
		if err != nil || !slices.Equal(got, v) {
			t.Errorf("%v: wrote %q, read %v, %v", v, IndicesText(v), got, err)
		}
	}
}

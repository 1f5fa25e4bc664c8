//go:build linux || darwin

package survey

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
)

func TestPlansOfOthersAreHeldAgainstTheLimitsOfFlags(t *testing.T) {
	_, out := doneSurvey(t, 1)
	path := filepath.Join(out, rundir.FileSurvey)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"Starts", 1000000000000, "survey.json: options.Starts: found 1000000000000, expected 0 to 100000"},
		{"Starts", 100001, "survey.json: options.Starts: found 100001, expected 0 to 100000"},
		{"Starts", -5, "survey.json: options.Starts: found -5, expected 0 to 100000"},
		{"Starts", 1e30, "options.Starts: found number 1e+30, expected a whole number"},
		{"Starts", "many", "options.Starts: found string, expected a whole number"},
		{"Iterations", -9, "survey.json: options.Iterations: found -9, expected 0 to 100000000"},
		{"Iterations", 100000001, "survey.json: options.Iterations: found 100000001, expected 0 to 100000000"},
		{"Seed", -1, "options.Seed: found number -1, expected a whole number of 0 or more"},
		{"Optimizer", "\x1b[2J", `survey.json: options.Optimizer: found "`},
		{"Optimizer", nil, `survey.json: options.Optimizer: found "", expected lm or adam`},
		{"device", "pwn", `survey.json: device: found "pwn", expected cpu, cuda or reference`},
		{"lenses_per_task", 0, "survey.json: lenses_per_task: found 0, expected 1 to 1000000 lenses"},
		{"lenses_per_task", 9223372036854775807, "survey.json: lenses_per_task: found 9223372036854775807, expected 1 to 1000000"},
		{"lenses", 2, "manifest.csv: found 1 lenses, survey.json says 2"},
	} {
		var plan map[string]any
		if err := json.Unmarshal(text, &plan); err != nil {
			t.Fatal(err)
		}
		into := plan
		if _, ok := plan[c.key]; !ok {
			into = plan["options"].(map[string]any)
		}
		into[c.key] = c.value
		changed, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		giveFile(t, path, string(changed))
		for _, args := range [][]string{{"run", out, "--index", "1"}, {"status", out}, {"merge", out}} {
			if code, _, msg := quick(t, append([]string{"survey"}, args...)...); code != term.ExitBadInput || !strings.Contains(msg, c.want) {
				t.Errorf("%s = %v: %s: got %d, %q, want %q", c.key, c.value, args[0], code, msg, c.want)
			}
		}
	}
	for _, broken := range []string{"", "[]", "{", "null", strings.Repeat("[", 100000), strings.Repeat(" ", longestPlan+1)} {
		giveFile(t, path, broken)
		if code, _, msg := quick(t, "survey", "run", out, "--index", "1"); code != term.ExitBadInput || !strings.Contains(msg, "survey.json: ") {
			t.Errorf("%.10q: got %d, %q", broken, code, msg)
		}
	}
}

func TestNamesThatLeaveTheFolderAreRefused(t *testing.T) {
	long := strings.Repeat("x", 201)
	for _, c := range []struct{ text, want string }{
		{"name,config\n..,x\n", `l.csv:2: name: found "..", expected the name of a folder`},
		{"name,config\n/tmp/x,x\n", `l.csv:2: name: found "/tmp/x"`},
		{"name,config\na/b,x\n", `l.csv:2: name: found "a/b"`},
		{"name,config\na\\b,x\n", "l.csv:2: name: found"},
		{"name,config\n.hidden,x\n", "l.csv:2: name: found"},
		{"name,config\n\"a\nb\",x\n", "l.csv:2: name: found"},
		{"name,config\na\x1b[2J,x\n", "l.csv:2: name: found"},
		{"name,config\n" + long + ",x\n", "l.csv:2: name: found"},
		{"name,config\nsurvey.json,x\n", "or a file of the survey"},
		{"name,config\nmanifest.csv,x\n", "or a file of the survey"},
		{"name,config\ncatalog-2.png,x\n", "or a file of the survey"},
		{"name,config\nsurvey.sbatch,x\n", "or a file of the survey"},
		{"config\nlogs.yaml\n", "no name of its own can be made of logs.yaml"},
		{"config\n\"a\nb\"\n", "l.csv:2: config: found"},
		{"config\na\x07b\n", "l.csv:2: config: found"},
		{"config\n" + strings.Repeat("x", longestPath+1) + "\n", "expected at most 4096 bytes"},
		{"image,noise\na.fits,-1\n", `l.csv:2: noise: found "-1", expected a standard deviation above 0`},
		{"image,noise\na.fits,nan\n", `l.csv:2: noise: found "nan"`},
		{"image,psf\na.fits,inf\n", `l.csv:2: psf: found "inf"`},
		{"image,psf\na.fits,0\n", `l.csv:2: psf: found "0"`},
		{"image,pixel_scale\na.fits,nan\n", `l.csv:2:8: pixel_scale: found "nan"`},
	} {
		_, err := parseLensList("l.csv", strings.NewReader(c.text))
		if err == nil || term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\x1b\a\n") {
			t.Errorf("%.40q: got %v, want %q", c.text, err, c.want)
		}
	}
}

// The record of a lens is a number for every key, or the lens has failed and says why.
func TestRecordsOfOthersAreNotTrusted(t *testing.T) {
	dir, out := doneSurvey(t, 2)
	names := map[string]any{}
	for i := range mostParameters + 1 {
		names[fmt.Sprintf("lens.a%d.theta_E", i)] = 1
	}
	for name, c := range map[string]struct {
		change map[string]any
		want   string // of status; "" for converged
	}{
		"huge":                {map[string]any{"chi2": 1e308, "reduced_chi2": 1e300, "seconds": 1e300, "parameters": map[string]any{"sky": -1e308}}, ""},
		"not finite":          {map[string]any{"log_posterior": json.RawMessage("null"), "parameters": map[string]any{"sky": nil}}, ""},
		"no uncertainties":    {map[string]any{"uncertainties": nil}, ""},
		"too large":           {map[string]any{"chi2": json.RawMessage("1e999")}, "m1/fit.json: chi2: found 1e999, expected a number"},
		"a NaN in words":      {map[string]any{"chi2": "NaN"}, `m1/fit.json: chi2: found "NaN", expected a number`},
		"a parameter's NaN":   {map[string]any{"parameters": map[string]any{"sky": "NaN"}}, "m1/fit.json: parameters: found"},
		"no chi2":             {map[string]any{"chi2": nil}, "m1/fit.json: chi2 is missing, expected a number"},
		"no pixels":           {map[string]any{"pixels": nil}, "m1/fit.json: pixels is missing"},
		"negative":            {map[string]any{"seconds": -1}, "m1/fit.json: seconds: found -1, expected 0 or more"},
		"no parameters":       {map[string]any{"parameters": nil}, "m1/fit.json: has no parameters"},
		"a list":              {map[string]any{"parameters": []int{1, 2}}, "m1/fit.json: parameters: found [1,2], expected an object of numbers"},
		"a number":            {map[string]any{"parameters": 5}, "m1/fit.json: parameters: found 5, expected an object of numbers"},
		"nested":              {map[string]any{"parameters": map[string]any{"sky": map[string]int{"a": 1}}}, "m1/fit.json: parameters: found"},
		"a name for the tty":  {map[string]any{"parameters": map[string]any{"\x1b[2J\nx": 1}}, "expected the name of a parameter"},
		"a long name":         {map[string]any{"parameters": map[string]any{strings.Repeat("a", 300): 1}}, "expected the name of a parameter"},
		"no status":           {map[string]any{"status": nil}, `m1/fit.json: status: found "", expected converged, not_converged or failed`},
		"a status of its own": {map[string]any{"status": "\x1b[31mfine\nm2 converged"}, "m1/fit.json: status: found"},
		"a status of numbers": {map[string]any{"status": 1}, "m1/fit.json: status: found 1, expected text"},
	} {
		giveFit(t, dir, out, 1, c.change)
		_, stdout, _ := quick(t, "survey", "status", out)
		if n := strings.Count(stdout, "\n"); n != 3 || c.want != "" && !strings.Contains(stdout, c.want) || (c.want == "") != strings.Contains(stdout, "2 lenses: 2 converged") || len(stdout) > 1000 {
			t.Errorf("%s: status: got %q, want %q", name, stdout, c.want)
		}
		if code, _, msg := quick(t, "survey", "merge", out); code != 0 {
			t.Fatalf("%s: merge: got %d, %q", name, code, msg)
		}
		f, err := os.ReadFile(filepath.Join(out, "catalog.csv"))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(string(f))).ReadAll()
		if err != nil || len(rows) != 3 || strings.Contains(string(f), "\x1b") {
			t.Errorf("%s: got %q, %v", name, f, err)
		}
		col := slices.Index(rows[0], "lens.sie.theta_E")
		if rows[2][col] != "1.2" || rows[2][col+1] != "0.01" || (c.want != "") != (rows[1][2] == "failed") {
			t.Errorf("%s: got %q", name, rows)
		}
		if text, err := os.ReadFile(filepath.Join(out, "catalog.json")); err != nil || !json.Valid(text) {
			t.Errorf("%s: catalog.json: %v, %q", name, err, text)
		}
	}
	giveFit(t, dir, out, 1, map[string]any{"parameters": names})
	if code, _, msg := testkit.RunCommand(t, "survey", "merge", out); code != term.ExitBadInput || !strings.Contains(msg, "more than 495 parameters between them") {
		t.Errorf("more columns than a table has: got %d, %q", code, msg)
	}
	giveFit(t, dir, out, 1, map[string]any{"status": "not_converged", "reason": "bad\x1b[2J\nm2 fine " + strings.Repeat("x", 5000)})
	for _, args := range [][]string{{"status", out}, {"run", out, "--index", "1"}} {
		if _, stdout, msg := quick(t, append([]string{"survey"}, args...)...); !strings.Contains(stdout+msg, `bad\x1b[2J m2 fine xxx`) || len(stdout+msg) > 3000 {
			t.Errorf("a reason for the tty: got %q, %q", stdout, msg)
		}
	}
	for _, status := range []string{`{"state": "\u001b[2J"}`, `{}`, `{"state": 1}`, `[`, ``} {
		giveFile(t, filepath.Join(out, "m1", fileLensStatus), status)
		if _, stdout, _ := quick(t, "survey", "status", out); !strings.Contains(stdout, "failed") || !strings.Contains(stdout, "survey-status.json: ") {
			t.Errorf("%q: got %q", status, stdout)
		}
	}
	giveFile(t, filepath.Join(out, "m1", fileLensStatus), `{"state": "running", "host": "\u001b[2J\nm2 lost", "started": "\u0007"}`)
	if _, stdout, _ := quick(t, "survey", "status", out); strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, "1 lost") {
		t.Errorf("a host for the tty: got %q", stdout)
	}
	giveFile(t, filepath.Join(out, "m1", fileLensStatus), `{"state": "failed", "message": "\u001b[2J\nm2 lost"}`)
	if _, stdout, _ := quick(t, "survey", "status", out); strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, `\x1b[2J m2 lost`) {
		t.Errorf("a message for the tty: got %q", stdout)
	}
}

// A card of a FITS header has 80 characters, of which a text in quotes may have 68: names of columns that do not fit are cut,
// and stay apart. astropy 8.0 reads such a table and takes no longer names.
func TestLongNamesOfColumnsFitTheirCards(t *testing.T) {
	dir, out := doneSurvey(t, 1)
	a, b := "lens."+strings.Repeat("a", 150)+".theta_E", "lens."+strings.Repeat("a", 150)+".gamma"
	whole := "lens." + strings.Repeat("b", longestColumn-5)
	giveFit(t, dir, out, 1, map[string]any{"parameters": map[string]any{a: 1.5, b: 2.5, whole: 3.5}})
	if code, _, msg := testkit.RunCommand(t, "survey", "merge", out); code != 0 {
		t.Fatal(msg)
	}
	text, err := os.ReadFile(filepath.Join(out, "catalog.fits"))
	if err != nil || len(text)%2880 != 0 {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	names := map[string]bool{}
	for at := 2880; string(text[at:at+8]) != "END     "; at += 80 {
		if card := string(text[at : at+80]); strings.HasPrefix(card, "TTYPE") {
			name, end, _ := strings.Cut(card[11:], "'")
			if strings.TrimSpace(end) != "" || names[name] {
				t.Errorf("card %q", card)
			}
			names[strings.TrimSpace(name)] = true
		}
	}
	if len(names) != 3+len(surveyNumbers)+6 || !names[whole] || !names[whole+"_error"] {
		t.Errorf("got %d columns, %v", len(names), names)
	}
	csv, err := os.ReadFile(filepath.Join(out, "catalog.csv"))
	if err != nil || !strings.Contains(string(csv), ","+a+","+a+"_error,") {
		t.Errorf("catalog.csv has not the whole names: %.500q, %v", csv, err)
	}
}

// A catalogue of lenses that wait is a table without pictures, made in one pass.
func TestManyPlannedLensesAreMergedInSeconds(t *testing.T) {
	const n = 20000
	dir, out := doneSurvey(t, 2)
	var list strings.Builder
	list.WriteString("name,config\nm1," + filepath.Join(dir, "m1.yaml") + "\nm2," + filepath.Join(dir, "m2.yaml") + "\n")
	for i := 3; i <= n; i++ {
		fmt.Fprintf(&list, "m%d,%s\n", i, filepath.Join(dir, "m1.yaml"))
	}
	giveFile(t, filepath.Join(dir, "l.csv"), list.String())
	begun := time.Now()
	if code, _, msg := testkit.RunCommand(t, "survey", "plan", filepath.Join(dir, "l.csv"), "-o", out); code != 0 {
		t.Fatal(msg)
	}
	code, stdout, msg := testkit.RunCommand(t, "survey", "merge", out)
	if took := time.Since(begun); code != 0 || took > 20*time.Second {
		t.Errorf("got %d, %q after %v", code, msg, took)
	}
	if got := strings.Count(stdout, ".png"); got != 1 {
		t.Errorf("got %d contact sheets, want one of the two lenses that have results", got)
	}
	f, err := os.Open(filepath.Join(out, "catalog.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != n+1 || rows[2][2] != "converged" || rows[n][2] != "pending" {
		t.Errorf("got %d rows, %v", len(rows), err)
	}
	if _, stdout, _ := testkit.RunCommand(t, "survey", "status", out, "--indices", "pending"); stdout != fmt.Sprintf("3-%d\n", n) {
		t.Errorf("got %q", stdout)
	}
}

//go:build linux || darwin

package survey

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/tools/internal/term"
	"lenskit/tools/search"
)

// stub writes a program that notes the arguments it was called with, one after the other with a NUL after each, and what it
// was fed.
func stub(t *testing.T, path, notes string) {
	t.Helper()
	text := "#!/bin/sh\nprintf '%s\\0' \"$@\" > " + notes + "\nif [ $# = 0 ]; then cat > " + notes + ".fed; fi\n"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// sbatchReads is the first word of a line as Slurm's sbatch reads it (src/sbatch/opt.c, get_argument).
func sbatchReads(line string) string {
	var word []byte
	var quote byte
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			if i++; i < len(line) {
				word = append(word, line[i])
			}
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word = append(word, c)
		case c == '"' || c == '\'':
			quote = c
		case c == '#' || c == ' ' || c == '\t':
			return string(word)
		default:
			word = append(word, c)
		}
	}
	return string(word)
}

// TestJobScriptsRunLenskitAndNothingElse plans surveys in folders whose names a shell would act on, lets bash run the command
// that submits the script and the script itself, and looks at what was called: bash, whose words these are, is the judge. A
// folder that cannot be named in the lines that the batch system reads is refused.
func TestJobScriptsRunLenskitAndNothingElse(t *testing.T) {
	noTask(t)
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	root := t.TempDir()
	bin, notes := filepath.Join(root, "bin"), filepath.Join(root, "notes")
	for _, d := range []string{bin, notes} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	submits := map[string]string{"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub", "sge": "qsub"}
	for _, name := range submits {
		stub(t, filepath.Join(bin, name), filepath.Join(notes, "submitted"))
	}
	config := filepath.Join(root, "c.yaml")
	if err := os.WriteFile(config, []byte("lens: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const evil = "touch PWN"
	names := []string{"plain", "ünïcödé", "a=b", "a@b", "-leading", "a;touch\tPWN", "a;touch${IFS}PWN", "a`touch${IFS}PWN`", "a$(touch${IFS}PWN)",
		"a&touch${IFS}PWN", "a|touch${IFS}PWN", "a>PWN", "a<PWN", "a(PWN)", "a*", "a?", "a#b", " a", "a b", "a #b", "a!b", "~", "~a", "a~", "$HOME", `"a"`, "'a'", "a'b", `a\b`, `a\`, "a,b", "a:b",
		"a%b", "a^b", "a{b,c}", "[ab]", "a\nb", "a\n" + evil, "a\rb", "a\x1b[2Jb", "a\xffb", "a;" + evil + ";", "`" + evil + "`", "$(" + evil + ")", "\n" + evil + "\n"}
	slurmTakes := []string{"a;" + evil + ";", "`" + evil + "`", "$(" + evil + ")", " a", "a b", "a #b", "a#b", `"a"`, "'a'", "a'b", "a%b", "plain", "ünïcödé", "a=b", "a@b", "-leading", "a;touch${IFS}PWN", "a`touch${IFS}PWN`", "a$(touch${IFS}PWN)", "a&touch${IFS}PWN", "a|touch${IFS}PWN", "a>PWN", "a<PWN", "a(PWN)",
		"a*", "a?", "a!b", "~", "~a", "a~", "$HOME", "a,b", "a:b", "a^b", "a{b,c}", "[ab]"}
	allTake := []string{"plain", "ünïcödé", "a=b", "a@b", "-leading"}
	program := filepath.Join(root, "it's a `touch PWN` $(touch PWN);lenskit")
	stub(t, program, filepath.Join(notes, "called"))
	for i, name := range names {
		for _, scheduler := range Schedulers() {
			place := filepath.Join(root, fmt.Sprintf("%d-%s", i, scheduler))
			if err := os.Mkdir(place, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Chdir(place)
			opt := PlanOptions{Inputs: []string{config}, Output: name, Search: search.Options{Optimizer: "lm"}, Device: "cpu", Scheduler: scheduler, PerTask: 1, CPUs: 1, Time: "1:00", Memory: 100, Program: program}
			p, err := Plan(opt)
			takes := allTake
			if scheduler == "slurm" {
				takes = slurmTakes
			}
			if !slices.Contains(takes, name) {
				if list, _ := os.ReadDir(place); err == nil || term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), "has the character") || len(list) != 0 {
					t.Errorf("%s: %q: got %v, %d files, want a refusal", scheduler, name, err, len(list))
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %q: %v", scheduler, name, err)
				continue
			}
			run := func(args ...string) {
				cmd := exec.Command(bash, args...)
				cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + root, "IFS= \t\n"}
				if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("%s: %q: bash %q: %v, %s", scheduler, name, args, err, out)
				}
			}
			check := func(what string, want ...string) {
				got, err := os.ReadFile(filepath.Join(notes, what))
				if text := strings.Join(want, "\x00") + "\x00"; err != nil || string(got) != text {
					t.Errorf("%s: %q: %s with %q, %v, want %q", scheduler, name, what, got, err, want)
				}
				os.Remove(filepath.Join(notes, what))
			}
			run("-c", p.Submit)
			text, err := os.ReadFile(p.Script)
			if err != nil {
				t.Fatal(err)
			}
			if scheduler == "slurm" {
				_, line, _ := strings.Cut(string(text), "#SBATCH --output=")
				line, _, _ = strings.Cut(line, "\n")
				if got, want := sbatchReads(line), filepath.Join(place, strings.ReplaceAll(name, "%", "%%"), folderLogs, "%a.log"); got != want {
					t.Errorf("%q: sbatch reads %q, want %q", name, got, want)
				}
			}
			if scheduler == "lsf" {
				check("submitted", "")
				if fed, _ := os.ReadFile(filepath.Join(notes, "submitted.fed")); string(fed) != string(text) {
					t.Errorf("%q: bsub was fed %q", name, fed)
				}
			} else if scheduler, err := filepath.Rel(".", p.Script); err == nil {
				if strings.HasPrefix(scheduler, "-") {
					scheduler = "./" + scheduler
				}
				check("submitted", scheduler)
			}
			run(filepath.Join(place, p.Script))
			check("called", "survey", "run", filepath.Join(place, name))
			// the command that the script's comment tells
			for line := range strings.Lines(string(text)) {
				if status, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "#   lenskit "); ok {
					run("-c", "set -- "+status+` && printf '%s\0' "$@" > `+filepath.Join(notes, "told"))
					check("told", "survey", "status", filepath.Join(place, name))
				}
			}
			if list, _ := os.ReadDir(place); len(list) != 1 {
				t.Errorf("%s: %q: left %v", scheduler, name, list)
			}
		}
	}
	if _, err := Plan(PlanOptions{Inputs: []string{config}, Output: "x", Search: search.Options{Optimizer: "lm"}, Device: "cpu", Scheduler: "slurm", PerTask: 1, CPUs: 1, Time: "1:00", Memory: 100,
		Program: "/bin/a\ntouch PWN"}); err == nil || !strings.Contains(err.Error(), "control character") {
		t.Errorf("a program with a newline: got %v", err)
	}
}

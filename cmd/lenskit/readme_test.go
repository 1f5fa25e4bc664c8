package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx/ort"
)

// cheap makes a command of README.md quick: the same flags with smaller numbers.
var cheap = strings.NewReplacer("--count 2000", "--count 60", "--epochs 8", "--epochs 1")

// TestReadmeCommands runs the shell commands of README.md: of make the targets that it names have to be there, a command on
// files of the reader's own has to miss those alone, and what takes a while runs with smaller numbers.
func TestReadmeCommands(t *testing.T) {
	root := check.Root()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "bin")+"/", ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	library, _, missing := ort.Library()
	makes, runs := 0, 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for _, line := range strings.Split(strings.TrimSpace(block[1]), "\n") {
			line, _, _ = strings.Cut(line, " #")
			words := strings.Fields(cheap.Replace(line))
			switch words[0] {
			case "make":
				makes++
				cmd := exec.Command("make", append([]string{"-n"}, words[1:]...)...)
				cmd.Dir = root
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %v: %s", line, err, out)
				}
			case "bin/lenskit":
				runs++
				if missing != nil && words[1] != "dataset" {
					t.Logf("%s: left out: %v", line, missing)
					continue
				}
				cmd := exec.Command(filepath.Join(dir, words[0]), words[1:]...)
				cmd.Dir, cmd.Env = dir, append(os.Environ(), "LENSKIT_ONNXRUNTIME="+library)
				out, err := cmd.CombinedOutput()
				if words[1] == "fit" {
					if want := "lenskit: image: " + words[2] + ": no such file or directory"; err == nil || !strings.HasPrefix(string(out), want) {
						t.Errorf("%s: got %v, %s, expected %q", line, err, out, want)
					}
				} else if err != nil {
					t.Fatalf("%s: %v: %s", line, err, out)
				}
			default:
				t.Errorf("README.md: found command %q, expected make or bin/lenskit", line)
			}
		}
	}
	if makes < 2 || runs < 5 {
		t.Errorf("found %d commands of make and %d of lenskit", makes, runs)
	}
	for _, line := range regexp.MustCompile("`lenskit ([^`]*)`").FindAllStringSubmatch(string(text), -1) {
		words := strings.Fields(line[1])
		if words[0] == "COMMAND" {
			continue
		}
		var args []string // the subcommand, for its help
		for _, w := range words {
			if !regexp.MustCompile(`^[a-z-]+$`).MatchString(w) || strings.HasPrefix(w, "-") {
				break
			}
			args = append(args, w)
		}
		out, err := exec.Command(filepath.Join(dir, "bin/lenskit"), append(args, "--help")...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "lenskit "+strings.Join(args, " ")) {
			t.Errorf("lenskit %s: %v: %s", line[1], err, out)
		}
		for _, w := range words {
			if strings.HasPrefix(w, "--") && !strings.Contains(string(out), w) {
				t.Errorf("lenskit %s: help has no %s", line[1], w)
			}
		}
	}
}

// TestPathsInDocumentsExist: files and folders of the repository that its pages name in backquotes or link to are there. The
// notes tell of what was, and are left out.
func TestPathsInDocumentsExist(t *testing.T) {
	root := check.Root()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := filepath.Glob(filepath.Join(root, "docs", "decisions", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, decisions...)
	ours := regexp.MustCompile("`((?:adjoint|cmd|docs|examples|internal|models|onnx|physics|samplers|scripts|tools|\\.ci)/[A-Za-z0-9_./*-]+)`")
	links := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	seen := 0
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		look := func(name, path string) {
			t.Helper()
			if strings.Contains(name, "NAME") { // stands for one to be chosen
				return
			}
			seen++
			if found, err := filepath.Glob(path); err != nil || len(found) == 0 {
				t.Errorf("%s: names %s, which is not there", filepath.Base(page), name)
			}
		}
		for _, m := range ours.FindAllStringSubmatch(string(text), -1) {
			look(m[1], filepath.Join(root, m[1]))
		}
		for _, m := range links.FindAllStringSubmatch(string(text), -1) {
			look(m[1], filepath.Join(filepath.Dir(page), m[1]))
		}
	}
	if seen < 100 {
		t.Errorf("found %d paths", seen)
	}
}

// TestPatternsOfTestsMatch: each part of a -run 'A|B' in the Makefile or a page names a test or an example in one of the
// packages on its line, and each of these has one. Where nothing matches, go test passes.
func TestPatternsOfTestsMatch(t *testing.T) {
	root := check.Root()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	run, folder := regexp.MustCompile(`-run ('[A-Za-z|]+'|[A-Za-z]+)`), regexp.MustCompile(`\./[a-z/]+`)
	seen := 0
	for _, page := range append(pages, filepath.Join(root, "Makefile")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			m, folders := run.FindStringSubmatch(line), folder.FindAllString(line, -1)
			if m == nil || folders == nil { // without folders it is a flag of another command
				continue
			}
			seen++
			for _, wrong := range unmatched(t, root, strings.Split(strings.Trim(m[1], "'"), "|"), folders) {
				t.Errorf("%s: %s: %s", filepath.Base(page), strings.TrimSpace(line), wrong)
			}
		}
	}
	if seen < 8 {
		t.Errorf("found %d lines with -run", seen)
	}
	if got := unmatched(t, root, []string{"PatternsOfTests", "NoTestHasThisName"}, []string{"./cmd/lenskit", "./physics"}); len(got) != 2 {
		t.Errorf("got %q, want one about NoTestHasThisName and one about ./physics", got)
	}
}

// unmatched tells which of the parts of a pattern name no test or example in the folders, and which folders have none of them.
func unmatched(t *testing.T, root string, parts, folders []string) (out []string) {
	t.Helper()
	used := map[string]bool{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range regexp.MustCompile(`(?m)^func ((?:Test|Example)\w*)\(`).FindAllStringSubmatch(string(text), -1) {
				for _, p := range parts {
					if strings.Contains(f[1], p) {
						used[p], used[folder] = true, true
					}
				}
			}
		}
	}
	for _, name := range slices.Concat(parts, folders) {
		if !used[name] {
			out = append(out, name+" matches no test")
		}
	}
	return out
}

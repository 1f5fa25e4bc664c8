package main

import (
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lenskit/internal/check"
)

// outside is a program of another module: it loads a config, fits a mock of it, samples and prints the result.
const outside = `package main

import (
	"context"
	"fmt"
	"io"
	"log"

	"lenskit/tools/config"
	"lenskit/tools/mock"
	"lenskit/tools/run"
	"lenskit/tools/sample"
)

func main() {
	ctx := context.Background()
	cfg, err := config.Load("lens.yaml")
	check(err)
	made, err := mock.Simulate(ctx, mock.Options{Config: cfg.File, Output: "mock.fits", Seed: 1}, nil)
	check(err)
	check(sample.FitAndSample(ctx, run.Options{Input: made.Config, Output: "fit"}, sample.Settings{Draws: 50, Warmup: 20}, io.Discard, nil))
	fit, err := run.ReadRecord("fit")
	check(err)
	draws, err := sample.ReadDraws("fit")
	check(err)
	radius, _ := fit.Parameters.Get("lens.sis.theta_E")
	all, _ := draws.Get("lens.sis.theta_E")
	fmt.Printf("%s: %.2f arcsec, %d draws\n", fit.Status, radius, len(all))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
`

// TestAProgramOutsideTheModule builds and runs outside in a module of its own. What its main does fits into 30 lines.
func TestAProgramOutsideTheModule(t *testing.T) {
	body, _, _ := strings.Cut(outside[strings.Index(outside, "func main"):], "\n}")
	if n := strings.Count(body, "\n") + 2; n >= 30 {
		t.Errorf("main has %d lines, want fewer than 30", n)
	}
	root, err := filepath.Abs(check.Root())
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	// what lenskit requires, so that nothing has to be looked up
	_, requires, ok := strings.Cut(read("go.mod"), "\nrequire ")
	if !ok {
		t.Fatal("go.mod requires nothing")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": outside,
		"go.mod":  "module example.org/outside\n\ngo 1.26.0\n\nrequire lenskit v0.0.0\n\nreplace lenskit => " + root + "\n\nrequire " + requires,
		"go.sum":  read("go.sum"),
		"lens.yaml": `
data: {size: 32, pixel_scale: 0.15, noise: 0.05, psf: {gaussian: 0.15}}
lens: [{type: sis, priors: {theta_E: {truth: 1.2}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
source: [{type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}}}]
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	do := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	do("go", "build", "-o", "outside", ".")
	if got, want := do("./outside"), "converged: 1.20 arcsec, 200 draws\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPublicPackagesAreExplained: what go doc tells first of a package is what it is for, and code that uses it; and a test
// beside it has an example that go test compiles, and runs where it can.
func TestPublicPackagesAreExplained(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}\t{{.Dir}}", "lenskit/...").Output()
	if err != nil {
		t.Skipf("go list does not work here: %v", err)
	}
	example := regexp.MustCompile(`(?m)^func Example`)
	seen := 0
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		path, dir, _ := strings.Cut(line, "\t")
		if strings.Contains(path, "/internal") || path == "lenskit/cmd/lenskit" || path == "lenskit/tools" || path == "lenskit/models" {
			continue // plumbing, the command, its subcommands, files
		}
		seen++
		fset := token.NewFileSet()
		text := ""
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		examples := false
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				src, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				examples = examples || example.Match(src) && strings.Contains(string(src), "_test\n")
				continue
			}
			f, err := parser.ParseFile(fset, file, nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			text += f.Doc.Text()
		}
		if !examples {
			t.Errorf("%s: has no Example in an external test", path)
		}
		if name := filepath.Base(path); !strings.HasPrefix(text, "Package "+name+" ") {
			t.Errorf("%s: its doc begins with %.30q", path, text)
		}
		code := ""
		for _, block := range new(comment.Parser).Parse(text).Content {
			if c, ok := block.(*comment.Code); ok {
				if _, err := parser.ParseFile(fset, "", "package p\nfunc _() {\n"+c.Text+"\n}", 0); err == nil {
					code += c.Text
				}
			}
		}
		if !strings.Contains(code, filepath.Base(path)+".") {
			t.Errorf("%s: its doc has no code that uses it", path)
		}
	}
	if seen < 15 {
		t.Errorf("found %d public packages", seen)
	}
}

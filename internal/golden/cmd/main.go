//go:build unix

// Command golden compares what two commits of lenskit leave. See scripts/golden.
package main

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"lenskit/internal/golden"
)

func main() {
	root := flag.String("root", ".", "the repository")
	scratch := flag.String("scratch", "", "empty folder for trees, binaries and outputs")
	keep := flag.String("keep", "", "folder in which the outputs of each commit are kept")
	match := flag.String("run", "", "regular expression that the names of the cases must match")
	jobs := flag.Int("jobs", runtime.NumCPU(), "cases at a time")
	list := flag.Bool("list", false, "tell the cases and their commands, and run none")
	differences := flag.Bool("differences", false, "leave out the lines of what is the same")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: scripts/golden [flags] BASE [HEAD]")
		flag.PrintDefaults()
	}
	flag.Parse()
	names := flag.Args()
	err := func() error {
		re, err := regexp.Compile(*match)
		if err != nil {
			return err
		}
		b := bench{root: *root, scratch: *scratch, keep: *keep, jobs: *jobs, shared: shared(*root), quiet: *differences}
		for _, c := range golden.Cases(b.shared) {
			if re.MatchString(c.Name) {
				b.cases = append(b.cases, c)
			}
		}
		if *list {
			b.list()
			return nil
		}
		if len(names) < 1 || len(names) > 2 {
			flag.Usage()
			os.Exit(2)
		}
		return b.compare(names)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "golden:", err)
		os.Exit(1)
	}
}

// shared is the folder of the shared data, "" where it is not there.
func shared(root string) string {
	dir := os.Getenv("LENSKIT_SHARED")
	if dir == "" {
		dir = filepath.Join(root, "..", "shared")
	}
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// bench is a comparison.
type bench struct {
	root, keep, shared, scratch, base string
	jobs                              int
	cases                             []golden.Case
	quiet                             bool
}

func (b *bench) list() {
	for _, c := range b.cases {
		if c.Skip != "" {
			fmt.Printf("%s: skipped: %s\n", c.Name, c.Skip)
		}
		for _, l := range c.Lines {
			fmt.Printf("%s: lenskit %s\n", c.Name, strings.TrimPrefix(l, "!"))
		}
	}
}

// compare runs one or two commits, the second being the working tree where it is left out, and tells what differs.
func (b *bench) compare(names []string) (err error) {
	if b.root, err = filepath.Abs(b.root); err != nil {
		return err
	}
	if b.keep != "" {
		if b.keep, err = filepath.Abs(b.keep); err != nil {
			return err
		}
	}
	if b.scratch == "" {
		if b.scratch, err = os.MkdirTemp("", "golden-*"); err != nil {
			return err
		}
		defer os.RemoveAll(b.scratch)
	}
	base, err := golden.Commit(b.root, names[0])
	if err != nil {
		return err
	}
	b.base = base
	before, err := b.outputs(base, "base", true)
	if err != nil {
		return err
	}
	head := ""
	if len(names) == 2 {
		if head, err = golden.Commit(b.root, names[1]); err != nil {
			return err
		}
	}
	now, err := b.outputs(head, "head", false)
	if err != nil {
		return err
	}
	differ, files := 0, 0
	for _, c := range b.cases {
		if c.Skip != "" {
			fmt.Printf("skip %s: %s\n", c.Name, c.Skip)
			continue
		}
		lines, err := golden.Compare(before, now, c)
		if err != nil {
			return err
		}
		for _, l := range lines {
			files++
			if l.Diff != "" {
				differ++
				fmt.Printf("DIFF %s/%s: %s\n", l.Case, l.File, l.Diff)
			} else if !b.quiet {
				fmt.Printf("same %s/%s\n", l.Case, l.File)
			}
		}
	}
	fmt.Printf("%d cases, %d files, %d differ\n", len(b.cases), files, differ)
	if differ > 0 {
		return fmt.Errorf("%d files differ", differ)
	}
	return nil
}

// outputs builds and runs a commit, "" being the working tree, and returns the folder of what it left. Cases that are kept of
// a commit, run on this machine, are taken as they are where reuse says so.
func (b *bench) outputs(commit, role string, reuse bool) (string, error) {
	out, name, keeps := filepath.Join(b.scratch, role), "the working tree", false
	cases := b.cases
	if commit != "" {
		name = commit[:12]
	}
	if b.keep != "" && commit != "" {
		keeps = true
		out = filepath.Join(b.keep, commit)
		if !reuse && b.base == commit {
			out += "-again" // the kept outputs are the base of this comparison
		}
		cases = nil
		for _, c := range b.cases {
			stamp, err := os.ReadFile(filepath.Join(out, c.Name+".stamp"))
			if reuse && err == nil && string(stamp) == b.stamp(c) {
				continue
			}
			for _, old := range []string{c.Name + ".stamp", c.Name, c.Name + ".opened"} {
				if err := os.RemoveAll(filepath.Join(out, old)); err != nil {
					return "", err
				}
			}
			cases = append(cases, c)
		}
		if n := len(b.cases) - len(cases); n > 0 {
			fmt.Fprintf(os.Stderr, "golden: %s: %d cases have been run: %s\n", name, n, out)
		}
		if len(cases) == 0 {
			return out, nil
		}
	}
	tree := b.root
	if commit != "" {
		tree = filepath.Join(b.scratch, role+"-tree")
		remove, err := golden.Checkout(b.root, commit, tree)
		if err != nil {
			return "", err
		}
		defer remove()
	}
	binary := filepath.Join(b.scratch, role+"-lenskit")
	// both builds have their files at the same place, so that the compiler's cache serves both
	if err := golden.Build(tree, binary, b.scratch); err != nil {
		return "", err
	}
	begun := time.Now()
	took, err := golden.Run(golden.Place{Binary: binary, Tree: tree, Shared: b.shared, Out: out, Strict: reuse}, cases, b.jobs)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	total := time.Duration(0)
	for i, t := range took {
		total += t.CPU
		fmt.Fprintf(os.Stderr, "golden: %s: %s took %.1f s of the processor\n", name, t.Case, t.CPU.Seconds())
		if keeps {
			if err := os.WriteFile(filepath.Join(out, t.Case+".stamp"), []byte(b.stamp(cases[i])), 0o644); err != nil {
				return "", err
			}
		}
	}
	fmt.Fprintf(os.Stderr, "golden: %s: %.0f s of the processor, %.0f s in all\n", name, total.Seconds(), time.Since(begun).Seconds())
	return out, nil
}

// stamp tells of which commands, machine and libraries the kept outputs of a case are.
func (b *bench) stamp(c golden.Case) string {
	h := sha256.New()
	fmt.Fprintf(h, "%v\n", c)
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(cpu) {
			if bytes.HasPrefix(line, []byte("model name")) || bytes.HasPrefix(line, []byte("flags")) {
				h.Write(line)
			}
		}
	}
	library := os.Getenv("LENSKIT_ONNXRUNTIME")
	if path, err := filepath.EvalSymlinks(library); err == nil {
		library = path
	}
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH, library)
	return fmt.Sprintf("%x\n", h.Sum(nil))
}

//go:build unix

package golden

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wrapper is the Go package of onnxruntime, whose copy keeps every graph that it is given.
const wrapper = "github.com/yalue/onnxruntime_go"

// keeper is the file added to the copy of the wrapper.
const keeper = `package onnxruntime_go

import "os"

// keepGraph writes a graph to a file of its own in the folder that LENSKIT_GOLDEN_GRAPHS names.
func keepGraph(data []byte) {
	dir := os.Getenv("LENSKIT_GOLDEN_GRAPHS")
	if dir == "" {
		return
	}
	f, err := os.CreateTemp(dir, "graph-*")
	if err == nil {
		_, err = f.Write(data)
		f.Close()
	}
	if err != nil {
		panic(err)
	}
}
`

// entries are the calls of onnxruntime that take a graph.
var entries = []string{"\tstatus := C.CreateSession(unsafe.Pointer(&(onnxData[0])),"}

// Build builds the lenskit of a tree as binary, with a wrapper of onnxruntime that keeps the graphs it is given. The files of
// the tree stay as they are; scratch is a folder for others.
func Build(tree, binary, scratch string) error {
	source, err := command(tree, "go", "list", "-m", "-f", "{{.Dir}}", wrapper)
	if err != nil {
		return err
	}
	copied := filepath.Join(scratch, "wrapper")
	if err := os.MkdirAll(copied, 0o755); err != nil {
		return err
	}
	files, err := os.ReadDir(source)
	if err != nil {
		return err
	}
	changed := 0
	for _, f := range files {
		name := f.Name()
		if f.IsDir() || strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return err
		}
		for _, e := range entries {
			n := bytes.Count(b, []byte(e))
			changed += n
			b = bytes.ReplaceAll(b, []byte(e), []byte("\tkeepGraph(onnxData)\n"+e))
		}
		if err := os.WriteFile(filepath.Join(copied, name), b, 0o644); err != nil {
			return err
		}
	}
	if changed != len(entries) {
		return fmt.Errorf("%s: found %d calls that take a graph, expected %d: internal/golden/build.go knows another version", source, changed, len(entries))
	}
	if err := os.WriteFile(filepath.Join(copied, "keep.go"), []byte(keeper), 0o644); err != nil {
		return err
	}
	mod, err := os.ReadFile(filepath.Join(tree, "go.mod"))
	if err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(tree, "go.sum"))
	if err != nil {
		return err
	}
	mod = fmt.Appendf(mod, "\nreplace %s => %s\n", wrapper, copied)
	if err := errors.Join(os.WriteFile(filepath.Join(scratch, "go.mod"), mod, 0o644), os.WriteFile(filepath.Join(scratch, "go.sum"), sum, 0o644)); err != nil {
		return err
	}
	_, err = command(tree, "go", "build", "-modfile", filepath.Join(scratch, "go.mod"), "-trimpath", "-buildvcs=false", "-o", binary, "./cmd/lenskit")
	return err
}

// command runs a program in a folder and returns what it says.
func command(dir, name string, args ...string) (string, error) {
	if go_ := os.Getenv("GO"); name == "go" && go_ != "" {
		name = go_
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

// Commit is the full hash of a commit of the repository at root.
func Commit(root, name string) (string, error) {
	return command(root, "git", "rev-parse", "--verify", name+"^{commit}")
}

// Checkout makes a temporary tree of a commit; remove takes it away.
func Checkout(root, commit, dir string) (remove func(), err error) {
	if _, err := command(root, "git", "worktree", "add", "--detach", dir, commit); err != nil {
		return nil, err
	}
	return func() { command(root, "git", "worktree", "remove", "--force", dir) }, nil
}

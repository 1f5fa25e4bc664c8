//go:build unix

// Package golden runs the same small set of lenskit's commands with the builds of two commits and compares what they leave byte
// for byte: files, what is said, exit codes, and every graph that onnxruntime is given.
//
//	Build (a commit's binary) -> Run (a folder of outputs) -> Compare (a line for each file)
//
// What may differ between two runs of one commit, times and who ran, is named in normal.go and nowhere else.
package golden

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"lenskit/internal/proc"
)

// Case is a folder and the commands that are given in it, one after the other. Cases do not see each other.
type Case struct {
	Name  string
	Files map[string]string // texts, by name
	// Copies are files and folders that the folder gets, by name: paths in the commit's tree, or in the shared data after
	// "shared:". Of a name that ends in "+loss.onnx" the copy is a model whose output has a loss beside it.
	Copies map[string]string
	Lines  []string // an exit code that is neither 0 nor 3 is a fault of the set, but after "!"
	Skip   string   // why it is not run
}

// Place is where a build's outputs come from and go to.
type Place struct {
	Binary string
	Tree   string // the commit's files
	Shared string // the shared data; "" where there is none
	Out    string // gets a folder for each case, and graphs
	Strict bool   // an exit code that the set does not foresee is an error, and not only compared
}

// Took is what the runs of a case used.
type Took struct {
	Case string
	CPU  time.Duration
}

// graphsVar names the folder that the binary, built with a wrapper that keeps graphs, writes each graph to.
const graphsVar = "LENSKIT_GOLDEN_GRAPHS"

// Run runs the cases, so many at a time, and leaves the outputs in p.Out.
func Run(p Place, cases []Case, jobs int) ([]Took, error) {
	if err := os.MkdirAll(filepath.Join(p.Out, "graphs"), 0o755); err != nil {
		return nil, err
	}
	took, errs := make([]Took, len(cases)), make([]error, len(cases))
	queue := make(chan int)
	var wait sync.WaitGroup
	for range max(1, jobs) {
		wait.Go(func() {
			for i := range queue {
				took[i], errs[i] = p.run(cases[i])
			}
		})
	}
	for i := range cases {
		queue <- i
	}
	close(queue)
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("%s: %w", cases[i].Name, err)
		}
	}
	return took, errors.Join(errs...)
}

// run runs a case.
func (p Place) run(c Case) (Took, error) {
	took := Took{Case: c.Name}
	dir := filepath.Join(p.Out, c.Name)
	if c.Skip != "" {
		return took, nil
	}
	if err := p.fill(dir, c); err != nil {
		return took, err
	}
	opened := filepath.Join(p.Out, c.Name+".opened")
	for i, line := range c.Lines {
		line, fails := strings.CutPrefix(line, "!")
		if err := os.MkdirAll(opened, 0o755); err != nil {
			return took, err
		}
		r, err := proc.Run(proc.Command{
			Path: p.Binary, Args: strings.Fields(line), Dir: dir, Wall: 10 * time.Minute, Env: []string{graphsVar + "=" + opened},
		})
		if err != nil {
			return took, err
		}
		took.CPU += r.CPU
		if p.Strict && (r.Killed != "" || r.Code != 0 && r.Code != 3 && !fails) {
			return took, fmt.Errorf("lenskit %s: exit code %d %s: %s", line, r.Code, r.Killed, r.Stderr)
		}
		graphs, err := gather(opened, filepath.Join(p.Out, "graphs"))
		if err != nil {
			return took, err
		}
		for name, text := range map[string][]byte{
			"command": []byte("lenskit " + line + "\n"), "stdout": r.Stdout, "stderr": r.Stderr, "exit": fmt.Appendf(nil, "%d%s\n", r.Code, r.Killed), "graphs": graphs,
		} {
			if len(text) == 0 {
				continue
			}
			// where the outputs lie and what the binary is called is not the commit's doing
			text = bytes.ReplaceAll(text, []byte(p.Binary), []byte("lenskit"))
			text = bytes.ReplaceAll(text, []byte(p.Out), []byte("OUT"))
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("run-%02d.%s", i+1, name)), text, 0o644); err != nil {
				return took, err
			}
		}
	}
	for name := range c.Copies {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return took, err
		}
	}
	return took, p.depersonalise(dir)
}

// fill makes the folder of a case with the files that its commands read.
func (p Place) fill(dir string, c Case) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range c.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, from := range c.Copies {
		path := filepath.Join(p.Tree, from)
		if rest, ok := strings.CutPrefix(from, "shared:"); ok {
			path = filepath.Join(p.Shared, rest)
		}
		to := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			if err := os.CopyFS(to, os.DirFS(path)); err != nil {
				return err
			}
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, "+loss.onnx") {
			if b, err = withLoss(b); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// depersonalise takes the places of the outputs and of the binary out of the texts among the files below dir.
func (p Place) depersonalise(dir string) error {
	files, err := results(dir)
	if err != nil {
		return err
	}
	for name, b := range files {
		if bytes.IndexByte(b, 0) >= 0 || !bytes.Contains(b, []byte(p.Out)) && !bytes.Contains(b, []byte(p.Binary)) {
			continue
		}
		b = bytes.ReplaceAll(b, []byte(p.Binary), []byte("lenskit"))
		b = bytes.ReplaceAll(b, []byte(p.Out), []byte("OUT"))
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// gather moves the graphs that a command gave to onnxruntime from one folder to another, where each lies once, and lists them:
// a line for each with its nodes, bytes and hash, the small ones first.
func gather(opened, graphs string) ([]byte, error) {
	entries, err := os.ReadDir(opened)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, e := range entries {
		path := filepath.Join(opened, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		nodes, err := nodesOf(b)
		if err != nil {
			return nil, err
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		lines = append(lines, fmt.Sprintf("%6d nodes %10d bytes %s\n", len(nodes), len(b), sum))
		if err := os.Rename(path, filepath.Join(graphs, sum)); err != nil {
			return nil, err
		}
	}
	sort.Strings(lines)
	return []byte(strings.Join(lines, "")), os.RemoveAll(opened)
}

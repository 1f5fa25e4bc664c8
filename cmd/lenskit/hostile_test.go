//go:build unix

package main

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lenskit/internal/hostile"
	"lenskit/onnx/ort"
)

// ownBinary is this test's binary under the name that makes it lenskit, which finds onnxruntime.
func ownBinary(t *testing.T) string {
	t.Helper()
	path, _, err := ort.Library()
	if err != nil {
		t.Skipf("onnxruntime is not here: %v", err)
	}
	if os.Getenv("LENSKIT_ONNXRUNTIME") == "" {
		if path, err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
		t.Setenv("LENSKIT_ONNXRUNTIME", path)
	}
	binary, err := exec.LookPath("lenskit")
	if err != nil {
		t.Skipf("the binary is not here: %v", err)
	}
	if binary, err = filepath.Abs(binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// TestHostileFiles runs a sample of the hostile files; scripts/hostile runs all.
func TestHostileFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("runs lenskit 60 times")
	}
	binary := ownBinary(t)
	scratch := t.TempDir()
	seeds := filepath.Join(scratch, "seeds")
	if err := os.Mkdir(seeds, 0o755); err != nil {
		t.Fatal(err)
	}
	all, err := hostile.Corpus(binary, seeds, filepath.Join("..", ".."), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	// as many of each kind of file, none of those that take seconds where all is well
	kinds := map[string][]*hostile.Case{}
	var order []string
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(all)) {
		if k := &all[i]; !k.Slow && !k.Runs {
			if kinds[k.Kind] == nil {
				order = append(order, k.Kind)
			}
			kinds[k.Kind] = append(kinds[k.Kind], k)
		}
	}
	ran := 0
	for round := 0; ran < 60 && round < 60; round++ {
		for _, kind := range order {
			if round >= len(kinds[kind]) || ran == 60 {
				continue
			}
			ran++
			k := kinds[kind][round]
			var stop time.Duration
			if ran%12 == 0 {
				stop = 30 * time.Millisecond
			}
			o, err := k.Run(binary, seeds, scratch, stop)
			if err != nil {
				t.Fatal(err)
			}
			if len(o.Faults) > 0 {
				t.Errorf("%s (%s): %s\nlenskit %s", k.Name, k.Note, strings.Join(o.Faults, "; "), strings.Join(k.Args, " "))
			}
		}
	}
	if ran < 60 {
		t.Errorf("%d files, expected 60", ran)
	}
}

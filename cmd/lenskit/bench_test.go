package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"lenskit/internal/check"
)

// BenchmarkStartup is `lenskit eval` of the paper's set-up with the shipped decoder, from the start of the process to its
// end.
func BenchmarkStartup(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "lenskit")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Skipf("go build does not work here: %v: %s", err, out)
	}
	check.Measure(b, func() {
		cmd := exec.Command(bin, "eval", filepath.Join(check.Root(), "examples", "paper.yaml"))
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	})
}

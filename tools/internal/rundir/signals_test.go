//go:build linux || darwin

package rundir

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lenskit/internal/disk"
	"lenskit/tools/internal/term"
)

// childStage is the environment variable by which a test tells a process of its own what to be at when a signal comes, and
// childFolder where.
const childStage, childFolder = "LENSKIT_TEST_STAGE", "LENSKIT_TEST_FOLDER"

// TestSignalChild is the process that the tests of signals stop. It does not look at its context.
func TestSignalChild(t *testing.T) {
	stage, dir := os.Getenv(childStage), os.Getenv(childFolder)
	if stage == "" {
		t.Skip("is run by another test")
	}
	ctx, stop := term.WithSignals(context.Background())
	defer stop()
	if _, err := Own(ctx, dir); err != nil {
		t.Fatal(err)
	}
	c, err := NewCheckpoint(dir, "key")
	if err != nil {
		t.Fatal(err)
	}
	said := func(io.Writer) error {
		os.Stdout.WriteString("at it\n")
		time.Sleep(time.Minute)
		return nil
	}
	switch stage {
	case "set-up":
		disk.Write(filepath.Join(dir, "half"), said)
	case "search":
		if err := c.Save(map[string]int{"step": 7}); err != nil {
			t.Fatal(err)
		}
		term.GuardOf(ctx).During(func() error {
			if err := c.last(); err != nil {
				return err
			}
			return StateSaved(ctx, c.Path, false)
		})
		said(nil)
	case "chains":
		term.GuardOf(ctx).Trusting()
		os.Stdout.WriteString("at it\n")
		<-ctx.Done()
		time.Sleep(2 * term.Grace)
		os.Exit(17)
	}
}

// Work that does not see that it is to stop is ended: with nothing said to be saved during its set-up, with its last state
// once there is one; work that stops by itself is left to that.
func TestSignalsEndWhatDoesNotSeeThem(t *testing.T) {
	for _, c := range []struct {
		stage string
		sig   os.Signal
		code  int
		says  string
	}{
		{"set-up", syscall.SIGTERM, 128 + 15, "stopped by signal: terminated before there was anything to save: run the same command again"},
		{"set-up", syscall.SIGUSR1, 128 + int(syscall.SIGUSR1), "before there was anything to save"},
		{"set-up", os.Interrupt, 130, "before there was anything to save"},
		{"search", syscall.SIGTERM, term.ExitInterrupted, "state saved in"},
		{"chains", syscall.SIGTERM, 17, ""},
	} {
		dir := filepath.Join(t.TempDir(), "run")
		cmd := exec.Command(os.Args[0], "-test.run=^TestSignalChild$")
		cmd.Env = append(os.Environ(), childStage+"="+c.stage, childFolder+"="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "at it\n" {
			t.Fatalf("%s: got %q, %v: %s", c.stage, line, err, &stderr)
		}
		begun := time.Now()
		cmd.Process.Signal(c.sig)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(stderr.String(), c.says) || strings.Count(stderr.String(), "\n") > 1 {
			t.Errorf("%s, %v: got exit code %d and %q, want %d and %q", c.stage, c.sig, code, &stderr, c.code, c.says)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%s, %v: took %v", c.stage, c.sig, took)
		}
		if c.stage == "chains" {
			continue
		}
		list, _ := os.ReadDir(dir)
		if saved := c.stage == "search"; saved != (len(list) == 1) || !saved && Exists(dir) {
			t.Errorf("%s, %v: left %v", c.stage, c.sig, list)
		}
		if c.stage == "search" {
			check, err := NewCheckpoint(dir, "key")
			if err != nil {
				t.Fatal(err)
			}
			var state map[string]int
			if found, notice, err := check.Load(&state); !found || err != nil || state["step"] != 7 {
				t.Errorf("the state saved is %v (%q, %v)", state, notice, err)
			}
		}
	}
}

package rundir

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"lenskit/internal/disk"
	"lenskit/tools/internal/term"
)

func TestACheckpointOfAnotherRunIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	a, err := NewCheckpoint(dir, "one", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Force(map[string]int{"x": 1}); err != nil {
		t.Fatal(err)
	}
	var v map[string]int
	if found, notice, err := a.Load(&v); !found || notice != "" || err != nil || v["x"] != 1 {
		t.Errorf("own checkpoint: got %v, %q, %v", found, notice, err)
	}
	b, err := NewCheckpoint(dir, "one", 2)
	if err != nil {
		t.Fatal(err)
	}
	if found, notice, err := b.Load(&v); found || notice == "" || err != nil {
		t.Errorf("another run's: got %v, %q, %v", found, notice, err)
	}
	if err := os.WriteFile(a.Path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if found, notice, err := a.Load(&v); found || notice == "" || err != nil {
		t.Errorf("a damaged one: got %v, %q, %v", found, notice, err)
	}
}

func TestAFileIsWrittenWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	fault := errors.New("fault")
	err := WriteAtomic(path, func(w io.Writer) error {
		io.WriteString(w, "new")
		return fault
	})
	if !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("got %q, want the old file", b)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("left %v", list)
	}
	for _, taken := range []string{os.DevNull, dir} {
		if err := WriteAtomic(taken, func(io.Writer) error { return nil }); err == nil || term.ExitCode(err) != term.ExitBadInput {
			t.Errorf("in place of %s: got %v, want bad input", taken, err)
		}
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Fatalf("%s is %v, %v", os.DevNull, info, err)
	}
	if err := error(&disk.WriteError{Path: "x", Err: syscall.ENOSPC}); err.Error() != "x: cannot be written: the disk is full" {
		t.Errorf("got %v", err)
	}
}

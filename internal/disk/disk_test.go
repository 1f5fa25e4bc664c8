//go:build linux || darwin

package disk

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOnlyRegularFilesAreOpened(t *testing.T) {
	dir := t.TempDir()
	file, fifo, link := filepath.Join(dir, "file"), filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link} {
		if data, err := Read(path, 3); err != nil || string(data) != "abc" {
			t.Errorf("%s: got %q, %v", path, data, err)
		}
	}
	for path, want := range map[string]string{
		fifo: "is not a regular file (is a pipe)", "/dev/zero": "is not a regular file (is a device)", dir: "is a folder", filepath.Join(dir, "none"): "no such file",
	} {
		begun := time.Now()
		_, err := Read(path, 10)
		var r *ReadError
		if !errors.As(err, &r) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
		if time.Since(begun) > time.Second {
			t.Errorf("%s: took %v", path, time.Since(begun))
		}
	}
	if _, err := Read(file, 2); err == nil || !strings.Contains(err.Error(), "found 3 bytes, of which at most 2 bytes are read") {
		t.Errorf("got %v", err)
	}
	// of "abc", from coreutils' sha256sum
	if sum, err := Sum(link); err != nil || sum != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" || SumOf([]byte("abc")) != sum {
		t.Errorf("got %s, %v", sum, err)
	}
}

func TestReadAllTakesWhatThereIs(t *testing.T) {
	text := strings.Repeat("x", 5000)
	for _, size := range []int64{0, 10, 4999, 5000, 5001, 1 << 20} {
		if got, err := ReadAll(strings.NewReader(text), size, 6000); err != nil || string(got) != text {
			t.Errorf("size %d: got %d bytes, %v", size, len(got), err)
		}
		if _, err := ReadAll(strings.NewReader(text), size, 4999); err == nil {
			t.Errorf("size %d: got more than the limit", size)
		}
	}
}

func put(text string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
}

func TestWriteKeepsModesAndLinks(t *testing.T) {
	dir := t.TempDir()
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	fresh, kept, link := filepath.Join(dir, "fresh"), filepath.Join(dir, "kept"), filepath.Join(dir, "link")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("kept", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fresh, link} {
		if err := Write(path, put("new")); err != nil {
			t.Fatal(err)
		}
	}
	for path, mode := range map[string]os.FileMode{fresh: 0o640, kept: 0o600, link: 0o777 | os.ModeSymlink} {
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: got %v, %v, want %v", path, info, err, mode)
		}
		if text, _ := os.ReadFile(path); string(text) != "new" {
			t.Errorf("%s: got %q", path, text)
		}
	}
	if err := Write(os.DevNull, put("")); err == nil || !strings.Contains(err.Error(), "cannot be written: is not a regular file") {
		t.Errorf("got %v", err)
	}
	failed := errors.New("half way")
	if err := Write(fresh, func(w io.Writer) error { put("torn")(w); return failed }); err != failed {
		t.Errorf("got %v", err)
	}
	if text, _ := os.ReadFile(fresh); string(text) != "new" {
		t.Errorf("got %q", text)
	}
	if list, _ := os.ReadDir(dir); len(list) != 3 {
		t.Errorf("got %v", list)
	}
	if err := Write("/dev/full", put("x")); err == nil {
		t.Error("a device was replaced")
	}
}

// What a dead writer left is taken by the next of the same file, and swept away; a live one's is neither.
func TestLeftoversOfDeadWriters(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	left := filepath.Join(dir, ".out"+temporaryMark)
	for range 3 {
		if err := os.WriteFile(left, []byte("a longer text than what comes"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Write(path, put("short")); err != nil {
			t.Fatal(err)
		}
	}
	if text, _ := os.ReadFile(path); string(text) != "short" {
		t.Errorf("got %q", text)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("got %v", list)
	}
	live, err := temporary(path)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if err := os.WriteFile(filepath.Join(dir, ".other"+temporaryMark+"3"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	Sweep(dir)
	if err := Write(path, put("beside the live one")); err != nil {
		t.Fatal(err)
	}
	list, _ := os.ReadDir(dir)
	if len(list) != 2 || list[0].Name() != filepath.Base(live.Name()) {
		t.Errorf("got %v", list)
	}
}

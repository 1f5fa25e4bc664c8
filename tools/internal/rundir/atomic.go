package rundir

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"unicode/utf8"

	"lenskit/internal/disk"
	"lenskit/tools/internal/term"
)

// WriteAtomic writes path whole or not at all, as disk.Write does. An error names the path and says when the disk is full.
func WriteAtomic(path string, write func(w io.Writer) error) error {
	err := disk.Write(path, write)
	var w *disk.WriteError
	var f *term.Failure
	if err == nil || errors.As(err, &w) || errors.As(err, &f) {
		return err
	}
	return fmt.Errorf("%s: cannot be written: %w", path, err)
}

// ReadFile reads a regular file of at most limit bytes; want says in messages what it should be.
func ReadFile(path, want string, limit int64) ([]byte, error) {
	data, err := disk.Read(path, limit)
	if err != nil {
		return nil, term.BadInput("%w, expected %s", err, want)
	}
	return data, nil
}

// WithoutBOM takes away the byte order mark that editors of some systems put before UTF-8.
func WithoutBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// Open makes the folder dir, if need be, and proves that files can be made in it, so that no work starts whose
// result has no place. undo takes away again the folders that it made, as far as they are still empty.
func Open(dir string) (undo func(), err error) {
	var made []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); err == nil || d == filepath.Dir(d) {
			break
		}
		made = append(made, d)
	}
	undo = func() {
		for _, d := range made {
			if os.Remove(d) != nil {
				return
			}
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		undo()
		return nil, term.BadInput("%s: output folder cannot be made: %s", dir, term.Reason(err))
	}
	if _, err := disk.Now(dir); err != nil {
		undo()
		return nil, term.BadInput("%s: output folder is not writable: %s", dir, term.Reason(err))
	}
	disk.Sweep(dir)
	return undo, nil
}

// Own is Open for the folder of a run, which then belongs to this process until leave is called.
func Own(ctx context.Context, dir string) (leave func(), err error) {
	undo, err := Open(dir)
	if err != nil {
		return nil, err
	}
	release, err := disk.Lock(dir)
	if err != nil {
		undo()
		return nil, err
	}
	leave = sync.OnceFunc(func() {
		release()
		undo()
	})
	term.GuardOf(ctx).OnExit(leave)
	return leave, nil
}

// WriteJSON writes v to path, atomically, indented.
func WriteJSON(path string, v any) error {
	return WriteAtomic(path, func(w io.Writer) error { return EncodeJSON(w, v) })
}

// EncodeJSON writes v to w, indented, with a newline at the end and no character in its strings that a terminal acts on.
func EncodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(Escaped{w})
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Escaped writes JSON with the control characters that JSON lets stand, U+007F to U+009F, as escapes. The encoder gives it
// whole documents.
type Escaped struct{ W io.Writer }

var jsonControl = regexp.MustCompile("[\u007f-\u009f]")

func (e Escaped) Write(p []byte) (int, error) {
	_, err := e.W.Write(jsonControl.ReplaceAllFunc(p, func(c []byte) []byte {
		r, _ := utf8.DecodeRune(c)
		return fmt.Appendf(nil, `\u%04x`, r)
	}))
	return len(p), err
}

// Prepare is Open for those who leave the folder where it is.
func Prepare(dir string) error {
	_, err := Open(dir)
	return err
}

// SameFile tells whether two paths name one existing file.
func SameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// Input is a file that a run has read.
type Input struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

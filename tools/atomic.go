package tools

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
)

// writeAtomic writes path whole or not at all, as disk.Write does. An error names the path and says when the disk is full.
func writeAtomic(path string, write func(w io.Writer) error) error {
	err := disk.Write(path, write)
	var w *disk.WriteError
	var f *failure
	if err == nil || errors.As(err, &w) || errors.As(err, &f) {
		return err
	}
	return fmt.Errorf("%s: cannot be written: %w", path, err)
}

// readFile reads a regular file of at most limit bytes; want says in messages what it should be.
func readFile(path, want string, limit int64) ([]byte, error) {
	data, err := disk.Read(path, limit)
	if err != nil {
		return nil, badInput("%w, expected %s", err, want)
	}
	return data, nil
}

// withoutBOM takes away the byte order mark that editors of some systems put before UTF-8.
func withoutBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// openFolder makes the folder dir, if need be, and proves that files can be made in it, so that no work starts whose
// result has no place. undo takes away again the folders that it made, as far as they are still empty.
func openFolder(dir string) (undo func(), err error) {
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
		return nil, badInput("%s: output folder cannot be made: %s", dir, reason(err))
	}
	if _, err := disk.Now(dir); err != nil {
		undo()
		return nil, badInput("%s: output folder is not writable: %s", dir, reason(err))
	}
	disk.Sweep(dir)
	return undo, nil
}

// ownFolder is openFolder for the folder of a run, which then belongs to this process until leave is called.
func ownFolder(ctx context.Context, dir string) (leave func(), err error) {
	undo, err := openFolder(dir)
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
	guardOf(ctx).onExit(leave)
	return leave, nil
}

// writeJSON writes v to path, atomically, indented.
func writeJSON(path string, v any) error {
	return writeAtomic(path, func(w io.Writer) error { return encodeJSON(w, v) })
}

// encodeJSON writes v to w, indented, with a newline at the end and no character in its strings that a terminal acts on.
func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(escaped{w})
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// escaped writes JSON with the control characters that JSON lets stand, U+007F to U+009F, as escapes. The encoder gives it
// whole documents.
type escaped struct{ w io.Writer }

var jsonControl = regexp.MustCompile("[\u007f-\u009f]")

func (e escaped) Write(p []byte) (int, error) {
	_, err := e.w.Write(jsonControl.ReplaceAllFunc(p, func(c []byte) []byte {
		r, _ := utf8.DecodeRune(c)
		return fmt.Appendf(nil, `\u%04x`, r)
	}))
	return len(p), err
}

// prepareFolder is openFolder for those who leave the folder where it is.
func prepareFolder(dir string) error {
	_, err := openFolder(dir)
	return err
}

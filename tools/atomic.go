package tools

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// writeAtomic writes path through a temporary file in the same folder that takes its name only when all is on disk: a
// reader sees the old file or the new one, never a part. The error names the path and says when the disk is full.
func writeAtomic(path string, write func(w io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return unwritable(path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<16)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return unwritable(path, err)
	}
	if d, derr := os.Open(filepath.Dir(path)); derr == nil {
		d.Sync() // so that the name survives a crash; some file systems cannot, and the data is safe without
		d.Close()
	}
	return nil
}

// unwritable is the error of a file that could not be written.
func unwritable(path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: cannot be written: the disk is full", path)
	}
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return badInput("%s: cannot be written: %s", path, reason(err))
	case errors.As(err, &l):
		return badInput("%s: cannot be written: %s", path, reason(l.Err))
	}
	return fmt.Errorf("%s: cannot be written: %w", path, err)
}

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
	if err := os.MkdirAll(dir, 0o755); err != nil {
		undo()
		return nil, badInput("%s: output folder cannot be made: %s", dir, reason(err))
	}
	f, err := os.CreateTemp(dir, ".lenskit-*")
	if err != nil {
		undo()
		return nil, badInput("%s: output folder is not writable: %s", dir, reason(err))
	}
	f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return nil, badInput("%s: output folder is not writable: %s", dir, reason(err))
	}
	return undo, nil
}

// writeJSON writes v to path, atomically, indented.
func writeJSON(path string, v any) error {
	return writeAtomic(path, func(w io.Writer) error { return encodeJSON(w, v) })
}

// encodeJSON writes v to w, indented, with a newline at the end.
func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func itoa(v int64) string { return strconv.FormatInt(v, 10) }

// prepareFolder is openFolder for those who leave the folder where it is.
func prepareFolder(dir string) error {
	_, err := openFolder(dir)
	return err
}

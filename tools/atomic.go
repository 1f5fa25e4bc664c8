package tools

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// writeAtomic writes path through a temporary file in the same folder that takes its name only when all is on disk: a
// reader sees the old file or the new one, never a part. The error names the path and says when the disk is full.
func writeAtomic(path string, write func(w io.Writer) error) (err error) {
	if err := checkTarget(path); err != nil {
		return err
	}
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

// checkTarget tells whether a file may take the name path: nothing stands there, or a file that it may replace. A device
// or a pipe would be lost.
func checkTarget(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil || info.Mode().IsRegular():
		return nil
	case info.IsDir():
		return badInput("%s: cannot be written: is a folder", path)
	}
	return badInput("%s: cannot be written: is not a regular file", path)
}

// readFile reads a file, or a pipe, of at most limit bytes; want says in messages what it should be.
func readFile(path, want string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, badInput("%s: %s", path, reason(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, badInput("%s: is a folder, expected %s", path, want)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, badInput("%s: %s", path, reason(err))
	}
	if int64(len(text)) > limit {
		return nil, badInput("%s: found more than %d MB, expected %s of at most that", path, limit>>20, want)
	}
	return text, nil
}

// withoutBOM takes away the byte order mark that editors of some systems put before UTF-8.
func withoutBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

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

// prepareFolder is openFolder for those who leave the folder where it is.
func prepareFolder(dir string) error {
	_, err := openFolder(dir)
	return err
}

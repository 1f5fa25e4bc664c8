package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// WriteError is the error of a file that could not be written.
type WriteError struct {
	Path string
	Err  error
}

func (e *WriteError) Error() string { return e.Path + ": cannot be written: " + Reason(e.Err) }

func (e *WriteError) Unwrap() error { return e.Err }

// Full tells whether the file was not written for want of room.
func (e *WriteError) Full() bool { return full(e.Err) }

// Write writes path through a temporary file in the same folder that takes its name only when all is on disk: a reader
// sees the old file or the new one, never a part. A link is followed and stays; a file that is replaced leaves its mode;
// a new one has what the umask leaves of 0666; a folder, pipe or device is not replaced. Errors of the file system are
// of the type WriteError, those of write itself come back as they are.
func Write(path string, write func(w io.Writer) error) (err error) {
	place, mode, err := target(path)
	if err != nil {
		return &WriteError{path, err}
	}
	f, err := temporary(place)
	if err != nil {
		return &WriteError{path, err}
	}
	name := f.Name()
	live.Store(name, true)
	defer live.Delete(f.Name())
	defer func() {
		if err != nil && name != "" {
			os.Remove(name)
			f.Close()
		}
	}()
	out := &watched{w: f}
	w := bufio.NewWriterSize(out, 1<<16)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if out.err != nil {
		return &WriteError{path, out.err}
	}
	if err != nil {
		return err
	}
	if mode != 0 {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(name, place)
	}
	if err != nil {
		return &WriteError{path, err}
	}
	name = "" // another may take it now
	if err = f.Close(); err != nil {
		return &WriteError{path, err}
	}
	if d, derr := os.Open(filepath.Dir(place)); derr == nil {
		d.Sync() // so that the name survives a crash; some file systems cannot, and the data is safe without
		d.Close()
	}
	return nil
}

// live are the names of the temporary files that this process is writing.
var live sync.Map

// Discard removes the temporary files that this process is writing. It is for one that is about to end.
func Discard() {
	live.Range(func(name, _ any) bool {
		os.Remove(name.(string))
		return true
	})
}

// watched remembers the first error of writing to w.
type watched struct {
	w   io.Writer
	err error
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil && w.err == nil {
		w.err = err
	}
	return n, err
}

// CheckTarget tells whether Write may give a file the name path: nothing stands there, or a file that it may replace.
func CheckTarget(path string) error {
	if _, _, err := target(path); err != nil {
		return &WriteError{path, err}
	}
	return nil
}

// target is the place that path stands for once links are followed, and the mode of the file there; 0 where there is
// none.
func target(path string) (string, fs.FileMode, error) {
	if path == "" {
		return "", 0, errors.New("found no name")
	}
	for range 40 {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return path, 0, nil
		case err != nil:
			return "", 0, err
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return "", 0, err
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(path), to)
			}
			path = to
		default:
			if info.IsDir() {
				return "", 0, errors.New("is a folder")
			}
			return path, info.Mode().Perm(), Regular(info)
		}
	}
	return "", 0, errors.New("too many links")
}

// Temporary files are named after the file whose content they will be, with one of a few endings: a run that died leaves
// at most that many, and the next one that writes the same file takes them. A live writer holds a lock on its own.
const (
	temporaryMark  = ".lenskit-tmp"
	temporarySlots = 16
)

// temporary opens an empty, locked temporary file for the file path. Its name goes away by a rename or by os.Remove.
func temporary(path string) (*os.File, error) {
	dir, base := filepath.Split(path)
	if len(base) > 200 {
		base = base[:160] + SumOf([]byte(base))[:16]
	}
	for slot := range temporarySlots {
		name := fmt.Sprintf("%s.%s%s%d", dir, base, temporaryMark, slot)
		if slot == 0 {
			name = dir + "." + base + temporaryMark
		}
		removeUnlocked(name)
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		switch {
		case errors.Is(err, fs.ErrExist):
			continue
		case err != nil:
			return nil, err
		}
		ours, err := lockFile(f)
		if ours && sameFile(f, name) { // and not swept away before it was locked
			return f, nil
		}
		f.Close()
		if err != nil { // no locks on this file system: a name that nobody else takes
			os.Remove(name)
			return os.CreateTemp(filepath.Dir(path), "."+base+temporaryMark+"-*")
		}
	}
	return nil, errors.New("other processes are writing it")
}

// sameFile tells whether the open file f still has the name.
func sameFile(f *os.File, name string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Lstat(name)
	return err1 == nil && err2 == nil && a.Mode().IsRegular() && os.SameFile(a, b)
}

// Sweep removes from dir the temporary files that dead writers left.
func Sweep(dir string) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range list {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), ".") && strings.Contains(e.Name(), temporaryMark) {
			removeUnlocked(filepath.Join(dir, e.Name()))
		}
	}
}

// removeUnlocked removes the file name if nobody holds a lock on it.
func removeUnlocked(name string) {
	f, err := os.OpenFile(name, os.O_RDWR|nofollow, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if ours, _ := lockFile(f); ours && sameFile(f, name) {
		os.Remove(name)
	}
}

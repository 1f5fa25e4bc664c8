// Package disk opens files that may be anything and writes files that are whole: every reader of lenskit opens its input
// by Open or Read, every writer puts its output in place by Write, and a folder that is being written has one owner by
// Lock. It knows no file format.
package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"syscall"
)

// ReadError is the error of a file that cannot be read. Its text is the path, then why.
type ReadError struct {
	Path string
	Err  error
}

func (e *ReadError) Error() string { return e.Path + ": " + Reason(e.Err) }

func (e *ReadError) Unwrap() error { return e.Err }

// Reason is the text of an error of the file system without its operation and path.
func Reason(err error) string {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		err = p.Err
	case errors.As(err, &l):
		err = l.Err
	}
	if full(err) {
		return "the disk is full"
	}
	if errors.Is(err, syscall.EPIPE) {
		return "its reader has gone"
	}
	s := err.Error()
	if s == "" {
		return "unknown error"
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// Open opens the regular file path, or that to which it links, and tells its size. Anything else (a folder, a pipe, a
// device) is a ReadError, found without waiting for a writer at a pipe's other end.
func Open(path string) (*os.File, int64, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, 0, &ReadError{path, err}
	} else if err := Regular(info); err != nil {
		return nil, 0, &ReadError{path, err}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, 0, &ReadError{path, err}
	}
	// what the name stood for may have changed since it was looked at
	info, err := f.Stat()
	if err == nil {
		err = Regular(info)
	}
	if err != nil {
		f.Close()
		return nil, 0, &ReadError{path, err}
	}
	return f, info.Size(), nil
}

// Regular tells what a file is that is not a regular one; nil for one that is.
func Regular(info fs.FileInfo) error {
	kind := ""
	switch m := info.Mode(); {
	case m.IsRegular():
		return nil
	case m.IsDir():
		return errors.New("is a folder")
	case m&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case m&fs.ModeSocket != 0:
		kind = "a socket"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	default:
		return errors.New("is not a regular file")
	}
	return fmt.Errorf("is not a regular file (is %s)", kind)
}

// Read returns the bytes of the regular file path, of which there may be at most limit.
func Read(path string, limit int64) ([]byte, error) {
	f, size, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, &ReadError{path, tooLarge(size, limit)}
	}
	if size == 0 { // also files of the system that have no size and may not end
		return []byte{}, nil
	}
	data, err := ReadAll(f, size, limit)
	if err != nil {
		return nil, &ReadError{path, err}
	}
	return data, nil
}

// ReadAll returns all that r holds, of which about size bytes are expected and at most limit allowed. Where size is right
// it takes no more memory than that.
func ReadAll(r io.Reader, size, limit int64) ([]byte, error) {
	size = max(0, min(size, limit))
	data := make([]byte, 0, size+1)
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > limit:
			return nil, tooLarge(int64(len(data)), limit)
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, err
		case len(data) == cap(data):
			more := int64(cap(data)) + int64(cap(data))/4 + 512
			if limit < math.MaxInt64 {
				more = min(more, limit+1)
			}
			data = append(make([]byte, 0, more), data...)
		}
	}
}

func tooLarge(size, limit int64) error {
	return fmt.Errorf("found %s, of which at most %s are read", Size(size), Size(limit))
}

// Size writes a number of bytes for people.
func Size(n int64) string {
	if n < 10_000 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		if v /= 1000; v < 999.5 {
			break
		}
	}
	return fmt.Sprintf("%.*f %s", max(0, 2-int(math.Log10(v))), v, unit)
}

// Sum is the SHA-256 of the regular file path in hexadecimal.
func Sum(path string) (string, error) {
	f, size, err := Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if size > 0 {
		if _, err := io.Copy(h, f); err != nil {
			return "", &ReadError{path, err}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// SumOf is the SHA-256 of data in hexadecimal.
func SumOf(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

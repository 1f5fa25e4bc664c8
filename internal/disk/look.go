package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"path/filepath"
)

// Working tells which process works in the folder dir, nil where none does. It only looks: it writes nothing and is never in
// the way of a Lock.
func Working(dir string) *Busy {
	f, _, err := Open(filepath.Join(dir, lockName))
	if err != nil {
		return nil
	}
	defer f.Close()
	last := readOwner(f)
	if alive, elsewhere := lives(f, last, false); alive {
		return &Busy{dir, last, elsewhere}
	}
	return nil
}

// SumUntil is Sum of a file of at most limit bytes, given up with the cause of ctx when that is done.
func SumUntil(ctx context.Context, path string, limit int64) (string, error) {
	f, size, err := Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if size > 0 && size <= limit {
		size, err = io.Copy(h, io.LimitReader(&reading{ctx, f}, limit+1))
	}
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return "", &ReadError{path, err}
	case size > limit:
		return "", &ReadError{path, tooLarge(size, limit)}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// reading reads until ctx is done.
type reading struct {
	ctx context.Context
	r   io.Reader
}

func (r *reading) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lenskit/internal/disk"
)

// Sums are SHA-256 sums by file name.
type Sums map[string]string

// SumsOf are the sums of files in dir.
func SumsOf(dir string, names ...string) (Sums, error) {
	out := Sums{}
	for _, name := range names {
		sum, err := disk.Sum(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		out[name] = sum
	}
	return out, nil
}

// Hold tells whether the files are in dir as they were.
func (f Sums) Hold(dir string) bool {
	for name, sum := range f {
		if got, err := disk.Sum(filepath.Join(dir, name)); err != nil || got != sum {
			return false
		}
	}
	return len(f) > 0
}

func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// MoveAside moves files out of the way of results to a new folder in dir, and tells so; of none of them is there, it does
// nothing.
func MoveAside(dir string, names []string, why string) (notice string, err error) {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !Exists(filepath.Join(dir, name)) })
	if len(names) == 0 {
		return "", nil
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for n := 1; ; n++ {
		to := filepath.Join(dir, fmt.Sprintf("before-%d", n))
		err := os.Mkdir(to, 0o777)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		for i := 0; i < len(names) && err == nil; i++ {
			err = os.Rename(filepath.Join(dir, names[i]), filepath.Join(to, names[i]))
		}
		if err != nil {
			return "", &disk.WriteError{Path: to, Err: err}
		}
		list := strings.Join(names, ", ")
		if len(names) > 8 {
			list = fmt.Sprintf("%s and %d more files", strings.Join(names[:6], ", "), len(names)-6)
		}
		return fmt.Sprintf("%s: %s: %s moved to %s", dir, why, list, to), nil
	}
}

// Recorded tells whether inputs are among those of a record, by their sums.
func Recorded(inputs, rec []Input) bool {
	sums := map[string]bool{}
	for _, in := range rec {
		sums[in.SHA256] = true
	}
	return !slices.ContainsFunc(inputs, func(in Input) bool { return !sums[in.SHA256] })
}

package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"lenskit/internal/disk"
	"lenskit/onnx"
)

// ErrNoLibrary is the error of every call that needs the onnxruntime shared library where none can be used.
var ErrNoLibrary = errors.New("no usable onnxruntime library")

// libraryVariable names the environment variable that overrides the search for the library.
const libraryVariable = "LENSKIT_ONNXRUNTIME"

// minAPI is the version of onnxruntime's C interface that the Go wrapper asks for. Release 1.N offers versions up to N.
const minAPI = 24

// Library tells the path and the version of the onnxruntime shared library that sessions use, or would use. The path
// that LENSKIT_ONNXRUNTIME names is the only candidate when the variable is set; else the first usable library wins of
//
//	lib/ beside the running program, the program's own folder, and ../lib
//	lib/ of the repository that the program was built in
//	lenskit/ in the user's cache folder
//	the folders of the system's loader
//
// A library is usable when it can be loaded and is of release 1.24 or later. The error wraps ErrNoLibrary, is one line,
// and says what was found and the way out.
func Library() (path, version string, err error) {
	lib, err := runtimeLibrary()
	return lib.path, lib.version, err
}

// Providers lists the execution providers that the library was built with, such as CPUExecutionProvider and
// CUDAExecutionProvider. That one is listed does not say that its driver and device are there.
func Providers() ([]string, error) {
	lib, err := runtimeLibrary()
	if err != nil {
		return nil, err
	}
	return lib.providers, nil
}

// library is a loaded shared library.
type library struct {
	path, version string
	providers     []string
}

// search finds the library: env is the value of the variable, dirs are looked into in order, and loader are the names
// that the system's loader is asked for last.
func search(env string, dirs, loader []string, probe func(path string) (library, error)) (library, error) {
	const wayOut = "run `make onnxruntime`, or set " + libraryVariable + " to the path of the library, release 1.24 or later"
	if env != "" {
		f, _, err := disk.Open(env)
		if err != nil {
			return library{}, fmt.Errorf("onnx: %w: %s is %s: %s, expected the path of a shared library such as %s", ErrNoLibrary, libraryVariable, onnx.Quote(env), disk.Reason(errors.Unwrap(err)), libraryNames()[0])
		}
		f.Close()
		lib, err := probe(env)
		if err != nil {
			return library{}, fmt.Errorf("onnx: %w: %s is %q: %w", ErrNoLibrary, libraryVariable, env, err)
		}
		return lib, nil
	}
	var refused error // why the first library that is there cannot be used
	try := func(path string) (library, bool) {
		lib, err := probe(path)
		if err != nil && refused == nil {
			refused = fmt.Errorf("%s: %w", path, err)
		}
		return lib, err == nil
	}
	for _, dir := range dirs {
		for _, name := range libraryNames() {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
				continue
			}
			if lib, ok := try(path); ok {
				return lib, nil
			}
		}
	}
	found := refused
	for _, name := range loader {
		lib, err := probe(name)
		if err == nil {
			return lib, nil
		}
		var old *oldLibraryError
		if found == nil && errors.As(err, &old) {
			found = fmt.Errorf("%s: %w", name, err)
		}
	}
	if found != nil {
		return library{}, fmt.Errorf("onnx: %w: %w; %s", ErrNoLibrary, found, wayOut)
	}
	return library{}, fmt.Errorf("onnx: %w: no %s beside the program or in the system's library folders; %s", ErrNoLibrary, libraryNames()[0], wayOut)
}

// libraryNames are the file names of the library on this system, the one that `make onnxruntime` writes first.
func libraryNames() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{"onnxruntime.dll"}
	case "darwin":
		return []string{"libonnxruntime.dylib", "libonnxruntime.1.dylib"}
	}
	return []string{"libonnxruntime.so", "libonnxruntime.so.1"}
}

// libraryDirs are the folders that may hold the library.
func libraryDirs() []string {
	var dirs []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		dir := filepath.Dir(exe)
		dirs = append(dirs, filepath.Join(dir, "lib"), dir, filepath.Join(dir, "..", "lib"))
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		dirs = append(dirs, filepath.Join(filepath.Dir(file), "..", "..", "lib"))
	}
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, filepath.Join(cache, "lenskit"))
	}
	return dirs
}

// loaderNames are the names under which the system's loader may know the library. Homebrew's folders are not among
// those that the loader of macOS searches.
func loaderNames() []string {
	names := libraryNames()
	if runtime.GOOS == "darwin" {
		for _, dir := range []string{"/opt/homebrew/lib", "/usr/local/lib"} {
			names = append(names, filepath.Join(dir, names[0]))
		}
	}
	return names
}

// oldLibraryError is the error of a library that is too old for the wrapper.
type oldLibraryError struct{ version string }

func (e *oldLibraryError) Error() string {
	return fmt.Sprintf("is onnxruntime %s, expected 1.%d or later", e.version, minAPI)
}

// checkVersion tells whether a library of the given release has the interface that the wrapper asks for.
func checkVersion(version string) error {
	if releaseOf(version) < minAPI {
		return &oldLibraryError{version}
	}
	return nil
}

// releaseOf is N of a version 1.N.x, -1 for what is none.
func releaseOf(version string) int {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(minor)
	if major != "1" || err != nil {
		return -1
	}
	return n
}

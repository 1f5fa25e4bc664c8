package ort

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// needLibrary skips a test where onnxruntime is not there.
func needLibrary(t testing.TB) {
	t.Helper()
	if _, _, err := Library(); err != nil {
		t.Skip(err)
	}
}

// fakeLibrary writes an empty file that a fake probe takes for a library.
func fakeLibrary(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, libraryNames()[0])
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func TestLibraryIsSearchedInOrder(t *testing.T) {
	first, firstPath := fakeLibrary(t)
	second, secondPath := fakeLibrary(t)
	_, named := fakeLibrary(t)
	usable := func(path string) (library, error) { return library{path: path, version: "1.32.0"}, nil }
	oldAt := func(old string) func(string) (library, error) {
		return func(path string) (library, error) {
			if path == old {
				return library{}, checkVersion("1.23.2")
			}
			return usable(path)
		}
	}
	none := func(string) (library, error) { return library{}, errors.New("cannot be loaded: no such file") }
	for _, c := range []struct {
		name, env string
		dirs      []string
		probe     func(string) (library, error)
		want      string // the path chosen
		err       string // or a part of the error
	}{
		{"the first folder that has it", "", []string{t.TempDir(), first, second}, usable, firstPath, ""},
		{"a library that is too old is passed over", "", []string{first, second}, oldAt(firstPath), secondPath, ""},
		{"the variable comes first", named, []string{first}, usable, named, ""},
		{"the loader comes last", "", nil, usable, "loader-name", ""},
		{"the variable is not overruled", named, []string{first}, oldAt(named), "", "is onnxruntime 1.23.2, expected 1.24 or later"},
		{"the variable names nothing", filepath.Join(first, "missing"), []string{first}, usable, "", "expected the path of a shared library"},
		{"the variable names a folder", first, []string{first}, usable, "", "expected the path of a shared library"},
		{"nothing there", "", nil, none, "", "`make onnxruntime`"},
		{"only a broken one there", "", []string{first}, none, "", firstPath + ": cannot be loaded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lib, err := search(c.env, c.dirs, []string{"loader-name"}, c.probe)
			if c.err == "" {
				if err != nil || lib.path != c.want {
					t.Fatalf("got %q, %v, want %q", lib.path, err, c.want)
				}
				return
			}
			if !errors.Is(err, ErrNoLibrary) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want ErrNoLibrary with %q", err, c.err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the message has more than one line: %q", err)
			}
		})
	}
}

func TestVersionsBefore124AreRefused(t *testing.T) {
	for version, ok := range map[string]bool{
		"1.32.0": true, "1.24.4": true, "1.24": true, "1.30.0-dev": true,
		"1.23.2": false, "1.9.0": false, "0.30.0": false, "": false, "1": false, "2.0.0": false, "1.x": false,
	} {
		if err := checkVersion(version); (err == nil) != ok {
			t.Errorf("version %q: got %v, want usable = %v", version, err, ok)
		}
	}
}

func TestFilesThatAreNoLibraryAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.WriteFile(path, []byte("not a library"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := probeLibrary(path); err == nil || !strings.Contains(err.Error(), "cannot be loaded") {
		t.Errorf("text file: got %v, want an error that it cannot be loaded", err)
	}
	if _, err := probeLibrary(filepath.Join(t.TempDir(), "missing.so")); err == nil {
		t.Error("missing file: got no error")
	}
}

func TestLibraryTellsVersionAndProviders(t *testing.T) {
	needLibrary(t)
	path, version, err := Library()
	if err != nil || path == "" || checkVersion(version) != nil {
		t.Errorf("got %q, %q, %v, want a usable library", path, version, err)
	}
	list, err := Providers()
	if err != nil || !strings.Contains(strings.Join(list, " "), "CPUExecutionProvider") {
		t.Errorf("got providers %v, %v, want CPUExecutionProvider among them", list, err)
	}
}

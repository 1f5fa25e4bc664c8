package tools

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"lenskit/internal/check"
)

// program builds the command once for the tests of a package, below bin.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	path := filepath.Join(check.Root(), "bin", "test", filepath.Base(dir))
	out, err := exec.Command("go", "build", "-o", path, "lenskit/cmd/lenskit").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

// runCommand runs a command line of lenskit, as a process of its own, and returns its exit code and output.
func runCommand(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var out, msg bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &msg
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return code, out.String(), msg.String()
}

// mustRun is runCommand for a command that has to succeed.
func mustRun(t testing.TB, args ...string) string {
	t.Helper()
	code, out, err := runCommand(t, args...)
	if code != 0 {
		t.Fatalf("lenskit %s: exit %d: %s", strings.Join(args, " "), code, err)
	}
	return out
}

// fitTestModel is a small lens that a fit solves within a second.
const fitTestModel = `
data: {size: 48, pixel_scale: 0.1, noise: 0.05, psf: {gaussian: 0.1}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}}}
`

// fitTestMock simulates fitTestModel into dir and returns the config of the mock.
func fitTestMock(t testing.TB, dir string) string { return testMock(t, dir, fitTestModel) }

// testMock simulates a model into dir and returns the config of the mock.
func testMock(t testing.TB, dir, text string, flags ...string) string {
	t.Helper()
	model := filepath.Join(dir, "model.yaml")
	if err := os.WriteFile(model, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, append([]string{"mock", model, "-o", filepath.Join(dir, "mock.fits"), "--seed", "1", "--quiet"}, flags...)...)
	return filepath.Join(dir, "mock.yaml")
}

// surveyMocks simulates n small lenses into dir: m1.fits, m1.yaml and so on.
func surveyMocks(t testing.TB, dir string, n int) {
	t.Helper()
	model := filepath.Join(dir, "model.txt")
	text := `
data: {size: 24, pixel_scale: 0.2, noise: 0.05, psf: {gaussian: 0.2}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}}}
`
	if err := os.WriteFile(model, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		mustRun(t, "mock", model, "-o", filepath.Join(dir, fmt.Sprintf("m%d.fits", i)), "--seed", strconv.Itoa(i), "--quiet")
	}
}

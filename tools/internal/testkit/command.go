package testkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lenskit/internal/check"
)

// EvalJSON runs eval and reads what it wrote.
func EvalJSON(t *testing.T, args ...string) (out struct {
	LogLikelihood float64            `json:"log_likelihood"`
	ReducedChi2   float64            `json:"reduced_chi2"`
	Gradient      map[string]float64 `json:"gradient_log_likelihood"`
}) {
	t.Helper()
	text := MustRun(t, append([]string{"eval"}, args...)...)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

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

// RunCommand runs a command line of lenskit, as a process of its own, and returns its exit code and output.
func RunCommand(t testing.TB, args ...string) (code int, stdout, stderr string) {
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

// MustRun is RunCommand for a command that has to succeed.
func MustRun(t testing.TB, args ...string) string {
	t.Helper()
	code, out, err := RunCommand(t, args...)
	if code != 0 {
		t.Fatalf("lenskit %s: exit %d: %s", strings.Join(args, " "), code, err)
	}
	return out
}

//go:build unix

package hostile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"lenskit/internal/proc"
)

// What must hold of every case. The memory includes what onnxruntime takes for itself, 60 MB, and lenskit's own 20 MB.
const (
	MaxMessage = 2000             // bytes of a line on stderr
	MaxMemory  = int64(512) << 20 // beyond the size of the files
	MaxCPU     = 20 * time.Second
	MaxObey    = 2 * time.Second  // from a signal to the end, on an idle machine
	maxWall    = 15 * time.Second // on an idle machine
)

// Outcome is what a case came to.
type Outcome struct {
	Case   *Case
	Result *proc.Result
	Faults []string // empty: all that must hold holds
}

// Run lays out the case in a folder of its own under scratch, from the sound files in seeds, runs it and judges. stop sends
// a SIGTERM after that time, which must be obeyed; 0 sends none.
func (k *Case) Run(binary, seeds, scratch string, stop time.Duration) (*Outcome, error) {
	dir, err := os.MkdirTemp(scratch, "case-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	size, err := k.lay(seeds, dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, err)
	}
	if k.Slow {
		debug.FreeOSMemory()
	}
	slack := func(d time.Duration) time.Duration { return time.Duration(float64(d) * proc.Slack()) }
	obey := slack(MaxObey)
	cmd := proc.Command{Path: binary, Args: k.Args, Dir: dir, Wall: slack(maxWall), CPU: MaxCPU, Memory: size + MaxMemory}
	if k.Runs && stop == 0 {
		// it may go on from what it was given, and then takes its time
		stop = 1500 * time.Millisecond
	}
	if stop > 0 {
		cmd.Signal, cmd.After = syscall.SIGTERM, stop
		cmd.Wall = stop + 2*obey
	}
	r, err := proc.Run(cmd)
	if err != nil {
		return nil, err
	}
	o := &Outcome{Case: k, Result: r}
	fault := func(format string, a ...any) { o.Faults = append(o.Faults, fmt.Sprintf(format, a...)) }
	switch {
	case stop > 0 && r.Obeyed > obey:
		fault("SIGTERM after %v was not obeyed within %.1f s", stop, obey.Seconds())
	case r.Killed != "":
		fault("%s", r.Killed)
	case stop > 0 && (r.Signal == syscall.SIGTERM || r.Code == 75):
	case r.Signal != 0:
		fault("ended by signal %v", r.Signal)
	case r.Code != 0 && r.Code != 2 && r.Code != 3 && r.Code != 4:
		fault("exit code %d", r.Code)
	}
	if r.Memory > size+MaxMemory && r.Killed == "" {
		fault("took %d MiB for files of %d KiB", r.Memory>>20, size>>10)
	}
	if r.CPU > MaxCPU && r.Killed == "" {
		fault("used %v of the processor", r.CPU)
	}
	o.Faults = append(o.Faults, messages(r)...)
	if r.Code == 0 && k.Args[0] == "eval" && stop == 0 {
		if !json.Valid(r.Stdout) {
			fault("exit code 0 and a result that is no JSON")
		}
	}
	if left := leftovers(dir); left != "" && r.Killed == "" {
		fault("left the temporary file %s", left)
	}
	return o, nil
}

// messages are the faults of what a command wrote.
func messages(r *proc.Result) (faults []string) {
	fault := func(format string, a ...any) { faults = append(faults, fmt.Sprintf(format, a...)) }
	text := strings.TrimSuffix(string(r.Stderr), "\n")
	lines := strings.Split(text, "\n")
	switch {
	case strings.Contains(text, "goroutine ") || strings.Contains(text, ".go:"):
		fault("a stack trace of Go: %.150q", text)
	case strings.Contains(text, "internal error"):
		fault("%.200q", lines[0])
	case r.Code > 0 && r.Code != 75 && r.StderrSize == 0 && r.Code != 3:
		fault("exit code %d without a word", r.Code)
	case r.StderrSize > 2*MaxMessage:
		fault("%d bytes on stderr", r.StderrSize)
	default:
		for i, line := range lines {
			if len(line) > MaxMessage {
				fault("a line of %d bytes on stderr", len(line))
			}
			if r.Code != 0 && i > 0 && !(i == 1 && strings.HasPrefix(line, "hint: ")) {
				fault("%d lines on stderr: %.150q", len(lines), text)
				break
			}
		}
	}
	for name, b := range map[string][]byte{"stderr": r.Stderr, "stdout": r.Stdout} {
		if i := bytes.IndexFunc(b, func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' || c == 0x7f || c >= 0x80 && c < 0xa0 }); i >= 0 {
			fault("control character %#x on %s", b[i], name)
		}
		if !utf8.Valid(b) && len(b) < 4<<20 {
			fault("bytes that are no UTF-8 on %s", name)
		}
	}
	return faults
}

// leftovers is a temporary file of lenskit's that a run has left in its folder.
func leftovers(dir string) (found string) {
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".") && d.Type().IsRegular() && !strings.HasSuffix(d.Name(), ".lock") {
			found, _ = filepath.Rel(dir, path)
		}
		return nil
	})
	return found
}

// Keep writes the files of a case into the folder dir with a file COMMAND that tells how it is run, so that it can be
// looked at.
func (o *Outcome) Keep(seeds, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := o.Case.lay(seeds, dir); err != nil {
		return err
	}
	text := fmt.Sprintf("lenskit %s\n%s\n%s\n", strings.Join(o.Case.Args, " "), o.Case.Note, strings.Join(o.Faults, "\n"))
	return os.WriteFile(filepath.Join(dir, "COMMAND"), []byte(text), 0o644)
}

package term

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"lenskit/internal/disk"
	"lenskit/onnx/footprint"
)

// Exit codes of the command. 75 is EX_TEMPFAIL of sysexits.h: batch systems take it for "run me again".
const (
	ExitDone         = 0
	ExitUnexpected   = 1
	ExitBadInput     = 2
	ExitNotConverged = 3
	ExitNumerical    = 4
	ExitInterrupted  = 75
)

// Failure is an error that knows its exit code and may carry a hint.
type Failure struct {
	Code int
	err  error
	Hint string
}

func (f *Failure) Error() string { return f.err.Error() }

func (f *Failure) Unwrap() error { return f.err }

// Causes of a failure that a Go program may ask for with errors.Is.
var (
	ErrNotConverged = errors.New("not converged")
	ErrInterrupted  = errors.New("interrupted")
)

// Is lets errors.Is find the causes above by the exit code that stands for them.
func (f *Failure) Is(cause error) bool {
	return cause == ErrNotConverged && f.Code == ExitNotConverged || cause == ErrInterrupted && f.Code == ExitInterrupted
}

// BadInput makes an error of the user's doing: a file, key or flag that cannot be used. The message names the file, the
// line or key, what was found and what was expected.
func BadInput(format string, args ...any) error {
	return &Failure{Code: ExitBadInput, err: fmt.Errorf(format, args...)}
}

// NotConverged makes the error of a run that ended, and wrote its results, without an answer to trust.
func NotConverged(format string, args ...any) error {
	return &Failure{Code: ExitNotConverged, err: fmt.Errorf(format, args...)}
}

// Numerical makes the error of a computation that left the finite numbers.
// A network that takes too much memory is bad input wherever that is found.
func Numerical(format string, args ...any) error {
	f := &Failure{Code: ExitNumerical, err: fmt.Errorf(format, args...)}
	if errors.Is(f.err, footprint.ErrTooLarge) {
		f.Code = ExitBadInput
	}
	return f
}

// Interrupted makes the error of a run that was told to stop and has saved its state.
func Interrupted(format string, args ...any) error {
	return &Failure{Code: ExitInterrupted, err: fmt.Errorf(format, args...)}
}

// WithHint adds a second line to err that says what to do. A nil err stays nil.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Failure{Code: ExitCode(err), err: err, Hint: fmt.Sprintf(format, args...)}
}

// AsBadInput gives err the exit code of bad input, unless it already carries a code. A nil err stays nil.
func AsBadInput(err error) error {
	var f *Failure
	var w *disk.WriteError
	if err == nil || errors.As(err, &f) || errors.As(err, &w) {
		return err
	}
	return &Failure{Code: ExitBadInput, err: err}
}

// ExitCode tells the exit code of err.
func ExitCode(err error) int {
	var f *Failure
	var r *disk.ReadError
	var w *disk.WriteError
	var b *disk.Busy
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &f):
		return f.Code
	case errors.As(err, &r):
		return ExitBadInput
	case errors.As(err, &w):
		if w.Full() || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EPIPE) {
			return ExitUnexpected
		}
		return ExitBadInput
	case errors.Is(err, footprint.ErrTooLarge):
		return ExitBadInput
	case errors.As(err, &b):
		if b.Elsewhere { // which may be gone already
			return ExitInterrupted
		}
		return ExitBadInput
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitUnexpected
}

// Report writes err to w: one line, and the hint if there is one, else the warnings that were held.
func Report(w io.Writer, err error, held ...string) {
	fmt.Fprintf(w, "lenskit: %s\n", OneLine(err.Error()))
	var f *Failure
	for e := err; errors.As(e, &f); e = f.err {
		if f.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", OneLine(f.Hint))
			return
		}
	}
	if len(held) > 0 {
		fmt.Fprintf(w, "hint: %s\n", OneLine(strings.Join(held, "; ")))
	}
}

// LongestLine is the number of bytes that a line of a message may have.
const LongestLine = 1600

// packageNames is what the errors of lenskit's packages begin with, within the errors of others too.
var packageNames = regexp.MustCompile(`(^|[:;,] |\()(?:(?:adjoint|physics|samplers|onnx: load|onnx: read|onnx): )+`)

// Plain leaves the names of lenskit's packages out of a message: they tell programmers where it is from, and users nothing.
func Plain(s string) string { return packageNames.ReplaceAllString(s, "$1") }

// OneLine makes a message fit for a terminal and a log: one line, no control characters, no names of packages, and of a long
// one the beginning and the end.
func OneLine(s string) string {
	const head, tail = LongestLine * 3 / 4, LongestLine / 4
	s = Plain(strings.TrimSpace(s))
	if cut := len(s) - head - tail; cut > 100 {
		s = strings.ToValidUTF8(s[:head], "") + fmt.Sprintf(" … (%d bytes left out) … ", cut) + strings.ToValidUTF8(s[len(s)-tail:], "")
	}
	return Visible(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " "))
}

// Visible writes the characters of s that a terminal would act on, or not show, as Go writes them in a string.
func Visible(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, "\\x%02x", s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// Shown is a name that a file gives, fit for a message or a table: without control characters and of at most 80.
func Shown(name string) string {
	if r := []rune(name); len(r) > 80 {
		name = string(r[:60]) + "…" + string(r[len(r)-16:])
	}
	return Visible(name)
}

// Reason is the cause of a file error without the operation and the path.
func Reason(err error) string { return disk.Reason(err) }

package tools

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
	"lenskit/onnx"
)

// Exit codes of the command. 75 is EX_TEMPFAIL of sysexits.h: batch systems take it for "run me again".
const (
	exitDone         = 0
	exitUnexpected   = 1
	exitBadInput     = 2
	exitNotConverged = 3
	exitNumerical    = 4
	exitInterrupted  = 75
)

// failure is an error that knows its exit code and may carry a hint.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// badInput makes an error of the user's doing: a file, key or flag that cannot be used. The message names the file, the
// line or key, what was found and what was expected.
func badInput(format string, args ...any) error {
	return &failure{code: exitBadInput, err: fmt.Errorf(format, args...)}
}

// notConverged makes the error of a run that ended, and wrote its results, without an answer to trust.
func notConverged(format string, args ...any) error {
	return &failure{code: exitNotConverged, err: fmt.Errorf(format, args...)}
}

// numerical makes the error of a computation that left the finite numbers.
// A network that takes too much memory is bad input wherever that is found.
func numerical(format string, args ...any) error {
	f := &failure{code: exitNumerical, err: fmt.Errorf(format, args...)}
	if errors.Is(f.err, onnx.ErrTooLarge) {
		f.code = exitBadInput
	}
	return f
}

// interrupted makes the error of a run that was told to stop and has saved its state.
func interrupted(format string, args ...any) error {
	return &failure{code: exitInterrupted, err: fmt.Errorf(format, args...)}
}

// withHint adds a second line to err that says what to do. A nil err stays nil.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &failure{code: exitCode(err), err: err, hint: fmt.Sprintf(format, args...)}
}

// asBadInput gives err the exit code of bad input, unless it already carries a code. A nil err stays nil.
func asBadInput(err error) error {
	var f *failure
	var w *disk.WriteError
	if err == nil || errors.As(err, &f) || errors.As(err, &w) {
		return err
	}
	return &failure{code: exitBadInput, err: err}
}

// exitCode tells the exit code of err.
func exitCode(err error) int {
	var f *failure
	var r *disk.ReadError
	var w *disk.WriteError
	var b *disk.Busy
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &f):
		return f.code
	case errors.As(err, &r):
		return exitBadInput
	case errors.As(err, &w):
		if w.Full() || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EPIPE) {
			return exitUnexpected
		}
		return exitBadInput
	case errors.Is(err, onnx.ErrTooLarge):
		return exitBadInput
	case errors.As(err, &b):
		if b.Elsewhere { // which may be gone already
			return exitInterrupted
		}
		return exitBadInput
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitUnexpected
}

// report writes err to w: one line, and the hint if there is one.
func report(w io.Writer, err error) {
	fmt.Fprintf(w, "lenskit: %s\n", oneLine(err.Error()))
	var f *failure
	for e := err; errors.As(e, &f); e = f.err {
		if f.hint != "" {
			fmt.Fprintf(w, "hint: %s\n", oneLine(f.hint))
			return
		}
	}
}

// longestLine is the number of bytes that a line of a message may have.
const longestLine = 1600

// packageNames is what the errors of lenskit's packages begin with, within the errors of others too.
var packageNames = regexp.MustCompile(`(^|[:;,] |\()(?:(?:adjoint|physics|samplers|onnx: load|onnx: read|onnx): )+`)

// plain leaves the names of lenskit's packages out of a message: they tell programmers where it is from, and users nothing.
func plain(s string) string { return packageNames.ReplaceAllString(s, "$1") }

// oneLine makes a message fit for a terminal and a log: one line, no control characters, no names of packages, and of a long
// one the beginning and the end.
func oneLine(s string) string {
	const head, tail = longestLine * 3 / 4, longestLine / 4
	s = plain(strings.TrimSpace(s))
	if cut := len(s) - head - tail; cut > 100 {
		s = strings.ToValidUTF8(s[:head], "") + fmt.Sprintf(" … (%d bytes left out) … ", cut) + strings.ToValidUTF8(s[len(s)-tail:], "")
	}
	return visible(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " "))
}

// visible writes the characters of s that a terminal would act on, or not show, as Go writes them in a string.
func visible(s string) string {
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

// shown is a name that a file gives, fit for a message or a table: without control characters and of at most 80.
func shown(name string) string {
	if r := []rune(name); len(r) > 80 {
		name = string(r[:60]) + "…" + string(r[len(r)-16:])
	}
	return visible(name)
}

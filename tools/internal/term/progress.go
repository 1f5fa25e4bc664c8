package term

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Progress tells on stderr how a run is getting on: a bar on a terminal, a plain line now and then otherwise, when quiet
// only what of the user's was lost or moved.
type Progress struct {
	w     io.Writer
	Quiet bool
	tty   bool

	Name        string
	Total       int
	Budget      bool // the total is the most that the stage may take, not what it will
	begun, last time.Time
	Marks       []paceMark
	from        int // evaluations at the stage's begin
	State       ProgressState
}

// ProgressState is what a run reports after a step.
type ProgressState struct {
	Step        int     // within the stage
	LogPost     float64 // the best so far; NaN: none yet
	ReducedChi2 float64 // of the same point; NaN: not known
	Evaluations int     // of the log density since the run began
	Text        string  // what else there is to tell
}

// paceMark is a step and when it was reached.
type paceMark struct {
	at   time.Time
	Step int
}

const (
	PlainEvery = 2 * time.Second        // between plain lines
	barEvery   = 100 * time.Millisecond // between drawings of the bar
	paceEvery  = time.Second            // between the marks that tell the pace,
	paceMarks  = 20                     // so many of them: what was slow before is forgotten
)

// NewProgress reports to w.
func NewProgress(w io.Writer, quiet bool) *Progress {
	p := &Progress{w: w, Quiet: quiet}
	if f, ok := w.(*os.File); ok && !quiet {
		p.tty = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// OrSilent is p, or a progress that writes nothing where p is nil. Whatever is public and takes a progress calls it first: a
// nil *Progress from outside the module asks for silence.
func (p *Progress) OrSilent() *Progress {
	if p == nil {
		return NewProgress(io.Discard, true)
	}
	return p
}

// wiped begins a line of a terminal anew.
const wiped = "\r\x1b[K"

// Say writes a notice.
func (p *Progress) Say(format string, args ...any) {
	if !p.Quiet {
		p.Warn(format, args...)
	}
}

// Warn writes a notice of what was lost or moved, when quiet as well: there at the end, where a command asked for that
// (HoldWarnings).
func (p *Progress) Warn(format string, args ...any) {
	line := OneLine(fmt.Sprintf(format, args...))
	if p.Quiet && warnings.keep(line) {
		return
	}
	p.wipe()
	fmt.Fprintf(p.w, "lenskit: %s\n", line)
}

// heldWarnings are those of quiet commands, which are told at the end: a failure is one line and at most a hint.
type heldWarnings struct {
	sync.Mutex
	holders int
	lines   []string
}

var warnings heldWarnings

func (h *heldWarnings) keep(line string) bool {
	h.Lock()
	defer h.Unlock()
	if h.holders > 0 {
		h.lines = append(h.lines, line)
	}
	return h.holders > 0
}

// HoldWarnings keeps the warnings of quiet progress until release, which gives them.
func HoldWarnings() (release func() []string) {
	warnings.Lock()
	warnings.holders++
	warnings.Unlock()
	return func() []string {
		warnings.Lock()
		defer warnings.Unlock()
		warnings.holders--
		lines := warnings.lines
		warnings.lines = nil
		return lines
	}
}

// wipe takes the bar off the terminal.
func (p *Progress) wipe() {
	if p.tty && p.Name != "" {
		io.WriteString(p.w, wiped)
	}
}

// Stage begins a stage of total steps; 0 where the number is not known. It ends the one before.
func (p *Progress) Stage(name string, total int) {
	p.End()
	p.Name, p.Total, p.Budget = name, total, false
	p.begun, p.last = time.Now(), time.Now()
	p.Marks = []paceMark{{p.begun, 0}}
	p.from = p.State.Evaluations
	p.State = ProgressState{LogPost: math.NaN(), ReducedChi2: math.NaN(), Evaluations: p.from}
}

// Step reports the state after a step of the stage.
func (p *Progress) Step(s ProgressState) {
	p.State = s
	if p.Quiet {
		return
	}
	now := time.Now()
	if now.Sub(p.Marks[len(p.Marks)-1].at) >= paceEvery {
		p.Marks = append(p.Marks, paceMark{now, s.Step})
		p.Marks = p.Marks[max(0, len(p.Marks)-paceMarks):]
	}
	every := PlainEvery
	if p.tty {
		every = barEvery
	}
	if now.Sub(p.last) < every {
		return
	}
	p.last = now
	if p.tty {
		io.WriteString(p.w, wiped+p.line(p.width()))
	} else {
		fmt.Fprintf(p.w, "lenskit: %s\n", p.plain())
	}
}

// End closes the stage with a line on what it reached.
func (p *Progress) End() {
	if p.Name == "" {
		return
	}
	p.wipe()
	if !p.Quiet && p.State.Step > 0 {
		fmt.Fprintf(p.w, "lenskit: %s: %s, %s\n", p.Name, strings.Join(append([]string{Counted(p.State.Step, "step")}, p.numbers()...), ", "), Seconds(time.Since(p.begun)))
	}
	p.Name = ""
}

// plain is a plain line about the stage under way.
func (p *Progress) plain() string {
	s := []string{fmt.Sprintf("%s: step %d", p.Name, p.State.Step)}
	if p.Total > 0 {
		s[0] += fmt.Sprintf(" of %s%d", p.atMost(), p.Total)
	}
	s = append(s, p.numbers()...)
	if left := p.left(); left != "" {
		s = append(s, left)
	}
	return strings.Join(s, ", ")
}

func (p *Progress) atMost() string {
	if p.Budget {
		return "at most "
	}
	return ""
}

// left is the time that the steps left take at the pace of the last ones.
func (p *Progress) left() string {
	steps, old := p.Total-p.State.Step, p.Marks[0]
	done, took := p.State.Step-old.Step, time.Since(old.at)
	if steps <= 0 || done <= 0 {
		return ""
	}
	return p.atMost() + Seconds(time.Duration(float64(took)*float64(steps)/float64(done))) + " left"
}

// width is the number of columns of the terminal.
func (p *Progress) width() int {
	if f, ok := p.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// line is the bar with as many of the stage's numbers as leave the last column of a terminal free, so that it never wraps.
func (p *Progress) line(width int) string {
	const cells = 10
	count := fmt.Sprint(p.State.Step)
	parts := []string{p.Name}
	if p.Total > 0 {
		full := min(cells, cells*p.State.Step/p.Total)
		parts = append(parts, strings.Repeat("█", full)+strings.Repeat("░", cells-full))
		count += fmt.Sprintf("/%d", p.Total)
	}
	parts = append(parts, count)
	if left := p.left(); left != "" {
		parts = append(parts, left)
	}
	parts = append(parts, p.numbers()...)
	s := ""
	for i, part := range parts {
		if i > 0 {
			part = "  " + part
		}
		if utf8.RuneCountInString(s+part) >= width {
			continue // a shorter one may still have room
		}
		s += part
	}
	return s
}

// numbers are log posterior, reduced χ², evaluations and their speed, as far as they are known.
func (p *Progress) numbers() []string {
	var s []string
	if p.State.Text != "" {
		s = append(s, p.State.Text)
	}
	if !math.IsNaN(p.State.LogPost) {
		s = append(s, "log posterior "+Decimals(p.State.LogPost, 2))
	}
	if !math.IsNaN(p.State.ReducedChi2) {
		s = append(s, "χ²/N "+Decimals(p.State.ReducedChi2, 4))
	}
	if p.State.Evaluations > 0 {
		text := Counted(p.State.Evaluations, "evaluation")
		// the speed of the first moments means nothing
		if n, t := p.State.Evaluations-p.from, time.Since(p.begun).Seconds(); n > 0 && t > 0.05 {
			text += fmt.Sprintf(" (%.*f/s)", max(0, 1-int(math.Log10(float64(n)/t))), float64(n)/t)
		}
		s = append(s, text)
	}
	return s
}

// Seconds writes a duration for people.
func Seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}

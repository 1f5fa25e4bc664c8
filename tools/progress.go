package tools

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// progress tells on stderr how a run is getting on: a bar on a terminal, a plain line now and then otherwise, when quiet
// only what of the user's was lost or moved.
type progress struct {
	w     io.Writer
	quiet bool
	tty   bool

	name        string
	total       int
	budget      bool // the total is the most that the stage may take, not what it will
	begun, last time.Time
	marks       []paceMark
	from        int // evaluations at the stage's begin
	state       progressState
}

// progressState is what a run reports after a step.
type progressState struct {
	Step        int     // within the stage
	LogPost     float64 // the best so far; NaN: none yet
	ReducedChi2 float64 // of the same point; NaN: not known
	Evaluations int     // of the log density since the run began
	Text        string  // what else there is to tell
}

// paceMark is a step and when it was reached.
type paceMark struct {
	at   time.Time
	step int
}

const (
	plainEvery = 2 * time.Second        // between plain lines
	barEvery   = 100 * time.Millisecond // between drawings of the bar
	paceEvery  = time.Second            // between the marks that tell the pace,
	paceMarks  = 20                     // so many of them: what was slow before is forgotten
)

// newProgress reports to w.
func newProgress(w io.Writer, quiet bool) *progress {
	p := &progress{w: w, quiet: quiet}
	if f, ok := w.(*os.File); ok && !quiet {
		p.tty = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// wiped begins a line of a terminal anew.
const wiped = "\r\x1b[K"

// say writes a notice.
func (p *progress) say(format string, args ...any) {
	if !p.quiet {
		p.warn(format, args...)
	}
}

// warn writes a notice of what was lost or moved, even when quiet.
func (p *progress) warn(format string, args ...any) {
	p.wipe()
	fmt.Fprintf(p.w, "lenskit: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// wipe takes the bar off the terminal.
func (p *progress) wipe() {
	if p.tty && p.name != "" {
		io.WriteString(p.w, wiped)
	}
}

// stage begins a stage of total steps; 0 where the number is not known. It ends the one before.
func (p *progress) stage(name string, total int) {
	p.end()
	p.name, p.total, p.budget = name, total, false
	p.begun, p.last = time.Now(), time.Now()
	p.marks = []paceMark{{p.begun, 0}}
	p.from = p.state.Evaluations
	p.state = progressState{LogPost: math.NaN(), ReducedChi2: math.NaN(), Evaluations: p.from}
}

// step reports the state after a step of the stage.
func (p *progress) step(s progressState) {
	p.state = s
	if p.quiet {
		return
	}
	now := time.Now()
	if now.Sub(p.marks[len(p.marks)-1].at) >= paceEvery {
		p.marks = append(p.marks, paceMark{now, s.Step})
		p.marks = p.marks[max(0, len(p.marks)-paceMarks):]
	}
	every := plainEvery
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

// end closes the stage with a line on what it reached.
func (p *progress) end() {
	if p.name == "" {
		return
	}
	p.wipe()
	if !p.quiet && p.state.Step > 0 {
		fmt.Fprintf(p.w, "lenskit: %s: %s, %s\n", p.name, strings.Join(append([]string{counted(p.state.Step, "step")}, p.numbers()...), ", "), seconds(time.Since(p.begun)))
	}
	p.name = ""
}

// plain is a plain line about the stage under way.
func (p *progress) plain() string {
	s := []string{fmt.Sprintf("%s: step %d", p.name, p.state.Step)}
	if p.total > 0 {
		s[0] += fmt.Sprintf(" of %s%d", p.atMost(), p.total)
	}
	s = append(s, p.numbers()...)
	if left := p.left(); left != "" {
		s = append(s, left)
	}
	return strings.Join(s, ", ")
}

func (p *progress) atMost() string {
	if p.budget {
		return "at most "
	}
	return ""
}

// left is the time that the steps left take at the pace of the last ones.
func (p *progress) left() string {
	steps, old := p.total-p.state.Step, p.marks[0]
	done, took := p.state.Step-old.step, time.Since(old.at)
	if steps <= 0 || done <= 0 {
		return ""
	}
	return p.atMost() + seconds(time.Duration(float64(took)*float64(steps)/float64(done))) + " left"
}

// width is the number of columns of the terminal.
func (p *progress) width() int {
	if f, ok := p.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// line is the bar with as many of the stage's numbers as leave the last column of a terminal free, so that it never wraps.
func (p *progress) line(width int) string {
	const cells = 10
	count := fmt.Sprint(p.state.Step)
	parts := []string{p.name}
	if p.total > 0 {
		full := min(cells, cells*p.state.Step/p.total)
		parts = append(parts, strings.Repeat("█", full)+strings.Repeat("░", cells-full))
		count += fmt.Sprintf("/%d", p.total)
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
func (p *progress) numbers() []string {
	var s []string
	if p.state.Text != "" {
		s = append(s, p.state.Text)
	}
	if !math.IsNaN(p.state.LogPost) {
		s = append(s, "log posterior "+decimals(p.state.LogPost, 2))
	}
	if !math.IsNaN(p.state.ReducedChi2) {
		s = append(s, "χ²/N "+decimals(p.state.ReducedChi2, 4))
	}
	if p.state.Evaluations > 0 {
		text := counted(p.state.Evaluations, "evaluation")
		// the speed of the first moments means nothing
		if n, t := p.state.Evaluations-p.from, time.Since(p.begun).Seconds(); n > 0 && t > 0.05 {
			text += fmt.Sprintf(" (%.*f/s)", max(0, 1-int(math.Log10(float64(n)/t))), float64(n)/t)
		}
		s = append(s, text)
	}
	return s
}

// seconds writes a duration for people.
func seconds(d time.Duration) string {
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

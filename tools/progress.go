package tools

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress tells on stderr how a run is getting on: a bar on a terminal, a plain line now and then otherwise, nothing
// when quiet.
type progress struct {
	w     io.Writer
	quiet bool
	bar   *progressbar.ProgressBar // of the stage; nil where there is no terminal
	tty   bool

	name        string
	total       int
	begun, last time.Time
	from        int // evaluations at the stage's begin
	state       progressState
}

// progressState is what a run reports after a step.
type progressState struct {
	Step        int     // within the stage
	LogPost     float64 // the best so far; NaN: none yet
	ReducedChi2 float64 // NaN: not known
	Evaluations int     // of the log density since the run began
	Text        string  // what else there is to tell
}

// plainEvery is the time between plain lines.
const plainEvery = 2 * time.Second

// newProgress reports to w.
func newProgress(w io.Writer, quiet bool) *progress {
	p := &progress{w: w, quiet: quiet}
	if f, ok := w.(*os.File); ok && !quiet {
		p.tty = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// say writes a notice.
func (p *progress) say(format string, args ...any) {
	if p.quiet {
		return
	}
	if p.bar != nil {
		p.bar.Clear()
	}
	fmt.Fprintf(p.w, "lenskit: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// stage begins a stage of about total steps; 0 where the number is not known. It ends the one before.
func (p *progress) stage(name string, total int) {
	p.end()
	p.name, p.total = name, total
	p.begun, p.last = time.Now(), time.Now()
	p.from = p.state.Evaluations
	p.state = progressState{LogPost: math.NaN(), ReducedChi2: math.NaN(), Evaluations: p.from}
	if p.quiet || !p.tty {
		return
	}
	n := total
	if n <= 0 {
		n = -1
	}
	p.bar = progressbar.NewOptions(n, progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(name), progressbar.OptionSetWidth(20),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
}

// step reports the state after a step of the stage.
func (p *progress) step(s progressState) {
	p.state = s
	if p.quiet {
		return
	}
	if p.bar != nil {
		p.bar.Describe(p.fitting())
		p.bar.Set(s.Step)
		return
	}
	if now := time.Now(); now.Sub(p.last) >= plainEvery {
		p.last = now
		fmt.Fprintf(p.w, "lenskit: %s\n", p.line())
	}
}

// end closes the stage with a line on what it reached.
func (p *progress) end() {
	if p.name == "" {
		return
	}
	if p.bar != nil {
		p.bar.Finish()
		p.bar = nil
	}
	if !p.quiet && p.state.Step > 0 {
		fmt.Fprintf(p.w, "lenskit: %s: %d steps, %s, %s\n", p.name, p.state.Step, p.numbers(), seconds(time.Since(p.begun)))
	}
	p.name = ""
}

// line is a plain line about the stage under way.
func (p *progress) line() string {
	s := fmt.Sprintf("%s: step %d", p.name, p.state.Step)
	if p.total > 0 {
		s += fmt.Sprintf(" of %d", p.total)
	}
	s += ", " + p.numbers()
	if left := p.total - p.state.Step; p.total > 0 && p.state.Step > 0 && left > 0 {
		s += ", " + seconds(time.Duration(float64(time.Since(p.begun))*float64(left)/float64(p.state.Step))) + " left"
	}
	return s
}

// fitting is the stage with as many of its numbers as leave room for the bar on the terminal.
func (p *progress) fitting() string {
	width := 80
	if f, ok := p.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			width = w
		}
	}
	const bar = 38 // columns of a short bar with its counts and times
	s := p.name + "  " + p.numbers()
	for utf8.RuneCountInString(s) > width-bar {
		i := strings.LastIndex(s, ", ")
		if i < 0 {
			return p.name
		}
		s = s[:i]
	}
	return s
}

// numbers are log posterior, reduced χ² and speed, as far as they are known.
func (p *progress) numbers() string {
	var s []string
	if p.state.Text != "" {
		s = append(s, p.state.Text)
	}
	if !math.IsNaN(p.state.LogPost) {
		s = append(s, fmt.Sprintf("log posterior %.2f", p.state.LogPost))
	}
	if !math.IsNaN(p.state.ReducedChi2) {
		s = append(s, fmt.Sprintf("χ²/N %.4f", p.state.ReducedChi2))
	}
	// the speed of the first moments means nothing
	if n, t := p.state.Evaluations-p.from, time.Since(p.begun).Seconds(); n > 0 && t > 0.05 {
		s = append(s, fmt.Sprintf("%.*f evaluations/s", max(0, 1-int(math.Log10(float64(n)/t))), float64(n)/t))
	}
	return strings.Join(s, ", ")
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

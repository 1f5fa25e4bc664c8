package term

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// The line of a bar is never as wide as the terminal, and loses the least of what it tells to narrow ones.
func TestTheBarFitsTheTerminal(t *testing.T) {
	p := NewProgress(&strings.Builder{}, false)
	p.Stage("full size, lens 1 of 2", 880)
	p.Budget = true
	p.begun = time.Now().Add(-10 * time.Second)
	p.Marks[0].at = p.begun
	p.State = ProgressState{Step: 313, LogPost: -123456.789, ReducedChi2: 1.00123, Evaluations: 12345}
	for width := 20; width <= 200; width++ {
		if s := p.line(width); utf8.RuneCountInString(s) >= width {
			t.Errorf("%d columns: %q", width, s)
		}
	}
	speed := regexp.MustCompile(`\(1[12]\d\d/s\)`)
	for width, want := range map[int]string{
		40:  "full size, lens 1 of 2  ███░░░░░░░",
		60:  "full size, lens 1 of 2  ███░░░░░░░  313/880  χ²/N 1.0012",
		200: "full size, lens 1 of 2  ███░░░░░░░  313/880  at most 18 s left  log posterior -123456.79  χ²/N 1.0012  12345 evaluations (1234/s)",
	} {
		// the speed is that of the ten seconds and what the test itself has taken by then
		if s := speed.ReplaceAllString(p.line(width), "(1234/s)"); s != want {
			t.Errorf("%d columns: got %q, want %q", width, s, want)
		}
	}
}

// The time left is that of the pace of late, not of the slow beginning; of a budget it is the most.
func TestTheTimeLeftLearns(t *testing.T) {
	p := NewProgress(&strings.Builder{}, false)
	p.Stage("starts", 100)
	p.begun = time.Now().Add(-1000 * time.Second)
	p.Marks = []paceMark{{time.Now().Add(-10 * time.Second), 30}}
	p.State.Step = 50 // 2 a second
	if got := p.left(); got != "25 s left" {
		t.Errorf("got %q", got)
	}
	p.Budget = true
	if got := p.plain(); !strings.Contains(got, "step 50 of at most 100") || !strings.HasSuffix(got, "at most 25 s left") {
		t.Errorf("got %q", got)
	}
	for k := range 60 {
		p.Marks[len(p.Marks)-1].at = time.Now().Add(-paceEvery)
		p.Step(ProgressState{Step: 50 + k, LogPost: math.NaN(), ReducedChi2: math.NaN()})
	}
	if len(p.Marks) != paceMarks {
		t.Errorf("%d marks, want %d", len(p.Marks), paceMarks)
	}
}

func TestSpeedsAreWrittenWithoutExponents(t *testing.T) {
	for n, want := range map[int]string{5: "5 evaluations (0.5/s)", 25: "25 evaluations (2.5/s)", 5000000: "5000000 evaluations (500000/s)"} {
		p := NewProgress(&strings.Builder{}, true)
		p.Stage("x", 0)
		p.begun = time.Now().Add(-10 * time.Second)
		p.State.Evaluations = n
		if got := strings.Join(p.numbers(), ""); n < 5000000 && got != want || strings.Contains(got, "e+") {
			t.Errorf("%d in 10 s: got %q, want %q", n, got, want)
		}
	}
}

package tools

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestTheBarLeavesRoomForItself(t *testing.T) {
	p := newProgress(&strings.Builder{}, false)
	p.stage("full size", 880)
	p.begun = time.Now().Add(-10 * time.Second)
	p.state = progressState{Step: 3, LogPost: -123456.789, ReducedChi2: 1.00123, Evaluations: 12345}
	s := p.fitting() // of a terminal of 80 columns, for want of one
	if want := "full size  log posterior -123456.79"; s != want || utf8.RuneCountInString(s) > 42 {
		t.Errorf("got %q, want %q", s, want)
	}
	if s := p.numbers(); !strings.HasSuffix(s, ", χ²/N 1.0012, 1234 evaluations/s") && !strings.HasSuffix(s, ", χ²/N 1.0012, 1235 evaluations/s") {
		t.Errorf("got %q", s)
	}
}

func TestSpeedsAreWrittenWithoutExponents(t *testing.T) {
	for n, want := range map[int]string{5: "0.5 evaluations/s", 25: "2.5 evaluations/s", 5000000: "500000 evaluations/s"} {
		p := newProgress(&strings.Builder{}, true)
		p.stage("x", 0)
		p.begun = time.Now().Add(-10 * time.Second)
		p.state.Evaluations = n
		if got := p.numbers(); n < 5000000 && got != want || strings.Contains(got, "e+") {
			t.Errorf("%d in 10 s: got %q, want %q", n, got, want)
		}
	}
}

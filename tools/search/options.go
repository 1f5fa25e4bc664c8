package search

import (
	"errors"
	"math"
	"slices"

	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
)

// Options steer the search.
type Options struct {
	Optimizer  string // "lm" (the default) or "adam", the paper's way
	Iterations int    // steps of the last stage; 0: the optimizer's default
	Starts     int    // draws from the priors; 0: 32
	Seed       uint64
}

func (o Options) Defaults() Options {
	if o.Optimizer == "" {
		o.Optimizer = "lm"
	}
	if o.Starts == 0 {
		o.Starts = 32
	}
	if o.Iterations == 0 {
		o.Iterations = map[string]int{"lm": 40, "adam": 10000}[o.Optimizer]
	}
	return o
}

// Check holds the options against their limits; place is where one of them stands, for messages.
func (o Options) Check(place func(name string) string) error {
	switch {
	case !slices.Contains([]string{"lm", "adam"}, o.Optimizer):
		return term.BadInput("%s: found %q, expected lm or adam", place("Optimizer"), o.Optimizer)
	case o.Iterations < 0 || o.Iterations > 1e8:
		return term.BadInput("%s: found %d, expected 0 to 100000000", place("Iterations"), o.Iterations)
	case o.Starts < 0 || o.Starts > 1e5:
		return term.BadInput("%s: found %d, expected 0 to 100000", place("Starts"), o.Starts)
	}
	return nil
}

// Failure gives an error of the search its exit code: a model that cannot be computed is a numerical failure.
func Failure(err error) error {
	var f *term.Failure
	var r interface{ Recoverable() bool }
	if errors.As(err, &f) {
		return err
	}
	if errors.Is(err, samplers.ErrRecoverable) || errors.As(err, &r) && r.Recoverable() {
		return term.Numerical("%w", err)
	}
	return err
}

// Settings are the numbers of the search, each with its unit and reason. A config may say otherwise under search.
type Settings = config.Settings

// DefaultSettings are those of a config that does not.
func DefaultSettings() Settings { return config.DefaultSettings() }

// State is what a search tells while it runs.
type State struct {
	Stage        string
	Step, Steps  int
	Budget       bool    // Steps is the most it may take
	LogPosterior float64 // of the best point of the climb
	ReducedChi2  float64 // of the same; 0: not known
	Evaluations  int
}

// TellOn reports on pr what a search tells: each of its stages is one of the progress.
func TellOn(pr *term.Progress) func(State) {
	return func(s State) {
		if s.Stage != pr.Name {
			pr.Stage(s.Stage, s.Steps)
		}
		pr.Total, pr.Budget = s.Steps, s.Budget
		st := term.ProgressState{Step: s.Step, LogPost: s.LogPosterior, ReducedChi2: s.ReducedChi2, Evaluations: s.Evaluations}
		if s.ReducedChi2 == 0 {
			st.ReducedChi2 = math.NaN()
		}
		pr.Step(st)
	}
}

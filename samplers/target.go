package samplers

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/gonum/mat"
)

// ErrRecoverable marks a point at which the density cannot be computed: the point is rejected and the run goes on.
var ErrRecoverable = errors.New("point rejected")

// Target is a log density over ℝᴰ. LogProb returns log p(x), up to a constant, and writes ∇ log p into grad unless grad
// is nil. An error that is Recoverable rejects the point; any other ends the run.
type Target interface {
	Dim() int
	LogProb(grad, x []float64) (float64, error)
}

// Joint is a Target that computes together with those of other chains, which wait for it between Join and Leave. A run
// calls them where a chain's turn begins and where it ends; it gains most when all chains have theirs at once.
type Joint interface {
	Target
	Join()
	Leave()
}

// Curved is a Target that also knows a positive semi-definite approximation H ≈ −∇² log p (the Gauss-Newton matrix).
// LogProbHess writes gradient and H and returns log p(x).
type Curved interface {
	Target
	LogProbHess(grad []float64, hess *mat.SymDense, x []float64) (float64, error)
}

// Lagged is a Curved target parts of whose curvature are slow to compute and change little from point to point, such as
// the Jacobian of a network. LogProbHessFrom is LogProbHess at x with these parts computed at origin; density and
// gradient are those of x.
type Lagged interface {
	Curved
	LogProbHessFrom(grad []float64, hess *mat.SymDense, x, origin []float64) (float64, error)
}

// Recoverable reports whether err only rejects a point: it wraps ErrRecoverable, or an error in its chain has a method
// Recoverable() bool that returns true.
func Recoverable(err error) bool {
	if errors.Is(err, ErrRecoverable) {
		return true
	}
	var r interface{ Recoverable() bool }
	return errors.As(err, &r) && r.Recoverable()
}

// State is a point with its log density and gradient.
type State struct {
	X, Grad []float64
	LogProb float64
}

// NewState makes a state for dim parameters.
func NewState(dim int) *State {
	return &State{X: make([]float64, dim), Grad: make([]float64, dim)}
}

// Set copies o into s.
func (s *State) Set(o *State) {
	copy(s.X, o.X)
	copy(s.Grad, o.Grad)
	s.LogProb = o.LogProb
}

// Tally counts the evaluations of a target and the points it rejected, by reason. A reason is the error's text with its
// numbers replaced by #, so that failures of one kind share one count.
type Tally struct {
	Evaluations int            // calls of LogProb
	Hessians    int            // calls of LogProbHess
	Rejections  map[string]int `json:",omitempty"`
}

// Rejected is the number of rejected points.
func (c *Tally) Rejected() int {
	n := 0
	for _, k := range c.Rejections {
		n += k
	}
	return n
}

func (c *Tally) reject(reason string) {
	if c.Rejections == nil {
		c.Rejections = map[string]int{}
	}
	if _, known := c.Rejections[reason]; !known && len(c.Rejections) >= maxReasons {
		reason = "other reasons"
	}
	c.Rejections[reason]++
}

func (c Tally) clone() Tally {
	m := c.Rejections
	c.Rejections = nil
	if m != nil {
		c.Rejections = make(map[string]int, len(m))
		for k, v := range m {
			c.Rejections[k] = v
		}
	}
	return c
}

const maxReasons = 50

// logProb evaluates t at x and counts. ok is false where the point is rejected.
func (c *Tally) logProb(t Target, grad, x []float64) (lp float64, ok bool, err error) {
	c.Evaluations++
	lp, err = t.LogProb(grad, x)
	return c.screen(lp, grad, err)
}

// logProbHess evaluates gradient and curvature of t at x and counts. With an origin, the slow parts are computed there.
func (c *Tally) logProbHess(t Curved, grad []float64, hess *mat.SymDense, x, origin []float64) (lp float64, ok bool, err error) {
	c.Hessians++
	if l, can := t.(Lagged); can && origin != nil {
		lp, err = l.LogProbHessFrom(grad, hess, x, origin)
	} else {
		lp, err = t.LogProbHess(grad, hess, x)
	}
	lp, ok, err = c.screen(lp, grad, err)
	if ok && !finiteSym(hess) {
		c.reject("curvature is not finite")
		return lp, false, nil
	}
	return lp, ok, err
}

func (c *Tally) screen(lp float64, grad []float64, err error) (float64, bool, error) {
	switch {
	case err != nil && !Recoverable(err):
		return math.NaN(), false, err
	case err != nil:
		c.reject(reason(err.Error()))
	case math.IsNaN(lp):
		c.reject("log density is NaN")
	case math.IsInf(lp, 1):
		c.reject("log density is +Inf")
	case math.IsInf(lp, -1):
		c.reject("log density is -Inf")
	case !allFinite(grad):
		c.reject("gradient is not finite")
	default:
		return lp, true, nil
	}
	return math.Inf(-1), false, nil
}

// reason replaces each number in an error's text by #.
func reason(text string) string {
	var b strings.Builder
	inNumber, inWord := false, false
	for i := 0; i < len(text); i++ {
		ch := text[i]
		digit := ch >= '0' && ch <= '9'
		letter := ch == '_' || ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= 0x80
		switch {
		case inNumber && (digit || ch == '.' || (ch == 'e' || ch == 'E') || (ch == '-' || ch == '+') && (text[i-1] == 'e' || text[i-1] == 'E')):
			continue
		case digit && !inWord:
			inNumber = true
			b.WriteByte('#')
			continue
		}
		inNumber = false
		inWord = letter || inWord && digit
		b.WriteByte(ch)
	}
	return strings.ReplaceAll(b.String(), "-#", "#")
}

// startError says why a run cannot begin at x: which parameters or gradient entries are at fault.
func startError(verb string, t Target, x []float64, err error) error {
	for i, v := range x {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("samplers: %s: start: parameter %d is %v, expected a finite number", verb, i, v)
		}
	}
	if err != nil {
		return fmt.Errorf("samplers: %s: start: %w", verb, err)
	}
	grad := make([]float64, len(x))
	lp, err := t.LogProb(grad, x)
	if err != nil {
		return fmt.Errorf("samplers: %s: start: %w (x = %s)", verb, err, brief(x))
	}
	if math.IsNaN(lp) || math.IsInf(lp, 0) {
		return fmt.Errorf("samplers: %s: start: log density is %v, expected a finite number (x = %s)", verb, lp, brief(x))
	}
	for i, v := range grad {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("samplers: %s: start: derivative by parameter %d (at %v) is %v, expected a finite number", verb, i, x[i], v)
		}
	}
	return fmt.Errorf("samplers: %s: start: curvature is not finite (x = %s)", verb, brief(x))
}

func brief(x []float64) string {
	if len(x) <= 12 {
		return fmt.Sprintf("%.6g", x)
	}
	return fmt.Sprintf("%.6g and %d more", x[:12], len(x)-12)
}

func allFinite(v []float64) bool {
	for _, x := range v {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return false
		}
	}
	return true
}

func finiteSym(s *mat.SymDense) bool {
	raw := s.RawSymmetric()
	for i := 0; i < raw.N; i++ {
		if !allFinite(raw.Data[i*raw.Stride+i : i*raw.Stride+raw.N]) {
			return false
		}
	}
	return true
}

package search

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"
	"lenskit/internal/stats"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
)

// Limit is a one-sided bound on a parameter whose posterior lies on a bound of its prior, where a value with a standard
// deviation would say nothing.
type Limit struct {
	Upper *term.JSONFloat `json:"upper,omitempty"`
	Lower *term.JSONFloat `json:"lower,omitempty"`
	Level term.JSONFloat  `json:"level"` // share of the posterior on this side of the limit
	Bound float64         `json:"-"`
	Near  bool            `json:"-"` // the maximum is off the bound
}

const limitLevel = 0.95

// NewLimit is one against the lower bound (then it is an upper limit) or the upper bound of a prior.
func NewLimit(v, bound float64, lower bool) *Limit {
	l, f := &Limit{Level: limitLevel, Bound: bound}, term.JSONFloat(v)
	if lower {
		l.Upper = &f
	} else {
		l.Lower = &f
	}
	return l
}

// String is "< 0.012 (95 %)".
func (l *Limit) String() string {
	sign, v := "<", l.Upper
	if v == nil {
		sign, v = ">", l.Lower
	}
	return fmt.Sprintf("%s %s (%g %%)", sign, term.WithDigits(float64(*v), math.Abs(float64(*v)-l.Bound)), 100*l.Level)
}

// Bounds are those of the named parameters' priors, infinite where there is none.
func Bounds(p *problem.Problem) [][2]float64 {
	out := make([][2]float64, len(p.Post.Names()))
	for i := range out {
		out[i] = [2]float64{math.Inf(-1), math.Inf(1)}
	}
	set := func(q *config.Prior, name string) {
		lo, hi := q.Support()
		out[p.Index[name]] = [2]float64{lo, hi}
	}
	for _, comp := range p.Config.Components() {
		for i := range comp.Params {
			if q := &comp.Params[i]; !q.Vector && !q.Prior.IsFixed() {
				set(&q.Prior, comp.Key(q.Name))
			}
		}
	}
	for _, l := range p.Config.Scalars() {
		if !l.Prior.IsFixed() {
			set(l.Prior, l.Name)
		}
	}
	return out
}

// LimitsAt are the limits of the parameters that at the maximum u lie on a bound of their priors, or near one.
func LimitsAt(p *problem.Problem, u, theta, sigma []float64) map[string]*Limit {
	out := map[string]*Limit{}
	for i, b := range Bounds(p) {
		f := p.Post.Free()[i]
		if f < 0 {
			continue
		}
		lower := theta[i]-b[0] < b[1]-theta[i]
		bound := b[1]
		if lower {
			bound = b[0]
		}
		at := math.Abs(u[f]) > edge || sigma[i] <= BoundSigma*math.Abs(theta[i])
		if math.IsInf(bound, 0) || !at && !(math.Abs(theta[i]-bound) < nearBound*sigma[i]) {
			continue
		}
		if v, ok := limitFrom(p, u, i, b, lower); ok {
			l := NewLimit(v, bound, lower)
			l.Near = !at
			out[p.Post.Names()[i]] = l
		}
	}
	return out
}

// nearBound is how close to a bound, in standard deviations, a maximum is no detection: of a Gaussian 2 % are beyond.
const nearBound = 2

// edge is the coordinate, in standard deviations of a prior, from which a parameter has ended at the prior's edge.
const edge = 4

// limitFrom is the limit of parameter i, whose posterior falls away from a bound as a truncated Gaussian does: slope and
// curvature are taken halfway to the limit, the other parameters following along the valley.
func limitFrom(p *problem.Problem, u []float64, i int, b [2]float64, lower bool) (float64, bool) {
	f := p.Post.Free()[i]
	bound, inward := b[1], -1.0
	if lower {
		bound, inward = b[0], 1
	}
	room := b[1] - b[0]
	near, _, ok := p.Post.Scalar(i, -3*inward) // a point off the bound
	if !ok {
		return 0, false
	}
	t := math.Abs(near - bound)
	theta, v, w := make([]float64, len(p.Post.Names())), slices.Clone(u), make([]float64, len(u))
	grad, hess := make([]float64, len(u)), mat.NewSymDense(len(u), nil)
	most := 0.0
	for range 5 {
		p.Post.Theta(theta, u)
		theta[i] = bound + inward*t
		if p.Post.U(w, theta) != nil {
			return 0, false
		}
		v[f] = w[f]
		_, slope, _ := p.Post.Scalar(i, v[f])
		if _, err := p.Post.MAP().LogProbHess(grad, hess, v); err != nil || !(slope > 0) {
			return 0, false
		}
		g, h := valley(grad, hess, f, slope)
		most = tailLimit(inward*g, h, t, room)
		if !term.Finite(most) || !(most > 0) {
			return 0, false
		}
		t = 0.5 * most
	}
	return bound + inward*most, true
}

// valley is slope and curvature of a log density by coordinate f, in units of its slope, where the other coordinates are at
// their best.
func valley(grad []float64, hess *mat.SymDense, f int, slope float64) (g, h float64) {
	g, h = grad[f]/slope, hess.At(f, f)/(slope*slope)
	n := len(grad) - 1
	if n == 0 {
		return g, h
	}
	off := OffBounds(hess)
	other := func(k int) int {
		if k >= f {
			return k + 1
		}
		return k
	}
	rest, cross := mat.NewSymDense(n, nil), mat.NewVecDense(n, nil)
	for a := range n {
		cross.SetVec(a, off.At(other(a), f)/slope)
		for c := a; c < n; c++ {
			rest.SetSym(a, c, off.At(other(a), other(c)))
		}
	}
	var chol mat.Cholesky
	var y mat.VecDense
	if !chol.Factorize(rest) || chol.SolveVecTo(&y, cross) != nil {
		return g, h
	}
	for a := range n {
		g -= y.AtVec(a) * grad[other(a)]
	}
	return g, h - mat.Dot(&y, cross)
}

// tailLimit is the distance from a bound within which limitLevel of a density lies whose logarithm, at distance t, has the
// slope g and the curvature h, and which ends at distance room.
func tailLimit(g, h, t, room float64) float64 {
	rest := 1 - limitLevel
	rate := -g - h*t // of the fall at the bound
	if sd := 1 / math.Sqrt(h); h > 0 && rate*sd < 30 {
		mean := t + g/h
		above := func(x float64) float64 { return distuv.UnitNormal.CDF((mean - x) / sd) } // the Gaussian's share
		end := 0.0
		if !math.IsInf(room, 0) {
			end = above(room)
		}
		return mean - sd*distuv.UnitNormal.Quantile(end+rest*(above(0)-end))
	}
	if rate <= 0 {
		return math.NaN()
	}
	return -math.Log(rest+(1-rest)*math.Exp(-rate*room)) / rate
}

// PiledUp is the limit of a parameter whose draws pile up at a bound of its prior, nil where they do not: where a tenth of
// them or more lie within a tenth of the way from the bound to the quantile that holds limitLevel of them. A flat density has
// 9.5 % there, half a Gaussian 15 %, an exponential 26 %, and a Gaussian whose mean is a standard deviation off 7 %.
func PiledUp(draws []float64, b [2]float64) *Limit {
	s := slices.Clone(draws)
	slices.Sort(s)
	for side, bound := range b {
		if math.IsInf(bound, 0) || len(s) < 20 {
			continue
		}
		q, n := stats.Percentile(s, limitLevel), 0
		if side == 1 {
			q = stats.Percentile(s, 1-limitLevel)
		}
		for _, v := range s {
			if math.Abs(v-bound) <= 0.1*math.Abs(q-bound) {
				n++
			}
		}
		if 10*n >= len(s) {
			return NewLimit(q, bound, side == 0)
		}
	}
	return nil
}

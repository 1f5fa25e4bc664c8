package samplers

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
)

// DualAveraging tunes the step size toward a mean acceptance (Hoffman & Gelman 2014, §3.2; γ = 0.05, t₀ = 10, κ = 0.75).
type DualAveraging struct {
	Mu, LogStep, LogMean, Shortfall float64
	Count                           int
}

const (
	averagingGamma = 0.05
	averagingT0    = 10
	averagingKappa = 0.75
)

// restart begins anew about a step size; trials are drawn toward ten times it.
func (d *DualAveraging) restart(step float64) {
	*d = DualAveraging{Mu: math.Log(10 * step), LogStep: math.Log(step)}
}

// learn takes the acceptance of one draw and returns the step size to try next.
func (d *DualAveraging) learn(accept, target float64) float64 {
	d.Count++
	n := float64(d.Count)
	eta := 1 / (n + averagingT0)
	d.Shortfall = (1-eta)*d.Shortfall + eta*(target-math.Min(1, accept))
	d.LogStep = d.Mu - d.Shortfall*math.Sqrt(n)/averagingGamma
	w := math.Pow(n, -averagingKappa)
	d.LogMean = (1-w)*d.LogMean + w*d.LogStep
	return math.Exp(d.LogStep)
}

// mean is the tuned step size.
func (d *DualAveraging) mean() float64 {
	if d.Count == 0 {
		return math.Exp(d.LogStep)
	}
	return math.Exp(d.LogMean)
}

var (
	errStepTooSmall = errors.New("no step size is small enough: the energy of the first step is never conserved; is the gradient right?")
	errStepTooLarge = errors.New("no step size is too large: log p does not fall off, so it is not a density")
)

// searchStep doubles or halves step until the acceptance of one step from start crosses 0.8 (Hoffman & Gelman
// 2014, algorithm 4, with Stan's threshold). z is scratch.
func searchStep(ctx context.Context, l *flow, start, z *phasePoint, step float64, rng *rand.Rand) (float64, error) {
	threshold := math.Log(0.8)
	grow := false
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		z.set(start)
		z.refresh(rng)
		h0 := z.energy()
		if _, err := l.step(z, step); err != nil {
			return 0, err
		}
		easy := h0-z.energy() > threshold
		if first {
			grow = easy
		}
		switch {
		case easy != grow:
			return step, nil
		case grow:
			step *= 2
		default:
			step /= 2
		}
		if step > 1e7 {
			return 0, errStepTooLarge
		}
		if step < 1e-300 {
			return 0, errStepTooSmall
		}
	}
}

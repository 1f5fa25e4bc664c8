package samplers

import (
	"math"
	"math/rand/v2"
)

// Integrator names a way to follow Hamilton's equations.
type Integrator string

// The integrators, both of second order, reversible and volume preserving.
const (
	// Leapfrog takes one gradient a step.
	Leapfrog Integrator = "leapfrog"
	// TwoStage takes two gradients a step and conserves the energy of a nearly round posterior so much better that it
	// needs fewer of them (Blanes, Casas & Sanz-Serna 2014, §4.1, b = 0.21178).
	TwoStage Integrator = "two-stage"
)

const twoStageB = 0.21178

// phasePoint is a place in phase space: position with density and gradient, the whitened momentum w = Aᵀp and the
// whitened gradient f = Aᵀ∇ log p.
type phasePoint struct {
	State
	w, f []float64
}

func newPhasePoint(dim int) *phasePoint {
	return &phasePoint{State: *NewState(dim), w: make([]float64, dim), f: make([]float64, dim)}
}

func (p *phasePoint) set(o *phasePoint) {
	p.State.Set(&o.State)
	copy(p.w, o.w)
	copy(p.f, o.f)
}

// energy is the Hamiltonian −log p + ½|w|², +Inf at a rejected point.
func (p *phasePoint) energy() float64 {
	k := 0.0
	for _, w := range p.w {
		k += w * w
	}
	h := 0.5*k - p.LogProb
	if math.IsNaN(h) {
		return math.Inf(1)
	}
	return h
}

// refresh draws the momentum from N(0, I).
func (p *phasePoint) refresh(rng *rand.Rand) {
	for i := range p.w {
		p.w[i] = rng.NormFloat64()
	}
}

// flow integrates Hamilton's equations in whitened momentum: w' = Aᵀ∇ log p, x' = A w.
type flow struct {
	target   Target
	metric   *Metric
	tally    *Tally
	twoStage bool
	dx       []float64 // the last drift
}

// gradients is the number of gradients of one step.
func (l *flow) gradients() int {
	if l.twoStage {
		return 2
	}
	return 1
}

// step moves p by eps, of either sign. ok is false where a new point is rejected; p then has log density −Inf.
//
//	leapfrog:  kick ½, drift 1, kick ½
//	two-stage: kick b, drift ½, kick 1−2b, drift ½, kick b
func (l *flow) step(p *phasePoint, eps float64) (ok bool, err error) {
	if !l.twoStage {
		p.kick(0.5 * eps)
		if ok, err = l.drift(p, eps); ok {
			p.kick(0.5 * eps)
		}
		return ok, err
	}
	p.kick(twoStageB * eps)
	if ok, err = l.drift(p, 0.5*eps); !ok {
		return false, err
	}
	p.kick((1 - 2*twoStageB) * eps)
	if ok, err = l.drift(p, 0.5*eps); ok {
		p.kick(twoStageB * eps)
	}
	return ok, err
}

// kick is w += h f.
func (p *phasePoint) kick(h float64) {
	for i, f := range p.f {
		p.w[i] += h * f
	}
}

// drift is x += h A w, and evaluates the target there.
func (l *flow) drift(p *phasePoint, h float64) (ok bool, err error) {
	l.metric.Push(l.dx, p.w)
	for i, d := range l.dx {
		l.dx[i] = h * d
		p.X[i] += l.dx[i]
	}
	p.LogProb, ok, err = l.tally.logProb(l.target, p.Grad, p.X)
	if !ok {
		p.LogProb = math.Inf(-1)
		return false, err
	}
	l.metric.Pull(p.f, p.Grad)
	return true, nil
}

// before is where the last drift of p began.
func (l *flow) before(p *phasePoint) []float64 {
	x := cloneFloats(p.X)
	for i, d := range l.dx {
		x[i] -= d
	}
	return x
}

package samplers

import (
	"math"
	"math/rand/v2"
)

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

// kick draws the momentum from N(0, I).
func (p *phasePoint) kick(rng *rand.Rand) {
	for i := range p.w {
		p.w[i] = rng.NormFloat64()
	}
}

// leapfrog integrates Hamilton's equations in whitened momentum: w' = Aᵀ∇ log p, x' = A w.
type leapfrog struct {
	target Target
	metric *Metric
	tally  *Tally
	dx     []float64
}

// step moves p by eps, of either sign. ok is false where the new point is rejected; p then has log density −Inf.
//
//	w += ε/2 f;  x += ε A w;  f = Aᵀ∇ log p(x);  w += ε/2 f
func (l *leapfrog) step(p *phasePoint, eps float64) (ok bool, err error) {
	for i, f := range p.f {
		p.w[i] += 0.5 * eps * f
	}
	l.metric.Push(l.dx, p.w)
	for i, d := range l.dx {
		p.X[i] += eps * d
	}
	p.LogProb, ok, err = l.tally.logProb(l.target, p.Grad, p.X)
	if !ok {
		p.LogProb = math.Inf(-1)
		return false, err
	}
	l.metric.Pull(p.f, p.Grad)
	for i, f := range p.f {
		p.w[i] += 0.5 * eps * f
	}
	return true, nil
}

// before is where the last step of p began.
func (l *leapfrog) before(p *phasePoint, eps float64) []float64 {
	x := cloneFloats(p.X)
	for i, d := range l.dx {
		x[i] -= eps * d
	}
	return x
}

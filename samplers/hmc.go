package samplers

import (
	"context"
	"math"
	"math/rand/v2"
)

// Info tells how a draw was made.
type Info struct {
	AcceptStat float64 // mean acceptance over the trajectory
	StepSize   float64
	TreeDepth  int // doublings; 0 for HMC
	Leapfrogs  int // gradients
	Divergent  bool
	Energy     float64 // Hamiltonian of the draw

	energyError float64   // of the divergence, at most math.MaxFloat64
	place       []float64 // where the divergent step began
}

// hamiltonian is what one transition needs, whatever the method.
type hamiltonian struct {
	flow
	opt   *Options
	rng   *rand.Rand
	start *phasePoint // the current point, momentum fresh
	z     *phasePoint // moves
}

// transition replaces the current point by the next draw. On an error the point is as before.
type transition interface {
	next(ctx context.Context, cur *State, eps float64) (Info, error)
}

// begin lays the current point with its whitened gradient into start.
func (h *hamiltonian) begin(cur *State) {
	h.start.State.Set(cur)
	h.metric.Pull(h.start.f, cur.Grad)
}

func (h *hamiltonian) diverge(in *Info, z *phasePoint, energyError float64) {
	in.Divergent = true
	in.energyError = math.Min(energyError, math.MaxFloat64)
	in.place = h.before(z)
}

// hmc is Hamiltonian Monte Carlo with a Metropolis decision at the trajectory's end (Neal 2011, §5.3.2). The length is
// Options.Steps, or Options.Trajectory over the step size, times a number drawn from [1−Jitter, 1+Jitter].
type hmc struct{ *hamiltonian }

func (h hmc) next(ctx context.Context, cur *State, eps float64) (Info, error) {
	h.begin(cur)
	h.start.refresh(h.rng)
	h.z.set(h.start)
	h0 := h.start.energy()
	in := Info{StepSize: eps, Energy: h0}
	h1 := h0
	for n := h.steps(eps); n > 0; n-- {
		if err := ctx.Err(); err != nil {
			return in, err
		}
		_, err := h.step(h.z, eps)
		in.Leapfrogs += h.gradients()
		if err != nil {
			return in, err
		}
		h1 = h.z.energy()
		if !(h1-h0 <= h.opt.MaxEnergyError) {
			h.diverge(&in, h.z, h1-h0)
			return in, nil
		}
	}
	in.AcceptStat = math.Min(1, math.Exp(h0-h1))
	if h.rng.Float64() < in.AcceptStat {
		cur.Set(&h.z.State)
		in.Energy = h1
	}
	return in, nil
}

// steps draws the number of steps of one trajectory.
func (h hmc) steps(eps float64) int {
	n := h.opt.Trajectory / eps
	if h.opt.Steps > 0 {
		n = float64(h.opt.Steps)
	}
	if h.opt.Jitter > 0 {
		n *= 1 + h.opt.Jitter*(2*h.rng.Float64()-1)
	}
	return int(math.Max(1, math.Min(math.Round(n), math.Ldexp(1, h.opt.MaxDepth))))
}

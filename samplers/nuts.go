package samplers

import (
	"context"
	"math"
)

// nuts is the No-U-Turn sampler: trajectories that double until they turn back, draws by weight along them (Hoffman &
// Gelman 2014; multinomial weights, biased progressive sampling and the generalised criterion of Betancourt 2017, A.3
// and A.4; Stan's two further checks across the halves of each tree).
//
// In whitened momentum p♯ and p are the same vector w, so a trajectory of summed momentum ρ from w₁ to w₂ goes on while
// w₁·ρ > 0 and w₂·ρ > 0.
type nuts struct {
	*hamiltonian
	fwd, bck *phasePoint // the trajectory's ends
	sample   slot        // drawn so far
	proposal slot        // drawn in the newest half
	frames   []treeFrame
	rho      []float64 // whole trajectory
	rhoNew   []float64 // newest half
	wInner   []float64 // momentum where the newest half begins
	wOuter   []float64 // momentum where it ends
	wOld     []float64 // momentum of the old part beside it

	// Of the transition under way.
	ctx    context.Context
	h0     float64
	eps    float64
	in     Info
	accept float64 // summed over leaves
	leaves int
}

// slot keeps a candidate and its energy.
type slot struct {
	State
	energy float64
}

func (s *slot) set(o *slot) {
	s.State.Set(&o.State)
	s.energy = o.energy
}

// treeFrame is the memory of one level of the recursion.
type treeFrame struct {
	proposal       slot
	rho1, rho2     []float64 // momentum summed over the two halves
	wLast1, wFirst []float64 // last momentum of the first half, first of the second
}

func newNUTS(h *hamiltonian) *nuts {
	n := h.target.Dim()
	v := func() []float64 { return make([]float64, n) }
	s := &nuts{hamiltonian: h, fwd: newPhasePoint(n), bck: newPhasePoint(n), sample: slot{State: *NewState(n)},
		proposal: slot{State: *NewState(n)}, rho: v(), rhoNew: v(), wInner: v(), wOuter: v(), wOld: v()}
	for d := 0; d < h.opt.MaxDepth; d++ {
		s.frames = append(s.frames, treeFrame{proposal: slot{State: *NewState(n)}, rho1: v(), rho2: v(), wLast1: v(), wFirst: v()})
	}
	return s
}

func (s *nuts) next(ctx context.Context, cur *State, eps float64) (Info, error) {
	s.begin(cur)
	s.start.refresh(s.rng)
	s.fwd.set(s.start)
	s.bck.set(s.start)
	s.ctx, s.eps, s.accept, s.leaves = ctx, eps, 0, 0
	s.h0 = s.start.energy()
	s.in = Info{StepSize: eps}
	s.sample.State.Set(cur)
	s.sample.energy = s.h0
	copy(s.rho, s.start.w)
	logWeight := 0.0
	for s.in.TreeDepth < s.opt.MaxDepth {
		end, other, sign := s.fwd, s.bck, 1.0
		if s.rng.Float64() < 0.5 {
			end, other, sign = s.bck, s.fwd, -1
		}
		copy(s.wOld, end.w)
		zero(s.rhoNew)
		lw, ok, err := s.build(s.in.TreeDepth, sign, end, &s.proposal, s.wInner, s.wOuter, s.rhoNew)
		if err != nil {
			return s.in, err
		}
		if !ok {
			break
		}
		s.in.TreeDepth++
		if s.rng.Float64() < math.Exp(lw-logWeight) {
			s.sample.set(&s.proposal)
		}
		logWeight = logAddExp(logWeight, lw)
		// The old part has momenta other.w … wOld and sum rho; the new one wInner … wOuter and sum rhoNew.
		goOn := straight(other.w, s.wOuter, s.rho, s.rhoNew) &&
			straight(other.w, s.wInner, s.rho, s.wInner) &&
			straight(s.wOld, s.wOuter, s.rhoNew, s.wOld)
		for i, r := range s.rhoNew {
			s.rho[i] += r
		}
		if !goOn {
			break
		}
	}
	s.in.AcceptStat = s.accept / float64(s.leaves)
	s.in.Energy = s.sample.energy
	cur.Set(&s.sample.State)
	return s.in, nil
}

// build extends the trajectory from z by 2^depth steps in the direction of sign. It writes a draw from them, their first
// and last momenta, and adds their summed momentum to rho; it returns the logarithm of their summed weight, and false
// where they turn back or diverge.
func (s *nuts) build(depth int, sign float64, z *phasePoint, out *slot, wFirst, wLast, rho []float64) (float64, bool, error) {
	if depth == 0 {
		return s.leaf(sign, z, out, wFirst, wLast, rho)
	}
	f := &s.frames[depth-1]
	zero(f.rho1)
	lw1, ok, err := s.build(depth-1, sign, z, out, wFirst, f.wLast1, f.rho1)
	if !ok || err != nil {
		return lw1, false, err
	}
	zero(f.rho2)
	lw2, ok, err := s.build(depth-1, sign, z, &f.proposal, f.wFirst, wLast, f.rho2)
	if !ok || err != nil {
		return lw2, false, err
	}
	lw := logAddExp(lw1, lw2)
	if s.rng.Float64() < math.Exp(lw2-lw) {
		out.set(&f.proposal)
	}
	for i := range rho {
		rho[i] += f.rho1[i] + f.rho2[i]
	}
	ok = straight(wFirst, wLast, f.rho1, f.rho2) &&
		straight(wFirst, f.wFirst, f.rho1, f.wFirst) &&
		straight(f.wLast1, wLast, f.rho2, f.wLast1)
	return lw, ok, nil
}

func (s *nuts) leaf(sign float64, z *phasePoint, out *slot, wFirst, wLast, rho []float64) (float64, bool, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, false, err
	}
	_, err := s.step(z, sign*s.eps)
	s.in.Leapfrogs += s.gradients()
	s.leaves++
	if err != nil {
		return 0, false, err
	}
	h := z.energy()
	s.accept += math.Min(1, math.Exp(s.h0-h))
	if !(h-s.h0 <= s.opt.MaxEnergyError) {
		s.diverge(&s.in, z, h-s.h0)
		return math.Inf(-1), false, nil
	}
	out.State.Set(&z.State)
	out.energy = h
	copy(wFirst, z.w)
	copy(wLast, z.w)
	for i, w := range z.w {
		rho[i] += w
	}
	return s.h0 - h, true, nil
}

// straight reports whether a trajectory with end momenta w1, w2 and summed momentum a + b has not turned back.
func straight(w1, w2, a, b []float64) bool {
	d1, d2 := 0.0, 0.0
	for i := range a {
		r := a[i] + b[i]
		d1 += w1[i] * r
		d2 += w2[i] * r
	}
	return d1 > 0 && d2 > 0
}

func logAddExp(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(a, -1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}

func zero(v []float64) {
	for i := range v {
		v[i] = 0
	}
}

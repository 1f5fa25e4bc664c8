package vae

import (
	"math"
	"runtime"

	"lenskit/internal/task"
	"lenskit/tools/internal/adam"
	"lenskit/tools/internal/term"
)

// adamOptions are those of Adam (Kingma & Ba 2015, algorithm 1).
type adamOptions struct {
	Beta1, Beta2, Epsilon float64
	Clip                  float64 // largest norm of the whole gradient; 0: no limit
}

// adamBlock is how many numbers are updated, and summed, at a time. Sums over blocks do not depend on the number of
// threads.
const adamBlock = 1 << 15

// update makes step number t (from 1) on the parameters p with gradient g and moments m and v, in one pass over the
// four; a limit on the norm takes one more pass over g. It returns the norm of g before the limit.
func (o adamOptions) update(p, g, m, v []float32, t int64, rate float64, threads int) float64 {
	if len(g) != len(p) || len(m) != len(p) || len(v) != len(p) {
		panic("tools: adam: lengths differ")
	}
	k := adam.NewStep(o.Beta1, o.Beta2, o.Epsilon, rate, t)
	blocks := (len(p) + adamBlock - 1) / adamBlock
	sums := make([]float64, blocks)
	of := func(i int) (from, to int) { return i * adamBlock, min((i+1)*adamBlock, len(p)) }
	norm := func() float64 {
		s := 0.0
		for _, v := range sums {
			s += v
		}
		return math.Sqrt(s)
	}
	if o.Clip > 0 {
		eachBlock(blocks, threads, func(i int) {
			from, to := of(i)
			sums[i] = adam.SumSquares(g[from:to])
		})
		n := norm()
		k.Shrink = float32(math.Min(1, o.Clip/(n+1e-6)))
		if !term.Finite(n) {
			return n
		}
		eachBlock(blocks, threads, func(i int) {
			from, to := of(i)
			k.Apply(p[from:to], g[from:to], m[from:to], v[from:to])
		})
		return n
	}
	eachBlock(blocks, threads, func(i int) {
		from, to := of(i)
		sums[i] = adam.SumSquares(g[from:to])
		k.Apply(p[from:to], g[from:to], m[from:to], v[from:to])
	})
	return norm()
}

// eachBlock calls f for the numbers below n on the given number of threads; 0: as many as Go uses.
func eachBlock(n, threads int, f func(i int)) {
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	if threads = min(threads, n); threads <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var g task.Group
	for w := range threads {
		g.Go(func() {
			for i := w * n / threads; i < (w+1)*n/threads; i++ {
				f(i)
			}
		})
	}
	g.Wait()
}

package tools

import (
	"math"
	"runtime"
	"sync"
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
	// p -= η m̂/(√v̂ + ε) with m̂ = m/(1-β₁ᵗ), v̂ = v/(1-β₂ᵗ) is p -= size·m/(√v + floor).
	c1 := -math.Expm1(float64(t) * math.Log(o.Beta1))
	c2 := math.Sqrt(-math.Expm1(float64(t) * math.Log(o.Beta2)))
	k := adamStep{
		b1: float32(o.Beta1), a1: float32(1 - o.Beta1), b2: float32(o.Beta2), a2: float32(1 - o.Beta2),
		size: float32(rate * c2 / c1), floor: float32(o.Epsilon * c2), shrink: 1,
	}
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
			sums[i] = sumSquares(g[from:to])
		})
		n := norm()
		k.shrink = float32(math.Min(1, o.Clip/(n+1e-6)))
		if !finite(n) {
			return n
		}
		eachBlock(blocks, threads, func(i int) {
			from, to := of(i)
			k.apply(p[from:to], g[from:to], m[from:to], v[from:to])
		})
		return n
	}
	eachBlock(blocks, threads, func(i int) {
		from, to := of(i)
		sums[i] = sumSquares(g[from:to])
		k.apply(p[from:to], g[from:to], m[from:to], v[from:to])
	})
	return norm()
}

// adamStep are the numbers of a step.
type adamStep struct{ b1, a1, b2, a2, size, floor, shrink float32 }

func (k adamStep) apply(p, g, m, v []float32) {
	g, m, v = g[:len(p)], m[:len(p)], v[:len(p)]
	for i, d := range g {
		d *= k.shrink
		mi := k.b1*m[i] + k.a1*d
		vi := k.b2*v[i] + k.a2*d*d
		m[i], v[i] = mi, vi
		p[i] -= k.size * mi / (float32(math.Sqrt(float64(vi))) + k.floor)
	}
}

// sumSquares adds the squares of v in float32 lanes of four, joined in float64.
func sumSquares(v []float32) float64 {
	total := 0.0
	for len(v) > 0 {
		part := v[:min(1024, len(v))]
		v = v[len(part):]
		var a, b, c, d float32
		i := 0
		for ; i+4 <= len(part); i += 4 {
			w, x, y, z := part[i], part[i+1], part[i+2], part[i+3]
			a += w * w
			b += x * x
			c += y * y
			d += z * z
		}
		for ; i < len(part); i++ {
			a += part[i] * part[i]
		}
		total += float64(a) + float64(b) + float64(c) + float64(d)
	}
	return total
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
	var wg sync.WaitGroup
	for w := range threads {
		wg.Go(func() {
			for i := w * n / threads; i < (w+1)*n/threads; i++ {
				f(i)
			}
		})
	}
	wg.Wait()
}

// Package adam is the inner loop of Adam (Kingma & Ba 2015, algorithm 1) over float32 numbers in one pass, with AVX2
// where the processor has it.
package adam

import "math"

// Step are the numbers of one step: decay rates of the moments and what is added of the new gradient, the step's size
// and the floor under √v, both with the correction of the moments' start, and the factor that limits the gradient.
//
// The order of the fields is that of the assembly.
type Step struct{ B1, A1, B2, A2, Size, Floor, Shrink float32 }

// NewStep makes the numbers of step t, from 1, at a learning rate.
//
// p -= η m̂/(√v̂ + ε) with m̂ = m/(1-β₁ᵗ) and v̂ = v/(1-β₂ᵗ) is p -= size·m/(√v + floor).
func NewStep(beta1, beta2, epsilon, rate float64, t int64) Step {
	c1 := -math.Expm1(float64(t) * math.Log(beta1))
	c2 := math.Sqrt(-math.Expm1(float64(t) * math.Log(beta2)))
	return Step{
		B1: float32(beta1), A1: float32(1 - beta1), B2: float32(beta2), A2: float32(1 - beta2),
		Size: float32(rate * c2 / c1), Floor: float32(epsilon * c2), Shrink: 1,
	}
}

// Apply updates the parameters p with gradient g and moments m and v, which must have one length.
func (k Step) Apply(p, g, m, v []float32) {
	if len(g) != len(p) || len(m) != len(p) || len(v) != len(p) {
		panic("adam: lengths differ")
	}
	n := k.fast(p, g, m, v)
	k.apply(p[n:], g[n:], m[n:], v[n:])
}

// apply is Apply in Go. The conversions keep the compiler from fusing products and sums, so that every processor gives
// the same numbers.
func (k Step) apply(p, g, m, v []float32) {
	g, m, v = g[:len(p)], m[:len(p)], v[:len(p)]
	for i, d := range g {
		d *= k.Shrink
		mi := float32(k.B1*m[i]) + float32(k.A1*d)
		vi := float32(k.B2*v[i]) + float32(float32(k.A2*d)*d)
		m[i], v[i] = mi, vi
		p[i] -= float32(k.Size*mi) / (float32(math.Sqrt(float64(vi))) + k.Floor)
	}
}

// SumSquares is Σ v², in float32 over runs of 1024 numbers and in float64 over these.
func SumSquares(v []float32) float64 {
	total := 0.0
	for len(v) > 0 {
		part := v[:min(1024, len(v))]
		v = v[len(part):]
		// eight lanes, as the assembly has them
		var s [8]float32
		n := len(part) &^ 7
		if !sumFast(&s, part[:n]) {
			for i := 0; i < n; i += 8 {
				for l := range s {
					s[l] += float32(part[i+l] * part[i+l])
				}
			}
		}
		for _, x := range part[n:] {
			s[0] += float32(x * x)
		}
		for _, x := range s {
			total += float64(x)
		}
	}
	return total
}

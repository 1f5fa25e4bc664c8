package adam

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func random(rng *rand.Rand, n int, positive bool) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
		if positive {
			v[i] *= v[i]
		}
	}
	return v
}

func TestAssemblyGivesTheNumbersOfGo(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 7, 8, 9, 64, 1000, 1025, 4096} {
		p, g, m, v := random(rng, n, false), random(rng, n, false), random(rng, n, false), random(rng, n, true)
		k := NewStep(0.5, 0.999, 1e-8, 1e-3, 5)
		k.Shrink = 0.7
		q, d, a, b := slices.Clone(p), slices.Clone(g), slices.Clone(m), slices.Clone(v)
		k.Apply(p, g, m, v)
		k.apply(q, d, a, b)
		if !slices.Equal(p, q) || !slices.Equal(m, a) || !slices.Equal(v, b) || !slices.Equal(g, d) {
			t.Errorf("%d numbers: assembly and Go differ", n)
		}
	}
}

func TestStepIsAdams(t *testing.T) {
	const beta1, beta2, eps, rate = 0.9, 0.99, 1e-8, 1e-2
	p, m, v := []float32{1, -2, 3}, make([]float32, 3), make([]float32, 3)
	want, wm, wv := []float64{1, -2, 3}, make([]float64, 3), make([]float64, 3)
	rng := rand.New(rand.NewPCG(3, 4))
	for step := int64(1); step <= 50; step++ {
		g := random(rng, 3, false)
		NewStep(beta1, beta2, eps, rate, step).Apply(p, g, m, v)
		for i := range want {
			d := float64(g[i])
			wm[i] = beta1*wm[i] + (1-beta1)*d
			wv[i] = beta2*wv[i] + (1-beta2)*d*d
			mhat, vhat := wm[i]/(1-math.Pow(beta1, float64(step))), wv[i]/(1-math.Pow(beta2, float64(step)))
			want[i] -= rate * mhat / (math.Sqrt(vhat) + eps)
		}
	}
	for i := range want {
		if math.Abs(float64(p[i])-want[i]) > 1e-5 {
			t.Errorf("parameter %d is %g, want %g", i, p[i], want[i])
		}
	}
}

func TestSumSquares(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 8, 1023, 1024, 100_003} {
		v, want := random(rng, n, false), 0.0
		for _, x := range v {
			want += float64(x) * float64(x)
		}
		if got := SumSquares(v); math.Abs(got-want) > 1e-6*want {
			t.Errorf("%d numbers: %g, want %g", n, got, want)
		}
	}
}

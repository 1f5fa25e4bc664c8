package kern

import (
	"math"
	"math/rand/v2"
	"testing"
)

func normals(rng *rand.Rand, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = rng.NormFloat64()
	}
	return v
}

func TestMixIsTheSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 1))
	for trial := range 400 {
		n, nt, stride := rng.IntN(90), rng.IntN(20), rng.IntN(100)
		src, taps, old := normals(rng, nt*stride+n+1), normals(rng, nt), normals(rng, n)
		add := trial%2 == 0
		got, want := append([]float64(nil), old...), append([]float64(nil), old...)
		Mix(got, src, stride, taps, add)
		mixGo(want, src, stride, taps, add)
		for i := range got {
			sum := 0.0
			if add {
				sum = old[i]
			}
			for k, v := range taps {
				sum += v * src[k*stride+i]
			}
			if math.Abs(got[i]-sum) > 1e-13*20 || math.Abs(want[i]-sum) > 1e-13*20 {
				t.Fatalf("trial %d: %d taps, stride %d, element %d of %d: got %g and in Go %g, want %g", trial, nt, stride, i, n, got[i], want[i], sum)
			}
		}
	}
}

// An element of Mix does not depend on where in the row it lies, to the last bit.
func TestMixDoesNotDependOnPlace(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 2))
	src, taps := normals(rng, 200), normals(rng, 11)
	whole := make([]float64, 180)
	Mix(whole, src, 1, taps, false)
	for from := range 40 {
		part := make([]float64, 70)
		Mix(part, src[from:], 1, taps, false)
		for i, v := range part {
			if v != whole[from+i] {
				t.Fatalf("element %d from %d: %v, in the whole %v", i, from, v, whole[from+i])
			}
		}
	}
}

func TestDotsAreScalarProducts(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 3))
	for trial := range 50 {
		n := 4 * rng.IntN(40)
		stride := n + rng.IntN(9)
		a, b := normals(rng, 3*stride+1), normals(rng, 4*stride+1)
		var got, want [3][4]float64
		got[1][2], want[1][2] = 5, 5
		Dots(&got, a, b, stride, n)
		dotsGo(&want, a, b, stride, n)
		for r := range got {
			for c := range got[r] {
				if math.Abs(got[r][c]-want[r][c]) > 1e-12 {
					t.Fatalf("trial %d, %d elements: product %d, %d: got %g, want %g", trial, n, r, c, got[r][c], want[r][c])
				}
			}
		}
	}
}

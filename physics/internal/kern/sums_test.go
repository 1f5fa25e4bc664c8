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

func TestMixDownIsTheSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 1))
	for trial := range 400 {
		n, nt, rows := rng.IntN(150), rng.IntN(20), rng.IntN(11)
		pitch, stride := n+rng.IntN(5), rng.IntN(100)
		src, taps, got := normals(rng, (nt+rows)*stride+n+1), normals(rng, nt), normals(rng, rows*pitch+n)
		inGo, alone := append([]float64(nil), got...), append([]float64(nil), got...)
		old := append([]float64(nil), got...)
		MixDown(got, pitch, rows, n, src, stride, taps)
		mixDownGo(inGo, pitch, rows, n, src, stride, taps)
		for r := range rows {
			MixDown(alone[r*pitch:], pitch, 1, n, src[r*stride:], stride, taps)
		}
		for i := range got {
			want := old[i]
			if r := i / max(1, pitch); r < rows && i-r*pitch < n {
				want = 0
				for k, v := range taps {
					want += v * src[(r+k)*stride+i-r*pitch]
				}
			}
			if math.Abs(got[i]-want) > 1e-13*20 || math.Abs(inGo[i]-want) > 1e-13*20 {
				t.Fatalf("trial %d: %d taps, %d rows, stride %d, element %d of %d: got %g and in Go %g, want %g", trial, nt, rows, stride, i, n, got[i], inGo[i], want)
			}
			if got[i] != alone[i] {
				t.Fatalf("trial %d: element %d is %v, in a row alone %v", trial, i, got[i], alone[i])
			}
		}
	}
}

func TestMixAcrossIsTheSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 4))
	for trial := range 400 {
		n, nt := rng.IntN(200), rng.IntN(40)
		src, taps, old := normals(rng, nt+n+1), normals(rng, nt), normals(rng, n)
		add := trial%2 == 0
		got, want := append([]float64(nil), old...), append([]float64(nil), old...)
		MixAcross(got, src, taps, add)
		mixAcrossGo(want, src, taps, add)
		for i := range got {
			sum := 0.0
			if add {
				sum = old[i]
			}
			for k, v := range taps {
				sum += v * src[k+i]
			}
			if math.Abs(got[i]-sum) > 1e-13*40 || math.Abs(want[i]-sum) > 1e-13*40 {
				t.Fatalf("trial %d: %d taps, element %d of %d: got %g and in Go %g, want %g", trial, nt, i, n, got[i], want[i], sum)
			}
		}
	}
}

// An element of MixAcross does not depend on where in the row it lies, to the last bit.
func TestMixAcrossDoesNotDependOnPlace(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 2))
	src := normals(rng, 250)
	for _, nt := range []int{1, 7, 11, 16, 27, 40} {
		taps := normals(rng, nt)
		whole := make([]float64, 180)
		MixAcross(whole, src, taps, false)
		for from := range 40 {
			part := make([]float64, 70)
			MixAcross(part, src[from:], taps, false)
			for i, v := range part {
				if v != whole[from+i] {
					t.Fatalf("%d taps, element %d from %d: %v, in the whole %v", nt, i, from, v, whole[from+i])
				}
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

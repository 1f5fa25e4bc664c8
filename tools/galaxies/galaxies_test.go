package galaxies

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestGalaxiesHavePeakOneAndFadeBeforeTheEdge(t *testing.T) {
	const n, count = 32, 150
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := []float64{}
	for k := range count {
		img := make([]float64, n*n)
		drawGalaxy(img, n, rng)
		peak, sum, moment := 0.0, 0.0, 0.0
		for i, v := range img {
			if !(v >= 0) {
				t.Fatalf("galaxy %d: pixel %d is %g, want 0 or more", k, i, v)
			}
			x, y := float64(i%n)-(n-1)/2.0, float64(i/n)-(n-1)/2.0
			peak, sum, moment = max(peak, v), sum+v, moment+v*math.Hypot(x, y)
			if (i%n == 0 || i%n == n-1 || i/n == 0 || i/n == n-1) && v > 0.02 {
				t.Errorf("galaxy %d: border pixel %d is %g, want less than 0.02", k, i, v)
			}
		}
		if peak != 1 {
			t.Errorf("galaxy %d: peak is %g, want 1", k, peak)
		}
		sizes = append(sizes, moment/sum/n)
	}
	slices.Sort(sizes)
	if lo, hi := sizes[count/20], sizes[count-1-count/20]; lo < 0.03 || hi > 0.27 || hi < 2*lo {
		t.Errorf("mean radius: 5 %% to 95 %% are %.3f to %.3f of the width, want them within 0.03 and 0.27 and a factor 2 apart", lo, hi)
	}
}

func TestGalaxyDoesNotDependOnResolution(t *testing.T) {
	for seed := range uint64(20) {
		small, large := make([]float64, 32*32), make([]float64, 64*64)
		drawGalaxy(small, 32, rand.New(rand.NewPCG(3, seed)))
		drawGalaxy(large, 64, rand.New(rand.NewPCG(3, seed)))
		dot, a, b := 0.0, 0.0, 0.0
		for j := range 32 {
			for i := range 32 {
				k := 2*j*64 + 2*i
				v, w := large[k]+large[k+1]+large[k+64]+large[k+65], small[j*32+i]
				dot, a, b = dot+v*w, a+v*v, b+w*w
			}
		}
		if c := dot / math.Sqrt(a*b); c < 0.995 {
			t.Errorf("seed %d: correlation of 32 and 64 pixels is %.4f, want 0.995", seed, c)
		}
	}
}

func TestValueNoiseRepeatsAndHasUnitSize(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	sum, square, count := 0.0, 0.0, 0.0
	for range 50 {
		n := newValueNoise(rng, 24)
		for range 200 {
			x, y := 24*rng.Float64(), 24*rng.Float64()
			v := n.at(x, y)
			if w := n.at(x+24, y-48); math.Abs(v-w) > 1e-9 {
				t.Fatalf("at (%g, %g): got %g and %g a period away", x, y, v, w)
			}
			sum, square, count = sum+v, square+v*v, count+1
		}
	}
	if mean, sd := sum/count, math.Sqrt(square/count); math.Abs(mean) > 0.15 || sd < 0.6 || sd > 1.3 {
		t.Errorf("got mean %.3f and standard deviation %.3f, want 0 and about 1", mean, sd)
	}
}

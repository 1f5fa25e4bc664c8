package kern

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"
)

// testLaw is a power law with a series of n terms that fall off like fⁿ.
func testLaw(rng *rand.Rand, f float64) *PowerLaw {
	k := &PowerLaw{}
	n := 2*rng.IntN(60) + 1
	for i := range n {
		k.C = append(k.C, math.Pow(f, float64(i))*rng.Float64())
		k.D = append(k.D, math.Pow(f, float64(i))*rng.NormFloat64())
	}
	phi := 6 * rng.Float64()
	k.Set(0.3+2*rng.Float64(), 0.05+1.9*rng.Float64(), f*math.Cos(phi), f*math.Sin(phi), rng.NormFloat64(), rng.NormFloat64())
	return k
}

// testRays lie at all scales around the centre, the first at the centre itself.
func testRays(rng *rand.Rand, k *PowerLaw, n int) (x, y []float64) {
	for i := range n {
		r := math.Exp(20 * rng.NormFloat64() / 3)
		if i%2 == 0 {
			r = 3 * rng.Float64()
		}
		if i == 0 {
			r = 0
		}
		s, c := math.Sincos(7 * rng.Float64())
		x, y = append(x, k.CX+r*c), append(y, k.CY+r*s)
	}
	return x, y
}

func near(t *testing.T, what string, got, want, size float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-12*size+1e-300) {
		t.Errorf("%s: got %.17g, want %.17g, size %g", what, got, want, size)
	}
}

// What runs by default and the Go loops agree, for every length of a block, and the padding is never seen.
func TestKernelsAgreeWithGo(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for trial := range 300 {
		n := trial%Block + 1
		k := testLaw(rng, []float64{0, 0.05, 0.3, 0.7}[trial%4])
		x, y := testRays(rng, k, n)
		gax, gay := make([]float64, n), make([]float64, n)
		for i := range gax {
			gax[i], gay[i] = rng.NormFloat64(), rng.NormFloat64()
		}
		var a, b Rays
		k.Prepare(&a, x, y, true)
		k.prepareAllGo(&b, x, y, true)
		ax, ay, bx, by := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range ax {
			ax[i], bx[i] = 1, 1
		}
		k.Deflect(&a, ax, ay)
		k.deflectGo(&b, bx, by)
		var s, r Slopes
		k.Slopes(&a, &s, n)
		k.slopesGo(&b, &r, n)
		var sa, sb Sums
		zx, zy, wx, wy := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
		k.VJP(&sa, &a, zx, zy, gax, gay)
		k.vjpGo(&sb, &b, wx, wy, gax, gay)
		total := 0.0
		for i := range n {
			near(t, "ln", a.LG[i], b.LG[i], 1+math.Abs(b.LG[i]))
			near(t, "P", a.PW[i], b.PW[i], b.PW[i]*10)
			p := b.PW[i] * (1 + math.Hypot(b.DX[i], b.DY[i])) * float64(len(k.C)) * 50
			total += p * (1 + math.Abs(b.LG[i])) * (math.Abs(gax[i]) + math.Abs(gay[i]))
			near(t, "alpha x", ax[i], bx[i], p+1)
			near(t, "alpha y", ay[i], by[i], p+1)
			for _, c := range [][2]float64{{s.AX[i], r.AX[i]}, {s.AY[i], r.AY[i]}, {s.Kappa[i], r.Kappa[i]}, {s.GX[i], r.GX[i]},
				{s.GY[i], r.GY[i]}, {s.TX[i], r.TX[i]}, {s.TY[i], r.TY[i]}, {s.AEX[i], r.AEX[i]}, {s.AEY[i], r.AEY[i]},
				{s.ABX[i], r.ABX[i]}, {s.ABY[i], r.ABY[i]}, {zx[i], wx[i]}, {zy[i], wy[i]}} {
				near(t, "slope", c[0], c[1], p*10)
			}
		}
		for i := range sa {
			near(t, "sum", sa[i], sb[i], total*10)
		}
		if t.Failed() {
			t.Fatalf("trial %d, %d rays, %d terms, accelerated %t", trial, n, len(k.C), Accelerated())
		}
	}
}

// A ray's deflection does not depend on where in a block it lies, to the last bit.
func TestRaysDoNotDependOnTheirPlace(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	k := testLaw(rng, 0.4)
	x, y := testRays(rng, k, Block)
	at := func(lo, hi int) (ax, ay []float64) {
		var b Rays
		k.Prepare(&b, x[lo:hi], y[lo:hi], false)
		ax, ay = make([]float64, hi-lo), make([]float64, hi-lo)
		k.Deflect(&b, ax, ay)
		return ax, ay
	}
	ax, ay := at(0, Block)
	for lo := range Block {
		bx, by := at(lo, min(lo+7, Block))
		for i := range bx {
			if bx[i] != ax[lo+i] || by[i] != ay[lo+i] {
				t.Fatalf("ray %d of a block from %d: (%v, %v), in the whole (%v, %v)", lo+i, lo, bx[i], by[i], ax[lo+i], ay[lo+i])
			}
		}
	}
}

// Clenshaw's recurrence sums the Fourier series.
func TestSeriesIsTheSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	k := testLaw(rng, 0.8)
	k.C = nil
	for i := range 41 {
		k.C = append(k.C, math.Pow(0.8, float64(i)))
	}
	k.C0 = k.C[0]
	x, y := testRays(rng, k, Block)
	var b Rays
	k.Prepare(&b, x, y, false)
	for i := 1; i < Block; i++ {
		sigma := complex(b.CS[i], b.SN[i])
		want := complex128(0)
		for n := len(k.C) - 1; n >= 0; n-- {
			want = want*sigma + complex(k.C[n], 0)
		}
		got := complex(k.C0-b.B2[i], 0) + sigma*complex(b.B1[i], 0)
		if cmplx.Abs(got-want) > 1e-13*5 {
			t.Errorf("ray %d: got %v, want %v", i, got, want)
		}
	}
}

func BenchmarkPowerLawStages(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	k := testLaw(rng, 0.2)
	x, y := testRays(rng, k, Block)
	var r Rays
	var s Sums
	ax, ay, zx, zy := make([]float64, Block), make([]float64, Block), make([]float64, Block), make([]float64, Block)
	b.Run("prepare", func(b *testing.B) {
		for b.Loop() {
			k.Prepare(&r, x, y, true)
		}
	})
	b.Run("deflect", func(b *testing.B) {
		for b.Loop() {
			k.Deflect(&r, ax, ay)
		}
	})
	b.Run("vjp", func(b *testing.B) {
		for b.Loop() {
			k.VJP(&s, &r, zx, zy, x, y)
		}
	})
}

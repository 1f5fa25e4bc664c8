package kern

import (
	"math"
	"math/rand/v2"
	"testing"
)

// testFrame is an image of w x h pixels with `pad` rings of zeros, of which positions see the image from `low` pixels
// before it on.
func testFrame(rng *rand.Rand, pad, low int) (k *Frame, img []float64, stride int) {
	w, h := 1+rng.IntN(20), 1+rng.IntN(20)
	stride = w + 2*pad
	img = make([]float64, stride*(h+2*pad))
	for j := range h {
		for i := range w {
			img[(j+pad)*stride+i+pad] = rng.NormFloat64()
		}
	}
	off := float64(pad - low)
	k = &Frame{X: rng.NormFloat64(), Y: rng.NormFloat64(), CX: float64(w) / 3, CY: float64(h) / 3,
		OX: float64(w)/2 - 0.5 + float64(low), OY: float64(h)/2 - 0.5 + float64(low),
		EndX: float64(w + 2*low - 1), EndY: float64(h + 2*low - 1),
		Stride: float64(stride), Corner: off*float64(stride) + off, GX: rng.NormFloat64(), GY: rng.NormFloat64()}
	return k, img, stride
}

// What runs by default and the Go loops agree, for every length of a block; cells agree exactly.
func TestLookupsAgreeWithGo(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	for trial := range 300 {
		n, cubic := trial%Block+1, trial%2 == 1
		pad, low := 1, 1
		if cubic {
			pad, low = 3, 2
		}
		k, img, stride := testFrame(rng, pad, low)
		x, y, g := normals(rng, n), normals(rng, n), normals(rng, n)
		for i := range x {
			x[i], y[i] = k.X+1.6*x[i], k.Y+1.6*y[i]
		}
		x[rng.IntN(n)], y[rng.IntN(n)] = math.NaN(), math.Inf(1)
		var a, b Taps
		k.Locate(&a, x, y)
		k.locateGo(&b, x, y)
		for i := range n {
			if a.Base[i] != b.Base[i] || a.TX[i] != b.TX[i] || a.TY[i] != b.TY[i] {
				t.Fatalf("trial %d: ray (%g, %g): cell %d (%g, %g), in Go %d (%g, %g)", trial, x[i], y[i], a.Base[i], a.TX[i], a.TY[i], b.Base[i], b.TX[i], b.TY[i])
			}
			if math.IsNaN(x[i]) || math.IsInf(y[i], 0) {
				x[i], y[i] = k.X, k.Y // Chain takes finite rays
			}
		}
		va, vb := normals(rng, n), make([]float64, n)
		copy(vb, va)
		ga, gb := normals(rng, len(img)), make([]float64, len(img))
		copy(gb, ga)
		var sa, sb Slope
		if cubic {
			var wa, wb Weights
			wa.Fill(&a, n)
			wb.fillGo(&b, n)
			for c := range wa {
				for i := range n {
					near(t, "weight", wa[c][i], wb[c][i], 1)
				}
			}
			BicubicValue(va, img, stride, &a, &wa, 1.3)
			bicubicValueGo(vb, img, stride, &b, &wb, 1.3)
			BicubicSlopes(&sa, img, stride, &a, &wa, n)
			bicubicSlopesGo(&sb, img, stride, &b, &wb, n)
			BicubicScatter(ga, stride, &a, &wa, g, -0.7)
			bicubicScatterGo(gb, stride, &b, &wb, g, -0.7)
		} else {
			BilinearValue(va, img, stride, &a, 1.3)
			bilinearValueGo(vb, img, stride, &b, 1.3)
			BilinearSlopes(&sa, img, stride, &a, n)
			bilinearSlopesGo(&sb, img, stride, &b, n)
			BilinearScatter(ga, stride, &a, g, -0.7)
			bilinearScatterGo(gb, stride, &b, g, -0.7)
		}
		for i := range va {
			near(t, "value", va[i], vb[i], 10)
			for c := range sa {
				near(t, "slope", sa[c][i], sb[c][i], 10)
			}
		}
		// what falls on the rings is of no account, but not outside
		for j := pad; j < len(img)/stride-pad; j++ {
			for i := pad; i < stride-pad; i++ {
				near(t, "scattered", ga[j*stride+i], gb[j*stride+i], 50)
			}
		}
		gx, gy := normals(rng, n), normals(rng, n)
		hx, hy := append([]float64(nil), gx...), append([]float64(nil), gy...)
		ua, ub := [4]float64{1, 2, 3, 4}, [4]float64{1, 2, 3, 4}
		if trial%5 == 0 {
			gx, gy, hx, hy = nil, nil, nil, nil
		}
		k.Chain(&ua, &sa, g, x, y, gx, gy)
		k.chainGo(&ub, &sb, g, x, y, hx, hy)
		for i := range gx {
			near(t, "gx", gx[i], hx[i], 100)
			near(t, "gy", gy[i], hy[i], 100)
		}
		for i := range ua {
			near(t, "sum", ua[i], ub[i], 1e4)
		}
		if t.Failed() {
			t.Fatalf("trial %d, %d rays, bicubic %t, accelerated %t", trial, n, cubic, Accelerated())
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	rng := rand.New(rand.NewPCG(12, 1))
	k, img, stride := testFrame(rng, 3, 2)
	var t Taps
	var s Slope
	var w Weights
	x, y, g := normals(rng, Block), normals(rng, Block), normals(rng, Block)
	gx, gy := normals(rng, Block), normals(rng, Block)
	for i := range x {
		x[i], y[i] = 0.02*float64(i)+k.X-0.6, k.Y+0.1
	}
	k.Locate(&t, x, y)
	w.Fill(&t, Block)
	var sum [4]float64
	gimg := make([]float64, len(img))
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"locate", func() { k.Locate(&t, x, y) }},
		{"chain", func() { k.Chain(&sum, &s, g, x, y, gx, gy) }},
		{"weights", func() { w.Fill(&t, Block) }},
		{"bilinear-value", func() { BilinearValue(g, img, stride, &t, 1e-9) }},
		{"bilinear-slopes", func() { BilinearSlopes(&s, img, stride, &t, Block) }},
		{"bilinear-scatter", func() { BilinearScatter(gimg, stride, &t, g, 1e-9) }},
		{"bicubic-value", func() { BicubicValue(g, img, stride, &t, &w, 1e-9) }},
		{"bicubic-slopes", func() { BicubicSlopes(&s, img, stride, &t, &w, Block) }},
		{"bicubic-scatter", func() { BicubicScatter(gimg, stride, &t, &w, g, 1e-9) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*Block), "ns/ray")
		})
	}
}

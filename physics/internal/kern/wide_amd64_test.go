//go:build !noasm

package kern

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// Eight rays at a time give what four do, to the last bit, for every length.
func TestWideVectorsGiveTheSameBits(t *testing.T) {
	if !wide {
		t.Skip("the processor has no AVX-512")
	}
	defer func() { wide = true }()
	for trial := range 200 {
		both := [2]map[string]any{}
		for i := range both {
			wide = i == 0
			both[i] = everyKernel(rand.New(rand.NewPCG(9, uint64(trial))), trial%Block+1)
		}
		for name, narrow := range both[1] {
			if !reflect.DeepEqual(both[0][name], narrow) {
				t.Fatalf("trial %d, %d rays, %s: by eight %v, by four %v", trial, trial%Block+1, name, both[0][name], narrow)
			}
		}
	}
}

// everyKernel is all results for n rays.
func everyKernel(rng *rand.Rand, n int) map[string]any {
	out := map[string]any{}
	k := testLaw(rng, 0.4)
	x, y := testRays(rng, k, n)
	g, h, gx, gy := normals(rng, n), normals(rng, n), normals(rng, n), normals(rng, n)
	var r Rays
	k.Prepare(&r, x, y, true)
	ax, ay := normals(rng, n), normals(rng, n)
	k.Deflect(&r, ax, ay)
	var s Slopes
	k.Slopes(&r, &s, n)
	var sums Sums
	zx, zy := make([]float64, n), make([]float64, n)
	k.VJP(&sums, &r, zx, zy, g, h)
	out["power law"] = []any{r, ax, ay, s, sums, zx, zy}

	shear := Shear{G1: 0.1, G2: -0.2}
	shear.Deflect(ax, ay, x, y)
	g1, g2 := ShearVJP(g, h, x, y)
	bx, by := make([]float64, n), make([]float64, n)
	SourcePlane(bx, by, x, y, ax, ay)
	gmodel, product := make([]float64, n), make([]float64, n)
	chi2 := Residual(gmodel, g, h, x)
	Product(product, g, h)
	out["plain"] = []any{ax, ay, g1, g2, bx, by, gmodel, chi2, Residual(nil, g, h, x), product}

	var slope Slope
	for i := range slope {
		copy(slope[i][:n], normals(rng, n))
	}
	f := Frame{X: 0.1, Y: -0.2, CX: 3, CY: 4, OX: 8, OY: 8, EndX: 16, EndY: 16, Stride: 20, Corner: 42, GX: 0.3, GY: 0.7}
	var chain [4]float64
	f.Chain(&chain, &slope, g, x, y, gx, gy)
	f.Chain(&chain, &slope, g, x, y, nil, nil)
	var taps Taps
	f.Locate(&taps, x, y)
	var w Weights
	w.Fill(&taps, n)
	img := normals(rng, 20*21)
	var bilinear, bicubic Slope
	v, u, img2 := normals(rng, n), normals(rng, n), normals(rng, 20*21)
	BilinearValue(v, img, 20, &taps, 0.7)
	BilinearSlopes(&bilinear, img, 20, &taps, n)
	BilinearScatter(img2, 20, &taps, g, 0.7)
	BicubicValue(u, img, 20, &taps, &w, 0.7)
	BicubicSlopes(&bicubic, img, 20, &taps, &w, n)
	BicubicScatter(img2, 20, &taps, &w, h, 0.7)
	out["lookup"] = []any{chain, gx, gy, taps, w, v, u, bilinear, bicubic, img2}

	l := Light{E1: 0.1, E2: -0.2, CX: 0.3, CY: -0.1, Norm: 1.1}
	for i := range l.P {
		l.P[i] = 0.2 + rng.Float64()
	}
	for _, kind := range []LightKind{Sersic, CoreSersic, Gaussian} {
		var ls LightSlopes
		var sums [10]float64
		var zx, zy [Block]float64
		v := normals(rng, n)
		if kind == Gaussian {
			l.P[2] = -l.P[2] // it falls outwards
		}
		l.Brightness(kind, v, x, y)
		l.Slopes(kind, &ls, x, y)
		l.VJP(kind, &sums, &zx, &zy, g, x, y)
		out["light "+string('0'+rune(kind))] = []any{v, ls, sums, zx, zy}
	}

	dst, down := normals(rng, n), make([]float64, 7*n)
	MixAcross(dst, normals(rng, 21+n), normals(rng, 21), true)
	MixDown(down, n, 7, n, normals(rng, 13*n), n, normals(rng, 6))
	var dots [3][4]float64
	m := n &^ 3
	Dots(&dots, normals(rng, 4*Block), normals(rng, 4*Block), Block, m)
	out["sums"] = []any{dst, down, dots}

	tile, tri := normals(rng, TileRows*TileCols), normals(rng, TileRows*TileRows)
	Gemm(tile, TileCols, normals(rng, n*TileRows), normals(rng, n*TileCols), rng.NormFloat64(), float64(n%2))
	Solve(tile, tri)
	out["product"] = tile
	return out
}

package kern

import (
	"math/rand/v2"
	"testing"
)

func TestPlainKernelsAgreeWithGo(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 1))
	for n := range 40 {
		k := &Shear{rng.NormFloat64(), rng.NormFloat64()}
		x, y, gx, gy := normals(rng, n), normals(rng, n), normals(rng, n), normals(rng, n)
		ax, ay := normals(rng, n), normals(rng, n)
		bx, by := append([]float64(nil), ax...), append([]float64(nil), ay...)
		k.Deflect(ax, ay, x, y)
		k.deflectGo(bx, by, x, y)
		g1, g2 := ShearVJP(gx, gy, x, y)
		h1, h2 := shearVJPGo(gx, gy, x, y)
		near(t, "g1", g1, h1, 100)
		near(t, "g2", g2, h2, 100)
		cx, cy, dx, dy := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
		SourcePlane(cx, cy, x, y, ax, ay)
		raysGo(dx, dy, x, y, ax, ay)
		ga, gb := make([]float64, n), make([]float64, n)
		chi2 := Residual(ga, x, y, gx)
		near(t, "chi2", chi2, residualGo(gb, x, y, gx), 1000)
		if alone := Residual(nil, x, y, gx); alone != chi2 {
			t.Errorf("%d elements: sum of squares %v alone, %v with the derivative", n, alone, chi2)
		}
		pa, pb := make([]float64, n), make([]float64, n)
		Product(pa, x, y)
		productGo(pb, x, y)
		for i := range n {
			if pa[i] != pb[i] {
				t.Errorf("product %d of %d: %g, in Go %g", i, n, pa[i], pb[i])
			}
			near(t, "ax", ax[i], bx[i], 10)
			near(t, "ay", ay[i], by[i], 10)
			if cx[i] != dx[i] || cy[i] != dy[i] || ga[i] != gb[i] {
				t.Errorf("element %d of %d: (%g, %g, %g), in Go (%g, %g, %g)", i, n, cx[i], cy[i], ga[i], dx[i], dy[i], gb[i])
			}
		}
	}
}

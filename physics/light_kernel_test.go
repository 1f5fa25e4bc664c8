package physics

import (
	"math"
	"math/rand/v2"
	"testing"

	"lenskit/internal/check"
	"lenskit/physics/internal/kern"
)

// What runs by default and the loops ray by ray agree, over every length of a block and from the centre outwards.
func TestLightKernelsAgreeWithGo(t *testing.T) {
	for kind, l := range map[string]interface {
		Light
		base() *ellipse
	}{"sersic": newSersic(), "core_sersic": newCoreSersic(), "gaussian": newGaussian()} {
		rng := rand.New(rand.NewPCG(9, 9))
		e := l.base()
		m := e.m
		for trial := range 200 {
			n := trial%kern.Block + 1
			p := drawParams(rng, l.Params())
			mustSet(t, l, p)
			x, y := make([]float64, n), make([]float64, n)
			for i := range x {
				r := math.Exp(3 * rng.NormFloat64())
				s, c := math.Sincos(7 * rng.Float64())
				x[i], y[i] = e.cx+r*c, e.cy+r*s
			}
			x[0], y[0] = e.cx, e.cy
			a, b := make([]float64, n), make([]float64, n)
			l.Brightness(a, x, y)
			e.brightness(b, x, y)
			var s, g kern.LightSlopes
			e.blockSlopes(&g, x, y)
			jp, jx, jy := planes(n, m+4), make([]float64, n), make([]float64, n)
			l.BrightnessJac(jp, jx, jy, x, y)
			for k := range m + 2 {
				copy(s[k][:], jp[k])
			}
			copy(s[m+2][:], jx)
			copy(s[m+3][:], jy)
			gdst := check.Normals(rng, n)
			gp, gx, gy := make([]float64, m+4), make([]float64, n), make([]float64, n)
			l.BrightnessVJP(gp, gx, gy, gdst, x, y)
			var sum [10]float64
			var zx, zy [kern.Block]float64
			e.vjp(&sum, &zx, &zy, gdst, x, y)
			sum[m+2], sum[m+3] = -sum[m+2], -sum[m+3]
			for i := range n {
				check.Close(t, kind+" brightness", a[i], b[i], 1e-12, 1e-200)
				check.Close(t, kind+" gx", gx[i], zx[i], 1e-11, 1e-12)
				check.Close(t, kind+" gy", gy[i], zy[i], 1e-11, 1e-12)
			}
			for k := range m + 4 {
				size := 0.0
				for i := range n {
					size += math.Abs(g[k][i]) + math.Abs(b[i])
					check.Close(t, kind+" slope", s[k][i], g[k][i], 1e-11, math.Abs(b[i])+1e-12)
				}
				check.Close(t, kind+" sum", gp[k], sum[k], 1e-11, 3*size+1e-200)
			}
			if t.Failed() {
				t.Fatalf("%s: trial %d, %d rays, p = %v", kind, trial, n, p)
			}
		}
	}
}

func (l *ellipse) base() *ellipse { return l }

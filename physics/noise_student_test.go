package physics

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/stat/distuv"

	"lenskit/internal/check"
)

// The density of many pixels against that of a library, its derivatives against differences, and the constants of the
// distribution against integrals over it.
func TestStudentT(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	const n = 999
	model, data, weight := check.Normals(rng, n), check.Normals(rng, n), make([]float64, n)
	for i := range weight {
		weight[i] = 1 / (0.2 + rng.Float64())
		if i%7 == 0 {
			weight[i] = 0
		}
		if i%50 == 1 {
			data[i] += 1e3 * rng.NormFloat64()
		}
	}
	for _, nu := range []float64{1, 2.5, 4, 30, 1000} {
		const s = 1.3
		want := 0.0
		for i, w := range weight {
			if w > 0 {
				want += distuv.StudentsT{Mu: model[i], Sigma: s / w, Nu: nu}.LogProb(data[i])
			}
		}
		density := func(model []float64, logS float64) float64 {
			dev, _, _ := StudentT(nu).Residual(nil, model, data, weight, math.Exp(-logS))
			got := -0.5 * dev
			for _, w := range weight {
				if w > 0 {
					got += StudentT(nu).LogNorm() - logS + math.Log(w)
				}
			}
			return got
		}
		check.Close(t, "log density", density(model, math.Log(s)), want, 1e-10, 1)
		g := make([]float64, n)
		_, pull, square := StudentT(nu).Residual(g, model, data, weight, 1/s)
		dir := check.Normals(rng, n)
		slope, used, sum := 0.0, 0.0, 0.0
		for i := range g {
			slope += g[i] * dir[i]
			if weight[i] > 0 {
				used++
			}
			r := (data[i] - model[i]) * weight[i] / s
			sum += r * r
		}
		check.Close(t, "sum of squares", square, sum, 1e-13, 1)
		fd := check.Directional(func(m []float64) float64 { return density(m, math.Log(s)) }, model, dir, 1e-5)
		check.Close(t, "gradient by the model", slope, fd, 1e-6, 1)
		fd = check.Directional(func(l []float64) float64 { return density(model, l[0]) }, []float64{math.Log(s)}, []float64{1}, 1e-5)
		check.Close(t, "gradient by log s", pull-used, fd, 1e-6, 1)

		// expectations over the quantiles of the distribution
		d := distuv.StudentsT{Sigma: 1, Nu: nu}
		mean := func(f func(r float64) float64) float64 {
			return quad.Fixed(func(x float64) float64 { r := math.Tan(x); return f(r) * d.Prob(r) * (1 + r*r) }, -math.Pi/2, math.Pi/2, 2000, nil, 0)
		}
		score := func(r float64) float64 { return (nu + 1) * r / (nu + r*r) }
		im, is := StudentT(nu).Information()
		check.Close(t, "expected deviance", StudentT(nu).Deviance(), mean(func(r float64) float64 { return (nu + 1) * math.Log1p(r*r/nu) }), 1e-4, 1)
		check.Close(t, "information of the mean", im, mean(func(r float64) float64 { return score(r) * score(r) }), 1e-6, 1)
		check.Close(t, "information of the scale", is, mean(func(r float64) float64 { v := r*score(r) - 1; return v * v }), 1e-6, 1)
	}
}

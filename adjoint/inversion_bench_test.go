package adjoint

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
	"lenskit/physics"
)

// largeMarginal is an image of 15,000 pixels with a PSF of 15 x 15, nested grids of 24² and 32² splines with an envelope, and
// a lens light of 18 Gaussians.
func largeMarginal(b testing.TB, threads int) (*Posterior, [][]float64) {
	const w, h, scale = 125, 120, 0.05
	k := physics.NewImage(15, 15, scale)
	for i := range k.Pix {
		x, y := float64(i%15)-7, float64(i/15)-7
		k.Pix[i] = math.Exp(-0.35*(x*x+1.1*y*y+0.2*x*y)) + 0.003*math.Exp(-0.05*(x*x+y*y))
	}
	m := pixelisedModel(PixelisedSpec{Grids: []physics.SplineGrid{{Half: 1.5, N: 24}, {X: 0.1, Half: 0.55, N: 32}}, Components: 1},
		Component{Group: GroupLensLight, Name: "mge", Kind: "mge", Amplitudes: AmplitudesNonNegative, Priors: mgePriors(0.01)})
	m.Components[0].Priors["theta_E"] = physics.Normal(1.2, 0.01)
	for i := range 8 {
		m.Components = append(m.Components, Component{Group: GroupLensLight, Name: fmt.Sprintf("g%d", i), Kind: "gaussian", Amplitudes: AmplitudesNonNegative,
			Priors: priors{"sigma": physics.Fixed(0.06 * math.Pow(1.5, float64(i))), "e1": physics.Normal(-0.1, 0.05), "e2": physics.Normal(0, 0.05), "center_x": physics.Normal(0, 0.02), "center_y": physics.Normal(0, 0.02)}})
	}
	rng := rand.New(rand.NewPCG(81, 1))
	o := Observation{W: w, H: h, PixelScale: scale, Data: make([]float64, w*h), Sigma: []float64{0.05}, PSF: physics.PSFSpec{Kernel: k}}
	for i := range o.Data {
		x, y := (float64(i%w)-w/2)*scale, (float64(i/w)-h/2)*scale
		r := math.Hypot(x, y)
		o.Data[i] = math.Exp(-50*(r-1.2)*(r-1.2))*(1+x/r) + 3*math.Exp(-r/0.3) + 0.05*rng.NormFloat64()
	}
	p := open(b, m, o, Options{Threads: threads})
	return p, benchPoints(p)
}

// BenchmarkMarginal15000x1600 is one evaluation of the evidence with its gradient: 15,000 rays, 1600 splines, 18 columns of
// light.
func BenchmarkMarginal15000x1600(b *testing.B) {
	p, us := largeMarginal(b, 0)
	grad := make([]float64, p.Dim())
	i := 0
	check.Measure(b, func() {
		i++
		mustLogProb(b, p, grad, us[i%2])
	})
}

// BenchmarkMarginalStages is its parts.
func BenchmarkMarginalStages(b *testing.B) {
	p, us := largeMarginal(b, 0)
	grad := make([]float64, p.Dim())
	mustLogProb(b, p, grad, us[0])
	v, c := p.inv, p.chain
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) { check.Measure(b, f) })
	}
	run("shoot", c.forward)
	run("locate", func() { v.op.Locate(c.px[1:], c.py[1:]) })
	run("columns", func() {

		for i := range v.drawn {
			v.drawn[i] = nil
		}
		v.drawColumns()
	})
	run("project", v.project)
	run("gram", func() { v.op.Gram(v.a, v.n) })
	spd := func() {
		clear(v.a)
		for i := range v.n {
			v.a[i*v.n+i] = 1
		}
	}
	run("factorise", func() { spd(); v.dense.factorise(v.a, v.n, v.work) })
	run("inverse", func() { spd(); v.dense.Inverse(v.n, v.a, v.n) })
	run("reverse", func() {
		if err := c.reverse(false); err != nil {
			b.Fatal(err)
		}
	})
	run("gradient", func() {
		if err := v.gradient(); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkMarginalGaussNewton is the evidence with its gradient and the Gauss-Newton matrix.
func BenchmarkMarginalGaussNewton(b *testing.B) {
	p, us := largeMarginal(b, 0)
	grad, hess := make([]float64, p.Dim()), mat.NewSymDense(p.Dim(), nil)
	i := 0
	check.Measure(b, func() {
		i++
		if _, err := p.LogProbHess(grad, hess, us[i%2]); err != nil {
			b.Fatal(err)
		}
	})
}

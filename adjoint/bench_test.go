package adjoint

import (
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
)

// paperPosterior is the paper's set-up: 256 x 256 pixels over 10 arcsec, SPLE and shear, a decoder of the paper's shape
// with 64 latents and random weights, a Gaussian PSF of 0.05 arcsec. us are two points to go back and forth between.
func paperPosterior(b testing.TB, interpolation string, threads int) (p *Posterior, us [][]float64) {
	b.Helper()
	needRuntime(b)
	m := paperModel(convDecoder(b, 5, 64, 512, 256, 128, 64, 1), interpolation)
	p = open(b, m, flatObservation(rand.New(rand.NewPCG(31, 1)), 256, 0.05), Options{Threads: threads})
	return p, benchPoints(p)
}

func benchPoints(p *Posterior) (us [][]float64) {
	rng := rand.New(rand.NewPCG(32, 1))
	for range 2 {
		u := check.Normals(rng, p.Dim())
		for i := range u[:min(8, len(u))] {
			u[i] *= 0.3
		}
		us = append(us, u)
	}
	return us
}

// BenchmarkStep256 is one iteration: the value and all 76 gradients.
func BenchmarkStep256(b *testing.B) {
	p, us := paperPosterior(b, "bilinear", 0)
	if p.Dim() != 76 {
		b.Fatalf("%d free coordinates, want 76", p.Dim())
	}
	grad := make([]float64, p.Dim())
	i := 0
	check.Measure(b, func() {
		i++
		mustLogProb(b, p.MAP(), grad, us[i%2])
	})
}

// BenchmarkStages256 is the parts of a step.
func BenchmarkStages256(b *testing.B) {
	for _, interpolation := range []string{"bilinear", "bicubic"} {
		p, us := paperPosterior(b, interpolation, 0)
		grad := make([]float64, p.Dim())
		mustLogProb(b, p.MAP(), grad, us[0])
		c, l := p.chain, &p.scene.lights[0]
		run := func(name string, f func()) {
			b.Run(interpolation+"/"+name, func(b *testing.B) { check.Measure(b, f) })
		}
		if interpolation == "bilinear" {
			run("decoder", func() {
				if err := l.dec.forward(l.img, l.z); err != nil {
					b.Fatal(err)
				}
			})
			run("decoder-adjoint", func() {
				if err := l.dec.reverse(c.gTheta[:64], c.gpix[0]); err != nil {
					b.Fatal(err)
				}
			})
			run("blur", func() { c.psf.Blur(c.model, c.plane) })
			run("blur-adjoint", func() { c.psf.BlurAdj(c.gPlane, c.gModel) })
			run("residual", func() { c.misfit(true) })
		}
		run("shoot-sample", func() { c.pool.Run(len(c.tiles), c.runForward) })
		run("shoot-sample-adjoint", func() { c.pool.Run(len(c.tiles), c.runReverse) })
		// the same latents: the decoder is not run again
		k := 0
		run("value-without-decoder", func() {
			k++
			us[0][0] = 0.1 * float64(k%2)
			mustLogProb(b, p.MAP(), nil, us[0])
		})
	}
}

// BenchmarkHess256 is the value, the gradient and the Gauss-Newton matrix, and its parts.
func BenchmarkHess256(b *testing.B) {
	p, us := paperPosterior(b, "bilinear", 0)
	grad, hess := make([]float64, p.Dim()), mat.NewSymDense(p.Dim(), nil)
	i := 0
	whole := func() {
		i++
		if _, err := p.MAP().LogProbHess(grad, hess, us[i%2]); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("whole", func(b *testing.B) { check.Measure(b, whole) })
	if p.jac == nil {
		whole()
	}
	j := p.jac
	b.Run("decoder-jacobian", func(b *testing.B) {
		check.Measure(b, func() {
			j.images[0].z = j.images[0].z[:0]
			if err := j.prepare(nil); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("columns", func(b *testing.B) { check.Measure(b, func() { j.columns(0, j.rows) }) })
	b.Run("products", func(b *testing.B) { check.Measure(b, func() { j.c.pool.Run(maxGroups, j.runSyrk) }) })
}

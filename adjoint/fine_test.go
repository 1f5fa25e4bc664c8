package adjoint

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
	"lenskit/physics"
)

// fineObservation is richObservation with a PSF of n x n pixels for each of the image's.
func fineObservation(side, sub, n int) Observation {
	o := richObservation(side, sub)
	o.PSF = physics.PSFSpec{Kernel: randomKernel(7, 5), Sampling: n}
	return o
}

// The model with a PSF on a finer grid is that of an image with as many pixels, averaged.
func TestFinePSFIsThatOfAFinerImage(t *testing.T) {
	for _, n := range []int{2, 3} {
		o := fineObservation(16, 2*n, n)
		o.Mask = nil
		big := Observation{W: n * o.W, H: n * o.H, PixelScale: o.PixelScale / float64(n), Sigma: []float64{1}, PSF: o.PSF, Supersampling: []int{2}}
		big.Data, big.PSF.Sampling = make([]float64, big.W*big.H), 0
		p := open(t, richModel(t, "bicubic"), o, Options{Device: "reference"})
		q := open(t, richModel(t, "bicubic"), big, Options{Device: "reference"})
		theta := make([]float64, len(p.Names()))
		p.Theta(theta, check.Normals(rand.New(rand.NewPCG(51, 1)), p.Dim()))
		a, err := p.Images(theta)
		if err != nil {
			t.Fatal(err)
		}
		b, err := q.Images(theta)
		if err != nil {
			t.Fatal(err)
		}
		compare := func(what string, got, fine []float64) {
			for k, v := range got {
				want := 0.0
				for j := range n {
					for i := range n {
						want += fine[(k/o.W*n+j)*big.W+k%o.W*n+i] / float64(n*n)
					}
				}
				check.Close(t, fmt.Sprintf("%s with %d: pixel %d", what, n, k), v, want, 1e-11, 1)
			}
		}
		compare("model", a.Model.Pix, b.Model.Pix)
		compare("lens light", a.LensLight.Pix, b.LensLight.Pix)
		model := make([]float64, o.W*o.H)
		if err := p.ModelImage(model, theta); err != nil {
			t.Fatal(err)
		}
		for k, used := range p.Noise().Used {
			if used {
				check.Close(t, "model image", model[k], a.Model.Pix[k], 1e-12, 1)
			}
		}
	}
}

func TestGradientAndMatrixWithAFinePSF(t *testing.T) {
	p := open(t, richModel(t, "bicubic"), fineObservation(18, 4, 2), Options{Device: "reference"})
	d := p.Dim()
	u := check.Normals(rand.New(rand.NewPCG(52, 1)), d)
	grad, hess := make([]float64, d), mat.NewSymDense(d, nil)
	if _, err := p.LogProbHess(grad, hess, u); err != nil {
		t.Fatal(err)
	}
	cols := imageColumns(t, p, u, 1e-6)
	for k := range u {
		e := make([]float64, d)
		e[k] = 1
		fd := check.Directional(func(x []float64) float64 { return mustLogProb(t, p, nil, x) }, u, e, 1e-6)
		check.Close(t, fmt.Sprintf("coordinate %d", k), grad[k], fd, 2e-4, 0.05)
		for l := k; l < d; l++ {
			want := check.Dot(cols[k], cols[l])
			if k == l {
				want++
			}
			check.Close(t, fmt.Sprintf("element %d, %d", k, l), hess.At(k, l), want, 1e-5, 0.01*hess.At(k, k))
		}
	}
	// in strips of rows
	if err := p.jac.cut(4); err != nil {
		t.Fatal(err)
	}
	again := mat.NewSymDense(d, nil)
	if _, err := p.LogProbHess(grad, again, u); err != nil {
		t.Fatal(err)
	}
	for k := range d {
		for l := k; l < d; l++ {
			check.Close(t, fmt.Sprintf("element %d, %d by strips", k, l), again.At(k, l), hess.At(k, l), 1e-10, 1e-9)
		}
	}
	if n := testing.AllocsPerRun(3, func() { p.chain.misfit(true); p.chain.psf.Blur(p.chain.model, p.chain.plane) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
	o := fineObservation(18, 3, 2)
	if q, err := New(richModel(t, "bicubic"), o, Options{Device: "reference"}); err == nil {
		q.Close()
		t.Error("3 rays for 2 pixels are accepted")
	}
}

package adjoint

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
)

// mixedObservation is richObservation with a number of rays of its own for each pixel, multiples of n, and a PSF of
// n x n pixels for each of the image's.
func mixedObservation(side, n int) Observation {
	o := fineObservation(side, n, n)
	rng := rand.New(rand.NewPCG(61, 1))
	o.Supersampling = make([]int, o.W*o.H)
	for i := range o.Supersampling {
		o.Supersampling[i] = n * (1 + rng.IntN(3))
	}
	return o
}

// The model with as many rays as each pixel asks for is, pixel by pixel, that of a grid that has as many everywhere.
func TestEachPixelHasTheMeanOfItsOwnRays(t *testing.T) {
	o := mixedObservation(20, 1)
	o.PSF.Kernel = nil
	p := open(t, richModel(t, "bicubic"), o, Options{Device: "reference"})
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, check.Normals(rand.New(rand.NewPCG(62, 1)), p.Dim()))
	got, err := p.Images(theta)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		uniform := o
		uniform.Supersampling = []int{n}
		want, err := open(t, richModel(t, "bicubic"), uniform, Options{Device: "reference"}).Images(theta)
		if err != nil {
			t.Fatal(err)
		}
		for k, m := range o.Supersampling {
			if m == n {
				check.Close(t, fmt.Sprintf("pixel %d with %d rays", k, n*n), got.Model.Pix[k], want.Model.Pix[k], 1e-13, 1)
				check.Close(t, fmt.Sprintf("lens light of pixel %d", k), got.LensLight.Pix[k], want.LensLight.Pix[k], 1e-13, 1)
			}
		}
	}
}

func TestGradientAndMatrixWithRaysOfEachPixelsOwn(t *testing.T) {
	for name, m := range map[string]Model{"one plane": richModel(t, "bicubic"), "several planes": planesModel(t)} {
		for _, n := range []int{1, 2} {
			name := fmt.Sprintf("%s, PSF of %d x %d", name, n, n)
			p := open(t, m, mixedObservation(18, n), Options{Device: "reference", Threads: 1})
			d := p.Dim()
			u := check.Normals(rand.New(rand.NewPCG(63, 1)), d)
			for i := range u {
				u[i] *= 0.5
			}
			grad, hess := make([]float64, d), mat.NewSymDense(d, nil)
			lp, err := p.LogProbHess(grad, hess, u)
			if err != nil {
				t.Fatal(err)
			}
			along := check.Normals(rand.New(rand.NewPCG(64, 1)), d)
			fd := check.Directional(func(x []float64) float64 { return mustLogProb(t, p, nil, x) }, u, along, 1e-6)
			check.Close(t, name+": derivative along a direction", check.Dot(grad, along), fd, 1e-5, 1)
			cols := imageColumns(t, p, u, 1e-5)
			for k := range d {
				for l := k; l < d; l++ {
					want := check.Dot(cols[k], cols[l])
					if k == l {
						want++
					}
					check.Close(t, fmt.Sprintf("%s: element %d, %d", name, k, l), hess.At(k, l), want, 1e-5, 0.01*hess.At(k, k))
				}
			}
			again, strips := make([]float64, d), mat.NewSymDense(d, nil)
			if err := p.jac.cut(4); err != nil {
				t.Fatal(err)
			}
			if _, err := p.LogProbHess(again, strips, u); err != nil {
				t.Fatal(err)
			}
			for k := range d {
				for l := k; l < d; l++ {
					check.Close(t, fmt.Sprintf("%s: element %d, %d by strips", name, k, l), strips.At(k, l), hess.At(k, l), 1e-10, 1e-9)
				}
			}
			for _, threads := range []int{2, 5} {
				q := open(t, m, mixedObservation(18, n), Options{Device: "reference", Threads: threads})
				other, matrix := make([]float64, d), mat.NewSymDense(d, nil)
				v, err := q.LogProbHess(other, matrix, u)
				if err != nil {
					t.Fatal(err)
				}
				if v != lp || !mat.Equal(matrix, hess) {
					t.Errorf("%s: %d threads: the density or its matrix differs", name, threads)
				}
				for k := range d {
					if other[k] != grad[k] {
						t.Errorf("%s: %d threads: gradient %d is %v, want %v", name, threads, k, other[k], grad[k])
					}
				}
				c := q.chain
				if a := testing.AllocsPerRun(3, func() { c.pool.Run(len(c.tiles), c.runForward); c.pool.Run(len(c.tiles), c.runReverse) }); a != 0 {
					t.Errorf("%s: %g allocations", name, a)
				}
			}
		}
	}
}

func TestRaysThatDoNotFitThePSFAreRefused(t *testing.T) {
	for _, change := range []func(o *Observation){
		func(o *Observation) { o.Supersampling[200] = 3 },
		func(o *Observation) { o.Supersampling[200] = 0 },
		func(o *Observation) { o.Supersampling = o.Supersampling[1:] },
	} {
		o := mixedObservation(18, 2)
		change(&o)
		if p, err := New(richModel(t, "bicubic"), o, Options{Device: "reference"}); err == nil {
			p.Close()
			t.Error("accepted")
		}
	}
}

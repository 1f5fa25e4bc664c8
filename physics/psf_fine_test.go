package physics

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lenskit/internal/check"
)

// A PSF given on a finer grid is the convolution there and the mean over each pixel, its adjoint passes the dot test with
// the rays' means before it, and no light goes farther than the margin says.
func TestFinePSFIsTheMeanOfTheFineBlur(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	const w, h = 14, 11
	for _, n := range []int{2, 3} {
		for name, kernel := range map[string]*Image{"small": randomKernel(rng, 5, 7), "large": randomKernel(rng, 23, 21), "gaussian": nil} {
			spec := PSFSpec{Kernel: kernel, Sampling: n}
			fineSpec := PSFSpec{Kernel: kernel}
			if kernel == nil {
				spec.Gaussian, fineSpec.Gaussian = 0.07, 0.07
			}
			psf, _, err := NewPSF(spec, w, h, 0.1, nil)
			if err != nil {
				t.Fatal(err)
			}
			fine, _, err := NewPSF(fineSpec, n*w, n*h, 0.1/float64(n), nil)
			if err != nil {
				t.Fatal(err)
			}
			src, g := check.Normals(rng, n*n*w*h), check.Normals(rng, w*h)
			blurred, dst := make([]float64, len(src)), check.Normals(rng, w*h)
			fine.Blur(blurred, src)
			psf.Blur(dst, src)
			for k := range dst {
				want := 0.0
				for b := range n {
					for a := range n {
						want += blurred[(k/w*n+b)*n*w+k%w*n+a] / float64(n*n)
					}
				}
				check.Close(t, name, dst[k], want, 1e-13, 1)
			}
			gsrc := check.Normals(rng, len(src))
			psf.BlurAdj(gsrc, g)
			check.Close(t, name+": dot test", check.Dot(gsrc, src), check.Dot(g, dst), 1e-12, math.Sqrt(w*h))

			rx, ry := psf.Margin()
			clear(src)
			for b := range n { // one pixel of the image is bright, at its corners too
				for a := range n {
					src[(5*n+b)*n*w+6*n+a] = 1
				}
			}
			psf.Blur(dst, src)
			far := 0.0
			for k, v := range dst {
				if absInt(k%w-6) > rx || absInt(k/w-5) > ry {
					far = math.Max(far, math.Abs(v))
				}
			}
			if far > 1e-12 {
				t.Errorf("%s, %d: %g goes beyond the margin %d, %d", name, n, far, rx, ry)
			}
			if allocs := testing.AllocsPerRun(5, func() { psf.Blur(dst, src); psf.BlurAdj(gsrc, g) }); allocs != 0 {
				t.Errorf("%s: %g allocations", name, allocs)
			}
		}
	}
}

func TestRefinedGridBinsIntoFinePixels(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 2))
	const w, h = 6, 5
	used := make([]bool, w*h)
	for i := range used {
		used[i] = i%3 > 0
	}
	for _, c := range [][2]int{{2, 2}, {6, 2}, {6, 3}} {
		sub, n := c[0], c[1]
		g, err := NewGrid(w, h, 0.1, used, 0, 0, []int{sub})
		if err == nil {
			err = g.Refine(n)
		}
		if err != nil {
			t.Fatal(err)
		}
		// the mean place of the rays of a fine pixel is its centre
		plane := make([]float64, g.PlaneLen())
		g.Bin(plane, g.X, 0, len(g.Pixel), 0)
		for _, p := range g.Pixel {
			i, j := int(p)%g.Box.W, int(p)/g.Box.W
			for a := range n {
				x := (float64(g.Box.X0+i) - 2.5 + (float64(a)+0.5)/float64(n) - 0.5) * 0.1
				check.Close(t, "x of a fine pixel", plane[j*n*n*g.Box.W+i*n+a], x, 1e-13, 1)
			}
		}
		// by stretches, the second half of the plane on its own
		cut := 0
		for int(g.Pixel[cut]) < 2*g.Box.W {
			cut++
		}
		m := sub * sub
		ray, gplane := check.Normals(rng, len(g.X)), check.Normals(rng, g.PlaneLen())
		clear(plane)
		g.Bin(plane, ray[:cut*m], 0, cut, 0)
		g.Bin(plane[2*g.Box.W*n*n:], ray[cut*m:], cut, len(g.Pixel), 2*g.Box.W)
		gray := make([]float64, len(ray))
		g.Unbin(gray[:3*m], gplane, 0, 3)
		g.Unbin(gray[3*m:], gplane, 3, len(g.Pixel))
		check.Close(t, "dot test", check.Dot(gray, ray), check.Dot(gplane, plane), 1e-13, 1)
		if err := g.Refine(4); err == nil || !strings.Contains(err.Error(), "divisor of the supersampling") {
			t.Errorf("got %v", err)
		}
	}
}

package physics

import (
	"math"
	"math/rand/v2"
	"testing"

	"lenskit/internal/check"
)

func TestGridHoldsUsedPixelsAndTheirMargin(t *testing.T) {
	const w, h, rx, ry = 19, 13, 2, 1
	rng := rand.New(rand.NewPCG(1, 2))
	used := make([]bool, w*h)
	for i := range used {
		used[i] = rng.Float64() < 0.02
	}
	used[5*w+7] = true
	g, err := NewGrid(w, h, 0.5, used, rx, ry, []int{1})
	if err != nil {
		t.Fatal(err)
	}
	have := map[int]bool{}
	for k, p := range g.Pixel {
		i, j := int(p)%g.Box.W+g.Box.X0, int(p)/g.Box.W+g.Box.Y0
		have[j*w+i] = true
		if x, y := (float64(i)-9)*0.5, (float64(j)-6)*0.5; g.X[k] != x || g.Y[k] != y {
			t.Fatalf("ray of pixel (%d, %d) is at (%g, %g), want (%g, %g)", i, j, g.X[k], g.Y[k], x, y)
		}
	}
	for j := range h {
		for i := range w {
			want := false
			for y := max(j-ry, 0); y <= min(j+ry, h-1); y++ {
				for x := max(i-rx, 0); x <= min(i+rx, w-1); x++ {
					want = want || used[y*w+x]
				}
			}
			if want != have[j*w+i] {
				t.Errorf("pixel (%d, %d): has rays %v, want %v", i, j, have[j*w+i], want)
			}
		}
	}
}

func TestBinAndUnbinAreAdjoint(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for _, sub := range []int{1, 3} {
		g, err := NewGrid(6, 5, 0.1, nil, 3, 3, []int{sub})
		if err != nil {
			t.Fatal(err)
		}
		mx := 0.0
		for i, x := range g.X[:sub*sub] { // the first pixel's rays are centred on it
			mx += (x + 0.25) + (g.Y[i] + 0.2)
		}
		if math.Abs(mx) > 1e-14 {
			t.Errorf("sub %d: rays are off their pixel by %g", sub, mx)
		}
		ray, plane := check.Normals(rng, len(g.X)), make([]float64, 30)
		gplane, gray := check.Normals(rng, 30), make([]float64, len(g.X))
		n := sub * sub
		g.Bin(plane, ray[:10*n], 0, 10, 0)
		g.Bin(plane[10:], ray[10*n:], 10, 30, 10)
		g.Unbin(gray[:7*n], gplane, 0, 7)
		g.Unbin(gray[7*n:], gplane, 7, 30)
		check.Close(t, "dot test", check.Dot(gray, ray), check.Dot(gplane, plane), 1e-13, 1)
	}
}

// Pixels with different numbers of rays: each gets the mean of its own, the adjoint passes the dot test, and stretches
// and shares hold whole pixels.
func TestPixelsMayHaveRaysOfTheirOwn(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 3))
	const w, h = 9, 7
	used, sub := make([]bool, w*h), make([]int, w*h)
	for i := range used {
		used[i], sub[i] = rng.Float64() < 0.7, 2*(1+rng.IntN(4))
	}
	for _, fine := range []int{1, 2} {
		g, err := NewGrid(w, h, 0.1, used, 0, 0, sub)
		if err == nil {
			err = g.Refine(fine)
		}
		if err != nil {
			t.Fatal(err)
		}
		f := func(x, y float64) float64 { return math.Exp(-30 * (x*x + 2*y*y)) }
		ray := make([]float64, len(g.X))
		for i := range ray {
			ray[i] = f(g.X[i], g.Y[i])
		}
		plane, width := make([]float64, g.PlaneLen()), fine*g.Box.W
		for from := 0; from < len(g.Pixel); from += 5 {
			to := min(from+5, len(g.Pixel))
			g.Bin(plane, g.Rays(ray, from, to), from, to, 0)
		}
		for _, p := range g.Pixel {
			i, j := g.Box.X0+int(p)%g.Box.W, g.Box.Y0+int(p)/g.Box.W
			m := sub[j*w+i] / fine
			for b := range fine {
				for a := range fine {
					want := 0.0
					for k := range m * m {
						x := float64(i) - 4.5 + (float64(a)+(float64(k%m)+0.5)/float64(m))/float64(fine)
						y := float64(j) - 3.5 + (float64(b)+(float64(k/m)+0.5)/float64(m))/float64(fine)
						want += f(0.1*x, 0.1*y) / float64(m*m)
					}
					at := ((j-g.Box.Y0)*fine+b)*width + (i-g.Box.X0)*fine + a
					check.Close(t, "mean of a pixel's rays", plane[at], want, 1e-13, 1)
				}
			}
		}
		ray, gplane, gray := check.Normals(rng, len(ray)), check.Normals(rng, len(plane)), make([]float64, len(ray))
		clear(plane)
		g.Bin(plane, ray, 0, len(g.Pixel), 0)
		g.Unbin(g.Rays(gray, 0, 11), gplane, 0, 11)
		g.Unbin(g.Rays(gray, 11, len(g.Pixel)), gplane, 11, len(g.Pixel))
		check.Close(t, "dot test", check.Dot(gray, ray), check.Dot(gplane, plane), 1e-13, 1)
		for _, n := range []int{1, 64, 150} {
			for from, to := 0, 0; from < len(g.Pixel); from = to {
				to = g.Reach(from, len(g.Pixel), n)
				if rays := len(g.Rays(ray, from, to)); to <= from || to > from+1 && rays > n {
					t.Errorf("stretch %d to %d has %d rays, want at most %d", from, to, rays, n)
				} else if to < len(g.Pixel) && len(g.Rays(ray, from, to+1)) <= n {
					t.Errorf("stretch %d to %d could be longer", from, to)
				}
			}
			end := 3
			for k := range n {
				from, to := g.Share(3, len(g.Pixel), k, n), g.Share(3, len(g.Pixel), k+1, n)
				if from != end || to < from {
					t.Fatalf("share %d is from %d to %d, want it to begin at %d", k, from, to, end)
				}
				if rays := len(g.Rays(ray, from, to)); rays > (len(ray)+n-1)/n+g.Most*g.Most {
					t.Errorf("share %d of %d has %d rays of %d", k, n, rays, len(ray))
				}
				end = to
			}
			if end != len(g.Pixel) {
				t.Errorf("%d shares end at %d, want %d", n, end, len(g.Pixel))
			}
		}
	}
}

func TestGridRefusesWhatIsNotAnImage(t *testing.T) {
	for name, f := range map[string]func() (*Grid, error){
		"no pixels":    func() (*Grid, error) { return NewGrid(0, 5, 1, nil, 0, 0, []int{1}) },
		"no scale":     func() (*Grid, error) { return NewGrid(5, 5, math.NaN(), nil, 0, 0, []int{1}) },
		"no rays":      func() (*Grid, error) { return NewGrid(5, 5, 1, nil, 0, 0, []int{0}) },
		"other mask":   func() (*Grid, error) { return NewGrid(5, 5, 1, make([]bool, 24), 0, 0, []int{1}) },
		"other rays":   func() (*Grid, error) { return NewGrid(5, 5, 1, nil, 0, 0, make([]int, 24)) },
		"nothing used": func() (*Grid, error) { return NewGrid(5, 5, 1, make([]bool, 25), 2, 2, []int{1}) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestNoiseMasksWhatCannotBeCompared(t *testing.T) {
	data := []float64{1, math.NaN(), 3, 4, 5, math.Inf(1), 7}
	sigma := []float64{0.5, 1, 0, -1, 1e8, 1, 2}
	mask := []bool{true, true, true, true, true, false, true}
	n, err := NewNoise(data, sigma, mask)
	if err != nil {
		t.Fatal(err)
	}
	if n.Pixels != 2 || n.BadData != 1 || n.BadNoise != 3 {
		t.Errorf("%d pixels, %d bad data, %d bad noise; want 2, 1, 3", n.Pixels, n.BadData, n.BadNoise)
	}
	model := []float64{2, 9, 9, 9, 9, 9, 4}
	g := make([]float64, 7)
	chi2 := Residual(g, model, n.Data, n.Weight)
	check.Close(t, "χ²", chi2, 4+2.25, 1e-15, 0)
	check.Close(t, "gradient", g[6], 0.75, 1e-15, 0)
	check.Close(t, "log norm", n.LogNorm, -math.Log(0.5)-math.Log(2)-math.Log(2*math.Pi), 1e-15, 1)
	if g[1] != 0 || g[5] != 0 {
		t.Errorf("masked pixels have gradients %v", g)
	}
	for name, f := range map[string]func() (*Noise, error){
		"zero sigma":  func() (*Noise, error) { return NewNoise(data, []float64{0}, nil) },
		"nan sigma":   func() (*Noise, error) { return NewNoise(data, []float64{math.NaN()}, nil) },
		"other shape": func() (*Noise, error) { return NewNoise(data, sigma[:3], nil) },
		"other mask":  func() (*Noise, error) { return NewNoise(data, sigma, mask[:2]) },
		"all masked":  func() (*Noise, error) { return NewNoise(data, sigma, make([]bool, 7)) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

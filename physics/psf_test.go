package physics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lenskit/internal/check"
)

// blurNaively is the definition: dst(i, j) = Σ k(u, v) src(i-u+rx, j-v+ry) with zeros outside.
func blurNaively(k *Image, src []float64, w, h int) []float64 {
	dst := make([]float64, w*h)
	for j := range h {
		for i := range w {
			for v := range k.H {
				for u := range k.W {
					x, y := i-u+k.W/2, j-v+k.H/2
					if x >= 0 && x < w && y >= 0 && y < h {
						dst[j*w+i] += k.At(u, v) * src[y*w+x]
					}
				}
			}
		}
	}
	return dst
}

func randomKernel(rng *rand.Rand, w, h int) *Image {
	k := NewImage(w, h, 1)
	for i := range k.Pix {
		k.Pix[i] = rng.Float64() / float64(w*h) * 2
	}
	return k
}

// everyPSF builds each implementation on a w x h plane, with the kernel it stands for.
func everyPSF(t *testing.T, rng *rand.Rand, w, h int, pool *Pool) map[string]struct {
	psf    PSF
	kernel *Image
} {
	t.Helper()
	out := map[string]struct {
		psf    PSF
		kernel *Image
	}{}
	add := func(name string, p PSF, k *Image) {
		out[name] = struct {
			psf    PSF
			kernel *Image
		}{p, k}
	}
	k := randomKernel(rng, 7, 5)
	add("direct", newDirect(k, w, h, pool), k)
	add("fft", newFFTPSF(k, w, h, pool), k)
	big := randomKernel(rng, 41, 31)
	add("fft of a kernel larger than the plane", newFFTPSF(big, w, h, pool), big)
	add("direct with a kernel larger than the plane", newDirect(big, w, h, pool), big)
	row, col := check.Normals(rng, 5), check.Normals(rng, 9)
	outer := NewImage(5, 9, 1)
	for j := range col {
		for i := range row {
			outer.Pix[j*5+i] = col[j] * row[i]
		}
	}
	add("separable", newSeparable(row, col, w, h, pool), outer)
	gauss, _, err := NewPSF(PSFSpec{Gaussian: 0.11}, w, h, 0.1, pool)
	if err != nil {
		t.Fatal(err)
	}
	taps := gauss.(*separable).across[0]
	kg := NewImage(len(taps), len(taps), 0.1)
	for j := range taps {
		for i := range taps {
			kg.Pix[j*len(taps)+i] = taps[i] * taps[j]
		}
	}
	add("gaussian", gauss, kg)
	none, _, err := NewPSF(PSFSpec{}, w, h, 0.1, pool)
	if err != nil {
		t.Fatal(err)
	}
	add("none", none, &Image{W: 1, H: 1, Pix: []float64{1}})
	return out
}

func TestBlurIsTheDefinitionAndAdjoint(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for _, size := range [][2]int{{33, 21}, {16, 40}, {1, 1}} {
		w, h := size[0], size[1]
		for name, c := range everyPSF(t, rng, w, h, nil) {
			src, g := check.Normals(rng, w*h), check.Normals(rng, w*h)
			dst := check.Normals(rng, w*h) // Blur overwrites
			c.psf.Blur(dst, src)
			for i, want := range blurNaively(c.kernel, src, w, h) {
				if math.Abs(dst[i]-want) > 1e-13*float64(len(c.kernel.Pix)) {
					t.Fatalf("%s, %d x %d: pixel %d is %g, want %g", name, w, h, i, dst[i], want)
				}
			}
			gsrc := check.Normals(rng, w*h) // BlurAdj overwrites
			c.psf.BlurAdj(gsrc, g)
			check.Close(t, name+": dot test", check.Dot(gsrc, src), check.Dot(g, dst), 1e-12, math.Sqrt(float64(w*h)))
		}
	}
}

func TestBlurDoesNotDependOnThreadsAndDoesNotAllocate(t *testing.T) {
	const w, h = 50, 70
	pool := NewPool(3)
	defer pool.Close()
	src := check.Normals(rand.New(rand.NewPCG(4, 1)), w*h)
	one := everyPSF(t, rand.New(rand.NewPCG(5, 1)), w, h, nil)
	for name, c := range everyPSF(t, rand.New(rand.NewPCG(5, 1)), w, h, pool) {
		a, b := make([]float64, w*h), make([]float64, w*h)
		c.psf.Blur(a, src)
		c.psf.BlurAdj(a, src)
		one[name].psf.Blur(b, src)
		one[name].psf.BlurAdj(b, src)
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("%s: pixel %d is %v with three threads, %v with one", name, i, a[i], b[i])
			}
		}
		if n := testing.AllocsPerRun(5, func() { c.psf.Blur(a, src); c.psf.BlurAdj(b, a) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestKernelsAreMadeFitToUse(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	peakAt := func(w, h, i, j int, v float64) *Image {
		k := NewImage(w, h, 1)
		k.Pix[j*w+i] = v
		return k
	}
	for _, c := range []struct {
		name   string
		k      *Image
		notice string
		w, h   int
		pix    []float64
	}{
		{"already fit", peakAt(3, 3, 1, 1, 1), "", 1, 1, []float64{1}},
		{"unnormalised", peakAt(3, 3, 1, 1, 4), "sum was 4", 1, 1, []float64{1}},
		{"even, centred at n/2", peakAt(4, 4, 2, 2, 1), "line of zeros at the end", 1, 1, []float64{1}},
		{"even, centred at n/2-1", peakAt(4, 4, 1, 1, 1), "line of zeros at the start", 1, 1, []float64{1}},
		{"off centre stays off centre", peakAt(5, 3, 4, 1, 1), "centroid is (2.00, 0.00) pixels off", 5, 1, []float64{0, 0, 0, 0, 1}},
	} {
		got, notices, err := centredKernel(c.k)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if text := strings.Join(notices, "; "); (c.notice == "") != (text == "") || !strings.Contains(text, c.notice) {
			t.Errorf("%s: notices %q, want %q", c.name, text, c.notice)
		}
		if got.W != c.w || got.H != c.h || fmt.Sprint(got.Pix) != fmt.Sprint(c.pix) {
			t.Errorf("%s: %d x %d %v, want %d x %d %v", c.name, got.W, got.H, got.Pix, c.w, c.h, c.pix)
		}
	}
	for name, k := range map[string]*Image{
		"zero":      NewImage(3, 3, 1),
		"sum 0":     {W: 3, H: 1, Scale: 1, Pix: []float64{-0.5, 1.0000000001, -0.5}},
		"nan":       peakAt(3, 3, 0, 0, math.NaN()),
		"negative":  peakAt(3, 3, 0, 0, -1),
		"too short": {W: 3, H: 3, Pix: []float64{1}},
	} {
		if _, _, err := NewPSF(PSFSpec{Kernel: k}, 9, 9, 1, nil); err == nil {
			t.Errorf("%s kernel is accepted", name)
		}
	}
	for _, sigma := range []float64{-1, math.NaN(), math.Inf(1)} {
		if _, _, err := NewPSF(PSFSpec{Gaussian: sigma}, 9, 9, 1, nil); err == nil {
			t.Errorf("gaussian of width %g is accepted", sigma)
		}
	}
	// separable kernels are found, others are not
	outer, other := NewImage(5, 7, 1), randomKernel(rng, 5, 7)
	for j := range 7 {
		for i := range 5 {
			outer.Pix[j*5+i] = math.Exp(-float64((i-2)*(i-2))) * math.Exp(-float64((j-3)*(j-3))/3)
		}
	}
	if p, _, _ := NewPSF(PSFSpec{Kernel: outer}, 30, 30, 1, nil); p == nil {
		t.Error("no psf")
	} else if _, ok := p.(*separable); !ok {
		t.Errorf("an outer product runs as %T", p)
	}
	if p, _, _ := NewPSF(PSFSpec{Kernel: other}, 30, 30, 1, nil); p == nil {
		t.Error("no psf")
	} else if _, ok := p.(*direct); !ok {
		t.Errorf("a small random kernel runs as %T", p)
	}
	if p, _, _ := NewPSF(PSFSpec{Kernel: randomKernel(rng, 61, 61)}, 200, 200, 1, nil); p == nil {
		t.Error("no psf")
	} else if _, ok := p.(*fftPSF); !ok {
		t.Errorf("a large random kernel runs as %T", p)
	}
}

// An even kernel that is centred between pixels keeps its moments: those of the kernel itself, about its own middle. Near a
// smooth one the interpolated kernel is the Gaussian sampled at pixel centres.
func TestEvenKernelsKeepTheirWidth(t *testing.T) {
	for _, c := range []struct {
		w, h   int
		sx, sy float64
		tol    float64 // of the values, in parts of the peak
	}{{10, 10, 1, 1, 0.03}, {20, 16, 1.8, 1.6, 1e-3}, {14, 13, 1.2, 1.5, 0.01}, {2, 2, 0.5, 0.5, 1}} {
		k, x0, y0 := NewImage(c.w, c.h, 1), float64(c.w-1)/2, float64(c.h-1)/2
		at := func(x, y float64) float64 { return math.Exp(-x*x/2/(c.sx*c.sx) - y*y/2/(c.sy*c.sy)) }
		for i := range k.Pix {
			k.Pix[i] = at(float64(i%c.w)-x0, float64(i/c.w)-y0)
		}
		got, notices, err := centredKernel(k)
		if err != nil || !strings.Contains(strings.Join(notices, ";"), "half a pixel") {
			t.Fatalf("%v: %v, %v", c, notices, err)
		}
		if got.W%2 != 1 || got.H%2 != 1 {
			t.Fatalf("%v: got %d x %d", c, got.W, got.H)
		}
		moments := func(m *Image) (v [6]float64) {
			for i, p := range m.Pix {
				x, y := float64(i%m.W)-float64(m.W-1)/2, float64(i/m.W)-float64(m.H-1)/2
				for n, f := range []float64{1, x, y, x * x, y * y, x * y} {
					v[n] += p * f
				}
			}
			for n := 1; n < 6; n++ {
				v[n] /= v[0]
			}
			return v
		}
		a, b := moments(got), moments(k)
		for n := 1; n < 6; n++ {
			check.Close(t, fmt.Sprintf("%v: moment %d", c, n), a[n], b[n], 1e-11, 1)
		}
		check.Close(t, "sum", a[0], 1, 1e-13, 0)
		peak := got.At(got.W/2, got.H/2)
		for i, p := range got.Pix {
			want := at(float64(i%got.W-got.W/2), float64(i/got.W-got.H/2))
			if math.Abs(p/peak-want) > c.tol {
				t.Fatalf("%v: pixel %d is %g, want %g", c, i, p/peak, want)
			}
		}
	}
}

func BenchmarkBlur(b *testing.B) {
	rng := rand.New(rand.NewPCG(7, 1))
	const w, h = 256, 256
	src, dst := check.Normals(rng, w*h), make([]float64, w*h)
	gauss, _, err := NewPSF(PSFSpec{Gaussian: 0.05}, w, h, 0.0390625, nil)
	if err != nil {
		b.Fatal(err)
	}
	cases := []struct {
		name string
		psf  PSF
	}{{"gaussian", gauss}}
	for _, n := range []int{7, 15, 21, 31, 61} {
		k := randomKernel(rng, n, n)
		cases = append(cases, struct {
			name string
			psf  PSF
		}{fmt.Sprintf("direct%d", n), newDirect(k, w, h, nil)}, struct {
			name string
			psf  PSF
		}{fmt.Sprintf("fft%d", n), newFFTPSF(k, w, h, nil)})
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.psf.Blur(dst, src)
			}
		})
	}
}

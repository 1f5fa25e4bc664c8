package physics

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"lenskit/internal/check"
)

// lookupNaively sums every pixel of the image times its kernel weight at the position, in pixels.
func lookupNaively(name string, img []float64, w, h int, px, py float64) float64 {
	weight := func(d float64) float64 {
		d = math.Abs(d)
		switch {
		case name == "bilinear" && d < 1:
			return 1 - d
		case name == "bicubic" && d < 1:
			return 1.5*d*d*d - 2.5*d*d + 1
		case name == "bicubic" && d < 2:
			return -0.5*d*d*d + 2.5*d*d - 4*d + 2
		}
		return 0
	}
	s := 0.0
	for j := range h {
		for i := range w {
			s += img[j*w+i] * weight(px-float64(i)) * weight(py-float64(j))
		}
	}
	return s
}

// randomPixels is a light with a random image, and rays of which some miss it.
func randomPixels(t testing.TB, rng *rand.Rand, name string, w, h, n int) (p *Pixels, img, x, y []float64) {
	t.Helper()
	p, err := NewPixels(name, w, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Set([]float64{1.7, 3.1, 0.2, -0.3}); err != nil {
		t.Fatal(err)
	}
	img = check.Normals(rng, w*h)
	p.SetImage(img)
	x, y = make([]float64, n), make([]float64, n)
	for i := range x {
		x[i], y[i] = 0.2+4.2*(rng.Float64()-0.5), -0.3+4.2*(rng.Float64()-0.5)
	}
	return p, img, x, y
}

func TestLookupIsTheDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, name := range Interpolations() {
		for _, size := range [][2]int{{8, 5}, {1, 1}, {64, 64}} {
			w, h := size[0], size[1]
			p, img, x, y := randomPixels(t, rng, name, w, h, 700)
			got := make([]float64, len(x))
			p.Brightness(got, x, y)
			for i := range x {
				px, py := ((x[i]-0.2)/3.1+0.5)*float64(w)-0.5, ((y[i]+0.3)/3.1+0.5)*float64(h)-0.5
				want := 1.7 * lookupNaively(name, img, w, h, px, py)
				if math.Abs(got[i]-want) > 1e-12 {
					t.Fatalf("%s %d x %d at pixel position (%g, %g): %g, want %g", name, w, h, px, py, got[i], want)
				}
			}
		}
	}
}

func TestPixelsAdjointAndJacobian(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	for _, name := range Interpolations() {
		const w, h, n = 9, 7, 300
		p, img, x, y := randomPixels(t, rng, name, w, h, n)
		theta := []float64{1.7, 3.1, 0.2, -0.3}
		g := check.Normals(rng, n)
		gp, gimg := make([]float64, 4), make([]float64, p.PadLen())
		gx, gy := make([]float64, n), make([]float64, n)
		p.BrightnessVJPImage(gp, gimg, gx, gy, g, x, y)
		gpix := make([]float64, w*h)
		p.Unpad(gpix, gimg)
		// everything as one function of parameters, image and positions
		at := append(append(append(append([]float64(nil), theta...), img...), x...), y...)
		f := func(v []float64) float64 {
			q, _ := NewPixels(name, w, h)
			if err := q.Set(v[:4]); err != nil {
				t.Fatal(err)
			}
			q.SetImage(v[4 : 4+w*h])
			dst := make([]float64, n)
			q.Brightness(dst, v[4+w*h:4+w*h+n], v[4+w*h+n:])
			return check.Dot(dst, g)
		}
		grad := append(append(append(append([]float64(nil), gp...), gpix...), gx...), gy...)
		for range 5 {
			v := check.Normals(rng, len(at))
			check.Close(t, name+": directional derivative", check.Dot(grad, v), check.Directional(f, at, v, 1e-7), 1e-5, 10)
		}
		// the Jacobian's columns are the VJP's rows
		jp := [][]float64{make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)}
		jx, jy := make([]float64, n), make([]float64, n)
		p.BrightnessJac(jp, jx, jy, x, y)
		for k := range jp {
			check.Close(t, name+": column", check.Dot(jp[k], g), gp[k], 1e-12, 10)
		}
		for i := range jx {
			check.Close(t, name+": ∂I/∂x", jx[i]*g[i], gx[i], 1e-12, 1)
			check.Close(t, name+": ∂I/∂y", jy[i]*g[i], gy[i], 1e-12, 1)
		}
		// columns by images, one of them left out
		a, b := check.Normals(rng, w*h), check.Normals(rng, w*h)
		pa, pb := make([]float64, p.PadLen()), make([]float64, p.PadLen())
		p.Pad(pa, a)
		p.Pad(pb, b)
		da, db := make([]float64, n), make([]float64, n)
		p.LookupEach([][]float64{da, nil, db}, [][]float64{pa, pa, pb}, x, y)
		check.Close(t, name+": image dot test a", check.Dot(da, g), check.Dot(a, gpix), 1e-12, 10)
		check.Close(t, name+": image dot test b", check.Dot(db, g), check.Dot(b, gpix), 1e-12, 10)
	}
}

func TestBilinearKinksTakeTheCellToTheRight(t *testing.T) {
	p, err := NewPixels("bilinear", 4, 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Set([]float64{1, 4, 0, 0}); err != nil { // a pixel is 1 arcsec; pixel (i, j) is at (i-1.5, j-1.5)
		t.Fatal(err)
	}
	img := make([]float64, 16)
	for j := range 4 {
		for i := range 4 {
			img[j*4+i] = float64(i*i) + 10*float64(j*j)
		}
	}
	p.SetImage(img)
	jx, jy := make([]float64, 1), make([]float64, 1)
	p.BrightnessJac(nil, jx, jy, []float64{-0.5}, []float64{0.5}) // pixel (1, 2)
	if jx[0] != 3 || jy[0] != 50 {
		t.Errorf("slopes (%g, %g) at pixel (1, 2), want those to the right and above (3, 50)", jx[0], jy[0])
	}
	if d := p.Border(-0.5, 0.25); d != 0 {
		t.Errorf("distance %g to the border, want 0", d)
	}
	if d := p.Border(-0.3, 0.25); math.Abs(d-0.2) > 1e-15 {
		t.Errorf("distance %g to the border, want 0.2", d)
	}
	if d := p.Border(2.6, 0); !math.IsInf(d, 1) {
		t.Errorf("distance %g to the border from outside, want +Inf", d)
	}
}

func TestBicubicIsSmoothAcrossBorders(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 1))
	p, _, _, _ := randomPixels(t, rng, "bicubic", 6, 6, 1)
	if err := p.Set([]float64{1, 6, 0, 0}); err != nil {
		t.Fatal(err)
	}
	slope := func(x, y float64) (float64, float64) {
		jx, jy := make([]float64, 1), make([]float64, 1)
		p.BrightnessJac(nil, jx, jy, []float64{x}, []float64{y})
		return jx[0], jy[0]
	}
	for x := -4.5; x <= 4.5; x++ { // lines through pixel centres, and where the image begins and ends to be seen
		y := 6*rng.Float64() - 3
		ax, ay := slope(x-1e-9, y)
		bx, by := slope(x+1e-9, y)
		if math.Abs(ax-bx)+math.Abs(ay-by) > 1e-7 {
			t.Errorf("slope jumps from (%g, %g) to (%g, %g) at x = %g", ax, ay, bx, by, x)
		}
	}
}

func TestPixelsHardPoints(t *testing.T) {
	for _, name := range Interpolations() {
		p, err := NewPixels(name, 3, 3)
		if err != nil {
			t.Fatal(err)
		}
		p.SetImage([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9})
		x := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1e300, 0}
		y := []float64{0, 0, 0, 1e300, 0, math.NaN()}
		dst := make([]float64, len(x))
		p.Brightness(dst, x, y)
		gp, gimg := make([]float64, 4), make([]float64, p.PadLen())
		g := []float64{1, 1, 1, 1, 1, 1}
		p.BrightnessVJPImage(gp[:4], gimg, nil, nil, g[:0], nil, nil) // no rays at all
		for i, v := range dst {
			if v != 0 {
				t.Errorf("%s: brightness %g at (%g, %g), want 0", name, v, x[i], y[i])
			}
		}
		for _, s := range []float64{0, -1, math.NaN(), 1e-320} {
			if err := p.Set([]float64{1, s, 0, 0}); !errors.Is(err, ErrRange) {
				t.Errorf("%s: width %g: error %v, want ErrRange", name, s, err)
			}
		}
	}
	if _, err := NewPixels("nearest", 3, 3); err == nil {
		t.Error("an unknown interpolation is accepted")
	}
	if _, err := NewPixels("", 0, 3); err == nil {
		t.Error("an image without pixels is accepted")
	}
}

func TestPixelsDoNotAllocate(t *testing.T) {
	for _, name := range Interpolations() {
		p, _, x, y := randomPixels(t, rand.New(rand.NewPCG(10, 1)), name, 20, 20, 500)
		v, gx, gy := make([]float64, len(x)), make([]float64, len(x)), make([]float64, len(x))
		gp, gimg := make([]float64, 4), make([]float64, p.PadLen())
		jp, cols, imgs := [][]float64{v, v, v, v}, [][]float64{v}, [][]float64{gimg}
		n := testing.AllocsPerRun(5, func() {
			p.Brightness(v, x, y)
			p.BrightnessVJPImage(gp, gimg, gx, gy, v, x, y)
			p.BrightnessJac(jp, gx, gy, x, y)
			p.LookupEach(cols, imgs, x, y)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPixels(b *testing.B) {
	for _, name := range Interpolations() {
		p, _, x, y := randomPixels(b, rand.New(rand.NewPCG(9, 1)), name, 64, 64, 65536)
		for i := range x { // neighbours in the image are neighbours in the source
			x[i] = 0.2 + 3*(float64(i%256)/256-0.5)
			y[i] = -0.3 + 3*(float64(i/256)/256-0.5)
		}
		dst, gx, gy := make([]float64, len(x)), make([]float64, len(x)), make([]float64, len(x))
		gp, gimg := make([]float64, 4), make([]float64, p.PadLen())
		b.Run(name+"/forward", func(b *testing.B) {
			for b.Loop() {
				p.Brightness(dst, x, y)
			}
		})
		b.Run(name+"/reverse", func(b *testing.B) {
			for b.Loop() {
				p.BrightnessVJPImage(gp, gimg, gx, gy, dst, x, y)
			}
		})
	}
}

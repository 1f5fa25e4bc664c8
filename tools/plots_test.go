package tools

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"gonum.org/v1/plot/vg"

	"lenskit/internal/check"
	"lenskit/physics"
)

func TestColourScaleAndItsInverseAgree(t *testing.T) {
	for _, s := range []colorScale{{Lo: -1, Hi: 3}, {Lo: -0.5, Hi: 4000, Soft: 0.3}} {
		for _, v := range []float64{s.Lo, 0, 0.1, 1, s.Hi} {
			if got := s.value(s.norm(v)); math.Abs(got-v) > 1e-9*math.Max(1, math.Abs(v)) {
				t.Errorf("%+v: value(norm(%g)) = %g", s, v, got)
			}
		}
		ticks := s.ticks()
		if len(ticks) < 3 || len(ticks) > 14 {
			t.Errorf("%+v: %d ticks: %v", s, len(ticks), ticks)
		}
	}
}

func TestRoundTicksAreFewAndRound(t *testing.T) {
	got := roundTicks(-5, 5, 5)
	want := []float64{-4, -2, 0, 2, 4}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if s := tickText(-0.30000000000000004, 1); s != "−0.3" {
		t.Errorf("got %q", s)
	}
}

func TestFigureHasTheSizeOfItsPanels(t *testing.T) {
	pix := make([]float64, 32*24)
	for i := range pix {
		x, y := float64(i%32)-15.5, float64(i/32)-11.5
		pix[i] = math.Exp(-(x*x+2*y*y)/60) + 0.01*math.Sin(float64(i*i))
	}
	pix[40] = math.NaN()
	dir := t.TempDir()
	if d := os.Getenv("LENSKIT_KEEP_FIGURES"); d != "" {
		dir = d
	}
	path := filepath.Join(dir, "panels.png")
	p := panel{Title: "data", W: 32, H: 24, Pix: pix, X0: -1.6, Y0: -1.2, X1: 1.6, Y1: 1.2, Bar: "electron/s", Scale: brightness(pix, 0)}
	q := p
	q.Title, q.Scale = "residual", colorScale{Lo: -5, Hi: 5, Map: blueRed()}
	q.Bar = "(data − model)/σ"
	r := p
	r.Title, r.Scale = "asinh", colorScale{Lo: -0.01, Hi: 1, Soft: 0.01, Map: inferno}
	r.Curves = [][]point{{{-1, 0}, {0, 1}, {3, 0}}}
	if err := drawFigure(path, []panel{p, q, r}, 2); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	w := int(math.Round(float64(2 * cellWidth.Dots(figureDPI))))
	if d := img.Bounds(); abs(d.Dx()-w) > 2 {
		t.Errorf("got %v, want width %d", d, w)
	}
}

func TestPanelsAreCroppedToTheUsedPixels(t *testing.T) {
	const w, h = 40, 30
	mask := plane{Image: physics.NewImage(w, h, 0.2)}
	pix := make([]float64, w*h)
	for k := range pix {
		pix[k] = float64(k)
		if i, j := k%w, k/w; i >= 10 && i < 30 && j >= 5 && j < 15 {
			mask.Pix[k] = 1
		}
	}
	x0, y0, x1, y1 := usedBox(mask)
	if x0 != 7 || x1 != 33 || y0 != 4 || y1 != 16 {
		t.Fatalf("box %d to %d, %d to %d, expected 7 to 33, 4 to 16", x0, x1, y0, y1)
	}
	p := panel{W: w, H: h, Pix: pix, X0: -4, X1: 4, Y0: -3, Y1: 3}.crop(x0, y0, x1, y1)
	if p.W != 26 || p.H != 12 || len(p.Pix) != 26*12 || p.Pix[0] != 4*w+7 || p.Pix[len(p.Pix)-1] != 15*w+32 {
		t.Errorf("cropped to %d x %d from %v to %v", p.W, p.H, p.Pix[0], p.Pix[len(p.Pix)-1])
	}
	check.Close(t, "left", p.X0, -4+7*0.2, 1e-12, 1)
	check.Close(t, "right", p.X1, -4+33*0.2, 1e-12, 1)
	check.Close(t, "bottom", p.Y0, -3+4*0.2, 1e-12, 1)
	check.Close(t, "top", p.Y1, -3+16*0.2, 1e-12, 1)
}

// A lens steeper than isothermal, or as steep, has one critical curve, a shallower one a second around its centre.
func TestCriticalCurvesOfPowerLaws(t *testing.T) {
	for _, c := range []struct {
		gamma float64
		want  int
	}{{1.7, 2}, {2, 1}, {2.0267, 1}, {2.3, 1}} {
		for _, at := range [][2]float64{{0, 0}, {-0.0095, 0.0101}, {0.013, 0.0071}} {
			l, err := physics.NewLens("epl")
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Set([]float64{1.468, c.gamma, 0.025, 0.065, at[0], at[1]}); err != nil {
				t.Fatal(err)
			}
			critical, caustics := lensSum{l}.curves(5, 5)
			if len(critical) != c.want || len(caustics) != c.want {
				t.Errorf("gamma %v at %v: %d critical curves, want %d", c.gamma, at, len(critical), c.want)
			}
			if lo, hi := bounds(critical[0]); math.Abs(hi.X-lo.X-2*1.468) > 0.2 {
				t.Errorf("gamma %v at %v: the outer curve is %v wide", c.gamma, at, hi.X-lo.X)
			}
		}
	}
}

func TestTickLabelsDoNotTouch(t *testing.T) {
	style := textStyle(smallSize, 0, 0)
	for _, c := range [][2]float64{{129803, 129848}, {-0.0205, -0.019}, {1.7895, 1.7955}, {-3, 900}} {
		for length := vg.Points(40); length < vg.Points(400); length += vg.Points(7) {
			v := fewTicks(c[0], c[1], length, true)
			if len(v) == 0 {
				t.Errorf("%v along %v: no ticks", c, length)
			}
			for i := 1; i < len(v); i++ {
				apart := length * vg.Length((v[i]-v[i-1])/(c[1]-c[0]))
				if w := (style.Width(tickText(v[i], c[1]-c[0])) + style.Width(tickText(v[i-1], c[1]-c[0]))) / 2; apart <= w {
					t.Errorf("%v along %v: labels of width %v are %v apart", c, length, w, apart)
				}
			}
		}
	}
}

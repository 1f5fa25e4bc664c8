package figure

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"lenskit/tools/internal/fits"
	"lenskit/tools/lensing"
)

// value is the inverse of Norm.
func (s *ColorScale) value(t float64) float64 {
	if s.Soft > 0 {
		a, b := math.Asinh(s.Lo/s.Soft), math.Asinh(s.Hi/s.Soft)
		return s.Soft * math.Sinh(a+t*(b-a))
	}
	return s.Lo + t*(s.Hi-s.Lo)
}

func TestColourScaleAndItsInverseAgree(t *testing.T) {
	for _, s := range []ColorScale{{Lo: -1, Hi: 3}, {Lo: -0.5, Hi: 4000, Soft: 0.3}} {
		for _, v := range []float64{s.Lo, 0, 0.1, 1, s.Hi} {
			if got := s.value(s.Norm(v)); math.Abs(got-v) > 1e-9*math.Max(1, math.Abs(v)) {
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
	got := RoundTicks(-5, 5, 5)
	want := []float64{-4, -2, 0, 2, 4}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if s := TickText(-0.30000000000000004, 1); s != "−0.3" {
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
	p := Panel{Title: "data", W: 32, H: 24, Pix: pix, X0: -1.6, Y0: -1.2, X1: 1.6, Y1: 1.2, Bar: "electron/s", Scale: Brightness(pix, 0)}
	q := p
	q.Title, q.Scale = "residual", ColorScale{Lo: -5, Hi: 5, Map: BlueRed()}
	q.Bar = "(data − model)/σ"
	r := p
	r.Title, r.Scale = "asinh", ColorScale{Lo: -0.01, Hi: 1, Soft: 0.01, Map: Inferno}
	r.Curves = [][]lensing.Point{{{X: -1, Y: 0}, {X: 0, Y: 1}, {X: 3, Y: 0}}}
	if err := Draw(path, []Panel{p, q, r}, 2); err != nil {
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
	w := int(math.Round(float64(2 * CellWidth.Dots(DPI))))
	if d := img.Bounds(); fits.Abs(d.Dx()-w) > 2 {
		t.Errorf("got %v, want width %d", d, w)
	}
}

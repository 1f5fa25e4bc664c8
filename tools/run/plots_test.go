package run

import (
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/tools/internal/figure"
)

func TestPanelsAreCroppedToTheUsedPixels(t *testing.T) {
	const w, h = 40, 30
	mask := Plane{Image: physics.NewImage(w, h, 0.2)}
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
	p := figure.Panel{W: w, H: h, Pix: pix, X0: -4, X1: 4, Y0: -3, Y1: 3}.Crop(x0, y0, x1, y1)
	if p.W != 26 || p.H != 12 || len(p.Pix) != 26*12 || p.Pix[0] != 4*w+7 || p.Pix[len(p.Pix)-1] != 15*w+32 {
		t.Errorf("cropped to %d x %d from %v to %v", p.W, p.H, p.Pix[0], p.Pix[len(p.Pix)-1])
	}
	check.Close(t, "left", p.X0, -4+7*0.2, 1e-12, 1)
	check.Close(t, "right", p.X1, -4+33*0.2, 1e-12, 1)
	check.Close(t, "bottom", p.Y0, -3+4*0.2, 1e-12, 1)
	check.Close(t, "top", p.Y1, -3+16*0.2, 1e-12, 1)
}

package observation

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
)

func TestBinningKeepsTheCentre(t *testing.T) {
	for _, c := range []struct{ w, h, extent, side, want int }{
		{256, 256, 256, 64, 4}, {256, 256, 256, 128, 2}, {100, 100, 100, 128, 1}, {60, 60, 60, 64, 1}, {201, 201, 201, 64, 3}, {300, 300, 71, 64, 1},
	} {
		if k := binning(c.w, c.h, c.extent, c.side); k != c.want {
			t.Errorf("binning(%d, %d, %d, %d) = %d, want %d", c.w, c.h, c.extent, c.side, k, c.want)
		}
	}
}

func TestCoarsenAveragesDataAndNoise(t *testing.T) {
	o := &Observation{W: 4, H: 2, Scale: 0.1, Sigma: []float64{0.2}, Data: []float64{1, 2, 5, 5, 3, 4, 5, math.NaN()}}
	if err := o.Weigh(); err != nil {
		t.Fatal(err)
	}
	c, err := o.Coarsen(2)
	if err != nil {
		t.Fatal(err)
	}
	if c.W != 2 || c.H != 1 || !c.Mask[0] || !c.Mask[1] {
		t.Fatalf("got %+v", c)
	}
	check.Close(t, "mean", c.Data[0], 2.5, 1e-15, 0)
	check.Close(t, "noise", c.Sigma[0], 0.1, 1e-15, 0)
	check.Close(t, "mean beside a bad pixel", c.Data[1], 5, 1e-15, 0)
	check.Close(t, "noise beside a bad pixel", c.Sigma[1], 0.2/math.Sqrt(3), 1e-15, 0)
	check.Close(t, "scale", c.Scale, 0.2, 1e-15, 0)
}

// Where less than half of every block can be used there is no coarser view, and what is said names why.
func TestCoarsenSaysThatNothingIsLeft(t *testing.T) {
	o := &Observation{W: 4, H: 2, Scale: 0.1, Sigma: []float64{0.2}, Data: make([]float64, 8), Mask: []bool{true, false, false, true, false, false, false, false}}
	if err := o.Weigh(); err != nil {
		t.Fatal(err)
	}
	if o.Noise.Pixels != 2 {
		t.Errorf("%d pixels in use, want 2", o.Noise.Pixels)
	}
	if _, err := o.Coarsen(2); err == nil || !strings.Contains(err.Error(), "all 2 pixels are masked") {
		t.Errorf("got %v", err)
	}
	if _, err := o.With([]float64{1, 2}, o.Sigma); err == nil || !strings.Contains(err.Error(), "found 2 pixels, expected 4 x 2") {
		t.Errorf("data of another size: got %v", err)
	}
}

func TestCoarsePSFKeepsWeightAndCentre(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	in := &physics.Image{W: 7, H: 5, Scale: 0.1, Pix: make([]float64, 35)}
	for i := range in.Pix {
		in.Pix[i] = rng.Float64()
	}
	moments := func(m *physics.Image) (sum, x, y float64) {
		for i, v := range m.Pix {
			sum += v
			x += v * (float64(i%m.W) - float64(m.W-1)/2) * m.Scale
			y += v * (float64(i/m.W) - float64(m.H-1)/2) * m.Scale
		}
		return sum, x, y
	}
	for _, sampling := range []int{0, 1, 2} {
		spec := coarsePSF(physics.PSFSpec{Kernel: in, Sampling: sampling}, 3)
		out := spec.Kernel
		if want := 0.3 * float64(max(1, sampling)); math.Abs(out.Scale-want) > 1e-15 || spec.Sampling > 1 {
			t.Errorf("sampling %d: got pixels of %g arcsec and sampling %d, want %g and none", sampling, out.Scale, spec.Sampling, want)
		}
		s0, x0, y0 := moments(in)
		s1, x1, y1 := moments(out)
		check.Close(t, "sum", s1, s0, 1e-13, 1)
		check.Close(t, "x", x1, x0, 1e-13, 1)
		check.Close(t, "y", y1, y0, 1e-13, 1)
	}
}

package tools

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
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
	o := &observation{W: 4, H: 2, Scale: 0.1, Sigma: []float64{0.2}, Data: []float64{1, 2, 5, 5, 3, 4, 5, math.NaN()}}
	c := o.coarsen(2)
	if c.W != 2 || c.H != 1 || !c.Mask[0] || !c.Mask[1] {
		t.Fatalf("got %+v", c)
	}
	check.Close(t, "mean", c.Data[0], 2.5, 1e-15, 0)
	check.Close(t, "noise", c.Sigma[0], 0.1, 1e-15, 0)
	check.Close(t, "mean beside a bad pixel", c.Data[1], 5, 1e-15, 0)
	check.Close(t, "noise beside a bad pixel", c.Sigma[1], 0.2/math.Sqrt(3), 1e-15, 0)
	check.Close(t, "scale", c.Scale, 0.2, 1e-15, 0)
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

// A frame with the pixels of the image itself, behind no lens, gets the image back.
func TestTracebackThroughNoLensIsTheImage(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	o := &observation{W: 12, H: 12, Scale: 0.1, Sigma: []float64{1}, Data: check.Normals(rng, 144)}
	back, err := newTraceback(o, nil, make([]float64, 144))
	if err != nil {
		t.Fatal(err)
	}
	got := back.image(12, 12, 0, 0, 1.2, make([]float64, 144))
	for i := range got {
		// a pixel of weight 1 leans on the guess, zero, with 0.3
		check.Close(t, "pixel", got[i], o.Data[i]/1.3, 1e-9, 1)
	}
}

// Noise ten times what the config says, without any lens in it, must not pass as a converged fit.
func TestNoiseAloneIsNotCalledConverged(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 6))
	if err := writeFITS(filepath.Join(dir, "noise.fits"), fitsOut{Axes: []int{32, 32}, Pix: check.Normals(rng, 32*32)}); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "c.yaml")
	text := "data: {image: noise.fits, noise: 0.1, pixel_scale: 0.1}\nlens: [{type: sis}]\nsource: [{type: sersic}]\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	err := Fit(context.Background(), FitOptions{Input: config, Output: filepath.Join(dir, "fit"), Search: searchOptions{Seed: 1, Starts: 8}}, io.Discard, newProgress(io.Discard, true))
	if exitCode(err) != exitNotConverged || !strings.Contains(err.Error(), "χ²") {
		t.Errorf("got %v, want a fit that is not converged because of χ²", err)
	}
}

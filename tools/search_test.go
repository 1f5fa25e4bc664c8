package tools

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/samplers"
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

// cutOff is a target in whose every few evaluations the run is told to stop.
type cutOff struct {
	samplers.Lagged
	left *int
	stop func()
}

func (c cutOff) LogProb(grad, x []float64) (float64, error) {
	if *c.left--; *c.left == 0 {
		c.stop()
	}
	return c.Lagged.LogProb(grad, x)
}

// A climb stopped between the trials of its steps ends at the same point with the same counts as one that is not stopped.
func TestStoppedClimbsCountEachEvaluationOnce(t *testing.T) {
	p := knotsProblem(t, "sie")
	from := make([]float64, p.Post.Dim())
	for i := range from {
		from[i] = 0.5
	}
	climbs := map[string]func(s *search, ctx context.Context, target samplers.Lagged) (*stageEnd, error){
		"lm": func(s *search, ctx context.Context, target samplers.Lagged) (*stageEnd, error) {
			return s.lm(ctx, "climb", p.Post, target, from, 12)
		},
		"adam": func(s *search, ctx context.Context, target samplers.Lagged) (*stageEnd, error) {
			return s.adam(ctx, "climb", p.Post, target, from, nil, samplers.AdamOptions{Steps: 40})
		},
		"free": func(s *search, ctx context.Context, target samplers.Lagged) (*stageEnd, error) {
			named := namedTheta(p.Post, make([]float64, p.Post.Dim()))
			ends, err := s.freed(ctx, p.Config, p.Obs, []basin{{theta: named}}, nil)
			if err != nil {
				return nil, err
			}
			target.LogProb(nil, from) // which may stop what is done
			return &stageEnd{LogProb: ends[0].logProb}, ctx.Err()
		},
	}
	for name, climb := range climbs {
		record := func() *searchRecord { return &searchRecord{Done: map[string]*stageEnd{}} }
		whole := &search{p: p, saved: record(), save: func() error { return nil }, run: adjoint.Options{Threads: 1}}
		want, err := climb(whole, context.Background(), p.Post.MAP())
		if err != nil {
			t.Fatal(err)
		}
		parts, stops := record(), 0
		for {
			ctx, cancel := context.WithCancel(context.Background())
			left := 2 + stops%3
			s := &search{p: p, saved: viaJSON(t, parts), save: func() error { return nil }, run: adjoint.Options{Threads: 1}}
			if name == "free" { // is not made of evaluations of the target
				time.AfterFunc(time.Duration(1+stops)*200*time.Millisecond, cancel)
			}
			got, err := climb(s, ctx, cutOff{p.Post.MAP(), &left, cancel})
			cancelled := ctx.Err() != nil
			cancel()
			parts = s.saved
			if err == nil {
				if got.LogProb != want.LogProb || s.saved.Evaluations != whole.saved.Evaluations || s.saved.Iterations != whole.saved.Iterations {
					t.Errorf("%s, stopped %d times: got %v after %d evaluations and %d steps, want %v, %d and %d", name, stops, got.LogProb, s.saved.Evaluations,
						s.saved.Iterations, want.LogProb, whole.saved.Evaluations, whole.saved.Iterations)
				}
				break
			}
			if stops++; !cancelled || stops > 300 {
				t.Fatalf("%s, stop %d: %v", name, stops, err)
			}
		}
		t.Logf("%s: stopped %d times", name, stops)
	}
}

// viaJSON is v as it is read back.
func viaJSON(t *testing.T, v *searchRecord) *searchRecord {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := &searchRecord{}
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	return out
}

package galaxies

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"

	"lenskit/internal/disk"
	"lenskit/internal/stats"
	"lenskit/internal/task"
	"lenskit/tools/internal/figure"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
)

// Cube is a set of images of one size, one after the other, lowest row first.
type Cube struct {
	N, W, H int
	Pix     []float32
	Origin  string // the command that made it, "" where the file does not tell
}

// Plane is image i.
func (c *Cube) Plane(i int) []float32 { return c.Pix[i*c.W*c.H : (i+1)*c.W*c.H] }

// OriginKey is the card of a cube that tells the command which made it.
const OriginKey = "LKORIGIN"

// mostUnpacked is how much more than its file a training set may take in memory.
const mostUnpacked = 256 << 20

// ReadCube reads a set of images; one image is a set as well. Pixels that are not finite become 0 and are counted.
func ReadCube(ref string) (c *Cube, bad int, err error) {
	h, data, _, err := fits.Request{Role: fits.RoleOther}.Open(ref)
	if err != nil {
		return nil, 0, err
	}
	defer data.Close()
	axes := h.Shape()
	if h.TileErr == nil && (len(axes) < 2 || len(axes) > 3) {
		return nil, 0, term.BadInput("%s: found an array of %s, expected a cube of images", ref, fits.ShapeText(axes))
	}
	if h.TileErr == nil && axes[0]*axes[1] > observation.MaxPixels {
		return nil, 0, term.BadInput("%s: found images of %s, expected at most %d pixels each", ref, fits.ShapeText(axes[:2]), observation.MaxPixels)
	}
	if need, limit := 4*h.Size(), data.Info.Size()+mostUnpacked; need > limit {
		return nil, 0, term.WithHint(term.BadInput("%s: found %s of pixels in single precision, expected at most %s", ref, disk.Size(need), disk.Size(limit)),
			"a cube of float32 that is not packed may be of any size")
	}
	c = &Cube{N: 1}
	at := 0
	err = h.Each(data, 4, func(pix []float64) {
		if c.Pix == nil {
			c.Pix = make([]float32, h.Size())
		}
		for _, v := range pix {
			if x := float32(v); x-x == 0 {
				c.Pix[at] = x
			} else {
				bad++
			}
			at++
		}
	})
	if err != nil {
		return nil, 0, err
	}
	c.W, c.H = axes[0], axes[1]
	if len(axes) == 3 {
		c.N = axes[2]
	}
	c.Origin = h.Header.Text(OriginKey)
	return c, bad, nil
}

// Synthesise draws n galaxies. Each has random numbers of its own, so that a larger set begins with the smaller one and
// the number of threads does not matter.
func Synthesise(ctx context.Context, n, size int, seed uint64, report *term.Progress) ([]float64, error) {
	report = report.OrSilent()
	pix := make([]float64, n*size*size)
	var next, done atomic.Int64
	var g task.Group
	report.Stage("galaxies", n)
	for worker := range runtime.GOMAXPROCS(0) {
		g.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				drawGalaxy(pix[i*size*size:(i+1)*size*size], size, rand.New(rand.NewPCG(seed, uint64(i))))
				k := done.Add(1)
				if worker == 0 {
					report.Step(term.ProgressState{Step: int(k), LogPost: math.NaN(), ReducedChi2: math.NaN()})
				}
			}
		})
	}
	g.Wait()
	report.State.Step = int(done.Load())
	report.End()
	return pix, ctx.Err()
}

// Normalised is an image without the median of its border, divided by its peak; zeros where nothing stands out.
func Normalised(pix []float32, w, h int) []float64 {
	var border []float64
	for i := range w {
		border = append(border, float64(pix[i]), float64(pix[(h-1)*w+i]))
	}
	for j := range h {
		border = append(border, float64(pix[j*w]), float64(pix[j*w+w-1]))
	}
	floor := stats.Percentile(border, 0.5)
	out, peak := make([]float64, len(pix)), 0.0
	for i, v := range pix {
		out[i] = float64(v) - floor
		peak = max(peak, out[i])
	}
	for i := range out {
		if peak > 0 {
			out[i] /= peak
		} else {
			out[i] = 0
		}
	}
	return out
}

// WriteSheet writes images side by side as a PNG, columns in a row, with an asinh stretch that shows a fiftieth of the
// peak as well as the peak.
func WriteSheet(path string, planes [][]float64, w, h, columns int) error {
	columns = min(columns, len(planes))
	rows := (len(planes) + columns - 1) / columns
	zoom := max(1, 96/max(w, h))
	cw, ch := zoom*w+2, zoom*h+2
	img := image.NewRGBA(image.Rect(0, 0, columns*cw, rows*ch))
	for i := range img.Pix {
		img.Pix[i] = 0xff
	}
	scale := figure.ColorScale{Lo: -0.02, Hi: 1, Soft: 0.04}
	for k, p := range planes {
		x0, y0 := k%columns*cw+1, k/columns*ch+1
		for j := range zoom * h {
			for i := range zoom * w {
				c := figure.Inferno(scale.Norm(p[(h-1-j/zoom)*w+i/zoom]))
				img.SetRGBA(x0+i, y0+j, color.RGBA{c.R, c.G, c.B, 0xff})
			}
		}
	}
	return rundir.WriteAtomic(path, func(w io.Writer) error { return png.Encode(w, img) })
}

// Card is what card.md tells of a linear bundle.
type Card struct {
	Name, File string
	Data       *Cube
	Latents    int
	Seed       uint64
	Kept, Rms  float64
}

// Text is the card.
func (k Card) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", k.Name)
	fmt.Fprintf(&b, "A linear decoder: the mean of %d images of %d x %d pixels plus %d principal components, each scaled so that its\n", k.Data.N-k.Data.N/20, k.Data.W, k.Data.H, k.Latents)
	fmt.Fprintf(&b, "latent has mean 0 and variance 1 over the images. The prior in prior.json is N(0, I). The encoder is the projection.\n\n")
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	fmt.Fprintf(&b, "| decoder | `z` [N, %d] to `image` [N, 1, %d, %d], peak near 1 |\n", k.Latents, k.Data.H, k.Data.W)
	fmt.Fprintf(&b, "| encoder | `image` [N, 1, %d, %d], background 0 and peak 1, to `z` [N, %d] |\n", k.Data.H, k.Data.W, k.Latents)
	fmt.Fprintf(&b, "| variance kept | %.2f %% |\n", 100*k.Kept)
	fmt.Fprintf(&b, "| residual | rms %.4f of the peak on %d images held back |\n\n", k.Rms, k.Data.N/20)
	fmt.Fprintf(&b, "Made by\n\n")
	file := k.File
	if k.Data.Origin != "" {
		fmt.Fprintf(&b, "    lenskit %s -o %s\n", k.Data.Origin, file)
	}
	fmt.Fprintf(&b, "    lenskit dataset bundle %s -o models/%s --latents %d --seed %d\n", file, k.Name, k.Latents, k.Seed)
	if k.Data.Origin != "" {
		fmt.Fprintf(&b, "\nEvery image was drawn by lenskit; no survey's pixels are in it. Licence: that of lenskit, Apache-2.0.\n")
	}
	return b.String()
}

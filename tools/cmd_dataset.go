package tools

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"lenskit/internal/disk"
	"lenskit/internal/task"
)

func datasetCommand() *cli.Command {
	return &cli.Command{
		Name:  "dataset",
		Usage: "make and look at sets of galaxy images",
		Subcommands: []*cli.Command{
			datasetPrepareCommand(),
			datasetCosmosCommand(),
			{
				Name:  "synth",
				Usage: "draw galaxies into a FITS cube",
				Description: "Spheroids, discs with bulges, spirals, clumpy and edge-on discs, mergers; each has peak 1 on a background of 0.\n" +
					"Example: lenskit dataset synth -o galaxies.fits --count 20000 --seed 1",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the FITS `FILE` to write"},
					&cli.IntFlag{Name: "count", Usage: "how many galaxies", Value: 1000},
					&cli.IntFlag{Name: "size", Usage: "pixels on a side", Value: 64},
					&cli.Uint64Flag{Name: "seed", Usage: "of the random numbers", Value: 1},
				},
				Action: datasetSynth,
			},
			{
				Name:        "show",
				Usage:       "draw the images of a FITS cube side by side",
				ArgsUsage:   "DATA.fits",
				Description: "Example: lenskit dataset show galaxies.fits -o sheet.png",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the PNG `FILE` to write"},
					&cli.IntFlag{Name: "count", Usage: "how many images, evenly spread over the set", Value: 96},
				},
				Action: datasetShow,
			},
			{
				Name:      "bundle",
				Usage:     "make a linear decoder bundle of a FITS cube: its principal components",
				ArgsUsage: "DATA.fits",
				Description: "Each twentieth image is held back to measure the reconstruction.\n" +
					"Example: lenskit dataset bundle galaxies.fits -o models/linear --latents 64",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the `FOLDER` to write"},
					&cli.IntFlag{Name: "latents", Usage: "how many components", Value: 64},
					&cli.Uint64Flag{Name: "seed", Usage: "of the random start of the search for components", Value: 1},
				},
				Action: datasetBundle,
			},
			{
				Name:      "check",
				Usage:     "measure how well a bundle's encoder and decoder reproduce the images of a FITS cube",
				ArgsUsage: "DATA.fits",
				Description: "Of each image the median of its border is taken off and the rest is divided by its peak.\n" +
					"Example: lenskit dataset check galaxies.fits --model models/linear -o sheet.png",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "model", Usage: "the `BUNDLE`; left out: the one in the binary"},
					&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "a PNG `FILE` of images above their reconstructions"},
				},
				Action: datasetCheck,
			},
		},
	}
}

// cube is a set of images of one size, one after the other, lowest row first.
type cube struct {
	N, W, H int
	Pix     []float32
	Origin  string // the command that made it, "" where the file does not tell
}

// plane is image i.
func (c *cube) plane(i int) []float32 { return c.Pix[i*c.W*c.H : (i+1)*c.W*c.H] }

// originKey is the card of a cube that tells the command which made it.
const originKey = "LKORIGIN"

// mostUnpacked is how much more than its file a training set may take in memory.
const mostUnpacked = 256 << 20

// readCube reads a set of images; one image is a set as well. Pixels that are not finite become 0 and are counted.
func readCube(ref string) (c *cube, bad int, err error) {
	h, data, _, err := fitsRequest{role: roleOther}.open(ref)
	if err != nil {
		return nil, 0, err
	}
	defer data.Close()
	axes := h.shape()
	if h.tileErr == nil && (len(axes) < 2 || len(axes) > 3) {
		return nil, 0, badInput("%s: found an array of %s, expected a cube of images", ref, shapeText(axes))
	}
	if h.tileErr == nil && axes[0]*axes[1] > maxPixels {
		return nil, 0, badInput("%s: found images of %s, expected at most %d pixels each", ref, shapeText(axes[:2]), maxPixels)
	}
	if need, limit := 4*h.size(), data.info.Size()+mostUnpacked; need > limit {
		return nil, 0, withHint(badInput("%s: found %s of pixels in single precision, expected at most %s", ref, disk.Size(need), disk.Size(limit)),
			"a cube of float32 that is not packed may be of any size")
	}
	c = &cube{N: 1}
	at := 0
	err = h.each(data, 4, func(pix []float64) {
		if c.Pix == nil {
			c.Pix = make([]float32, h.size())
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
	c.Origin = h.header.text(originKey)
	return c, bad, nil
}

// output is the value of -o, which the command cannot do without.
func output(c *cli.Context, what string) (string, error) {
	path := c.String("o")
	if path == "" {
		return "", withHint(badInput("%s: -o is missing, expected the %s to write", c.Command.Name, what), "%s --help shows the usage", c.Command.HelpName)
	}
	return path, nil
}

func datasetSynth(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	n, size, seed := c.Int("count"), c.Int("size"), c.Uint64("seed")
	if n < 1 || n > 1_000_000 {
		return badInput("dataset synth: --count is %d, expected 1 to 1000000", n)
	}
	if size < 16 || size > 512 {
		return badInput("dataset synth: --size is %d, expected 16 to 512", size)
	}
	path, err := output(c, "FILE")
	if err != nil {
		return err
	}
	if err := prepareFolder(filepath.Dir(path)); err != nil {
		return err
	}
	start := time.Now()
	report := newProgress(c.App.ErrWriter, c.Bool("quiet"))
	pix, err := synthesise(c.Context, n, size, seed, report)
	if err != nil {
		return err
	}
	origin := fmt.Sprintf("dataset synth --count %d --size %d --seed %d", n, size, seed)
	err = writeFITS(path, fitsOut{Axes: []int{size, size, n}, Pix: pix, Cards: []fitsKey{{originKey, origin, ""}}})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return encodeJSON(c.App.Writer, map[string]any{"file": path, "count": n, "size": size, "seed": seed, "seconds": time.Since(start).Seconds()})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: %d galaxies of %d x %d pixels\n", path, n, size, size)
	return err
}

// synthesise draws n galaxies. Each has random numbers of its own, so that a larger set begins with the smaller one and
// the number of threads does not matter.
func synthesise(ctx context.Context, n, size int, seed uint64, report *progress) ([]float64, error) {
	pix := make([]float64, n*size*size)
	var next, done atomic.Int64
	var g task.Group
	report.stage("galaxies", n)
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
					report.step(progressState{Step: int(k), LogPost: math.NaN(), ReducedChi2: math.NaN()})
				}
			}
		})
	}
	g.Wait()
	report.state.Step = int(done.Load())
	report.end()
	return pix, ctx.Err()
}

func datasetShow(c *cli.Context) error {
	args, err := arguments(c, "DATA.fits")
	if err != nil {
		return err
	}
	path, err := output(c, "FILE")
	if err != nil {
		return err
	}
	if c.Int("count") < 1 || c.Int("count") > 10_000 {
		return badInput("dataset show: --count is %d, expected 1 to 10000", c.Int("count"))
	}
	set, _, err := readCube(args[0])
	if err != nil {
		return err
	}
	count := min(c.Int("count"), set.N)
	var planes [][]float64
	for k := range count {
		planes = append(planes, normalised(set.plane(k*set.N/count), set.W, set.H))
	}
	if err := writeSheet(path, planes, set.W, set.H, 12); err != nil {
		return err
	}
	if c.Bool("json") {
		return encodeJSON(c.App.Writer, map[string]any{"file": path, "shown": count, "count": set.N})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: %d of %d images\n", path, count, set.N)
	return err
}

// normalised is an image without the median of its border, divided by its peak; zeros where nothing stands out.
func normalised(pix []float32, w, h int) []float64 {
	var border []float64
	for i := range w {
		border = append(border, float64(pix[i]), float64(pix[(h-1)*w+i]))
	}
	for j := range h {
		border = append(border, float64(pix[j*w]), float64(pix[j*w+w-1]))
	}
	slices.Sort(border)
	floor := border[len(border)/2]
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

// writeSheet writes images side by side as a PNG, columns in a row, with an asinh stretch that shows a fiftieth of the
// peak as well as the peak.
func writeSheet(path string, planes [][]float64, w, h, columns int) error {
	columns = min(columns, len(planes))
	rows := (len(planes) + columns - 1) / columns
	zoom := max(1, 96/max(w, h))
	cw, ch := zoom*w+2, zoom*h+2
	img := image.NewRGBA(image.Rect(0, 0, columns*cw, rows*ch))
	for i := range img.Pix {
		img.Pix[i] = 0xff
	}
	scale := colorScale{Lo: -0.02, Hi: 1, Soft: 0.04}
	for k, p := range planes {
		x0, y0 := k%columns*cw+1, k/columns*ch+1
		for j := range zoom * h {
			for i := range zoom * w {
				c := inferno(scale.norm(p[(h-1-j/zoom)*w+i/zoom]))
				img.SetRGBA(x0+i, y0+j, color.RGBA{c.R, c.G, c.B, 0xff})
			}
		}
	}
	return writeAtomic(path, func(w io.Writer) error { return png.Encode(w, img) })
}

func datasetBundle(c *cli.Context) error {
	args, err := arguments(c, "DATA.fits")
	if err != nil {
		return err
	}
	dir, err := output(c, "FOLDER")
	if err != nil {
		return err
	}
	set, bad, err := readCube(args[0])
	if err != nil {
		return err
	}
	latents := c.Int("latents")
	if most := min(4096, set.W*set.H, set.N-set.N/20); latents < 1 || latents > most {
		return badInput("dataset bundle: --latents is %d, expected 1 to %d for %d images of %d x %d", latents, most, set.N, set.W, set.H)
	}
	if err := prepareFolder(dir); err != nil {
		return err
	}
	if err := bundleFolder.checkFor(dir); err != nil {
		return err
	}
	start := time.Now()
	report := newProgress(c.App.ErrWriter, c.Bool("quiet"))
	if bad > 0 {
		report.say("%s: %d pixels are not finite and count as 0", args[0], bad)
	}
	p, err := principalComponents(c.Context, set, latents, c.Uint64("seed"), report)
	if err != nil {
		return err
	}
	rms := p.heldBack(set)
	k := card{
		name:    filepath.Base(filepath.Clean(dir)),
		data:    set,
		latents: latents,
		seed:    c.Uint64("seed"),
		file:    filepath.Base(args[0]),
		kept:    p.kept,
		rms:     rms,
	}
	moved, err := bundleRoom(dir, cardHas(dir, k.text()), bundleFiles...)
	if err != nil {
		return err
	}
	if moved != "" {
		report.warn("%s", moved)
	}
	if err := p.write(dir, k); err != nil {
		return err
	}
	if c.Bool("json") {
		return encodeJSON(c.App.Writer, map[string]any{"folder": dir, "latents": latents, "images": set.N, "variance_kept": jsonFloat(p.kept), "held_back_rms": jsonFloat(rms), "seconds": time.Since(start).Seconds()})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: %d components keep %.1f %% of the variance of %d images; held-back residual rms %.4f of the peak\n", dir, latents, 100*p.kept, set.N, rms)
	return err
}

// card is what card.md tells of a linear bundle.
type card struct {
	name, file string
	data       *cube
	latents    int
	seed       uint64
	kept, rms  float64
}

// text is the card.
func (k card) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", k.name)
	fmt.Fprintf(&b, "A linear decoder: the mean of %d images of %d x %d pixels plus %d principal components, each scaled so that its\n", k.data.N-k.data.N/20, k.data.W, k.data.H, k.latents)
	fmt.Fprintf(&b, "latent has mean 0 and variance 1 over the images. The prior in prior.json is N(0, I). The encoder is the projection.\n\n")
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	fmt.Fprintf(&b, "| decoder | `z` [N, %d] to `image` [N, 1, %d, %d], peak near 1 |\n", k.latents, k.data.H, k.data.W)
	fmt.Fprintf(&b, "| encoder | `image` [N, 1, %d, %d], background 0 and peak 1, to `z` [N, %d] |\n", k.data.H, k.data.W, k.latents)
	fmt.Fprintf(&b, "| variance kept | %.2f %% |\n", 100*k.kept)
	fmt.Fprintf(&b, "| residual | rms %.4f of the peak on %d images held back |\n\n", k.rms, k.data.N/20)
	fmt.Fprintf(&b, "Made by\n\n")
	file := k.file
	if k.data.Origin != "" {
		fmt.Fprintf(&b, "    lenskit %s -o %s\n", k.data.Origin, file)
	}
	fmt.Fprintf(&b, "    lenskit dataset bundle %s -o models/%s --latents %d --seed %d\n", file, k.name, k.latents, k.seed)
	if k.data.Origin != "" {
		fmt.Fprintf(&b, "\nEvery image was drawn by lenskit; no survey's pixels are in it. Licence: that of lenskit, Apache-2.0.\n")
	}
	return b.String()
}

func datasetCheck(c *cli.Context) error {
	args, err := arguments(c, "DATA.fits")
	if err != nil {
		return err
	}
	b, err := loadBundle(c.String("model"))
	if err != nil {
		return err
	}
	set, _, err := readCube(args[0])
	if err != nil {
		return err
	}
	r, err := reconstruct(b, set)
	if err != nil {
		return err
	}
	var rms []float64
	for i := range r.originals {
		sum := 0.0
		for k, v := range r.originals[i] {
			d := v - r.decoded[i][k]
			sum += d * d
		}
		rms = append(rms, math.Sqrt(sum/float64(len(r.originals[i]))))
	}
	if out := c.String("o"); out != "" {
		var planes [][]float64
		const columns = 12
		count := min(48, len(rms))
		for row := 0; row < count; row += columns {
			var below [][]float64
			for k := row; k < min(row+columns, count); k++ {
				i := k * len(rms) / count
				planes = append(planes, r.originals[i])
				below = append(below, r.decoded[i])
			}
			planes = append(planes, below...)
		}
		if err := writeSheet(out, planes, set.W, set.H, min(columns, count)); err != nil {
			return err
		}
	}
	slices.Sort(rms)
	at := func(f float64) float64 { return rms[int(f*float64(len(rms)-1))] }
	mean := 0.0
	for _, v := range rms {
		mean += v / float64(len(rms))
	}
	if c.Bool("json") {
		return encodeJSON(c.App.Writer, map[string]any{"images": len(rms), "rms": map[string]jsonFloat{"mean": jsonFloat(mean), "q5": jsonFloat(at(0.05)), "q50": jsonFloat(at(0.5)), "q95": jsonFloat(at(0.95))}})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%d images: residual rms / peak: median %.4f, mean %.4f, 5 %% to 95 %% %.4f to %.4f\n", len(rms), at(0.5), mean, at(0.05), at(0.95))
	return err
}

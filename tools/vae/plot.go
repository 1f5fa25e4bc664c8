package vae

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lenskit/internal/stats"
	"lenskit/onnx/diff"
	"lenskit/onnx/footprint"
	"lenskit/onnx/ort"
	"lenskit/tools/config"
	"lenskit/tools/galaxies"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"

	"gonum.org/v1/gonum/mat"
)

// Numbers tell how good a bundle is on a set of images, whose background is 0 and whose peak 1.
type Numbers struct {
	Images int `json:"images"`
	// Rms of image less reconstruction over the inner three quarters of the width, as a share of the peak.
	ResidualMedian term.JSONFloat `json:"residual_median"`
	Residual90     term.JSONFloat `json:"residual_90"`
	ResidualBelow  term.JSONFloat `json:"residual_below_0.02"` // the share of images
	// The same after the latents have been moved to where the decoder comes closest to the image; only on demand.
	Refined *refinedNumbers `json:"refined,omitempty"`
	// The same over the noise of a pixel of the image; the median of images with noise.
	ResidualOverNoise *term.JSONFloat `json:"residual_over_noise,omitempty"`
	// Rms of the difference between the reconstruction and the one of the image turned by 45°, 90°, … and turned back,
	// over the rms of the reconstruction, within the largest circle; the mean over images and angles.
	Equivariance term.JSONFloat `json:"equivariance_error"`
	// KL divergence of the encoding from N(0, 1) by latent, in nats, and the share of latents below 0.01; without the
	// encoder's σ they are absent.
	KL   []term.JSONFloat `json:"kl_per_latent,omitempty"`
	Dead *term.JSONFloat  `json:"dead_latents,omitempty"`
}

// refinedNumbers are residuals that the decoder alone is to blame for.
type refinedNumbers struct {
	ResidualMedian term.JSONFloat `json:"residual_median"`
	Residual90     term.JSONFloat `json:"residual_90"`
	ResidualBelow  term.JSONFloat `json:"residual_below_0.02"`
}

// vaeRunner runs a bundle's encoder and decoder on batches of a fixed size.
type vaeRunner struct {
	b           *config.Bundle
	batch, w, h int
	encoder     *ort.Session
	decoder     *ort.Session
	in, z, out  []float32
	mu, sigma   []float32 // sigma is nil where the encoder tells none
	latents     int
}

// newVAERunner opens the bundle for images of w x h pixels. Decoders of a fixed N run one by one.
func newVAERunner(b *config.Bundle, w, h int) (*vaeRunner, error) {
	r := &vaeRunner{b: b, w: w, h: h, latents: b.Latents, batch: 16}
	if d := b.Decoder.Inputs[0].Shape[0]; d.Known() {
		r.batch = int(d.N)
	}
	shape := []int64{int64(r.batch), int64(b.Latents)}
	for range len(b.Decoder.Inputs[0].Shape) - 2 {
		shape = append(shape, 1)
	}
	g, err := diff.BindInput(b.Decoder, b.Decoder.Inputs[0].Name, shape)
	if err != nil {
		return nil, term.BadInput("%s: %w", b.Path, err)
	}
	if r.decoder, err = ort.Open(g, ort.Options{Room: footprint.BatchRoom}); err != nil {
		return nil, term.AsBadInput(err)
	}
	r.z, r.out = r.decoder.Input(g.Inputs[0].Name), r.decoder.Output(g.Outputs[0].Name)
	if len(r.out) != r.batch*w*h {
		r.close()
		return nil, term.BadInput("%s: decoder gives %d pixels, expected %d x %d as the data", b.Path, len(r.out)/r.batch, w, h)
	}
	if b.Encoder == nil {
		return r, nil
	}
	e, err := b.Encoder()
	if err != nil {
		r.close()
		return nil, err
	}
	e, err = diff.BindInput(e, e.Inputs[0].Name, []int64{int64(r.batch), 1, int64(h), int64(w)})
	if err != nil {
		r.close()
		return nil, term.BadInput("%s: encoder: %w", b.Path, err)
	}
	if r.encoder, err = ort.Open(e, ort.Options{Room: footprint.BatchRoom}); err != nil {
		r.close()
		return nil, term.AsBadInput(err)
	}
	r.in, r.mu, r.sigma = r.encoder.Input(e.Inputs[0].Name), r.encoder.Output(e.Outputs[0].Name), r.encoder.Output("sigma")
	if len(r.mu) != r.batch*b.Latents {
		r.close()
		return nil, term.BadInput("%s: encoder gives %d numbers for an image, expected %d", b.Path, len(r.mu)/r.batch, b.Latents)
	}
	return r, nil
}

func (r *vaeRunner) close() {
	for _, s := range []*ort.Session{r.encoder, r.decoder} {
		if s != nil {
			s.Close()
		}
	}
}

// decode makes the images of the latents.
func (r *vaeRunner) decode(zs [][]float64) ([][]float64, error) {
	pixels := r.w * r.h
	var images [][]float64
	for from := 0; from < len(zs); from += r.batch {
		n := min(r.batch, len(zs)-from)
		for i := range n {
			for k, v := range zs[from+i] {
				r.z[i*r.latents+k] = float32(v)
			}
		}
		if err := r.decoder.Run(); err != nil {
			return nil, err
		}
		for i := range n {
			images = append(images, widened(r.out[i*pixels:(i+1)*pixels]))
		}
	}
	return images, nil
}

// encode makes the latents' means and standard deviations (nil without) of images.
func (r *vaeRunner) encode(images [][]float64) (mu, sigma [][]float64, err error) {
	pixels := r.w * r.h
	for from := 0; from < len(images); from += r.batch {
		n := min(r.batch, len(images)-from)
		for i := range n {
			for k, v := range images[from+i] {
				r.in[i*pixels+k] = float32(v)
			}
		}
		if err := r.encoder.Run(); err != nil {
			return nil, nil, err
		}
		for i := range n {
			at := i * r.latents
			mu = append(mu, widened(r.mu[at:at+r.latents]))
			if len(r.sigma) == len(r.mu) {
				sigma = append(sigma, widened(r.sigma[at:at+r.latents]))
			}
		}
	}
	return mu, sigma, nil
}

// rebuild encodes and decodes.
func (r *vaeRunner) rebuild(images [][]float64) ([][]float64, error) {
	mu, _, err := r.encode(images)
	if err != nil {
		return nil, err
	}
	return r.decode(mu)
}

func widened(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// turned is an image turned counter-clockwise by a number of eighths of a turn: exactly by quarters, else by cubic
// interpolation.
func turned(pix []float64, n, eighths int) []float64 {
	eighths = (eighths%8 + 8) % 8
	if eighths%2 == 0 {
		out := slices.Clone(pix)
		for range eighths / 2 {
			next := make([]float64, len(out))
			for j := range n {
				for i := range n {
					next[i*n+n-1-j] = out[j*n+i]
				}
			}
			out = next
		}
		return out
	}
	src, dst := make([]float32, len(pix)), make([]float32, len(pix))
	for i, v := range pix {
		src[i] = float32(v)
	}
	resample(dst, src, n, n, float64(eighths)*math.Pi/4, 1, 0, 0, false)
	return widened(dst)
}

// PlotOptions say of what Plot draws figures.
type PlotOptions struct {
	Bundle string // a folder, or an .onnx file
	Data   string // a cube of galaxies to reconstruct; "": drawn ones
	Output string // the folder to write; "": the bundle's own
	Refine bool   // optimise the latents of every galaxy as well
}

// Plot draws the figures of a bundle and writes its numbers into a folder: reconstructions and rotations of images of galaxies,
// as in figures 2 and 3 of Chianese et al. (2020); draws from the prior; and a walk between encoded images. It returns the paths,
// and the numbers where the bundle has an encoder.
func Plot(ctx context.Context, opt PlotOptions) (made []string, numbers *Numbers, err error) {
	dir := opt.Output
	if dir == "" {
		if dir = opt.Bundle; strings.EqualFold(filepath.Ext(dir), ".onnx") {
			dir = filepath.Dir(dir)
		}
	}
	b, err := config.LoadBundle(opt.Bundle)
	if err != nil {
		return nil, nil, err
	}
	out := b.Decoder.Outputs[0].Shape
	side := vaeSide
	if len(out) >= 3 && out[len(out)-1].Known() {
		side = int(out[len(out)-1].N)
	}
	images, err := plotImages(ctx, opt.Data, side)
	if err != nil {
		return nil, nil, err
	}
	r, err := newVAERunner(b, side, side)
	if err != nil {
		return nil, nil, err
	}
	defer r.close()
	if err := rundir.Prepare(dir); err != nil {
		return nil, nil, err
	}
	sheet := func(file string, planes [][]float64, columns int) error {
		made = append(made, filepath.Join(dir, file))
		return galaxies.WriteSheet(made[len(made)-1], planes, side, side, columns)
	}
	draws, walk, err := r.draws(images)
	if err != nil {
		return nil, nil, err
	}
	if err := sheet(rundir.FileVAEDraws, draws, 12); err != nil {
		return nil, nil, err
	}
	if err := sheet(rundir.FileVAEWalk, walk, 12); err != nil {
		return nil, nil, err
	}
	if r.encoder == nil {
		return made, nil, nil
	}
	mu, sigma, err := r.encode(images)
	if err != nil {
		return nil, nil, err
	}
	decoded, err := r.decode(mu)
	if err != nil {
		return nil, nil, err
	}
	count := min(36, len(images))
	var some, theirs [][]float64
	for k := range count {
		some, theirs = append(some, images[k*len(images)/count]), append(theirs, decoded[k*len(images)/count])
	}
	if err := sheet(rundir.FileVAEReconstructions, pairs(some, theirs, 12), min(12, count)); err != nil {
		return nil, nil, err
	}
	var rows [][]float64
	for k := range min(3, count) {
		a, d, err := r.rotations(some[k*count/min(3, count)])
		if err != nil {
			return nil, nil, err
		}
		rows = append(append(rows, a...), d...)
	}
	if err := sheet(rundir.FileVAERotations, rows, 8); err != nil {
		return nil, nil, err
	}
	if numbers, err = r.numbers(images, decoded, mu, sigma); err != nil {
		return nil, nil, err
	}
	if opt.Refine {
		// mu moves: the numbers above have taken what they need of it
		if err := refineAll(ctx, b, images, mu, side); err != nil {
			return nil, nil, err
		}
		best, err := r.decode(mu)
		if err != nil {
			return nil, nil, err
		}
		n := &refinedNumbers{}
		n.ResidualMedian, n.Residual90, n.ResidualBelow = spread(residuals(images, best, side))
		numbers.Refined = n
	}
	made = append(made, filepath.Join(dir, rundir.FileVAENumbers))
	return made, numbers, rundir.WriteJSON(made[len(made)-1], numbers)
}

// plotImages are the images of a cube with background 0 and peak 1; without one, drawn galaxies.
func plotImages(ctx context.Context, data string, side int) ([][]float64, error) {
	var images [][]float64
	if data == "" {
		const count = 120
		pix, err := galaxies.Synthesise(ctx, count, side, 0x706c6f74, term.NewProgress(io.Discard, true))
		if err != nil {
			return nil, err
		}
		for p := range slices.Chunk(pix, side*side) {
			images = append(images, p)
		}
		return images, nil
	}
	c, _, err := galaxies.ReadCube(data)
	if err != nil {
		return nil, err
	}
	if c.W != side || c.H != side {
		return nil, term.BadInput("%s: found images of %d x %d pixels, expected %d x %d as the decoder makes them", data, c.W, c.H, side, side)
	}
	for i := range c.N {
		if p := galaxies.Normalised(c.Plane(i), c.W, c.H); slices.Max(p) > 0 {
			images = append(images, p)
		}
	}
	if len(images) == 0 {
		return nil, term.BadInput("%s: found no image with a peak", data)
	}
	return images, nil
}

// draws are 48 images of latents from the bundle's prior, and walks along straight lines between pairs of latents: of
// encoded images, or of the prior where there is no encoder.
func (r *vaeRunner) draws(images [][]float64) (drawn, walks [][]float64, err error) {
	rng := rand.New(rand.NewPCG(1, 0x7072696f72))
	var chol mat.Cholesky
	if !chol.Factorize(r.b.Cov) {
		return nil, nil, term.BadInput("%s: the prior's covariance is not positive definite", r.b.Path)
	}
	var lower mat.TriDense
	chol.LTo(&lower)
	draw := func() []float64 {
		e := make([]float64, r.latents)
		for k := range e {
			e[k] = rng.NormFloat64()
		}
		z := mat.NewVecDense(r.latents, nil)
		z.MulVec(&lower, mat.NewVecDense(r.latents, e))
		for k := range e {
			e[k] = z.AtVec(k) + r.b.Mean[k]
		}
		return e
	}
	var zs [][]float64
	for range 48 {
		zs = append(zs, draw())
	}
	if drawn, err = r.decode(zs); err != nil {
		return nil, nil, err
	}
	const lines, steps = 4, 12
	var ends [][]float64
	if r.encoder != nil {
		var some [][]float64
		for k := range 2 * lines {
			some = append(some, images[k*len(images)/(2*lines)])
		}
		if ends, _, err = r.encode(some); err != nil {
			return nil, nil, err
		}
	} else {
		ends = zs[:2*lines]
	}
	zs = nil
	for l := range lines {
		for s := range steps {
			f := float64(s) / (steps - 1)
			z := make([]float64, r.latents)
			for k := range z {
				z[k] = (1-f)*ends[2*l][k] + f*ends[2*l+1][k]
			}
			zs = append(zs, z)
		}
	}
	walks, err = r.decode(zs)
	return drawn, walks, err
}

// rotations are an image turned by eighths of a turn, and the reconstructions of these turned back.
func (r *vaeRunner) rotations(image []float64) (turns, back [][]float64, err error) {
	for e := range 8 {
		turns = append(turns, turned(image, r.w, e))
	}
	decoded, err := r.rebuild(turns)
	if err != nil {
		return nil, nil, err
	}
	for e, d := range decoded {
		back = append(back, turned(d, r.w, -e))
	}
	return turns, back, nil
}

// residuals are the innerRMS of the images.
func residuals(images, decoded [][]float64, side int) []float64 {
	var out []float64
	for i := range images {
		out = append(out, innerRMS(images[i], decoded[i], side))
	}
	return out
}

// spread tells median, 90th percentile and the share below 0.02 of residuals.
func spread(residual []float64) (median, ninety, below term.JSONFloat) {
	for _, v := range residual {
		if v < 0.02 {
			below += term.JSONFloat(1 / float64(len(residual)))
		}
	}
	return term.JSONFloat(stats.Percentile(residual, 0.5)), term.JSONFloat(stats.Percentile(residual, 0.9)), below
}

// numbers measures the bundle, which encodes images as mu and sigma, and these as decoded.
func (r *vaeRunner) numbers(images, decoded, mu, sigma [][]float64) (*Numbers, error) {
	n := &Numbers{Images: len(images)}
	side := r.w
	residual := residuals(images, decoded, side)
	n.ResidualMedian, n.Residual90, n.ResidualBelow = spread(residual)
	var noisy []float64
	for i, v := range residual {
		if sigma := ringNoise(images[i], side); sigma > 1e-4 { // less is the galaxy's own light
			noisy = append(noisy, v/sigma)
		}
	}
	if len(noisy) > 0 {
		v := term.JSONFloat(stats.Percentile(noisy, 0.5))
		n.ResidualOverNoise = &v
	}
	some := images[:min(len(images), 64)]
	sum, terms := 0.0, 0
	for _, p := range some {
		_, back, err := r.rotations(p)
		if err != nil {
			return nil, err
		}
		for _, d := range back[1:] {
			diff, size := 0.0, 0.0
			for j := range side {
				for i := range side {
					x, y := float64(i)-float64(side-1)/2, float64(j)-float64(side-1)/2
					if x*x+y*y > float64(side*side)/4 {
						continue
					}
					k := j*side + i
					diff += (d[k] - back[0][k]) * (d[k] - back[0][k])
					size += back[0][k] * back[0][k]
				}
			}
			if size > 0 {
				sum += math.Sqrt(diff / size)
				terms++
			}
		}
	}
	if terms > 0 {
		n.Equivariance = term.JSONFloat(sum / float64(terms))
	}
	if sigma == nil {
		return n, nil
	}
	n.KL = make([]term.JSONFloat, r.latents)
	dead := 0
	for k := range n.KL {
		for i := range mu {
			m, s := mu[i][k], sigma[i][k]
			n.KL[k] += term.JSONFloat(0.5 * (m*m + s*s - 1 - 2*math.Log(s)) / float64(len(mu)))
		}
		if n.KL[k] < 0.01 {
			dead++
		}
	}
	share := term.JSONFloat(float64(dead) / float64(r.latents))
	n.Dead = &share
	return n, nil
}

// ringNoise is the noise of a pixel, by the second differences along x in a ring between an eighth and a fifth of the
// width from the edges: inside of where prepared images fade, outside of most of a galaxy. Neighbouring pixels whose
// noise is correlated make it too small.
func ringNoise(pix []float64, side int) float64 {
	var d []float64
	for j := side / 8; j < side-side/8; j++ {
		for i := side / 8; i < side-side/8; i++ {
			if min(i, j, side-1-i, side-1-j) < side/5 {
				k := j*side + i
				d = append(d, math.Abs(pix[k-1]-2*pix[k]+pix[k+1]))
			}
		}
	}
	return 1.4826 * stats.Percentile(d, 0.5) / math.Sqrt(6) // of a normal distribution, and of weights 1, -2, 1
}

// innerRMS is the rms difference of two images over the inner three quarters of their width.
func innerRMS(a, b []float64, side int) float64 {
	sum, n := 0.0, 0
	eachInner(side, func(k int) {
		sum += (a[k] - b[k]) * (a[k] - b[k])
		n++
	})
	return math.Sqrt(sum / float64(n))
}

// String tells the numbers in a line.
func (n *Numbers) String() string {
	s := fmt.Sprintf("%d images: residual rms / peak %.4f (median), %.4f (90 %%), %.0f %% below 0.02", n.Images, n.ResidualMedian, n.Residual90, 100*n.ResidualBelow)
	if r := n.Refined; r != nil {
		s += fmt.Sprintf("; with optimised latents %.4f, %.4f, %.0f %%", r.ResidualMedian, r.Residual90, 100*r.ResidualBelow)
	}
	s += fmt.Sprintf("; equivariance error %.1f %% of the rms", 100*n.Equivariance)
	if n.ResidualOverNoise != nil {
		s += fmt.Sprintf("; residual / noise %.2f", *n.ResidualOverNoise)
	}
	if n.Dead != nil {
		s += fmt.Sprintf("; dead latents %.0f %%", 100**n.Dead)
	}
	return s
}

// IsBundle tells whether path looks like a decoder bundle: an .onnx file, or a folder with decoder.onnx.
func IsBundle(path string) bool {
	if strings.EqualFold(filepath.Ext(path), ".onnx") {
		return true
	}
	_, err := os.Stat(filepath.Join(path, rundir.FileDecoder))
	return err == nil
}

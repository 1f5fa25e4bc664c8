package tools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"lenskit/adjoint"
	"lenskit/internal/disk"
	"lenskit/physics"
)

func mockCommand() *cli.Command {
	return &cli.Command{
		Name:      "mock",
		Usage:     "simulate an image of a config's model",
		ArgsUsage: "CONFIG",
		UsageText: "lenskit mock CONFIG -o FILE.fits [--seed N] [--draw] [--params P.json]",
		Description: "Parameters with a truth take it, the others are drawn from their priors; --draw draws all. Beside FILE.fits (the image,\n" +
			"extensions NOISE, PSF, MODEL and SOURCE) it writes FILE.truth.json and FILE.yaml, a config ready for lenskit fit. The\n" +
			"image's shape is that of data.image, or data.size.\n\n" +
			"Example: lenskit mock examples/paper.yaml -o out/mock.fits --seed 1",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "FITS file to write"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "of the draws and of the noise"},
			&cli.BoolFlag{Name: "draw", Usage: "draw every parameter from its prior"},
			&cli.StringFlag{Name: "params", Usage: "JSON object of parameters to take as they are"},
			&cli.BoolFlag{Name: "no-noise", Usage: "add no noise"},
		}, computeFlags()...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "CONFIG")
			if err != nil {
				return err
			}
			compute, err := computeOptions(c)
			if err != nil {
				return err
			}
			opt := MockOptions{Config: args[0], Output: c.String("output"), Params: c.String("params"), Seed: c.Uint64("seed"), Draw: c.Bool("draw"),
				NoNoise: c.Bool("no-noise"), Compute: compute}
			made, err := Mock(c.Context, opt, newProgress(c.App.ErrWriter, c.Bool("quiet")))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return encodeJSON(c.App.Writer, made)
			}
			fmt.Fprintf(c.App.Writer, "%s\n%s\n%s\n", made.Image, made.Config, made.Truth)
			return nil
		},
	}
}

// MockOptions says what Mock simulates.
type MockOptions struct {
	Config, Output string
	Params         string // P.json; "" for none
	Seed           uint64
	Draw           bool // take no truth
	NoNoise        bool
	Compute        adjoint.Options
}

// MockFiles are the files that Mock wrote.
type MockFiles struct {
	Image  string `json:"image"`
	Config string `json:"config"`
	Truth  string `json:"truth"`
}

// mockTries bounds the draws that are thrown away because a parameter lies outside the range of its profile.
const mockTries = 1000

// Mock simulates an image of a config's model.
func Mock(ctx context.Context, opt MockOptions, pr *progress) (MockFiles, error) {
	var made MockFiles
	cfg, err := loadConfig(opt.Config)
	if err != nil {
		return made, err
	}
	named, err := readParams(opt.Params)
	if err != nil {
		return made, err
	}
	if opt.Output == "" {
		return made, badInput("mock: --output is missing, expected a FITS file to write")
	}
	base := strings.TrimSuffix(strings.TrimSuffix(opt.Output, filepath.Ext(opt.Output)), ".")
	made = MockFiles{Image: opt.Output, Config: base + ".yaml", Truth: base + ".truth.json"}
	if made.Config == opt.Output {
		return made, badInput("%s: is the name of the config that mock writes beside the image, expected another for --output", opt.Output)
	}
	for _, path := range made.all() {
		if err := made.spares(path, opt.Config); err != nil {
			return made, err
		}
		if err := disk.CheckTarget(path); err != nil {
			return made, err
		}
	}
	undo, err := openFolder(filepath.Dir(opt.Output))
	if err != nil {
		return made, err
	}
	defer undo()
	p, err := newProblem(cfg, opt.Compute)
	if err != nil {
		return made, err
	}
	defer p.Close()
	for _, in := range p.Inputs {
		file, _ := splitExtension(in.Path)
		for _, path := range made.all() {
			if err := made.spares(path, file); err != nil {
				return made, err
			}
		}
	}
	for _, n := range p.notices() {
		pr.say("%s", n)
	}
	rng := rand.New(rand.NewPCG(opt.Seed, mockStream))
	theta, img, err := p.mockDraw(opt, named, rng)
	if err != nil {
		return made, err
	}
	o := p.Obs
	data, sigma := o.simulate(img.Model.Pix, !opt.NoNoise, p.noiseScale(theta), cfg.StudentT, rng)
	place, _ := o.frame()
	axes := []int{o.W, o.H}
	cards := append(append([]fitsKey(nil), place...), fitsKey{"PIXSCALE", o.Scale, "arcsec per pixel"}, fitsKey{"LKSEED", int(opt.Seed & math.MaxInt64), "seed of the simulation"})
	images := []fitsOut{
		{Bitpix: -64, Axes: axes, Pix: data, Cards: cards},
		{Name: "NOISE", Bitpix: -64, Axes: axes, Pix: sigma, Cards: place},
		{Name: "MODEL", Bitpix: -64, Axes: axes, Pix: img.Model.Pix, Cards: place},
	}
	if k := o.PSF.Kernel; k != nil {
		images = append(images, fitsOut{Name: "PSF", Bitpix: -64, Axes: []int{k.W, k.H}, Pix: k.Pix, Cards: gridWCS(k.W, k.H, k.Scale, 0, 0)})
	}
	if s := img.Source; s != nil {
		images = append(images, fitsOut{Name: "SOURCE", Bitpix: -64, Axes: []int{s.W, s.H}, Pix: s.Pix, Cards: gridWCS(s.W, s.H, s.Scale, img.SourceX, img.SourceY)})
	}
	p.setTruth(theta)
	name := filepath.Join(absDir(opt.Output), filepath.Base(opt.Output))
	if from, err := filepath.Abs(cfg.dir); err == nil {
		if r, err := filepath.Rel(from, name); err == nil {
			name = r // like all paths of the config; text moves it
		}
	}
	d := &cfg.Data
	d.Image, d.Size, d.PixelScale = name+"[0]", [2]int{}, o.Scale
	if d.Noise.Sigma.File != "" {
		d.Noise.Sigma.File = name + "[NOISE]"
	}
	if d.PSFFile != "" {
		d.PSFFile = name + "[PSF]"
	}
	var truth bytes.Buffer
	if err := encodeJSON(&truth, p.named(theta)); err != nil {
		return made, err
	}
	beside := []companion{{made.Config, mockConfigSum, []byte(cfg.text(absDir(opt.Output)))}, {made.Truth, mockTruthSum, truth.Bytes()}}
	if err := made.spareOthers(beside); err != nil {
		return made, err
	}
	for _, c := range beside { // the image that tells their sums comes last: a run that was killed can be made again
		images[0].Cards = append(images[0].Cards, fitsKey{c.card, disk.SumOf(c.text), ""})
		if err := writeAtomic(c.path, func(w io.Writer) error { _, err := w.Write(c.text); return err }); err != nil {
			return made, err
		}
	}
	return made, writeFITS(made.Image, images...)
}

// Keywords of a mock's image for the SHA-256 of the files beside it.
const (
	mockConfigSum = "LKCONFIG"
	mockTruthSum  = "LKTRUTH"
)

// companion is a file that a mock leaves beside its image.
type companion struct {
	path, card string // the latter of its sum
	text       []byte
}

// all are the paths of the files.
func (m *MockFiles) all() []string { return []string{m.Image, m.Config, m.Truth} }

// spares refuses to write path where it is one of the files that the mock reads.
func (m *MockFiles) spares(path string, inputs ...string) error {
	for _, in := range inputs {
		if sameFile(path, in) {
			return withHint(badInput("%s: would overwrite the input, expected another name", path), "%s", m.hint())
		}
	}
	return nil
}

// spareOthers refuses to write over a file that is neither as an earlier mock of this name left it, which its image tells,
// nor what would be written.
func (m *MockFiles) spareOthers(beside []companion) error {
	var before fitsHeader
	if exists(m.Image) {
		if img, err := readFITS(m.Image + "[0]"); err == nil {
			before = img.Header
		}
	}
	for _, c := range beside {
		if !exists(c.path) {
			continue
		}
		sum, err := disk.Sum(c.path)
		if err != nil {
			return err
		}
		if sum != disk.SumOf(c.text) && sum != before.text(c.card) {
			return withHint(badInput("%s: is not as lenskit mock wrote it and would be overwritten, expected another name for --output or that file moved away", c.path), "%s", m.hint())
		}
	}
	return nil
}

// hint says which files a mock writes.
func (m *MockFiles) hint() string {
	return fmt.Sprintf("the mock %s comes with %s and %s", shown(m.Image), shown(filepath.Base(m.Config)), shown(filepath.Base(m.Truth)))
}

// mockStream is the second word of the generator's seed, so that mocks and fits of the same seed do not share numbers.
const mockStream = 0x6d6f636b

// mockDraw chooses the parameters of a mock and draws its images.
func (p *problem) mockDraw(opt MockOptions, named namedValues, rng *rand.Rand) ([]float64, *adjoint.Images, error) {
	stated, err := p.start(opt.Params, named)
	if err != nil {
		return nil, nil, err
	}
	keep := p.stated()
	free := p.Post.Free()
	u, theta := make([]float64, p.Post.Dim()), make([]float64, len(stated))
	for range mockTries {
		for i := range u {
			u[i] = rng.NormFloat64()
		}
		p.Post.Theta(theta, u)
		for i, n := range p.Post.Names() {
			if _, given := named[n]; given || free[i] < 0 || keep[n] && !opt.Draw {
				theta[i] = stated[i]
			}
		}
		img, err := p.Post.Images(theta)
		if err == nil {
			return theta, img, nil
		}
		if !errors.Is(err, physics.ErrRange) {
			return nil, nil, numerical("%s: %w", p.Config.file, err)
		}
		if len(u) == 0 {
			return nil, nil, badInput("%s: %w", p.Config.file, err)
		}
	}
	return nil, nil, badInput("%s: found no draw in %d within the ranges of the profiles, expected narrower priors or bounds", p.Config.file, mockTries)
}

// sameFile tells whether two paths name one existing file.
func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// absDir is the folder of a path, absolute where it can be made so.
func absDir(path string) string {
	dir := filepath.Dir(path)
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

package mock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"lenskit/adjoint"
	"lenskit/internal/disk"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
)

// Options says what Simulate simulates.
type Options struct {
	Config  string          // path of the config of the model
	Output  string          // FITS file to write; the config that fits it and the truth get its name with .yaml and .truth.json
	Params  string          // P.json with values of parameters, a fit.json too; "" for none
	Seed    uint64          // of the noise and of parameters that are drawn
	Draw    bool            // draw all parameters from their priors, also those whose truth the config states
	NoNoise bool            // the image is the model's
	Compute adjoint.Options // device and threads; the zero value is the processor with all its cores
}

// Files are the paths of the files that Simulate wrote.
type Files struct {
	Image  string `json:"image"`
	Config string `json:"config"`
	Truth  string `json:"truth"`
}

// mockTries bounds the draws that are thrown away because a parameter lies outside the range of its profile.
const mockTries = 1000

// Simulate simulates an image of a config's model. A nil pr is silent.
func Simulate(ctx context.Context, opt Options, pr *term.Progress) (Files, error) {
	pr = pr.OrSilent()
	var made Files
	cfg, err := config.Load(opt.Config)
	if err != nil {
		return made, err
	}
	named, err := config.ReadParams(opt.Params)
	if err != nil {
		return made, err
	}
	if opt.Output == "" {
		return made, term.BadInput("mock: --output is missing, expected a FITS file to write")
	}
	base := strings.TrimSuffix(strings.TrimSuffix(opt.Output, filepath.Ext(opt.Output)), ".")
	made = Files{Image: opt.Output, Config: base + ".yaml", Truth: base + ".truth.json"}
	if made.Config == opt.Output {
		return made, term.BadInput("%s: is the name of the config that mock writes beside the image, expected another for --output", opt.Output)
	}
	for _, path := range made.all() {
		if err := made.spares(path, opt.Config); err != nil {
			return made, err
		}
		if err := disk.CheckTarget(path); err != nil {
			return made, err
		}
	}
	undo, err := rundir.Open(filepath.Dir(opt.Output))
	if err != nil {
		return made, err
	}
	defer undo()
	p, err := problem.New(cfg, opt.Compute)
	if err != nil {
		return made, err
	}
	defer p.Close()
	cfg = p.Config
	for _, in := range p.Inputs {
		file, _ := fits.SplitExtension(in.Path)
		for _, path := range made.all() {
			if err := made.spares(path, file); err != nil {
				return made, err
			}
		}
	}
	for _, n := range p.Notices() {
		pr.Say("%s", n)
	}
	rng := rand.New(rand.NewPCG(opt.Seed, Stream))
	drawn, err := Draw(p, opt, named, rng)
	if err != nil {
		return made, err
	}
	theta, img, o := drawn.Theta, drawn.Images, p.Obs
	data, sigma := o.Simulate(img.Model.Pix, !opt.NoNoise, p.NoiseScale(theta), cfg.StudentT, rng)
	place, _ := o.Frame()
	axes := []int{o.W, o.H}
	cards := append(append([]fits.Key(nil), place...), fits.Key{Name: "PIXSCALE", Value: o.Scale, Comment: "arcsec per pixel"}, fits.Key{Name: "LKSEED", Value: int(opt.Seed & math.MaxInt64), Comment: "seed of the simulation"})
	images := []fits.Out{
		{Bitpix: -64, Axes: axes, Pix: data, Cards: cards},
		{Name: "NOISE", Bitpix: -64, Axes: axes, Pix: sigma, Cards: place},
		{Name: "MODEL", Bitpix: -64, Axes: axes, Pix: img.Model.Pix, Cards: place},
	}
	if k := o.PSF.Kernel; k != nil {
		images = append(images, fits.Out{Name: "PSF", Bitpix: -64, Axes: []int{k.W, k.H}, Pix: k.Pix, Cards: fits.GridWCS(k.W, k.H, k.Scale, 0, 0)})
	}
	if s := img.Source; s != nil {
		images = append(images, fits.Out{Name: "SOURCE", Bitpix: -64, Axes: []int{s.W, s.H}, Pix: s.Pix, Cards: fits.GridWCS(s.W, s.H, s.Scale, img.SourceX, img.SourceY)})
	}
	images = append(images, drawn.coefficientPlanes(p)...)
	p.SetTruth(theta)
	name := filepath.Join(absDir(opt.Output), filepath.Base(opt.Output))
	if from, err := filepath.Abs(cfg.Dir); err == nil {
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
	if err := rundir.EncodeJSON(&truth, p.Named(theta)); err != nil {
		return made, err
	}
	beside := []companion{{made.Config, mockConfigSum, []byte(cfg.Text(absDir(opt.Output)))}, {made.Truth, mockTruthSum, truth.Bytes()}}
	notice, err := made.moveOthers(beside)
	if err != nil {
		return made, err
	}
	if notice != "" {
		pr.Warn("%s", notice)
	}
	for _, c := range beside { // the image that tells their sums comes last: a run that was killed can be made again
		images[0].Cards = append(images[0].Cards, fits.Key{Name: c.card, Value: disk.SumOf(c.text), Comment: ""})
		if err := rundir.WriteAtomic(c.path, func(w io.Writer) error { _, err := w.Write(c.text); return err }); err != nil {
			return made, err
		}
	}
	return made, fits.Write(made.Image, images...)
}

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
func (m *Files) all() []string { return []string{m.Image, m.Config, m.Truth} }

// spares refuses to write path where it is one of the files that the mock reads.
func (m *Files) spares(path string, inputs ...string) error {
	for _, in := range inputs {
		if rundir.SameFile(path, in) {
			return term.WithHint(term.BadInput("%s: would overwrite the input, expected another name", path), "%s", m.hint())
		}
	}
	return nil
}

// moveOthers moves aside what beside would be written over and is neither as an earlier mock of this name left it, which its
// image tells, nor what is written, and tells so.
func (m *Files) moveOthers(beside []companion) (notice string, err error) {
	var before fits.Header
	if rundir.Exists(m.Image) {
		if img, err := fits.Read(m.Image + "[0]"); err == nil {
			before = img.Header
		}
	}
	var others []string
	for _, c := range beside {
		if !rundir.Exists(c.path) {
			continue
		}
		sum, err := disk.Sum(c.path)
		if err != nil {
			return "", err
		}
		if sum != disk.SumOf(c.text) && sum != before.Text(c.card) {
			others = append(others, filepath.Base(c.path))
		}
	}
	return rundir.MoveAside(filepath.Dir(m.Image), others, "not as lenskit mock wrote it")
}

// hint says which files a mock writes.
func (m *Files) hint() string {
	return fmt.Sprintf("the mock %s comes with %s and %s", term.Shown(m.Image), term.Shown(filepath.Base(m.Config)), term.Shown(filepath.Base(m.Truth)))
}

// Stream is the second word of the generator's seed, so that mocks and fits of the same seed do not share numbers.
const Stream = 0x6d6f636b

// Drawn is the truth of a mock.
type Drawn struct {
	Theta        []float64 // named parameters
	Images       *adjoint.Images
	Coefficients [][]float64 // of the splines of each pixelised source, grid by grid
}

// Draw chooses the parameters of a mock, and pixelised sources from their priors there, and draws its images.
func Draw(p *problem.Problem, opt Options, named config.Named, rng *rand.Rand) (*Drawn, error) {
	stated, err := p.Start(opt.Params, named)
	if err != nil {
		return nil, err
	}
	keep := p.Stated()
	free := p.Post.Free()
	u, d, held := make([]float64, p.Post.Dim()), &Drawn{Theta: make([]float64, len(stated))}, make([]bool, len(stated))
	for range mockTries {
		for i := range u {
			u[i] = rng.NormFloat64()
		}
		p.Post.Theta(d.Theta, u)
		for i, n := range p.Post.Names() {
			_, given := named[n]
			if held[i] = given || keep[n] && !opt.Draw; held[i] || free[i] < 0 {
				d.Theta[i] = stated[i]
			}
		}
		if m := p.Marginal(); m != nil {
			d.Images, d.Coefficients, d.Theta, err = m.Mock(d.Theta, held, rng)
		} else {
			d.Images, err = p.Post.Images(d.Theta)
		}
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, physics.ErrRange) {
			return nil, term.Numerical("%s: %w", p.Config.File, err)
		}
		if len(u) == 0 {
			return nil, term.BadInput("%s: %w", p.Config.File, err)
		}
		d.Theta = make([]float64, len(stated))
	}
	return nil, term.BadInput("%s: found no draw in %d within the ranges of the profiles, expected narrower priors or bounds", p.Config.File, mockTries)
}

// coefficientPlanes are the coefficients of the splines of pixelised sources, an image for each grid whose pixels are the nodes.
func (d *Drawn) coefficientPlanes(p *problem.Problem) (out []fits.Out) {
	which := 0
	for _, comp := range p.Config.Source {
		if comp.Type != config.TypePixels {
			continue
		}
		s := d.Coefficients[which]
		which++
		for k, g := range comp.Pixels.Grids {
			out = append(out, fits.Out{Name: fmt.Sprintf("COEFFICIENTS_%s_%d", strings.ToUpper(comp.Name), k+1), Bitpix: -64, Axes: []int{g.N, g.N}, Pix: s[:g.Len()],
				Cards: append(fits.GridWCS(g.N, g.N, g.Step(), g.X, g.Y), fits.Key{Name: "PIXSCALE", Value: g.Step(), Comment: "arcsec per pixel, source plane"})})
			s = s[g.Len():]
		}
	}
	return out
}

// absDir is the folder of a path, absolute where it can be made so.
func absDir(path string) string {
	dir := filepath.Dir(path)
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

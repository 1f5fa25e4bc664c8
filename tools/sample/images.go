package sample

import (
	"math"
	"path/filepath"

	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// sourceStream is the number of the stream of random numbers that sources are drawn by.
const sourceStream = 4

// imageDraws bounds the draws of which images are made.
const imageDraws = 400

// writeSourceMoments writes samples.fits: mean and standard deviation of the source's brightness, on the frame that the
// source has at the fit's maximum, and of the model image. Draws are taken at equal distances; pixelised sources are drawn from
// what is known of them at each.
func (r *sampling) writeSourceMoments(d *Draws) error {
	theta, err := r.at.theta(r.p)
	if err != nil {
		return err
	}
	post := r.p.Post
	top, err := post.Images(theta)
	if err != nil {
		return term.Numerical("%s: the model cannot be drawn: %w", r.p.Config.File, err)
	}
	n := len(d.X[0])
	total := len(d.X) * n
	every := (total + imageDraws - 1) / imageDraws
	model := newPixelMoments(len(top.Model.Pix))
	var source *pixelMoments
	var plane []float64
	if top.Source != nil {
		source, plane = newPixelMoments(len(top.Source.Pix)), make([]float64, len(top.Source.Pix))
	}
	draw := post.Images
	if m := r.p.Marginal(); m != nil {
		rng := r.opt.stream(sourceStream)
		draw = func(theta []float64) (*adjoint.Images, error) { return m.DrawImages(theta, rng) }
	}
	for k := every / 2; k < total; k += every {
		for i, v := range d.X[k/n][k%n] {
			theta[r.columns[i]] = v
		}
		img, err := draw(theta)
		if err != nil {
			return term.Numerical("%s: the model of draw %d cannot be drawn: %w", r.p.Config.File, k, err)
		}
		model.add(img.Model.Pix)
		if source != nil {
			reframe(plane, top, img)
			source.add(plane)
		}
	}
	o := r.p.Obs
	place, name := o.Frame()
	unit := fits.Key{Name: "BUNIT", Value: name, Comment: ""}
	count := fits.Key{Name: "NDRAWS", Value: int(model.n), Comment: "draws that the moments are of"}
	cards := append(append([]fits.Key(nil), place...), fits.Key{Name: "PIXSCALE", Value: o.Scale, Comment: "arcsec per pixel"}, unit, count)
	out := []fits.Out{{}}
	if s := top.Source; s != nil {
		own := append(fits.GridWCS(s.W, s.H, s.Scale, top.SourceX, top.SourceY), fits.Key{Name: "PIXSCALE", Value: s.Scale, Comment: "arcsec per pixel, source plane"}, unit, count)
		out = append(out,
			fits.Out{Name: "SOURCE_MEAN", Bitpix: -64, Axes: []int{s.W, s.H}, Pix: source.mean, Cards: own},
			fits.Out{Name: "SOURCE_SD", Bitpix: -64, Axes: []int{s.W, s.H}, Pix: source.sd(), Cards: own})
	}
	out = append(out,
		fits.Out{Name: "MODEL_MEAN", Bitpix: -64, Axes: []int{o.W, o.H}, Pix: model.mean, Cards: cards},
		fits.Out{Name: "MODEL_SD", Bitpix: -64, Axes: []int{o.W, o.H}, Pix: model.sd(), Cards: cards})
	return fits.Write(filepath.Join(r.dir, rundir.SamplesFITS), out...)
}

// reframe writes the source of a draw on the frame of top's, zero outside its own.
func reframe(dst []float64, top, draw *adjoint.Images) {
	t, s := top.Source, draw.Source
	for j := range t.H {
		y := top.SourceY + (float64(j)-0.5*float64(t.H-1))*t.Scale
		v := (y-draw.SourceY)/s.Scale + 0.5*float64(s.H-1)
		for i := range t.W {
			x := top.SourceX + (float64(i)-0.5*float64(t.W-1))*t.Scale
			dst[j*t.W+i] = between(s, (x-draw.SourceX)/s.Scale+0.5*float64(s.W-1), v)
		}
	}
}

// between interpolates linearly at column u and row v, with zeros outside.
func between(m *physics.Image, u, v float64) float64 {
	fu, fv := math.Floor(u), math.Floor(v)
	i, j := int(fu), int(fv)
	at := func(i, j int) float64 {
		if i < 0 || j < 0 || i >= m.W || j >= m.H {
			return 0
		}
		return m.Pix[j*m.W+i]
	}
	u, v = u-fu, v-fv
	return (1-v)*((1-u)*at(i, j)+u*at(i+1, j)) + v*((1-u)*at(i, j+1)+u*at(i+1, j+1))
}

// pixelMoments gathers mean and variance of images by Welford's recurrence.
type pixelMoments struct {
	n        float64
	mean, ss []float64
}

func newPixelMoments(n int) *pixelMoments {
	return &pixelMoments{mean: make([]float64, n), ss: make([]float64, n)}
}

func (m *pixelMoments) add(pix []float64) {
	m.n++
	for i, v := range pix {
		d := v - m.mean[i]
		m.mean[i] += d / m.n
		m.ss[i] += d * (v - m.mean[i])
	}
}

func (m *pixelMoments) sd() []float64 {
	out := make([]float64, len(m.ss))
	for i, s := range m.ss {
		out[i] = math.Sqrt(s / math.Max(1, m.n-1))
	}
	return out
}

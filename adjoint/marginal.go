package adjoint

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"lenskit/physics"
	"lenskit/physics/linalg"
)

// Marginal is the Posterior of a model with pixelised sources. These, and amplitudes if the model says so, are integrated
// over in closed form: its likelihood is the evidence at the parameters of lenses, shapes and priors, with its exact gradient.
// What the sources are at given parameters is told by Conditional.
//
// Amplitudes that are solved for stand among the named parameters, where they are fixed; Conditional has their values.
type Marginal struct{ *Posterior }

// NewMarginal builds the posterior of a model, which must have a pixelised source, given an observation. Close it as a
// Posterior.
func NewMarginal(model Model, obs Observation, opt Options) (*Marginal, error) {
	p, err := New(model, obs, opt)
	if err != nil {
		return nil, err
	}
	if p.inv == nil {
		p.Close()
		return nil, fmt.Errorf("adjoint: model: found no pixelised source, expected one at least")
	}
	return &Marginal{p}, nil
}

// Conditional is what is known of the sources and amplitudes at given parameters: all are normal, but for those that are not
// to be negative, which are at their best.
type Conditional struct {
	Theta   []float64 // the named parameters, with the amplitudes' means
	Sources []ConditionalSource

	n          int       // coefficients
	columns    []int     // of Gaussian amplitudes: their places in Theta
	factor     []float64 // L of the coefficients' S, amplitudes held
	gauss      []float64 // L of the amplitudes' S, the source solved for
	shift      []float64 // by which the coefficients move with each amplitude, in rows
	covariance []float64 // of the coefficients
	noise      float64   // the factor of the noise
	dense      dense
}

// ConditionalSource is a pixelised source: mean and standard deviation of its coefficients, grid by grid.
type ConditionalSource struct {
	Name     string // of the component
	Grids    []physics.SplineGrid
	Mean, SD []float64
	first    int // among the coefficients of all
}

// Conditional solves for the sources at named parameters.
func (m *Marginal) Conditional(theta []float64) (*Conditional, error) {
	c, err := m.conditional(theta)
	if err != nil {
		return nil, err
	}
	v := m.inv
	v.covariance()
	c.covariance = slices.Clone(v.a)
	for i := range c.Sources {
		for k := v.first[i]; k < v.first[i+1]; k++ {
			c.Sources[i].SD = append(c.Sources[i].SD, math.Sqrt(max(0, v.a[k*c.n+k])))
		}
	}
	return c, nil
}

// conditional is Conditional without a covariance, which draws do not need.
func (m *Marginal) conditional(theta []float64) (*Conditional, error) {
	if _, err := m.likelihoodOf(theta, false, false); err != nil {
		return nil, err
	}
	v := m.inv
	n, g := v.n, len(v.columns)-v.nFree
	c := &Conditional{Theta: slices.Clone(theta), n: n, noise: math.Sqrt(v.noise2), factor: slices.Clone(v.a), gauss: slices.Clone(v.gauss), dense: dense{linalg.New(nil)}}
	for k, col := range v.columns {
		c.Theta[col.at] = v.amp[k]
		if col.gaussian {
			c.columns = append(c.columns, col.at)
		}
	}
	c.shift = slices.Clone(v.z[(1+v.nFree)*n:])
	v.dense.unwhiten(c.shift, v.a, g, n)
	for i, l := range v.pixelised {
		s := ConditionalSource{Name: m.model.Components[l.component].Name, Grids: l.splines.Grids(), first: v.first[i]}
		s.Mean = slices.Clone(v.s[v.first[i]:v.first[i+1]])
		c.Sources = append(c.Sources, s)
	}
	return c, nil
}

// Amplitudes are the named parameters with the amplitudes that go with them, the means of those that are integrated over, and
// the standard deviations of the latter, which are 0 for all else.
func (m *Marginal) Amplitudes(theta []float64) (solved, sd []float64, err error) {
	c, err := m.conditional(theta)
	if err != nil {
		return nil, nil, err
	}
	g := len(c.columns)
	sd = make([]float64, len(theta))
	for k := range g { // the columns of L⁻ᵀ
		unit := make([]float64, g)
		unit[k] = c.noise
		c.dense.unwhiten(unit, c.gauss, 1, g)
		for i, at := range c.columns {
			sd[at] = math.Hypot(sd[at], unit[i])
		}
	}
	return c.Theta, sd, nil
}

// DrawImages draws the model at named parameters with sources, and amplitudes that are integrated over, drawn from what is
// known of them there.
func (m *Marginal) DrawImages(theta []float64, rng *rand.Rand) (*Images, error) {
	c, err := m.conditional(theta)
	if err != nil {
		return nil, err
	}
	coefficients := make([][]float64, len(c.Sources))
	for i := range c.Sources {
		coefficients[i] = slices.Clone(c.Sources[i].Mean)
	}
	drawn := slices.Clone(c.Theta)
	c.Draw(coefficients, drawn, rng)
	return m.show(coefficients, drawn)
}

// show draws the model, as the scene is set otherwise, with coefficients of the sources and amplitudes.
func (m *Marginal) show(coefficients [][]float64, theta []float64) (*Images, error) {
	v := m.inv
	for i, l := range v.pixelised {
		l.splines.SetCoefficients(coefficients[i])
	}
	for u, l := range v.units {
		if err := l.light.Set(v.params(u, theta)); err != nil {
			return nil, rejected("%s: %w", l.name, err)
		}
	}
	return m.draw()
}

// Draw writes a draw of the coefficients of each source to coefficients, slices as long as the sources' Mean, and of the
// amplitudes to theta, a copy of Theta.
func (c *Conditional) Draw(coefficients [][]float64, theta []float64, rng *rand.Rand) {
	g := len(c.columns)
	s, a := make([]float64, c.n), make([]float64, g)
	for i := range a {
		a[i] = c.noise * rng.NormFloat64()
	}
	c.dense.unwhiten(a, c.gauss, min(1, g), g)
	for i := range s {
		s[i] = c.noise * rng.NormFloat64()
	}
	c.dense.unwhiten(s, c.factor, 1, c.n)
	for i, at := range c.columns {
		theta[at] += a[i]
		for k, x := range c.shift[i*c.n : (i+1)*c.n] {
			s[k] -= a[i] * x
		}
	}
	for i, src := range c.Sources {
		for k, v := range src.Mean {
			coefficients[i][k] = v + s[src.first+k]
		}
	}
}

// Image draws a source with coefficients such as its Mean on w x h pixels of so many arcsec around (x, y).
func (s *ConditionalSource) Image(coefficients []float64, w, h int, scale, x, y float64) *physics.Image {
	img := physics.NewImage(w, h, scale)
	s.each(img, x, y, func(pixel, column int, v float64) { img.Pix[pixel] += v * coefficients[column] })
	return img
}

// each calls visit with every spline of the source that is not zero at a pixel.
func (s *ConditionalSource) each(img *physics.Image, x, y float64, visit func(pixel, column int, v float64)) {
	first := 0
	for _, g := range s.Grids {
		for k := range img.Pix {
			px := x + (float64(k%img.W)-0.5*float64(img.W-1))*img.Scale
			py := y + (float64(k/img.W)-0.5*float64(img.H-1))*img.Scale
			g.Each(px, py, func(spline int, v float64) { visit(k, first+spline, v) })
		}
		first += g.Len()
	}
}

// Deviation draws the standard deviation of the sum of some of the sources on w x h pixels of so many arcsec around (x, y).
func (c *Conditional) Deviation(sources []int, w, h int, scale, x, y float64) *physics.Image {
	img := physics.NewImage(w, h, scale)
	type tap struct {
		column int
		v      float64
	}
	taps := make([][]tap, len(img.Pix))
	for _, i := range sources {
		s := &c.Sources[i]
		s.each(img, x, y, func(pixel, column int, v float64) { taps[pixel] = append(taps[pixel], tap{s.first + column, v}) })
	}
	for k, t := range taps {
		sum := 0.0
		for _, a := range t {
			for _, b := range t {
				sum += a.v * b.v * c.covariance[a.column*c.n+b.column]
			}
		}
		img.Pix[k] = math.Sqrt(max(0, sum))
	}
	return img
}

// Mock draws the model with sources drawn from their priors at named parameters, and Gaussian amplitudes drawn from theirs;
// those that are not to be negative, and those of the parameters that are held (nil: none), are as theta has them. It also gives the coefficients of each source, and theta with the
// amplitudes drawn. Images.Residual compares the mock with the observation's data.
func (m *Marginal) Mock(theta []float64, held []bool, rng *rand.Rand) (img *Images, coefficients [][]float64, drawn []float64, err error) {
	if !allFinite(theta) {
		return nil, nil, nil, rejected("the parameters are not finite")
	}
	if err := m.scene.set(theta); err != nil {
		return nil, nil, nil, err
	}
	v := m.inv
	drawn = slices.Clone(theta)
	for _, l := range v.pixelised {
		if err := l.splines.Prepare(); err != nil {
			return nil, nil, nil, rejected("%s: %w", l.name, err)
		}
		s := make([]float64, l.splines.Len())
		l.splines.Draw(s, rng)
		coefficients = append(coefficients, s)
	}
	for _, col := range v.columns[v.nFree:] {
		if held == nil || !held[col.at] {
			drawn[col.at] = col.mean + rng.NormFloat64()/math.Sqrt(col.weight)
		}
	}
	img, err = m.show(coefficients, drawn)
	return img, coefficients, drawn, err
}

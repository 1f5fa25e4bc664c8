package observation

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"
	"lenskit/physics"
	"lenskit/tools/config"
)

// Settings of the multi-Gaussian expansion.
const (
	mgeWidths = 9   // Gaussians of each of the two ellipticities
	mgeRounds = 6   // of weights
	mgeSteps  = 60  // Nelder-Mead evaluations in each
	mgeTail   = 1.5 // standard deviations above the light from which a pixel is taken to show something else
)

// FitMGE is the light of a lens as a sum of Gaussians with positive amplitudes on two sets of ellipses around a
// centre (Emsellem, Monnet & Bacon 1994, with two ellipticities), and a sky. It falls outward everywhere and is the same
// at opposite sides, so that arcs are not in it; pixels that stand above it count the less the more they do. lightError is the
// share of the light in a pixel that profiles may be off by, which counts as noise.
func (o *Observation) FitMGE(x0, y0, lightError float64) (*MGE, []float64, error) {
	noise := o.Noise
	f := &MGE{X0: x0, Y0: y0, lightError: lightError}
	inner, outer := math.Inf(1), 0.0
	for j := range o.H {
		for i := range o.W {
			k := j*o.W + i
			x, y := o.Place(i, j)
			f.allX, f.allY = append(f.allX, x-f.X0), append(f.allY, y-f.Y0)
			if noise.Used[k] {
				r := math.Hypot(x-f.X0, y-f.Y0)
				inner, outer = math.Min(inner, r), math.Max(outer, r)
				f.x, f.y, f.d, f.sigma = append(f.x, x-f.X0), append(f.y, y-f.Y0), append(f.d, noise.Data[k]), append(f.sigma, 1/noise.Weight[k])
			}
		}
	}
	inner = math.Max(0.5*inner, 0.5*o.Scale)
	for k := range mgeWidths {
		f.widths = append(f.widths, inner*math.Pow(1.2*outer/inner, float64(k)/(mgeWidths-1)))
	}
	f.weight = make([]float64, len(f.d))
	for i, s := range f.sigma {
		f.weight[i] = 1 / math.Hypot(s, 0.05*f.d[i])
	}
	shape := f.Shape[:]
	for range mgeRounds {
		res, err := optimize.Minimize(optimize.Problem{Func: f.misfit}, shape, &optimize.Settings{FuncEvaluations: mgeSteps},
			&optimize.NelderMead{SimplexSize: 0.1})
		if res == nil {
			return nil, nil, err
		}
		copy(shape, res.X)
		f.misfit(shape)
		f.reweigh(shape)
	}
	f.misfit(shape)
	return f, f.image(shape), nil
}

// BrightCentre is the centre of the light within half an arcsec of the image's, where it stands above that further out. What
// is masked, as the core of a galaxy often is, tells it too.
func (o *Observation) BrightCentre() (x0, y0 float64) {
	const reach = 0.5
	noise := o.whole
	for range 5 {
		floor := math.Inf(1)
		each := func(visit func(k int, x, y float64)) {
			for j := range o.H {
				for i := range o.W {
					x, y := o.Place(i, j)
					if k := j*o.W + i; noise.Used[k] && math.Hypot(x-x0, y-y0) < reach {
						// where a pixel or the one opposite is bad, neither counts
						a, b := int(math.Round((2*x0-x)/o.Scale+0.5*float64(o.W-1))), int(math.Round((2*y0-y)/o.Scale+0.5*float64(o.H-1)))
						if a >= 0 && b >= 0 && a < o.W && b < o.H && noise.Used[b*o.W+a] {
							visit(k, x, y)
						}
					}
				}
			}
		}
		each(func(k int, x, y float64) { floor = math.Min(floor, noise.Data[k]) })
		sum, sx, sy := 0.0, 0.0, 0.0
		each(func(k int, x, y float64) {
			v := noise.Data[k] - floor
			sum += v
			sx += v * x
			sy += v * y
		})
		if sum > 0 {
			x0, y0 = sx/sum, sy/sum
		}
	}
	return x0, y0
}

// MGE is a multi-Gaussian expansion; it fits the amplitudes of the Gaussians to pixels, places being relative to the centre.
type MGE struct {
	X0, Y0      float64
	Shape       [4]float64 // e1, e2 of the one set of ellipses and the other
	x, y, d     []float64  // of the used pixels
	sigma       []float64
	weight      []float64
	lightError  float64 // of the light in a pixel
	allX, allY  []float64
	widths, Amp []float64 // amp: those of either ellipticity, then the sky
}

// Columns are the Gaussians at places, of peak 1.
func (f *MGE) Columns(shape, x, y []float64) [][]float64 {
	var cols [][]float64
	for half := range 2 {
		e1, e2 := shape[2*half], shape[2*half+1]
		e := math.Hypot(e1, e2)
		q := (1 - e) / (1 + e)
		sin, cos := math.Sincos(0.5 * math.Atan2(e2, e1))
		r2 := make([]float64, len(x))
		for i := range x {
			u, v := cos*x[i]+sin*y[i], cos*y[i]-sin*x[i]
			r2[i] = q*u*u + v*v/q
		}
		for _, w := range f.widths {
			c := make([]float64, len(x))
			for i, r := range r2 {
				c[i] = math.Exp(-0.5 * r / (w * w))
			}
			cols = append(cols, c)
		}
	}
	sky := make([]float64, len(x))
	for i := range sky {
		sky[i] = 1
	}
	return append(cols, sky)
}

// misfit solves for the amplitudes at given ellipticities and returns the weighted sum of squares.
func (f *MGE) misfit(shape []float64) float64 {
	if math.Hypot(shape[0], shape[1]) > 0.6 || math.Hypot(shape[2], shape[3]) > 0.6 {
		return math.Inf(1)
	}
	cols := f.Columns(shape, f.x, f.y)
	n := len(cols)
	for _, c := range cols {
		for i := range c {
			c[i] *= f.weight[i]
		}
	}
	d := make([]float64, len(f.d))
	for i := range d {
		d[i] = f.d[i] * f.weight[i]
	}
	m := mat.NewDense(n, len(d), nil)
	for k, c := range cols {
		m.SetRow(k, c)
	}
	gram, b := mat.NewSymDense(n, nil), mat.NewVecDense(n, nil)
	gram.SymOuterK(1, m)
	b.MulVec(m, mat.NewVecDense(len(d), d))
	if len(f.Amp) != n {
		f.Amp = make([]float64, n)
	}
	NonNegative(f.Amp, gram, b, n-1)
	model := mat.NewVecDense(len(d), nil)
	model.MulVec(m.T(), mat.NewVecDense(n, f.Amp))
	sum := 0.0
	for i, v := range d {
		r := v - model.AtVec(i)
		sum += r * r
	}
	return sum
}

// NonNegative solves gram·x = b in the least-squares sense with x ≥ 0 but for element free, from the x given, by
// coordinate descent (Franc, Hlaváč & Navara 2005).
func NonNegative(x []float64, gram *mat.SymDense, b *mat.VecDense, free int) {
	n := len(x)
	for range 400 {
		moved := 0.0
		for i := range n {
			g := b.AtVec(i)
			for j := range n {
				g -= gram.At(i, j) * x[j]
			}
			d := gram.At(i, i)
			if !(d > 0) {
				continue
			}
			v := x[i] + g/d
			if i != free {
				v = math.Max(0, v)
			}
			moved = math.Max(moved, (v-x[i])*(v-x[i])*d)
			x[i] = v
		}
		if moved < 1e-4 {
			return
		}
	}
}

// reweigh gives each pixel the noise, with the error of the profile, as its weight, and less where it stands above the
// light.
func (f *MGE) reweigh(shape []float64) {
	model := make([]float64, len(f.d))
	for k, c := range f.Columns(shape, f.x, f.y) {
		for i, v := range c {
			model[i] += f.Amp[k] * v
		}
	}
	for i, m := range model {
		s := math.Hypot(f.sigma[i], f.lightError*m)
		w := 1 / s
		if t := (f.d[i] - m) / s; t > mgeTail {
			w *= mgeTail / t * math.Sqrt(mgeTail/t)
		}
		f.weight[i] = w
	}
}

// Ellipticity is the mean of the two sets of ellipses, weighted by their light within a radius of the centre.
func (f *MGE) Ellipticity(radius float64) (e1, e2 float64) {
	total := 0.0
	for k, a := range f.Amp[:2*len(f.widths)] {
		w := f.widths[k%len(f.widths)]
		flux := a * w * w * -math.Expm1(-0.5*radius*radius/(w*w))
		set := 2 * (k / len(f.widths))
		total += flux
		e1 += flux * f.Shape[set]
		e2 += flux * f.Shape[set+1]
	}
	if !(total > 0) {
		return 0, 0
	}
	return e1 / total, e2 / total
}

// image is the light on all pixels, the sky with it.
func (f *MGE) image(shape []float64) []float64 {
	out := make([]float64, len(f.allX))
	for k, c := range f.Columns(shape, f.allX, f.allY) {
		for i, v := range c {
			out[i] += f.Amp[k] * v
		}
	}
	return out
}

// Place sets the centre of a profile, the c-th, and its ellipticity to those of one of the two sets of ellipses.
func (f *MGE) Place(comp *config.Component, c int, names []string, theta []float64) {
	at := map[physics.Role]float64{physics.RoleCentreX: f.X0, physics.RoleCentreY: f.Y0,
		physics.RoleEllipticity1: f.Shape[2*(c%2)], physics.RoleEllipticity2: f.Shape[2*(c%2)+1]}
	for i := range comp.Params {
		p := &comp.Params[i]
		v, ok := at[p.Role]
		if k := slices.Index(names, comp.Key(p.Name)); ok && k >= 0 && !p.Prior.IsFixed() {
			theta[k] = math.Max(p.Prior.Lo+0.01, math.Min(p.Prior.Hi-0.01, v))
		}
	}
}

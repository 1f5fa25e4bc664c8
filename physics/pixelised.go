package physics

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// PixelisedSpec says what a pixelised source is made of.
type PixelisedSpec struct {
	// Grids are nested squares of splines: a coarse one over all that the image sees, finer ones where the light is. The
	// source is their sum.
	Grids []SplineGrid
	// Smoothness is ν of the Matérn prior, 1 or 2; 0 is 1.
	Smoothness int
	// Components is the number of round components of the envelope, 0 to 3.
	Components int
	// Image is an envelope in their place, nil for none: it is not to be shared with a light.
	Image *Pixels
	// Floor is what the envelope has far from its components; 0 is 0.02.
	Floor float64
}

// Bounds of a PixelisedSpec.
const (
	maxSmoothness   = 2
	maxComponents   = 3
	defaultFloor    = 0.02
	maxGridsOfLight = 4
)

// Pixelised is a Light without a shape of its own: the sum of the splines of its grids, whose coefficients s have a Gaussian
// prior of mean zero. On each grid that is a Matérn field (see maternField) with the parameters sigma and length, times an
// envelope w,
//
//	H = W⁻¹ R W⁻¹,   W = diag(w),
//
// so that sigma·w is about the standard deviation of the brightness. The envelope is 1, or
//
//	w = floor + Σ_k c_k (1 + r_k²/R_k²)^(−b_k/2)
//
// with r_k the distance from (envelope_x_k, envelope_y_k), R_k = envelope_radius_k, b_k = envelope_fall_k, c_1 = 1 and
// c_k = envelope_weight_k, or it is from an image with free place and width,
//
//	w = floor + ½(v + √(v² + floor²)),   v = image/√⟨image²⟩,
//
// where the mean is over the image's pixels; envelope_s, envelope_x and envelope_y are the s, x, y of Pixels.
//
// A mean of the source, other than zero, is another light at its place.
//
// Set takes the parameters; SetCoefficients the splines'. Prepare has to follow Set, or a change of the envelope's image,
// before the methods of the prior.
type Pixelised struct {
	grids  []SplineGrid
	fields []*maternField
	first  []int // of each grid among the coefficients
	n      int
	floor  float64
	image  *Pixels
	rounds int
	params []Param
	p      []float64

	coef         []float64
	nodeX, nodeY []float64
	w, lnW       []float64 // of each coefficient
	value, slope []float64 // of the envelope's image at the nodes; scratch
	pix          []float64 // of the image
	rms          float64
}

// NewPixelised makes a pixelised source whose coefficients are zero.
func NewPixelised(spec PixelisedSpec) (*Pixelised, error) {
	if spec.Smoothness == 0 {
		spec.Smoothness = 1
	}
	if spec.Floor == 0 {
		spec.Floor = defaultFloor
	}
	switch {
	case len(spec.Grids) == 0 || len(spec.Grids) > maxGridsOfLight:
		return nil, fmt.Errorf("physics: pixelised source: found %d grids, expected 1 to %d", len(spec.Grids), maxGridsOfLight)
	case spec.Smoothness < 1 || spec.Smoothness > maxSmoothness:
		return nil, fmt.Errorf("physics: pixelised source: found smoothness %d, expected 1 to %d", spec.Smoothness, maxSmoothness)
	case spec.Components < 0 || spec.Components > maxComponents:
		return nil, fmt.Errorf("physics: pixelised source: found an envelope of %d components, expected 0 to %d", spec.Components, maxComponents)
	case spec.Components > 0 && spec.Image != nil:
		return nil, fmt.Errorf("physics: pixelised source: found an envelope of %d components and one from an image, expected one or the other", spec.Components)
	case !(spec.Floor > 0 && spec.Floor < 1):
		return nil, fmt.Errorf("physics: pixelised source: found an envelope with floor %g, expected a number between 0 and 1", spec.Floor)
	}
	l := &Pixelised{grids: spec.Grids, floor: spec.Floor, image: spec.Image, rounds: spec.Components}
	for _, g := range spec.Grids {
		if err := g.Validate(); err != nil {
			return nil, err
		}
		l.fields = append(l.fields, newMaternField(g, spec.Smoothness))
		l.first = append(l.first, l.n)
		l.n += g.Len()
	}
	l.first = append(l.first, l.n)
	l.coef, l.w, l.lnW = make([]float64, l.n), make([]float64, l.n), make([]float64, l.n)
	l.value, l.slope = make([]float64, l.n), make([]float64, l.n)
	l.nodeX, l.nodeY = make([]float64, l.n), make([]float64, l.n)
	for k, g := range l.grids {
		g.Nodes(l.nodeX[l.first[k]:l.first[k+1]], l.nodeY[l.first[k]:l.first[k+1]])
	}
	if l.image != nil {
		w, h := l.image.Size()
		l.pix = make([]float64, w*h)
	}
	l.name()
	l.p = make([]float64, len(l.params))
	return l, nil
}

// name lists the parameters.
func (l *Pixelised) name() {
	place := Normal(0, 0.3)
	for k, g := range l.grids {
		l.params = append(l.params,
			positive(fmt.Sprintf("sigma_%d", k+1), RoleDeviation, Brightness).likely(logNormal(1, 1.5).OfBrightness()),
			positive(fmt.Sprintf("length_%d", k+1), RoleCorrelation, Arcsec).likely(logNormal(4*g.Step(), 0.7)))
	}
	for k := range l.rounds {
		add := func(name string, p Param, d Prior) {
			p.Name = fmt.Sprintf("envelope_%s_%d", name, k+1)
			l.params = append(l.params, p.likely(d))
		}
		add("x", anywhere("", RoleCentreX, Arcsec), place)
		add("y", anywhere("", RoleCentreY, Arcsec), place)
		add("radius", positive("", RoleSize, Arcsec), logNormal(0.2, 0.7))
		add("fall", positive("", RoleSlope, One), logNormal(3, 0.4))
		if k > 0 {
			add("weight", positive("", RoleWeight, One), logNormal(0.5, 0.7))
		}
	}
	if l.image != nil {
		l.params = append(l.params, positive("envelope_s", RoleSize, Arcsec).likely(Normal(5, 1).Bounded(0.2, 20)),
			anywhere("envelope_x", RoleCentreX, Arcsec).likely(place), anywhere("envelope_y", RoleCentreY, Arcsec).likely(place))
	}
}

// Params are sigma_k and length_k of each grid, then those of the envelope.
func (l *Pixelised) Params() []Param { return l.params }

// Len is the number of coefficients.
func (l *Pixelised) Len() int { return l.n }

// Grids are the grids of the splines. The slice is the source's own.
func (l *Pixelised) Grids() []SplineGrid { return l.grids }

// Set takes the parameters in the order of Params.
func (l *Pixelised) Set(p []float64) error {
	if err := checkParams("pixelised source", l.params, p); err != nil {
		return err
	}
	if l.image != nil {
		e := p[2*len(l.grids):]
		if err := l.image.Set([]float64{1, e[0], e[1], e[2]}); err != nil {
			return err
		}
	}
	copy(l.p, p)
	return nil
}

// SetCoefficients takes the Len coefficients, grid by grid.
func (l *Pixelised) SetCoefficients(s []float64) { copy(l.coef, s) }

// Coefficients are what SetCoefficients took. The slice is the source's own.
func (l *Pixelised) Coefficients() []float64 { return l.coef }

// each calls visit for every place that the light has splines at, grid by grid.
func (l *Pixelised) each(x, y []float64, visit func(ray int, v, vx, vy float64)) {
	var t splineTaps
	for k, g := range l.grids {
		c := l.coef[l.first[k]:l.first[k+1]]
		for r := range x {
			if g.taps(&t, x[r], y[r]) {
				v, vx, vy := g.value(&t, c)
				visit(r, v, vx, vy)
			}
		}
	}
}

// Brightness adds I(x, y) to dst.
func (l *Pixelised) Brightness(dst, x, y []float64) {
	l.each(x, y, func(r int, v, _, _ float64) { dst[r] += v })
}

// BrightnessVJP is as Light says: the parameters are those of the prior, by which the brightness does not change.
func (l *Pixelised) BrightnessVJP(_, gx, gy, gdst, x, y []float64) {
	if gx == nil {
		return
	}
	l.each(x, y, func(r int, _, vx, vy float64) {
		gx[r] += gdst[r] * vx
		gy[r] += gdst[r] * vy
	})
}

// BrightnessJac is as Light says: the columns of the parameters are zero.
func (l *Pixelised) BrightnessJac(jp [][]float64, jx, jy, x, y []float64) {
	for _, j := range jp {
		clear(j)
	}
	if jx == nil {
		return
	}
	clear(jx)
	clear(jy)
	l.each(x, y, func(r int, _, vx, vy float64) {
		jx[r] += vx
		jy[r] += vy
	})
}

// Prepare computes the prior at the parameters set. An envelope that cannot be used is an error wrapping ErrRange.
func (l *Pixelised) Prepare() error {
	for k, f := range l.fields {
		f.set(l.p[2*k], l.p[2*k+1])
		if math.IsNaN(f.logDet) || math.IsInf(f.logDet, 0) {
			return fmt.Errorf("physics: pixelised source: sigma_%d = %g, length_%d = %g: the prior is not finite: %w", k+1, l.p[2*k], k+1, l.p[2*k+1], ErrRange)
		}
	}
	switch {
	case l.image != nil:
		return l.prepareImage()
	case l.rounds == 0:
		for i := range l.w {
			l.w[i], l.lnW[i] = 1, 0
		}
		return nil
	}
	for i := range l.w {
		w := l.floor
		l.eachRound(i, func(_ int, c roundPart) { w += c.weight * c.v })
		l.w[i], l.lnW[i] = w, math.Log(w)
	}
	return nil
}

// roundPart is a component of the envelope at a node.
type roundPart struct {
	at           int     // its first parameter
	dx, dy, u, v float64 // from its centre; 1 + r²/R²; u^(−b/2)
	r2, radius   float64
	fall, weight float64
}

func (l *Pixelised) eachRound(i int, visit func(k int, c roundPart)) {
	at := 2 * len(l.grids)
	for k := range l.rounds {
		p := l.p[at:]
		c := roundPart{at: at, dx: l.nodeX[i] - p[0], dy: l.nodeY[i] - p[1], radius: p[2], fall: p[3], weight: 1}
		at += 4
		if k > 0 {
			c.weight = p[4]
			at++
		}
		c.r2 = c.dx*c.dx + c.dy*c.dy
		c.u = 1 + c.r2/(c.radius*c.radius)
		c.v = math.Pow(c.u, -0.5*c.fall)
		visit(k, c)
	}
}

func (l *Pixelised) prepareImage() error {
	l.image.Image(l.pix)
	sum := 0.0
	for _, v := range l.pix {
		sum += v * v
	}
	l.rms = math.Sqrt(sum / float64(len(l.pix)))
	if !(l.rms > 0) || math.IsInf(l.rms, 1) {
		return fmt.Errorf("physics: pixelised source: the envelope's image has the root mean square %g, expected a positive number, of other latents or another image: %w", l.rms, ErrRange)
	}
	clear(l.value)
	l.image.Brightness(l.value, l.nodeX, l.nodeY)
	for i, b := range l.value {
		v := b / l.rms
		root := math.Sqrt(v*v + l.floor*l.floor)
		l.w[i] = l.floor + 0.5*(v+root)
		l.lnW[i] = math.Log(l.w[i])
		l.slope[i] = 0.5 * (1 + v/root) / l.w[i] // d ln w/dv
	}
	return nil
}

// LogDet is ln|H|, in closed form: with zeros around a grid the eigenvectors of R are products of sines.
func (l *Pixelised) LogDet() float64 {
	d := 0.0
	for _, f := range l.fields {
		d += f.logDet
	}
	for _, v := range l.lnW {
		d -= 2 * v
	}
	return d
}

// AddPrecision adds scale·H to the lower triangle of dst, a matrix stored row by row with `pitch` elements from one to the
// next, of which the first coefficient has row and column 0.
func (l *Pixelised) AddPrecision(dst []float64, pitch int, scale float64) {
	l.eachPrecision(func(i, j int, h, _ float64) { dst[j*pitch+i] += scale * h })
}

// eachPrecision is each of the fields, with the envelope.
func (l *Pixelised) eachPrecision(visit func(i, j int, h, slope float64)) {
	for k, f := range l.fields {
		at := l.first[k]
		f.each(func(i, j int, r, slope float64) {
			w := 1 / (l.w[at+i] * l.w[at+j])
			visit(at+i, at+j, r*w, slope*w)
		})
	}
}

// Precision writes H s to dst.
func (l *Pixelised) Precision(dst, s []float64) {
	clear(dst)
	l.eachPrecision(func(i, j int, h, _ float64) {
		dst[i] += h * s[j]
		if i != j {
			dst[j] += h * s[i]
		}
	})
}

// PrecisionVJP adds to gp the derivative by the parameters of
//
//	½ ln|H| − ½ sᵀH s − ½ scale tr(V H)
//
// with s and V held, and to gimg that by the padded image of the envelope, unless it is nil. V is symmetric and whole, stored as
// AddPrecision's dst is. It returns tr(V H). work is of Len elements.
func (l *Pixelised) PrecisionVJP(gp, gimg, s, v []float64, pitch int, scale float64, work []float64) (trace float64) {
	clear(work)
	of := func(i, j int) float64 { return s[i]*s[j] + scale*v[i*pitch+j] }
	for k, f := range l.fields {
		at, all, long := l.first[k], 0.0, 0.0
		f.each(func(i, j int, r, slope float64) {
			i, j = at+i, at+j
			w := 1 / (l.w[i] * l.w[j])
			if i == j {
				m := of(i, i) * w
				all += m * r
				long += m * slope
				work[i] += m * r
				trace += v[i*pitch+i] * r * w
				return
			}
			m := of(i, j) * w
			all += 2 * m * r
			long += 2 * m * slope
			work[i] += m * r
			work[j] += m * r
			trace += 2 * v[i*pitch+j] * r * w
		})
		n := float64(l.first[k+1] - at)
		gp[2*k] += (all - n) / l.p[2*k]
		gp[2*k+1] += 0.5 * (f.logDetL - long) / l.p[2*k+1]
	}
	for i := range work {
		work[i]-- // the derivative by ln w
	}
	l.envelopeVJP(gp, gimg, work)
	return trace
}

// envelopeVJP takes the derivatives by ln w to the parameters of the envelope and its padded image. It overwrites g.
func (l *Pixelised) envelopeVJP(gp, gimg, g []float64) {
	if l.image != nil {
		own := [4]float64{}
		sum := 0.0
		for i := range g {
			g[i] *= l.slope[i] / l.rms
			sum += g[i] * l.value[i]
		}
		l.image.BrightnessVJPImage(own[:], gimg, nil, nil, g, l.nodeX, l.nodeY)
		for k, v := range own[1:] {
			gp[2*len(l.grids)+k] += v
		}
		if gimg != nil { // d ln rms/d image = image/Σ image²
			c := -sum / (l.rms * l.rms * float64(len(l.pix)))
			l.image.addPadded(gimg, l.pix, c)
		}
		return
	}
	l.roundsVJP(gp, g, 0, l.n)
}

// roundsVJP is envelopeVJP of round components, for the coefficients from ≤ i < to.
func (l *Pixelised) roundsVJP(gp, g []float64, from, to int) {
	for i := from; i < to; i++ {
		l.eachRound(i, func(k int, c roundPart) {
			e := g[i] / l.w[i] * c.v
			r2 := c.radius * c.radius
			b := e * c.weight * c.fall / (r2 * c.u)
			gp[c.at] += b * c.dx
			gp[c.at+1] += b * c.dy
			gp[c.at+2] += b * c.r2 / c.radius
			gp[c.at+3] -= 0.5 * e * c.weight * math.Log(c.u)
			if k > 0 {
				gp[c.at+4] += e
			}
		})
	}
}

// Draw writes a draw from the prior at the parameters set to s, of Len elements. It may allocate.
func (l *Pixelised) Draw(s []float64, rng *rand.Rand) {
	for k, f := range l.fields {
		f.draw(s[l.first[k]:l.first[k+1]], rng)
	}
	for i, w := range l.w {
		s[i] *= w
	}
}

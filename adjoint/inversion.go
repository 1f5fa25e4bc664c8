package adjoint

import (
	"fmt"

	"lenskit/physics"
	"lenskit/physics/linalg"
)

// inversion integrates over what a model is linear in, its pixelised sources and amplitudes. With the data d less all
// other light, A the columns that the coefficients x multiply in the blurred image, C the noise and H the precision of
// their Gaussian prior of mean μ,
//
//	S = Aᵀ C⁻¹ A + H,   x̂ = S⁻¹ (Aᵀ C⁻¹ d + H μ),   r = d − A x̂,
//	ln Z = −½ rᵀC⁻¹ r − ½ (x̂−μ)ᵀ H (x̂−μ) − ½ ln|S| + ½ ln|H| − Σ ln(σ√2π)
//
// (MacKay 1992; Suyu et al. 2006, eq. 19). Amplitudes that are not to be negative are at their best instead, the source
// being the best for each. The columns of the source are A = B L, which nothing forms: see physics.Inversion. By the
// elements of L and by each pixel of a light's unblurred column G_g,
//
//	∂ln Z/∂L_ij = (BᵀC⁻¹r)_i x̂_j − (BᵀC⁻¹A S⁻¹)_ij,   ∂ln Z/∂G_ig = (BᵀC⁻¹r)_i x̂_g − (BᵀC⁻¹A S⁻¹)_ig,
//
// without the second term for amplitudes at their best. The factor s of the noise is taken out of C: then s²H stands in
// the place of H.
type inversion struct {
	p     *Posterior
	c     *chain
	op    *physics.Inversion
	dense dense

	pixelised []*lightUnit
	index     []int // of each among the scene's lights
	first     []int // of the coefficients of each, and their number
	n         int
	columns   []lightColumn // of amplitudes; the Gaussian ones last
	nFree     int           // of them that are not Gaussian
	units     []*lightUnit  // with amplitudes
	drawn     [][]float64   // the parameters that the columns of each of units were drawn with

	// the columns in the image: unblurred and Bᵀ C⁻¹ of the blurred (planes), and blurred (of the box)
	plane, back, blurred [][]float64
	stored               []float64 // all of blurred
	gram                 *physics.Gram
	used                 []int32
	weight               []float64     // 1/σ of these
	tiles, wanted        [][][]float64 // of each tile: columns at its rays

	s, hs, work []float64   // coefficients; H s
	amp         []float64   // of each column
	a           []float64   // n x n: S in its lower triangle, then its factor, then the covariance
	z           []float64   // (1+columns) x n: Lᵀ BᵀC⁻¹ of the data and of the columns, times L⁻ᵀ
	x           []float64   // Gaussian columns x n: S⁻¹ of the columns
	mixed       [][]float64 // of each Gaussian column: the covariance of it and the coefficients
	schur       []float64   // (1+columns)²: what is left of the products of data and columns when the source is solved for
	best        []float64   // of the columns, less the means of their priors
	rhs         []float64
	temp        []float64
	gauss       []float64 // the Gaussian part of schur, its factor, its inverse
	cross       []float64 // (1 + not Gaussian) x Gaussian
	reduced     []float64
	nnls        *nnls
	residual    []float64   // of the box
	spread      []float64   // a plane
	weights     [][]float64 // of each Gaussian column: BᵀC⁻¹A S⁻¹, a plane
	single      []physics.Light
	adjoint     physics.RayAdjoint
	rayWorks    []*physics.InversionWork
	gx, gy      [][][]float64

	noise2    float64 // s²
	logDet    float64 // of S
	reg       float64 // (x̂−μ)ᵀ H (x̂−μ)
	trace     float64 // of the covariance and H
	runColumn func(tile int)
	runRows   func(row int)
	drawing   []bool    // of units
	scratch   []float64 // parameters of a light
}

// lightColumn is an amplitude.
type lightColumn struct {
	unit     int // among the inversion's
	param    int // of the light
	at       int // among θ
	gaussian bool
	mean     float64
	weight   float64 // 1/σ² of its prior
}

// newInversion lays out the inversion of a posterior whose scene and chain are made, nil where nothing is solved for. It
// shares the tables of another, unless that is nil.
func newInversion(p *Posterior, shared *physics.Inversion) (*inversion, error) {
	v := &inversion{p: p, c: p.chain}
	if v.list(); len(v.pixelised)+len(v.units) == 0 {
		return nil, nil
	}
	switch {
	case len(v.pixelised) == 0:
		return nil, fmt.Errorf("adjoint: model: %s: found amplitudes that are solved for, expected a pixelised source beside them", v.units[0].name)
	case p.like.nu != 0:
		return nil, fmt.Errorf("adjoint: model: %s: found residuals of Student's t distribution, expected Gaussian ones: no other can be integrated over a pixelised source", v.pixelised[0].name)
	}
	var parts []physics.SplinePart
	for _, l := range v.pixelised {
		v.first = append(v.first, v.n)
		for _, g := range l.splines.Grids() {
			parts = append(parts, physics.SplinePart{Grid: g, Plane: l.plane, First: v.n})
			v.n += g.Len()
		}
	}
	v.first = append(v.first, v.n)
	if v.n > MaxCoefficients {
		return nil, fmt.Errorf("adjoint: model: %s: found %d splines in all, expected at most %d: fewer along a side of the grids", v.pixelised[0].name, v.n, MaxCoefficients)
	}
	c := p.chain
	if shared != nil {
		v.op = shared.Clone(p.pool)
	} else {
		w2 := make([]float64, len(c.weight))
		for i, w := range c.weight {
			w2[i] = w * w
		}
		var err error
		if v.op, err = physics.NewInversion(c.grid, p.obs.PSF, w2, parts, p.pool); err != nil {
			return nil, fmt.Errorf("adjoint: model: %w", err)
		}
	}
	v.dense = dense{linalg.New(p.pool.Run)}
	v.layOut()
	return v, nil
}

// MaxCoefficients bounds the splines of all sources: a matrix of so many rows takes half a gigabyte.
const MaxCoefficients = 8192

// list finds the lights that are solved for.
func (v *inversion) list() {
	lights := v.p.scene.lights
	for i := range lights {
		l := &lights[i]
		if l.splines != nil {
			v.pixelised, v.index = append(v.pixelised, l), append(v.index, i)
		}
		if l.linear != nil {
			v.units = append(v.units, l)
		}
	}
	for _, gaussian := range []bool{false, true} {
		for u, l := range v.units {
			for k, param := range l.linear {
				prior := l.amplitudes[k]
				if (prior.Family != "") != gaussian {
					continue
				}
				col := lightColumn{unit: u, param: param, at: l.first + param, gaussian: gaussian}
				if gaussian {
					col.mean, col.weight = prior.A, 1/(prior.B*prior.B)
				} else {
					v.nFree++
				}
				v.columns = append(v.columns, col)
			}
		}
	}
}

func (v *inversion) layOut() {
	c, n, m := v.c, v.n, len(v.columns)
	g := m - v.nFree
	box, plane := c.grid.Box.W*c.grid.Box.H, c.grid.PlaneLen()
	v.drawing, v.drawn = make([]bool, len(v.units)), make([][]float64, len(v.units))
	v.plane, v.back = planes(m, plane), planes(m, plane)
	v.stored = make([]float64, m*box)
	for k := range m {
		v.blurred = append(v.blurred, v.stored[k*box:(k+1)*box])
	}
	v.gram = physics.NewGram(m)
	for i, w := range c.weight {
		if w != 0 {
			v.used, v.weight = append(v.used, int32(i)), append(v.weight, w)
		}
	}
	most := 0
	for _, l := range v.units {
		most = max(most, l.n)
	}
	for range c.tiles {
		v.tiles, v.wanted = append(v.tiles, planes(most, c.blockLen)), append(v.wanted, make([][]float64, most))
		v.rayWorks = append(v.rayWorks, v.op.NewWork())
		v.gx, v.gy = append(v.gx, make([][]float64, c.scene.sourcePlanes())), append(v.gy, make([][]float64, c.scene.sourcePlanes()))
	}
	v.scratch = make([]float64, most)
	v.s, v.hs, v.work = make([]float64, n), make([]float64, n), make([]float64, n)
	v.amp, v.rhs, v.best = make([]float64, m), make([]float64, v.nFree), make([]float64, m)
	v.a, v.z = make([]float64, n*n), make([]float64, n*(1+m))
	v.x, v.temp, v.mixed = make([]float64, n*g), make([]float64, n*g), planes(g, n)
	v.schur, v.reduced = make([]float64, (1+m)*(1+m)), make([]float64, v.nFree*v.nFree)
	v.gauss, v.cross = make([]float64, g*g), make([]float64, g*(1+v.nFree))
	v.nnls = newNNLS(v.nFree)
	v.residual, v.spread = make([]float64, box), make([]float64, plane)
	v.weights = planes(g, plane)
	for _, col := range v.columns[v.nFree:] {
		l, err := physics.NewLight(v.units[col.unit].kind)
		if err != nil {
			panic(err) // the light was made of the same kind before
		}
		v.single = append(v.single, l)
	}
	v.runColumn, v.runRows = v.columnTile, v.backRow
}

package adjoint

import (
	"fmt"
	"slices"
	"sort"

	"gonum.org/v1/gonum/mat"

	"lenskit/physics"
)

const (
	jacobianBytes = 256 << 20 // of the Jacobian's columns at a time; larger images go in strips of rows
	maxGroups     = 16        // partial sums of JᵀJ
)

// jacobian is the working space of the Gauss-Newton matrix JᵀJ of a chain, J = ∂(model/σ)/∂u: exact columns, each the
// blurred derivative of the brightness of every ray. It is made when first asked for.
//
// The image is cut into strips of rows, each with the rows above and below that the PSF spreads into it, so that the
// columns fit into jacobianBytes.
type jacobian struct {
	p      *Posterior
	c      *chain
	dim    int
	rows   int // of a strip's own
	margin int // rows above and below
	psf    physics.PSF
	width  int          // of the box
	size   int          // pixels of one strip and its margins
	plane  int          // those of its plane before the PSF, finer if the PSF is
	stride int          // from one column's plane to the next: odd lines of cache, so that columns do not compete for places
	cols   []float64    // dim+1 planes: column k comes in plane k+1, its blurred form in plane k
	scale  []float64    // dθ/du of each scalar's column
	images []latentCols // of each light
	tiles  []jacTile
	groups []*physics.Gram
	used   []int32   // the box's pixels that are compared with data
	weight []float64 // 1/σ of each

	// the strip at work: its own rows lo ≤ j < hi, the first row of its planes, its pixels
	lo, hi, start int
	from, to      int // of the grid's pixels
	first, last   int // of used
	at            []int32
	runTile       func(chunk int)
	runSyrk       func(chunk int)
}

// latentCols is the images that a decoder's free latents move the source by, a padded one for each coordinate.
type latentCols struct {
	directions []float64   // ∂z/∂u, a row of latents for each coordinate
	z          []float64   // where the images were computed, empty before that
	before     []float64   // a row of directions
	free       []int       // the coordinate of each latent, -1 when it is fixed
	imgs       [][]float64 // of each direction
	padded     [][]float64
}

// jacTile is the working space for a stretch of rays.
type jacTile struct {
	ix, iy   [][]float64 // ∂I/∂β of the sources in each source plane
	many     *manyPlanes // nil when there is one plane of lenses and one of sources
	sx, sy   []float64   // of one light
	px, py   [][]float64 // ∂α/∂p of one lens, or ∂I/∂p of one light
	jx, jy   [][]float64 // those of px, py that are wanted
	latents  [][]float64 // ∂I/∂u of one decoder's latents
	wanted   [][]float64
	combined []float64
}

// newJacobian lays out the working space.
func newJacobian(p *Posterior) (*jacobian, error) {
	c := p.chain
	box := c.grid.Box
	j := &jacobian{p: p, c: c, dim: p.params.dim, width: box.W}
	_, ry := c.psf.Margin()
	rows := box.H
	if row := 8 * j.dim * c.grid.PlaneLen() / box.H; row*box.H > jacobianBytes && p.inv == nil {
		rows = max(jacobianBytes/row-2*ry, 2*ry, 16)
	}
	if err := j.cut(rows); err != nil {
		return nil, err
	}
	for i, w := range c.weight {
		if w != 0 {
			j.used, j.weight = append(j.used, int32(i)), append(j.weight, w)
		}
	}
	j.at = make([]int32, len(j.used))
	j.scale = make([]float64, j.dim)
	j.images = make([]latentCols, len(c.scene.lights))
	most, latents := 1, 0
	for _, l := range c.scene.lenses {
		most = max(most, l.n)
	}
	for i := range c.scene.lights {
		l := &c.scene.lights[i]
		most = max(most, l.n)
		if l.nz == 0 || l.zFixed || l.splines != nil {
			continue
		}
		latents = max(latents, l.nz)
		m := &j.images[i]
		m.directions, m.before, m.z = make([]float64, l.nz*l.nz), make([]float64, l.nz), make([]float64, 0, l.nz)
		m.free = p.params.freeOf[l.zFirst : l.zFirst+l.nz]
		m.imgs, m.padded = planes(l.nz, len(l.img)), planes(l.nz, l.pixels.PadLen())
	}
	n := c.blockLen
	j.tiles = make([]jacTile, maxTiles)
	for k := range j.tiles {
		t := &j.tiles[k]
		t.ix, t.iy = planes(c.scene.sourcePlanes(), n), planes(c.scene.sourcePlanes(), n)
		t.sx, t.sy = make([]float64, n), make([]float64, n)
		if t.many = newManyPlanes(c.scene, n); t.many != nil {
			for i := range c.scene.lenses {
				if l := &c.scene.lenses[i]; !l.fixed {
					t.many.gp[i] = make([]float64, l.n) // only the deflections' adjoints are wanted, which come with it
				}
			}
		}
		t.combined = make([]float64, n)
		t.px, t.py, t.latents = planes(most, n), planes(most, n), planes(latents, n)
		t.jx, t.jy, t.wanted = make([][]float64, most), make([][]float64, most), make([][]float64, latents)
	}
	for range maxGroups {
		j.groups = append(j.groups, physics.NewGram(j.dim))
	}
	j.runTile, j.runSyrk = j.tile, j.syrk
	return j, nil
}

// cut lays out the planes for strips of `rows` rows, or for the whole box when nothing is to be gained.
func (j *jacobian) cut(rows int) (err error) {
	box, psf := j.c.grid.Box, j.c.psf
	_, ry := psf.Margin()
	if j.rows, j.margin, j.psf = box.H, 0, psf; rows+2*ry < box.H {
		j.rows, j.margin = rows, ry
		if j.psf, err = j.p.newPSF(physics.Box{W: box.W, H: rows + 2*ry}); err != nil {
			return err
		}
	}
	j.size = (j.rows + 2*j.margin) * box.W
	j.plane = j.size * j.c.grid.Fine * j.c.grid.Fine
	j.stride = j.plane + 8*17
	j.cols = make([]float64, (j.dim+1)*j.stride)
	return nil
}

func planes(n, size int) [][]float64 {
	all := make([]float64, n*size)
	out := make([][]float64, n)
	for i := range out {
		out[i] = all[i*size : (i+1)*size : (i+1)*size]
	}
	return out
}

// prepare reads the slopes of the scalars at the point that the chain is at, and the decoders' Jacobians there or, given
// other named parameters, at theirs. Those of the latents they were last computed at are not computed again.
func (j *jacobian) prepare(origin []float64) error {
	p := j.p
	for i := range j.scale {
		j.scale[i] = 1 // the columns of latents are made in their coordinates
	}
	for i := range j.c.scene.lights {
		l, m := &j.c.scene.lights[i], &j.images[i]
		if m.imgs == nil {
			continue
		}
		z := l.z
		if origin != nil {
			z = origin[l.zFirst : l.zFirst+l.nz]
		}
		same := slices.Equal(m.z, z)
		for k := range l.nz {
			row := m.directions[k*l.nz : (k+1)*l.nz]
			copy(m.before, row)
			if l.block != nil {
				l.block.column(row, k)
			} else {
				clear(row)
				row[k] = p.slope[l.zFirst+k]
			}
			same = same && slices.Equal(m.before, row)
		}
		if same {
			continue
		}
		m.z = m.z[:0]
		if err := l.dec.jacobian(m.imgs, m.directions, z); err != nil {
			return err
		}
		for k := range m.imgs {
			if !allFinite(m.imgs[k]) {
				return rejected("%s: the decoder's Jacobian is not finite", l.name)
			}
			l.pixels.Pad(m.padded[k], m.imgs[k])
		}
		m.z = append(m.z, z...)
	}
	for _, s := range p.params.scalars {
		j.scale[s.free] = p.slope[s.at]
	}
	for i := range j.c.scene.lights { // scalars among latents have their slope in the direction already
		for _, f := range j.images[i].free {
			if f >= 0 {
				j.scale[f] = 1
			}
		}
	}
	return nil
}

// matrix writes JᵀJ to hess, with the decoders' Jacobians at the point of the chain or at origin.
func (j *jacobian) matrix(hess *mat.SymDense, origin []float64) error {
	if err := j.prepare(origin); err != nil {
		return err
	}
	for _, g := range j.groups {
		g.Clear()
	}
	h := j.c.grid.Box.H
	for lo := 0; lo < h; lo += j.rows {
		j.columns(lo, min(lo+j.rows, h))
		j.c.pool.Run(maxGroups, j.runSyrk)
	}
	for a := range j.dim {
		for b := a; b < j.dim; b++ {
			s := 0.0
			for _, g := range j.groups {
				s += g.At(a, b)
			}
			s *= j.scale[a] * j.scale[b]
			if !finite(s) {
				return rejected("the Gauss-Newton matrix is not finite")
			}
			hess.SetSym(a, b, s)
		}
	}
	return nil
}

// columns fills cols with J on the rows lo ≤ j < hi of the box.
func (j *jacobian) columns(lo, hi int) {
	g, h := j.c.grid, j.c.grid.Box.H
	height := j.size / j.width
	// the strip's planes lie within the box: near its end they begin earlier
	j.lo, j.hi = lo, hi
	j.start = max(0, min(lo-j.margin, h-height))
	begin := int32(j.start * j.width)
	used := func(row int) int {
		return sort.Search(len(j.used), func(k int) bool { return j.used[k] >= int32(row*j.width) })
	}
	j.from, j.to = g.Row(j.start), g.Row(j.start+height)
	j.first, j.last = used(lo), used(hi)
	for k := j.first; k < j.last; k++ {
		j.at[k] = j.used[k] - begin
	}
	if j.to-j.from < j.size { // other pixels have no rays
		clear(j.cols)
	}
	j.c.pool.Run(len(j.tiles), j.runTile)
	sky := -1
	if at := j.c.scene.skyAt; at >= 0 {
		sky = j.p.params.freeOf[at]
	}
	noise, _ := j.p.scaleCoordinate()
	for k := range j.dim {
		col := j.cols[k*j.stride:][:j.size]
		switch k {
		case sky:
			for i := range col {
				col[i] = 1
			}
		case noise: // the model does not know it
			clear(col)
		default:
			j.psf.Blur(col, j.column(k))
		}
	}
}

// column is the plane in which a coordinate's column comes.
func (j *jacobian) column(free int) []float64 { return j.cols[(free+1)*j.stride:][:j.plane] }

// tile computes the columns' brightness on its share of the strip's pixels.
func (j *jacobian) tile(k int) {
	g, n := j.c.grid, len(j.tiles)
	for from, to, end := g.Share(j.from, j.to, k, n), 0, g.Share(j.from, j.to, k+1, n); from < end; from = to {
		to = j.c.block(from, end)
		j.block(&j.tiles[k], from, to)
	}
}

func (j *jacobian) block(t *jacTile, from, to int) {
	c, s, freeOf := j.c, j.c.scene, j.p.params.freeOf
	x, y := c.rays(c.grid.X, from, to), c.rays(c.grid.Y, from, to)
	n := len(x)
	bin := func(free int, ray []float64) {
		c.grid.Bin(j.column(free), ray[:n], from, to, j.start*j.width)
	}
	// wanted selects the planes of a profile's free parameters
	wanted := func(dst, src [][]float64, u *unit) [][]float64 {
		for k := range u.n {
			dst[k] = nil
			if freeOf[u.first+k] >= 0 {
				dst[k] = src[k][:n]
			}
		}
		return dst[:u.n]
	}
	for k := range t.ix {
		clear(t.ix[k][:n])
		clear(t.iy[k][:n])
	}
	for i := range s.lights {
		l := &s.lights[i]
		jp := wanted(t.jx, t.px, &l.unit)
		px, py := c.seen(l, from, to)
		if l.source {
			l.light.BrightnessJac(jp, t.sx[:n], t.sy[:n], px, py)
			ix, iy := t.ix[l.plane][:n], t.iy[l.plane][:n]
			for r := range ix {
				ix[r] += t.sx[r]
				iy[r] += t.sy[r]
			}
		} else {
			l.light.BrightnessJac(jp, nil, nil, px, py)
		}
		for k, ray := range jp {
			if ray != nil {
				bin(freeOf[l.first+k], ray)
			}
		}
		if m := &j.images[i]; m.imgs != nil {
			w := t.wanted[:l.nz]
			for k, f := range m.free {
				w[k] = nil
				if f >= 0 {
					w[k] = t.latents[k][:n]
					clear(w[k])
				}
			}
			l.pixels.LookupEach(w, m.padded, px, py)
			for k, f := range m.free {
				if f >= 0 {
					bin(f, w[k])
				}
			}
		}
	}
	if t.many != nil {
		t.many.reverse(c, t.ix, t.iy, from, to)
	}
	for i := range s.lenses {
		l := &s.lenses[i]
		if l.fixed {
			continue
		}
		// ∂I/∂p = −∂I/∂β · ∂α/∂p; through several planes ∂I/∂α takes the place of −∂I/∂β
		px, py, hx, hy, sign := x, y, t.ix[0], t.iy[0], -1.0
		if m := t.many; m != nil {
			at := m.multi.LensPlane(i)
			px, py, sign = m.px[at], m.py[at], 1
			hx, hy = m.multi.DeflectionAdjoint(m.work, i)
		}
		jx, jy := wanted(t.jx, t.px, &l.unit), wanted(t.jy, t.py, &l.unit)
		l.lens.DeflectJac(jx, jy, px, py)
		for k := range jx {
			if jx[k] == nil {
				continue
			}
			col := t.combined[:n]
			for r := range col {
				col[r] = sign * (hx[r]*jx[k][r] + hy[r]*jy[k][r])
			}
			bin(freeOf[l.first+k], col)
		}
	}
}

// syrk adds the products of the columns over a group's share of the strip's own used pixels.
func (j *jacobian) syrk(group int) {
	share := (j.last - j.first + maxGroups - 1) / maxGroups
	from := min(j.first+group*share, j.last)
	to := min(from+share, j.last)
	j.groups[group].Add(j.cols, j.stride, j.at[from:to], j.weight[from:to])
}

// LogProbHess returns the log density at u, and writes its gradient and the Gauss-Newton matrix JᵀJ plus the precision
// of the prior, a positive semi-definite approximation of minus the second derivative. The likelihood's share is the
// expected information: that of noise.scale is 2N/s², and with Student's t the matrix is multiplied by (ν+1)/(ν+3), and
// that of the scale by ν/(ν+3). Where a source is integrated over, J has its columns projected out, and the parameters of
// its prior have the expected information of the data about them; there are no cross terms between the two: View.Hessian
// has them. For MAP the prior's share is
// (dθ/du)² of the positive part of −d² log p/dθ², for Sampling the identity.
func (v *View) LogProbHess(grad []float64, hess *mat.SymDense, u []float64) (float64, error) {
	return v.logProbHess(grad, hess, u, nil)
}

// LogProbHessFrom is LogProbHess with the decoders' Jacobians, which take most of its time, computed at the coordinates
// origin: where they were already, the next matrix costs little more than the gradient.
func (v *View) LogProbHessFrom(grad []float64, hess *mat.SymDense, u, origin []float64) (float64, error) {
	if len(origin) != v.p.params.dim {
		panic("adjoint: LogProbHessFrom: coordinates of another model")
	}
	if v.p.origin == nil {
		v.p.origin, v.p.originSlope = make([]float64, len(v.p.theta)), make([]float64, len(v.p.theta))
	}
	v.p.params.push(v.p.origin, v.p.originSlope, origin)
	return v.logProbHess(grad, hess, u, v.p.origin)
}

func (v *View) logProbHess(grad []float64, hess *mat.SymDense, u, origin []float64) (float64, error) {
	p := v.p
	if hess.SymmetricDim() != p.params.dim {
		panic("adjoint: LogProbHess: matrix of another model")
	}
	lp, err := v.LogProb(grad, u)
	if err != nil || p.params.dim == 0 {
		return lp, err
	}
	if p.jac == nil {
		if p.jac, err = newJacobian(p); err != nil {
			return 0, fmt.Errorf("adjoint: Gauss-Newton matrix: %w", err)
		}
	}
	if err := p.jac.matrix(hess, origin); err != nil {
		return 0, err
	}
	fit, factor := &p.chain.fit, 1.0
	if v.relaxed {
		_, factor = p.like.relax(fit)
	}
	if p.inv != nil {
		p.inv.projectOut(hess)
	}
	if c := factor * p.like.mean / (fit.s * fit.s); c != 1 {
		hess.ScaleSym(c, hess)
	}
	add := func(free int, c float64) { hess.SetSym(free, free, hess.At(free, free)+c) }
	if f, slope := p.scaleCoordinate(); f >= 0 && factor == 1 { // a relaxed misfit leaves the noise undetermined
		n := p.like.pixels
		if p.inv != nil {
			n = p.inv.degrees(n)
		}
		add(f, n*p.like.logScale*slope*slope)
	}
	if p.inv != nil {
		p.inv.information(hess)
	}
	if v.sampling {
		for k := range p.params.dim {
			add(k, 1)
		}
		return lp, nil
	}
	for _, s := range p.params.scalars {
		slope := p.slope[s.at]
		add(s.free, slope*slope*s.prior.precision(p.theta[s.at]))
	}
	for _, b := range p.params.blocks {
		for k := range b.prior.n {
			add(b.free+k, 1)
		}
	}
	return lp, nil
}

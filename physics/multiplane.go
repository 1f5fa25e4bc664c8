package physics

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
)

// MultiPlane shoots rays through lenses at several redshifts to sources at several redshifts (Schneider, Ehlers & Falco
// 1992, §9.1). Lenses of one redshift are a plane. With the angular-diameter distances D_j from the observer and D_ij
// from plane i to plane j, the ray at θ in the image crosses plane j at
//
//	β_j = θ − Σ_{i in front of j} w_ji α_i(β_i),   w_ji = D_ij D_s/(D_j D_is).
//
// α_i is the sum of the deflections of the lenses in plane i as their parameters give them: reduced to the plane s of
// the source farthest away, where every w_si is 1. All positions are angles, so a lens behind another stands at its own
// angle β_i, not where it is seen.
//
// It refers to its lenses: Set them before shooting. The rays of different workspaces may be shot in several goroutines.
type MultiPlane struct {
	lenses   []Lens
	planes   [][]int     // the lenses of each lens plane, nearest first
	weight   [][]float64 // w of each lens plane and then of each source plane, by the lens planes in front of it
	ofLens   []int
	ofSource []int
	most     int // parameters of a lens, at most
}

// PlaneWork is working space for the rays of a MultiPlane.
type PlaneWork struct {
	ax, ay [][]float64 // of each lens plane: α after Shoot, its adjoint after ShootVJP
	gx, gy []float64   // adjoint of the position in one plane
	gp     []float64   // of a lens whose parameters are not asked for
}

// SeveralPlanes tells whether the redshifts of lenses or those of sources differ: where they do not, a deflection is the
// sum of the lenses' own, and no MultiPlane is needed.
func SeveralPlanes(lenses, sources []float64) bool {
	differ := func(z []float64) bool { return len(z) > 0 && slices.Min(z) != slices.Max(z) }
	return len(lenses) > 0 && (differ(lenses) || differ(sources))
}

// NewMultiPlane lays out lenses at the redshifts `at` before sources at the redshifts `sources`. Each source must have
// a lens in front of it, and each lens a source behind it.
func NewMultiPlane(c Cosmology, lenses []Lens, at, sources []float64) (*MultiPlane, error) {
	if len(lenses) != len(at) {
		panic("physics: NewMultiPlane: one redshift for each lens")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if len(lenses) == 0 || len(sources) == 0 {
		return nil, fmt.Errorf("physics: lens planes: found %d lenses and %d sources, expected at least one of each", len(lenses), len(sources))
	}
	for _, z := range append(slices.Clone(at), sources...) {
		if !(z > 0) || math.IsInf(z, 1) {
			return nil, fmt.Errorf("physics: lens planes: found redshift %g, expected more than 0", z)
		}
	}
	last := slices.Max(sources)
	if near := slices.Min(at); slices.Min(sources) <= near {
		return nil, fmt.Errorf("physics: lens planes: found a source at redshift %g, expected it behind the nearest lens, at %g", slices.Min(sources), near)
	}
	if far := slices.Max(at); far >= last {
		return nil, fmt.Errorf("physics: lens planes: found a lens at redshift %g, expected it in front of the farthest source, at %g", far, last)
	}
	m := &MultiPlane{lenses: lenses}
	var lensZ, sourceZ []float64
	lensZ, m.ofLens = distinct(at)
	sourceZ, m.ofSource = distinct(sources)
	m.planes = make([][]int, len(lensZ))
	for i, p := range m.ofLens {
		m.planes[p] = append(m.planes[p], i)
		m.most = max(m.most, len(lenses[i].Params()))
	}
	// the factors 1+z of the angular-diameter distances cancel
	d := c.TransverseDistance
	for _, z := range append(slices.Clone(lensZ), sourceZ...) {
		var row []float64
		for _, zi := range lensZ {
			switch {
			case zi >= z:
			case z == last:
				row = append(row, 1)
			default:
				row = append(row, d(zi, z)*d(0, last)/(d(0, z)*d(zi, last)))
			}
		}
		m.weight = append(m.weight, row)
	}
	return m, nil
}

// distinct gives the different values in rising order, and the place of each element among them.
func distinct(z []float64) (values []float64, place []int) {
	values = slices.Clone(z)
	slices.Sort(values)
	values = slices.Compact(values)
	place = make([]int, len(z))
	for i, v := range z {
		place[i], _ = slices.BinarySearch(values, v)
	}
	return values, place
}

// LensPlanes is the number of lens planes.
func (m *MultiPlane) LensPlanes() int { return len(m.planes) }

// SourcePlanes is the number of source planes.
func (m *MultiPlane) SourcePlanes() int { return len(m.weight) - len(m.planes) }

// LensPlane is the plane of lens i.
func (m *MultiPlane) LensPlane(i int) int { return m.ofLens[i] }

// SourcePlane is the plane of source i.
func (m *MultiPlane) SourcePlane(i int) int { return m.ofSource[i] }

// NewWork makes working space for up to n rays.
func (m *MultiPlane) NewWork(n int) *PlaneWork {
	w := &PlaneWork{gx: make([]float64, n), gy: make([]float64, n), gp: make([]float64, m.most)}
	for range m.planes {
		w.ax, w.ay = append(w.ax, make([]float64, n)), append(w.ay, make([]float64, n))
	}
	return w
}

// Shoot follows rays. bx and by have a slice for each lens plane and then for each source plane, nearest first, of one
// element per ray: the first, of the nearest lens plane, are the rays' places in the image, and the others are written.
func (m *MultiPlane) Shoot(bx, by [][]float64, w *PlaneWork) {
	x, y := bx[0], by[0]
	n := len(x)
	for t, row := range m.weight {
		px, py := bx[t][:n], by[t][:n]
		if t > 0 {
			copy(px, x)
			copy(py, y)
			for i, c := range row {
				floats.AddScaled(px, -c, w.ax[i][:n])
				floats.AddScaled(py, -c, w.ay[i][:n])
			}
		}
		if t < len(m.planes) {
			ax, ay := w.ax[t][:n], w.ay[t][:n]
			clear(ax)
			clear(ay)
			for _, l := range m.planes[t] {
				m.lenses[l].Deflect(ax, ay, px, py)
			}
		}
	}
}

// ShootVJP is the adjoint of Shoot at the positions bx, by that it left. gbx and gby are the adjoints of the positions
// in each source plane. Added are: to gp, the adjoint of the parameters of each lens, summed over rays (a nil gp[l] is
// left out); to gx and gy, that of the places in the image (both may be nil).
func (m *MultiPlane) ShootVJP(gp [][]float64, gx, gy []float64, gbx, gby [][]float64, w *PlaneWork, bx, by [][]float64) {
	n, planes := len(bx[0]), len(m.planes)
	front := 0 // the nearest plane whose deflections' adjoints are needed
	if gx == nil {
		for front < planes && !slices.ContainsFunc(m.planes[front], func(l int) bool { return gp[l] != nil }) {
			front++
		}
	}
	for i := front; i < planes; i++ {
		clear(w.ax[i][:n])
		clear(w.ay[i][:n])
	}
	// a position's adjoint goes to the places in the image and to the deflections in front
	back := func(t int, hx, hy []float64) {
		if gx != nil {
			floats.AddScaled(gx, 1, hx)
			floats.AddScaled(gy, 1, hy)
		}
		for i := front; i < len(m.weight[t]); i++ {
			floats.AddScaled(w.ax[i][:n], -m.weight[t][i], hx)
			floats.AddScaled(w.ay[i][:n], -m.weight[t][i], hy)
		}
	}
	for s := range gbx {
		back(planes+s, gbx[s][:n], gby[s][:n])
	}
	for i := planes - 1; i >= front; i-- {
		var hx, hy []float64
		if i > front || gx != nil {
			hx, hy = w.gx[:n], w.gy[:n]
			clear(hx)
			clear(hy)
		}
		for _, l := range m.planes[i] {
			g := w.gp[:len(m.lenses[l].Params())]
			if gp != nil && gp[l] != nil {
				g = gp[l]
			} else if hx == nil {
				continue
			}
			m.lenses[l].DeflectVJP(g, hx, hy, w.ax[i][:n], w.ay[i][:n], bx[i], by[i])
		}
		if hx != nil {
			back(i, hx, hy)
		}
	}
}

// DeflectionAdjoint is what ShootVJP left for the plane of lens l, if it had a gp[l] or stands behind a lens that had:
// the adjoint of the plane's α by ray.
func (m *MultiPlane) DeflectionAdjoint(w *PlaneWork, l int) (gax, gay []float64) {
	return w.ax[m.ofLens[l]], w.ay[m.ofLens[l]]
}

// Deflect adds to ax and ay how far rays at (x, y) are deflected on their way to a source plane, α = θ − β in arcsec, and
// half the trace of ∂α/∂θ to kappa unless that is nil. It makes its own working space.
func (m *MultiPlane) Deflect(ax, ay, kappa, x, y []float64, source int) {
	const block = 1024
	planes := len(m.planes)
	work := m.NewWork(min(block, len(x)))
	var bx, by, gbx, gby [][]float64
	fresh := func(list *[][]float64) {
		*list = append(*list, make([]float64, min(block, len(x))))
	}
	for range m.weight {
		fresh(&bx)
		fresh(&by)
	}
	for range m.SourcePlanes() {
		fresh(&gbx)
		fresh(&gby)
	}
	gx, gy := make([]float64, min(block, len(x))), make([]float64, min(block, len(x)))
	for lo := 0; lo < len(x); lo += block {
		n := min(block, len(x)-lo)
		for t := range bx {
			bx[t], by[t] = bx[t][:n], by[t][:n]
		}
		copy(bx[0], x[lo:])
		copy(by[0], y[lo:])
		m.Shoot(bx, by, work)
		sx, sy := bx[planes+source], by[planes+source]
		for k := range n {
			ax[lo+k] += x[lo+k] - sx[k]
			ay[lo+k] += y[lo+k] - sy[k]
		}
		if kappa == nil {
			continue
		}
		for axis, g := range [2][]float64{gbx[source], gby[source]} {
			for k := range n {
				g[k], gx[k], gy[k] = 1, -1, -1 // of α = θ − β, with its sign turned
			}
			m.ShootVJP(nil, gx[:n], gy[:n], gbx, gby, work, bx, by)
			clear(g)
			for k, v := range [2][]float64{gx, gy}[axis][:n] {
				kappa[lo+k] -= 0.5 * v
			}
		}
	}
}

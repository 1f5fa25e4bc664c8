package adjoint

import (
	"fmt"

	"lenskit/physics"
)

// place finds the planes of lenses and sources from their redshifts.
func (s *scene) place(m *Model) error {
	var lenses, sources []float64
	stated := 0
	for i := range m.Components {
		c := &m.Components[i]
		switch {
		case c.Group == GroupLens:
			lenses = append(lenses, c.Redshift)
		case c.Group == GroupSource:
			sources = append(sources, c.Redshift)
		case c.Redshift != 0:
			return fmt.Errorf("adjoint: model: %s.%s: found a redshift, expected none: it is not lensed", c.Group, c.Name)
		}
		if c.Redshift != 0 {
			stated++
		}
	}
	if stated == 0 {
		return nil
	}
	if n := len(lenses) + len(sources); stated != n {
		return fmt.Errorf("adjoint: model: found %d redshifts, expected one for each of %d lenses and sources, or none", stated, n)
	}
	if !physics.SeveralPlanes(lenses, sources) {
		return nil
	}
	masses := make([]physics.Lens, len(s.lenses))
	for i := range masses {
		masses[i] = s.lenses[i].lens
	}
	multi, err := physics.NewMultiPlane(m.Cosmology, masses, lenses, sources)
	if err != nil {
		return fmt.Errorf("adjoint: model: %w", err)
	}
	s.multi = multi
	k := 0
	for i := range s.lights {
		if l := &s.lights[i]; l.source {
			l.plane = multi.SourcePlane(k)
			k++
		}
	}
	return nil
}

// lensPlanes is the number of lens planes, 1 where there is no lens.
func (s *scene) lensPlanes() int {
	if s.multi == nil {
		return 1
	}
	return s.multi.LensPlanes()
}

func (s *scene) sourcePlanes() int {
	if s.multi == nil {
		return 1
	}
	return s.multi.SourcePlanes()
}

// manyPlanes is the working space for a block of rays through several lens planes.
type manyPlanes struct {
	multi  *physics.MultiPlane
	work   *physics.PlaneWork
	px, py [][]float64 // the block's part of the chain's
	gx, gy [][]float64 // the block's part of the adjoints in each source plane
	gp     [][]float64 // of each lens; nil: not wanted
}

// newManyPlanes makes working space for up to n rays, nil where one plane of lenses and one of sources are enough.
func newManyPlanes(s *scene, n int) *manyPlanes {
	if s.multi == nil {
		return nil
	}
	all, sources := s.lensPlanes()+s.sourcePlanes(), s.sourcePlanes()
	return &manyPlanes{multi: s.multi, work: s.multi.NewWork(n), px: make([][]float64, all), py: make([][]float64, all),
		gx: make([][]float64, sources), gy: make([][]float64, sources), gp: make([][]float64, len(s.lenses))}
}

// shoot follows the rays of the pixels from ≤ k < to of the chain.
func (m *manyPlanes) shoot(c *chain, from, to int) {
	m.choose(c, from, to)
	m.multi.Shoot(m.px, m.py, m.work)
}

// reverse takes the adjoints gx, gy of their places in each source plane back to gp.
func (m *manyPlanes) reverse(c *chain, gx, gy [][]float64, from, to int) {
	m.choose(c, from, to)
	n := len(m.px[0])
	for k := range gx {
		m.gx[k], m.gy[k] = gx[k][:n], gy[k][:n]
	}
	m.multi.ShootVJP(m.gp, nil, nil, m.gx, m.gy, m.work, m.px, m.py)
}

func (m *manyPlanes) choose(c *chain, from, to int) {
	for k := range m.px {
		m.px[k], m.py[k] = c.rays(c.px[k], from, to), c.rays(c.py[k], from, to)
	}
}

package adjoint

import (
	"errors"
	"fmt"

	"lenskit/physics"
)

// scene is the components of a model with the values of one θ set, on no grid in particular.
type scene struct {
	lenses []lensUnit
	lights []lightUnit
	multi  *physics.MultiPlane // nil: all lenses are in one plane, and all sources
	skyAt  int                 // index of sky in θ, -1 when there is none
	sky    float64
	frozen int // counts the changes of fixed components
}

// unit is a component's place in θ.
type unit struct {
	name  string // group and name, for messages
	first int    // of the profile's parameters in θ
	n     int
	last  []float64 // the values set
	valid bool      // last are set
	fixed bool      // no parameter is free
}

type lensUnit struct {
	unit
	lens   physics.Lens
	params []physics.Param
}

type lightUnit struct {
	unit
	light     physics.Light
	kind      string
	component int  // among the model's
	source    bool // seen through the lenses
	plane     int  // of a source: its source plane
	params    []physics.Param

	// of a light of pixels, or with an envelope of pixels
	pixels *physics.Pixels

	// of a light that is solved for, all of it or its amplitudes: it is left out of the light that the data are compared
	// with before, and has the coefficients found afterwards
	splines    *physics.Pixelised
	linear     []int // of params
	amplitudes []Prior
	held       bool // of a light with amplitudes: no other parameter is free; fixed is false, as the light changes

	// of a decoder
	dec    decoder
	nz     int
	zFirst int
	z, img []float64
	zValid bool
	zFixed bool
	block  *multivariate // the latents' common prior, if any
}

// newScene makes components of their own for one Posterior; decoder opens that of a component.
func newScene(m *Model, ps *params, decoder func(component int) (decoder, error)) (s *scene, err error) {
	s = &scene{skyAt: -1}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	at := 0
	fixed := func(from, n int) bool {
		for _, f := range ps.freeOf[from : from+n] {
			if f >= 0 {
				return false
			}
		}
		return true
	}
	for ci := range m.Components {
		c := &m.Components[ci]
		b, err := c.build()
		if err != nil {
			return s, fmt.Errorf("adjoint: model: %s.%s: %w", c.Group, c.Name, err)
		}
		u := unit{name: c.Group + "." + c.Name, first: at + b.nz, n: len(b.params)}
		u.last, u.fixed = make([]float64, u.n), fixed(u.first, u.n)
		if b.lens != nil {
			s.lenses = append(s.lenses, lensUnit{u, b.lens, b.params})
		} else {
			l := lightUnit{unit: u, light: b.light, kind: c.Kind, component: ci, pixels: b.pixels, source: c.Group == GroupSource, params: b.params, nz: b.nz, zFirst: at,
				splines: b.splines, linear: b.linear}
			for _, k := range b.linear {
				l.amplitudes = append(l.amplitudes, c.Priors[b.params[k].Name])
				l.held, l.fixed = u.fixed, false
			}
			if b.nz > 0 {
				l.z, l.img = make([]float64, b.nz), make([]float64, b.shape.w*b.shape.h)
				l.zFixed = fixed(at, b.nz)
				l.fixed = l.fixed && l.zFixed
				for _, block := range ps.blocks {
					if block.at == at {
						l.block = block.prior
					}
				}
				if l.dec, err = decoder(ci); err != nil {
					return s, fmt.Errorf("adjoint: model: %s: %w", u.name, err)
				}
			}
			s.lights = append(s.lights, l)
		}
		at += len(b.names)
	}
	if m.Sky != nil {
		s.skyAt = at
	}
	return s, s.place(m)
}

// solved tells whether the light, or its amplitudes, are solved for.
func (l *lightUnit) solved() bool { return l.splines != nil || l.linear != nil }

func (s *scene) close() error {
	var first error
	for i := range s.lights {
		if d := s.lights[i].dec; d != nil {
			if err := d.close(); err != nil && first == nil {
				first = fmt.Errorf("adjoint: close: %s: %w", s.lights[i].name, err)
			}
			s.lights[i].dec = nil
		}
	}
	return first
}

// set gives every component its values. Components whose values are those of the last call are left alone. A value
// outside the range of a profile is a rejection.
func (s *scene) set(theta []float64) error {
	for i := range s.lenses {
		l := &s.lenses[i]
		if err := s.setUnit(&l.unit, l.lens, theta); err != nil {
			return err
		}
	}
	for i := range s.lights {
		l := &s.lights[i]
		if err := s.setUnit(&l.unit, l.light, theta); err != nil {
			return err
		}
	}
	for i := range s.lights {
		l := &s.lights[i]
		if l.nz == 0 {
			continue
		}
		z := theta[l.zFirst : l.zFirst+l.nz]
		if l.zValid && equal(z, l.z) {
			continue
		}
		if !allFinite(z) {
			return rejected("%s: the latents are not finite", l.name)
		}
		l.zValid = false
		copy(l.z, z)
		if err := l.dec.forward(l.img, l.z); err != nil {
			return fmt.Errorf("adjoint: %s: %w", l.name, err)
		}
		if !allFinite(l.img) {
			return rejected("%s: the decoder's image is not finite", l.name)
		}
		l.pixels.SetImage(l.img)
		l.zValid = true
		if l.zFixed {
			s.frozen++
		}
	}
	s.sky = 0
	if s.skyAt >= 0 {
		s.sky = theta[s.skyAt]
	}
	return nil
}

func (s *scene) setUnit(u *unit, target interface{ Set([]float64) error }, theta []float64) error {
	p := theta[u.first : u.first+u.n]
	if u.valid && equal(p, u.last) {
		return nil
	}
	u.valid = false
	if err := target.Set(p); err != nil {
		if errors.Is(err, physics.ErrRange) {
			return rejected("%s: %w", u.name, err)
		}
		return fmt.Errorf("adjoint: %s: %w", u.name, err)
	}
	copy(u.last, p)
	u.valid = true
	if u.fixed {
		s.frozen++
	}
	return nil
}

func equal(a, b []float64) bool {
	for i, v := range a {
		if v != b[i] {
			return false
		}
	}
	return true
}

func allFinite(v []float64) bool {
	s := 0.0
	for _, x := range v {
		s += x * 0 // NaN as soon as one is not finite
	}
	return s == 0
}

// rejection is the error of a point at which the density cannot be computed.
type rejection struct{ err error }

func rejected(format string, args ...any) error {
	return &rejection{fmt.Errorf("adjoint: point rejected: "+format, args...)}
}

func (r *rejection) Error() string { return r.err.Error() }
func (r *rejection) Unwrap() error { return r.err }

// Recoverable tells a sampler that it may reject the point and go on.
func (r *rejection) Recoverable() bool { return true }

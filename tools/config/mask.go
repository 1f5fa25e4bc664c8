package config

import (
	"fmt"
	"strings"
)

// MaskConfig is a region of pixels, those that are used; or everything, when Kind is "".
type MaskConfig struct {
	Kind       string // one of maskKinds
	Size       [2]float64
	Center     [2]float64
	File       string
	Parts      []MaskConfig // of all and any, or the one of not
	Neighbours NeighbourConfig
}

// maskKinds are the keys of a region: a shape; the pixels where a file is not 0; the pixels in all or in any of several
// regions or not in one; and those that show no neighbour of the lens. A list of regions stands for all of them.
var maskKinds = []string{"circle", "annulus", "box", "file", "all", "any", "not", "neighbours"}

// maxMaskDepth bounds regions within regions.
const maxMaskDepth = 16

func (m *MaskConfig) parse(n node, depth int) error {
	if depth > maxMaskDepth {
		return n.fail("found more than %d regions within each other", maxMaskDepth)
	}
	if _, err := n.list(); err == nil {
		m.Kind = "all"
		return m.parseParts(n, depth)
	}
	keys, err := n.entries(append([]string{"center"}, maskKinds...))
	if err != nil {
		return err
	}
	centered := false
	for _, e := range keys {
		if e.name != "center" {
			if m.Kind != "" {
				return e.fail("stands beside %s, expected one of %s, or a list of regions", m.Kind, strings.Join(maskKinds, ", "))
			}
			m.Kind = e.name
		}
		var v []float64
		switch e.name {
		case "circle":
			if m.Size[1], err = e.number(); err == nil && m.Size[1] <= 0 {
				err = e.fail("found %g, expected a radius in arcsec above 0", m.Size[1])
			}
		case "annulus":
			if v, err = e.numbers(2, false); err == nil {
				if m.Size = [2]float64(v); !(0 <= v[0] && v[0] < v[1]) {
					err = e.fail("found [%g, %g], expected an inner and a larger outer radius in arcsec", v[0], v[1])
				}
			}
		case "box":
			if v, err = e.numbers(2, false); err == nil {
				if m.Size = [2]float64(v); !(v[0] > 0 && v[1] > 0) {
					err = e.fail("found [%g, %g], expected width and height in arcsec above 0", v[0], v[1])
				}
			}
		case "file":
			m.File, err = e.text()
		case "all", "any":
			err = m.parseParts(e.node, depth)
		case "not":
			m.Parts = make([]MaskConfig, 1)
			err = m.Parts[0].parse(e.node, depth+1)
		case "neighbours":
			err = m.Neighbours.parse(e.node)
		case "center":
			centered = true
			if v, err = e.numbers(2, false); err == nil {
				m.Center = [2]float64(v)
			}
		}
		if err != nil {
			return err
		}
	}
	if shape := m.Kind == "circle" || m.Kind == "annulus" || m.Kind == "box"; m.Kind == "" || centered && !shape {
		return n.fail("expected one of circle, annulus, box (with center, if need be), file, all, any, not, neighbours, or a list of such regions")
	}
	return nil
}

func (m *MaskConfig) parseParts(n node, depth int) error {
	items, err := n.list()
	if err != nil {
		return err
	}
	if len(items) == 0 {
		return n.fail("found no region, expected at least one")
	}
	m.Parts = make([]MaskConfig, len(items))
	for i, item := range items {
		if err := m.Parts[i].parse(item, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// text is the region as YAML; moved rewrites paths.
func (m *MaskConfig) text(moved func(string) string) string {
	var s string
	switch m.Kind {
	case "file":
		s = moved(m.File)
	case "circle":
		s = yamlNumber(m.Size[1])
	case "all", "any":
		parts := make([]string, len(m.Parts))
		for i := range parts {
			parts[i] = m.Parts[i].text(moved)
		}
		s = "[" + strings.Join(parts, ", ") + "]"
		if m.Kind == "all" {
			return s
		}
	case "not":
		s = m.Parts[0].text(moved)
	case "neighbours":
		s = m.Neighbours.text()
	default:
		s = yamlNumbers(m.Size[:])
	}
	if m.Center != [2]float64{} {
		s += ", center: " + yamlNumbers(m.Center[:])
	}
	return "{" + m.Kind + ": " + s + "}"
}

// NeighbourConfig says what counts as a neighbour of the lens. The zero value is auto.
type NeighbourConfig struct {
	Beyond    float64 // arcsec from the image's centre: where their brightest pixel lies
	Threshold float64 // signal to noise of the brightest pixel of the smoothed image
	Margin    float64 // arcsec around what is seen
}

// Defaults of neighbourConfig. Lenses of galaxies have arcs up to some 2 arcsec from their middle, or 3 with their width.
const (
	neighbourBeyond    = 3.0
	neighbourThreshold = 6.0
	neighbourMargin    = 0.2
)

func (q NeighbourConfig) Defaults() NeighbourConfig {
	for _, d := range []struct {
		v     *float64
		value float64
	}{{&q.Beyond, neighbourBeyond}, {&q.Threshold, neighbourThreshold}, {&q.Margin, neighbourMargin}} {
		if *d.v == 0 {
			*d.v = d.value
		}
	}
	return q
}

func (q *NeighbourConfig) parse(n node) error {
	if s, err := n.text(); err == nil && s == "auto" {
		return nil
	}
	keys, err := n.entries([]string{"beyond", "threshold", "margin"})
	if err != nil {
		return n.fail("found %s, expected auto, or a mapping of beyond, threshold, margin", n.describe())
	}
	for _, e := range keys {
		v := map[string]*float64{"beyond": &q.Beyond, "threshold": &q.Threshold, "margin": &q.Margin}[e.name]
		if *v, err = e.number(); err == nil && *v <= 0 {
			err = e.fail("found %g, expected a number above 0", *v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (q NeighbourConfig) text() string {
	if q == (NeighbourConfig{}) {
		return "auto"
	}
	q = q.Defaults()
	return fmt.Sprintf("{beyond: %s, threshold: %s, margin: %s}", yamlNumber(q.Beyond), yamlNumber(q.Threshold), yamlNumber(q.Margin))
}

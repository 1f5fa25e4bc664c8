package config

import "strings"

// MaskConfig is a region of pixels, those that are used; or everything, when Kind is "".
type MaskConfig struct {
	Kind       string // a key of maskFields, not center
	Size       [2]float64
	Center     [2]float64
	File       string
	Parts      []MaskConfig // of all and any, or the one of not
	Neighbours NeighbourConfig
}

// maskFields are the keys of a region, at a depth within others: its centre, or what makes it one of a kind. A list of regions
// stands for all of them.
func maskFields(depth int) mapping[MaskConfig] {
	parts := func(m *MaskConfig, e entry) error { return m.parseParts(e.node, depth) }
	return mapping[MaskConfig]{
		field[MaskConfig]{key: "center", value: "[x, y] in arcsec", without: "[0, 0]", help: "centre of a circle, annulus or box"}.
			pair(func(m *MaskConfig) *[2]float64 { return &m.Center }, nil),
		field[MaskConfig]{key: "circle", value: "a radius in arcsec above 0", help: "pixels within a circle"}.
			number(func(m *MaskConfig) *float64 { return &m.Size[1] }, above0),
		field[MaskConfig]{key: "annulus", value: "an inner and a larger outer radius in arcsec", help: "pixels between two circles"}.
			pair(func(m *MaskConfig) *[2]float64 { return &m.Size }, func(a, b float64) bool { return 0 <= a && a < b }),
		field[MaskConfig]{key: "box", value: "width and height in arcsec above 0", help: "pixels within a box"}.
			pair(func(m *MaskConfig) *[2]float64 { return &m.Size }, func(a, b float64) bool { return a > 0 && b > 0 }),
		field[MaskConfig]{key: "file", value: "PATH or PATH[EXT]", help: "pixels where a FITS image is not 0"}.
			path(func(m *MaskConfig) *string { return &m.File }),
		field[MaskConfig]{key: "all", value: "a list of regions", help: "pixels in all of them"}.with(parts, (*MaskConfig).partsText),
		field[MaskConfig]{key: "any", value: "a list of regions", help: "pixels in any of them"}.with(parts, (*MaskConfig).partsText),
		field[MaskConfig]{key: "not", value: "a region", help: "pixels outside of it"}.with(func(m *MaskConfig, e entry) error {
			m.Parts = make([]MaskConfig, 1)
			return m.Parts[0].parse(e.node, depth+1)
		}, func(m *MaskConfig, moved func(string) string) string { return m.Parts[0].text(moved) }),
		field[MaskConfig]{key: "neighbours", value: "auto, or a mapping", help: "pixels that show no neighbour of the lens", sub: neighbourFields}.with(
			func(m *MaskConfig, e entry) error { return m.Neighbours.parse(e.node) },
			func(m *MaskConfig, _ func(string) string) string { return m.Neighbours.text() }),
	}
}

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
	fields := maskFields(depth)
	keys, err := n.entries(fields.keys())
	if err != nil {
		return err
	}
	centered := false
	for _, e := range keys {
		switch {
		case e.name == "center":
			centered = true
		case m.Kind != "":
			return e.fail("stands beside %s, expected one of %s, or a list of regions", m.Kind, strings.Join(fields[1:].keys(), ", "))
		default:
			m.Kind = e.name
		}
		if err := fields.field(e.name).read(m, e); err != nil {
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
	s := maskFields(0).field(m.Kind).write(m, moved)
	if m.Kind == "all" {
		return s
	}
	if m.Center != [2]float64{} {
		s += ", center: " + yamlNumbers(m.Center[:])
	}
	return "{" + m.Kind + ": " + s + "}"
}

func (m *MaskConfig) partsText(moved func(string) string) string {
	parts := make([]string, len(m.Parts))
	for i := range parts {
		parts[i] = m.Parts[i].text(moved)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// NeighbourConfig says what counts as a neighbour of the lens. The zero value is auto.
type NeighbourConfig struct {
	Beyond    float64 // arcsec from the image's centre: where their brightest pixel lies
	Threshold float64 // signal to noise of the brightest pixel of the smoothed image
	Margin    float64 // arcsec around what is seen
}

// Defaults of NeighbourConfig. Lenses of galaxies have arcs up to some 2 arcsec from their middle, or 3 with their width.
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

// neighbourFields are the keys of a mask of neighbours.
var neighbourFields = mapping[NeighbourConfig]{
	field[NeighbourConfig]{key: "beyond", value: "a number above 0", without: yamlNumber(neighbourBeyond), help: "arcsec from the image's centre, beyond which the brightest pixel of a neighbour lies"}.
		number(func(q *NeighbourConfig) *float64 { return &q.Beyond }, above0),
	field[NeighbourConfig]{key: "threshold", value: "a number above 0", without: yamlNumber(neighbourThreshold), help: "signal to noise of its brightest pixel in the smoothed image"}.
		number(func(q *NeighbourConfig) *float64 { return &q.Threshold }, above0),
	field[NeighbourConfig]{key: "margin", value: "a number above 0", without: yamlNumber(neighbourMargin), help: "arcsec around what is seen that are masked as well"}.
		number(func(q *NeighbourConfig) *float64 { return &q.Margin }, above0),
}

func (q *NeighbourConfig) parse(n node) error {
	if s, err := n.text(); err == nil && s == "auto" {
		return nil
	}
	keys, err := n.entries(neighbourFields.keys())
	if err != nil {
		return n.fail("found %s, expected auto, or a mapping of beyond, threshold, margin", n.describe())
	}
	return neighbourFields.fill(q, keys, nil)
}

func (q NeighbourConfig) text() string {
	if q == (NeighbourConfig{}) {
		return "auto"
	}
	q = q.Defaults()
	return neighbourFields.flow(&q, nil)
}

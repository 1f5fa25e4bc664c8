package diff

import (
	"lenskit/onnx"
)

// gridSample is a GridSample over two axes on its way: the corners around every point, as places and weights.
type gridSample struct {
	c      *call
	x      string     // [N, C, H·W]
	values []onnx.Dim // [N, C, P], P points
	points []onnx.Dim // [N, 1, P]
	axes   [2]gridAxis
	zeros  bool
}

// gridAxis is one axis of the points, x or y.
type gridAxis struct {
	last  float64   // the largest index
	scale string    // ∂place/∂grid
	floor [2]string // the index at or below the place, and the one above
	share [2]string // their weights
}

// gridSampler reads the node and computes places and weights.
func (c *call) gridSampler() *gridSample {
	s, gs := c.shape(c.in(0)), c.shape(c.in(1))
	if len(s) != 4 || len(gs) != 4 {
		failf("only images, of rank 4, are differentiated; found shapes %v and %v", s, gs)
	}
	for _, d := range []onnx.Dim{s[1], s[2], s[3], gs[1], gs[2]} {
		if !d.Known() || d.N == 0 {
			failf("operand and grid of shapes %v and %v: extents are not known", s, gs)
		}
	}
	mode, padding := c.n.Str("mode", "linear"), c.n.Str("padding_mode", "zeros")
	if mode == "cubic" || mode == "bicubic" || padding == "reflection" {
		failf("mode %q with padding_mode %q", mode, padding)
	}
	p := extentOf(gs[1].N, gs[2].N)
	g := &gridSample{
		c: c, zeros: padding == "zeros", values: []onnx.Dim{s[0], s[1], onnx.Fixed(p)}, points: []onnx.Dim{s[0], onnx.Fixed(1), onnx.Fixed(p)},
		x: c.reshape(c.in(0), []onnx.Dim{s[0], s[1], onnx.Fixed(extentOf(s[2].N, s[3].N))}, ""),
	}
	for i, d := range []onnx.Dim{s[3], s[2]} {
		a := &g.axes[i]
		a.last = float64(d.N - 1)
		extent := float64(d.N)
		if c.n.Int("align_corners", 0) != 0 {
			extent = a.last
		}
		v := c.as(c.OpAttr("Gather", onnx.Attrs("axis", 3), c.in(1), c.int0(int64(i))), gs[:3])
		at := c.plus(c.scale(c.reshape(v, g.points, ""), extent/2), a.last/2)
		a.scale = c.num(extent/2, at)
		low, high := c.num(0, at), c.num(a.last, at)
		if padding == "border" {
			inside := c.Op("And", c.Op("Greater", at, low), c.Op("Less", at, high))
			a.scale = c.scale(c.mask(inside, at), extent/2)
			at = c.Op("Clip", at, low, high)
		}
		if mode == "nearest" {
			a.floor[0] = c.as(c.Op("Round", at), g.points)
			continue
		}
		a.floor[0] = c.Op("Floor", at)
		a.floor[1] = c.plus(a.floor[0], 1)
		a.share[1] = c.sub(at, a.floor[0])
		a.share[0] = c.oneMinus(a.share[1])
	}
	return g
}

// corner is a corner around each point: its index into the image's pixels [N, C, P], 1 where it lies on the image
// [N, 1, P] ("" is 1 everywhere), and its weight ("" is 1).
func (g *gridSample) corner(i, j int) (index, mask, weight string) {
	c := g.c
	place := [2]string{g.axes[0].floor[i], g.axes[1].floor[j]}
	for k, a := range g.axes {
		low, high := c.num(0, place[k]), c.num(a.last, place[k])
		if g.zeros {
			in := c.Op("And", c.Op("GreaterOrEqual", place[k], low), c.Op("LessOrEqual", place[k], high))
			if m := c.mask(in, place[k]); mask == "" {
				mask = m
			} else {
				mask = c.mul(mask, m)
			}
		}
		place[k] = c.Op("Clip", place[k], low, high)
	}
	flat := c.add(c.scale(place[1], g.axes[0].last+1), place[0])
	index = c.expand(c.OpAttr("Cast", onnx.Attrs("to", int(onnx.Int64)), flat), g.values, g.x)
	if g.axes[0].share[i] != "" {
		weight = c.mul(g.axes[0].share[i], g.axes[1].share[j])
	}
	return index, mask, weight
}

func (g *gridSample) corners() int {
	if g.axes[0].floor[1] == "" {
		return 1
	}
	return 2
}

// slope is the derivative of the samples [N, C, P] by the points' grid values along axis 0 (x) or 1 (y); "" for nearest.
func (g *gridSample) slope(axis int) string {
	c, total := g.c, ""
	if g.corners() == 1 {
		return ""
	}
	for i := range 2 {
		for j := range 2 {
			index, mask, _ := g.corner(i, j)
			v := c.as(c.OpAttr("GatherElements", onnx.Attrs("axis", 2), g.x, index), g.values)
			if mask != "" {
				v = c.mul(v, mask)
			}
			at := [2]int{i, j}
			if v = c.mul(v, g.axes[1-axis].share[at[1-axis]]); at[axis] == 0 {
				v = c.neg(v)
			}
			total = c.total(total, v)
		}
	}
	return c.mul(total, g.axes[axis].scale)
}

// gridSampleBack scatters the gradient of each sample to the corners it came from, by their weights, and gives a point
// the slope of the image there.
func gridSampleBack(b *back) []string {
	out := make([]string, 2)
	s := b.gridSampler()
	grad := b.reshape(b.grad(0), s.values, "")
	if b.want(0) {
		d := b.as(b.reshape(b.zeros(b.in(0)), b.shape(s.x), ""), b.shape(s.x))
		for i := range s.corners() {
			for j := range s.corners() {
				index, mask, weight := s.corner(i, j)
				g := grad
				for _, w := range []string{mask, weight} {
					if w != "" {
						g = b.mul(g, w)
					}
				}
				d = b.as(b.OpAttr("ScatterElements", onnx.Attrs("axis", 2, "reduction", "add"), d, index, g), b.shape(s.x))
			}
		}
		out[0] = b.reshape(d, b.shape(b.in(0)), b.in(0))
	}
	if b.want(1) && s.corners() == 2 {
		gs := b.shape(b.in(1))
		var parts []string
		for axis := range 2 {
			d := b.sum(b.mul(grad, s.slope(axis)), 1)
			parts = append(parts, b.reshape(d, []onnx.Dim{gs[0], gs[1], gs[2], onnx.Fixed(1)}, ""))
		}
		out[1] = b.as(b.OpAttr("Concat", onnx.Attrs("axis", 3), parts...), gs)
	}
	return out
}

// gridSampleFwd samples the tangent of the image, and adds the slopes times the tangents of the points.
func gridSampleFwd(f *fwd) string {
	var terms []string
	y := f.shape(f.out(0))
	if f.tan(0) != "" {
		terms = append(terms, f.as(f.same(f.tan(0), f.in(1)), y))
	}
	if f.tan(1) != "" {
		s := f.gridSampler()
		for axis := range s.corners() {
			slope := s.slope(axis)
			if slope == "" {
				continue
			}
			t := f.as(f.OpAttr("Gather", onnx.Attrs("axis", 3), f.tan(1), f.int0(int64(axis))), f.shape(f.in(1))[:3])
			terms = append(terms, f.reshape(f.mul(slope, f.reshape(t, s.points, "")), y, f.out(0)))
		}
	}
	return f.total(terms...)
}

package diff

import (
	"math"
	"slices"

	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/rewrite"
)

// resizeAxis is what Resize does along one axis.
type resizeAxis struct {
	axis    int
	in, out int64
	scale   float64
	roi     [2]float64
}

// resizeAxes reads the axes that a Resize changes; their extents must be known.
func (c *call) resizeAxes() []resizeAxis {
	x := c.in(0)
	s, os := c.shape(x), c.shape(c.out(0))
	if s == nil || os == nil {
		failf("the rank of operand or result is not known")
	}
	axes := c.n.Ints("axes")
	if len(axes) == 0 {
		for i := range s {
			axes = append(axes, int64(i))
		}
	}
	var scales []float64
	if v := c.value(c.in(2)); v != nil && v.Size() == len(axes) {
		for i := range axes {
			scales = append(scales, v.Float(i))
		}
	}
	var roi []float64
	if v := c.value(c.in(1)); v != nil && v.Size() == 2*len(axes) {
		for i := range 2 * len(axes) {
			roi = append(roi, v.Float(i))
		}
	}
	crop := c.n.Str("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
	if crop && roi == nil {
		failf("the region of interest is not constant")
	}
	keep := c.commonScale(axes, scales)
	var out []resizeAxis
	for i, a := range axes {
		k := axisIn(a, len(s))
		if s[k] == os[k] && !crop && (scales == nil || scales[i] == 1) {
			continue
		}
		if !s[k].Known() || !os[k].Known() {
			failf("the extent of axis %d is not known before and after", k)
		}
		r := resizeAxis{axis: k, in: s[k].N, out: os[k].N, scale: float64(os[k].N) / float64(s[k].N), roi: [2]float64{0, 1}}
		if scales != nil {
			r.scale = scales[i]
		} else if keep > 0 {
			r.scale = keep
		}
		if roi != nil {
			r.roi = [2]float64{roi[i], roi[len(axes)+i]}
		}
		if crop && s[k] == os[k] && r.roi == [2]float64{0, 1} {
			continue
		}
		if r.in == 0 || r.out == 0 {
			failf("an empty axis %d", k)
		}
		out = append(out, r)
	}
	return out
}

// commonScale is the scale of all axes where sizes are given with a keep_aspect_ratio_policy, 0 otherwise.
func (c *call) commonScale(axes []int64, scales []float64) float64 {
	policy := c.n.Str("keep_aspect_ratio_policy", "stretch")
	if policy == "stretch" || scales != nil {
		return 0
	}
	sizes, ok := c.constInts(c.in(3))
	s := c.shape(c.in(0))
	if !ok || len(sizes) != len(axes) {
		failf("keep_aspect_ratio_policy %q with sizes that are not constant", policy)
	}
	best := 0.0
	for i, a := range axes {
		d := s[axisIn(a, len(s))]
		if !d.Known() || d.N == 0 {
			failf("keep_aspect_ratio_policy %q with an extent that is not known", policy)
		}
		v := float64(sizes[i]) / float64(d.N)
		if i == 0 || policy == "not_larger" && v < best || policy == "not_smaller" && v > best {
			best = v
		}
	}
	return best
}

// coordinate is the place in the operand of element o of the result.
func (r resizeAxis) coordinate(mode string, o float64) float64 {
	in, out := float64(r.in), float64(r.out)
	// align_corners counts the elements of the result, as onnxruntime and PyTorch do; half_pixel_symmetric keeps the
	// centre where the scaled length is not whole.
	switch mode {
	case "half_pixel":
		return (o+0.5)/r.scale - 0.5
	case "half_pixel_symmetric":
		adjust := out / (r.scale * in)
		return in/2*(1-adjust) + (o+0.5)/r.scale - 0.5
	case "pytorch_half_pixel":
		if r.out == 1 {
			return 0
		}
		return (o+0.5)/r.scale - 0.5
	case "align_corners":
		if r.out == 1 {
			return 0
		}
		return o * (in - 1) / (out - 1)
	case "asymmetric":
		return o / r.scale
	case "tf_crop_and_resize":
		if r.out == 1 {
			return 0.5 * (r.roi[0] + r.roi[1]) * (in - 1)
		}
		return r.roi[0]*(in-1) + o*(r.roi[1]-r.roi[0])*(in-1)/(out-1)
	}
	failf("coordinate_transformation_mode %q", mode)
	return 0
}

// matrix is the interpolation along one axis, out × in in row-major order.
func (r resizeAxis) matrix(n *onnx.Node) []float64 {
	if r.in > rewrite.MaxFolded || r.out > rewrite.MaxFolded || r.in*r.out > rewrite.MaxFolded {
		failf("an axis of %d resized to %d", r.in, r.out)
	}
	coords := n.Str("coordinate_transformation_mode", "half_pixel")
	mode := n.Str("mode", "nearest")
	m := make([]float64, r.in*r.out)
	for o := range r.out {
		x := r.coordinate(coords, float64(o))
		row := m[o*r.in : (o+1)*r.in]
		if coords == "tf_crop_and_resize" && (x < 0 || x > float64(r.in-1)) {
			continue // the extrapolation value
		}
		put := func(i int64, w float64) { row[min(max(i, 0), r.in-1)] += w }
		if mode == "nearest" {
			put(nearest(n.Str("nearest_mode", "round_prefer_floor"), x), 1)
			continue
		}
		// With antialias the kernel is widened by the reduction.
		wide := 1.0
		if n.Int("antialias", 0) != 0 && r.scale < 1 {
			wide = 1 / r.scale
		}
		var kernel func(t float64) float64
		reach := 1.0
		switch mode {
		case "linear":
			kernel = func(t float64) float64 { return max(0, 1-math.Abs(t)) }
		case "cubic":
			a := n.Float("cubic_coeff_a", -0.75)
			reach = 2
			kernel = func(t float64) float64 {
				t = math.Abs(t)
				switch {
				case t <= 1:
					return ((a+2)*t-(a+3))*t*t + 1
				case t < 2:
					return ((a*t-5*a)*t+8*a)*t - 4*a
				}
				return 0
			}
		default:
			failf("mode %q", mode)
		}
		outside := n.Int("exclude_outside", 0) != 0
		if mode == "linear" && n.Int("antialias", 0) == 0 {
			x = min(max(x, 0), float64(r.in-1))
		}
		var total float64
		type tap struct {
			i int64
			w float64
		}
		var taps []tap
		for i := int64(math.Floor(x - reach*wide)); i <= int64(math.Ceil(x+reach*wide)); i++ {
			w := kernel((float64(i) - x) / wide)
			if outside && (i < 0 || i >= r.in) {
				w = 0
			}
			total += w
			if w != 0 {
				taps = append(taps, tap{i, w})
			}
		}
		if !outside && wide == 1 {
			total = 1
		}
		for _, t := range taps {
			put(t.i, t.w/total)
		}
	}
	return m
}

func nearest(mode string, x float64) int64 {
	x = eval.Float32Place(x)
	switch mode {
	case "round_prefer_floor":
		return int64(math.Ceil(x - 0.5))
	case "round_prefer_ceil":
		return int64(math.Floor(x + 0.5))
	case "floor":
		return int64(math.Floor(x))
	case "ceil":
		return int64(math.Ceil(x))
	}
	failf("nearest_mode %q", mode)
	return 0
}

// repeats tells whether a nearest-neighbour matrix repeats each element k times.
func repeats(m []float64, in, out int64) (k int64, ok bool) {
	if out%in != 0 {
		return 0, false
	}
	k = out / in
	for o := range out {
		if m[o*in+o/k] != 1 {
			return 0, false
		}
	}
	return k, true
}

// resizeBack applies the transposed interpolation along each axis: sums over blocks where elements were repeated,
// products with constant matrices otherwise.
func resizeBack(b *back) []string {
	if b.want(1) || b.want(2) {
		failf("the scales or the region of interest are differentiated")
	}
	x := b.in(0)
	g := b.grad(0)
	axes := b.resizeAxes()
	s := b.shape(x)
	matrices := make([][]float64, len(axes))
	pool := orOnes(nil, max(0, len(s)-2))
	area := 1.0
	pooled := b.n.Str("mode", "nearest") == "nearest" && len(s) > 2 && len(s) < 6
	for i, r := range axes {
		matrices[i] = r.matrix(b.n)
		k, ok := repeats(matrices[i], r.in, r.out)
		if !ok || r.axis < 2 {
			pooled = false
			continue
		}
		if r.axis >= 2 {
			pool[r.axis-2] = k
			area *= float64(k)
		}
	}
	if len(axes) == 0 {
		return []string{g}
	}
	if pooled {
		p := b.OpAttr("AveragePool", onnx.Attrs("kernel_shape", pool, "strides", pool), g)
		return []string{b.scale(b.as(p, s), area)}
	}
	cur := slices.Clone(b.shape(b.out(0)))
	for i, r := range axes {
		g = b.alongAxis(g, cur, r, matrices[i], b.floats)
		cur[r.axis] = onnx.Dim{N: r.in}
		b.as(g, slices.Clone(cur))
	}
	return []string{b.as(g, s)}
}

// alongAxis multiplies a tensor of shape s along one axis by the transposed matrix m (out × in).
func (c *call) alongAxis(g string, s []onnx.Dim, r resizeAxis, m []float64, constant func([]float64, string, ...int64) string) string {
	last := len(s) - 1
	if r.axis == last {
		return c.Op("MatMul", g, constant(m, g, r.out, r.in))
	}
	mt := make([]float64, len(m))
	for o := range r.out {
		for i := range r.in {
			mt[i*r.out+o] = m[o*r.in+i]
		}
	}
	left := constant(mt, g, r.in, r.out)
	if r.axis == last-1 {
		return c.Op("MatMul", left, g)
	}
	perm := make([]int64, len(s))
	for i := range perm {
		perm[i] = int64(i)
	}
	perm[r.axis], perm[last-1] = perm[last-1], perm[r.axis]
	t := c.Op("MatMul", left, c.transpose(g, perm...))
	return c.OpAttr("Transpose", onnx.Attrs("perm", perm), t)
}

// resizeFwd resizes the tangent in the same way; the value that stands outside of the operand is a constant.
func resizeFwd(f *fwd) string {
	if f.tan(1) != "" || f.tan(2) != "" {
		failf("the scales or the region of interest are differentiated")
	}
	attr := map[string]onnx.Attr{}
	for k, v := range f.n.Attr {
		if k != "extrapolation_value" {
			attr[k] = v
		}
	}
	in := []string{f.tan(0), f.in(1), f.in(2), f.in(3)}
	if f.batch != "" && f.in(3) != "" {
		// The sizes name the batch too: resize the changed axes only.
		var axes, sizes []int64
		for _, r := range f.resizeAxes() {
			axes, sizes = append(axes, int64(r.axis)), append(sizes, r.out)
		}
		if len(axes) == 0 {
			return f.tan(0)
		}
		if f.n.Str("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize" {
			failf("tf_crop_and_resize to sizes in a Jacobian")
		}
		attr["axes"] = onnx.IntsAttr(axes...)
		in = []string{f.tan(0), "", "", f.Ints(sizes...)}
	}
	return f.OpAttr("Resize", attr, in...)
}

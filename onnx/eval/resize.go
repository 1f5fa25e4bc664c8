package eval

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// resampling is what Resize and Upsample do along one axis.
type resampling struct {
	in, out    int64
	scale      float64 // what the coordinates are divided by
	length     float64 // in·scale, which need not be whole
	begin, end float64 // region of tf_crop_and_resize
}

// tap is one term of an interpolation: weight times the element at an index.
type tap struct {
	index  int
	weight float64
}

// growth is how many elements of the result there are for one of the operand.
func (r resampling) growth() float64 { return float64(r.out) / math.Max(float64(r.in), 1) }

// resizeMode is what the attributes of Resize say about all axes.
type resizeMode struct {
	mode, coords, nearest string
	cubic, outside        float64
	exclude, antialias    bool
}

// maxResizeTerms bounds the terms of an interpolation along one axis.
const maxResizeTerms = 1 << 24

// evalResize resizes axis by axis, as all its interpolations are products over the axes. Output extents and
// coordinates follow the standard's reference: floor(extent·scale), and a length that need not be whole for
// align_corners and half_pixel_symmetric. (onnxruntime and PyTorch take the whole length for align_corners; where the two
// differ see sizesForScales.)
func evalResize(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	m := resizeMode{
		mode: c.Str("mode", "nearest"), coords: c.Str("coordinate_transformation_mode", "half_pixel"),
		nearest: c.Str("nearest_mode", "round_prefer_floor"), cubic: c.Float("cubic_coeff_a", -0.75),
		outside: c.Float("extrapolation_value", 0), exclude: c.Int("exclude_outside", 0) != 0, antialias: c.Int("antialias", 0) != 0,
	}
	roi, scales, sizes := c.arg(1), c.arg(2), c.arg(3)
	if c.Op == "Upsample" || c.opset < 11 { // x and scales, no choice of coordinates
		roi, scales, sizes = nil, c.arg(1), nil
		m.coords, m.nearest = "asymmetric", "floor"
		if a, ok := c.Attr["scales"]; ok {
			scales = FloatArray(a.Floats, int64(len(a.Floats)))
		}
	}
	axes, err := c.resizeAxisList(len(x.Shape))
	if err != nil {
		return nil, err
	}
	plan, err := planResize(x.Shape, axes, roi, scales, sizes, m.coords, c.Str("keep_aspect_ratio_policy", "stretch"))
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(x.Shape)
	for i, ax := range axes {
		shape[ax] = plan[i].out
	}
	if _, err := Elements(shape); err != nil {
		return nil, err
	}
	if !x.Type.IsFloat() {
		if m.mode != "nearest" || m.coords == "tf_crop_and_resize" {
			return nil, fmt.Errorf("found type %v, expected floats for mode %q", x.Type, m.mode)
		}
	}
	if volume(shape) == 0 {
		return one(newArray(x.Type, shape))
	}
	order := make([]int, len(axes))
	for i := range order {
		order[i] = i
	}
	// Axes that shrink go first, so that nothing between is larger than operand and result.
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(plan[i].growth(), plan[j].growth()) })
	for _, i := range order {
		r, ax := plan[i], axes[i]
		if r.out == r.in && r.scale == 1 && (m.coords != "tf_crop_and_resize" || r.begin == 0 && r.end == 1) {
			continue
		}
		if r.in == 0 && r.out > 0 {
			return nil, fmt.Errorf("axis %d of shape %v has nothing to resize", ax, x.Shape)
		}
		if float64(r.out)*m.terms(r) > maxResizeTerms {
			return nil, fmt.Errorf("axis %d of %d resized to %d takes more than %d terms", ax, r.in, r.out, maxResizeTerms)
		}
		taps := make([][]tap, r.out)
		for o := range taps {
			if taps[o], err = m.taps(r, float64(o)); err != nil {
				return nil, err
			}
		}
		if x, err = x.resample(ax, taps, m.outside); err != nil {
			return nil, err
		}
	}
	return []*Array{x}, nil
}

// resizeAxisList is the attribute axes, or all axes.
func (c *evalCall) resizeAxisList(rank int) ([]int, error) {
	list := c.Ints("axes")
	if list == nil {
		for i := range rank {
			list = append(list, int64(i))
		}
	}
	if _, err := axisSet(list, rank); err != nil {
		return nil, fmt.Errorf("axes: %w", err)
	}
	axes := make([]int, len(list))
	for i, a := range list {
		axes[i], _ = axisIndex(a, rank)
	}
	return axes, nil
}

// planResize finds extents and scales of the given axes from scales or sizes.
func planResize(shape []int64, axes []int, roi, scales, sizes *Array, coords, policy string) ([]resampling, error) {
	plan := make([]resampling, len(axes))
	bySize := sizes != nil && sizes.Len() > 0
	given := scales
	if bySize {
		given = sizes
	}
	if given == nil || given.Len() != len(axes) || !given.Type.IsFloat() && !given.Type.IsInt() {
		return nil, fmt.Errorf("found neither scales nor sizes for %d axes", len(axes))
	}
	crop := coords == "tf_crop_and_resize"
	if crop && (roi == nil || roi.Len() != 2*len(axes) || !roi.Type.IsFloat()) {
		return nil, fmt.Errorf("roi: expected %d numbers", 2*len(axes))
	}
	for i, ax := range axes {
		in, v := shape[ax], given.float(i)
		if !(v >= 0 && v <= maxElements) || !bySize && v == 0 {
			return nil, fmt.Errorf("found scales or sizes with %g, expected positive numbers", v)
		}
		r := resampling{in: in, scale: v, end: 1}
		if bySize {
			r.out, r.length = int64(v), v
			r.scale = v / math.Max(float64(in), 1)
		} else {
			r.length = float64(in) * v
			// Scales are float32: 10·0.7 is 7 in it, and just below in float64.
			r.out = int64(math.Floor(float64(float32(in) * float32(v))))
			if r.length > maxElements {
				return nil, fmt.Errorf("extent %d scaled by %g has more than %d elements", in, v, maxElements)
			}
		}
		if crop {
			r.begin, r.end = roi.F[i], roi.F[len(axes)+i]
		}
		plan[i] = r
	}
	if !bySize || policy == "stretch" || len(plan) == 0 {
		return plan, nil
	}
	scale := plan[0].scale
	for _, r := range plan {
		switch policy {
		case "not_larger":
			scale = min(scale, r.scale)
		case "not_smaller":
			scale = max(scale, r.scale)
		default:
			return nil, fmt.Errorf("keep_aspect_ratio_policy: found %q, expected stretch, not_larger or not_smaller", policy)
		}
	}
	for i := range plan {
		r := &plan[i]
		r.scale, r.length = scale, scale*float64(r.in)
		if r.length > maxElements {
			return nil, fmt.Errorf("extent %d scaled by %g has more than %d elements", r.in, scale, maxElements)
		}
		r.out = int64(r.length + 0.5)
	}
	return plan, nil
}

// coordinate is the place in the input of output o.
func (r resampling) coordinate(coords string, o float64) (float64, error) {
	in := float64(r.in)
	// o/scale; with the scale out/in in one rounding, so that whole results stay whole.
	back := func(o float64) float64 {
		if r.length == float64(r.out) {
			return o * in / r.length
		}
		return o / r.scale
	}
	switch coords {
	case "half_pixel":
		return back(o+0.5) - 0.5, nil
	case "pytorch_half_pixel":
		if r.out <= 1 {
			return 0, nil
		}
		return back(o+0.5) - 0.5, nil
	case "half_pixel_symmetric":
		return in/2*(1-float64(r.out)/r.length) + back(o+0.5) - 0.5, nil
	case "asymmetric":
		return back(o), nil
	case "align_corners":
		if r.length == 1 || r.out <= 1 {
			return 0, nil
		}
		return o * (in - 1) / (r.length - 1), nil
	case "tf_crop_and_resize":
		if r.length == 1 || r.out <= 1 {
			return 0.5 * (r.begin + r.end) * (in - 1), nil
		}
		return r.begin*(in-1) + o*(r.end-r.begin)*(in-1)/(r.length-1), nil
	}
	return 0, fmt.Errorf("coordinate_transformation_mode: found %q", coords)
}

// taps are the terms of output o; nil is the extrapolation value.
func (m resizeMode) taps(r resampling, o float64) ([]tap, error) {
	x, err := r.coordinate(m.coords, o)
	if err != nil {
		return nil, err
	}
	last := float64(r.in - 1)
	if m.coords == "tf_crop_and_resize" && !(x >= 0 && x <= last) {
		return nil, nil
	}
	if !(math.Abs(x) <= 4*maxElements) {
		return nil, fmt.Errorf("output %g lies at %g, far outside", o, x)
	}
	at := func(i float64) int { return int(min(max(i, 0), last)) }
	if m.mode == "nearest" {
		x = Float32Place(x)
		switch m.nearest {
		case "round_prefer_floor":
			x = math.Ceil(x - 0.5)
		case "round_prefer_ceil":
			x = math.Floor(x + 0.5)
		case "floor":
			x = math.Floor(x)
		case "ceil":
			x = math.Ceil(x)
		default:
			return nil, fmt.Errorf("nearest_mode: found %q", m.nearest)
		}
		return []tap{{at(x), 1}}, nil
	}
	kernel, reach := hat, 1.0
	switch m.mode {
	case "linear":
	case "cubic":
		kernel, reach = keys(m.cubic), 2
	default:
		return nil, fmt.Errorf("mode: found %q, expected nearest, linear or cubic", m.mode)
	}
	wide := m.width(r)
	lo, hi := math.Ceil(x-reach*wide), math.Floor(x+reach*wide)
	taps := make([]tap, 0, int(hi-lo)+1)
	sum := 0.0
	for i := lo; i <= hi; i++ {
		w := kernel((i - x) / wide)
		if w == 0 || m.exclude && (i < 0 || i > last) {
			continue
		}
		sum += w
		taps = append(taps, tap{at(i), w})
	}
	if m.exclude || wide != 1 {
		for i := range taps {
			taps[i].weight /= sum
		}
	}
	return taps, nil
}

// Float32Place is x where float32 arithmetic puts it: what lies within its rounding of a whole number or of the middle
// between two is there, so that 11/1.1 is 10 also with the float32 next to 1.1.
func Float32Place(x float64) float64 {
	if near := math.Round(2*x) / 2; math.Abs(x-near) <= 2e-7*math.Max(1, math.Abs(x)) {
		return near
	}
	return x
}

// width is how much antialiasing widens the kernel: by the reduction.
func (m resizeMode) width(r resampling) float64 {
	if m.antialias && r.scale < 1 {
		return 1 / r.scale
	}
	return 1
}

// terms is at least the number of terms that one output takes.
func (m resizeMode) terms(r resampling) float64 {
	if m.mode == "nearest" {
		return 1
	}
	return 4*m.width(r) + 1
}

// hat is the kernel of linear interpolation.
func hat(t float64) float64 { return max(0, 1-math.Abs(t)) }

// keys is the cubic convolution kernel of Keys (1981) with parameter a.
func keys(a float64) func(float64) float64 {
	return func(t float64) float64 {
		t = math.Abs(t)
		switch {
		case t <= 1:
			return ((a+2)*t-(a+3))*t*t + 1
		case t < 2:
			return ((a*t-5*a)*t+8*a)*t - 4*a
		}
		return 0
	}
}

// resample replaces axis by one sum of taps per output; an output without taps is outside.
func (a *Array) resample(axis int, taps [][]tap, outside float64) (*Array, error) {
	shape := slices.Clone(a.Shape)
	shape[axis] = int64(len(taps))
	if !a.Type.IsFloat() {
		return a.gatherAxes(shape, func(ax int, i int64) int64 {
			if ax == axis {
				return int64(taps[i][0].index)
			}
			return i
		})
	}
	out, err := newArray(a.Type, shape)
	if err != nil || len(out.F) == 0 {
		return out, err
	}
	outer, d, inner := int(volume(shape[:axis])), int(a.Shape[axis]), int(volume(shape[axis+1:]))
	for o := range outer {
		for k, ts := range taps {
			row := out.F[(o*len(taps)+k)*inner : (o*len(taps)+k+1)*inner]
			if ts == nil {
				for i := range row {
					row[i] = outside
				}
				continue
			}
			for _, t := range ts {
				src := a.F[(o*d+t.index)*inner:]
				if t.weight == 1 && len(ts) == 1 {
					copy(row, src[:inner])
					continue
				}
				for i := range row {
					row[i] += t.weight * src[i]
				}
			}
		}
	}
	return out, nil
}

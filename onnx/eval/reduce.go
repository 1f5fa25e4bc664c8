package eval

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"lenskit/onnx"
)

// reduction is how one Reduce operator folds a lane of values into one; i nil means floats only.
type reduction struct {
	f func(lane []float64) float64
	i func(t onnx.DType, lane []int64) int64
}

var (
	laneSum  = reduction{sumFloats, foldInts(intAdd, 0)}
	laneMean = reduction{func(v []float64) float64 { return sumFloats(v) / float64(len(v)) }, func(t onnx.DType, v []int64) int64 {
		if len(v) == 0 {
			return 0
		}
		return foldInts(intAdd, 0)(onnx.Int64, v) / int64(len(v))
	}}
	laneMax = reduction{func(v []float64) float64 {
		m := math.Inf(-1)
		for _, x := range v {
			m = max(m, x)
		}
		return m
	}, extremeInt(1)}
	laneMin = reduction{func(v []float64) float64 {
		m := math.Inf(1)
		for _, x := range v {
			m = min(m, x)
		}
		return m
	}, extremeInt(-1)}
	laneProd = reduction{func(v []float64) float64 {
		p := 1.0
		for _, x := range v {
			p *= x
		}
		return p
	}, foldInts(intMul, 1)}
	laneL1 = reduction{func(v []float64) float64 {
		s := 0.0
		for _, x := range v {
			s += math.Abs(x)
		}
		return s
	}, foldInts(func(t onnx.DType, a, b int64) int64 { return onnx.Wrap(t, a+max(b, -b)) }, 0)}
	laneL2        = reduction{func(v []float64) float64 { return math.Sqrt(sumSquares(v)) }, nil}
	laneSumSquare = reduction{sumSquares, foldInts(func(t onnx.DType, a, b int64) int64 { return onnx.Wrap(t, a+b*b) }, 0)}
	laneLogSum    = reduction{func(v []float64) float64 { return math.Log(sumFloats(v)) }, nil}
	laneLogSumExp = reduction{logSumExp, nil}
)

func sumFloats(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s
}

func sumSquares(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x * x
	}
	return s
}

func logSumExp(v []float64) float64 {
	m := math.Inf(-1)
	for _, x := range v {
		m = max(m, x)
	}
	if math.IsInf(m, 0) || math.IsNaN(m) {
		return m
	}
	s := 0.0
	for _, x := range v {
		s += math.Exp(x - m)
	}
	return m + math.Log(s)
}

func foldInts(f func(t onnx.DType, a, b int64) int64, first int64) func(onnx.DType, []int64) int64 {
	return func(t onnx.DType, v []int64) int64 {
		acc := first
		for _, x := range v {
			acc = f(t, acc, x)
		}
		return acc
	}
}

// extremeInt is the greatest (sign 1) or least (sign -1) element; of none, the least or greatest of the type.
func extremeInt(sign int) func(onnx.DType, []int64) int64 {
	return func(t onnx.DType, v []int64) int64 {
		if len(v) == 0 {
			lo, hi := intLimits(t)
			if sign > 0 {
				return lo
			}
			return hi
		}
		m := v[0]
		for _, x := range v[1:] {
			if compareInt(t, x, m)*sign > 0 {
				m = x
			}
		}
		return m
	}
}

// intLimits are the least and the greatest value of an integer type or Bool.
func intLimits(t onnx.DType) (lo, hi int64) {
	switch t {
	case onnx.Bool:
		return 0, 1
	case onnx.Int8:
		return math.MinInt8, math.MaxInt8
	case onnx.Uint8:
		return 0, math.MaxUint8
	case onnx.Int16:
		return math.MinInt16, math.MaxInt16
	case onnx.Uint16:
		return 0, math.MaxUint16
	case onnx.Int32:
		return math.MinInt32, math.MaxInt32
	case onnx.Uint32:
		return 0, math.MaxUint32
	case onnx.Uint64:
		return 0, -1
	}
	return math.MinInt64, math.MaxInt64
}

// evalReduce folds the axes that are an attribute in old operator sets and input 1 in new ones; none means all.
func evalReduce(r reduction) evalFunc {
	return func(c *evalCall) ([]*Array, error) {
		if err := c.need(1); err != nil {
			return nil, err
		}
		x := c.in[0]
		axes, err := c.intsAttrOrInput("axes", 1)
		if err != nil {
			return nil, err
		}
		if len(axes) == 0 && c.Int("noop_with_empty_axes", 0) != 0 {
			// Each element is a lane of its own, so that ReduceL1 and the like still apply.
			return one(r.apply(x, make([]bool, len(x.Shape)), true))
		}
		set, err := axisSet(axes, len(x.Shape))
		if err != nil {
			return nil, err
		}
		for i := range set {
			set[i] = set[i] || len(axes) == 0
		}
		return one(r.apply(x, set, c.Int("keepdims", 1) != 0))
	}
}

func (r reduction) apply(x *Array, set []bool, keep bool) (*Array, error) {
	shape := []int64{}
	for i, d := range x.Shape {
		switch {
		case !set[i]:
			shape = append(shape, d)
		case keep:
			shape = append(shape, 1)
		}
	}
	out, err := newArray(x.Type, shape)
	if err != nil {
		return nil, err
	}
	base, off := lanes(x.Shape, set)
	switch {
	case x.Type.IsFloat():
		lane := make([]float64, len(off))
		for i, b := range base {
			for k, o := range off {
				lane[k] = x.F[b+o]
			}
			out.F[i] = r.f(lane)
		}
	case r.i == nil || x.Type == onnx.String:
		return nil, fmt.Errorf("found type %v, expected floats", x.Type)
	default:
		lane := make([]int64, len(off))
		for i, b := range base {
			for k, o := range off {
				lane[k] = x.I[b+o]
			}
			out.I[i] = r.i(x.Type, lane)
		}
	}
	return out, nil
}

// axisLanes returns the lanes of x along one axis.
func (c *evalCall) axisLanes(x *Array, def int64) (axis int, base, off []int, err error) {
	axis, err = axisIndex(c.Int("axis", def), len(x.Shape))
	if err != nil {
		return 0, nil, nil, err
	}
	set := make([]bool, len(x.Shape))
	set[axis] = true
	base, off = lanes(x.Shape, set)
	return axis, base, off, nil
}

// before tells whether element i of x comes before element j in ascending order; NaN is greatest.
func (x *Array) before(i, j int) bool { return x.compare(i, j) < 0 }

// compare is negative where element i is before element j, 0 where neither is before the other.
func (x *Array) compare(i, j int) int {
	if !x.Type.IsFloat() {
		return compareInt(x.Type, x.I[i], x.I[j])
	}
	a, b := x.F[i], x.F[j]
	switch {
	case a < b || b != b && a == a:
		return -1
	case b < a || a != a && b == b:
		return 1
	}
	return 0
}

func evalArg(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	axis, base, off, err := c.axisLanes(x, 0)
	if err != nil {
		return nil, err
	}
	if len(off) == 0 && len(base) > 0 || x.Type == onnx.String {
		return nil, fmt.Errorf("found shape %v of type %v, expected numbers along axis %d", x.Shape, x.Type, axis)
	}
	shape := slices.Clone(x.Shape)
	shape[axis] = 1
	out := &Array{Type: onnx.Int64, Shape: shape, I: make([]int64, len(base))}
	last := c.Int("select_last_index", 0) != 0
	for i, b := range base {
		best := 0
		for k := range off {
			p, q := b+off[k], b+off[best]
			if c.Op == "ArgMin" {
				p, q = q, p
			}
			if x.before(q, p) || last && !x.before(p, q) {
				best = k
			}
		}
		out.I[i] = int64(best)
	}
	if c.Int("keepdims", 1) == 0 {
		out.Shape = slices.Delete(slices.Clone(shape), axis, axis+1)
	}
	return []*Array{out}, nil
}

func evalCumSum(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	x := c.in[0]
	ax, err := c.ints(1)
	if err != nil {
		return nil, err
	}
	if len(ax) != 1 {
		return nil, fmt.Errorf("axis: found %d values, expected 1", len(ax))
	}
	axis, err := axisIndex(ax[0], len(x.Shape))
	if err != nil {
		return nil, err
	}
	set := make([]bool, len(x.Shape))
	set[axis] = true
	base, off := lanes(x.Shape, set)
	if c.Int("reverse", 0) != 0 {
		slices.Reverse(off)
	}
	exclusive := c.Int("exclusive", 0) != 0
	out, err := newArray(x.Type, x.Shape)
	if err != nil {
		return nil, err
	}
	for _, b := range base {
		switch {
		case x.F != nil:
			s := 0.0
			for _, o := range off {
				if exclusive {
					out.F[b+o] = s
				}
				s += x.F[b+o]
				if !exclusive {
					out.F[b+o] = s
				}
			}
		case x.I != nil:
			s := int64(0)
			for _, o := range off {
				if exclusive {
					out.I[b+o] = s
				}
				s = onnx.Wrap(x.Type, s+x.I[b+o])
				if !exclusive {
					out.I[b+o] = s
				}
			}
		}
	}
	return []*Array{out}, nil
}

// evalTopK takes the k greatest or least of each lane in order; of equal ones the first.
func evalTopK(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	k := c.Int("k", -1)
	if c.opset >= 10 {
		kk, err := c.ints(1)
		if err != nil {
			return nil, err
		}
		if len(kk) != 1 {
			return nil, fmt.Errorf("k: found %d values, expected 1", len(kk))
		}
		k = kk[0]
	}
	axis, base, off, err := c.axisLanes(x, -1)
	if err != nil {
		return nil, err
	}
	if k < 0 || k > x.Shape[axis] || x.Type == onnx.String {
		return nil, fmt.Errorf("found k %d, expected 0 to %d", k, x.Shape[axis])
	}
	shape := slices.Clone(x.Shape)
	shape[axis] = k
	index := &Array{Type: onnx.Int64, Shape: shape, I: make([]int64, volume(shape))}
	pos := make([]int, len(index.I))
	set := make([]bool, len(shape))
	set[axis] = true
	obase, ooff := lanes(shape, set)
	largest := c.Int("largest", 1) != 0
	order := make([]int, len(off))
	for i, b := range base {
		for j := range order {
			order[j] = j
		}
		// Equal ones keep their order.
		slices.SortFunc(order, func(p, q int) int {
			u, v := b+off[p], b+off[q]
			if largest {
				u, v = v, u
			}
			return cmp.Or(x.compare(u, v), p-q)
		})
		for j, o := range ooff {
			index.I[obase[i]+o] = int64(order[j])
			pos[obase[i]+o] = b + off[order[j]]
		}
	}
	values, err := x.take(shape, pos)
	if err != nil {
		return nil, err
	}
	return []*Array{values, index}, nil
}

package eval

import (
	"fmt"
	"math"

	"lenskit/onnx"
)

// evalPool is AveragePool, MaxPool and LpPool. A window of AveragePool counts the elements of the input that it sees,
// with count_include_pad those of the padding too, but never what lies beyond the padding in ceil mode.
func evalPool(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	if len(x.Shape) < 3 || !x.Type.IsFloat() && !(c.Op == "MaxPool" && x.Type.IsInt()) {
		return nil, fmt.Errorf("found shape %v of type %v, expected numbers with spatial axes", x.Shape, x.Type)
	}
	in := x.Shape[2:]
	kernel := c.Ints("kernel_shape")
	if len(kernel) != len(in) {
		return nil, fmt.Errorf("kernel_shape: found %v, expected %d extents", kernel, len(in))
	}
	win, err := newWindow(c.Node, in, kernel, c.Int("ceil_mode", 0) != 0)
	if err != nil {
		return nil, err
	}
	if _, err := Elements([]int64{int64(win.kernelSize), int64(win.outSize)}); err != nil {
		return nil, err
	}
	y, err := newArray(x.Type, append([]int64{x.Shape[0], x.Shape[1]}, win.out...))
	if err != nil {
		return nil, err
	}
	planes := int(x.Shape[0] * x.Shape[1])
	if c.Op == "MaxPool" {
		return evalMaxPool(c, win, x, y, planes)
	}
	p := float64(c.Int("p", 2))
	count := win.counts(c.Int("count_include_pad", 0) != 0)
	for pl := range planes {
		src, dst := x.F[pl*win.inSize:(pl+1)*win.inSize], y.F[pl*win.outSize:(pl+1)*win.outSize]
		win.rows(func(at, from int, tab []int, ok bool) {
			if !ok {
				return
			}
			at %= win.outSize
			for j, q := range tab {
				switch {
				case q < 0:
				case c.Op == "LpPool":
					dst[at+j] += math.Pow(math.Abs(src[from+q]), p)
				default:
					dst[at+j] += src[from+q]
				}
			}
		})
		for i := range dst {
			if c.Op == "LpPool" {
				dst[i] = math.Pow(dst[i], 1/p)
			} else {
				dst[i] /= count[i]
			}
		}
	}
	return []*Array{y}, nil
}

// counts is how many elements each window averages over.
func (w *evalWindow) counts(pad bool) []float64 {
	per := make([][]float64, len(w.in))
	for ax := range w.in {
		per[ax] = make([]float64, w.out[ax])
		for k := range w.kernel[ax] {
			for o := range w.out[ax] {
				p := o*w.stride[ax] + k*w.dilation[ax] - w.padBegin[ax]
				if p >= 0 && p < w.in[ax] || pad && p >= -w.padBegin[ax] && p < w.in[ax]+w.padEnd[ax] {
					per[ax][o]++
				}
			}
		}
	}
	n := make([]float64, w.outSize)
	o := make([]int64, len(w.in))
	for i := range n {
		n[i] = 1
		for ax, v := range o {
			n[i] *= per[ax][v]
		}
		Advance(o, w.out)
	}
	return n
}

// evalMaxPool also gives the index of each maximum in the whole of x, in column-major order of the spatial axes with
// storage_order 1.
func evalMaxPool(c *evalCall, win *evalWindow, x, y *Array, planes int) ([]*Array, error) {
	index := &Array{Type: onnx.Int64, Shape: y.Shape, I: make([]int64, y.Len())}
	best := make([]int, win.outSize)
	for pl := range planes {
		for i := range best {
			best[i] = -1
		}
		base := pl * win.inSize
		win.rows(func(at, from int, tab []int, ok bool) {
			if !ok {
				return
			}
			at %= win.outSize
			for j, q := range tab {
				if q >= 0 && (best[at+j] < 0 || x.before(base+best[at+j], base+from+q)) {
					best[at+j] = from + q
				}
			}
		})
		for i, b := range best {
			o := pl*win.outSize + i
			switch {
			case b < 0 && x.F != nil:
				y.F[o] = math.Inf(-1)
			case b < 0:
				y.I[o], _ = intLimits(x.Type)
			case x.F != nil:
				y.F[o] = x.F[base+b]
			default:
				y.I[o] = x.I[base+b]
			}
			if b >= 0 {
				index.I[o] = int64(base) + win.storageIndex(int64(b), c.Int("storage_order", 0))
			}
		}
	}
	return []*Array{y, index}, nil
}

// storageIndex turns the row-major index p of a plane into the column-major one when order is 1.
func (w *evalWindow) storageIndex(p, order int64) int64 {
	if order == 0 {
		return p
	}
	str := strides(w.in)
	q, size := int64(0), int64(1)
	for ax, d := range w.in {
		q += p / int64(str[ax]) % d * size
		size *= d
	}
	return q
}

func evalGlobalPool(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	if len(x.Shape) < 2 || !x.Type.IsFloat() {
		return nil, fmt.Errorf("found shape %v of type %v, expected floats with batch and channels", x.Shape, x.Type)
	}
	set := make([]bool, len(x.Shape))
	for i := 2; i < len(set); i++ {
		set[i] = true
	}
	r := laneMean
	switch c.Op {
	case "GlobalMaxPool":
		r = laneMax
	case "GlobalLpPool":
		p := float64(c.Int("p", 2))
		r = reduction{f: func(lane []float64) float64 {
			s := 0.0
			for _, v := range lane {
				s += math.Pow(math.Abs(v), p)
			}
			return math.Pow(s, 1/p)
		}}
	}
	return one(r.apply(x, set, true))
}

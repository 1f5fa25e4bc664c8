package eval

import (
	"fmt"
	"math"
	"slices"

	"lenskit/onnx"
)

// moments are mean and (biased) variance of the elements of x at base+off.
func moments(x []float64, base int, off []int) (mean, variance float64) {
	for _, o := range off {
		mean += x[base+o]
	}
	mean /= float64(len(off))
	for _, o := range off {
		d := x[base+o] - mean
		variance += d * d
	}
	return mean, variance / float64(len(off))
}

// perChannel checks that the inputs named are lists with one float per channel of x.
func (c *evalCall) perChannel(x *Array, idx ...int) error {
	if len(x.Shape) < 2 {
		return fmt.Errorf("found shape %v, expected batch and channels", x.Shape)
	}
	for _, i := range idx {
		if a := c.in[i]; !a.Type.IsFloat() || int64(a.Len()) != x.Shape[1] || len(a.Shape) != 1 {
			return fmt.Errorf("input %d: found shape %v, expected [%d]", i, a.Shape, x.Shape[1])
		}
	}
	return nil
}

// evalBatchNorm normalises with the given statistics, or, with training_mode 1 (operator set 14 on), with those of
// the batch; then it also returns the running mean and variance. The running variance takes the batch's biased one,
// as the standard has it.
func evalBatchNorm(c *evalCall) ([]*Array, error) {
	if err := c.need(5); err != nil {
		return nil, err
	}
	if err := c.floats(0); err != nil {
		return nil, err
	}
	x := c.in[0]
	if len(x.Shape) == 1 { // [N]: one channel
		x = x.view([]int64{x.Shape[0], 1})
	}
	if err := c.perChannel(x, 1, 2, 3, 4); err != nil {
		return nil, err
	}
	if c.Int("spatial", 1) == 0 {
		return nil, fmt.Errorf("attribute spatial 0: %w", ErrNoEval)
	}
	training := c.Int("training_mode", 0) != 0
	if c.opset < 14 && c.names(1) {
		return nil, fmt.Errorf("training outputs before opset 14: %w", ErrNoEval)
	}
	scale, bias, mean, variance := c.in[1].F, c.in[2].F, c.in[3].F, c.in[4].F
	eps, momentum := c.Float("epsilon", 1e-5), c.Float("momentum", 0.9)
	set := make([]bool, len(x.Shape))
	for i := range set {
		set[i] = i != 1
	}
	base, off := lanes(x.Shape, set)
	y := &Array{Type: x.Type, Shape: c.in[0].Shape, F: make([]float64, len(x.F))}
	runMean, runVar := c.in[3].clone(), c.in[4].clone()
	for ch, b := range base {
		mu, va := mean[ch], variance[ch]
		if training {
			mu, va = moments(x.F, b, off)
			runMean.F[ch] = mean[ch]*momentum + mu*(1-momentum)
			runVar.F[ch] = variance[ch]*momentum + va*(1-momentum)
		}
		sd := math.Sqrt(va + eps)
		for _, o := range off {
			y.F[b+o] = scale[ch]*(x.F[b+o]-mu)/sd + bias[ch]
		}
	}
	if !training {
		return []*Array{y}, nil
	}
	return []*Array{y, runMean, runVar}, nil
}

func evalInstanceNorm(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	if err := c.floats(0); err != nil {
		return nil, err
	}
	x := c.in[0]
	if err := c.perChannel(x, 1, 2); err != nil {
		return nil, err
	}
	return groupNorm(x, x.Shape[1], c.Float("epsilon", 1e-5), func(ch int) (float64, float64) {
		return c.in[1].F[ch], c.in[2].F[ch]
	})
}

// evalGroupNorm has one scale and bias per group in operator set 18, one per channel from 21 on.
func evalGroupNorm(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	if err := c.floats(0, 1, 2); err != nil {
		return nil, err
	}
	x, groups := c.in[0], c.Int("num_groups", 0)
	if len(x.Shape) < 2 || groups < 1 || x.Shape[1]%groups != 0 {
		return nil, fmt.Errorf("num_groups %d does not divide the channels of shape %v", groups, x.Shape)
	}
	per := x.Shape[1]
	if c.opset < 21 {
		per = groups
	}
	for i := 1; i <= 2; i++ {
		if !slices.Equal(c.in[i].Shape, []int64{per}) {
			return nil, fmt.Errorf("input %d: found shape %v, expected [%d]", i, c.in[i].Shape, per)
		}
	}
	return groupNorm(x, groups, c.Float("epsilon", 1e-5), func(ch int) (float64, float64) {
		i := int64(ch) * per / x.Shape[1]
		return c.in[1].F[i], c.in[2].F[i]
	})
}

// groupNorm normalises groups of channels of each sample; affine gives scale and bias of a channel.
func groupNorm(x *Array, groups int64, eps float64, affine func(ch int) (scale, bias float64)) ([]*Array, error) {
	y := &Array{Type: x.Type, Shape: x.Shape, F: make([]float64, len(x.F))}
	if len(x.F) == 0 {
		return []*Array{y}, nil
	}
	n, ch, size := int(x.Shape[0]), int(x.Shape[1]), int(volume(x.Shape[2:]))
	block := ch / int(groups) * size
	off := make([]int, block)
	for i := range off {
		off[i] = i
	}
	for g := range n * int(groups) {
		mu, va := moments(x.F, g*block, off)
		sd := math.Sqrt(va + eps)
		for i := g * block; i < (g+1)*block; i++ {
			s, b := affine(i / size % ch)
			y.F[i] = s*(x.F[i]-mu)/sd + b
		}
	}
	return []*Array{y}, nil
}

// tailAxes splits x at the attribute axis: rows of size elements each.
func (c *evalCall) tailAxes(x *Array) (axis, rows, size int, err error) {
	axis, err = axisIndex(c.Int("axis", -1), len(x.Shape))
	if err != nil {
		return 0, 0, 0, err
	}
	return axis, int(volume(x.Shape[:axis])), int(volume(x.Shape[axis:])), nil
}

// tailOperand broadcasts input i to the shape of x and checks that x's shape stays.
func (c *evalCall) tailOperand(i int, x *Array) (*Array, error) {
	a := c.arg(i)
	if a == nil {
		return nil, nil
	}
	a, err := a.broadcastTo(x.Shape)
	if err != nil {
		return nil, fmt.Errorf("input %d: %w", i, err)
	}
	return a, nil
}

// evalLayerNorm normalises over the axes from axis on. Outputs: y, mean, inverse standard deviation.
func evalLayerNorm(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	if err := c.floats(0, 1, 2); err != nil {
		return nil, err
	}
	x := c.in[0]
	axis, rows, size, err := c.tailAxes(x)
	if err != nil {
		return nil, err
	}
	scale, err := c.tailOperand(1, x)
	if err != nil {
		return nil, err
	}
	bias, err := c.tailOperand(2, x)
	if err != nil {
		return nil, err
	}
	eps := c.Float("epsilon", 1e-5)
	shape := slices.Clone(x.Shape)
	for i := axis; i < len(shape); i++ {
		shape[i] = 1
	}
	stash := onnx.DType(c.Int("stash_type", int64(onnx.Float32)))
	if !stash.IsFloat() {
		return nil, fmt.Errorf("stash_type: found %d, expected a float type", stash)
	}
	y := &Array{Type: x.Type, Shape: x.Shape, F: make([]float64, len(x.F))}
	mean := &Array{Type: stash, Shape: shape, F: make([]float64, rows)}
	inv := &Array{Type: stash, Shape: shape, F: make([]float64, rows)}
	off := make([]int, size)
	for i := range off {
		off[i] = i
	}
	for r := range rows {
		mu, va := moments(x.F, r*size, off)
		is := 1 / math.Sqrt(va+eps)
		mean.F[r], inv.F[r] = mu, is
		for i := r * size; i < (r+1)*size; i++ {
			y.F[i] = scale.F[i] * (x.F[i] - mu) * is
			if bias != nil {
				y.F[i] += bias.F[i]
			}
		}
	}
	return []*Array{y, mean, inv}, nil
}

func evalRMSNorm(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	if err := c.floats(0, 1); err != nil {
		return nil, err
	}
	x := c.in[0]
	_, rows, size, err := c.tailAxes(x)
	if err != nil {
		return nil, err
	}
	scale, err := c.tailOperand(1, x)
	if err != nil {
		return nil, err
	}
	eps := c.Float("epsilon", 1e-5)
	y := &Array{Type: x.Type, Shape: x.Shape, F: make([]float64, len(x.F))}
	for r := range rows {
		row := x.F[r*size : (r+1)*size]
		rms := math.Sqrt(sumSquares(row)/float64(size) + eps)
		for i, v := range row {
			y.F[r*size+i] = scale.F[r*size+i] * v / rms
		}
	}
	return []*Array{y}, nil
}

func evalLpNorm(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	if err := c.floats(0); err != nil {
		return nil, err
	}
	x, p := c.in[0], c.Int("p", 2)
	if p != 1 && p != 2 {
		return nil, fmt.Errorf("p: found %d, expected 1 or 2", p)
	}
	return c.perLane(x, -1, func(dst, src []float64) {
		s := 0.0
		for _, v := range src {
			if p == 1 {
				s += math.Abs(v)
			} else {
				s += v * v
			}
		}
		if p == 2 {
			s = math.Sqrt(s)
		}
		for i, v := range src {
			if s != 0 {
				dst[i] = v / s
			}
		}
	})
}

// perLane applies f to every lane of x along the attribute axis.
func (c *evalCall) perLane(x *Array, def int64, f func(dst, src []float64)) ([]*Array, error) {
	_, base, off, err := c.axisLanes(x, def)
	if err != nil {
		return nil, err
	}
	y := &Array{Type: x.Type, Shape: x.Shape, F: make([]float64, len(x.F))}
	src, dst := make([]float64, len(off)), make([]float64, len(off))
	for _, b := range base {
		for k, o := range off {
			src[k], dst[k] = x.F[b+o], 0
		}
		f(dst, src)
		for k, o := range off {
			y.F[b+o] = dst[k]
		}
	}
	return []*Array{y}, nil
}

func evalMeanVarianceNorm(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	if err := c.floats(0); err != nil {
		return nil, err
	}
	x, axes := c.in[0], c.Ints("axes")
	if axes == nil {
		axes = []int64{0, 2, 3}
	}
	set, err := axisSet(axes, len(x.Shape))
	if err != nil {
		return nil, err
	}
	base, off := lanes(x.Shape, set)
	y := &Array{Type: x.Type, Shape: x.Shape, F: make([]float64, len(x.F))}
	for _, b := range base {
		mu, va := moments(x.F, b, off)
		for _, o := range off {
			y.F[b+o] = (x.F[b+o] - mu) / (math.Sqrt(va) + 1e-9)
		}
	}
	return []*Array{y}, nil
}

// evalSoftmax is Softmax, LogSoftmax and Hardmax: along one axis from operator set 13 on, before over all axes from
// axis (default 1) on.
func evalSoftmax(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	if err := c.floats(0); err != nil {
		return nil, err
	}
	x := c.in[0]
	f := softmax
	switch c.Op {
	case "LogSoftmax":
		f = logSoftmax
	case "Hardmax":
		f = hardmax
	}
	if c.opset >= 13 {
		return c.perLane(x, -1, f)
	}
	axis := c.Int("axis", 1)
	if axis == int64(len(x.Shape)) {
		axis = 0 // nothing is behind: rows of one element
		x = x.view(append(slices.Clone(x.Shape), 1))
		axis = int64(len(x.Shape)) - 1
	}
	ax, err := axisIndex(axis, len(x.Shape))
	if err != nil {
		return nil, err
	}
	rows, size := int(volume(x.Shape[:ax])), int(volume(x.Shape[ax:]))
	y := &Array{Type: x.Type, Shape: c.in[0].Shape, F: make([]float64, len(x.F))}
	for r := range rows {
		f(y.F[r*size:(r+1)*size], x.F[r*size:(r+1)*size])
	}
	return []*Array{y}, nil
}

func softmax(dst, src []float64) {
	logSoftmax(dst, src)
	for i, v := range dst {
		dst[i] = math.Exp(v)
	}
}

func logSoftmax(dst, src []float64) {
	m := math.Inf(-1)
	for _, v := range src {
		m = max(m, v)
	}
	s := 0.0
	for _, v := range src {
		s += math.Exp(v - m)
	}
	s = math.Log(s)
	for i, v := range src {
		dst[i] = v - m - s
	}
}

// hardmax is 1 at the first greatest element, 0 elsewhere.
func hardmax(dst, src []float64) {
	clear(dst)
	best := 0
	for i, v := range src {
		if v > src[best] {
			best = i
		}
	}
	if len(dst) > 0 {
		dst[best] = 1
	}
}

// evalDropout passes its input through with a mask of ones. In training mode it does so for a ratio of 0 only: what
// random numbers would drop is not defined by the graph.
func evalDropout(c *evalCall) ([]*Array, error) {
	if err := c.need(1); err != nil {
		return nil, err
	}
	x := c.in[0]
	if t := c.arg(2); t != nil && t.Len() == 1 && t.Type == onnx.Bool && t.I[0] != 0 {
		ratio := 0.5
		if r := c.arg(1); r != nil && r.Type.IsFloat() && r.Len() == 1 {
			ratio = r.F[0]
		}
		if ratio != 0 {
			return nil, fmt.Errorf("training mode draws random numbers: %w", ErrNoEval)
		}
	}
	mask := &Array{Type: onnx.Bool, Shape: x.Shape, I: ones(x.Len())}
	if c.opset < 10 { // the mask was of the input's type
		mask = &Array{Type: x.Type, Shape: x.Shape, F: make([]float64, len(x.F))}
		for i := range mask.F {
			mask.F[i] = 1
		}
	}
	return []*Array{x, mask}, nil
}

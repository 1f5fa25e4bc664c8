package eval

import (
	"fmt"
	"slices"

	"lenskit/onnx"
)

// evalWindow is the geometry of a convolution or pool over the spatial axes: output o sees, for each kernel offset k,
// input o·stride + k·dilation - pad.
type evalWindow struct {
	in, out, kernel  []int64
	stride, dilation []int64
	padBegin, padEnd []int64
	tab              [][]int // per axis and kernel offset (k·out + o): the input index or -1
	inSize, outSize  int
	kernelSize       int
}

// maxWindowBlock is how many elements one block of unfolded windows may have.
const maxWindowBlock = 1 << 22

// spatialInts reads an attribute with one value of at least lo per spatial axis; absent means def for each.
func spatialInts(n *onnx.Node, name string, rank int, lo, def int64) ([]int64, error) {
	v := n.Ints(name)
	if v == nil {
		v = make([]int64, rank)
		for i := range v {
			v[i] = def
		}
		return v, nil
	}
	if len(v) != rank {
		return nil, fmt.Errorf("%s: found %v, expected %d values", name, v, rank)
	}
	for _, x := range v {
		if x < lo || x > maxElements {
			return nil, fmt.Errorf("%s: found %v, expected values from %d to %d", name, v, lo, maxElements)
		}
	}
	return v, nil
}

// read takes strides and dilations of n, and returns its pads.
func (w *evalWindow) read(n *onnx.Node, rank int) (pads []int64, err error) {
	if w.stride, err = spatialInts(n, "strides", rank, 1, 1); err != nil {
		return nil, err
	}
	if w.dilation, err = spatialInts(n, "dilations", rank, 1, 1); err != nil {
		return nil, err
	}
	return spatialInts(n, "pads", 2*rank, -maxElements, 0)
}

// newWindow reads strides, dilations, pads and auto_pad of a convolution or pool over inputs of the given spatial
// shape. With ceil the last window may begin inside and end beyond the end padding.
func newWindow(n *onnx.Node, in, kernel []int64, ceil bool) (*evalWindow, error) {
	rank := len(in)
	w := &evalWindow{in: in, kernel: kernel}
	pads, err := w.read(n, rank)
	if err != nil {
		return nil, err
	}
	w.padBegin, w.padEnd = slices.Clone(pads[:rank]), slices.Clone(pads[rank:])
	w.out = make([]int64, rank)
	auto := n.Str("auto_pad", "NOTSET")
	for i := range rank {
		if kernel[i] < 1 || kernel[i] > maxElements {
			return nil, fmt.Errorf("found kernel %v, expected extents of 1 or more", kernel)
		}
		reach := (kernel[i]-1)*w.dilation[i] + 1
		s := w.stride[i]
		switch auto {
		case "NOTSET", "":
		case "VALID":
			w.padBegin[i], w.padEnd[i] = 0, 0
		case "SAME_UPPER", "SAME_LOWER":
			total := max(((in[i]+s-1)/s-1)*s+reach-in[i], 0)
			w.padBegin[i] = total / 2
			if auto == "SAME_LOWER" {
				w.padBegin[i] = total - total/2
			}
			w.padEnd[i] = total - w.padBegin[i]
		default:
			return nil, fmt.Errorf("auto_pad: found %q, expected NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto)
		}
		room := in[i] + w.padBegin[i] + w.padEnd[i] - reach
		switch {
		case room < 0:
			w.out[i] = 0
		case ceil:
			w.out[i] = (room+s-1)/s + 1
			// A window that would begin in the end padding is left out.
			if (w.out[i]-1)*s >= in[i]+w.padBegin[i] {
				w.out[i]--
			}
		default:
			w.out[i] = room/s + 1
		}
	}
	return w, w.build()
}

// build checks the sizes and makes the tables.
func (w *evalWindow) build() error {
	sizes := [3]*int{&w.inSize, &w.outSize, &w.kernelSize}
	for i, s := range [][]int64{w.in, w.out, w.kernel} {
		n, err := Elements(s)
		if err != nil {
			return err
		}
		*sizes[i] = n
	}
	w.tab = make([][]int, len(w.in))
	for i := range w.in {
		if _, err := Elements([]int64{w.kernel[i], w.out[i]}); err != nil {
			return err
		}
		t := make([]int, 0, w.kernel[i]*w.out[i])
		for k := range w.kernel[i] {
			for o := range w.out[i] {
				p := o*w.stride[i] + k*w.dilation[i] - w.padBegin[i]
				if p < 0 || p >= w.in[i] {
					p = -1
				}
				t = append(t, int(p))
			}
		}
		w.tab[i] = t
	}
	return nil
}

// rows calls f for every run of outputs along the last axis under every kernel offset, in the order of an unfolded
// matrix [kernel, out]: the outputs col[at:at+len(tab)] see the inputs from+tab[j]·1, where tab[j] is -1 in the
// padding. ok is false when the whole run lies in the padding.
func (w *evalWindow) rows(f func(at, from int, tab []int, ok bool)) {
	if w.outSize == 0 || w.kernelSize == 0 {
		return
	}
	last := len(w.in) - 1
	str := strides(w.in)
	k, o := make([]int64, last+1), make([]int64, last+1)
	width := int(w.out[last])
	at := 0
	for {
		from, ok := 0, true
		for ax := range last {
			p := w.tab[ax][k[ax]*w.out[ax]+o[ax]]
			if p < 0 {
				ok = false
				break
			}
			from += p * str[ax]
		}
		f(at, from, w.tab[last][int(k[last])*width:(int(k[last])+1)*width], ok)
		at += width
		if !Advance(o[:last], w.out[:last]) && !Advance(k, w.kernel) {
			return
		}
	}
}

// Advance steps an index through a shape in row-major order; false when it wraps to the start.
func Advance(i, shape []int64) bool {
	for ax := len(i) - 1; ax >= 0; ax-- {
		if i[ax]++; i[ax] < shape[ax] {
			return true
		}
		i[ax] = 0
	}
	return false
}

// unfold fills col [kernel, out] from one channel x.
func (w *evalWindow) unfold(col, x []float64) {
	w.rows(func(at, from int, tab []int, ok bool) {
		row := col[at : at+len(tab)]
		if !ok {
			clear(row)
			return
		}
		for j, p := range tab {
			if p >= 0 {
				row[j] = x[from+p]
			} else {
				row[j] = 0
			}
		}
	})
}

// fold adds col [kernel, out] to the inputs that the windows see: the adjoint of unfold.
func (w *evalWindow) fold(x, col []float64) {
	w.rows(func(at, from int, tab []int, ok bool) {
		if !ok {
			return
		}
		row := col[at : at+len(tab)]
		for j, p := range tab {
			if p >= 0 {
				x[from+p] += row[j]
			}
		}
	})
}

// kernelShape is the spatial kernel of the weights; the attribute kernel_shape, where present, must agree.
func kernelShape(n *onnx.Node, weights []int64) ([]int64, error) {
	k := weights[2:]
	if a := n.Ints("kernel_shape"); a != nil && !slices.Equal(a, k) {
		return nil, fmt.Errorf("kernel_shape: found %v, but the weights have %v", a, k)
	}
	return k, nil
}

// convOperands checks the operands that Conv and ConvTranspose share.
func (c *evalCall) convOperands() (x, w *Array, group int64, err error) {
	if err := c.need(2); err != nil {
		return nil, nil, 0, err
	}
	if err := c.floats(0, 1, 2); err != nil {
		return nil, nil, 0, err
	}
	x, w, group = c.in[0], c.in[1], c.Int("group", 1)
	if len(x.Shape) < 3 || len(w.Shape) != len(x.Shape) || group < 1 {
		return nil, nil, 0, fmt.Errorf("found shapes %v and %v with group %d, expected one rank of 3 or more", x.Shape, w.Shape, group)
	}
	return x, w, group, nil
}

// addBias adds one value per channel to y [N, C, size].
func addBias(y, bias *Array) error {
	if bias == nil {
		return nil
	}
	c := y.Shape[1]
	if len(bias.Shape) != 1 || bias.Shape[0] != c {
		return fmt.Errorf("bias: found shape %v, expected [%d]", bias.Shape, c)
	}
	size := int(volume(y.Shape[2:]))
	for p := 0; size > 0 && p < len(y.F); p += size {
		b := bias.F[p/size%int(c)]
		for i := p; i < p+size; i++ {
			y.F[i] += b
		}
	}
	return nil
}

// evalConv computes y[n,m,o] = Σ w[m,c,k]·x[n,c,o·stride+k·dilation-pad] + b[m], as a product with the unfolded input.
func evalConv(c *evalCall) ([]*Array, error) {
	x, w, group, err := c.convOperands()
	if err != nil {
		return nil, err
	}
	kernel, err := kernelShape(c.Node, w.Shape)
	if err != nil {
		return nil, err
	}
	n, ch, m := x.Shape[0], x.Shape[1], w.Shape[0]
	if w.Shape[1]*group != ch || m%group != 0 {
		return nil, fmt.Errorf("weights of shape %v and group %d do not fit %d channels", w.Shape, group, ch)
	}
	win, err := newWindow(c.Node, x.Shape[2:], kernel, false)
	if err != nil {
		return nil, err
	}
	y, err := newArray(x.Type, append([]int64{n, m}, win.out...))
	if err != nil {
		return nil, err
	}
	cg, mg := int(ch/group), int(m/group)
	kk, out := win.kernelSize, win.outSize
	block, col, err := win.columns(cg)
	if err != nil {
		return nil, err
	}
	for b := range int(n) {
		for g := range int(group) {
			wg := w.F[g*mg*cg*kk:]
			yg := y.F[(b*int(m)+g*mg)*out:]
			for c0 := 0; c0 < cg && out > 0 && mg > 0; c0 += block {
				nb := min(block, cg-c0)
				for i := range nb {
					p := (b*int(ch) + g*cg + c0 + i) * win.inSize
					win.unfold(col[i*kk*out:(i+1)*kk*out], x.F[p:p+win.inSize])
				}
				gemm(yg, out, wg[c0*kk:], cg*kk, false, col, out, false, mg, out, nb*kk)
			}
		}
	}
	if err := addBias(y, c.arg(2)); err != nil {
		return nil, err
	}
	return []*Array{y}, nil
}

// columns makes the buffer for as many of n channels as one block holds.
func (w *evalWindow) columns(n int) (block int, col []float64, err error) {
	per, err := Elements([]int64{int64(w.kernelSize), int64(w.outSize)})
	if err != nil {
		return 0, nil, err
	}
	block = max(1, min(n, maxWindowBlock/max(per, 1)))
	return block, make([]float64, block*per), nil
}

// evalConvTranspose is the adjoint of evalConv in its input: the product with the weights is folded into the output.
func evalConvTranspose(c *evalCall) ([]*Array, error) {
	x, w, group, err := c.convOperands()
	if err != nil {
		return nil, err
	}
	kernel, err := kernelShape(c.Node, w.Shape)
	if err != nil {
		return nil, err
	}
	n, ch := x.Shape[0], x.Shape[1]
	if w.Shape[0] != ch || ch%group != 0 || w.Shape[1] > maxElements/group {
		return nil, fmt.Errorf("weights of shape %v and group %d do not fit %d channels", w.Shape, group, ch)
	}
	win, err := transposedWindow(c.Node, x.Shape[2:], kernel)
	if err != nil {
		return nil, err
	}
	cg, mg := int(ch/group), int(w.Shape[1])
	m := mg * int(group)
	y, err := newArray(x.Type, append([]int64{n, int64(m)}, win.in...))
	if err != nil {
		return nil, err
	}
	kk, in := win.kernelSize, win.outSize // the windows' outputs are this operator's inputs
	block, col, err := win.columns(mg)
	if err != nil {
		return nil, err
	}
	for b := range int(n) {
		for g := range int(group) {
			xg := x.F[(b*int(ch)+g*cg)*in:]
			wg := w.F[g*cg*mg*kk:]
			for m0 := 0; m0 < mg && in > 0 && cg > 0; m0 += block {
				nb := min(block, mg-m0)
				clear(col)
				gemm(col, in, wg[m0*kk:], mg*kk, true, xg, in, false, nb*kk, in, cg)
				for i := range nb {
					p := (b*m + g*mg + m0 + i) * win.inSize
					win.fold(y.F[p:p+win.inSize], col[i*kk*in:(i+1)*kk*in])
				}
			}
		}
	}
	if err := addBias(y, c.arg(2)); err != nil {
		return nil, err
	}
	return []*Array{y}, nil
}

// transposedWindow is the geometry of the convolution whose adjoint a ConvTranspose over inputs of the given spatial
// shape is: its input is the operator's output.
func transposedWindow(n *onnx.Node, in, kernel []int64) (*evalWindow, error) {
	rank := len(in)
	w := &evalWindow{out: in, kernel: kernel, in: make([]int64, rank)}
	pads, err := w.read(n, rank)
	if err != nil {
		return nil, err
	}
	extra, err := spatialInts(n, "output_padding", rank, 0, 0)
	if err != nil {
		return nil, err
	}
	want := n.Ints("output_shape")
	if len(want) == rank+2 { // with batch and channels, as old files have it
		want = want[2:]
	}
	if want != nil && len(want) != rank {
		return nil, fmt.Errorf("output_shape: found %v, expected %d extents", want, rank)
	}
	auto := n.Str("auto_pad", "NOTSET")
	w.padBegin, w.padEnd = slices.Clone(pads[:rank]), slices.Clone(pads[rank:])
	for i := range rank {
		if kernel[i] < 1 || kernel[i] > maxElements {
			return nil, fmt.Errorf("found kernel %v, expected extents of 1 or more", kernel)
		}
		full := w.stride[i]*(in[i]-1) + extra[i] + (kernel[i]-1)*w.dilation[i] + 1
		size := int64(-1)
		switch {
		case want != nil:
			size = want[i]
		case auto == "SAME_UPPER" || auto == "SAME_LOWER":
			size = in[i] * w.stride[i]
		case auto == "VALID":
			w.padBegin[i], w.padEnd[i] = 0, 0
		}
		if size >= 0 {
			total := full - size
			w.padBegin[i] = total - total/2
			if auto == "SAME_UPPER" {
				w.padBegin[i] = total / 2
			}
			if total < 0 { // the output reaches beyond what the windows cover
				w.padBegin[i] = 0
			}
			w.padEnd[i] = total - w.padBegin[i]
		}
		w.in[i] = full - w.padBegin[i] - w.padEnd[i]
		if w.in[i] < 0 {
			w.in[i] = 0
		}
	}
	return w, w.build()
}

// evalCol2Im folds columns [N, C·kernel, windows] into images.
func evalCol2Im(c *evalCall) ([]*Array, error) {
	if err := c.need(3); err != nil {
		return nil, err
	}
	if err := c.floats(0); err != nil {
		return nil, err
	}
	x := c.in[0]
	image, err := c.ints(1)
	if err != nil {
		return nil, err
	}
	kernel, err := c.ints(2)
	if err != nil {
		return nil, err
	}
	if len(x.Shape) != 3 || len(image) != len(kernel) || len(image) == 0 {
		return nil, fmt.Errorf("found shape %v, image %v and block %v, expected three axes and as many extents", x.Shape, image, kernel)
	}
	if _, err := Elements(image); err != nil {
		return nil, err
	}
	win, err := newWindow(c.Node, image, kernel, false)
	if err != nil {
		return nil, err
	}
	n, rows := x.Shape[0], int64(win.kernelSize)
	if x.Shape[1]%rows != 0 || x.Shape[2] != int64(win.outSize) {
		return nil, fmt.Errorf("found shape %v, expected [N, C·%d, %d]", x.Shape, rows, win.outSize)
	}
	ch := x.Shape[1] / rows
	y, err := newArray(x.Type, append([]int64{n, ch}, image...))
	if err != nil {
		return nil, err
	}
	for p := range int(n * ch) {
		size := win.kernelSize * win.outSize
		win.fold(y.F[p*win.inSize:(p+1)*win.inSize], x.F[p*size:(p+1)*size])
	}
	return []*Array{y}, nil
}

package vae

import (
	"fmt"
	"math"
	"math/rand/v2"

	"lenskit/internal/task"
	"lenskit/tools/galaxies"
	"lenskit/tools/internal/term"
)

// Augmentation says how training images are varied. The zero value leaves them as they are.
type Augmentation struct {
	Rotate bool    `json:"rotate"` // by any angle
	Flip   bool    `json:"flip"`
	Shift  float64 `json:"shift"` // at most, in pixels along each axis
	Zoom   float64 `json:"zoom"`  // factors from 1/(1+Zoom) to 1+Zoom
	Noise  float64 `json:"noise"` // at most, standard deviation as a share of the peak
}

// apply writes a varied copy of the w x h image src to dst, divided by its maximum. The resampling is Catmull-Rom's
// cubic, which blurs less than the bilinear one; outside the image there are zeros.
func (a Augmentation) apply(dst, src []float32, w, h int, rng *rand.Rand) {
	angle, flip, zoom, dx, dy := 0.0, false, 1.0, 0.0, 0.0
	if a.Rotate {
		angle = 2 * math.Pi * rng.Float64()
	}
	if a.Flip {
		flip = rng.IntN(2) == 1
	}
	if a.Zoom > 0 {
		zoom = math.Exp(galaxies.UniformIn(rng, -1, 1) * math.Log1p(a.Zoom))
	}
	if a.Shift > 0 {
		dx, dy = galaxies.UniformIn(rng, -1, 1)*a.Shift, galaxies.UniformIn(rng, -1, 1)*a.Shift
	}
	noise := a.Noise * rng.Float64()
	if angle == 0 && !flip && zoom == 1 && dx == 0 && dy == 0 {
		copy(dst, src)
	} else {
		resample(dst, src, w, h, angle, zoom, dx, dy, flip)
	}
	peak := float32(0)
	for _, v := range dst {
		peak = max(peak, v)
	}
	if peak > 0 {
		for i := range dst {
			dst[i] /= peak
		}
	}
	if noise > 0 {
		for i := range dst {
			dst[i] += float32(noise * rng.NormFloat64())
		}
	}
}

// resample turns src about its centre by angle, magnifies it by zoom, mirrors it if flip is set, and moves it by (dx, dy)
// pixels.
func resample(dst, src []float32, w, h int, angle, zoom, dx, dy float64, flip bool) {
	cx, cy := float64(w-1)/2, float64(h-1)/2
	c, s := math.Cos(angle)/zoom, math.Sin(angle)/zoom
	mirror := 1.0
	if flip {
		mirror = -1
	}
	for j := range h {
		for i := range w {
			x, y := float64(i)-cx-dx, float64(j)-cy-dy
			u, v := mirror*(c*x+s*y)+cx, c*y-s*x+cy
			dst[j*w+i] = cubicAt(src, w, h, u, v)
		}
	}
}

// cubicAt is Catmull-Rom's interpolation of src at column u and row v, with zeros outside.
func cubicAt(src []float32, w, h int, u, v float64) float32 {
	i, j := int(math.Floor(u)), int(math.Floor(v))
	if i < -2 || j < -2 || i > w || j > h {
		return 0
	}
	kx, ky := cubicKernel(float32(u-float64(i))), cubicKernel(float32(v-float64(j)))
	sum := float32(0)
	for b := range 4 {
		row := j + b - 1
		if row < 0 || row >= h {
			continue
		}
		line := src[row*w : (row+1)*w]
		part := float32(0)
		for a := range 4 {
			if col := i + a - 1; col >= 0 && col < w {
				part += kx[a] * line[col]
			}
		}
		sum += ky[b] * part
	}
	return sum
}

// cubicKernel are the weights of the four neighbours of a place a fraction t behind the second (Keys 1981, a = -1/2).
func cubicKernel(t float32) [4]float32 {
	return [4]float32{
		((2-t)*t - 1) * t / 2, ((3*t-5)*t*t + 2) / 2, ((4-3*t)*t + 1) * t / 2, (t - 1) * t * t / 2,
	}
}

// batchSource makes the batch of any step from the seed and the step's number alone.
type batchSource struct {
	sets    []*galaxies.Cube // the second, if any, fills Beside of each batch
	Beside  int
	Batch   int
	Eps     int // numbers of noise of a step
	Seed    uint64
	Augment Augmentation

	order [2]struct {
		pass int64
		perm []int
	}
}

// Words that keep the streams of random numbers apart.
const (
	streamOrder = 0x6f72646572 << 8
	streamImage = 0x696d616765 << 8
	streamNoise = 0x6e6f697365 << 8
)

// fill makes the batch of step s, from 0: images x [B, 1, h, w] and noise eps.
func (b *batchSource) fill(s int64, x, eps []float32) {
	pixels := b.sets[0].W * b.sets[0].H
	for k := range b.Batch {
		set, per, at := 0, b.Batch-b.Beside, k
		if k >= per {
			set, per, at = 1, b.Beside, k-per
		}
		c := b.sets[set]
		i := b.index(set, s*int64(per)+int64(at))
		rng := rand.New(rand.NewPCG(b.Seed^streamImage, uint64(s)*uint64(b.Batch)+uint64(k)))
		b.Augment.apply(x[k*pixels:(k+1)*pixels], c.Plane(i), c.W, c.H, rng)
	}
	rng := rand.New(rand.NewPCG(b.Seed^streamNoise, uint64(s)))
	for i := range eps {
		eps[i] = float32(rng.NormFloat64())
	}
}

// index is the image at place n of a set's endless sequence of permutations.
func (b *batchSource) index(set int, n int64) int {
	count := int64(b.sets[set].N)
	o := &b.order[set]
	if pass := n / count; o.perm == nil || o.pass != pass {
		o.pass = pass
		o.perm = rand.New(rand.NewPCG(b.Seed^streamOrder+uint64(set), uint64(pass))).Perm(int(count))
	}
	return o.perm[n%count]
}

// batch is the input of one step.
type batch struct {
	step   int64
	x, eps []float32
}

// start prepares the batches of the steps from on, one ahead of the reader. stop ends it.
func (b *batchSource) start(from int64) (next func() *batch, stop func()) {
	ready, free, done := make(chan *batch, 1), make(chan *batch, 2), make(chan struct{})
	pixels := b.sets[0].W * b.sets[0].H
	for range 2 {
		free <- &batch{x: make([]float32, b.Batch*pixels), eps: make([]float32, b.Eps)}
	}
	var g task.Group
	g.Go(func() {
		defer close(ready)
		for s := from; ; s++ {
			select {
			case <-done:
				return
			case t := <-free:
				t.step = s
				b.fill(s, t.x, t.eps)
				select {
				case ready <- t:
				case <-done:
					return
				}
			}
		}
	})
	var last *batch
	next = func() *batch {
		if last != nil {
			free <- last
		}
		if last = <-ready; last == nil {
			g.Wait()
		}
		return last
	}
	return next, func() {
		close(done)
		g.Wait()
	}
}

// trainingCube reads a set of images of w x h pixels for training, each with a peak.
func trainingCube(path string, w, h int) (*galaxies.Cube, error) {
	c, _, err := galaxies.ReadCube(path)
	if err != nil {
		return nil, err
	}
	if c.W != w || c.H != h {
		return nil, term.WithHint(term.BadInput("%s: found images of %d x %d pixels, expected %d x %d", path, c.W, c.H, w, h),
			"lenskit dataset prepares images of other sizes")
	}
	kept := 0
	for i := range c.N {
		p := c.Plane(i)
		peak := float32(0)
		for _, v := range p {
			peak = max(peak, v)
		}
		if peak <= 0 {
			continue
		}
		dst := c.Plane(kept)
		for k, v := range p {
			dst[k] = v / peak
		}
		kept++
	}
	if kept == 0 {
		return nil, term.BadInput("%s: found no image with a peak above 0", path)
	}
	c.N, c.Pix = kept, c.Pix[:kept*c.W*c.H]
	return c, nil
}

// split takes a share of a set, evenly spread, out of it: at least one image.
func split(c *galaxies.Cube, share float64) (rest, held *galaxies.Cube, err error) {
	n := max(1, int(math.Round(share*float64(c.N))))
	if n >= c.N {
		return nil, nil, fmt.Errorf("found %d images, expected more: a share of %g is held back for validation", c.N, share)
	}
	rest, held = &galaxies.Cube{W: c.W, H: c.H, Origin: c.Origin}, &galaxies.Cube{W: c.W, H: c.H, Origin: c.Origin}
	for i := range c.N {
		to := rest
		if (i+1)*n/c.N > i*n/c.N {
			to = held
		}
		to.N++
		to.Pix = append(to.Pix, c.Plane(i)...)
	}
	return rest, held, nil
}

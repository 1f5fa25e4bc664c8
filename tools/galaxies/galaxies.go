package galaxies

import (
	"math"
	"math/rand/v2"
)

// drawGalaxy draws a galaxy of no particular name into dst, an n x n image of surface brightness, lowest row first: the
// brightest pixel is 1, the background 0, and the galaxy has faded before it reaches the edges. The kinds are
// spheroids, discs with bulges, barred and unbarred spirals, clumpy and edge-on discs, and mergers; sizes, tilts, orientations
// and blur vary as they do in surveys at redshifts near 1. Light is summed on a grid twice as fine and blurred by a
// Gaussian point-spread function before it is binned, so that nothing is aliased.
//
// dst must have n*n elements.
func drawGalaxy(dst []float64, n int, rng *rand.Rand) {
	if len(dst) != n*n {
		panic("tools: draw galaxy: image and size do not match")
	}
	c := &galaxyCanvas{m: 2 * n, pix: make([]float64, 4*n*n)}
	c.scale = 64 / float64(c.m) // lengths are in 64ths of the image's width, whatever n is
	kind := rng.Float64()
	switch {
	case kind < 0.22:
		c.spheroid(rng)
	case kind < 0.42:
		c.disc(rng, discStyle{})
	case kind < 0.70:
		c.disc(rng, discStyle{spiral: true})
	case kind < 0.82:
		c.disc(rng, discStyle{clumpy: true})
	case kind < 0.91:
		c.edgeOn(rng)
	default:
		c.merger(rng)
	}
	c.blur(math.Exp(UniformIn(rng, math.Log(0.7), math.Log(1.9))))
	c.finish(dst, n)
}

// galaxyCanvas is the fine grid. Positions are measured from the image's centre.
type galaxyCanvas struct {
	m     int // pixels on a side
	scale float64
	pix   []float64
}

func UniformIn(rng *rand.Rand, lo, hi float64) float64 { return lo + (hi-lo)*rng.Float64() }

// logNormal draws exp(N(ln median, sigma²)) until it lies in [lo, hi].
func logNormal(rng *rand.Rand, median, sigma, lo, hi float64) float64 {
	for {
		if v := median * math.Exp(sigma*rng.NormFloat64()); v >= lo && v <= hi {
			return v
		}
	}
}

// pose is where a component lies: centre, orientation and axis ratio.
type pose struct{ x, y, cos, sin, q float64 }

func newPose(x, y, angle, q float64) pose {
	s, c := math.Sincos(angle)
	return pose{x, y, c, s, q}
}

// face turns a place in the image into the component's own plane.
func (p *pose) face(x, y float64) (u, v float64) {
	x, y = x-p.x, y-p.y
	return x*p.cos + y*p.sin, (y*p.cos - x*p.sin) / p.q
}

// image is the inverse of face.
func (p *pose) image(u, v float64) (x, y float64) {
	v *= p.q
	return p.x + u*p.cos - v*p.sin, p.y + u*p.sin + v*p.cos
}

// add adds flux times f, a brightness in the plane of p that is scaled to sum 1 over the image.
func (c *galaxyCanvas) add(p pose, flux float64, f func(u, v float64) float64) {
	layer := make([]float64, len(c.pix))
	sum := 0.0
	for j := range c.m {
		y := (float64(j) + 0.5 - float64(c.m)/2) * c.scale
		for i := range c.m {
			x := (float64(i) + 0.5 - float64(c.m)/2) * c.scale
			b := f(p.face(x, y))
			layer[j*c.m+i] = b
			sum += b
		}
	}
	if !(sum > 0) {
		return
	}
	for i, b := range layer {
		c.pix[i] += flux / sum * b
	}
}

// blob adds a Gaussian of the given width and flux in the plane of the sky.
func (c *galaxyCanvas) blob(x, y, sigma, flux float64) {
	reach := 4 * sigma
	lo := func(v float64) int { return max(0, int((v-reach)/c.scale+float64(c.m)/2)) }
	hi := func(v float64) int { return min(c.m-1, int((v+reach)/c.scale+float64(c.m)/2)) }
	norm := flux * c.scale * c.scale / (2 * math.Pi * sigma * sigma)
	for j := lo(y); j <= hi(y); j++ {
		dy := (float64(j)+0.5-float64(c.m)/2)*c.scale - y
		for i := lo(x); i <= hi(x); i++ {
			dx := (float64(i)+0.5-float64(c.m)/2)*c.scale - x
			c.pix[j*c.m+i] += norm * math.Exp(-(dx*dx+dy*dy)/(2*sigma*sigma))
		}
	}
}

// sersicProfile is the profile of Sérsic (1963) with half-light radius re and index n; b_n after Ciotti & Bertin (1999). The
// centre is softened over a fraction of a pixel.
func sersicProfile(re, n float64) func(u, v float64) float64 {
	b := 2*n - 1.0/3 + 4/(405*n)
	return func(u, v float64) float64 {
		return math.Exp(-b * (math.Pow((u*u+v*v+0.04)/(re*re), 0.5/n) - 1))
	}
}

// spheroid adds an early-type galaxy, at times with a faint shell or companion.
func (c *galaxyCanvas) spheroid(rng *rand.Rand) {
	re := logNormal(rng, 5.5, 0.45, 2, 11)
	n := logNormal(rng, 2.8, 0.4, 1, 5.5)
	p := newPose(0.8*rng.NormFloat64(), 0.8*rng.NormFloat64(), math.Pi*rng.Float64(), UniformIn(rng, 0.45, 1))
	c.add(p, 1, sersicProfile(re, n))
	if rng.Float64() < 0.3 { // an inner or outer disc
		p.q *= UniformIn(rng, 0.5, 0.95)
		c.add(p, UniformIn(rng, 0.1, 0.5), sersicProfile(re*UniformIn(rng, 0.7, 2), 1))
	}
	if rng.Float64() < 0.15 {
		c.companion(rng, 3*re)
	}
}

// companion adds a small neighbour at about the given distance.
func (c *galaxyCanvas) companion(rng *rand.Rand, r float64) {
	r = min(r*UniformIn(rng, 0.7, 1.3), 20)
	s, cos := math.Sincos(2 * math.Pi * rng.Float64())
	c.add(newPose(r*cos, r*s, math.Pi*rng.Float64(), UniformIn(rng, 0.4, 1)), UniformIn(rng, 0.01, 0.12), sersicProfile(UniformIn(rng, 0.8, 2.5), 1))
}

// discStyle tells what a disc carries besides its smooth light.
type discStyle struct{ spiral, clumpy bool }

// disc adds a disc galaxy with, by style, arms, bar, bulge, rings, dust and star-forming clumps.
func (c *galaxyCanvas) disc(rng *rand.Rand, style discStyle) {
	h := logNormal(rng, 5.4, 0.38, 2.4, 9) // exponential scale length
	q := math.Sqrt(0.02 + 0.98*math.Pow(UniformIn(rng, 0.3, 1), 2))
	if style.spiral {
		h = logNormal(rng, 6.4, 0.3, 3.5, 9.5)
		q = UniformIn(rng, 0.4, 1)
	}
	p := newPose(0.9*rng.NormFloat64(), 0.9*rng.NormFloat64(), math.Pi*rng.Float64(), q)
	bulge := math.Pow(rng.Float64(), 1.7) * 0.5
	if style.clumpy {
		bulge *= 0.3
	}
	light := c.discLight(rng, h, style)
	c.add(p, 1-bulge, light)

	if bulge > 0.01 {
		b := p
		b.q = 1 - (1-q)*UniformIn(rng, 0.2, 0.7)
		c.add(b, bulge, sersicProfile(h*UniformIn(rng, 0.12, 0.45), logNormal(rng, 1.8, 0.4, 0.8, 4)))
	}
	bar := 0.12
	if style.spiral {
		bar = 0.4
	}
	if rng.Float64() < bar {
		c.bar(rng, p, h)
	}
	clumps, share := 0, 0.0
	switch {
	case style.clumpy:
		clumps, share = 3+rng.IntN(12), UniformIn(rng, 0.08, 0.4)
	case style.spiral:
		clumps, share = rng.IntN(18), UniformIn(rng, 0.02, 0.15)
	case rng.Float64() < 0.3:
		clumps, share = 1+rng.IntN(5), UniformIn(rng, 0.01, 0.1)
	}
	c.clumps(rng, p, h, clumps, share, light)
	if rng.Float64() < 0.12 {
		c.companion(rng, 3*h)
	}
}

// discLight makes the brightness of a disc in its own plane: an exponential, at times broken, with spiral arms that
// follow r = r0 exp(θ tan i) (logarithmic spirals of pitch i), feathers wound along them, a lopsided part and a ring.
func (c *galaxyCanvas) discLight(rng *rand.Rand, h float64, style discStyle) func(u, v float64) float64 {
	arms := []int{2, 2, 2, 2, 3, 4, 1}[rng.IntN(7)]
	pitch := UniformIn(rng, 10, 32) * math.Pi / 180
	if rng.IntN(2) == 0 {
		pitch = -pitch
	}
	wind := 1 / math.Tan(pitch)
	strength, sharp := 0.0, UniformIn(rng, 1, 4)
	rough, grain := UniformIn(rng, 0, 0.35), 0.0
	if style.spiral {
		strength, rough = UniformIn(rng, 0.5, 1), UniformIn(rng, 0.1, 0.6)
	}
	if style.clumpy {
		rough, grain = UniformIn(rng, 0.2, 0.6), UniformIn(rng, 0.1, 0.5)
	}
	phase := 2 * math.Pi * rng.Float64()
	start := h * UniformIn(rng, 0.3, 1) // where the arms begin
	lop, lopAt := math.Abs(0.12*rng.NormFloat64()), 2*math.Pi*rng.Float64()
	if style.clumpy {
		lop *= 3
	}
	lop = min(lop, 0.7)
	dust, dustShift := 0.0, UniformIn(rng, 0.5, 1)
	if style.spiral && rng.Float64() < 0.6 {
		dust = UniformIn(rng, 0.2, 1)
	}
	ring, ringR, ringW := 0.0, h*UniformIn(rng, 1, 2.2), h*UniformIn(rng, 0.12, 0.35)
	if rng.Float64() < 0.12 {
		ring = UniformIn(rng, 0.3, 1.5)
	}
	hole := 0.0
	if style.clumpy && rng.Float64() < 0.3 {
		hole = h * UniformIn(rng, 0.3, 1)
	}
	break_, outer := h*UniformIn(rng, 2, 4), UniformIn(rng, 0.4, 1)
	feathers := newValueNoise(rng, 24)
	patches := newValueNoise(rng, 16)
	edge := UniformIn(rng, 3.5, 5) * h // the arms' end
	norm := 0.0                        // mean of exp(sharp cos θ): the modified Bessel function I₀
	for k := range 32 {
		norm += math.Exp(sharp*math.Cos(2*math.Pi*float64(k)/32)) / 32
	}
	return func(u, v float64) float64 {
		r := math.Sqrt(u*u + v*v + 0.04)
		b := math.Exp(-r / h)
		if r > break_ {
			b = math.Exp(-break_/h - (r-break_)/(h*outer))
		}
		if b < 1e-7 {
			return 0
		}
		if hole > 0 {
			b *= 1 - 0.9*math.Exp(-r*r/(2*hole*hole))
		}
		if strength == 0 && rough == 0 && lop == 0 && ring == 0 && grain == 0 {
			return b
		}
		θ := math.Atan2(v, u)
		lnr := math.Log(r / h)
		turn := θ - wind*lnr
		if strength > 0 {
			in := 1 / (1 + math.Exp(-6*(r-start)/h)) / (1 + math.Exp(4*(r-edge)/h))
			angle := float64(arms)*turn + phase
			wave := math.Exp(sharp*math.Cos(angle)) / norm
			b *= 1 + strength*in*(wave-1)
			if dust > 0 {
				lane := math.Exp(6 * (math.Cos(angle+dustShift) - 1))
				b *= math.Exp(-dust * in * lane)
			}
		}
		if rough > 0 {
			// One turn is 24 cells; the noise is stretched along the winding.
			b *= math.Exp(2 * rough * feathers.at(turn/(2*math.Pi)*24, 5*lnr))
		}
		if grain > 0 {
			b *= math.Exp(2.5 * grain * patches.at(1.2*u/h*2, 1.2*v/h*2))
		}
		if ring > 0 {
			d := (r - ringR) / ringW
			b *= 1 + ring*math.Exp(ringR/h)*0.35*math.Exp(-d*d/2)
		}
		return b * max(0, 1+lop*math.Cos(θ-lopAt)*min(1, r/h))
	}
}

// bar adds a bar: a flat elongated profile in the plane of the disc.
func (c *galaxyCanvas) bar(rng *rand.Rand, p pose, h float64) {
	a := h * UniformIn(rng, 0.6, 1.4)
	ratio := UniformIn(rng, 0.2, 0.45)
	s, cos := math.Sincos(math.Pi * rng.Float64())
	c.add(p, UniformIn(rng, 0.05, 0.25), func(u, v float64) float64 {
		x, y := (u*cos+v*s)/a, (v*cos-u*s)/(a*ratio)
		x, y = x*x, y*y
		return math.Exp(-2 * math.Pow(x*x+y*y, 0.6))
	})
}

// clumps adds star-forming knots that hold the given share of the light, where light says that there is much of it.
func (c *galaxyCanvas) clumps(rng *rand.Rand, p pose, h float64, n int, share float64, light func(u, v float64) float64) {
	if n == 0 {
		return
	}
	weights, total := make([]float64, n), 0.0
	for i := range weights {
		weights[i] = math.Exp(0.8 * rng.NormFloat64())
		total += weights[i]
	}
	for i := range weights {
		// Of a few places drawn over the disc the one that gains most over the exponential is taken: arms, not gaps.
		var bu, bv, best float64
		for range 6 {
			r := h * (rng.ExpFloat64() + rng.ExpFloat64()) * 0.9
			s, cos := math.Sincos(2 * math.Pi * rng.Float64())
			if g := light(r*cos, r*s) * math.Exp(min(r/h, 4)); g >= best {
				bu, bv, best = r*cos, r*s, g
			}
		}
		x, y := p.image(bu, bv)
		if math.Hypot(x, y) > 24 {
			continue
		}
		c.blob(x, y, logNormal(rng, 1.1, 0.35, 0.5, 2.8), share*weights[i]/total)
	}
}

// edgeOn adds a disc seen from the side: exponential along, sech² across (van der Kruit & Searle 1981), at times warped,
// flared or cut by a dust lane.
func (c *galaxyCanvas) edgeOn(rng *rand.Rand) {
	h := logNormal(rng, 6.5, 0.3, 3.5, 9.5)
	z := h * UniformIn(rng, 0.1, 0.28)
	warp, dust := 0.02*rng.NormFloat64(), 0.0
	if rng.Float64() < 0.35 {
		dust = UniformIn(rng, 0.3, 1.5)
	}
	lane, above := z*UniformIn(rng, 0.2, 0.4), z*0.4*rng.NormFloat64()
	lop := 0.15 * rng.NormFloat64()
	noise := newValueNoise(rng, 16)
	rough := UniformIn(rng, 0, 0.4)
	p := newPose(0.8*rng.NormFloat64(), 0.8*rng.NormFloat64(), math.Pi*rng.Float64(), 1)
	c.add(p, 1, func(u, v float64) float64 {
		r := math.Sqrt(u*u + 0.3*h*h*0.1)
		w := v - warp*u*math.Abs(u)/h
		sech := 1 / math.Cosh(w/z)
		b := math.Exp(-r/h) * sech * sech * max(0.1, 1+lop*u/h)
		if dust > 0 {
			d := (w - above) / lane
			b *= math.Exp(-dust * math.Exp(-d*d/2-r/(2*h)))
		}
		return b * math.Exp(rough*noise.at(1.5*u, 3*w/z))
	})
	if rng.Float64() < 0.6 {
		p.q = UniformIn(rng, 0.6, 1)
		c.add(p, UniformIn(rng, 0.05, 0.5), sersicProfile(h*UniformIn(rng, 0.1, 0.3), UniformIn(rng, 1, 2.5)))
	}
	c.clumps(rng, newPose(p.x, p.y, math.Atan2(p.sin, p.cos), z/h), h, rng.IntN(5), UniformIn(rng, 0.01, 0.12), func(u, v float64) float64 { return math.Exp(-math.Hypot(u, v) / h) })
}

// merger adds two galaxies in contact and the tidal tails between and behind them.
func (c *galaxyCanvas) merger(rng *rand.Rand) {
	gap := UniformIn(rng, 5, 16)
	s, cos := math.Sincos(2 * math.Pi * rng.Float64())
	mass := UniformIn(rng, 0.2, 0.8)
	for k, side := range []float64{mass - 1, mass} {
		flux := []float64{mass, 1 - mass}[k]
		re := logNormal(rng, 4.2, 0.35, 2, 7)
		p := newPose(side*gap*cos, side*gap*s, math.Pi*rng.Float64(), UniformIn(rng, 0.35, 1))
		if rng.IntN(2) == 0 {
			c.add(p, flux, sersicProfile(re, UniformIn(rng, 1, 4)))
		} else {
			light := c.discLight(rng, re/1.68, discStyle{clumpy: true})
			c.add(p, flux, light)
			c.clumps(rng, p, re/1.68, rng.IntN(6), 0.2*flux*rng.Float64(), light)
		}
		if rng.Float64() < 0.65 {
			c.tail(rng, p, re, flux*UniformIn(rng, 0.05, 0.35))
		}
	}
	if rng.Float64() < 0.5 { // the bridge
		flux, width := UniformIn(rng, 0.02, 0.12), UniformIn(rng, 0.8, 1.8)
		bend := 2 * rng.NormFloat64()
		for k := range 24 {
			t := (float64(k) + 0.5) / 24
			d, off := (t+mass-1)*gap, bend*4*t*(1-t)
			c.blob(d*cos-off*s, d*s+off*cos, width, flux/24)
		}
	}
}

// tail adds a curved tidal tail that starts at the edge of a galaxy, widens and fades.
func (c *galaxyCanvas) tail(rng *rand.Rand, p pose, re, flux float64) {
	length := re * UniformIn(rng, 2, 5)
	angle, curve := 2*math.Pi*rng.Float64(), UniformIn(rng, 0.5, 2.2)
	if rng.IntN(2) == 0 {
		curve = -curve
	}
	x, y := p.x+0.5*re*math.Cos(angle), p.y+0.5*re*math.Sin(angle)
	const steps = 48
	total := 0.0
	for k := range steps {
		total += math.Exp(-2 * float64(k) / steps)
	}
	for k := range steps {
		t := float64(k) / steps
		sin, cos := math.Sincos(angle + curve*t)
		x, y = x+length/steps*cos, y+length/steps*sin
		if math.Hypot(x, y) > 25 {
			return
		}
		c.blob(x, y, 0.7+1.4*t, flux*math.Exp(-2*t)/total)
	}
}

// blur convolves the fine grid with a Gaussian of width sigma, in image pixels of a 64-pixel image.
func (c *galaxyCanvas) blur(sigma float64) {
	sigma /= c.scale
	half := int(math.Ceil(4 * sigma))
	kernel := make([]float64, 2*half+1)
	sum := 0.0
	for k := range kernel {
		d := float64(k-half) / sigma
		kernel[k] = math.Exp(-d * d / 2)
		sum += kernel[k]
	}
	for k := range kernel {
		kernel[k] /= sum
	}
	line, out := make([]float64, c.m), make([]float64, c.m)
	pass := func(start, step int) {
		for i := range line {
			line[i] = c.pix[start+i*step]
		}
		for i := range out {
			out[i] = 0
			lo, hi := max(0, half-i), min(len(kernel), c.m+half-i)
			for k := lo; k < hi; k++ {
				out[i] += kernel[k] * line[i+k-half]
			}
		}
		for i := range out {
			c.pix[start+i*step] = out[i]
		}
	}
	for j := range c.m {
		pass(j*c.m, 1)
	}
	for i := range c.m {
		pass(i, c.m)
	}
}

// finish bins the fine grid into dst, lets the light fade out over the outermost tenth, and scales the peak to 1.
func (c *galaxyCanvas) finish(dst []float64, n int) {
	peak := 0.0
	for j := range n {
		for i := range n {
			k := 2*j*c.m + 2*i
			v := c.pix[k] + c.pix[k+1] + c.pix[k+c.m] + c.pix[k+c.m+1]
			x, y := (float64(i)+0.5)/float64(n)-0.5, (float64(j)+0.5)/float64(n)-0.5
			if t := (math.Hypot(x, y) - 0.38) / 0.11; t >= 1 {
				v = 0
			} else if t > 0 {
				v *= 0.5 * (1 + math.Cos(math.Pi*t))
			}
			dst[j*n+i] = v
			peak = max(peak, v)
		}
	}
	for i := range dst {
		dst[i] /= peak
	}
}

// valueNoise is smooth noise of mean 0 and standard deviation near 1: random numbers on a lattice that repeats after
// size cells in both directions, joined smoothly, at three scales.
type valueNoise struct {
	size int
	v    []float64
}

func newValueNoise(rng *rand.Rand, size int) *valueNoise {
	n := &valueNoise{size, make([]float64, size*size)}
	for i := range n.v {
		n.v[i] = rng.NormFloat64()
	}
	return n
}

func (n *valueNoise) at(x, y float64) float64 {
	// The coarser scales sample the lattice at whole fractions of its size, so that they repeat with it.
	return 0.9*n.smooth(x/4, y/4, n.size/4) + 0.7*n.smooth(x/2, y/2, n.size/2) + 0.5*n.smooth(x, y, n.size)
}

func (n *valueNoise) smooth(x, y float64, period int) float64 {
	fx, fy := math.Floor(x), math.Floor(y)
	tx, ty := x-fx, y-fy
	tx, ty = tx*tx*(3-2*tx), ty*ty*(3-2*ty)
	i, j := wrapInto(int(fx), period), wrapInto(int(fy), period)
	i1, j1 := wrapInto(i+1, period), wrapInto(j+1, period)
	a := n.v[j*n.size+i] + tx*(n.v[j*n.size+i1]-n.v[j*n.size+i])
	b := n.v[j1*n.size+i] + tx*(n.v[j1*n.size+i1]-n.v[j1*n.size+i])
	return a + ty*(b-a)
}

func wrapInto(i, n int) int {
	if i %= n; i < 0 {
		i += n
	}
	return i
}

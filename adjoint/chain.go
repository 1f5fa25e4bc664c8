package adjoint

import "lenskit/physics"

// Sizes of the chain's work. They hang on the image alone, never on the number of threads.
const (
	maxTiles  = 16  // tiles of rays; each has an adjoint of the source image of its own
	blockRays = 512 // rays that go through all stages before the next ones do
	minPixels = 64  // pixels of a tile, at least
	rowPixels = 4096
	sumChunks = 8
)

// chain is a scene on a grid: forward to a model image and its misfit, and in reverse to the gradient by θ. All its
// planes cover the grid's box.
type chain struct {
	scene  *scene
	grid   *physics.Grid
	psf    physics.PSF
	pool   *physics.Pool
	nTheta int

	data, weight []float64   // of the box; nil when there is nothing to compare with
	px, py       [][]float64 // where each ray crosses the lens planes (the nearest first: in the image) and the source planes
	plane        []float64   // brightness before the PSF
	model        []float64
	gModel       []float64
	gPlane       []float64

	// what the fixed components give, kept until one of them changes
	baseX, baseY []float64 // deflection of the fixed lenses of a single plane; nil when there are none
	baseI        []float64 // brightness of the fixed lights in the lens plane; nil when there are none
	baseOf       int       // scene.frozen when they were computed

	tiles     []tile
	blockLen  int // rays of a block, at most
	rowChunks int
	rowSky    []float64
	like      *likelihood
	fit       likely // of the point last compared with the data

	rowChi2, rowDeviance, rowPull []float64
	gimgs                         [][]float64 // of each light: the sum of the tiles' adjoints of its padded image
	gTheta                        []float64
	gpix                          [][]float64 // of each light

	inv           *inversion // of the lights that are solved for; nil where there are none, or they are drawn like others
	wantGrad, all bool       // all: gradients by fixed parameters too
	runForward    func(chunk int)
	runReverse    func(chunk int)
	runResidual   func(chunk int)
	runBase       func(chunk int)
	runSum        func(chunk int)
	summed        int // the light that runSum is for
}

// tile is the working space for a stretch of the grid's pixels.
type tile struct {
	from, to  int // among grid.Pixel
	ax, ay, v []float64
	gx, gy    [][]float64 // of the places in each source plane
	many      *manyPlanes // nil when there is one plane of lenses and one of sources
	gp        []float64   // of all θ
	galpha    []float64   // what the adjoints of a single plane's deflections add up to, of all θ
	gimg      [][]float64 // of each light of free latents, padded; zeros until reverse adds to it
}

// newChain lays out a chain. noise may be nil: then only the model is computed.
func newChain(s *scene, grid *physics.Grid, psf physics.PSF, noise *physics.Noise, pool *physics.Pool, nTheta int) *chain {
	n, box := len(grid.X), grid.Box.W*grid.Box.H
	c := &chain{scene: s, grid: grid, psf: psf, pool: pool, nTheta: nTheta, baseOf: -1}
	c.px, c.py = [][]float64{grid.X}, [][]float64{grid.Y}
	for range s.lensPlanes() + s.sourcePlanes() - 1 {
		c.px, c.py = append(c.px, make([]float64, n)), append(c.py, make([]float64, n))
	}
	c.plane, c.model = make([]float64, grid.PlaneLen()), make([]float64, box)
	for _, l := range s.lenses {
		if l.fixed && c.baseX == nil && s.multi == nil {
			c.baseX, c.baseY = make([]float64, n), make([]float64, n)
		}
	}
	for _, l := range s.lights {
		if l.fixed && !l.source && c.baseI == nil {
			c.baseI = make([]float64, n)
		}
	}
	count := min(maxTiles, (len(grid.Pixel)+minPixels-1)/minPixels)
	c.blockLen = max(blockRays, grid.Most*grid.Most)
	for k := range count {
		t := tile{from: grid.Share(0, len(grid.Pixel), k, count), to: grid.Share(0, len(grid.Pixel), k+1, count)}
		t.ax, t.ay, t.v = make([]float64, c.blockLen), make([]float64, c.blockLen), make([]float64, c.blockLen)
		t.many = newManyPlanes(s, c.blockLen)
		c.tiles = append(c.tiles, t)
	}
	c.rowChunks = (box + rowPixels - 1) / rowPixels
	c.rowChi2, c.rowSky = make([]float64, c.rowChunks), make([]float64, c.rowChunks)
	c.rowDeviance, c.rowPull = make([]float64, c.rowChunks), make([]float64, c.rowChunks)
	c.runForward, c.runReverse, c.runResidual = c.forwardTile, c.reverseTile, c.residualChunk
	c.runBase, c.runSum = c.baseTile, c.sumChunk
	if noise == nil {
		return c
	}
	c.data, c.weight = make([]float64, box), make([]float64, box)
	physics.Crop(grid.Box, c.data, noise.Data, grid.W)
	physics.Crop(grid.Box, c.weight, noise.Weight, grid.W)
	c.gModel, c.gPlane = make([]float64, box), make([]float64, grid.PlaneLen())
	c.gTheta = make([]float64, nTheta)
	c.gimgs, c.gpix = make([][]float64, len(s.lights)), make([][]float64, len(s.lights))
	for i, l := range s.lights {
		if l.nz > 0 {
			c.gimgs[i], c.gpix[i] = make([]float64, l.pixels.PadLen()), make([]float64, len(l.img))
		}
	}
	for k := range c.tiles {
		t := &c.tiles[k]
		t.gx, t.gy = planes(s.sourcePlanes(), len(t.v)), planes(s.sourcePlanes(), len(t.v))
		t.gp, t.galpha = make([]float64, nTheta), make([]float64, nTheta)
		t.gimg = make([][]float64, len(s.lights))
		for i, l := range s.lights {
			if l.nz > 0 {
				t.gimg[i] = make([]float64, l.pixels.PadLen())
			}
		}
	}
	return c
}

// forward computes the model image of the scene as it is set.
func (c *chain) forward() {
	if (c.baseX != nil || c.baseI != nil) && c.baseOf != c.scene.frozen {
		c.pool.Run(len(c.tiles), c.runBase)
		c.baseOf = c.scene.frozen
	}
	c.pool.Run(len(c.tiles), c.runForward)
	c.psf.Blur(c.model, c.plane)
	if c.scene.sky != 0 {
		for i := range c.model {
			c.model[i] += c.scene.sky
		}
	}
}

// reverse carries gModel, the derivative by the model, which misfit(true) leaves, back to θ and writes it to gTheta. Entries
// of fixed parameters are left zero unless all is set.
func (c *chain) reverse(all bool) error {
	c.all = all
	c.psf.BlurAdj(c.gPlane, c.gModel)
	c.pool.Run(len(c.tiles), c.runReverse)
	clear(c.gTheta)
	for k := range c.tiles {
		t := &c.tiles[k]
		for i, g := range t.gp {
			c.gTheta[i] += g - t.galpha[i] // β = θ − α
		}
	}
	if c.scene.skyAt >= 0 {
		s := 0.0
		for _, v := range c.rowSky {
			s += v
		}
		c.gTheta[c.scene.skyAt] = s
	}
	for i := range c.scene.lights {
		if l := &c.scene.lights[i]; c.wantsImage(l) && !c.skips(l) {
			c.summed = i
			c.pool.RunLast(sumChunks, c.runSum)
		}
	}
	for i := range c.scene.lights {
		l := &c.scene.lights[i]
		if !c.wantsImage(l) || c.skips(l) {
			continue
		}
		if err := c.reverseImage(i); err != nil {
			return err
		}
	}
	return nil
}

// reverseImage takes the gradient by the padded image of light i to its latents.
func (c *chain) reverseImage(i int) error {
	l := &c.scene.lights[i]
	clear(c.gpix[i])
	l.pixels.Unpad(c.gpix[i], c.gimgs[i])
	if !allFinite(c.gpix[i]) {
		return rejected("%s: the gradient by the source image is not finite", l.name)
	}
	return l.dec.reverse(c.gTheta[l.zFirst:l.zFirst+l.nz], c.gpix[i])
}

// skips tells whether a light is left to the inversion.
func (c *chain) skips(l *lightUnit) bool { return c.inv != nil && l.solved() }

// wantsImage tells whether reverse is to give the gradient by the light's image.
func (c *chain) wantsImage(l *lightUnit) bool { return l.nz > 0 && (c.all || !l.zFixed) }

// sumChunk adds up a stretch of the tiles' adjoints of an image, and clears it for the next pass while it is in the cache.
func (c *chain) sumChunk(k int) {
	sum := c.gimgs[c.summed]
	from, to := len(sum)*k/sumChunks, len(sum)*(k+1)/sumChunks
	sum = sum[from:to]
	for t := range c.tiles {
		g := c.tiles[t].gimg[c.summed][from:to]
		if t == 0 {
			copy(sum, g)
		} else {
			for j, v := range g {
				sum[j] += v
			}
		}
		clear(g)
	}
}

// rays are those of the pixels from ≤ k < to.
func (c *chain) rays(v []float64, from, to int) []float64 { return c.grid.Rays(v, from, to) }

// block is where the block ends that begins with pixel from, before `to` at the latest.
func (c *chain) block(from, to int) int { return c.grid.Reach(from, to, c.blockLen) }

// seen is where the rays of the pixels from ≤ k < to meet the light l.
func (c *chain) seen(l *lightUnit, from, to int) (x, y []float64) {
	at := 0
	if l.source {
		at = c.scene.lensPlanes() + l.plane
	}
	return c.rays(c.px[at], from, to), c.rays(c.py[at], from, to)
}

func (c *chain) baseTile(k int) {
	t := &c.tiles[k]
	x, y := c.rays(c.grid.X, t.from, t.to), c.rays(c.grid.Y, t.from, t.to)
	if c.baseX != nil {
		bx, by := c.rays(c.baseX, t.from, t.to), c.rays(c.baseY, t.from, t.to)
		clear(bx)
		clear(by)
		for i := range c.scene.lenses {
			if l := &c.scene.lenses[i]; l.fixed {
				l.lens.Deflect(bx, by, x, y)
			}
		}
	}
	if c.baseI != nil {
		v := c.rays(c.baseI, t.from, t.to)
		clear(v)
		for i := range c.scene.lights {
			if l := &c.scene.lights[i]; l.fixed && !l.source && !c.skips(l) {
				l.light.Brightness(v, x, y)
			}
		}
	}
}

func (c *chain) forwardTile(k int) {
	t := &c.tiles[k]
	for from, to := t.from, 0; from < t.to; from = to {
		to = c.block(from, t.to)
		x, y := c.rays(c.grid.X, from, to), c.rays(c.grid.Y, from, to)
		v := t.v[:len(x)]
		if t.many != nil {
			t.many.shoot(c, from, to)
		} else {
			c.shoot(t, x, y, from, to)
		}
		if c.baseI != nil {
			copy(v, c.rays(c.baseI, from, to))
		} else {
			clear(v)
		}
		for i := range c.scene.lights {
			if l := &c.scene.lights[i]; (l.source || !l.fixed) && !c.skips(l) {
				px, py := c.seen(l, from, to)
				l.light.Brightness(v, px, py)
			}
		}
		c.grid.Bin(c.plane, v, from, to, 0)
	}
}

// shoot takes the rays at (x, y), those of the pixels from ≤ k < to, through a single plane of lenses.
func (c *chain) shoot(t *tile, x, y []float64, from, to int) {
	ax, ay := t.ax[:len(x)], t.ay[:len(x)]
	if c.baseX != nil {
		copy(ax, c.rays(c.baseX, from, to))
		copy(ay, c.rays(c.baseY, from, to))
	} else {
		clear(ax)
		clear(ay)
	}
	for i := range c.scene.lenses {
		if l := &c.scene.lenses[i]; !l.fixed {
			l.lens.Deflect(ax, ay, x, y)
		}
	}
	physics.SourcePlane(c.rays(c.px[1], from, to), c.rays(c.py[1], from, to), x, y, ax, ay)
}

func (c *chain) reverseTile(k int) {
	t := &c.tiles[k]
	s := c.scene
	clear(t.gp)
	clear(t.galpha)
	lensing := false
	for i := range s.lenses {
		l := &s.lenses[i]
		free := c.all || !l.fixed
		lensing = lensing || free
		if t.many != nil {
			t.many.gp[i] = nil
			if free {
				t.many.gp[i] = t.gp[l.first : l.first+l.n]
			}
		}
	}
	for from, to := t.from, 0; from < t.to; from = to {
		to = c.block(from, t.to)
		x, y := c.rays(c.grid.X, from, to), c.rays(c.grid.Y, from, to)
		n := len(x)
		g := t.v[:n]
		c.grid.Unbin(g, c.gPlane, from, to)
		for k := range t.gx {
			clear(t.gx[k][:n])
			clear(t.gy[k][:n])
		}
		for i := range s.lights {
			l := &s.lights[i]
			px, py := c.seen(l, from, to)
			var hx, hy []float64
			if l.source {
				hx, hy = t.gx[l.plane][:n], t.gy[l.plane][:n]
			}
			if l.fixed && !c.all && !(l.source && lensing) || c.skips(l) {
				continue
			}
			gp := t.gp[l.first : l.first+l.n]
			if c.wantsImage(l) {
				l.pixels.BrightnessVJPImage(gp, t.gimg[i], hx, hy, g, px, py)
			} else {
				l.light.BrightnessVJP(gp, hx, hy, g, px, py)
			}
		}
		if c.inv != nil {
			c.inv.reverse(k, lensing, from, to)
		}
		if !lensing {
			continue
		}
		if t.many != nil {
			t.many.reverse(c, t.gx, t.gy, from, to)
			continue
		}
		for i := range s.lenses {
			if l := &s.lenses[i]; c.all || !l.fixed {
				l.lens.DeflectVJP(t.galpha[l.first:l.first+l.n], nil, nil, t.gx[0][:n], t.gy[0][:n], x, y)
			}
		}
	}
}

// whole spreads a plane of the box over the whole image, with zeros elsewhere.
func whole(g *physics.Grid, plane []float64) []float64 {
	out := make([]float64, g.W*g.H)
	for j := range g.Box.H {
		copy(out[(g.Box.Y0+j)*g.W+g.Box.X0:], plane[j*g.Box.W:(j+1)*g.Box.W])
	}
	return out
}

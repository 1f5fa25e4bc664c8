package tools

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"

	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/samplers"
)

// Settings of the free source.
const (
	freeSide   = 72   // pixels of the image along a side
	freeNodes  = 21   // of the source along a side
	freeReach  = 1    // arcsec from the source's centre to the outermost nodes
	freeRays   = 2    // along a pixel's side
	freeError  = 0.1  // of the light above the lens's, added to the noise: nodes and rays are as coarse
	freeLight  = 0.1  // of the lens's light, by which each of its Gaussians may be off
	freeRadius = 0.15 // of an Einstein radius, up to which others are tried on both sides,
	freeTried  = 5    // so many
	otherBasin = 0.1  // of the logarithm of an Einstein radius, from which two lenses are not variants of one
	freeSteps  = 40   // Nelder-Mead evaluations from each lens found with simple sources,
	freePlain  = 120  // from each plain one,
	freeLast   = 120  // and once more from the best,
	freeBest   = 2    // so many
	plainApart = 0.15 // arcsec between the deflections of two plain lenses that count as one
)

// freeSource is a source of free pixels below a lens: with the errors of the Gaussians that make the lens's light they
// are what an image is linear in, so that for any lens the best are solved for, and what speaks for the lens is the
// evidence, an integral over them (Warren & Dye 2003; Suyu et al. 2006). Any shape of source can be told from errors of the
// lens so, which no simple profile can; a source is held to be smooth by its Laplacian and dark outside its frame.
type freeSource struct {
	x0, y0, w, h int       // box of image pixels that is drawn, in the image's
	rayX, rayY   []float64 // of these, freeRays² each
	taps         []freeTap
	pixel        []int // of the box, that are used
	d, weight    []float64
	light        [][]float64   // Gaussians at the used pixels, times weight and standard deviation
	gramLight    *mat.SymDense // their products and prior
	rhsLight     []float64     // their products with the data
	chi2         float64       // without source
}

// freeTap is a weight of the PSF.
type freeTap struct {
	dx, dy int
	w      float64
}

// newFreeSource prepares an observation. arcs, unless nil, is what of its light is not the lens's as far as is known, which is
// left out where the lens's light is measured. weight, unless nil, is that of another of the same observation: evidences are
// compared at the same noise only.
func newFreeSource(full *observation, arcs, weight []float64) (*freeSource, error) {
	w, h := full.extent()
	k := max(1, int(math.Round(float64(min(w, h))/freeSide)))
	o, dark := full.coarsen(k), full
	if arcs != nil {
		dark = full.without(arcs)
	}
	// whole blocks may have another centre than the image
	shiftX, shiftY := -0.5*float64((full.W-o.W*k)%2)*full.Scale, -0.5*float64((full.H-o.H*k)%2)*full.Scale
	x0, y0 := full.brightCentre()
	light, smooth, err := dark.coarsen(k).smoothLight(x0-shiftX, y0-shiftY)
	if err != nil {
		return nil, err
	}
	noise, err := physics.NewNoise(o.Data, o.Sigma, o.Mask)
	if err != nil {
		return nil, err
	}
	f := &freeSource{taps: freeTaps(o)}
	margin := 0
	for _, t := range f.taps {
		margin = max(margin, t.dx, t.dy)
	}
	x1, y1 := 0, 0
	f.x0, f.y0 = o.W, o.H
	for k, used := range noise.Used {
		if used {
			f.x0, f.y0 = min(f.x0, k%o.W), min(f.y0, k/o.W)
			x1, y1 = max(x1, k%o.W), max(y1, k/o.W)
		}
	}
	f.x0, f.y0 = f.x0-margin, f.y0-margin
	f.w, f.h = x1+margin-f.x0+1, y1+margin-f.y0+1
	var px, py, level []float64
	for j := range f.h {
		for i := range f.w {
			x, y := o.place(f.x0+i, f.y0+j)
			x, y = x+shiftX, y+shiftY
			for r := range freeRays * freeRays {
				f.rayX = append(f.rayX, x+((float64(r%freeRays)+0.5)/freeRays-0.5)*o.Scale)
				f.rayY = append(f.rayY, y+((float64(r/freeRays)+0.5)/freeRays-0.5)*o.Scale)
			}
			k := (f.y0+j)*o.W + f.x0 + i
			if i < margin || j < margin || i >= f.w-margin || j >= f.h-margin || !noise.Used[k] {
				continue
			}
			w := 1 / math.Hypot(math.Hypot(1/noise.Weight[k], lightError*smooth[k]), freeError*math.Max(0, noise.Data[k]-smooth[k]))
			if weight != nil {
				w = weight[len(f.weight)]
			}
			f.pixel, f.weight = append(f.pixel, j*f.w+i), append(f.weight, w)
			f.d = append(f.d, (noise.Data[k]-smooth[k])*w)
			px, py, level = append(px, x-x0), append(py, y-y0), append(level, smooth[k])
		}
	}
	for _, d := range f.d {
		f.chi2 += d * d
	}
	f.light = light.columns(light.shape[:], px, py)
	for k, col := range f.light {
		sd := 0.3 * percentile(o.sigmas(), 0.5) // of the sky
		if k < len(light.amp)-1 {
			// the light where the Gaussian has fallen to its standard deviation
			sum, n := 0.0, 0.0
			for i, v := range level {
				if c := col[i]; c > 0.5 && c < 0.7 {
					sum, n = sum+v, n+1
				}
			}
			sd = freeLight * (light.amp[k] + sum/math.Max(1, n))
		}
		for i := range col {
			col[i] *= sd * f.weight[i]
		}
	}
	n := len(f.light)
	m := mat.NewDense(n, len(f.d), nil)
	for k, col := range f.light {
		m.SetRow(k, col)
	}
	f.gramLight = mat.NewSymDense(n, nil)
	f.gramLight.SymOuterK(1, m)
	f.rhsLight = make([]float64, n)
	for k, col := range f.light {
		f.gramLight.SetSym(k, k, f.gramLight.At(k, k)+1)
		for i, v := range col {
			f.rhsLight[k] += v * f.d[i]
		}
	}
	return f, nil
}

// freeTaps are the weights of a Gaussian as wide as the PSF.
func freeTaps(o *observation) []freeTap {
	sigma := gaussianPSF(o.PSF).Gaussian / o.Scale
	r := int(math.Ceil(2.5 * sigma))
	var out []freeTap
	sum := 0.0
	for j := -r; j <= r; j++ {
		for i := -r; i <= r; i++ {
			w := 1.0
			if sigma > 0 {
				w = math.Exp(-0.5 * float64(i*i+j*j) / (sigma * sigma))
			}
			if w > 0.01 {
				out = append(out, freeTap{i, j, w})
				sum += w
			}
		}
	}
	for k := range out {
		out[k].w /= sum
	}
	return out
}

// laplacianSquared is the product of the five-point Laplacian of n x n nodes, dark all around, with itself.
func laplacianSquared(n int) *mat.SymDense {
	l := mat.NewSymDense(n*n, nil)
	for j := range n {
		for i := range n {
			k := j*n + i
			l.SetSym(k, k, 4)
			if i+1 < n {
				l.SetSym(k, k+1, -1)
			}
			if j+1 < n {
				l.SetSym(k, k+n, -1)
			}
		}
	}
	out := mat.NewSymDense(n*n, nil)
	out.SymOuterK(1, l)
	return out
}

// freePrior is the prior of the source's pixels, times a strength, and its log determinant.
var freePrior = sync.OnceValues(func() (smooth *mat.SymDense, logDet float64) {
	smooth = laplacianSquared(freeNodes)
	var chol mat.Cholesky
	chol.Factorize(smooth)
	return smooth, chol.LogDet()
})

// evidence is its logarithm, but for a constant, for a lens and a source around (cx, cy) whose second differences have the
// standard deviation exp(-½ logStrength). brightest is where the best source of these is.
func (f *freeSource) evidence(lens lensSum, cx, cy, logStrength float64) (logProb float64, brightest point) {
	const n = freeNodes * freeNodes
	bx, by := lens.source(f.rayX, f.rayY)
	step := 2 * freeReach / float64(freeNodes-1)
	// a ray's light is shared between the four nodes around it
	const rays = freeRays * freeRays
	node := make([]int32, len(bx))
	share := make([][4]float32, len(bx))
	for r := range bx {
		u, v := (bx[r]-cx+freeReach)/step, (by[r]-cy+freeReach)/step
		node[r] = -1
		if !(u >= 0 && v >= 0 && u < freeNodes-1 && v < freeNodes-1) {
			continue
		}
		i, j := int(u), int(v)
		p, q := u-float64(i), v-float64(j)
		node[r] = int32(j*freeNodes + i)
		share[r] = [4]float32{float32((1 - p) * (1 - q) / rays), float32(p * (1 - q) / rays), float32((1 - p) * q / rays), float32(p * q / rays)}
	}
	total := n + len(f.light)
	gram := make([]float64, total*total) // upper triangle
	rhs := make([]float64, total)
	copy(rhs[n:], f.rhsLight)
	row := make([]float64, n)
	of := make([]int, n) // 1 + the pixel whose row has the node
	seen := make([]int, 0, n)
	for k, p := range f.pixel {
		seen = seen[:0]
		for _, t := range f.taps {
			from := p + t.dy*f.w + t.dx
			for r := from * rays; r < (from+1)*rays; r++ {
				if node[r] < 0 {
					continue
				}
				for c, d := range [4]int{0, 1, freeNodes, freeNodes + 1} {
					at := int(node[r]) + d
					if of[at] != k+1 {
						of[at], row[at] = k+1, 0
						seen = append(seen, at)
					}
					row[at] += t.w * float64(share[r][c])
				}
			}
		}
		slices.Sort(seen)
		w := f.weight[k]
		for a, i := range seen {
			v := row[i] * w
			rhs[i] += v * f.d[k]
			line, vw := gram[i*total:(i+1)*total], v*w
			for _, j := range seen[a:] {
				line[j] += vw * row[j]
			}
			for c := range f.light {
				line[n+c] += v * f.light[c][k]
			}
		}
	}
	strength := math.Exp(logStrength)
	smooth, logDet := freePrior()
	for i := range n {
		for j := i; j < min(n, i+2*freeNodes+1); j++ {
			gram[i*total+j] += strength * smooth.At(i, j)
		}
	}
	for c := range f.light {
		for e := c; e < len(f.light); e++ {
			gram[(n+c)*total+n+e] = f.gramLight.At(c, e)
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(mat.NewSymDense(total, gram)) {
		return math.Inf(-1), point{cx, cy}
	}
	b, x := mat.NewVecDense(total, rhs), mat.NewVecDense(total, nil)
	if chol.SolveVecTo(x, b) != nil {
		return math.Inf(-1), point{cx, cy}
	}
	top := floats.MaxIdx(x.RawVector().Data[:n])
	brightest = point{cx - freeReach + step*float64(top%freeNodes), cy - freeReach + step*float64(top/freeNodes)}
	misfit := f.chi2 - mat.Dot(b, x)
	if pixels := float64(len(f.d)); misfit > pixels {
		misfit = pixels * (1 + math.Log(misfit/pixels)) // a bad fit must not drown the priors
	}
	return 0.5 * (logDet + n*logStrength - chol.LogDet() - misfit), brightest
}

// freed takes lenses found with simple sources, and those found with the light of the lens as well, to those of the best
// evidence with a free source, and returns those that differ, best first. The former's light is what is smooth in the image,
// which may have an arc in it; the latter's is measured again without the arcs of their simple sources, which may be wrong.
// The lens may be wrong too, bent until a source that is not simple fits: the same radii are also gone on from with a plain
// lens.
func (s *search) freed(ctx context.Context, simple *config, o *observation, found, joined []basin) ([]basin, error) {
	post, err := s.posterior(simple, o, s.run.Threads)
	if err != nil {
		return nil, err
	}
	defer post.Close()
	smooth, err := newFreeSource(o, nil, nil)
	if err != nil {
		return nil, err
	}
	type start struct {
		basin
		source *freeSource
		steps  int
	}
	var all, plain []start
	add := func(b basin, f *freeSource) error {
		all = append(all, start{b, f, freeSteps})
		b, err := s.plain(post, f, b)
		if err != nil {
			return err
		}
		for _, other := range plain {
			if d, err := s.apart(other.theta, b.theta); d < plainApart || err != nil {
				return err
			}
		}
		plain = append(plain, start{b, f, freePlain})
		return nil
	}
	for _, b := range joined {
		img, err := post.Images(laidOut(post, b.theta))
		if err != nil {
			return nil, err
		}
		arcs := img.Model.Pix
		for k, v := range img.LensLight.Pix {
			arcs[k] -= v + b.theta["sky"]
		}
		below, err := newFreeSource(o, arcs, smooth.weight)
		if err != nil {
			return nil, err
		}
		if err := add(b, below); err != nil {
			return nil, err
		}
	}
	for _, b := range found {
		if err := add(b, smooth); err != nil {
			return nil, err
		}
	}
	all = append(all, plain...)
	s.group("lens with a free source", len(all)+freeBest)
	done := 0
	climb := func(i, steps int, key string) error {
		b := &all[i]
		s.mu.Lock()
		end := s.saved.Done[key]
		s.mu.Unlock()
		if end == nil {
			var err error
			if end, err = s.freeLens(ctx, b.source, post, b.theta, steps); err != nil {
				return err
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.saved.Done[key] = end
		b.theta, b.logProb = maps.Clone(b.theta), end.LogProb
		for name, v := range namedTheta(post, end.U) {
			if strings.HasPrefix(name, "lens.") {
				b.theta[name] = v
			}
		}
		done++
		s.report(searchState{Step: done, LogPosterior: end.LogProb})
		return s.save()
	}
	which := make([]int, len(all))
	for i := range which {
		which[i] = i
	}
	workers := min(s.threads(), len(all))
	if err := sideBySide(ctx, workers, which, func(_, i int) error { return climb(i, all[i].steps, fmt.Sprintf("free %d", i)) }); err != nil {
		return nil, err
	}
	order := func() {
		sort.SliceStable(which, func(a, b int) bool { return all[which[a]].logProb > all[which[b]].logProb })
	}
	order()
	last := which[:min(freeBest, len(which))]
	if err := sideBySide(ctx, workers, last, func(_, i int) error { return climb(i, freeLast, fmt.Sprintf("free %d, last", i)) }); err != nil {
		return nil, err
	}
	order()
	ends := make([]basin, len(all))
	for k, i := range which {
		ends[k] = all[i].basin
		if ends[k].multiple, err = s.multiplies(all[i].source, ends[k]); err != nil {
			return nil, err
		}
	}
	return s.distinct(ends)
}

// plain is a basin with the lens as its priors have it but for the Einstein radii, and with the first source where the light
// above the lens's comes from then.
func (s *search) plain(post *adjoint.Posterior, f *freeSource, b basin) (basin, error) {
	theta := laidOut(post)
	out := basin{theta: maps.Clone(b.theta)}
	for k, name := range post.Names() {
		if strings.HasPrefix(name, "lens.") && !isEinsteinRadius(name) {
			out.theta[name] = theta[k]
		}
	}
	lens, err := s.p.Config.deflection("", out.theta, nil)
	if err != nil {
		return basin{}, err
	}
	src := s.p.Config.Source[0]
	moved := maps.Clone(out.theta)
	moved[src.key("center_x")], moved[src.key("center_y")] = f.origin(lens)
	if post.U(make([]float64, post.Dim()), laidOut(post, moved)) == nil { // within the priors
		out.theta = moved
	}
	return out, nil
}

// origin is the mean place in the source plane of the light above the lens's, by its signal to noise.
func (f *freeSource) origin(lens lensSum) (x, y float64) {
	bx, by := lens.source(f.rayX, f.rayY)
	sum := 0.0
	for k, p := range f.pixel {
		w := math.Max(0, f.d[k]-originSNR)
		sum += w
		x += w * bx[p*freeRays*freeRays]
		y += w * by[p*freeRays*freeRays]
	}
	if sum == 0 {
		return 0, 0
	}
	return x / sum, y / sum
}

// strength is a likely logStrength: second differences of a twentieth of the brightest arc.
func (f *freeSource) strength() float64 {
	arc := 0.0
	for i, d := range f.d {
		arc = math.Max(arc, d/f.weight[i])
	}
	return -2 * math.Log(0.05*arc)
}

// multiplies tells whether the brightest point of the free source below the lens of a basin is seen more than once. Where it
// is not, the source may as well be light that is not lensed: a lens that asks little of its source has much evidence.
func (s *search) multiplies(f *freeSource, b basin) (bool, error) {
	lens, err := s.p.Config.deflection("", b.theta, nil)
	if err != nil {
		return false, err
	}
	src := s.p.Config.Source[0]
	_, p := f.evidence(lens, b.theta[src.key("center_x")], b.theta[src.key("center_y")], f.strength())
	w, h := s.p.Obs.extent()
	scale := s.p.Obs.Scale
	images := lens.imagesOf(p.X, p.Y, 0.5*float64(w)*scale, 0.5*float64(h)*scale, scale)
	return slices.ContainsFunc(images, func(i imageOfPoint) bool {
		return math.Hypot(i.X-images[0].X, i.Y-images[0].Y) > imageApart
	}), nil
}

// originSNR is the signal to noise of a pixel from which its light tells where the source is.
const originSNR = 3

// freeLens climbs from the lens of a simple model, whose names those of post are, to that of the best evidence with a free
// source around the simple one.
func (s *search) freeLens(ctx context.Context, f *freeSource, post *adjoint.Posterior, named namedValues, steps int) (*stageEnd, error) {
	s.mu.Lock() // post is shared
	theta := laidOut(post, named)
	s.mu.Unlock()
	u, err := coordinates(post, theta)
	if err != nil {
		return nil, err
	}
	lens := coordinatesOf(post, func(name string) bool { return strings.HasPrefix(name, "lens.") })
	radius := coordinatesOf(post, isEinsteinRadius)
	unit := make([]float64, len(lens))
	for i, k := range lens {
		if unit[i] = 0.6; slices.Contains(radius, k) {
			unit[i] = 0.1
		}
	}
	src := s.p.Config.Source[0]
	cx, cy := named[src.key("center_x")], named[src.key("center_y")]
	at := func(x []float64) *stageEnd {
		end := &stageEnd{U: slices.Clone(u), LogProb: math.Inf(-1)}
		sum := 0.0
		for i, k := range lens {
			end.U[k] = x[i] * unit[i]
			sum += end.U[k] * end.U[k]
		}
		s.mu.Lock()
		named := namedTheta(post, end.U)
		s.saved.Evaluations++
		s.mu.Unlock()
		l, err := s.p.Config.deflection("", named, nil)
		if err == nil && ctx.Err() == nil {
			end.LogProb, _ = f.evidence(l, cx, cy, x[len(lens)])
			end.LogProb -= 0.5 * sum
		}
		return end
	}
	start := make([]float64, len(lens)+1)
	for i, k := range lens {
		start[i] = u[k] / unit[i]
	}
	start[len(lens)] = f.strength()
	best, end := start, at(start)
	for k := range freeTried {
		// others with Einstein radii on both sides
		x, v := slices.Clone(start), slices.Clone(theta)
		for n, name := range post.Names() {
			if post.Free()[n] >= 0 && isEinsteinRadius(name) {
				v[n] *= 1 + freeRadius*(2*float64(k)/(freeTried-1)-1)
			}
		}
		w, err := coordinates(post, v)
		if err != nil {
			continue // beyond the prior
		}
		for i, r := range lens {
			if slices.Contains(radius, r) {
				x[i] = w[r] / unit[i]
			}
		}
		if e := at(x); e.LogProb > end.LogProb {
			best, end = x, e
		}
	}
	res, err := optimize.Minimize(optimize.Problem{Func: func(x []float64) float64 { return -at(x).LogProb }}, best,
		&optimize.Settings{FuncEvaluations: steps}, &optimize.NelderMead{SimplexSize: 0.5})
	if res == nil {
		return nil, err
	}
	return at(res.X), ctx.Err()
}

// between is the best fit with the Einstein radius held halfway between those of the maximum and of the lens found with a
// free source. Both err, and rarely alike: a decoder draws no more detail than it has learnt and leaves the rest to the lens
// and its light, a free source is smooth everywhere. A maximum further away is another basin: then placed, the decoder below
// the lens of the free source, is gone on from with the radius as it is.
func (s *search) between(ctx context.Context, post *adjoint.Posterior, top, placed *stageEnd, seen *lensed) (*stageEnd, error) {
	if math.Abs(math.Log(seen.Radius/seen.Free)) > otherBasin {
		return s.heldRadius(ctx, "between", post, post.MAP(), placed.U)
	}
	theta := make([]float64, len(post.Names()))
	post.Theta(theta, top.U)
	for k, name := range post.Names() {
		if post.Free()[k] >= 0 && isEinsteinRadius(name) {
			theta[k] *= math.Sqrt(seen.Free / seen.Radius)
		}
	}
	u, err := coordinates(post, theta)
	if err != nil {
		return nil, err
	}
	return s.heldRadius(ctx, "between", post, post.MAP(), u)
}

// heldRadius climbs with everything free but the Einstein radius.
func (s *search) heldRadius(ctx context.Context, key string, post *adjoint.Posterior, t samplers.Lagged, from []float64) (*stageEnd, error) {
	return s.lmPart(ctx, key, post, t, func(name string) bool { return !isEinsteinRadius(name) }, from, jointSteps)
}

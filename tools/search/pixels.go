package search

import (
	"errors"
	"math"
	"slices"
	"sync"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"lenskit/internal/stats"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"
	"lenskit/tools/observation"
)

// inversion finds, below any lens, the pixelised source that an image asks for. Its pixels and the errors of the Gaussians that
// make the lens's light are what the image is linear in: the best are solved for, and what speaks for the lens is the evidence,
// an integral over them (Warren & Dye 2003; Suyu et al. 2006). Any shape of source can be told from errors of the lens so, which
// no simple profile can; a source is held to be smooth by its Laplacian and dark outside its frame.
type inversion struct {
	set          *Settings
	x0, y0, w, h int       // box of image pixels that is drawn, in the image's
	rayX, rayY   []float64 // of these, InversionRays² each
	taps         []psfTap
	pixel        []int // of the box, that are used
	d, weight    []float64
	light        [][]float64   // Gaussians at the used pixels, times weight and standard deviation
	gramLight    *mat.SymDense // their products and prior
	rhsLight     []float64     // their products with the data
	chi2         float64       // without source
}

// psfTap is a weight of the PSF.
type psfTap struct {
	dx, dy int
	w      float64
}

// newInversion prepares an observation. arcs, unless nil, is what of its light is not the lens's as far as is known, which is
// left out where the lens's light is measured. weight, unless nil, is that of another of the same observation: evidences are
// compared at the same noise only.
func newInversion(full *observation.Observation, arcs, weight []float64, set *Settings) (*inversion, error) {
	w, h := full.Extent()
	k := max(1, int(math.Round(float64(min(w, h))/float64(set.InversionSide))))
	o, err := full.Coarsen(k)
	if err != nil {
		return nil, err
	}
	dark := o
	if arcs != nil {
		if dark, err = subtracted(full, arcs); err != nil {
			return nil, err
		}
		if dark, err = dark.Coarsen(k); err != nil {
			return nil, err
		}
	}
	// whole blocks may have another centre than the image
	shiftX, shiftY := -0.5*float64((full.W-o.W*k)%2)*full.Scale, -0.5*float64((full.H-o.H*k)%2)*full.Scale
	x0, y0 := full.BrightCentre()
	mge, level, err := dark.FitMGE(x0-shiftX, y0-shiftY, set.LightError)
	if err != nil {
		return nil, err
	}
	noise := o.Noise
	f := &inversion{set: set, taps: psfTaps(o)}
	margin, rays := 0, set.InversionRays
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
	var px, py, below []float64
	for j := range f.h {
		for i := range f.w {
			x, y := o.Place(f.x0+i, f.y0+j)
			x, y = x+shiftX, y+shiftY
			for r := range rays * rays {
				f.rayX = append(f.rayX, x+((float64(r%rays)+0.5)/float64(rays)-0.5)*o.Scale)
				f.rayY = append(f.rayY, y+((float64(r/rays)+0.5)/float64(rays)-0.5)*o.Scale)
			}
			k := (f.y0+j)*o.W + f.x0 + i
			if i < margin || j < margin || i >= f.w-margin || j >= f.h-margin || !noise.Used[k] {
				continue
			}
			w := 1 / math.Hypot(math.Hypot(1/noise.Weight[k], set.LightError*level[k]), set.InversionError*math.Max(0, noise.Data[k]-level[k]))
			if weight != nil {
				w = weight[len(f.weight)]
			}
			f.pixel, f.weight = append(f.pixel, j*f.w+i), append(f.weight, w)
			f.d = append(f.d, (noise.Data[k]-level[k])*w)
			px, py, below = append(px, x-x0), append(py, y-y0), append(below, level[k])
		}
	}
	for _, d := range f.d {
		f.chi2 += d * d
	}
	f.light = mge.Columns(mge.Shape[:], px, py)
	for k, col := range f.light {
		sd := set.SkyError * stats.Percentile(o.Sigmas(), 0.5) // of the sky
		if k < len(mge.Amp)-1 {
			// the light where the Gaussian has fallen to its standard deviation
			sum, n := 0.0, 0.0
			for i, v := range below {
				if c := col[i]; c > 0.5 && c < 0.7 {
					sum, n = sum+v, n+1
				}
			}
			sd = set.MGEError * (mge.Amp[k] + sum/math.Max(1, n))
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

// psfTaps are the weights of a Gaussian as wide as the PSF.
func psfTaps(o *observation.Observation) []psfTap {
	sigma := observation.GaussianPSF(o.PSF).Gaussian / o.Scale
	r := int(math.Ceil(2.5 * sigma))
	var out []psfTap
	sum := 0.0
	for j := -r; j <= r; j++ {
		for i := -r; i <= r; i++ {
			w := 1.0
			if sigma > 0 {
				w = math.Exp(-0.5 * float64(i*i+j*j) / (sigma * sigma))
			}
			if w > 0.01 {
				out = append(out, psfTap{i, j, w})
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

// pixelPrior is the prior of the side x side pixels of a source, times a strength, and its log determinant.
func pixelPrior(side int) (smooth *mat.SymDense, logDet float64) {
	of, _ := pixelPriors.LoadOrStore(side, sync.OnceValues(func() (*mat.SymDense, float64) {
		smooth := laplacianSquared(side)
		var chol mat.Cholesky
		chol.Factorize(smooth)
		return smooth, chol.LogDet()
	}))
	return of.(func() (*mat.SymDense, float64))()
}

// pixelPriors are the functions that compute it once, by the number of pixels.
var pixelPriors sync.Map

// evidence is its logarithm, but for a constant, for a lens and a source around (cx, cy) whose second differences have the
// standard deviation exp(-½ logStrength). brightest is where the best source of these is.
func (f *inversion) evidence(lens lensing.Sum, cx, cy, logStrength float64) (logProb float64, brightest lensing.Point) {
	side, reach := f.set.SourceNodes, f.set.SourceReach
	n := side * side
	bx, by := lens.Source(f.rayX, f.rayY)
	step := 2 * reach / float64(side-1)
	// a ray's light is shared between the four nodes around it
	rays := f.set.InversionRays * f.set.InversionRays
	perPixel := float64(rays)
	node := make([]int32, len(bx))
	share := make([][4]float32, len(bx))
	for r := range bx {
		u, v := (bx[r]-cx+reach)/step, (by[r]-cy+reach)/step
		node[r] = -1
		if !(u >= 0 && v >= 0 && u < float64(side-1) && v < float64(side-1)) {
			continue
		}
		i, j := int(u), int(v)
		p, q := u-float64(i), v-float64(j)
		node[r] = int32(j*side + i)
		share[r] = [4]float32{float32((1 - p) * (1 - q) / perPixel), float32(p * (1 - q) / perPixel), float32((1 - p) * q / perPixel), float32(p * q / perPixel)}
	}
	total := n + len(f.light)
	gram := make([]float64, total*total) // upper triangle
	rhs := make([]float64, total)
	copy(rhs[n:], f.rhsLight)
	row := make([]float64, n)
	of := make([]int, n) // 1 + the pixel whose row has the node
	seen := make([]int, 0, n)
	corners := [4]int{0, 1, side, side + 1}
	for k, p := range f.pixel {
		seen = seen[:0]
		for _, t := range f.taps {
			from := p + t.dy*f.w + t.dx
			for r := from * rays; r < (from+1)*rays; r++ {
				if node[r] < 0 {
					continue
				}
				for c, d := range corners {
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
	smooth, logDet := pixelPrior(side)
	for i := range n {
		for j := i; j < min(n, i+2*side+1); j++ {
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
		return math.Inf(-1), lensing.Point{X: cx, Y: cy}
	}
	b, x := mat.NewVecDense(total, rhs), mat.NewVecDense(total, nil)
	if err := chol.SolveVecTo(x, b); err != nil {
		// the condition hangs on the unit of the image, in which the source is but the lens's light is not
		if c := mat.Condition(0); !errors.As(err, &c) || !term.Finite(float64(c)) {
			return math.Inf(-1), lensing.Point{X: cx, Y: cy}
		}
	}
	top := floats.MaxIdx(x.RawVector().Data[:n])
	brightest = lensing.Point{X: cx - reach + step*float64(top%side), Y: cy - reach + step*float64(top/side)}
	misfit := f.chi2 - mat.Dot(b, x)
	if pixels := float64(len(f.d)); misfit > pixels {
		misfit = pixels * (1 + math.Log(misfit/pixels)) // a bad fit must not drown the priors
	}
	return 0.5 * (logDet + float64(n)*logStrength - chol.LogDet() - misfit), brightest
}

// origin is the mean place in the source plane of the light above the lens's, by its signal to noise.
func (f *inversion) origin(lens lensing.Sum) (x, y float64) {
	bx, by := lens.Source(f.rayX, f.rayY)
	rays := f.set.InversionRays * f.set.InversionRays
	sum := 0.0
	for k, p := range f.pixel {
		w := math.Max(0, f.d[k]-f.set.OriginSNR)
		sum += w
		x += w * bx[p*rays]
		y += w * by[p*rays]
	}
	if sum == 0 {
		return 0, 0
	}
	return x / sum, y / sum
}

// strength is a likely logStrength: second differences of a share of the brightest arc.
func (f *inversion) strength() float64 {
	arc := 0.0
	for i, d := range f.d {
		arc = math.Max(arc, d/f.weight[i])
	}
	return -2 * math.Log(f.set.SourceContrast*arc)
}

package physics

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
)

// quadratic is the quadratic B-spline around zero, by its pieces.
func quadratic(t float64) float64 {
	switch t = math.Abs(t); {
	case t < 0.5:
		return 0.75 - t*t
	case t < 1.5:
		return 0.5 * (1.5 - t) * (1.5 - t)
	}
	return 0
}

func newPixelised(t testing.TB, spec PixelisedSpec) *Pixelised {
	t.Helper()
	l, err := NewPixelised(spec)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var nested = []SplineGrid{{X: 0.1, Y: -0.2, Half: 1, N: 7}, {X: 0.2, Y: 0, Half: 0.4, N: 6}}

func TestSplines(t *testing.T) {
	rng := rand.New(rand.NewPCG(91, 1))
	l := newPixelised(t, PixelisedSpec{Grids: nested})
	s := check.Normals(rng, l.Len())
	l.SetCoefficients(s)
	var x, y []float64
	for range 300 {
		x, y = append(x, 0.1+3*(rng.Float64()-0.5)), append(y, -0.2+3*(rng.Float64()-0.5))
	}
	// knots, the rim of the outermost splines, places that are none
	for _, v := range []float64{0.1, -0.9, 1.1, 1.1 + 1.0/7, -0.9 - 1.0/7, 1e300, math.Inf(1), math.NaN()} {
		x, y = append(x, v), append(y, -0.2)
	}
	got := make([]float64, len(x))
	l.Brightness(got, x, y)
	nx, ny := make([]float64, l.Len()), make([]float64, l.Len())
	for k, g := range nested {
		g.Nodes(nx[l.first[k]:], ny[l.first[k]:])
	}
	for r := range x {
		want := 0.0
		for i, c := range s {
			h := nested[0].Step()
			if i >= l.first[1] {
				h = nested[1].Step()
			}
			if b := quadratic((x[r]-nx[i])/h) * quadratic((y[r]-ny[i])/h); b > 0 {
				want += c * b
			}
		}
		check.Close(t, fmt.Sprintf("brightness at (%g, %g)", x[r], y[r]), got[r], want, 1e-13, 1)
	}

	// slopes, away from knots
	jx, jy := make([]float64, 300), make([]float64, 300)
	l.BrightnessJac([][]float64{make([]float64, 300)}, jx, jy, x[:300], y[:300])
	gx, gy, g := make([]float64, 300), make([]float64, 300), check.Normals(rng, 300)
	l.BrightnessVJP(nil, gx, gy, g, x[:300], y[:300])
	for r := range jx {
		at := func(p []float64) float64 {
			v := []float64{0}
			l.Brightness(v, p[:1], p[1:])
			return v[0]
		}
		p := []float64{x[r], y[r]}
		check.Close(t, "slope along x", jx[r], check.Directional(at, p, []float64{1, 0}, 1e-6), 1e-6, 1)
		check.Close(t, "slope along y", jy[r], check.Directional(at, p, []float64{0, 1}, 1e-6), 1e-6, 1)
		check.Close(t, "adjoint along x", gx[r], g[r]*jx[r], 1e-13, 1)
		check.Close(t, "adjoint along y", gy[r], g[r]*jy[r], 1e-13, 1)
	}

	// equal coefficients are a constant inside
	one := make([]float64, nested[1].Len())
	for i := range one {
		one[i] = 1
	}
	flat := newPixelised(t, PixelisedSpec{Grids: nested[1:]})
	flat.SetCoefficients(one)
	v := make([]float64, 1)
	flat.Brightness(v, []float64{0.31}, []float64{-0.1234})
	check.Close(t, "constant", v[0], 1, 1e-14, 0)
}

// precisionOf is R or H as a dense matrix.
func precisionOf(n int, each func(visit func(i, j int, h, slope float64))) *mat.SymDense {
	m := mat.NewSymDense(n, nil)
	each(func(i, j int, h, _ float64) { m.SetSym(i, j, h) })
	return m
}

func TestMaternField(t *testing.T) {
	for _, alpha := range []int{2, 3} {
		g := SplineGrid{Half: 0.7, N: 6}
		m := newMaternField(g, alpha-1)
		const sigma, length = 1.3, 0.4
		m.set(sigma, length)
		n := g.Len()
		r := precisionOf(n, m.each)

		// (κ² + D)^α by products of dense matrices
		nu := float64(alpha - 1)
		k2, h := 2*nu/(length*length), g.Step()
		d := mat.NewDense(n, n, nil)
		for i := range n {
			for j := range n {
				dx, dy := absInt(i%g.N-j%g.N), absInt(i/g.N-j/g.N)
				switch {
				case i == j:
					d.Set(i, j, k2+4/(h*h))
				case dx+dy == 1:
					d.Set(i, j, -1/(h*h))
				}
			}
		}
		var want mat.Dense
		want.Pow(d, alpha)
		want.Scale(h*h/(4*math.Pi*nu*sigma*sigma*math.Pow(k2, nu)), &want)
		var chol mat.Cholesky
		if !chol.Factorize(r) {
			t.Fatal("not positive definite")
		}
		for i := range n {
			for j := range n {
				check.Close(t, "precision", r.At(i, j), want.At(i, j), 1e-12, want.At(0, 0))
			}
		}
		check.Close(t, "ln|R|", m.logDet, chol.LogDet(), 1e-12, 1)
		inverse := mat.NewSymDense(n, nil)
		if err := chol.InverseTo(inverse); err != nil {
			t.Fatal(err)
		}
		cov := make([]float64, n*n)
		m.covariance(cov, n)
		for i := range cov {
			check.Close(t, "covariance", cov[i], inverse.At(i/n, i%n), 1e-10, sigma*sigma)
		}
		logDet := func(p []float64) float64 { m.set(p[0], math.Exp(p[1])); return m.logDet }
		slope := m.logDetL
		check.Close(t, "d ln|R|/d ln length", slope, check.Directional(logDet, []float64{sigma, math.Log(length)}, []float64{0, 1}, 1e-3), 1e-8, 1)
	}
}

// In the middle of a wide, fine grid the field has the variance σ² and Matérn's correlation, whose values at r/length = ½, 1
// and 2 are those of scipy.special.kv.
func TestMaternCorrelation(t *testing.T) {
	for alpha, want := range map[int][3]float64{2: {0.731914, 0.444343, 0.139667}, 3: {0.812419, 0.507520, 0.139211}} {
		const middle = 60
		g := SplineGrid{Half: 1.2, N: 2 * middle}
		m := newMaternField(g, alpha-1)
		m.set(2, 0.2) // ten steps
		q := m.sines()
		apart := func(steps int) float64 { // the covariance of the middle and a coefficient beside it
			s := 0.0
			for a := range g.N {
				for b := range g.N {
					s += q[(middle+steps)*g.N+a] * q[middle*g.N+a] * q[middle*g.N+b] * q[middle*g.N+b] / m.eigenvalue(a, b)
				}
			}
			return s
		}
		check.Close(t, "variance", apart(0), 4, 0.02, 0)
		for k, steps := range []int{5, 10, 20} {
			check.Close(t, fmt.Sprintf("ν = %d, correlation at %d steps", alpha-1, steps), apart(steps)/apart(0), want[k], 0.02, 0)
		}
	}
}

func TestPixelisedPrior(t *testing.T) {
	hill := func() *Pixels {
		p, err := NewPixels("bicubic", 9, 8)
		if err != nil {
			t.Fatal(err)
		}
		pix := make([]float64, 72)
		for i := range pix {
			x, y := float64(i%9)-4.2, float64(i/9)-3.1
			pix[i] = math.Exp(-0.1*(x*x+y*y)) - 0.02
		}
		p.SetImage(pix)
		return p
	}
	for name, c := range map[string]struct {
		spec PixelisedSpec
		p    []float64
	}{
		"none":   {PixelisedSpec{Grids: nested}, []float64{1.2, 0.3, 0.7, 0.2}},
		"smooth": {PixelisedSpec{Grids: nested, Smoothness: 2}, []float64{1.2, 0.3, 0.7, 0.2}},
		"three": {PixelisedSpec{Grids: nested, Components: 3, Floor: 0.03}, []float64{1.2, 0.3, 0.7, 0.2,
			0.1, 0, 0.2, 3, -0.2, 0.1, 0.3, 2, 0.5, 0.2, -0.3, 0.15, 4, 1.5}},
		"image": {PixelisedSpec{Grids: nested, Image: hill()}, []float64{1.2, 0.3, 0.7, 0.2, 1.5, 0.1, -0.05}},
	} {
		rng := rand.New(rand.NewPCG(92, uint64(len(name))))
		l := newPixelised(t, c.spec)
		n := l.Len()
		set := func(p []float64) {
			if err := l.Set(p); err != nil {
				t.Fatal(err)
			}
			if err := l.Prepare(); err != nil {
				t.Fatal(err)
			}
		}
		set(c.p)
		h := precisionOf(n, l.eachPrecision)
		var chol mat.Cholesky
		if !chol.Factorize(h) {
			t.Fatalf("%s: not positive definite", name)
		}
		check.Close(t, name+": ln|H|", l.LogDet(), chol.LogDet(), 1e-12, 1)
		s := check.Normals(rng, n)
		hs, want := make([]float64, n), mat.NewVecDense(n, nil)
		l.Precision(hs, s)
		want.MulVec(h, mat.NewVecDense(n, s))
		for i := range hs {
			check.Close(t, name+": H s", hs[i], want.AtVec(i), 1e-12, 1)
		}
		// the adjoint, by parameter and by the envelope's image
		v := make([]float64, n*n)
		for i := range n {
			for j := range i + 1 {
				v[i*n+j] = 0.01 * rng.NormFloat64()
				v[j*n+i] = v[i*n+j]
			}
		}
		const scale = 1.7
		f := func(p []float64) float64 {
			set(p)
			m := precisionOf(n, l.eachPrecision)
			out := 0.5 * l.LogDet()
			for i := range n {
				for j := range n {
					out -= 0.5 * m.At(i, j) * (s[i]*s[j] + scale*v[i*n+j])
				}
			}
			return out
		}
		gp, work := make([]float64, len(c.p)), make([]float64, n)
		var gimg []float64
		if c.spec.Image != nil {
			gimg = make([]float64, c.spec.Image.PadLen())
		}
		set(c.p)
		trace := l.PrecisionVJP(gp, gimg, s, v, n, scale, work)
		sum := 0.0
		for i := range n {
			for j := range n {
				sum += h.At(i, j) * v[i*n+j]
			}
		}
		check.Close(t, name+": trace", trace, sum, 1e-10, 1)
		step := 1e-4
		if c.spec.Image != nil {
			step = 1e-5 // a node may be so near a border of the image's pixels, where the second derivative jumps
		}
		for k := range gp {
			e := make([]float64, len(gp))
			e[k] = 1
			check.Close(t, fmt.Sprintf("%s: %s", name, l.Params()[k].Name), gp[k], check.Directional(f, c.p, e, step), 1e-7, 1)
		}
		if img := c.spec.Image; img != nil {
			pix, grad := make([]float64, 72), make([]float64, 72)
			img.Image(pix)
			img.Unpad(grad, gimg)
			by := func(x []float64) float64 { img.SetImage(x); return f(c.p) }
			dir := check.Normals(rng, 72)
			check.Close(t, name+": image", check.Dot(grad, dir), check.Directional(by, pix, dir, 1e-4), 1e-7, 1)
			img.SetImage(make([]float64, 72))
			if err := l.Prepare(); !errors.Is(err, ErrRange) || strings.Contains(err.Error(), "\n") {
				t.Errorf("an envelope of zeros: found %v, expected an error of range", err)
			}
			img.SetImage(pix)
		}
		// draws have the covariance H⁻¹
		set(c.p)
		const draws = 4000
		d, b := check.Normals(rng, n), make([]float64, n)
		square := 0.0
		for range draws {
			l.Draw(b, rng)
			y := check.Dot(d, b)
			square += y * y / draws
		}
		x := mat.NewVecDense(n, nil)
		if err := chol.SolveVecTo(x, mat.NewVecDense(n, d)); err != nil {
			t.Fatal(err)
		}
		check.Close(t, name+": variance of draws", square, mat.Dot(x, mat.NewVecDense(n, d)), 5*math.Sqrt(2.0/draws), 0)
	}
}

func TestInversion(t *testing.T) {
	rng := rand.New(rand.NewPCG(93, 1))
	odd := NewImage(3, 5, 1)
	for i := range odd.Pix {
		odd.Pix[i] = 1 + rng.Float64()
	}
	const w, h = 11, 9
	used := make([]bool, w*h)
	sub := make([]int, w*h)
	for i := range used {
		used[i], sub[i] = i%5 != 1 && i%w > 1 && i%w < 9, 2+2*(i%2)
	}
	for name, c := range map[string]struct {
		psf PSFSpec
		sub []int
	}{
		"none":     {PSFSpec{}, []int{1}},
		"kernel":   {PSFSpec{Kernel: odd}, []int{1}},
		"gaussian": {PSFSpec{Gaussian: 0.08}, sub},
		"fine":     {PSFSpec{Kernel: odd, Sampling: 2}, sub},
	} {
		psf, _, err := NewPSF(c.psf, w, h, 0.1, nil)
		if err != nil {
			t.Fatal(err)
		}
		rx, ry := psf.Margin()
		grid, err := NewGrid(w, h, 0.1, used, rx, ry, c.sub)
		if err != nil {
			t.Fatal(err)
		}
		if err := grid.Refine(max(1, c.psf.Sampling)); err != nil {
			t.Fatal(err)
		}
		box := grid.Box
		if psf, _, err = NewPSF(c.psf, box.W, box.H, 0.1, nil); err != nil {
			t.Fatal(err)
		}
		all := make([]float64, w*h)
		for i := range all {
			if used[i] {
				all[i] = 1 + rng.Float64()
			}
		}
		weight := make([]float64, box.W*box.H)
		Crop(box, weight, all, w)
		parts := []SplinePart{{Grid: SplineGrid{Half: 0.5, N: 5}}, {Grid: SplineGrid{X: 0.1, Half: 0.2, N: 4}, First: 25}, {Grid: SplineGrid{Y: 0.1, Half: 0.6, N: 3}, Plane: 1, First: 41}}
		const n = 50
		pool := NewPool(2)
		defer pool.Close()
		v, err := NewInversion(grid, c.psf, weight, parts, pool)
		if err != nil {
			t.Fatal(err)
		}
		rays := len(grid.X)
		px, py := [][]float64{make([]float64, rays), make([]float64, rays)}, [][]float64{make([]float64, rays), make([]float64, rays)}
		for r := range rays {
			for p := range px {
				px[p][r], py[p][r] = 0.9*grid.X[r]+0.02*rng.NormFloat64(), (0.7+0.3*float64(p))*grid.Y[r]+0.02*rng.NormFloat64()
			}
		}
		// L s as lights draw it
		draw := func(s []float64) []float64 {
			ray, plane := make([]float64, rays), make([]float64, grid.PlaneLen())
			for i, p := range parts {
				l := newPixelised(t, PixelisedSpec{Grids: []SplineGrid{p.Grid}})
				end := n
				if i+1 < len(parts) {
					end = parts[i+1].First
				}
				l.SetCoefficients(s[p.First:end])
				l.Brightness(ray, px[p.Plane], py[p.Plane])
			}
			grid.Bin(plane, ray, 0, len(grid.Pixel), 0)
			return plane
		}
		v.Locate(px, py)
		v.Locate(px, py) // leaves nothing behind
		s, plane := check.Normals(rng, n), make([]float64, grid.PlaneLen())
		v.Apply(plane, s)
		for i, want := range draw(s) {
			check.Close(t, name+": L s", plane[i], want, 1e-13, 1)
		}
		g, back := check.Normals(rng, grid.PlaneLen()), make([]float64, n)
		v.ApplyAdj(back, g)
		check.Close(t, name+": dot test", check.Dot(back, s), check.Dot(g, plane), 1e-12, 1)

		// A = B L by columns, F = AᵀC⁻¹A
		columns := func() *mat.Dense {
			a := mat.NewDense(box.W*box.H, n, nil)
			col := make([]float64, box.W*box.H)
			for k := range n {
				e := make([]float64, n)
				e[k] = 1
				psf.Blur(col, draw(e))
				for i, x := range col {
					a.Set(i, k, x*math.Sqrt(weight[i]))
				}
			}
			return a
		}
		a := columns()
		var want mat.Dense
		want.Mul(a.T(), a)
		got := make([]float64, n*n)
		v.Gram(got, n)
		for i := range n {
			for j := range i + 1 {
				check.Close(t, name+": F", got[i*n+j], want.At(i, j), 1e-12, 1)
			}
		}

		// the derivative of bᵀ L s − ½ tr(V LᵀKL) − Σ_g c_gᵀ L m_g by the places of rays along a direction
		cov := mat.NewSymDense(n, nil)
		cov.SymOuterK(1, mat.NewDense(n, n, check.Normals(rng, n*n)))
		flat := make([]float64, n*n)
		for i := range flat {
			flat[i] = cov.At(i/n, i%n)
		}
		adj := &RayAdjoint{Blurred: check.Normals(rng, grid.PlaneLen()), S: s, Covariance: flat,
			Columns: [][]float64{check.Normals(rng, grid.PlaneLen()), check.Normals(rng, grid.PlaneLen())}, Mixed: [][]float64{check.Normals(rng, n), check.Normals(rng, n)}}
		gx, gy := [][]float64{make([]float64, rays), make([]float64, rays)}, [][]float64{make([]float64, rays), make([]float64, rays)}
		work := v.NewWork()
		for _, cut := range [][2]int{{0, 7}, {7, len(grid.Pixel)}} {
			var bx, by [][]float64
			for p := range gx {
				bx, by = append(bx, grid.Rays(gx[p], cut[0], cut[1])), append(by, grid.Rays(gy[p], cut[0], cut[1]))
			}
			v.RayVJP(bx, by, adj, work, cut[0], cut[1])
		}
		if v.before == nil {
			t.Fatal("K is not kept twice")
		}
		v.before = nil // and where there is no room for that
		again := [][]float64{make([]float64, rays), make([]float64, rays)}
		v.RayVJP(again, [][]float64{make([]float64, rays), make([]float64, rays)}, adj, work, 0, len(grid.Pixel))
		for p := range gx {
			for r := range gx[p] {
				if gx[p][r] != again[p][r] {
					t.Fatalf("%s: the derivative by ray %d is %v, without K kept twice %v", name, r, gx[p][r], again[p][r])
				}
			}
		}
		dx, dy := [2][]float64{check.Normals(rng, rays), check.Normals(rng, rays)}, [2][]float64{check.Normals(rng, rays), check.Normals(rng, rays)}
		slope := 0.0
		for p := range gx {
			slope += check.Dot(gx[p], dx[p]) + check.Dot(gy[p], dy[p])
		}
		f := func(step []float64) float64 {
			for p := range px {
				for r := range rays {
					px[p][r] += step[0] * dx[p][r]
					py[p][r] += step[0] * dy[p][r]
				}
			}
			a := columns()
			out := check.Dot(adj.Blurred, draw(s))
			for g, c := range adj.Columns {
				out -= check.Dot(c, draw(adj.Mixed[g]))
			}
			for p := range px {
				for r := range rays {
					px[p][r] -= step[0] * dx[p][r]
					py[p][r] -= step[0] * dy[p][r]
				}
			}
			var f, vf mat.Dense
			f.Mul(a.T(), a)
			vf.Mul(cov, &f)
			return out - 0.5*mat.Trace(&vf)
		}
		check.Close(t, name+": by the places", slope, check.Directional(f, []float64{0}, []float64{1}, 1e-6), 1e-6, 1)
	}
}

func TestInversionRefusesWidePSF(t *testing.T) {
	const side = 200
	k := NewImage(121, 121, 1)
	for i := range k.Pix {
		k.Pix[i] = 1 + float64(i%7)
	}
	grid, err := NewGrid(side, side, 0.1, nil, 0, 0, []int{1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewInversion(grid, PSFSpec{Kernel: k}, make([]float64, side*side), []SplinePart{{Grid: SplineGrid{Half: 1, N: 4}}}, nil)
	if err == nil || !strings.Contains(err.Error(), "121 x 121") || strings.Contains(err.Error(), "\n") {
		t.Errorf("found %v, expected an error that tells the PSF's size", err)
	}
}

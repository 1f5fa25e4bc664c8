package adjoint

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/physics"
)

// smallDecoder makes 16 x 16 images of four latents.
func smallDecoder(t testing.TB) *onnx.Graph { return convDecoder(t, 3, 4, 8, 6, 1) }

// richModel has everything a model can have: two lenses with a fixed parameter, three sources, two lens lights, a sky,
// and each kind of prior.
func richModel(t testing.TB, interpolation string) Model {
	sky := physics.Normal(0, 0.1)
	rng := rand.New(rand.NewPCG(11, 1))
	given := physics.NewImage(6, 5, 1)
	copy(given.Pix, check.Normals(rng, 30))
	sersic := func(amp float64) priors {
		return priors{"amp": physics.LogNormal(math.Log(amp), 0.3), "r_sersic": physics.LogNormal(-0.5, 0.2), "n": physics.Uniform(0.8, 3),
			"e1": physics.Normal(0, 0.2).Bounded(-0.5, 0.5), "e2": physics.Fixed(0.1), "center_x": physics.Normal(0.1, 0.1), "center_y": physics.Normal(0, 0.1)}
	}
	cov := mat.NewSymDense(4, []float64{1, 0.3, 0, 0, 0.3, 2, 0, 0, 0, 0, 1, -0.2, 0, 0, -0.2, 0.5})
	m := paperModel(smallDecoder(t), interpolation)
	m.Components[0].Priors["gamma"] = physics.Fixed(1.9)
	m.Components[2].Priors["z"] = physics.Multivariate([]float64{0.1, -0.2, 0.3, 0}, cov, 2)
	m.Components = append(m.Components,
		Component{Group: GroupSource, Name: "blob", Kind: "sersic", Priors: sersic(0.5)},
		Component{Group: GroupSource, Name: "given", Kind: KindPixels, Pixels: &PixelsSpec{given, interpolation},
			Priors: priors{"iota": physics.Normal(0.3, 0.1), "s": physics.Fixed(2), "x": physics.Normal(0, 0.3), "y": physics.Fixed(0.2)}},
		Component{Group: GroupLensLight, Name: "sersic", Kind: "sersic", Priors: sersic(1)},
		Component{Group: GroupLensLight, Name: "net", Kind: KindDecoder, Decoder: &DecoderSpec{Graph: smallDecoder(t), Interpolation: interpolation},
			Priors: priors{"z": physics.Normal(0, 1).Bounded(-3, 3), "iota": physics.Normal(0.5, 0.2), "s": physics.Uniform(2, 4), "x": physics.Fixed(0), "y": physics.Normal(0, 0.1)}},
		Component{Group: GroupLens, Name: "mass", Kind: "sis", Priors: priors{"theta_E": physics.Fixed(0.1), "center_x": physics.Fixed(1), "center_y": physics.Fixed(-2)}},
		Component{Group: GroupLensLight, Name: "star", Kind: "sersic", Priors: priors{"amp": physics.Fixed(2), "r_sersic": physics.Fixed(0.3), "n": physics.Fixed(1),
			"e1": physics.Fixed(0), "e2": physics.Fixed(0), "center_x": physics.Fixed(-2), "center_y": physics.Fixed(2)}})
	m.Sky = &sky
	return m
}

// richObservation has masked and broken pixels, a noise map, an asymmetric PSF and supersampling.
func richObservation(side, sub int) Observation {
	rng := rand.New(rand.NewPCG(12, 1))
	o := Observation{W: side, H: side + 3, PixelScale: 8 / float64(side), Supersampling: []int{sub}}
	n := o.W * o.H
	o.Data, o.Sigma, o.Mask = check.Normals(rng, n), make([]float64, n), make([]bool, n)
	for i := range o.Data {
		o.Data[i] *= 0.2
		o.Sigma[i] = 0.2 + 0.1*rng.Float64()
		x, y := i%o.W-side/2, i/o.W-side/2
		o.Mask[i] = x*x+y*y < side*side/5
	}
	o.Data[(side/2)*o.W+side/2] = math.NaN()
	o.Sigma[(side/2+1)*o.W+side/2] = 1e8
	k := physics.NewImage(5, 3, 1)
	for i := range k.Pix {
		k.Pix[i] = rng.Float64() / 7.5
	}
	o.PSF.Kernel = k
	return o
}

func TestGradientOfBothViews(t *testing.T) {
	for _, interpolation := range physics.Interpolations() {
		p := open(t, richModel(t, interpolation), richObservation(24, 2), Options{Device: "reference"})
		if n := p.Noise(); n.BadData != 1 || n.BadNoise != 1 {
			t.Errorf("%d bad data, %d bad noise; want one each", n.BadData, n.BadNoise)
		}
		rng := rand.New(rand.NewPCG(13, 1))
		u := check.Normals(rng, p.Dim())
		grad := make([]float64, p.Dim())
		for name, v := range map[string]*View{"MAP": p.MAP(), "sampling": p.Sampling()} {
			lp := mustLogProb(t, v, grad, u)
			if again := mustLogProb(t, v, nil, u); again != lp {
				t.Errorf("%s: %v without the gradient, %v with it", name, again, lp)
			}
			for k := range u { // each coordinate on its own: kinks of bilinear lookup stay rare
				e := make([]float64, p.Dim())
				e[k] = 1
				h := 1e-6
				fd := check.Directional(func(x []float64) float64 { return mustLogProb(t, v, nil, x) }, u, e, h)
				check.Close(t, fmt.Sprintf("%s, %s: coordinate %d", interpolation, name, k), grad[k], fd, 2e-4, 0.05)
			}
		}
	}
}

func TestViewsDifferByTheJacobian(t *testing.T) {
	p := open(t, richModel(t, "bilinear"), richObservation(16, 1), Options{Device: "reference"})
	u := check.Normals(rand.New(rand.NewPCG(14, 1)), p.Dim())
	theta, slope := make([]float64, len(p.Names())), make([]float64, len(p.Names()))
	p.params.push(theta, slope, u)
	logJ := 0.0
	for _, s := range p.params.scalars {
		logJ += math.Log(slope[s.at])
	}
	for _, b := range p.params.blocks {
		logJ += b.prior.logDet
	}
	check.Close(t, "log density", mustLogProb(t, p.Sampling(), nil, u), mustLogProb(t, p.MAP(), nil, u)+logJ, 1e-12, 1)
	e, err := p.Eval(theta, true)
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "named log density", e.LogPosterior(), mustLogProb(t, p.MAP(), nil, u), 1e-12, 1)
	back := make([]float64, p.Dim())
	if err := p.U(back, theta); err != nil {
		t.Fatal(err)
	}
	for i := range u {
		check.Close(t, "coordinate", back[i], u[i], 1e-9, 1)
	}
	// the gradient by name is that of the named density, fixed parameters included
	for _, name := range []string{"lens.sple.gamma", "lens.mass.theta_E", "lens_light.star.amp", "lens_light.net.x", "source.decoder.z.2",
		"source.blob.e2", "source.given.s", "sky", "lens.sple.q", "lens_light.net.z.3", "lens_light.sersic.amp"} {
		k := index(t, p, name)
		f := func(x []float64) float64 {
			e, err := p.Eval(x, false)
			if err != nil {
				t.Fatal(err)
			}
			return e.LogPosterior()
		}
		dir := make([]float64, len(theta))
		dir[k] = 1
		check.Close(t, name, e.Grad[k], check.Directional(f, theta, dir, 1e-6), 2e-4, 0.05)
	}
}

func TestGaussNewtonMatrixIsThatOfTheModelImage(t *testing.T) {
	for _, device := range []string{"reference", "cpu"} {
		if device == "cpu" {
			needRuntime(t)
		}
		p := open(t, richModel(t, "bicubic"), richObservation(20, 2), Options{Device: device})
		d := p.Dim()
		u := check.Normals(rand.New(rand.NewPCG(15, 1)), d)
		hess, grad, plain := mat.NewSymDense(d, nil), make([]float64, d), make([]float64, d)
		lp, err := p.Sampling().LogProbHess(grad, hess, u)
		if err != nil {
			t.Fatal(err)
		}
		if want := mustLogProb(t, p, plain, u); lp != want {
			t.Errorf("log density %v, want %v", lp, want)
		}
		for i := range grad {
			if grad[i] != plain[i] {
				t.Errorf("gradient %d is %v, want %v", i, grad[i], plain[i])
			}
		}
		// columns of d(model/σ)/du by differences, with the decoder in float64
		q := open(t, richModel(t, "bicubic"), richObservation(20, 2), Options{Device: "reference"})
		n := p.obs.W * p.obs.H
		theta := make([]float64, len(p.Names()))
		at := func(x []float64) []float64 {
			img := make([]float64, n)
			q.Theta(theta, x)
			if err := q.ModelImage(img, theta); err != nil {
				t.Fatal(err)
			}
			for i := range img {
				img[i] *= p.noise.Weight[i]
			}
			return img
		}
		cols := make([][]float64, d)
		for k := range cols {
			h := 1e-4
			x := append([]float64(nil), u...)
			step := func(s float64) []float64 { x[k] = u[k] + s*h; return at(x) }
			a, b, a2, b2 := step(1), step(-1), step(2), step(-2)
			cols[k] = make([]float64, n)
			for i := range a {
				cols[k][i] = (8*(a[i]-b[i]) - (a2[i] - b2[i])) / (12 * h)
			}
		}
		compare := func(name string, hess *mat.SymDense, prior func(k int) float64) {
			t.Helper()
			for a := range d {
				for b := range a + 1 {
					want := check.Dot(cols[a], cols[b])
					if a == b {
						want += prior(a)
					}
					scale := math.Sqrt(check.Dot(cols[a], cols[a]) * check.Dot(cols[b], cols[b]))
					if got := hess.At(a, b); math.Abs(got-want) > 2e-5*(scale+1) {
						t.Fatalf("%s, %s: element (%d, %d) is %g, want %g", device, name, a, b, got, want)
					}
				}
			}
		}
		compare("sampling", hess, func(int) float64 { return 1 })
		if _, err := p.MAP().LogProbHess(grad, hess, u); err != nil {
			t.Fatal(err)
		}
		prior := make([]float64, d)
		for i := range prior {
			prior[i] = 1
		}
		slope := make([]float64, len(theta))
		p.params.push(theta, slope, u)
		for _, s := range p.params.scalars {
			prior[s.free] = slope[s.at] * slope[s.at] * s.prior.precision(theta[s.at])
		}
		compare("MAP", hess, func(k int) float64 { return prior[k] })

		// in strips, with the PSF's margins, the sums are the same
		strips, err := newJacobian(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := strips.cut(5); err != nil {
			t.Fatal(err)
		}
		if err := strips.matrix(hess, nil); err != nil {
			t.Fatal(err)
		}
		compare("strips", hess, func(int) float64 { return 0 })
	}
}

func TestGaussNewtonMatrixFromAnotherPoint(t *testing.T) {
	p := open(t, richModel(t, "bicubic"), richObservation(20, 2), Options{Device: "reference"})
	d := p.Dim()
	rng := rand.New(rand.NewPCG(16, 1))
	u, origin := check.Normals(rng, d), check.Normals(rng, d)
	grad, plain := make([]float64, d), make([]float64, d)
	matrix := func(f func(h *mat.SymDense) (float64, error)) *mat.SymDense {
		t.Helper()
		h := mat.NewSymDense(d, nil)
		if _, err := f(h); err != nil {
			t.Fatal(err)
		}
		return h
	}
	from := func(u, origin []float64) *mat.SymDense {
		return matrix(func(h *mat.SymDense) (float64, error) { return p.MAP().LogProbHessFrom(grad, h, u, origin) })
	}
	whole := func(u []float64) *mat.SymDense {
		return matrix(func(h *mat.SymDense) (float64, error) { return p.MAP().LogProbHess(plain, h, u) })
	}
	at := whole(u)
	if !mat.Equal(from(u, u), at) {
		t.Error("from the point itself: another matrix")
	}
	// the latents' Jacobian alone is another's: the lens's columns, and the gradient, stay
	mixed := from(u, origin)
	for i := range grad {
		if grad[i] != plain[i] {
			t.Errorf("gradient %d is %v, want %v", i, grad[i], plain[i])
		}
	}
	differs := false
	for i, n := range p.Names() {
		for j, m := range p.Names() {
			a, b := p.Free()[i], p.Free()[j]
			if a < 0 || b < 0 {
				continue
			}
			latent := strings.Contains(n, ".z.") || strings.Contains(m, ".z.")
			same := mixed.At(a, b) == at.At(a, b)
			if !latent && !same {
				t.Errorf("element (%s, %s) changed", n, m)
			}
			differs = differs || latent && !same
		}
	}
	if !differs {
		t.Error("the Jacobian of the origin was not used")
	}
	// what was computed before does not show
	whole(origin)
	if !mat.Equal(from(u, origin), mixed) {
		t.Error("the matrix depends on what was computed before")
	}
	if !mat.Equal(whole(u), at) {
		t.Error("the whole matrix depends on what was computed before")
	}
}

func TestResultsDoNotDependOnThreads(t *testing.T) {
	needRuntime(t)
	for _, device := range []string{"reference", "cpu"} {
		var lps []float64
		var grads [][]float64
		var hs []*mat.SymDense
		for _, threads := range []int{1, 2, 5} {
			m, o := richModel(t, "bicubic"), richObservation(40, 1)
			p := open(t, m, o, Options{Device: device, Threads: threads})
			u := check.Normals(rand.New(rand.NewPCG(16, 1)), p.Dim())
			grad, hess := make([]float64, p.Dim()), mat.NewSymDense(p.Dim(), nil)
			lp, err := p.LogProbHess(grad, hess, u)
			if err != nil {
				t.Fatal(err)
			}
			lps, grads, hs = append(lps, lp), append(grads, grad), append(hs, hess)
		}
		for k := 1; k < len(lps); k++ {
			if device == "cpu" { // onnxruntime's sums may depend on its threads
				check.Close(t, "log density", lps[k], lps[0], 1e-6, 1)
				continue
			}
			if lps[k] != lps[0] {
				t.Errorf("log density %v, with one thread %v", lps[k], lps[0])
			}
			for i := range grads[k] {
				if grads[k][i] != grads[0][i] {
					t.Errorf("gradient %d: %v, with one thread %v", i, grads[k][i], grads[0][i])
				}
			}
			if !mat.Equal(hs[k], hs[0]) {
				t.Error("the Gauss-Newton matrix depends on the number of threads")
			}
		}
	}
}

func TestLogProbDoesNotAllocate(t *testing.T) {
	needRuntime(t)
	for _, threads := range []int{1, 2} {
		p := open(t, richModel(t, "bilinear"), richObservation(32, 1), Options{Threads: threads})
		rng := rand.New(rand.NewPCG(17, 1))
		us := [][]float64{check.Normals(rng, p.Dim()), check.Normals(rng, p.Dim())}
		grad := make([]float64, p.Dim())
		k := 0
		for name, v := range map[string]*View{"MAP": p.MAP(), "sampling": p.Sampling()} {
			if n := testing.AllocsPerRun(10, func() { k++; mustLogProb(t, v, grad, us[k%2]) }); n != 0 {
				t.Errorf("%s with %d threads: %v allocations in a step", name, threads, n)
			}
		}
	}
}

func TestClonesAreIndependent(t *testing.T) {
	needRuntime(t)
	p := open(t, richModel(t, "bilinear"), richObservation(20, 1), Options{Threads: 2})
	rng := rand.New(rand.NewPCG(18, 1))
	const n = 4
	us, want, wantGrad := make([][]float64, n), make([]float64, n), make([][]float64, n)
	clones := make([]*Posterior, n)
	one, err := p.Clone(1)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	for i := range us {
		us[i], wantGrad[i] = check.Normals(rng, p.Dim()), make([]float64, p.Dim())
		want[i] = mustLogProb(t, one, wantGrad[i], us[i])
		if clones[i], err = p.Clone(1); err != nil {
			t.Fatal(err)
		}
		defer clones[i].Close()
	}
	if err := p.Close(); err != nil { // clones outlive their original
		t.Fatal(err)
	}
	errs := make(chan error, n)
	for i, c := range clones {
		go func() {
			grad, hess := make([]float64, c.Dim()), mat.NewSymDense(c.Dim(), nil)
			for range 20 {
				lp, err := c.LogProb(grad, us[i])
				if err == nil && lp != want[i] {
					err = fmt.Errorf("clone %d: %v, want %v", i, lp, want[i])
				}
				for k := range grad {
					if err == nil && grad[k] != wantGrad[i][k] {
						err = fmt.Errorf("clone %d: gradient %d is %v, want %v", i, k, grad[k], wantGrad[i][k])
					}
				}
				if err == nil {
					_, err = c.LogProbHess(grad, hess, us[i])
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range clones {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// Chains whose networks run as one, of different lengths and with points that are rejected before a network is asked, get what
// each would get alone: to the bit in its row, and to a float32 in a session of its own.
func TestClonesThatRunTogether(t *testing.T) {
	needRuntime(t)
	p := open(t, richModel(t, "bilinear"), richObservation(20, 1), Options{})
	const n = 2 * batchFrom
	alone, err := p.Clone(1)
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	for _, threads := range []int{1, 2} {
		clones, together, err := p.Clones(n, threads)
		if err != nil || !together {
			t.Fatalf("together %v, error %v", together, err)
		}
		rng := rand.New(rand.NewPCG(19, 1))
		us, lps, grads := make([][][]float64, n), make([][]float64, n), make([][][]float64, n)
		for i, c := range clones {
			defer c.Close()
			for k := range 10 + 2*i {
				u, g := check.Normals(rng, p.Dim()), make([]float64, p.Dim())
				if k%n == i {
					u[len(u)-1] = math.NaN()
				}
				lp, _ := c.LogProb(g, u) // not joined: nobody is waited for
				if k%n != i {
					want, wantGrad := 0.0, make([]float64, p.Dim())
					want = mustLogProb(t, alone, wantGrad, u)
					check.Close(t, "log posterior", lp, want, 1e-5, math.Abs(want))
					for j := range g {
						check.Close(t, "gradient", g[j], wantGrad[j], 1e-4, floats.Norm(wantGrad, 2))
					}
				}
				us[i], lps[i], grads[i] = append(us[i], u), append(lps[i], lp), append(grads[i], g)
			}
		}
		var wg sync.WaitGroup
		for i, c := range clones {
			wg.Add(1)
			go func() {
				defer wg.Done()
				c.Join()
				defer c.Leave()
				g := make([]float64, c.Dim())
				for k, u := range us[i] {
					var of []float64
					if k%5 > 0 {
						of = g
					}
					lp, err := c.LogProb(of, u)
					if math.IsNaN(u[len(u)-1]) {
						if !recoverable(err) {
							t.Errorf("chain %d, point %d: error %v, want a rejection", i, k, err)
						}
						continue
					}
					if lp != lps[i][k] || of != nil && !slices.Equal(g, grads[i][k]) {
						t.Errorf("chain %d, point %d: %v with others, %v alone, or its gradient differs", i, k, lp, lps[i][k])
					}
				}
			}()
		}
		wg.Wait()
	}
}

// recoverable is how samplers tells a rejected point.
func recoverable(err error) bool {
	var r interface{ Recoverable() bool }
	return errors.As(err, &r) && r.Recoverable()
}

func TestHardPoints(t *testing.T) {
	m := paperModel(smallDecoder(t), "bilinear")
	o := flatObservation(rand.New(rand.NewPCG(19, 1)), 16, 0.3)
	p := open(t, m, o, Options{Device: "reference"})
	theta := make([]float64, len(p.Names()))
	u := make([]float64, p.Dim())
	set := func(values map[string]float64) []float64 {
		p.Theta(theta, u)
		for n, v := range values {
			theta[index(t, p, n)] = v
		}
		return theta
	}
	for name, values := range map[string]map[string]float64{
		"round lens":                     {"lens.sple.q": 1, "lens.sple.phi": 0.3},
		"nearly round lens":              {"lens.sple.q": 1 - 1e-12},
		"flat lens":                      {"lens.sple.q": 0.2},
		"no lens":                        {"lens.sple.r_ein": 1e-6},
		"all rays miss the source":       {"source.decoder.x": 1e3},
		"tiny source":                    {"source.decoder.s": 1e-6},
		"huge source":                    {"source.decoder.s": 1e6},
		"dark source":                    {"source.decoder.iota": 0},
		"a ray on a source pixel border": {"lens.sple.r_ein": 1e-9, "source.decoder.s": 10, "source.decoder.x": 0, "source.decoder.y": 0},
		"lens centred on a ray":          {"lens.sple.x": 0.3125, "lens.sple.y": 0.3125},
	} {
		e, err := p.Eval(set(values), true)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !finite(e.LogLikelihood) || !allFinite(e.GradLikelihood) {
			t.Errorf("%s: log likelihood %g, gradient %v", name, e.LogLikelihood, e.GradLikelihood)
		}
	}
	for name, values := range map[string]map[string]float64{
		"axis ratio above 1": {"lens.sple.q": 1.1},
		"no axis ratio":      {"lens.sple.q": 0},
		"negative width":     {"source.decoder.s": -1},
		"nan":                {"lens.shear.gamma1": math.NaN()},
		"infinite latent":    {"source.decoder.z.2": inf},
		"overflow":           {"source.decoder.iota": 1e200},
	} {
		if _, err := p.Eval(set(values), true); err == nil || !recoverable(err) {
			t.Errorf("%s: error %v, want one that can be recovered from", name, err)
		}
	}
	// what was rejected leaves no trace
	a, err := p.Eval(set(nil), true)
	if err != nil {
		t.Fatal(err)
	}
	fresh := open(t, m, o, Options{Device: "reference"})
	b, err := fresh.Eval(set(nil), true)
	if err != nil {
		t.Fatal(err)
	}
	if a.LogLikelihood != b.LogLikelihood {
		t.Errorf("after rejections %v, want %v", a.LogLikelihood, b.LogLikelihood)
	}
	for _, far := range []float64{8, -8, 40, -40} {
		for i := range u {
			u[i] = far
		}
		if _, err := p.MAP().LogProb(make([]float64, p.Dim()), u); err != nil && !recoverable(err) {
			t.Errorf("u = %g: %v", far, err)
		}
	}
	u[0] = math.NaN()
	if _, err := p.LogProb(nil, u); !recoverable(err) {
		t.Errorf("u = NaN: error %v, want one that can be recovered from", err)
	}
}

func TestARayOnABorderTakesTheCellToTheRight(t *testing.T) {
	// without lensing, pixels of 1 arcsec look up a source of 4 pixels of 1 arcsec whose centres they hit
	src := physics.NewImage(4, 4, 1)
	for i := range src.Pix {
		src.Pix[i] = float64((i % 4) * (i % 4))
	}
	m := Model{Components: []Component{{Group: GroupSource, Name: "s", Kind: KindPixels, Pixels: &PixelsSpec{Image: src},
		Priors: priors{"iota": physics.Fixed(1), "s": physics.Fixed(4), "x": physics.Normal(0, 1), "y": physics.Fixed(0)}}}}
	mask := make([]bool, 16)
	mask[5] = true // source pixel (1, 1), of value 1; its right neighbour has 4
	p := open(t, m, Observation{W: 4, H: 4, PixelScale: 1, Data: make([]float64, 16), Sigma: []float64{1}, Mask: mask}, Options{})
	grad := make([]float64, 1)
	mustLogProb(t, p.MAP(), grad, []float64{0})
	// −½ I² with I = 1, ∂I/∂x = −(4−1)
	check.Close(t, "gradient", grad[0], 3, 1e-12, 0)
}

func TestAllZeroImageAndFixedModel(t *testing.T) {
	m := richModel(t, "bilinear")
	for i := range m.Components {
		for name, p := range m.Components[i].Priors {
			if name != "z" {
				s, err := compile(p)
				if err != nil {
					continue // fixed already
				}
				v, _ := s.push(0)
				m.Components[i].Priors[name] = physics.Fixed(v)
			} else {
				m.Components[i].Priors[name] = physics.Fixed(0)
			}
		}
	}
	m.Sky = nil
	o := Observation{W: 12, H: 12, PixelScale: 0.5, Data: make([]float64, 144), Sigma: []float64{1}}
	p := open(t, m, o, Options{Device: "reference"})
	if p.Dim() != 0 {
		t.Fatalf("%d free coordinates, want 0", p.Dim())
	}
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, nil)
	e, err := p.Eval(theta, true)
	if err != nil {
		t.Fatal(err)
	}
	if mustLogProb(t, p.MAP(), nil, nil) != e.LogLikelihood || e.LogPrior != 0 {
		t.Errorf("log density %v with prior %v, want the likelihood %v alone", mustLogProb(t, p.MAP(), nil, nil), e.LogPrior, e.LogLikelihood)
	}
	// moving a fixed lens away and back is noticed
	k := index(t, p, "lens.sple.x")
	theta[k] += 0.3
	moved, err := p.Eval(theta, false)
	if err != nil {
		t.Fatal(err)
	}
	theta[k] -= 0.3
	back, err := p.Eval(theta, false)
	if err != nil {
		t.Fatal(err)
	}
	if moved.LogLikelihood == e.LogLikelihood || back.LogLikelihood != e.LogLikelihood {
		t.Errorf("log likelihood %v, moved %v, moved back %v", e.LogLikelihood, moved.LogLikelihood, back.LogLikelihood)
	}
	if e.Grad[index(t, p, "lens.sple.x")] == 0 {
		t.Error("a fixed parameter has no gradient by name")
	}
}

func TestBadModelsAreErrors(t *testing.T) {
	good := func() (Model, Observation) {
		return paperModel(smallDecoder(t), "bilinear"), flatObservation(rand.New(rand.NewPCG(20, 1)), 12, 0)
	}
	shaped := func(m *Model, in, out []onnx.Dim) {
		g := &onnx.Graph{Name: "g", Opset: map[string]int{"": 18}}
		g.Inputs = []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: in}}
		b := onnx.NewBuilder(g, "n_")
		x := b.Op("Tanh", "z")
		if out != nil {
			var s []int64
			for _, d := range out {
				s = append(s, d.N)
			}
			x = b.Op("Reshape", x, b.Ints(s...))
		}
		b.Output(x)
		if b.Err() != nil {
			t.Fatal(b.Err())
		}
		m.Components[2].Decoder = &DecoderSpec{File: "bad.onnx", Graph: g}
	}
	dims := func(n ...int64) []onnx.Dim {
		var d []onnx.Dim
		for _, v := range n {
			d = append(d, onnx.Dim{N: v})
		}
		return d
	}
	for name, c := range map[string]struct {
		change func(*Model, *Observation)
		want   []string
	}{
		"no prior":            {func(m *Model, o *Observation) { delete(m.Components[0].Priors, "q") }, []string{"lens.sple.q", "no prior"}},
		"prior of nothing":    {func(m *Model, o *Observation) { m.Components[0].Priors["q2"] = wide }, []string{"lens.sple.q2", "expected one of"}},
		"no width":            {func(m *Model, o *Observation) { m.Components[0].Priors["q"] = physics.Normal(1, 0) }, []string{"lens.sple.q", "width"}},
		"multivariate scalar": {func(m *Model, o *Observation) { m.Components[0].Priors["q"] = physics.Multivariate(nil, nil, 1) }, []string{"lens.sple.q"}},
		"unknown lens":        {func(m *Model, o *Observation) { m.Components[0].Kind = "spel" }, []string{"spel", "sple"}},
		"unknown light":       {func(m *Model, o *Observation) { m.Components[2].Kind = "vae" }, []string{"vae"}},
		"unknown group":       {func(m *Model, o *Observation) { m.Components[0].Group = "lenses" }, []string{"lenses"}},
		"twice a name":        {func(m *Model, o *Observation) { m.Components[1].Name = "sple" }, []string{"sple"}},
		"latents": {func(m *Model, o *Observation) {
			m.Components[2].Priors["z"] = physics.Multivariate([]float64{0}, nil, 1)
		}, []string{"source.decoder.z", "1 latents", "4"}},
		"interpolation":     {func(m *Model, o *Observation) { m.Components[2].Decoder.Interpolation = "cubic" }, []string{"cubic", "bicubic"}},
		"no graph":          {func(m *Model, o *Observation) { m.Components[2].Decoder = nil }, []string{"graph"}},
		"input rank 3":      {func(m *Model, o *Observation) { shaped(m, dims(1, 16, 1), nil) }, []string{"bad.onnx", `"z"`, "[1 16 1]", "[N, L]"}},
		"input batch 2":     {func(m *Model, o *Observation) { shaped(m, dims(2, 16), nil) }, []string{"bad.onnx", "[2 16]"}},
		"output not square": {func(m *Model, o *Observation) { shaped(m, dims(1, 15), nil) }, []string{"bad.onnx", "[1 15]", "square"}},
		"output of colours": {func(m *Model, o *Observation) { shaped(m, dims(1, 48), dims(1, 3, 4, 4)) }, []string{"bad.onnx", "[1 3 4 4]"}},
		"data short":        {func(m *Model, o *Observation) { o.Data = o.Data[1:] }, []string{"143", "12 x 12"}},
		"mask short":        {func(m *Model, o *Observation) { o.Mask = make([]bool, 7) }, []string{"7", "144"}},
		"all masked":        {func(m *Model, o *Observation) { o.Mask = make([]bool, 144) }, []string{"all 144 pixels are masked"}},
		"zero noise":        {func(m *Model, o *Observation) { o.Sigma = []float64{0} }, []string{"sigma 0"}},
		"no scale":          {func(m *Model, o *Observation) { o.PixelScale = 0 }, []string{"scale"}},
		"large psf":         {func(m *Model, o *Observation) { o.PSF.Kernel = randomKernel(13, 5) }, []string{"13 x 5", "12 x 12"}},
		"negative threads":  {func(m *Model, o *Observation) {}, []string{"threads"}},
	} {
		m, o := good()
		c.change(&m, &o)
		opt := Options{Device: "reference"}
		if name == "negative threads" {
			opt.Threads = -1
		}
		p, err := New(m, o, opt)
		if err == nil {
			p.Close()
			t.Errorf("%s is accepted", name)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: message %q does not mention %q", name, err, part)
			}
		}
	}
	m, o := good()
	if _, err := New(m, o, Options{Device: "tpu"}); err == nil || !strings.Contains(err.Error(), "tpu") {
		t.Errorf("device tpu: error %v", err)
	}
}

func randomKernel(w, h int) *physics.Image {
	k := physics.NewImage(w, h, 1)
	for i := range k.Pix {
		k.Pix[i] = 1 / float64(w*h)
	}
	return k
}

func TestImagesShowTheModel(t *testing.T) {
	p := open(t, richModel(t, "bilinear"), richObservation(20, 1), Options{Device: "reference"})
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, check.Normals(rand.New(rand.NewPCG(21, 1)), p.Dim()))
	e, err := p.Eval(theta, false)
	if err != nil {
		t.Fatal(err)
	}
	img, err := p.Images(theta)
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "χ² of the residual image", check.Dot(img.Residual.Pix, img.Residual.Pix), e.Chi2, 1e-10, 0)
	part := make([]float64, p.obs.W*p.obs.H)
	if err := p.ModelImage(part, theta); err != nil {
		t.Fatal(err)
	}
	dark := 0
	for i, used := range p.noise.Used {
		if used {
			check.Close(t, "model", part[i], img.Model.Pix[i], 1e-12, 1)
		} else if part[i] == 0 && img.Model.Pix[i] != 0 {
			dark++
		}
	}
	if dark == 0 {
		t.Error("every pixel is computed in spite of the mask")
	}
	if img.Source == nil || img.Source.W != sourceSide {
		t.Errorf("source image %v, want %d pixels a side", img.Source, sourceSide)
	}
	if check.Dot(img.LensLight.Pix, img.LensLight.Pix) == 0 {
		t.Error("no lens light")
	}
	// the decoder's own pixels where it is the only source
	q := open(t, paperModel(smallDecoder(t), ""), flatObservation(rand.New(rand.NewPCG(22, 1)), 16, 0.3), Options{Device: "reference"})
	theta = make([]float64, len(q.Names()))
	q.Theta(theta, make([]float64, q.Dim()))
	theta[index(t, q, "source.decoder.s")] = 4
	theta[index(t, q, "source.decoder.x")] = 0.25
	if img, err = q.Images(theta); err != nil {
		t.Fatal(err)
	}
	if img.Source.W != 16 || img.Source.Scale != 0.25 || img.SourceX != 0.25 {
		t.Errorf("source of %d pixels of %g arcsec at x = %g, want 16 of 0.25 at 0.25", img.Source.W, img.Source.Scale, img.SourceX)
	}
}

func TestNamedSigma(t *testing.T) {
	p := open(t, richModel(t, "bilinear"), richObservation(16, 1), Options{Device: "reference"})
	u := check.Normals(rand.New(rand.NewPCG(23, 1)), p.Dim())
	rng := rand.New(rand.NewPCG(24, 1))
	cov := mat.NewSymDense(p.Dim(), nil)
	cov.SymOuterK(1, mat.NewDense(p.Dim(), p.Dim(), check.Normals(rng, p.Dim()*p.Dim())))
	sigma := make([]float64, len(p.Names()))
	p.NamedSigma(sigma, cov, u)
	// rows of dθ/du by differences
	a, b := make([]float64, len(sigma)), make([]float64, len(sigma))
	jac := mat.NewDense(len(sigma), p.Dim(), nil)
	for k := range u {
		x := append([]float64(nil), u...)
		x[k] += 1e-5
		p.Theta(a, x)
		x[k] -= 2e-5
		p.Theta(b, x)
		for i := range a {
			jac.Set(i, k, (a[i]-b[i])/2e-5)
		}
	}
	var full mat.Dense
	full.Product(jac, cov, jac.T())
	for i, s := range sigma {
		check.Close(t, p.Names()[i], s, math.Sqrt(full.At(i, i)), 1e-6, 1e-9)
	}
}

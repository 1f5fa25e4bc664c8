package adjoint

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
)

// pixelisedModel is an epl with shear before a pixelised source of two nested grids.
func pixelisedModel(spec PixelisedSpec, more ...Component) Model {
	if spec.Grids == nil {
		spec.Grids = []physics.SplineGrid{{X: 0.03, Y: -0.02, Half: 0.9, N: 8}, {X: 0.1, Y: 0.02, Half: 0.35, N: 7}}
	}
	p := priors{}
	for k := range spec.Grids {
		p[fmt.Sprintf("sigma_%d", k+1)] = physics.LogNormal(math.Log(0.5), 0.5)
		p[fmt.Sprintf("length_%d", k+1)] = physics.LogNormal(math.Log(0.3/float64(k+1)), 0.3)
	}
	for k := range spec.Components {
		name := func(s string) string { return fmt.Sprintf("envelope_%s_%d", s, k+1) }
		p[name("x")], p[name("y")] = physics.Normal(0.1-0.3*float64(k), 0.1), physics.Normal(0.1*float64(k), 0.1)
		p[name("radius")], p[name("fall")] = physics.LogNormal(-1.2, 0.3), physics.LogNormal(1, 0.2)
		if k > 0 {
			p[name("weight")] = physics.LogNormal(-0.5, 0.3)
		}
	}
	if spec.Image != nil || spec.Decoder != nil {
		p["envelope_s"], p["envelope_x"], p["envelope_y"] = physics.Normal(1.6, 0.2).Bounded(0.5, 3), physics.Normal(0.05, 0.1), physics.Normal(0, 0.1)
	}
	if spec.Decoder != nil {
		p["z"] = physics.Multivariate(nil, nil, 1)
	}
	m := Model{Components: []Component{
		{Group: GroupLens, Name: "epl", Kind: "epl", Priors: priors{"theta_E": physics.Normal(0.8, 0.1).Bounded(0.3, 2), "gamma": physics.Normal(2, 0.2).Bounded(1.2, 2.8),
			"e1": physics.Normal(0.1, 0.1).Bounded(-0.6, 0.6), "e2": physics.Normal(-0.05, 0.1).Bounded(-0.6, 0.6), "center_x": physics.Normal(0, 0.03), "center_y": physics.Normal(0, 0.03)}},
		{Group: GroupLens, Name: "shear", Kind: "shear", Priors: priors{"gamma1": physics.Normal(0.03, 0.05), "gamma2": physics.Normal(-0.02, 0.05)}},
		{Group: GroupSource, Name: "pixels", Kind: KindPixelised, Pixelised: &spec, Priors: p},
	}}
	m.Components = append(m.Components, more...)
	return m
}

// sersicPriors are of a light; without an amplitude unless amp is given.
func sersicPriors(amp *Prior, r, x float64) priors {
	p := priors{"r_sersic": physics.LogNormal(math.Log(r), 0.2), "n": physics.Uniform(0.8, 3), "e1": physics.Normal(0, 0.2).Bounded(-0.5, 0.5),
		"e2": physics.Normal(0.1, 0.1).Bounded(-0.5, 0.5), "center_x": physics.Normal(x, 0.05), "center_y": physics.Normal(0, 0.05)}
	if amp != nil {
		p["amp"] = *amp
	}
	return p
}

// mgePriors are of an expansion of ten Gaussians whose amplitudes are solved for.
func mgePriors(x float64) priors {
	return priors{"sigma_min": physics.LogNormal(math.Log(0.06), 0.1), "sigma_max": physics.LogNormal(0, 0.1), "e1": physics.Normal(0, 0.2).Bounded(-0.5, 0.5),
		"e2": physics.Normal(0.1, 0.1).Bounded(-0.5, 0.5), "center_x": physics.Normal(x, 0.05), "center_y": physics.Normal(0, 0.05)}
}

// arcsObservation is a Sersic source behind a lens like pixelisedModel's with a Sersic light, with noise: an image in which
// there is something to fit.
func arcsObservation(t testing.TB, side int, change func(o *Observation)) Observation {
	t.Helper()
	fixed := func(v ...float64) (out []Prior) {
		for _, x := range v {
			out = append(out, physics.Fixed(x))
		}
		return out
	}
	put := func(names []string, values []Prior) priors {
		p := priors{}
		for i, n := range names {
			p[n] = values[i]
		}
		return p
	}
	sersic := []string{"amp", "r_sersic", "n", "e1", "e2", "center_x", "center_y"}
	m := Model{Components: []Component{
		{Group: GroupLens, Name: "epl", Kind: "epl", Priors: put([]string{"theta_E", "gamma", "e1", "e2", "center_x", "center_y"}, fixed(0.82, 2.05, 0.12, -0.04, 0.01, 0))},
		{Group: GroupSource, Name: "a", Kind: "sersic", Priors: put(sersic, fixed(0.6, 0.15, 1.1, 0.1, 0.2, 0.08, 0.03))},
		{Group: GroupSource, Name: "b", Kind: "sersic", Priors: put(sersic, fixed(0.5, 0.1, 1, 0, 0, -0.25, 0.1))},
		{Group: GroupLensLight, Name: "c", Kind: "sersic", Priors: put(sersic, fixed(0.4, 0.4, 2, 0.1, 0, 0, 0))},
	}}
	o := Observation{W: side, H: side, PixelScale: 3.2 / float64(side), Data: make([]float64, side*side), Sigma: []float64{0.05}}
	o.PSF.Gaussian = 0.08
	if change != nil {
		change(&o)
	}
	p := open(t, m, o, Options{Device: deviceReference})
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, nil)
	img, err := p.Images(theta)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(71, 1))
	for i, v := range img.Model.Pix {
		s := o.Sigma[min(i, len(o.Sigma)-1)]
		o.Data[i] = v + s*rng.NormFloat64()
	}
	return o
}

// checkGradient compares the gradient at a point with central differences, in every coordinate.
func checkGradient(t *testing.T, p *Posterior, u []float64, tol float64) {
	t.Helper()
	grad := make([]float64, p.Dim())
	mustLogProb(t, p, grad, u)
	size := 0.0
	for _, g := range grad {
		size = math.Max(size, math.Abs(g))
	}
	for k := range u {
		e := make([]float64, p.Dim())
		e[k] = 1
		var fd float64
		best := math.Inf(1)
		close := func() bool { return best <= tol*(math.Abs(fd)+1e-2*size) }
		// long steps lose by the splines' knots, short ones by rounding
		for _, h := range []float64{1e-3, 3e-4, 3e-3, 1e-4, 3e-5} {
			d := check.Directional(func(x []float64) float64 { return mustLogProb(t, p, nil, x) }, u, e, h)
			if off := math.Abs(d - grad[k]); off < best {
				best, fd = off, d
			}
			if close() {
				break
			}
		}
		if !close() {
			t.Errorf("%s: gradient by coordinate %d: %.12g, differences give %.12g", p.Names()[nameOf(p, k)], k, grad[k], fd)
		}
	}
}

// nameOf is the named parameter of a coordinate, or one of those that share it.
func nameOf(p *Posterior, coordinate int) int {
	for i, f := range p.Free() {
		if f == coordinate {
			return i
		}
	}
	return 0
}

func TestEvidenceGradient(t *testing.T) {
	amp := physics.Normal(0.3, 0.5)
	logAmp := physics.LogNormal(-1, 0.3)
	ring := func(o *Observation) {
		o.Mask = make([]bool, o.W*o.H)
		for i := range o.Mask {
			x, y := float64(i%o.W)-float64(o.W-1)/2, float64(i/o.W)-float64(o.H-1)/2
			r := math.Hypot(x, y) * o.PixelScale
			o.Mask[i] = r > 0.2 && r < 1.5 && i%17 != 3
		}
	}
	kernel := func(o *Observation) {
		k := physics.NewImage(5, 7, 1)
		for i := range k.Pix {
			k.Pix[i] = math.Exp(-0.3*math.Abs(float64(i%5)-1.7)-0.4*math.Abs(float64(i/5)-3.2)) + 0.02*float64(i%3)
		}
		o.PSF = physics.PSFSpec{Kernel: k}
	}
	noise := func(o *Observation) {
		o.Sigma = make([]float64, o.W*o.H)
		for i := range o.Sigma {
			o.Sigma[i] = 0.04 + 0.03*float64(i%7)/7
			if i%53 == 0 {
				o.Sigma[i] = 1e8
			}
		}
	}
	hires := physics.NewImage(12, 12, 1)
	for i := range hires.Pix {
		x, y := float64(i%12)-6.2, float64(i/12)-5
		hires.Pix[i] = math.Exp(-0.1 * (x*x + 1.5*y*y))
	}
	nonneg := Component{Group: GroupLensLight, Name: "mge", Kind: "mge", Amplitudes: AmplitudesNonNegative, Priors: mgePriors(0.01)}
	gaussian := Component{Group: GroupLensLight, Name: "light", Kind: "sersic", Amplitudes: AmplitudesGaussian, Priors: sersicPriors(&amp, 0.4, 0)}
	scale := physics.LogNormal(0.1, 0.2)
	sky := physics.Normal(0, 0.05)
	cases := []struct {
		name   string
		model  Model
		change func(o *Observation)
	}{
		{"stationary", pixelisedModel(PixelisedSpec{}), ring},
		{"smoother", pixelisedModel(PixelisedSpec{Smoothness: 2, Components: 1}), kernel},
		{"three components", pixelisedModel(PixelisedSpec{Components: 3, Floor: 0.05}), noise},
		{"image", pixelisedModel(PixelisedSpec{Image: hires, Interpolation: "bicubic"}), nil},
		{"decoder", pixelisedModel(PixelisedSpec{Decoder: &DecoderSpec{Graph: smallDecoder(t), Interpolation: "bicubic"}}), ring},
		{"non-negative", pixelisedModel(PixelisedSpec{Components: 1}, nonneg), noise},
		{"gaussian", pixelisedModel(PixelisedSpec{Components: 1}, gaussian), noise},
		{"both", func() Model {
			m := pixelisedModel(PixelisedSpec{Components: 1}, nonneg, gaussian)
			m.NoiseScale, m.Sky = &scale, &sky
			return m
		}(), ring},
		{"mean", func() Model {
			m := pixelisedModel(PixelisedSpec{Components: 1}, Component{Group: GroupSource, Name: "mean", Kind: "sersic", Priors: sersicPriors(&logAmp, 0.2, 0.1)},
				Component{Group: GroupLensLight, Name: "light", Kind: "sersic", Priors: sersicPriors(&logAmp, 0.4, 0)})
			m.NoiseScale, m.Sky = &scale, &sky
			return m
		}(), ring},
		{"linear source", pixelisedModel(PixelisedSpec{}, Component{Group: GroupSource, Name: "mean", Kind: "sersic", Amplitudes: AmplitudesGaussian, Priors: sersicPriors(&amp, 0.2, 0.1)},
			Component{Group: GroupSource, Name: "knot", Kind: "gaussian", Amplitudes: AmplitudesNonNegative, Priors: priors{"sigma": physics.LogNormal(-2.5, 0.1), "e1": physics.Fixed(0.1), "e2": physics.Fixed(0),
				"center_x": physics.Normal(0.08, 0.02), "center_y": physics.Normal(0.03, 0.02)}}), nil},
		{"supersampled", pixelisedModel(PixelisedSpec{Components: 1}, gaussian), func(o *Observation) { ring(o); o.Supersampling = []int{2} }},
		{"fine PSF", pixelisedModel(PixelisedSpec{Components: 1}), func(o *Observation) {
			ring(o)
			o.PSF.Sampling = 2
			o.Supersampling = make([]int, o.W*o.H)
			for i := range o.Supersampling {
				o.Supersampling[i] = 2 + 2*(i%2)
			}
		}},
		{"two sources and planes", func() Model {
			m := pixelisedModel(PixelisedSpec{Components: 1})
			two := pixelisedModel(PixelisedSpec{Grids: []physics.SplineGrid{{X: -0.2, Y: 0.1, Half: 0.5, N: 6}}}).Components[2]
			two.Name = "near"
			m.Components = append(m.Components, two, Component{Group: GroupLens, Name: "behind", Kind: "sis", Priors: priors{"theta_E": physics.LogNormal(-2, 0.2), "center_x": physics.Normal(0.3, 0.05), "center_y": physics.Normal(0.1, 0.05)}})
			for i, z := range []float64{0.4, 0.4, 2, 0.9, 0.7} {
				m.Components[i].Redshift = z
			}
			m.Cosmology = physics.Cosmology{H0: 70, OmegaM: 0.3, OmegaLambda: 0.7}
			return m
		}(), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := open(t, c.model, arcsObservation(t, 18, c.change), Options{Device: deviceReference, Threads: 2})
			u := check.Normals(rand.New(rand.NewPCG(72, 1)), p.Dim())
			for i := range u {
				u[i] *= 0.3
			}
			checkGradient(t, p, u, 1e-7)
		})
	}
}

package adjoint

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"

	"lenskit/internal/check"
	"lenskit/physics"
)

// noiseModel is richModel with bicubic lookup, the factor of the noise free and residuals of Student's t; nu 0: Gaussian.
func noiseModel(t testing.TB, nu float64) Model {
	m := richModel(t, "bicubic")
	scale := physics.LogNormal(0, 0.3)
	m.NoiseScale, m.StudentT = &scale, nu
	return m
}

func TestLikelihoodIsTheDensityOfTheResiduals(t *testing.T) {
	for _, nu := range []float64{0, 1, 4, 50} {
		p := open(t, noiseModel(t, nu), richObservation(20, 1), Options{Device: "reference"})
		theta := make([]float64, len(p.Names()))
		p.Theta(theta, check.Normals(rand.New(rand.NewPCG(21, 1)), p.Dim()))
		at := index(t, p, "noise.scale")
		if at != len(theta)-1 || p.Free()[at] < 0 {
			t.Fatalf("noise.scale is parameter %d, free %d", at, p.Free()[at])
		}
		for _, s := range []float64{0.7, 1, 3} {
			theta[at] = s
			e, err := p.Eval(theta, false)
			if err != nil {
				t.Fatal(err)
			}
			model := make([]float64, len(p.Noise().Data))
			if err := p.ModelImage(model, theta); err != nil {
				t.Fatal(err)
			}
			want, chi2 := 0.0, 0.0
			for i, used := range p.Noise().Used {
				if !used {
					continue
				}
				d, sigma := p.Noise().Data[i], 1/p.Noise().Weight[i]
				chi2 += math.Pow((d-model[i])/sigma, 2)
				if nu == 0 {
					want += distuv.Normal{Mu: model[i], Sigma: s * sigma}.LogProb(d)
				} else {
					want += distuv.StudentsT{Mu: model[i], Sigma: s * sigma, Nu: nu}.LogProb(d)
				}
			}
			what := fmt.Sprintf("ν = %g, s = %g: ", nu, s)
			check.Close(t, what+"log likelihood", e.LogLikelihood, want, 1e-11, 1)
			check.Close(t, what+"chi2", e.Chi2, chi2, 1e-11, 1)
		}
	}
}

func TestGradientOfLikelihoods(t *testing.T) {
	obs := richObservation(20, 1)
	for _, nu := range []float64{0, 4} {
		p := open(t, noiseModel(t, nu), obs, Options{Device: "reference"})
		u := check.Normals(rand.New(rand.NewPCG(22, 1)), p.Dim())
		grad := make([]float64, p.Dim())
		for name, v := range map[string]*View{"MAP": p.MAP(), "relaxed": p.Relaxed(), "sampling": p.Sampling()} {
			for _, far := range []float64{0, 3} { // with the noise far too small and far too large for the model
				for _, sign := range []float64{-1, 1} {
					u[p.Dim()-1] = far * sign
					lp := mustLogProb(t, v, grad, u)
					if again := mustLogProb(t, v, nil, u); again != lp {
						t.Errorf("%s: %v without the gradient, %v with it", name, again, lp)
					}
					for k := range u {
						e := make([]float64, p.Dim())
						e[k] = 1
						fd := check.Directional(func(x []float64) float64 { return mustLogProb(t, v, nil, x) }, u, e, 1e-6)
						check.Close(t, fmt.Sprintf("ν = %g, %s, noise.scale at %g: coordinate %d", nu, name, far*sign, k), grad[k], fd, 2e-4, 0.05)
					}
				}
			}
		}
		theta := make([]float64, len(p.Names()))
		p.Theta(theta, u)
		e, err := p.Eval(theta, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"noise.scale", "sky", "lens.sple.gamma", "source.decoder.z.1"} {
			dir := make([]float64, len(theta))
			dir[index(t, p, name)] = 1
			f := func(x []float64) float64 {
				e, err := p.Eval(x, false)
				if err != nil {
					t.Fatal(err)
				}
				return e.LogLikelihood
			}
			check.Close(t, name, e.GradLikelihood[index(t, p, name)], check.Directional(f, theta, dir, 1e-6), 2e-4, 0.05)
		}
	}
}

// The matrix of the model with Student's t and a factor of the noise is that of the Gaussian one without, times the
// information per pixel; the factor has a row of its own.
func TestGaussNewtonMatrixOfLikelihoods(t *testing.T) {
	obs := richObservation(20, 1)
	plain := open(t, richModel(t, "bicubic"), obs, Options{Device: "reference"})
	n := plain.Dim()
	u := check.Normals(rand.New(rand.NewPCG(23, 1)), n+1)
	want := mat.NewSymDense(n, nil)
	if _, err := plain.LogProbHess(make([]float64, n), want, u[:n]); err != nil {
		t.Fatal(err)
	}
	for _, nu := range []float64{0, 4} {
		p := open(t, noiseModel(t, nu), obs, Options{Device: "reference"})
		got := mat.NewSymDense(n+1, nil)
		if _, err := p.LogProbHess(make([]float64, n+1), got, u); err != nil {
			t.Fatal(err)
		}
		s := math.Exp(0.3 * u[n])
		mean, logScale := 1.0, 2.0
		if nu > 0 {
			mean, logScale = (nu+1)/(nu+3), 2*nu/(nu+3)
		}
		for a := range n {
			for b := a; b < n; b++ {
				prior := 0.0
				if a == b {
					prior = 1
				}
				check.Close(t, fmt.Sprintf("ν = %g: element %d, %d", nu, a, b), got.At(a, b)-prior, (want.At(a, b)-prior)*mean/(s*s), 1e-10, 1)
			}
			if got.At(a, n) != 0 {
				t.Errorf("ν = %g: element %d of the factor's row is %g, expected 0", nu, a, got.At(a, n))
			}
		}
		check.Close(t, fmt.Sprintf("ν = %g: the factor's curvature", nu), got.At(n, n)-1, float64(p.Pixels())*logScale*0.3*0.3, 1e-12, 1)
		var eigen mat.EigenSym
		if !eigen.Factorize(got, false) || eigen.Values(nil)[0] <= 0 {
			t.Errorf("ν = %g: eigenvalues %v", nu, eigen.Values(nil))
		}
	}
}

// The mean curvature by log s over data drawn from the model is what the matrix says.
func TestInformationOfTheNoiseScale(t *testing.T) {
	for _, nu := range []float64{0, 4} {
		scale, sky := physics.LogNormal(0, 1), physics.Fixed(0)
		m := Model{Sky: &sky, NoiseScale: &scale, StudentT: nu, Components: []Component{{Group: GroupLensLight, Name: "g", Kind: "gaussian",
			Priors: priors{"amp": physics.Fixed(0), "sigma": physics.Fixed(1), "e1": physics.Fixed(0), "e2": physics.Fixed(0), "center_x": physics.Fixed(0), "center_y": physics.Fixed(0)}}}}
		const side = 200
		o := Observation{W: side, H: side, PixelScale: 1, Sigma: []float64{0.5}, Data: make([]float64, side*side)}
		src := rand.NewPCG(24, 1)
		for i := range o.Data {
			if nu == 0 {
				o.Data[i] = distuv.Normal{Sigma: 0.5, Src: src}.Rand()
			} else {
				o.Data[i] = distuv.StudentsT{Sigma: 0.5, Nu: nu, Src: src}.Rand()
			}
		}
		p := open(t, m, o, Options{})
		hess := mat.NewSymDense(1, nil)
		grad, h := []float64{0}, 1e-4
		if _, err := p.LogProbHess(grad, hess, []float64{0}); err != nil {
			t.Fatal(err)
		}
		up, down := []float64{0}, []float64{0}
		mustLogProb(t, p, up, []float64{h})
		mustLogProb(t, p, down, []float64{-h})
		check.Close(t, fmt.Sprintf("ν = %g: curvature by log s", nu), -(up[0]-down[0])/(2*h), hess.At(0, 0), 0.03, 0)
		if math.Abs(grad[0]) > 4*math.Sqrt(hess.At(0, 0)) {
			t.Errorf("ν = %g: gradient %g by log s at the truth, expected about 0 ± %g", nu, grad[0], math.Sqrt(hess.At(0, 0)))
		}
	}
}

func TestLikelihoodsDoNotAllocate(t *testing.T) {
	needRuntime(t)
	for _, nu := range []float64{0, 4} {
		p := open(t, noiseModel(t, nu), richObservation(20, 1), Options{Threads: 1})
		u, grad := check.Normals(rand.New(rand.NewPCG(25, 1)), p.Dim()), make([]float64, p.Dim())
		for name, v := range map[string]*View{"MAP": p.MAP(), "relaxed": p.Relaxed(), "sampling": p.Sampling()} {
			if n := testing.AllocsPerRun(10, func() { u[0] += 1e-3; mustLogProb(t, v, grad, u) }); n != 0 {
				t.Errorf("ν = %g, %s: %g allocations in a step, expected none", nu, name, n)
			}
		}
	}
}

func TestBadLikelihoodsAreErrors(t *testing.T) {
	for _, nu := range []float64{-1, 0.5, 2000, math.NaN(), math.Inf(1)} {
		m := noiseModel(t, nu)
		if p, err := New(m, richObservation(12, 1), Options{Device: "reference"}); err == nil {
			p.Close()
			t.Errorf("ν = %g: expected an error", nu)
		} else if !strings.Contains(err.Error(), "degrees of freedom") {
			t.Error(err)
		}
	}
	p := open(t, noiseModel(t, 0), richObservation(12, 1), Options{Device: "reference"})
	theta := make([]float64, len(p.Names()))
	p.Theta(theta, make([]float64, p.Dim()))
	theta[len(theta)-1] = -1
	if _, err := p.Eval(theta, true); !recoverable(err) || !strings.Contains(err.Error(), "noise.scale") {
		t.Errorf("a negative factor: %v", err)
	}
}

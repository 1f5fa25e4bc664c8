package adjoint

import (
	"math"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/physics"
)

// pipeline is the stored log likelihoods of decoder_reference.py.
type pipeline struct {
	N     int       `json:"n"`
	FOV   float64   `json:"fov"`
	Sigma float64   `json:"sigma"`
	PSF   []float64 `json:"psf_1d"`
	Cases []struct {
		Params        []float64 `json:"params"`
		Obs           string    `json:"obs"`
		Image         string    `json:"image"`
		LogLikelihood float64   `json:"log_likelihood"`
		Gradient      []float64 `json:"gradient"`
	} `json:"cases"`
}

// pipelineNames is the order of the stored parameters.
var pipelineNames = strings.Fields(`source.decoder.z.1 source.decoder.z.2 source.decoder.z.3 source.decoder.z.4 source.decoder.z.5
	source.decoder.z.6 source.decoder.z.7 source.decoder.z.8 source.decoder.x source.decoder.y source.decoder.s source.decoder.iota
	lens.epl.center_x lens.epl.center_y lens.epl.theta_E lens.epl.q lens.epl.phi lens.epl.gamma lens.shear.gamma1 lens.shear.gamma2`)

// wide is a prior that is no constraint, for parameters that are given.
var wide = physics.Normal(0, 10)

func wideModel(t testing.TB) Model {
	g, err := onnx.Load(check.Shared(t, "reference/public/decoder_small.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	all := func(names ...string) priors {
		p := priors{}
		for _, n := range names {
			p[n] = wide
		}
		return p
	}
	return Model{Components: []Component{
		{Group: GroupLens, Name: "epl", Kind: "epl", Priors: all("theta_E", "gamma", "e1", "e2", "center_x", "center_y")},
		{Group: GroupLens, Name: "shear", Kind: "shear", Priors: all("gamma1", "gamma2")},
		{Group: GroupSource, Name: "decoder", Kind: KindDecoder, Decoder: &DecoderSpec{File: "decoder_small.onnx", Graph: g}, Priors: all("z", "iota", "s", "x", "y")},
	}}
}

// named turns stored parameters into those of an epl: q and phi become e1 and e2. pullGradient goes the way back for a
// gradient by name.
func named(t testing.TB, p *Posterior, stored []float64) []float64 {
	theta := make([]float64, len(p.Names()))
	at := map[string]float64{}
	for i, n := range pipelineNames {
		at[n] = stored[i]
	}
	q, phi := at["lens.epl.q"], at["lens.epl.phi"]
	c := (1 - q) / (1 + q)
	at["lens.epl.e1"], at["lens.epl.e2"] = c*math.Cos(2*phi), c*math.Sin(2*phi)
	for i, n := range p.Names() {
		v, ok := at[n]
		if !ok {
			t.Fatalf("no stored value of %s", n)
		}
		theta[i] = v
	}
	return theta
}

func pullGradient(t testing.TB, p *Posterior, stored, g []float64) []float64 {
	out := make([]float64, len(pipelineNames))
	var q, phi float64
	for i, n := range pipelineNames {
		switch n {
		case "lens.epl.q":
			q = stored[i]
		case "lens.epl.phi":
			phi = stored[i]
		}
	}
	c, dc := (1-q)/(1+q), -2/((1+q)*(1+q))
	g1, g2 := g[index(t, p, "lens.epl.e1")], g[index(t, p, "lens.epl.e2")]
	cos, sin := math.Cos(2*phi), math.Sin(2*phi)
	for i, n := range pipelineNames {
		switch n {
		case "lens.epl.q":
			out[i] = dc * (g1*cos + g2*sin)
		case "lens.epl.phi":
			out[i] = 2 * c * (g2*cos - g1*sin)
		default:
			out[i] = g[index(t, p, n)]
		}
	}
	return out
}

func pipelineObservation(t testing.TB, ref *pipeline, obs string) Observation {
	k := physics.NewImage(len(ref.PSF), len(ref.PSF), 1)
	for j, a := range ref.PSF {
		for i, b := range ref.PSF {
			k.Pix[j*k.W+i] = a * b
		}
	}
	return Observation{W: ref.N, H: ref.N, PixelScale: ref.FOV / float64(ref.N), Data: npy(t, obs).Pix, Sigma: []float64{ref.Sigma},
		PSF: physics.PSFSpec{Kernel: k}}
}

func TestPipelineAgainstReference(t *testing.T) {
	var ref pipeline
	readJSON(t, "pipeline_small.json", &ref)
	for _, device := range []string{"reference", "cpu"} {
		t.Run(device, func(t *testing.T) {
			if device == "cpu" {
				needRuntime(t)
			}
			for ci, c := range ref.Cases {
				p := open(t, wideModel(t), pipelineObservation(t, &ref, c.Obs), Options{Device: device})
				theta := named(t, p, c.Params)
				e, err := p.Eval(theta, true)
				if err != nil {
					t.Fatal(err)
				}
				ll := e.LogLikelihood - p.Noise().LogNorm
				grad := pullGradient(t, p, c.Params, e.GradLikelihood)
				norm, off := 0.0, 0.0
				worst := 0.0
				for i, g := range grad {
					norm += c.Gradient[i] * c.Gradient[i]
					off += (g - c.Gradient[i]) * (g - c.Gradient[i])
					worst = math.Max(worst, math.Abs(g-c.Gradient[i])/math.Abs(c.Gradient[i]))
				}
				t.Logf("case %d: log likelihood off by %.1e relative, gradient by %.1e of its norm, %.1e of a component", ci, math.Abs(ll/c.LogLikelihood-1), math.Sqrt(off/norm), worst)
				if device == "cpu" {
					check.Close(t, "log likelihood", ll, c.LogLikelihood, 1e-5, 0)
					if !(math.Sqrt(off/norm) < 1e-4) {
						t.Errorf("case %d: gradient is off by %.2g of its norm", ci, math.Sqrt(off/norm))
					}
					continue
				}
				check.Close(t, "log likelihood", ll, c.LogLikelihood, 1e-8, 0)
				for i, g := range grad {
					check.Close(t, pipelineNames[i], g, c.Gradient[i], 1e-8, 0)
				}
				want := npy(t, c.Image)
				got := make([]float64, len(want.Pix))
				if err := p.ModelImage(got, theta); err != nil {
					t.Fatal(err)
				}
				for i := range got {
					if math.Abs(got[i]-want.Pix[i]) > 1e-10*5 {
						t.Fatalf("case %d: pixel %d is %.17g, want %.17g", ci, i, got[i], want.Pix[i])
					}
				}
			}
		})
	}
}

func TestImagesAgainstReference(t *testing.T) {
	type params map[string]float64
	var ref struct {
		N      int     `json:"n"`
		Scale  float64 `json:"pixel_scale"`
		Images []struct {
			File      string `json:"file"`
			Unblurred string `json:"unblurred"`
			EPL       params `json:"lens_EPL"`
			Shear     params `json:"lens_SHEAR"`
			Source    string `json:"source"`
			Kwargs    params `json:"source_kwargs"`
		} `json:"images"`
	}
	readJSON(t, "images.json", &ref)
	kernel, src := npy(t, "psf.npy"), npy(t, "source_image.npy")
	for _, c := range ref.Images {
		fix := func(from params, names ...string) priors {
			p := priors{}
			for k := 0; k < len(names); k += 2 {
				p[names[k]] = physics.Fixed(from[names[k+1]])
			}
			return p
		}
		same := func(names ...string) []string {
			var out []string
			for _, n := range names {
				out = append(out, n, n)
			}
			return out
		}
		source := Component{Group: GroupSource, Name: "s"}
		if strings.HasPrefix(c.Source, "SERSIC") {
			source.Kind = "sersic"
			source.Priors = fix(c.Kwargs, append(same("amp", "e1", "e2", "center_x", "center_y"), "r_sersic", "R_sersic", "n", "n_sersic")...)
		} else {
			source.Kind, source.Pixels = KindPixels, &PixelsSpec{Image: src}
			source.Priors = fix(c.Kwargs, "iota", "amp", "x", "center_x", "y", "center_y")
			source.Priors["s"] = physics.Fixed(c.Kwargs["pixel_scale"] * float64(src.W))
		}
		m := Model{Components: []Component{
			{Group: GroupLens, Name: "epl", Kind: "epl", Priors: fix(c.EPL, same("theta_E", "gamma", "e1", "e2", "center_x", "center_y")...)},
			{Group: GroupLens, Name: "shear", Kind: "shear", Priors: fix(c.Shear, same("gamma1", "gamma2")...)},
			source,
		}}
		for file, psf := range map[string]physics.PSFSpec{c.File: {Kernel: kernel}, c.Unblurred: {}} {
			want := npy(t, file)
			p := open(t, m, Observation{W: ref.N, H: ref.N, PixelScale: ref.Scale, Data: want.Pix, Sigma: []float64{1}, PSF: psf}, Options{})
			if p.Dim() != 0 {
				t.Fatalf("%d free coordinates, want 0", p.Dim())
			}
			theta := make([]float64, len(p.Names()))
			p.Theta(theta, nil)
			img, err := p.Images(theta)
			if err != nil {
				t.Fatal(err)
			}
			peak, worst := 0.0, 0.0
			for i, v := range want.Pix {
				peak = math.Max(peak, math.Abs(v))
				worst = math.Max(worst, math.Abs(img.Model.Pix[i]-v))
			}
			t.Logf("%s: off by %.1e of the peak", file, worst/peak)
			if !(worst <= 1e-10*peak) {
				t.Errorf("%s (%s): off by %.2g of the peak", file, c.Source, worst/peak)
			}
		}
	}
}

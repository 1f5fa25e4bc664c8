//go:build unix

package golden

import (
	"path/filepath"
	"strings"
)

// Cases are the golden runs; shared is the folder of the shared data, "" where it is not there. Between them they have each
// kind of source, lens light, mass profile, optimiser and sampler, and derive the graphs of every decoder there is.
func Cases(shared string) []Case {
	cases := append([]Case(nil), fits...)
	for _, name := range []string{"compact", "linear", "cosmos"} {
		cases = append(cases, decoder("model-"+name, "models/"+name+"/decoder.onnx", false))
	}
	found, _ := filepath.Glob(filepath.Join(shared, "decoders", "*.onnx"))
	if shared == "" || len(found) == 0 {
		return append(cases, Case{Name: "decoders", Skip: "the shared decoders are not there (LENSKIT_SHARED, or shared beside the repository)"})
	}
	for _, path := range found {
		file := filepath.Base(path)
		cases = append(cases, decoder("decoder-"+strings.TrimSuffix(file, ".onnx"), "shared:decoders/"+file, true))
	}
	for _, file := range []string{"dcgan.pt", "dcgan.legacy.pt", "dcgan.safetensors"} {
		cases = append(cases, Case{
			Name: "weights-" + file, Copies: map[string]string{file: "shared:decoders/" + file},
			Lines: []string{"weights " + file, "weights " + file + " --json", "!export-vae " + file + " -o b"},
		})
	}
	return cases
}

// decoder is the case of the graphs derived from a decoder; a fit with it gives onnxruntime the split and the Jacobian as well.
// A graph that cannot be derived of it, as a training step where the shapes hang on what would be trained, is refused, and
// the refusal held.
func decoder(name, from string, fit bool) Case {
	c := Case{
		Name: name, Files: map[string]string{"d.yaml": anyDecoder}, Copies: map[string]string{"d.onnx": from, "d+loss.onnx": from},
		Lines: []string{
			"onnx inspect d.onnx", "onnx inspect d.onnx --json",
			"onnx vjp d.onnx -o vjp.onnx", "onnx jvp d.onnx -o jvp.onnx", "onnx jvp d.onnx --columns 5 -o jacobian.onnx",
			"!onnx vjp jvp.onnx -o vjp-of-jvp.onnx", "!onnx jvp vjp.onnx -o jvp-of-vjp.onnx",
			"!onnx train d+loss.onnx -o train-adam.onnx", "!onnx train d+loss.onnx --optimizer adamw --weight-decay 0.01 --clip 10 -o train-adamw.onnx",
			"!onnx train d+loss.onnx --optimizer sgd --momentum 0.9 -o train-sgd.onnx", "!onnx train d+loss.onnx --gradients-only -o gradients.onnx",
			"!onnx inspect train-adam.onnx", "onnx inspect vjp.onnx --json",
			"mock d.yaml -o m.fits --seed 3 --threads 1", "eval m.yaml --grad --threads 1",
		},
	}
	if fit {
		c.Lines = append(c.Lines, "eval m.yaml --grad --threads 1 --device reference", "fit m.yaml -o f --starts 1 --threads 1")
	}
	return c
}

// fits are the runs of a lens, and of training.
var fits = []Case{
	{
		Name: "decoder", Files: map[string]string{"c.yaml": decoderConfig, "points.csv": points}, Copies: map[string]string{"models/compact": "models/compact"},
		Lines: []string{
			"mock c.yaml -o m.fits --seed 3 --json --threads 1", "fit m.yaml -o f --starts 2 --threads 1", "plot f",
			"sample f -o s --chains 2 --draws 12 --warmup 8 --threads 1", "plot s", "!export-coolest f -o c --partial",
			"eval m.yaml --params f/fit.json --grad --threads 1 -o e", "deflect m.yaml --points points.csv",
		},
	},
	{
		Name: "sersic", Files: map[string]string{"c.yaml": sersicConfig, "points.csv": points},
		Lines: []string{
			"mock c.yaml -o m.fits --seed 3 --threads 1", "fit m.yaml -o f --starts 2 --threads 1 --json",
			"sample f --sampler nuts --chains 2 --draws 15 --warmup 10 --threads 1", "export-coolest f -o c --lens-redshift 0.5 --source-redshift 2",
			"fit c/coolest.json -o g --starts 1 --threads 1", "sample f -o l --sampler laplace --draws 50 --threads 1", "deflect m.yaml --points points.csv",
		},
	},
	{
		Name: "adam", Files: map[string]string{"c.yaml": adamConfig, "points.csv": points}, Copies: map[string]string{"models/linear": "models/linear"},
		Lines: []string{
			"mock c.yaml -o m.fits --seed 3 --threads 1", "fit m.yaml -o f --starts 2 --optimizer adam --iterations 150 --threads 1", "deflect m.yaml --points points.csv",
		},
	},
	{
		Name: "gaussians", Files: map[string]string{"c.yaml": mgeConfig, "points.csv": points},
		Lines: []string{"mock c.yaml -o m.fits --seed 3 --threads 1", "fit m.yaml -o f --starts 2 --threads 1", "eval m.yaml --grad --threads 1", "deflect m.yaml --points points.csv"},
	},
	{
		Name: "decoder-light", Files: map[string]string{"c.yaml": lightConfig},
		Lines: []string{
			"dataset synth -o g.fits --count 60 --size 16", "dataset bundle g.fits -o b --latents 6", "dataset check g.fits --model b -o check.png", "dataset show g.fits -o g.png", "dataset prepare g.fits --hold 0.2 --held held.fits --size 16 -o train.fits",
			"mock c.yaml -o m.fits --seed 3 --threads 1 --draw", "mock c.yaml -o m.fits --seed 3 --threads 1", "fit m.yaml -o f --starts 2 --threads 1",
			"sample f --chains 8 --draws 12 --warmup 8 --threads 1", "export-coolest f -o c --lens-redshift 0.5 --source-redshift 2",
		},
	},
	{
		Name: "planes", Files: map[string]string{"c.yaml": planesConfig, "points.csv": points},
		Lines: []string{"mock c.yaml -o m.fits --seed 3 --threads 1", "fit m.yaml -o f --starts 2 --threads 1", "eval m.yaml --grad --threads 1", "deflect m.yaml --points points.csv"},
	},
	{
		Name: "bare", Files: map[string]string{"c.yaml": bareConfig},
		Lines: []string{"mock c.yaml -o m.fits --seed 3 --threads 1", "fit m.fits --noise 0.05 --psf 0.08 --pixel-scale 0.12 -o f --starts 2 --threads 1"},
	},
	{
		Name: "survey", Files: map[string]string{"c.yaml": planesConfig, "lenses.csv": "config\na.yaml\nb.yaml\n"},
		Lines: []string{
			"mock c.yaml -o a.fits --seed 5 --threads 1", "mock c.yaml -o b.fits --seed 6 --threads 1", "survey plan lenses.csv -o s --starts 1",
			"survey run s --index 1 --threads 1", "survey run s --index 2 --threads 1", "survey status s", "survey merge s",
		},
	},
	{
		Name: "vae",
		Lines: []string{
			"dataset synth -o g.fits --count 48",
			"train-vae g.fits -o v --channels 4,8,8,8 --hidden 16 --latents 4 --samples 1 --rate 1e-3 --batch 8 --epochs 2 --threads 1",
			"export-vae v -o b", "export-vae v --to-torch t.safetensors", "weights t.safetensors --json", "plot b --data g.fits",
			"train-vae g.fits -o w --encoder b/encoder.onnx --decoder b/decoder.onnx --samples 2 --rate 1e-4 --clip 1000 --schedule cosine --rotate --flip --shift 2 --noise 0.01 --batch 8 --epochs 2 --threads 1",
			"export-vae w -o x",
		},
	},
	{
		Name: "encoders", Copies: map[string]string{"compact.onnx": "models/compact/encoder.onnx", "cosmos.onnx": "models/cosmos/encoder.onnx", "linear.onnx": "models/linear/encoder.onnx"},
		Lines: []string{"onnx inspect compact.onnx", "onnx inspect cosmos.onnx", "onnx inspect linear.onnx", "onnx vjp compact.onnx -o compact-vjp.onnx", "onnx jvp linear.onnx -o linear-jvp.onnx"},
	},
	{
		Name: "help",
		Lines: []string{
			"--help", "fit --help", "sample --help", "mock --help", "eval --help", "deflect --help", "plot --help", "export-coolest --help",
			"survey --help", "survey plan --help", "survey run --help", "survey status --help", "survey merge --help", "weights --help",
			"onnx --help", "onnx inspect --help", "onnx run --help", "onnx vjp --help", "onnx jvp --help", "onnx train --help",
			"dataset --help", "dataset prepare --help", "dataset cosmos --help", "dataset synth --help", "dataset show --help", "dataset bundle --help", "dataset check --help",
			"train-vae --help", "export-vae --help", "doctor --help", "version --help", "!nothing", "!fit", "!fit --nothing x", "!fit missing.yaml", "!plot missing",
		},
	},
}

// points are where deflections are asked for.
const points = "x,y\n0,0\n0.1,-0.2\n1,0.3\n-1.1,0.9\n0.004,2.5\n"

const decoderConfig = `data: {size: [28, 28], noise: 0.05, psf: {gaussian: 0.08}, pixel_scale: 0.14}
lens:
  - {type: sple, priors: {r_ein: {normal: [1.2, 0.3], bounds: [0.1, 5], truth: 1.2}, q: {truth: 0.8}, phi: {truth: 0.4}, gamma: {normal: [2, 0.1], truth: 2.05}, x: {truth: 0.02}, y: {truth: -0.01}}}
  - {type: multipole4, priors: {theta_E: {fixed: 1.2}, a_cos: {normal: [0, 0.01], truth: 0.01}, a_sin: {normal: [0, 0.01], truth: -0.005}, gamma: {fixed: 2}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: decoder, model: models/compact, priors: {s: {normal: [3, 0.5], truth: 3}, x: {truth: 0.03}, y: {truth: 0.05}, iota: {truth: 1}}}
`

const sersicConfig = `data: {size: [24, 24], noise: 0.03, psf: {gaussian: 0.08}, pixel_scale: 0.15, supersampling: 2}
lens:
  - {type: sie, priors: {theta_E: {normal: [1.1, 0.2], truth: 1.1}, e1: {truth: 0.05}, e2: {truth: -0.06}, center_x: {truth: 0.01}, center_y: {truth: 0}}}
  - {type: shear, priors: {gamma1: {truth: 0.03}, gamma2: {truth: -0.02}}}
source:
  - {type: sersic, priors: {amp: {truth: 0.8}, r_sersic: {truth: 0.3}, n: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: 0.05}, center_x: {truth: 0.05}, center_y: {truth: 0.1}}}
lens_light:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.6}, n: {truth: 3}, e1: {truth: 0.05}, e2: {truth: -0.05}, center_x: {truth: 0}, center_y: {truth: 0}}}
`

const adamConfig = `data: {size: [24, 24], noise: 0.05, psf: {gaussian: 0.1}, pixel_scale: 0.15, mask: {annulus: [0.3, 1.7]}}
lens:
  - {type: epl, priors: {theta_E: {normal: [1, 0.1], truth: 1}, gamma: {normal: [2, 0.1], truth: 1.95}, e1: {truth: 0.05}, e2: {truth: -0.06}, center_x: {truth: 0.01}, center_y: {truth: 0}}}
  - {type: shear, priors: {gamma1: {truth: 0.03}, gamma2: {truth: -0.02}}}
  - {type: multipole3, priors: {theta_E: {fixed: 1.0}, a_cos: {normal: [0, 0.01], truth: 0.01}, a_sin: {normal: [0, 0.01], truth: -0.005}, gamma: {fixed: 2}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: decoder, model: models/linear, interpolation: bicubic, priors: {s: {normal: [2.5, 0.5], truth: 2.5}, x: {truth: 0.03}, y: {truth: 0.05}, iota: {truth: 1}}}
lens_light:
  - {type: gaussian, priors: {amp: {truth: 1}, sigma: {truth: 0.3}, e1: {truth: 0.05}, e2: {truth: 0}, center_x: {truth: 0}, center_y: {truth: 0}}}
`

const mgeConfig = `data: {size: [24, 24], noise: {sigma: 0.03, fraction: 0.02}, psf: {gaussian: 0.1}, pixel_scale: 0.15, supersampling: {adaptive: 4}}
lens:
  - {type: nie, priors: {theta_E: {normal: [1, 0.1], truth: 1}, s_scale: {truth: 0.05}, e1: {truth: 0.05}, e2: {truth: -0.06}, center_x: {truth: 0.01}, center_y: {truth: 0}}}
  - {type: convergence, priors: {kappa: {truth: 0.02}}}
source:
  - {type: gaussian, priors: {amp: {truth: 1}, sigma: {truth: 0.2}, center_x: {truth: 0.05}, center_y: {truth: 0.08}}}
lens_light:
  - {type: mge}
  - {type: core_sersic, priors: {amp: {truth: 0.7}, r_sersic: {truth: 0.5}, n: {truth: 2}}}
sky: {normal: [0, 0.1], truth: 0.02}
noise_scale: {lognormal: [0, 0.3], truth: 1}
likelihood: {student_t: {nu: 5}}
`

const lightConfig = `data: {size: [24, 24], noise: 0.05, psf: {gaussian: 0.1}, pixel_scale: 0.15}
lens:
  - {type: sis, priors: {theta_E: {normal: [1, 0.1], truth: 1}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: decoder, model: b, priors: {s: {normal: [2, 0.5], truth: 2}, x: {truth: 0.03}, y: {truth: 0.05}, iota: {truth: 1}}}
lens_light:
  - {type: decoder, model: b, priors: {s: {normal: [2, 0.5], truth: 2}, x: {truth: 0}, y: {truth: 0}, iota: {truth: 1}}}
`

const planesConfig = `data: {size: 28, pixel_scale: 0.14, noise: 0.05, psf: {gaussian: 0.1}}
lens:
  - {type: epl, redshift: 0.5, priors: {theta_E: {normal: [1.2, 0.2], bounds: [0.3, 3], truth: 1.2}, gamma: {normal: [2, 0.1], truth: 2.02}, e1: {truth: 0.1}, e2: {truth: -0.05}, center_x: {truth: 0.02}, center_y: {truth: -0.01}}}
  - {type: sis, name: behind, redshift: 0.9, priors: {theta_E: {lognormal: [-1.6, 0.5], truth: 0.2}, center_x: {normal: [0.5, 0.1], truth: 0.55}, center_y: {normal: [0.5, 0.1], truth: 0.4}}}
source:
  - {type: sersic, redshift: 2, priors: {amp: {truth: 1}, r_sersic: {truth: 0.2}, n: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: 0.15}, center_x: {truth: 0.05}, center_y: {truth: 0.12}}}
cosmology: {H0: 70, Omega_m: 0.3, Omega_lambda: 0.7}
`

const bareConfig = `data: {size: [48, 48], noise: 0.05, psf: {gaussian: 0.08}, pixel_scale: 0.12}
lens:
  - {type: epl, priors: {theta_E: {truth: 1.2}, gamma: {truth: 2}, e1: {truth: 0.06}, e2: {truth: -0.05}, center_x: {truth: 0.01}, center_y: {truth: 0}}}
  - {type: shear, priors: {gamma1: {truth: 0.02}, gamma2: {truth: -0.02}}}
source:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.25}, n: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: 0.05}, center_x: {truth: 0.1}, center_y: {truth: 0.05}}}
lens_light:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.7}, n: {truth: 3}, e1: {truth: 0.06}, e2: {truth: -0.05}, center_x: {truth: 0.01}, center_y: {truth: 0}}}
`

const anyDecoder = `data: {size: [20, 20], noise: 0.05, psf: {gaussian: 0.1}, pixel_scale: 0.18}
lens:
  - {type: sie, priors: {theta_E: {normal: [1, 0.1], truth: 1}, e1: {truth: 0.05}, e2: {truth: -0.06}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - {type: decoder, model: d.onnx, priors: {s: {normal: [2, 0.5], truth: 2}, x: {truth: 0.03}, y: {truth: 0.05}, iota: {truth: 1}}}
`

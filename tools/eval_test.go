package tools

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/ort"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
)

// TestEvalGivesTheReferencePipeline compares whole log likelihoods, their gradients and the model image, from files to
// JSON and FITS, with those of automatic differentiation in float64 (reference/public/pipeline_small.json), in both
// parametrisations of the power law.
func TestEvalGivesTheReferencePipeline(t *testing.T) {
	raw, err := os.ReadFile(check.Shared(t, "reference/public/pipeline_small.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		N     int
		Fov   float64
		Sigma float64
		PSF   []float64 `json:"psf_1d"`
		Cases []struct {
			Params        []float64
			Obs, Image    string
			LogLikelihood float64 `json:"log_likelihood"`
			Gradient      []float64
		}
	}
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	k := len(ref.PSF)
	kernel := make([]float64, k*k)
	for i := range kernel {
		kernel[i] = ref.PSF[i/k] * ref.PSF[i%k]
	}
	if err := fits.Write(filepath.Join(dir, "psf.fits"), fits.Out{Bitpix: -64, Axes: []int{k, k}, Pix: kernel}); err != nil {
		t.Fatal(err)
	}
	decoder, err := filepath.Abs(check.Shared(t, "reference/public/decoder_small.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	devices := []string{"reference"}
	if _, _, err := ort.Library(); err == nil {
		devices = append(devices, "cpu")
	}
	for i, c := range ref.Cases {
		array := func(name string) []float64 {
			v, err := tensors.ReadNPY(check.Shared(t, "reference/public/"+name))
			if err != nil {
				t.Fatal(err)
			}
			return floats64(t, v)
		}
		if err := fits.Write(filepath.Join(dir, "obs.fits"), fits.Out{Bitpix: -64, Axes: []int{ref.N, ref.N}, Pix: array(c.Obs)}); err != nil {
			t.Fatal(err)
		}
		image := array(c.Image)
		v := c.Params // z0..z7 src_x src_y s iota | center_x center_y theta_E q phi gamma gamma1 gamma2
		thetaE, q, phi := v[14], v[15], v[16]
		r, f := thetaE/math.Sqrt(q), (1-q)/(1+q)
		e1, e2 := termtest.Ellipticity(q, phi)
		for _, lens := range []struct {
			kind, names string
			values      []float64
			chain       func(g []float64) []float64 // the gradient by center_x center_y theta_E q phi gamma
		}{
			{"epl", "center_x center_y theta_E e1 e2 gamma", []float64{v[12], v[13], thetaE, e1, e2, v[17]}, func(g []float64) []float64 {
				df := -2 / ((1 + q) * (1 + q)) // of f by q
				s, c := math.Sincos(2 * phi)
				return []float64{g[0], g[1], g[2], df * (c*g[3] + s*g[4]), 2 * f * (c*g[4] - s*g[3]), g[5]}
			}},
			{"sple", "x y r_ein q phi gamma", []float64{v[12], v[13], r, q, phi, v[17]}, func(g []float64) []float64 {
				return []float64{g[0], g[1], g[2] / math.Sqrt(q), g[3] - g[2]*r/(2*q), g[4], g[5]}
			}},
		} {
			config := termtest.WriteText(t, filepath.Join(dir, "c.yaml"),
				"data: {image: obs.fits, noise: %g, psf: {file: psf.fits}, pixel_scale: %.17g}\nlens: [{type: %s}, {type: shear}]\nsource: [{type: decoder, model: %q}]\n",
				ref.Sigma, ref.Fov/float64(ref.N), lens.kind, decoder)
			var names []string
			for j := range 8 {
				names = append(names, fmt.Sprintf("source.decoder.z.%d", j+1))
			}
			names = append(names, "source.decoder.x", "source.decoder.y", "source.decoder.s", "source.decoder.iota")
			for _, n := range strings.Fields(lens.names) {
				names = append(names, "lens."+lens.kind+"."+n)
			}
			names = append(names, "lens.shear.gamma1", "lens.shear.gamma2")
			named := map[string]float64{}
			for j, x := range slices.Concat(v[:12], lens.values, v[18:]) {
				named[names[j]] = x
			}
			params := filepath.Join(dir, "p.json")
			if err := rundir.WriteJSON(params, named); err != nil {
				t.Fatal(err)
			}
			for _, device := range devices {
				what := fmt.Sprintf("case %d, %s on %s", i, lens.kind, device)
				// float32 in the network: the tolerances of onnxruntime
				tolLike, tolGrad, tolImage := 1e-5, 1e-4, 1e-5
				if device == "reference" {
					tolLike, tolGrad, tolImage = 1e-8, 1e-8, 1e-10
				}
				e := testkit.EvalJSON(t, config, "--params", params, "--grad", "--device", device, "-o", dir)
				norm := -float64(ref.N*ref.N) * math.Log(ref.Sigma*math.Sqrt(2*math.Pi))
				check.Close(t, what+": log likelihood", e.LogLikelihood-norm, c.LogLikelihood, tolLike, 0)
				g := make([]float64, len(names))
				for j, n := range names {
					g[j] = e.Gradient[n]
				}
				g = slices.Concat(g[:12], lens.chain(g[12:18]), g[18:])
				size, miss := math.Sqrt(check.Dot(c.Gradient, c.Gradient)), 0.0
				for j := range g {
					if device == "reference" {
						check.Close(t, fmt.Sprintf("%s: gradient %d", what, j), g[j], c.Gradient[j], tolGrad, 1e-9*size)
					}
					miss = math.Hypot(miss, g[j]-c.Gradient[j])
				}
				if miss > tolGrad*size {
					t.Errorf("%s: gradient misses by %.2g of its norm", what, miss/size)
				}
				got, err := fits.Read(filepath.Join(dir, "model.fits[MODEL]"))
				if err != nil {
					t.Fatal(err)
				}
				compareImages(t, what, got.Pix, image, tolImage)
			}
		}
	}
}

// compareImages checks that got is want to tol of its peak.
func compareImages(t *testing.T, what string, got, want []float64, tol float64) {
	t.Helper()
	peak, miss := 0.0, 0.0
	for j, w := range want {
		peak, miss = math.Max(peak, math.Abs(w)), math.Max(miss, math.Abs(got[j]-w))
	}
	if !(miss <= tol*peak) {
		t.Errorf("%s: image misses by %.2g of its peak", what, miss/peak)
	}
}

// TestTruthOfOtherCodesMocksFitsTheirData checks the examples made by other codes: at their truth in lenskit's
// conventions, χ²/N must be that which an independent forward model found (truth.json of each).
func TestTruthOfOtherCodesMocksFitsTheirData(t *testing.T) {
	for _, row := range []struct {
		config, data string
		want, tol    float64
	}{
		{"pyautolens_no_lens_light.yaml", "data/mocks/pyautolens/imaging_no_lens_light/data.fits", 1.148, 0.0006},
		{"pyautolens_simple.yaml", "data/mocks/pyautolens/imaging_simple/data.fits", 1.159, 0.0006},
		{"pyautolens_exponential.yaml", "data/mocks/pyautolens/build_imaging_no_lens_light/data.fits", 1.164, 0.0006},
		{"pyautolens_source_up.yaml", "data/mocks/pyautolens/imaging_plotting_alignment_mass_centre_source_up/data.fits", 1.005, 0.0006},
		{"tinylens.yaml", "data/mocks/tinylens/demo_lens_src/image.fits", 1, 0.03},
	} {
		t.Run(row.config, func(t *testing.T) {
			data := check.Shared(t, row.data)
			c, err := config.Load(filepath.Join(check.Root(), "examples", row.config))
			if err != nil {
				t.Fatal(err)
			}
			if !rundir.SameFile(c.Path(c.Data.Image), data) {
				t.Skipf("%s is not beside the repository, where %s looks for it", data, row.config)
			}
			if testing.Short() && row.want != 1.148 {
				t.Skip("takes seconds")
			}
			got := testkit.EvalJSON(t, "--quiet", filepath.Join(check.Root(), "examples", row.config)).ReducedChi2
			if math.Abs(got-row.want) > row.tol {
				t.Errorf("χ²/N: got %.5f, want %.3f", got, row.want)
			}
		})
	}
}

// floats64 are the values of a tensor.
func floats64(t *testing.T, x *onnx.Tensor) []float64 {
	t.Helper()
	out := make([]float64, x.Size())
	for i := range out {
		out[i] = x.Float(i)
	}
	return out
}

package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/onnx"
)

// evalJSON runs Eval and reads what it wrote.
func evalJSON(t *testing.T, opt EvalOptions) (out struct {
	LogLikelihood float64            `json:"log_likelihood"`
	ReducedChi2   float64            `json:"reduced_chi2"`
	Gradient      map[string]float64 `json:"gradient_log_likelihood"`
}) {
	t.Helper()
	var b bytes.Buffer
	if err := Eval(context.Background(), opt, &b, newProgress(io.Discard, true)); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.Bytes(), &out); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	return out
}

// TestEvalGivesTheReferencePipeline compares whole log likelihoods and their gradients, from files to JSON, with those of
// automatic differentiation in float64 (reference/public/pipeline_small.json).
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
			Obs           string
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
	if err := writeFITS(filepath.Join(dir, "psf.fits"), fitsOut{Bitpix: -64, Axes: []int{k, k}, Pix: kernel}); err != nil {
		t.Fatal(err)
	}
	decoder, err := filepath.Abs(check.Shared(t, "reference/public/decoder_small.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "c.yaml")
	text := fmt.Sprintf("data: {image: obs.fits, noise: %g, psf: {file: psf.fits}, pixel_scale: %.17g}\nlens: [{type: epl}, {type: shear}]\nsource: [{type: decoder, model: %q}]\n",
		ref.Sigma, ref.Fov/float64(ref.N), decoder)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, noRuntime := onnx.Library()
	for i, c := range ref.Cases {
		obs, err := readNPY(check.Shared(t, "reference/public/"+c.Obs))
		if err != nil {
			t.Fatal(err)
		}
		if err := writeFITS(filepath.Join(dir, "obs.fits"), fitsOut{Bitpix: -64, Axes: []int{ref.N, ref.N}, Pix: floats64(t, obs)}); err != nil {
			t.Fatal(err)
		}
		v := c.Params // z0..z7 src_x src_y s iota | center_x center_y theta_E q phi gamma gamma1 gamma2
		q, phi := v[15], v[16]
		f := (1 - q) / (1 + q)
		named := map[string]float64{
			"source.decoder.x": v[8], "source.decoder.y": v[9], "source.decoder.s": v[10], "source.decoder.iota": v[11],
			"lens.epl.center_x": v[12], "lens.epl.center_y": v[13], "lens.epl.theta_E": v[14], "lens.epl.gamma": v[17],
			"lens.epl.e1": f * math.Cos(2*phi), "lens.epl.e2": f * math.Sin(2*phi), "lens.shear.gamma1": v[18], "lens.shear.gamma2": v[19],
		}
		for j := range 8 {
			named[fmt.Sprintf("source.decoder.z.%d", j+1)] = v[j]
		}
		params := filepath.Join(dir, "p.json")
		if err := writeJSON(params, named); err != nil {
			t.Fatal(err)
		}
		norm := -float64(ref.N*ref.N) * math.Log(ref.Sigma*math.Sqrt(2*math.Pi))
		// the gradient by q and phi from those by e1 and e2
		chain := func(g map[string]float64) []float64 {
			out := []float64{}
			for j := range 8 {
				out = append(out, g[fmt.Sprintf("source.decoder.z.%d", j+1)])
			}
			for _, n := range strings.Fields("source.decoder.x source.decoder.y source.decoder.s source.decoder.iota lens.epl.center_x lens.epl.center_y lens.epl.theta_E") {
				out = append(out, g[n])
			}
			df := -2 / ((1 + q) * (1 + q))
			e1, e2 := g["lens.epl.e1"], g["lens.epl.e2"]
			s, co := math.Sincos(2 * phi)
			return append(out, df*(co*e1+s*e2), 2*f*(co*e2-s*e1), g["lens.epl.gamma"], g["lens.shear.gamma1"], g["lens.shear.gamma2"])
		}
		norm2 := math.Sqrt(check.Dot(c.Gradient, c.Gradient))
		e := evalJSON(t, EvalOptions{Config: config, Params: params, Grad: true, Compute: adjoint.Options{Device: "reference"}})
		check.Close(t, fmt.Sprintf("case %d, reference: log likelihood", i), e.LogLikelihood-norm, c.LogLikelihood, 1e-8, 0)
		for j, g := range chain(e.Gradient) {
			check.Close(t, fmt.Sprintf("case %d, reference: gradient %d", i, j), g, c.Gradient[j], 1e-8, 1e-9*norm2)
		}
		if noRuntime != nil {
			continue
		}
		e = evalJSON(t, EvalOptions{Config: config, Params: params, Grad: true})
		check.Close(t, fmt.Sprintf("case %d: log likelihood", i), e.LogLikelihood-norm, c.LogLikelihood, 1e-5, 0)
		miss := 0.0
		for j, g := range chain(e.Gradient) {
			miss += (g - c.Gradient[j]) * (g - c.Gradient[j])
		}
		if r := math.Sqrt(miss) / norm2; r > 1e-4 {
			t.Errorf("case %d: gradient differs by %.2g of its norm", i, r)
		}
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
			c, err := loadConfig(filepath.Join(check.Root(), "examples", row.config))
			if err != nil {
				t.Fatal(err)
			}
			if !sameFile(c.path(c.Data.Image), data) {
				t.Skipf("%s is not beside the repository, where %s looks for it", data, row.config)
			}
			if testing.Short() && row.want != 1.148 {
				t.Skip("takes seconds")
			}
			got := evalJSON(t, EvalOptions{Config: filepath.Join(check.Root(), "examples", row.config)}).ReducedChi2
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

package tools

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/ort"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/testkit"
)

// Decoders as PyTorch's exporters write them, through the commands that a user would type, against PyTorch's float64.
func TestOnnxDerivativesOfExportedDecodersMatchPyTorch(t *testing.T) {
	device, tolerance := "reference", 1e-6
	if _, _, err := ort.Library(); err == nil {
		device, tolerance = "cpu", 1e-4
	}
	names := []string{"dcgan", "dcgan_bias_lrelu", "mlp_ln_gelu", "pixshuf", "res_att", "stylemod", "up_bilinear_bn_gelu", "up_nearest_gn_silu"}
	for k, name := range names {
		if testing.Short() && k%4 != 0 {
			continue
		}
		ref := testkit.ReadNPZ(t, check.Shared(t, "decoders/"+name+".npz"))
		dir := t.TempDir()
		input := func(key, as string) []string {
			file := filepath.Join(dir, key+".npy")
			if err := tensors.WriteNPY(file, ref[key]); err != nil {
				t.Fatal(err)
			}
			return []string{"--input", as + "=" + file}
		}
		z, gx, tz := input("z", "z"), input("gx", "grad_x"), input("tz", "tangent_z")
		for _, exporter := range []string{"dynamo", "legacy"} {
			model := check.Shared(t, fmt.Sprintf("decoders/%s.%s.onnx", name, exporter))
			for _, c := range []struct {
				verb, output, key string
				seed              []string
			}{{"vjp", "grad_z", "gz64", gx}, {"jvp", "tangent_x", "jvp64", tz}} {
				derived := filepath.Join(dir, c.verb+".onnx")
				testkit.MustRun(t, "onnx", c.verb, model, "-o", derived)
				out := filepath.Join(dir, exporter+c.verb)
				args := append([]string{"onnx", "run", derived, "-o", out, "--device", device}, z...)
				testkit.MustRun(t, append(args, c.seed...)...)
				for file, key := range map[string]string{c.output: c.key, "x": "x64"} {
					got, err := tensors.ReadNPY(filepath.Join(out, file+".npy"))
					if err != nil {
						t.Fatal(err)
					}
					if d := apart(got, ref[key]); !(d < tolerance) {
						t.Errorf("%s.%s: %s: %s differs by %.3g of its largest, expected below %g", name, exporter, c.verb, file, d, tolerance)
					}
				}
			}
		}
	}
}

// apart is the largest difference relative to the largest magnitude of want; NaN where the shapes differ.
func apart(got, want *onnx.Tensor) float64 {
	if fmt.Sprint(got.Shape) != fmt.Sprint(want.Shape) {
		return math.NaN()
	}
	worst, scale := 0.0, 0.0
	for i := range want.Size() {
		worst = max(worst, math.Abs(got.Float(i)-want.Float(i)))
		scale = max(scale, math.Abs(want.Float(i)))
	}
	return worst / scale
}
